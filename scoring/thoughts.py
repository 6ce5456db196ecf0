"""The thought that reasoning models write before their answer, between two marks."""

from __future__ import annotations

from dataclasses import dataclass

THOUGHT_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""Opening and closing marks of a thought in the chat templates of published models."""


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """The parts of an answer; joined they are the answer.

    ``opening`` and ``closing`` are the marks around ``thought`` with adjacent white space.
    """

    final: str
    opening: str = ""
    thought: str = ""
    closing: str = ""


def split_thought(answer: str) -> AnswerParts | None:
    """Return the parts of an answer that starts with a thought; None for any other answer.

    The opening mark may be missing: some templates write it, so data and predictions start with
    the thought itself.
    """
    ends = [(answer.find(closing), closing) for _, closing in THOUGHT_MARKS if closing in answer]
    if not ends:
        return None
    end, mark = min(ends)
    before, after = answer[:end], answer[end + len(mark) :]
    thought = before.lstrip().removeprefix(_opening_mark(before)).strip()
    final = after.lstrip()
    start = before.rindex(thought) if thought else end
    closing = answer[start + len(thought) : len(answer) - len(final)]
    return AnswerParts(final, answer[:start], thought, closing)


def _opening_mark(text: str) -> str:
    """Return the mark that ``text`` starts with, or an empty string."""
    start = text.lstrip()
    return next((opening for opening, _ in THOUGHT_MARKS if start.startswith(opening)), "")


def final_answer(text: str) -> str:
    """Return ``text`` without its thought; empty if the thought has no end."""
    parts = split_thought(text)
    if parts is not None:
        return parts.final
    return "" if ends_in_thought(text) else text


def opened_thought(prompt: str) -> str:
    """Return the mark with which ``prompt`` opens a thought, or an empty string."""
    end = prompt.rstrip()
    return next((opening for opening, _ in THOUGHT_MARKS if end.endswith(opening)), "")


def ends_in_thought(text: str) -> bool:
    """Return whether ``text`` starts with a thought that it does not finish."""
    return split_thought(text) is None and bool(_opening_mark(text))
