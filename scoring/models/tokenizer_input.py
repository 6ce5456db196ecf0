"""Observes which text a processor really gives to its tokenizer.

Token offsets refer to that text. A processor may change it inside its call, for example put a BOS
token before it, and then offsets that are compared with the text outside mark the wrong tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scoring.models.prompting import AnswerSpan, PromptProblem
from scoring.samples import Status

Replacements = Sequence[Mapping[str, Any]]
"""Expanded placeholders: ``text`` at ``span`` became ``replacement`` at ``new_span``."""


def recording_tokenizer(tokenizer: Any) -> Any:
    """A copy of ``tokenizer`` that lists its calls in ``calls``: (text, output)."""
    kind = type(tokenizer)

    class Recording(kind):  # type: ignore[misc,valid-type]
        def __call__(self, text: Any = None, *args: Any, **settings: Any) -> Any:
            output = super().__call__(text, *args, **settings)
            self.calls.append((text, output))
            return output

    Recording.__name__, Recording.__qualname__ = kind.__name__, kind.__qualname__
    recording = copy.deepcopy(tokenizer)
    recording.__class__ = Recording
    recording.calls = []
    return recording


def tokenised_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text that a recording ``tokenizer`` turned into ``ids``. Raises PromptProblem."""
    for text, output in tokenizer.calls:
        texts = [text] if isinstance(text, str) else text
        if isinstance(texts, list) and len(texts) == 1 and list(output["input_ids"][0]) == ids:
            return str(texts[0])
    raise PromptProblem(
        Status.PLACEHOLDER_MISMATCH,
        "the processor changes the tokens after its tokenizer made them",
    )


def prefix_length(text: str, given: str, replaced: Replacements) -> int:
    """Characters that the processor put before ``text``, of which it made ``given``.

    Raises PromptProblem where it changed ``text`` in any other way than by expanding placeholders.
    """
    before = undo_replacements(given, replaced)
    n_added = len(before) - len(text)
    if not before.endswith(text) or any(item["span"][0] < n_added for item in replaced):
        raise PromptProblem(
            Status.PLACEHOLDER_MISMATCH,
            "the processor changes the prompt's text before it is tokenised, so the answer's "
            "tokens cannot be located",
        )
    return n_added


def apply_replacements(text: str, replaced: Replacements) -> str:
    """``text`` with its placeholders expanded."""
    pieces, end = [], 0
    for item in replaced:
        pieces += [text[end : item["span"][0]], item["replacement"]]
        end = item["span"][1]
    return "".join([*pieces, text[end:]])


def undo_replacements(text: str, replaced: Replacements) -> str:
    """The text of which ``apply_replacements`` makes ``text``."""
    pieces, end = [], 0
    for item in replaced:
        pieces += [text[end : item["new_span"][0]], item["text"]]
        end = item["new_span"][1]
    return "".join([*pieces, text[end:]])


def make_replacements(text: str, spans: Sequence[tuple[int, int]], by: str) -> list[dict[str, Any]]:
    """Replacements of the ``spans`` of ``text`` by one and the same string."""
    found: list[dict[str, Any]] = []
    gain = 0
    for start, end in spans:
        new_span = (start + gain, start + gain + len(by))
        part = text[start:end]
        found.append({"span": (start, end), "new_span": new_span, "text": part, "replacement": by})
        gain += len(by) - (end - start)
    return found


def shift_answers(
    answers: Sequence[AnswerSpan], replaced: Replacements, n_added: int = 0
) -> tuple[AnswerSpan, ...]:
    """Answer spans after ``n_added`` characters were put before the text and then ``replaced``."""

    def shift(position: int) -> int:
        position += n_added
        gain = 0
        for item in replaced:
            if item["span"][1] <= position:
                gain = item["new_span"][1] - item["span"][1]
        return position + gain

    return tuple(
        replace(
            one,
            start=shift(one.start),
            end=shift(one.end),
            content_end=None if one.content_end is None else shift(one.content_end),
            thought_end=None if one.thought_end is None else shift(one.thought_end),
        )
        for one in answers
    )
