"""Encodes conversations as model inputs, with the answer tokens marked.

All families share one code path: the processor's own call returns ids, pixels and where it expanded
the image placeholders, so nothing depends on a family's name. Every thread has its own processor,
as a tokenizer cannot be shared, and processes recently seen images only once.
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

from scoring.models.base import EncodedSample, ModelInfo
from scoring.models.image_removal import ImagePlaceholders
from scoring.models.loading import TemplateRenderer, end_markers, unsupported_family
from scoring.models.prompting import (
    Messages,
    PromptProblem,
    RenderedChat,
    control_pattern,
    neutralize_turn,
    render_chat,
    render_messages,
    to_messages,
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
_CACHED_IMAGES = 4  # per thread: a sample's own and their replacements for blind baselines
_PROBE = (Turn(Role.HUMAN, "\nWhat is it?", (0,)), Turn(Role.ASSISTANT, "A cat."))
_COPYING = threading.Lock()
_NOT_TENSORS = ("input_ids", "offset_mapping", "text_replacement_offsets")
_MASK_MOVES = (
    "baseline reference is not defined for this model: it counts positions by the attention "
    "mask, so a masked placeholder would not keep its own"
)
_NO_SINGLE_MARK = (
    "baseline reference is not defined for this model: its chat template does not write each "
    "image as one placeholder token"
)


def create_encoder(
    model: Any, processor: Any, render: TemplateRenderer, info: ModelInfo
) -> Encoder:
    """Create the encoder for a transformers model and its processor.

    Raises ModelError for a model that cannot read a conversation both with and without its image.
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
        expected = "".join(encoder.answer_texts(_PROBE))
        with_image = encoder.encode(_PROBE, [Image.new("RGB", (64, 48))])
        without_image = encoder.encode(_PROBE, ())
    except PromptProblem as problem:
        raise unsupported_family(info.family, problem.reason) from problem
    if not with_image.answer_ids or with_image.answer_ids != without_image.answer_ids:
        reason = "it does not read the same answer tokens with and without an image"
        raise unsupported_family(info.family, reason)
    scored = processor.tokenizer.decode(with_image.answer_ids, clean_up_tokenization_spaces=False)
    # a tokenizer may change white space and case
    if "".join(scored.split()).casefold() != "".join(expected.split()).casefold():
        reason = f"for the answer {expected!r} the tokens of {scored!r} would be scored"
        raise unsupported_family(info.family, reason)
    return encoder


