"""Finds the text that a chat template writes for an image, so exactly this can be removed.

The text-only prompt is the multimodal one without the images' placeholders and with nothing else
changed. Rendering the conversation without its images does not always give that: some templates
write a system prompt, a date or a space only if there is no image. So the conversation is rendered
with a mark in place of each text: with its images, without them, and with each image twice.
Comparing these shows what is written for the images between any two texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count

from scoring.models.prompting import Messages, PromptProblem, Render, render_messages
from scoring.samples import Status

Shape = tuple[tuple[str, tuple[str | None, ...]], ...]
"""Role and parts of each message: None is an image, blank text is itself, other text is ``x``."""

_MARK = "\ue000"
_CACHED_SHAPES = 4096


class ImagePlaceholders:
    """The texts that a chat template writes for images, learned once per shape of conversation.

    ``controls`` matches placeholders: the text written for an image contains one, and no user text
    does, so it can be located in a rendered conversation.
    """

    def __init__(self, render: Render, controls: re.Pattern[str]) -> None:
        self._render, self._controls = render, controls
        self._texts_of_shape = lru_cache(_CACHED_SHAPES)(self._learn_texts)

    def find_spans(self, messages: Messages, text: str) -> list[tuple[int, int]]:
        """Return the spans of ``text``, the rendered ``messages``, that were written for images.

        Raises PromptProblem if they cannot be determined exactly.
        """
        spans: list[tuple[int, int]] = []
        end = 0
        shape = tuple((message["role"], _part_shapes(message["content"])) for message in messages)
        for written in self._texts_of_shape(shape):
            start = text.find(written, end)
            if start < 0:
                raise _inseparable_images()
            end = start + len(written)
            spans.append((start, end))
        return spans

    def find_image_spans(self, messages: Messages, text: str) -> list[tuple[int, int]]:
        """Return the span of ``text`` that was written for each image, in order.

        What is written for adjacent images is separated if it is the same text for each. Raises
        PromptProblem if the spans cannot be determined exactly.
        """
        spans = self.find_spans(messages, text)
        n_images = sum(part["type"] == "image" for each in messages for part in each["content"])
        if len(spans) == n_images:
            return spans
        length, rest = divmod(sum(end - start for start, end in spans), n_images)
        separated = [
            (at, at + length) for start, end in spans for at in range(start, end, length or 1)
        ]
        units = {text[start:end] for start, end in separated}
        if rest or len(separated) != n_images or len(units) != 1:
            raise _inseparable_images()
        return separated

    def _learn_texts(self, shape: Shape) -> tuple[str, ...]:
        once = self._render_pieces(shape, 1)
        texts_only = tuple(
            (role, tuple(part for part in parts if part == "x")) for role, parts in shape
        )
        for other, fewer, more in ((shape, 0, 1), (texts_only, 0, 1), (shape, 1, 2)):
            try:
                pieces = once if fewer else self._render_pieces(other, fewer)
                written = self._added_texts(pieces, self._render_pieces(shape, more))
            except PromptProblem:  # templates may refuse no image, or more than one
                continue
            if written and all(any(text in piece for piece in once) for text in written):
                return written
        raise _inseparable_images()

    def _render_pieces(self, shape: Shape, copies: int) -> list[str]:
        """Return the text before, between and after the marks that replace texts, and the marks."""
        numbers = count()
        messages: Messages = []
        for role, parts in shape:
            content: list[dict[str, str]] = []
            for part in parts:
                if part is None:
                    content += [{"type": "image"}] * copies
                else:
                    text = part if part != "x" else f"{_MARK}{next(numbers)}{_MARK}"
                    content.append({"type": "text", "text": text})
            messages.append({"role": role, "content": content or [{"type": "text", "text": ""}]})
        return re.split(f"({_MARK}\\d+{_MARK})", render_messages(self._render, messages))

    def _added_texts(self, fewer: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
        """Return the additions in ``more`` if each piece has one insertion with placeholders."""
        if fewer[1::2] != more[1::2]:
            return ()
        pairs = zip(fewer[::2], more[::2], strict=True)
        added = [self._inserted_text(*pair) for pair in pairs if pair[0] != pair[1]]
        return tuple(text for text in added if text) if all(added) else ()

    def _inserted_text(self, short: str, long: str) -> str | None:
        """Return the single insertion with a placeholder that turns ``short`` into ``long``."""
        length = len(long) - len(short)
        for start in range(len(short) + 1):
            end = start + length
            if long[:start] + long[end:] == short and self._controls.search(long, start, end):
                return long[start:end]
        return None


def _inseparable_images() -> PromptProblem:
    return PromptProblem(
        Status.PLACEHOLDER_MISMATCH,
        "the text that the chat template writes for the images cannot be separated from the rest "
        "of the prompt, so there is no exact prompt without them",
    )


def _part_shapes(parts: Sequence[dict[str, str]]) -> tuple[str | None, ...]:
    return tuple(
        None if part["type"] == "image" else "x" if part["text"].strip() else part["text"]
        for part in parts
    )
