"""Turns conversations into what a model is fed, with the answer tokens marked.

One path for all families: the processor's own call gives ids, pixels and where it expanded the
image placeholders, so nothing is known here by a family's name. Every thread works with a
processor of its own, as a tokenizer cannot be shared, and prepares images that it has just seen
only once.
"""

from __future__ import annotations

import copy
import re
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from operator import is_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers.image_utils import make_flat_list_of_images

from scoring.errors import ModelError
from scoring.models.base import EncodedSample, ModelInfo
from scoring.models.control_tokens import control_ids, control_pattern
from scoring.models.image_removal import ImagePlaceholders
from scoring.models.loading import TemplateRenderer, end_markers, supported_families
from scoring.models.prompting import (
    Messages,
    PromptProblem,
    RenderedChat,
    neutralize_turn,
    render_chat,
    render_messages,
    to_messages,
    token_segments,
    token_turns,
)
from scoring.models.tokenizer_input import (
    Replacements,
    apply_replacements,
    make_replacements,
    prefix_length,
    recording_tokenizer,
    shift_answers,
    tokenised_text,
)
from scoring.samples import Role, Status, Turn

_NO_TURN = -1
_IMAGES_KEPT = 4  # per thread: a sample's own and what stands in for them
_PROBE = (Turn(Role.HUMAN, "\nWhat is it?", (0,)), Turn(Role.ASSISTANT, "A cat."))
_COPYING = threading.Lock()
_NOT_FED = ("input_ids", "offset_mapping", "text_replacement_offsets")


def create_encoder(
    model: Any, processor: Any, render: TemplateRenderer, info: ModelInfo
) -> Encoder:
    """The encoder that suits a model of transformers and its processor.

    Raises ModelError for a model that cannot be shown a conversation both with and without image.
    """
    as_llava = info.template == "llava_v1"
    encoder = Encoder(
        processor,
        render,
        end_markers(processor, model),
        score_eos=info.score_eos,
        pad_to_square=as_llava,
        answer_lead=" " if as_llava else "",
        masks_move_positions=any(hasattr(part, "get_rope_index") for part in model.modules()),
    )
    try:
        expected = encoder.answer_texts(_PROBE)
        seen, blind = (
            encoder.encode(_PROBE, [Image.new("RGB", (64, 48))]),
            encoder.encode(_PROBE, ()),
        )
    except PromptProblem as problem:
        raise _refusal(info, problem.reason) from problem
    if not seen.answer_ids or seen.answer_ids != blind.answer_ids:
        raise _refusal(info, "it does not read the same answer tokens with and without an image")
    scored = processor.tokenizer.decode(seen.answer_ids, clean_up_tokenization_spaces=False)
    if _letters(scored) != _letters("".join(expected)):
        reason = f"of the answer {''.join(expected)!r} the tokens of {scored!r} would be scored"
        raise _refusal(info, reason)
    return encoder


def _letters(text: str) -> str:
    """``text`` without what a tokenizer may change: white space and case."""
    return "".join(text.split()).casefold()


def _refusal(info: ModelInfo, reason: str) -> ModelError:
    return ModelError(
        f"models of the family {info.family!r} cannot be scored: {reason}; {supported_families()}"
    )


