"""Observes the text that a processor actually passes to its tokenizer.

Token offsets refer to that text. A processor may change the text inside its call, for example put a
BOS token before it, and offsets compared with the original text then mark the wrong tokens.
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
    """Return a copy of ``tokenizer`` that lists its calls in ``calls``: (text, output)."""
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
    """Return the text that a recording ``tokenizer`` turned into ``ids``. Raises PromptProblem."""
    for text, output in tokenizer.calls:
        texts = [text] if isinstance(text, str) else text
        if isinstance(texts, list) and len(texts) == 1 and list(output["input_ids"][0]) == ids:
            return str(texts[0])
    raise PromptProblem(
        Status.PLACEHOLDER_MISMATCH,
        "the processor changes the tokens after its tokenizer made them",
    )


def prefix_length(text: str, given: str, replaced: Replacements) -> int:
    """Return how many characters the processor put before ``text`` to make ``given``.

    Raises PromptProblem if it changed ``text`` in any way besides expanding placeholders.
    """
    before = _replace_spans(given, [(item["new_span"], item["text"]) for item in replaced])
    n_added = len(before) - len(text)
    if not before.endswith(text) or any(item["span"][0] < n_added for item in replaced):
        raise PromptProblem(
            Status.PLACEHOLDER_MISMATCH,
            "the processor changes the prompt's text before it is tokenised, so the answer's "
            "tokens cannot be located",
        )
    return n_added


def apply_replacements(text: str, replaced: Replacements) -> str:
    """Return ``text`` with its placeholders expanded."""
    return _replace_spans(text, [(item["span"], item["replacement"]) for item in replaced])


def _replace_spans(text: str, replaced: Sequence[tuple[tuple[int, int], str]]) -> str:
    pieces, end = [], 0
    for span, replacement in replaced:
        pieces += [text[end : span[0]], replacement]
        end = span[1]
    return "".join([*pieces, text[end:]])


def make_replacements(text: str, spans: Sequence[tuple[int, int]], by: str) -> list[dict[str, Any]]:
    """Return replacements of all ``spans`` of ``text`` by the same string."""
    made: list[dict[str, Any]] = []
    gain = 0
    for start, end in spans:
        spans_of = {"span": (start, end), "new_span": (start + gain, start + gain + len(by))}
        made.append({**spans_of, "text": text[start:end], "replacement": by})
        gain += len(by) - (end - start)
    return made


def shift_answers(
    answers: Sequence[AnswerSpan], replaced: Replacements, n_added: int = 0
) -> tuple[AnswerSpan, ...]:
    """Shift answer spans by ``n_added`` characters put before the text, then by ``replaced``."""

    def shift_position(position: int | None) -> Any:
        if position is None:
            return None
        position += n_added
        gain = 0
        for item in replaced:
            if item["span"][1] <= position:
                gain = item["new_span"][1] - item["span"][1]
        return position + gain

    names = ("start", "end", "content_end", "thought_end")
    return tuple(
        replace(answer, **{name: shift_position(getattr(answer, name)) for name in names})
        for answer in answers
    )