class Encoder:
    """Tokenises conversations for one model; the encoding half of a ``VisionLanguageModel``."""

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
        """Create an encoder from a processor of transformers and its chat template.

        ``ends`` are end-of-turn tokens that the template may write after an answer; they count as
        answer tokens with ``score_eos``, and so does ``answer_lead`` directly before an answer.
        ``pad_to_square`` pads images as for LLaVA-1.5. ``masks_move_positions``: the model counts
        positions by the attention mask.
        """
        self.render = render
        self._ends, self._score_eos, self._lead = tuple(ends), score_eos, answer_lead
        self._masks_move_positions = masks_move_positions
        self._controls = control_pattern(processor, render, ends)
        added = processor.tokenizer.added_tokens_decoder.items()
        self.control_ids = {n for n, token in added if self._controls.fullmatch(str(token.content))}
        self._prompt_render = partial(render, prompt=True)
        self._placeholders = ImagePlaceholders(render, self._controls)
        self._prompt_placeholders = ImagePlaceholders(self._prompt_render, self._controls)
        self._local = _ThreadLocalProcessor(processor, pad_to_square)

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenise a conversation, with or without its images; see the protocol."""
        neutral = self._neutralize_turns(turns)
        chat = self._render_chat(neutral)
        if not images:
            chat = _without_images(self._placeholders, to_messages(neutral), chat)
        return self._encode_chat(chat, images, text_altered=_texts(turns) != _texts(neutral))

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenise a conversation that the model will continue; it has no answer tokens."""
        messages = to_messages(self._neutralize_turns(turns))
        chat = RenderedChat(render_messages(self._prompt_render, messages), ())
        if not images:
            chat = _without_images(self._prompt_placeholders, messages, chat)
        return self._encode_chat(chat, images)

    def encode_without_image(
        self, turns: Sequence[Turn], images: Sequence[Image.Image], removed: int
    ) -> EncodedSample:
        """Tokenise a conversation without one of its images; see the protocol."""
        neutral = self._neutralize_turns(turns)
        messages, chat = to_messages(neutral), self._render_chat(neutral)
        spans = self._placeholders.find_image_spans(messages, chat.text)
        chat = _remove_spans(chat, [spans[removed]])
        kept = [image for position, image in enumerate(images) if position != removed]
        return self._encode_chat(chat, kept, text_altered=_texts(turns) != _texts(neutral))

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenise a conversation for the ``reference`` baseline; see the protocol."""
        if self._masks_move_positions:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _MASK_MOVES)
        n_images = sum(len(turn.image_offsets) for turn in turns)
        neutral = self._neutralize_turns(turns)
        chat = self._render_chat(neutral)
        processor = self._local.processor
        placeholder = getattr(processor, "image_token", None)
        matches = re.finditer(re.escape(placeholder), chat.text) if placeholder else ()
        placeholders = [match.span() for match in matches]
        if len(placeholders) != n_images:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _NO_SINGLE_MARK)
        padding = processor.tokenizer.pad_token or processor.tokenizer.eos_token
        masked = make_replacements(chat.text, placeholders, padding)
        tokenised = self._run_processor(apply_replacements(chat.text, masked))
        spans = {tuple(item["new_span"]) for item in masked}
        offsets = (tokenised.offsets - tokenised.n_added).tolist()  # (length, 2)
        mask = torch.tensor([[tuple(offset) not in spans for offset in offsets]]).long()
        if len(offsets) - int(mask.sum()) != n_images:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, _NO_SINGLE_MARK)
        tokenised.inputs["attention_mask"] = mask  # (1, length)
        masked_chat = replace(chat, answers=shift_answers(chat.answers, masked))
        return _build_sample(masked_chat, tokenised, None, _texts(turns) != _texts(neutral))

    def answer_texts(self, turns: Sequence[Turn]) -> list[str]:
        """Return the texts whose tokens are scored, with their end markers."""
        chat = self._render_chat(self._neutralize_turns(turns))
        return [chat.text[span.start : span.end] for span in chat.answers]

    def _neutralize_turns(self, turns: Sequence[Turn]) -> list[Turn]:
        return [neutralize_turn(turn, self._controls) for turn in turns]

    def _render_chat(self, turns: Sequence[Turn]) -> RenderedChat:
        return render_chat(
            self.render, turns, self._ends, score_eos=self._score_eos, answer_lead=self._lead
        )

    def _encode_chat(
        self, chat: RenderedChat, images: Sequence[Image.Image], text_altered: bool = False
    ) -> EncodedSample:
        cached = self._local.cached_images(images) if images else None
        tokenised = self._run_processor(chat.text, images, cached)
        tokenised.inputs.pop("attention_mask", None)  # all ones, if a processor insists on it
        return _build_sample(chat, tokenised, cached.key if cached else None, text_altered)

    def _run_processor(
        self, text: str, images: Sequence[Image.Image] = (), cached: _CachedImages | None = None
    ) -> _Tokenised:
        if cached and cached.pixels is None:
            images = self._local.pad_images(images)
        processor = self._local.processor
        processor.image_processor.cached = cached
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
        inputs = {}
        for key, value in batch.items():
            is_tensor = isinstance(value, torch.Tensor)
            if key in _NOT_TENSORS:  # converting these would go number by number, only to be undone
                inputs[key] = value.tolist() if is_tensor else value
            else:
                inputs[key] = value if is_tensor else torch.from_numpy(np.asarray(value))
        ids = inputs.pop("input_ids")[0]
        offsets = np.array(inputs.pop("offset_mapping")[0]).reshape(-1, 2)
        replaced = (inputs.pop("text_replacement_offsets", None) or [[]])[0]
        given = tokenised_text(processor.tokenizer, ids)
        n_added = prefix_length(text, given, replaced)
        return _Tokenised(ids, offsets, given, replaced, n_added, inputs)


@dataclass(slots=True)
class _Tokenised:
    """The output of a processor for a text."""

    ids: list[int]
    offsets: NDArray[np.int64]  # (length, 2) the tokens' character spans in ``text``
    text: str  # that was passed to the tokenizer
    replaced: Replacements  # its expanded placeholders
    n_added: int  # characters that the processor put before the text it was called with
    inputs: dict[str, Any]  # the model's other inputs


@dataclass(slots=True, eq=False)
class _CachedImages:
    """The processor's output for images, while these are alive."""

    images: tuple[weakref.ref[Image.Image], ...]
    key: object = field(default_factory=object)
    pixels: Any = None