class Encoder:
    """Tokenises conversations for one model; the encoding half of a ``VisionLanguageModel``.

    ``ends`` are the end-of-turn tokens that a template may write after an answer;
    ``answer_lead`` is what counts as part of an answer if it stands before it;
    ``masks_move_positions`` says that the model counts its positions by the attention mask.
    """

    def __init__(
        self,
        processor: Any,
        render: TemplateRenderer,
        ends: Sequence[str],
        *,
        score_eos: bool = True,
        pad_to_square: bool = False,
        answer_lead: str = "",
        masks_move_positions: bool = False,
    ) -> None:
        self.render = render
        self._ends, self._score_eos, self._lead = tuple(ends), score_eos, answer_lead
        self._masks_move_positions = masks_move_positions
        self._controls = control_pattern(processor, render, ends)
        self.control_ids = control_ids(processor.tokenizer, self._controls)
        self._prompt_render = partial(render, prompt=True)
        self._image_texts = ImagePlaceholders(render, self._controls)
        self._prompt_image_texts = ImagePlaceholders(self._prompt_render, self._controls)
        self._here = _ThreadLocalProcessor(processor, pad_to_square)

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation, with its images or without any; see the protocol."""
        read = self._read(turns)
        chat = self._chat(read)
        if not images:
            chat = _without_images(self._image_texts, to_messages(read), chat)
        return self._encoded(chat, images, altered=_altered(turns, read))

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation that the model is to go on from; it has no answer tokens."""
        messages = to_messages(self._read(turns))
        chat = RenderedChat(render_messages(self._prompt_render, messages), ())
        if not images:
            chat = _without_images(self._prompt_image_texts, messages, chat)
        return self._encoded(chat, images)

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenises a conversation for the ``reference`` baseline; see the protocol."""
        if self._masks_move_positions:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _MASK_MOVES)
        n_images = sum(len(turn.image_offsets) for turn in turns)
        read = self._read(turns)
        chat = self._chat(read)
        hidden = self._hidden(chat.text, n_images)
        tokenised = self._process(apply_replacements(chat.text, hidden))
        spans = {tuple(item["new_span"]) for item in hidden}
        offsets = (tokenised.offsets - tokenised.n_added).tolist()
        seen = torch.tensor([[tuple(offset) not in spans for offset in offsets]]).long()
        if len(offsets) - int(seen.sum()) != n_images:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _NO_SINGLE_MARK)
        tokenised.inputs["attention_mask"] = seen
        masked = replace(chat, answers=shift_answers(chat.answers, hidden))
        return _sample(masked, tokenised, None, _altered(turns, read))

    def answer_texts(self, turns: Sequence[Turn]) -> list[str]:
        """The texts whose tokens are scored, with their end markers."""
        chat = self._chat(self._read(turns))
        return [chat.text[span.start : span.end] for span in chat.answers]

    def _hidden(self, text: str, n_images: int) -> Replacements:
        """The placeholders of ``text``, each to be replaced by the padding token."""
        tokenizer = self._here.processor.tokenizer
        token = getattr(self._here.processor, "image_token", None)
        found = list(re.finditer(re.escape(token), text)) if token else []
        if len(found) != n_images:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _NO_SINGLE_MARK)
        padding = tokenizer.pad_token or tokenizer.eos_token
        return make_replacements(text, [match.span() for match in found], padding)

    def _read(self, turns: Sequence[Turn]) -> list[Turn]:
        return [neutralize_turn(turn, self._controls) for turn in turns]

    def _chat(self, turns: Sequence[Turn]) -> RenderedChat:
        return render_chat(
            self.render, turns, self._ends, score_eos=self._score_eos, answer_lead=self._lead
        )

    def _encoded(
        self, chat: RenderedChat, images: Sequence[Image.Image], altered: bool = False
    ) -> EncodedSample:
        seen = self._here.seen(images) if images else None
        tokenised = self._process(chat.text, images, seen)
        tokenised.inputs.pop("attention_mask", None)  # all ones, where a processor insists on it
        return _sample(chat, tokenised, seen.key if seen else None, altered)

    def _process(
        self, text: str, images: Sequence[Image.Image] = (), seen: _Seen | None = None
    ) -> _Tokenised:
        if seen and seen.pixels is None:
            images = self._here.prepared(images)
        processor = self._here.processor
        processor.image_processor.seen = seen
        processor.tokenizer.calls.clear()
        bos = processor.tokenizer.bos_token
        try:
            batch = processor(
                text=[text],
                images=[list(images)] if images else None,
                return_offsets_mapping=True,
                return_attention_mask=False,
                return_text_replacement_offsets=True,
                add_special_tokens=not (bos and text.startswith(bos)),
            )
        except (PromptProblem, MemoryError):
            raise
        except Exception as error:
            raise PromptProblem(
                Status.PLACEHOLDER_MISMATCH, f"the processor refuses the sample: {error}"
            ) from error
        inputs = {key: _as_tensor(key, value) for key, value in batch.items()}
        ids = inputs.pop("input_ids")[0]
        offsets = np.array(inputs.pop("offset_mapping")[0]).reshape(-1, 2)
        replaced = (inputs.pop("text_replacement_offsets", None) or [[]])[0]
        given = tokenised_text(processor.tokenizer, ids)
        n_added = prefix_length(text, given, replaced)
        return _Tokenised(ids, offsets, given, replaced, n_added, inputs)


@dataclass(slots=True)
class _Tokenised:
    """What a processor made of a text: ``offsets`` (tokens, 2) are places in ``text``.

    That is the text given to the tokenizer: ``n_added`` characters before the text that the
    processor was called with, whose placeholders are ``replaced``.
    """

    ids: list[int]
    offsets: NDArray[np.int64]
    text: str
    replaced: Replacements
    n_added: int
    inputs: dict[str, Any]


_MASK_MOVES = (
    "baseline reference is not defined for this model: it counts positions by the attention "
    "mask, so that a masked placeholder would not keep its own"
)
_NO_SINGLE_MARK = (
    "baseline reference is not defined for this model: its chat template does not write each "
    "image as one placeholder token"
)


@dataclass(slots=True, eq=False)
class _Seen:
    """What the processor made of images, as long as these live."""

    images: tuple[weakref.ref[Image.Image], ...]
    key: object = field(default_factory=object)
    pixels: Any = None

    def is_of(self, images: Sequence[Image.Image]) -> bool:
        """Whether these very objects were seen."""
        mine = (reference() for reference in self.images)
        return len(self.images) == len(images) and all(map(is_, mine, images))


class _ThreadLocalProcessor(threading.local):
    """What each thread has of its own: a processor, and the images it saw last."""

    def __init__(self, processor: Any, pad_to_square: bool) -> None:
        with _COPYING:
            self.processor = copy.copy(processor)
            self.processor.tokenizer = recording_tokenizer(processor.tokenizer)
        self.processor.image_processor = _OncePerImage(processor.image_processor)
        self._mean = processor.image_processor.image_mean if pad_to_square else None
        self._seen: deque[_Seen] = deque(maxlen=_IMAGES_KEPT)

    def seen(self, images: Sequence[Image.Image]) -> _Seen:
        """The entry of these very images; a new one where they were not seen lately."""
        for known in self._seen:
            if known.is_of(images):
                return known
        self._seen.append(_Seen(tuple(weakref.ref(image) for image in images)))
        return self._seen[-1]

    def prepared(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """LLaVA-1.5 was trained on images padded to a square with the processor's mean colour."""
        if self._mean is None:
            return list(images)
        return [_padded_to_square(image, self._mean) for image in images]


