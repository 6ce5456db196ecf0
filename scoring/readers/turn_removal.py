"""Remove questions and answers from a conversation; their images move to another question."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from scoring.samples import Role, Turn


class EditError(Exception):
    """Why a record cannot be edited, in words."""


def pair_positions(turns: Sequence[Turn], answers: Collection[int]) -> set[int]:
    """Return the positions of these answers (0-based among the answers) and their questions."""
    positions = [i for i, turn in enumerate(turns) if turn.role is Role.ASSISTANT]
    removed = {positions[answer] for answer in answers}
    return removed | {i - 1 for i in removed if i and turns[i - 1].role is Role.HUMAN}


def remove_turns(turns: Sequence[Turn], answers: Collection[int]) -> list[Turn]:
    """Return the conversation without these answers and their questions.

    Images of a removed question move before the next remaining human turn, or after the previous
    one if there is no next. Raise EditError where no human turn remains.
    """
    return list(remaining_turns(turns, pair_positions(turns, answers)).values())


def remaining_turns(turns: Sequence[Turn], removed: set[int]) -> dict[int, Turn]:
    """Return position -> turn for those that remain, with the images of removed questions."""
    remaining = {i: turn for i, turn in enumerate(turns) if i not in removed}
    for position, target, is_before in plan_moves(turns, removed):
        n = len(turns[position].image_offsets)
        turn = remaining[target]
        if is_before:
            offsets = (*(0,) * n, *(offset + 1 for offset in turn.image_offsets))
            remaining[target] = Turn(turn.role, "\n" + turn.text, offsets)
        else:
            text = turn.text + "\n"
            remaining[target] = Turn(turn.role, text, (*turn.image_offsets, *(len(text),) * n))
    return remaining


def plan_moves(turns: Sequence[Turn], removed: set[int]) -> list[tuple[int, int, bool]]:
    """Return (removed question, human turn that gets its images, whether before its text).

    Moves to a later turn run backwards through the conversation, which preserves the order of
    images put before one turn. Moves to an earlier turn come last, in their own order.
    """
    humans = [i for i, turn in enumerate(turns) if turn.role is Role.HUMAN and i not in removed]
    moved = [position for position in sorted(removed) if turns[position].image_offsets]
    if moved and not humans:
        raise EditError("no question would remain for its image")
    to_later = [
        (position, next(human for human in humans if human > position), True)
        for position in reversed(moved)
        if position < humans[-1]
    ]
    return to_later + [(position, humans[-1], False) for position in moved if position > humans[-1]]