class _ThreadLocalProcessor(threading.local):
    """Each thread's own processor and its cache of recent images."""

    def __init__(self, processor: Any, pad_to_square: bool) -> None:
        with _COPYING:
            self.processor = copy.copy(processor)
            self.processor.tokenizer = recording_tokenizer(processor.tokenizer)
        self.processor.image_processor = _CachingImageProcessor(processor.image_processor)
        self._mean = processor.image_processor.image_mean if pad_to_square else None
        self._cache: deque[_CachedImages] = deque(maxlen=_CACHED_IMAGES)

    def cached_images(self, images: Sequence[Image.Image]) -> _CachedImages:
        """Return the entry of these very images, or a new one."""
        for cached in self._cache:
            known = (reference() for reference in cached.images)
            if len(cached.images) == len(images) and all(map(is_, known, images)):
                return cached
        self._cache.append(_CachedImages(tuple(weakref.ref(image) for image in images)))
        return self._cache[-1]

    def pad_images(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """Pad images to a square with the processor's mean colour, as LLaVA-1.5 was trained."""
        if self._mean is None:
            return list(images)
        colour = tuple(int(channel * 255) for channel in self._mean)
        squares = []
        for image in images:
            side = max(image.size)
            square = Image.new("RGB", (side, side), colour)
            square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            squares.append(square)
        return squares


class _CachingImageProcessor:
    """Wraps an image processor and stores its output in ``cached``."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.cached: _CachedImages | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, images: Any, **settings: Any) -> Any:
        cached = self.cached
        if cached is None:
            return self._inner(images, **settings)
        if cached.pixels is None:
            try:
                cached.pixels = self._inner(images, **{**settings, "return_tensors": "pt"})
            except MemoryError:
                raise
            except Exception as error:
                reason = f"the model's image processor refuses the image: {error}"
                problem = PromptProblem(Status.BAD_IMAGE, reason)
                with suppress(Exception):  # is one refused alone?
                    each = make_flat_list_of_images(images)
                    if len(each) > 1 and all(self._inner(image, **settings) for image in each):
                        first_line = str(error).splitlines()[0]
                        reason = (
                            f"the model accepts each of these {len(each)} images, but not together"
                        )
                        problem = PromptProblem(Status.BAD_RECORD, f"{reason}: {first_line}")
                raise problem from error
        return copy.copy(cached.pixels)  # processors remove entries


def _build_sample(
    chat: RenderedChat, tokenised: _Tokenised, image_key: object | None, text_altered: bool
) -> EncodedSample:
    """Return ``tokenised`` with the answer tokens of ``chat``, the text before tokenisation."""
    spans = shift_answers(chat.answers, tokenised.replaced, tokenised.n_added)
    turns, segments = token_turns(tokenised.offsets, spans)  # (length,) each
    scored = turns != _NO_TURN  # (length,)
    return EncodedSample(
        tuple(tokenised.ids),
        tuple(turns.tolist()),
        tokenised.inputs,
        tuple(tokenised.text[start:end] for start, end in tokenised.offsets[scored].tolist()),
        image_key,
        tuple(segments[scored].tolist()),
        text_altered,
        chat.thoughts_dropped,
        text=chat.text,
    )


def _without_images(
    placeholders: ImagePlaceholders, messages: Messages, chat: RenderedChat
) -> RenderedChat:
    """Return ``chat`` without the text that its template wrote for images; the rest is the same."""
    if not any(part["type"] == "image" for message in messages for part in message["content"]):
        return chat
    return _remove_spans(chat, placeholders.find_spans(messages, chat.text))


def _remove_spans(chat: RenderedChat, spans: Sequence[tuple[int, int]]) -> RenderedChat:
    """Return ``chat`` without some spans of its text; the rest is the same."""
    removed = make_replacements(chat.text, spans, "")
    text, answers = apply_replacements(chat.text, removed), shift_answers(chat.answers, removed)
    return replace(chat, text=text, answers=answers)


def _texts(turns: Sequence[Turn]) -> list[str]:
    return [turn.text for turn in turns]
