"""Choice rotation: the options of a multiple-choice question change places behind its letters.

A model that always says A, or that likes the first option, is right about a question by chance;
one that knows is right in every order. The one decision behind it: only the texts of the options
move, by one place at a time, so that all else of the prompt stays as it is, to the length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scoring.predictions.answer_match import (
    find_chosen_letter,
    find_option_spans,
    find_reference_letter,
    list_options,
)
from scoring.samples import Turn

# Such options mean something else in another place.
_BOUND = re.compile(
    r"\b(?:both|neither|above|below|options?|choices?)\b|\b[A-H] (?:and|or) [A-H]\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A question with its options moved, and the letter that is right then."""

    turns: tuple[Turn, ...]
    letter: str
    question: str

    def is_right(self, prediction: str) -> bool:
        """Whether a prediction chooses the option that the reference is."""
        return find_chosen_letter(prediction, list_options(self.question)) == self.letter


def rotate_choices(turns: Sequence[Turn], reference: str) -> tuple[Rotation, ...]:
    """The question in every order of rotation, first as it is; empty where it is no such question.

    ``turns`` end with the question. That is the case where the question lists no options, the
    reference is none of them, an option speaks of others, or an image stands between them.
    """
    if not turns:
        return ()
    text = turns[-1].text
    spans = find_option_spans(text)
    right = find_reference_letter(reference, text) if spans else None
    if right is None or any(_BOUND.search(text[begin:end]) for _, begin, end in spans):
        return ()
    if any(spans[0][1] < offset < spans[-1][2] for offset in turns[-1].image_offsets):
        return ()
    letters = [letter for letter, _, _ in spans]
    place = letters.index(right)
    made = []
    for shift in range(len(spans)):
        question = _rotated(text, [(begin, end) for _, begin, end in spans], shift)
        if list(list_options(question)) != letters:
            return ()  # a text that reads as a mark elsewhere
        moved = (*turns[:-1], replace(turns[-1], text=question))
        made.append(Rotation(moved, letters[(place - shift) % len(letters)], question))
    return tuple(made)


def _rotated(text: str, spans: Sequence[tuple[int, int]], shift: int) -> str:
    """``text`` with the stretch of each place taken from ``shift`` places further on."""
    pieces, at = [], 0
    for place, (begin, end) in enumerate(spans):
        first, last = spans[(place + shift) % len(spans)]
        pieces += [text[at:begin], text[first:last]]
        at = end
    return "".join((*pieces, text[at:]))
