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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import is_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers.image_utils import make_flat_list_of_images

from scoring.engine.prompting import (
    AnswerSpan,
    PromptProblem,
    RenderedChat,
    neutralised,
    render_chat,
    rendered,
    to_messages,
    token_turns,
)
from scoring.errors import ModelError
from scoring.models.base import EncodedSample, ModelInfo
from scoring.models.loading import Render, end_markers, supported_families
from scoring.samples import Role, Status, Turn

_NO_TURN = -1
_IMAGES_KEPT = 4  # per thread: a sample's own and what stands in for them
_PROBE = (Turn(Role.HUMAN, "\nWhat is it?", (0,)), Turn(Role.ASSISTANT, "A cat."))
_COPYING = threading.Lock()
_NOT_FED = ("input_ids", "offset_mapping", "text_replacement_offsets")
_MARKERS = ("\U000f0000", "\U000f0001")  # by these, transformers tells text from control tokens

Replacements = Sequence[Mapping[str, Any]]
"""Where placeholders were expanded: ``span`` in the text before, ``new_span`` in the one after."""


def encoder_for(model: Any, processor: Any, render: Render, info: ModelInfo) -> Encoder:
    """The encoder that suits a model of transformers and its processor.

    Raises ModelError for a model that cannot be shown a conversation both with and without image.
    """
    encoder = Encoder(
        processor,
        render,
        end_markers(processor, model),
        score_eos=info.score_eos,
        pad_to_square=info.template == "llava_v1",
        masks_move_positions=any(hasattr(part, "get_rope_index") for part in model.modules()),
    )
    try:
        seen, blind = (
            encoder.encode(_PROBE, [Image.new("RGB", (64, 48))]),
            encoder.encode(_PROBE, ()),
        )
    except PromptProblem as problem:
        raise _refusal(info, problem.reason) from problem
    if not seen.answer_ids or seen.answer_ids != blind.answer_ids:
        raise _refusal(info, "it does not read the same answer tokens with and without an image")
    return encoder


def _refusal(info: ModelInfo, reason: str) -> ModelError:
    return ModelError(
        f"models of the family {info.family!r} cannot be scored: {reason}; {supported_families()}"
    )


