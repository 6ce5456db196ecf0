"""Word differences between two texts, for highlighting.

Texts are compared by words, not characters, because a curator reads words. Longer texts than
MAX_WORDS are compared as a whole: the cost grows with the square of their length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

MAX_WORDS = 600
_WORD = re.compile(r"\s+|[^\s\w]|\w+", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a text; ``differs`` if the other text has something else there."""

    text: str
    differs: bool


def word_differences(first: str, second: str) -> tuple[list[Piece], list[Piece]]:
    """Split both texts into common and differing pieces, which add up to the whole texts."""
    left, right = _WORD.findall(first), _WORD.findall(second)
    if max(len(left), len(right)) > MAX_WORDS:
        same = first == second
        return [Piece(first, not same)], [Piece(second, not same)]
    matcher = SequenceMatcher(
        None, [word.casefold() for word in left], [word.casefold() for word in right], False
    )
    pieces: tuple[list[Piece], list[Piece]] = ([], [])
    for tag, left_start, left_end, right_start, right_end in matcher.get_opcodes():
        for side, words in (
            (pieces[0], left[left_start:left_end]),
            (pieces[1], right[right_start:right_end]),
        ):
            if text := "".join(words):
                side.append(Piece(text, tag != "equal" and not text.isspace()))
    return _join_pieces(pieces[0]), _join_pieces(pieces[1])


def _join_pieces(pieces: list[Piece]) -> list[Piece]:
    """Join neighbours of the same kind, and differing words with only white space between."""
    joined: list[Piece] = []
    for position, piece in enumerate(pieces):
        is_inside = 0 < position < len(pieces) - 1 and piece.text.isspace()
        if is_inside and pieces[position - 1].differs and pieces[position + 1].differs:
            piece = Piece(piece.text, True)
        if joined and joined[-1].differs == piece.differs:
            joined[-1] = Piece(joined[-1].text + piece.text, piece.differs)
        else:
            joined.append(piece)
    return joined
