"""Edits of samples for the pages: what a card shows, and the operations of a form."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dashboard.text import formatting
from dashboard.text.word_differences import word_differences
from scoring.database.connection import Store
from scoring.database.queries.edited_scores import EditedScore, find_current_scores
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.exports.editing import name_turns, set_text, turns_now
from scoring.readers.conversation import insert_placeholders
from scoring.readers.turn_removal import EditError
from scoring.reviews.decisions import read_edits
from scoring.reviews.edit_resolution import SampleEdit
from scoring.reviews.edits import (
    DropTurn,
    MoveImage,
    Operation,
    RemoveImage,
    SwapAnswers,
    apply_edit,
)
from scoring.samples import Role, Sample, Status, Turn
from scoring.workspace import Workspace

ImageChange = int | None
"""Where a form moves an image placeholder: the position of a question; None to remove it."""


def read_card_edits(
    store: Store, scope: Scope, samples: Sequence[Sample]
) -> dict[int, dict[str, Any]]:
    """Return what cards show of the current edits of these samples, by row."""
    by_row = {sample.row_idx: sample for sample in samples}
    edits = read_edits(store.workspace, by_row)
    cards = {each.row_idx: _describe_edit(by_row[each.row_idx], each) for each in edits}
    changing = {each.row_idx: each.event.event_id for each in edits if each.changes_record}
    scores = find_current_scores(store, scope, changing) if changing else {}
    for row_idx in changing:
        if not cards[row_idx]["problem"]:
            cards[row_idx]["score"] = _describe_score(*scores.get(row_idx, (None, False)))
    return cards


def _describe_score(score: EditedScore | None, is_comparable: bool) -> str:
    """Return the score of an edited text in a sentence."""
    if score is None or score.status == Status.PENDING:
        return "The edited text is not scored. Score it with visnec score --edited."
    run = f"run {score.run_id}"
    if not is_comparable:
        run += ", of another model or with other settings"
    if score.visnec is None:
        reason = formatting.status_name(score.status)
        return f"The edited text has no score: {reason} ({run})."
    return f"Score of the edited text: {formatting.score(score.visnec)} ({run})."


def edits_version(workspace: Workspace) -> str:
    """Return a key that changes with the current edits."""
    ids = [event.event_id for each in read_edits(workspace) for event in (each.event, *each.others)]
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:12] if ids else ""


def _describe_edit(sample: Sample, current: SampleEdit) -> dict[str, Any]:
    event = current.event
    shown = {
        "reviewer": event.reviewer,
        "edited_at": formatting.moment(event.decided_at),
        "conflict": current.is_conflict,
        "changes": [],
        "problem": None,
        "reason": "",
        "note": "",
        "score": None,
    }
    try:
        after = apply_edit(sample, current.edit)
        shown |= {"reason": name_reason(current.edit.reason), "note": current.edit.note}
        shown["changes"] = list_changes(sample, after.turns)
    except (EditError, InputError) as problem:
        shown["problem"] = f"This edit cannot be applied: {problem}"
    return shown


def name_reason(reason: str) -> str:
    """Return a reason code in words."""
    return reason.replace("_", " ")


def list_changes(sample: Sample, after: Mapping[int, Turn]) -> list[dict[str, Any]]:
    """Return each changed turn before and after, in pieces [text, differs]; None if dropped."""
    changes = []
    for position, name in name_turns(sample).items():
        before, now = sample.turns[position], after.get(position)
        if now == before:
            continue
        old = insert_placeholders(before)
        new = None if now is None else insert_placeholders(now)
        first, second = word_differences(old, new or "")
        changes.append(
            {
                "turn": name,
                "before": [[piece.text, piece.differs] for piece in first],
                "after": None if new is None else [[p.text, p.differs] for p in second],
            }
        )
    return changes


def plan_operations(
    sample: Sample,
    base: Sequence[Operation],
    texts: Mapping[int, str],
    dropped: Collection[int] = (),
    images: Mapping[int, ImageChange] = MappingProxyType({}),
) -> list[Operation]:
    """Return the operations of a form that was filled in for a sample.

    Args:
        sample: The sample as it was imported.
        base: The operations of the edit that the form started from.
        texts: The text of each turn by position, with ``<image>`` for its images.
        dropped: Positions of answers to drop with their questions.
        images: What to do with placeholders, by their number from 0.

    Raises:
        InputError: Where an operation does not fit the sample.
    """
    turns = turns_now(sample, base)
    operations = list(base)
    changed = {
        position: text
        for position, text in texts.items()
        if position in turns and text != insert_placeholders(turns[position])
    }
    for first, second in _find_swaps(turns, changed):
        operations.append(SwapAnswers(first, second))
        del changed[first], changed[second]
    operations += [set_text(position, turns[position], text) for position, text in changed.items()]
    operations += plan_image_changes(sample, operations, images)
    operations += [DropTurn(position) for position in dropped if position in turns]
    turns_now(sample, operations)
    return operations


def _find_swaps(turns: Mapping[int, Turn], changed: Mapping[int, str]) -> list[tuple[int, int]]:
    """Return pairs of answers that have each other's text."""
    answers = [p for p in sorted(changed) if turns[p].role is Role.ASSISTANT]
    pairs: list[tuple[int, int]] = []
    for first in answers:
        for second in answers:
            is_swap = changed[first] == turns[second].text and changed[second] == turns[first].text
            if first < second and is_swap and not any({first, second} & set(p) for p in pairs):
                pairs.append((first, second))
    return pairs


def list_image_choices(sample: Sample, base: Sequence[Operation]) -> list[dict[str, ImageChange]]:
    """Return what a form offers for each image placeholder, by its words."""
    turns, names = turns_now(sample, base), name_turns(sample)
    questions = [p for p, turn in sorted(turns.items()) if turn.role is Role.HUMAN]
    return [
        {"Remove it": None}
        | {f"Move it to {names[other]}": other for other in questions if other != position}
        for position, turn in sorted(turns.items())
        for _ in turn.image_offsets
    ]


def plan_image_changes(
    sample: Sample, base: Sequence[Operation], changes: Mapping[int, ImageChange]
) -> list[Operation]:
    """Return the operations for the placeholders in ``changes``, by their number in the form.

    An operation counts the placeholders that are there after those before it: the last ones are
    removed first, then the others are moved one by one.
    """
    turns = turns_now(sample, base)
    positions = (p for p, turn in sorted(turns.items()) for _ in turn.image_offsets)
    turn_of = dict(enumerate(positions))
    removed = sorted((n for n, target in changes.items() if target is None), reverse=True)
    operations: list[Operation] = [RemoveImage(number) for number in removed]
    order = [number for number in turn_of if number not in removed]
    for number, target in sorted(changes.items()):
        if target is None:
            continue
        operations.append(MoveImage(order.index(number), target))
        order.remove(number)
        turn_of[number] = target
        order.insert(sum(turn_of[other] < target for other in order), number)
    return operations