class _OncePerImage:
    """Stands before an image processor and keeps what that made of the images of ``seen``."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.seen: _Seen | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, images: Any, **settings: Any) -> Any:
        seen = self.seen
        if seen is None:
            return self._inner(images, **settings)
        if seen.pixels is None:
            try:
                seen.pixels = self._inner(images, **{**settings, "return_tensors": "pt"})
            except MemoryError:
                raise
            except Exception as error:
                raise self._refusal(images, settings, error) from error
        return copy.copy(seen.pixels)  # processors take entries out

    def _refusal(self, images: Any, settings: dict[str, Any], error: Exception) -> PromptProblem:
        """Blame an image only where it is refused by itself, not for those beside it."""
        each = make_flat_list_of_images(images)
        with suppress(Exception):
            if len(each) > 1 and all(self._inner(image, **settings) for image in each):
                reason = f"the model takes each of these {len(each)} images, but not together"
                return PromptProblem(Status.BAD_RECORD, f"{reason}: {str(error).splitlines()[0]}")
        reason = f"the model's image processor refuses the image: {error}"
        return PromptProblem(Status.BAD_IMAGE, reason)


def _as_tensor(key: str, value: Any) -> Any:
    """A processor's output as the model takes it; ids and positions in the text stay lists.

    Tensors of these would be made number by number in Python, only to be taken apart again.
    """
    if key in _NOT_FED:
        return value.tolist() if isinstance(value, torch.Tensor) else value
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(np.asarray(value))


def _sample(
    chat: RenderedChat, tokenised: _Tokenised, image_key: object | None, text_altered: bool
) -> EncodedSample:
    """``tokenised`` with the tokens of the answers of ``chat``, which the processor was given."""
    spans = shift_answers(chat.answers, tokenised.replaced, tokenised.n_added)
    turns = token_turns(tokenised.offsets, spans)  # (tokens,)
    scored = turns != _NO_TURN
    return EncodedSample(
        tuple(tokenised.ids),
        tuple(turns.tolist()),
        tokenised.inputs,
        tuple(tokenised.text[start:end] for start, end in tokenised.offsets[scored].tolist()),
        image_key,
        tuple(token_segments(tokenised.offsets, spans)[scored].tolist()),
        text_altered,
        chat.thoughts_dropped,
    )


def _without_images(
    texts: ImagePlaceholders, messages: Messages, chat: RenderedChat
) -> RenderedChat:
    """``chat`` without what its template wrote for images; nothing else differs."""
    if not any(part["type"] == "image" for message in messages for part in message["content"]):
        return chat
    removed = make_replacements(chat.text, texts.spans(messages, chat.text), "")
    text, answers = apply_replacements(chat.text, removed), shift_answers(chat.answers, removed)
    return replace(chat, text=text, answers=answers)


def _altered(turns: Sequence[Turn], read: Sequence[Turn]) -> bool:
    """Whether control tokens in the text of ``turns`` were broken up."""
    return any(one.text != other.text for one, other in zip(turns, read, strict=True))


def _padded_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    side = max(image.size)
    colour = tuple(int(channel * 255) for channel in mean)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
