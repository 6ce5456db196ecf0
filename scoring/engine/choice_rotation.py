"""Choice rotation: the options of a multiple-choice question move to other letters.

A model that always answers A, or prefers the first option, is right about a question by chance; one
that knows the answer is right in every order. Only the texts of the options move, one position at a
time, so the rest of the prompt stays unchanged, including its length.
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

# Such options mean something else in another position.
_POSITION_DEPENDENT = re.compile(
    r"\b(?:both|neither|above|below|options?|choices?)\b|\b[A-H] (?:and|or) [A-H]\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A question with its options moved, and the letter that is then right."""

    turns: tuple[Turn, ...]
    letter: str
    question: str

    def is_right(self, prediction: str) -> bool:
        """Return whether a prediction chooses the option of the reference."""
        return find_chosen_letter(prediction, list_options(self.question)) == self.letter


def rotate_choices(turns: Sequence[Turn], reference: str) -> tuple[Rotation, ...]:
    """Return the question in every rotation, first unchanged; empty if it cannot be rotated.

    ``turns`` end with the question. It cannot be rotated if it lists no options, the reference is
    not one of them, an option refers to others, or an image is between them.
    """
    if not turns:
        return ()
    text = turns[-1].text
    spans = find_option_spans(text)
    right = find_reference_letter(reference, text) if spans else None
    if right is None or any(_POSITION_DEPENDENT.search(text[a:b]) for _, a, b in spans):
        return ()
    if any(spans[0][1] < offset < spans[-1][2] for offset in turns[-1].image_offsets):
        return ()
    letters = [letter for letter, _, _ in spans]
    right_index = letters.index(right)
    rotations = []
    for shift in range(len(spans)):
        pieces, copied = [], 0
        for index, (_, start, end) in enumerate(spans):
            _, first, last = spans[(index + shift) % len(spans)]  # the option that moves here
            pieces += [text[copied:start], text[first:last]]
            copied = end
        question = "".join((*pieces, text[copied:]))
        if list(list_options(question)) != letters:
            return ()  # the text of an option reads as a letter elsewhere
        moved = (*turns[:-1], replace(turns[-1], text=question))
        rotations.append(Rotation(moved, letters[(right_index - shift) % len(letters)], question))
    return tuple(rotations)
