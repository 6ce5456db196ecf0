"""Word differences between two predictions, for marking; pure.

Differences are found between words, not characters: a curator reads words. Long texts are
compared up to a limit, because the comparison grows with the square of their length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

MAX_WORDS = 600
_WORD = re.compile(r"\s+|[^\s\w]|\w+", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; ``differs`` where the other text says something else."""

    text: str
    differs: bool


def word_differences(one: str, other: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts cut into pieces that are common and pieces that differ; nothing is lost."""
    left, right = _WORD.findall(one), _WORD.findall(other)
    if max(len(left), len(right)) > MAX_WORDS:
        same = one == other
        return [Piece(one, not same)], [Piece(other, not same)]
    matcher = SequenceMatcher(
        None, [word.casefold() for word in left], [word.casefold() for word in right], False
    )
    pieces: tuple[list[Piece], list[Piece]] = ([], [])
    for tag, left_start, left_end, right_start, right_end in matcher.get_opcodes():
        differs = tag != "equal"
        _add(pieces[0], "".join(left[left_start:left_end]), differs)
        _add(pieces[1], "".join(right[right_start:right_end]), differs)
    return _joined(pieces[0]), _joined(pieces[1])


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Differing words with nothing but white space between them become one stretch."""
    joined: list[Piece] = []
    for place, piece in enumerate(pieces):
        between = 0 < place < len(pieces) - 1 and piece.text.isspace()
        if between and pieces[place - 1].differs and pieces[place + 1].differs:
            piece = Piece(piece.text, True)
        if joined and joined[-1].differs == piece.differs:
            joined[-1] = Piece(joined[-1].text + piece.text, piece.differs)
        else:
            joined.append(piece)
    return joined


def _add(pieces: list[Piece], text: str, differs: bool) -> None:
    if text:
        pieces.append(Piece(text, differs and not text.isspace()))