class Encoder:
    """Tokenises conversations for one model; the encoding half of a ``VisionLanguageModel``.

    ``ends`` are the end-of-turn tokens that a template may write after an answer;
    ``masks_move_positions`` says that the model counts its positions by the attention mask.
    """

    def __init__(
        self,
        processor: Any,
        render: Render,
        ends: Sequence[str],
        *,
        score_eos: bool = True,
        pad_to_square: bool = False,
        masks_move_positions: bool = False,
    ) -> None:
        self.render = render
        self._ends, self._score_eos = tuple(ends), score_eos
        self._masks_move_positions = masks_move_positions
        self._controls = _control_tokens(processor)
        self._here = _Workplace(processor, pad_to_square)

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation, with its images or without any; see the protocol."""
        chat = self._chat(turns, bool(images))
        return self._encoded(chat, images)

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation that the model is to go on from; it has no answer tokens."""
        messages = to_messages(self._read(turns), with_images=bool(images))
        chat = RenderedChat(rendered(partial(self.render, prompt=True), messages), ())
        return self._encoded(chat, images)

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenises a conversation for the ``reference`` baseline; see the protocol."""
        if self._masks_move_positions:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _MASK_MOVES)
        n_images = sum(len(turn.image_offsets) for turn in turns)
        chat = self._chat(turns, with_images=True)
        hidden = self._hidden(chat.text, n_images)
        inputs = self._process(_expanded(chat.text, hidden))
        _replacements(inputs)
        spans = {tuple(item["new_span"]) for item in hidden}
        offsets = inputs["offset_mapping"][0]
        seen = torch.tensor([[tuple(offset) not in spans for offset in offsets]]).long()
        if len(offsets) - int(seen.sum()) != n_images:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _NO_SINGLE_MARK)
        return _sample(chat, hidden, inputs | {"attention_mask": seen}, None)

    def _hidden(self, text: str, n_images: int) -> Replacements:
        """The placeholders of ``text``, each to be replaced by the padding token."""
        tokenizer = self._here.processor.tokenizer
        padding = tokenizer.pad_token or tokenizer.eos_token
        token = getattr(self._here.processor, "image_token", None)
        found = list(re.finditer(re.escape(token), text)) if token else []
        if len(found) != n_images:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _NO_SINGLE_MARK)
        hidden: list[dict[str, Any]] = []
        gain = 0
        for match in found:
            start = match.start() + gain
            new_span = (start, start + len(padding))
            hidden.append({"span": match.span(), "new_span": new_span, "replacement": padding})
            gain += len(padding) - len(match[0])
        return hidden

    def _read(self, turns: Sequence[Turn]) -> list[Turn]:
        return [neutralised(turn, self._controls) for turn in turns]

    def _chat(self, turns: Sequence[Turn], with_images: bool) -> RenderedChat:
        return render_chat(
            self.render, self._read(turns), with_images, self._ends, score_eos=self._score_eos
        )

    def _encoded(self, chat: RenderedChat, images: Sequence[Image.Image]) -> EncodedSample:
        seen = self._here.seen(images) if images else None
        inputs = self._process(chat.text, images, seen)
        inputs.pop("attention_mask", None)  # all ones, where a processor insists on giving one
        replaced = _replacements(inputs)
        return _sample(chat, replaced, inputs, seen.key if seen else None)

    def _process(
        self, text: str, images: Sequence[Image.Image] = (), seen: _Seen | None = None
    ) -> dict[str, Any]:
        if seen and seen.pixels is None:
            images = self._here.prepared(images)
        processor = self._here.processor
        processor.image_processor.seen = seen
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
        return {key: _as_tensor(key, value) for key, value in batch.items()}


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


class _Workplace(threading.local):
    """What each thread has of its own: a processor, and the images it saw last."""

    def __init__(self, processor: Any, pad_to_square: bool) -> None:
        with _COPYING:
            self.processor = copy.copy(processor)
            self.processor.tokenizer = copy.deepcopy(processor.tokenizer)
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


def _control_tokens(processor: Any) -> re.Pattern[str]:
    """Finds what is more than text to the tokenizer or the processor."""
    tokenizer = processor.tokenizer
    added = tokenizer.added_tokens_decoder.values()
    found = {token.content for token in added if token.special} | {*_MARKERS}
    found |= {getattr(processor, f"{kind}_token", None) or "" for kind in ("image", "video")}
    ids = [one for one in getattr(processor, "image_token_ids", []) if one is not None]
    found |= {*tokenizer.convert_ids_to_tokens(ids)}
    longest_first = sorted((token for token in found if token.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


def _as_tensor(key: str, value: Any) -> Any:
    """A processor's output as the model takes it; ids and positions in the text stay lists.

    Tensors of these would be made number by number in Python, only to be taken apart again.
    """
    if key in _NOT_FED:
        return value.tolist() if isinstance(value, torch.Tensor) else value
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(np.asarray(value))


def _replacements(inputs: dict[str, Any]) -> Replacements:
    """Takes out of ``inputs`` where the processor expanded placeholders."""
    found = inputs.pop("text_replacement_offsets", None)
    return found[0] if found is not None and len(found) else []


def _sample(
    chat: RenderedChat, replaced: Replacements, inputs: dict[str, Any], image_key: object | None
) -> EncodedSample:
    """``chat`` as it was tokenised after the ``replaced`` placeholders were expanded."""
    text = _expanded(chat.text, replaced)
    ids = inputs.pop("input_ids")[0]
    offsets: NDArray[np.int64] = np.array(inputs.pop("offset_mapping")[0]).reshape(-1, 2)
    turns = token_turns(offsets, _shifted(chat.answers, replaced))
    answers = offsets[turns != _NO_TURN].tolist()
    pieces = tuple(text[start:end] for start, end in answers)
    return EncodedSample(tuple(ids), tuple(turns.tolist()), inputs, pieces, image_key)


def _expanded(text: str, replaced: Replacements) -> str:
    pieces, at = [], 0
    for item in replaced:
        start, end = item["span"]
        pieces += [text[at:start], item["replacement"]]
        at = end
    return "".join([*pieces, text[at:]])


def _shifted(answers: Sequence[AnswerSpan], replaced: Replacements) -> list[AnswerSpan]:
    """Answer spans in the text after image placeholders were expanded."""

    def shift(position: int) -> int:
        gain = 0
        for item in replaced:
            if item["span"][1] <= position:
                gain = item["new_span"][1] - item["span"][1]
        return position + gain

    return [AnswerSpan(span.turn, shift(span.start), shift(span.end)) for span in answers]


def _padded_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    side = max(image.size)
    colour = tuple(int(channel * 255) for channel in mean)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
