"""Finds what a chat template writes for an image, so that exactly this can be taken out again.

The text-only prompt is the multimodal one without the images' placeholders and with nothing else
changed (DESIGN.md, section 2). Rendering the conversation without its images does not always give
that: some templates write a system prompt, a date or a space only where there is no image. So the
conversation is rendered with a mark in place of each text: with its images, without them, and with
each image twice. Comparing these shows what is written for the images between any two texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from scoring.models.prompting import Messages, PromptProblem, Render, render_messages
from scoring.samples import Status

Shape = tuple[tuple[str, tuple[str | None, ...]], ...]
"""Role and parts of each message: None is an image, blank text is itself, other text is ``x``."""

_MARK = "\ue000"
_SHAPES_KEPT = 4096


class ImagePlaceholders:
    """What a chat template writes for the images of conversations of one shape.

    ``controls`` finds placeholders: what is written for an image contains one, which no text of a
    user does, so that it can be found in a rendered conversation.
    """

    def __init__(self, render: Render, controls: re.Pattern[str]) -> None:
        self._render, self._controls = render, controls
        self._of_shape = lru_cache(_SHAPES_KEPT)(self._learn)

    def spans(self, messages: Messages, text: str) -> list[tuple[int, int]]:
        """Where ``text``, the rendered ``messages``, contains what was written for images.

        Raises PromptProblem where that cannot be determined exactly.
        """
        found: list[tuple[int, int]] = []
        end = 0
        for written in self._of_shape(_shape_of(messages)):
            start = text.find(written, end)
            if start < 0:
                raise _inseparable()
            end = start + len(written)
            found.append((start, end))
        return found

    def _learn(self, shape: Shape) -> tuple[str, ...]:
        once = self._pieces(shape, 1)
        texts_only = tuple((role, tuple(filter(_is_text, parts))) for role, parts in shape)
        for other, fewer, more in ((shape, 0, 1), (texts_only, 0, 1), (shape, 1, 2)):
            try:
                pieces = once if fewer else self._pieces(other, fewer)
                written = self._added(pieces, self._pieces(shape, more))
            except PromptProblem:  # templates may refuse no image, or more than one
                continue
            if written and all(any(one in piece for piece in once) for one in written):
                return written
        raise _inseparable()

    def _pieces(self, shape: Shape, copies: int) -> list[str]:
        """The text before, between and after the marks that replace texts, and the marks."""
        text = render_messages(self._render, list(_marked_messages(shape, copies)))
        return re.split(f"({_MARK}\\d+{_MARK})", text)

    def _added(self, fewer: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
        """What ``more`` has in addition, if that is one placeholder or several in each piece."""
        if fewer[1::2] != more[1::2]:
            return ()
        pairs = zip(fewer[::2], more[::2], strict=True)
        added = [self._inserted(*pair) for pair in pairs if pair[0] != pair[1]]
        return tuple(one for one in added if one) if all(added) else ()

    def _inserted(self, short: str, long: str) -> str | None:
        """The one insertion with a placeholder that makes ``long`` of ``short``."""
        length = len(long) - len(short)
        for start in range(len(short) + 1):
            end = start + length
            if long[:start] + long[end:] == short and self._controls.search(long, start, end):
                return long[start:end]
        return None


def _inseparable() -> PromptProblem:
    return PromptProblem(
        Status.PLACEHOLDER_MISMATCH,
        "what the chat template writes for the images cannot be separated from the rest of the "
        "prompt, so there is no exact prompt without them",
    )


def _shape_of(messages: Messages) -> Shape:
    return tuple(
        (message["role"], tuple(map(_part_shape, message["content"]))) for message in messages
    )


def _part_shape(part: dict[str, str]) -> str | None:
    if part["type"] == "image":
        return None
    return "x" if part["text"].strip() else part["text"]


def _is_text(part: str | None) -> bool:
    return part == "x"


def _marked_messages(shape: Shape, copies: int) -> Iterator[dict[str, Any]]:
    numbers = count()
    for role, parts in shape:
        content: list[dict[str, str]] = []
        for part in parts:
            if part is None:
                content += [{"type": "image"}] * copies
            else:
                text = part if part != "x" else f"{_MARK}{next(numbers)}{_MARK}"
                content.append({"type": "text", "text": text})
        yield {"role": role, "content": content or [{"type": "text", "text": ""}]}
