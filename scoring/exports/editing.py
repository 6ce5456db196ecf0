"""Record reviewers' edits of samples, and undo them.

An edit is checked against its record before it is stored: operations that do not fit are refused,
and an edit that only some formats can carry is stored with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scoring.database.connection import Store
from scoring.database.queries.detail import fetch_predictions
from scoring.dataset.records import read_dataset_info, read_sample
from scoring.errors import InputError
from scoring.exports.record_edits import edit_sample, reading_of
from scoring.readers.conversation import PLACEHOLDER
from scoring.readers.turn_removal import EditError
from scoring.reviews.decision_log import DecisionEvent
from scoring.reviews.decisions import decision_feed, open_review_log
from scoring.reviews.edits import (
    Edit,
    Operation,
    SetText,
    apply_operations,
    digest_conversation,
    parse_edit,
)
from scoring.runs.record import read_run_or_latest
from scoring.samples import Role, Sample, Turn
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class SavedEdit:
    """A stored edit, with its sample before and after it.

    ``warning`` states why the bytes of the record cannot carry the edit, and exports that keep them
    refuse it; None where they can.
    """

    event: DecisionEvent
    before: Sample
    after: Sample
    warning: str | None


def save_edit(
    workspace: Workspace,
    row_idx: int,
    operations: Sequence[Operation],
    *,
    reviewer: str,
    reason: str = "other",
    note: str = "",
    event_id: str | None = None,
) -> SavedEdit:
    """Store an edit of a sample: all its changes to the record as it was imported.

    It replaces the reviewer's earlier edit; without operations the record is as it was imported.
    Nothing but the reviewer's log is written.

    Args:
        workspace: The workspace.
        row_idx: The sample.
        operations: See ``scoring.reviews.edits``.
        reviewer: Whose edit it is.
        reason: One of the workspace's ``edit_reasons``.
        note: Any text.
        event_id: Identifies the edit if it may be sent again.

    Raises:
        InputError: for another reason, or operations that do not fit the record.
    """
    reasons = workspace.settings.edit_reasons
    if reason not in reasons:
        raise InputError(f"Unknown reason {reason!r}. Choose one of: {', '.join(reasons)}.")
    before = read_sample(workspace, row_idx)
    edit = Edit(tuple(operations), reason, digest_conversation(before), note.strip())
    reading, warning = reading_of(read_dataset_info(workspace), row_idx), None
    try:
        after = edit_sample(before, edit, reading, with_record=False)
    except EditError as problem:
        raise InputError(f"Row {row_idx} cannot be edited so: {problem}.") from problem
    try:
        after = edit_sample(before, edit, reading)
    except EditError as problem:
        warning = (
            f"Exports that keep the bytes of row {row_idx} will refuse this edit: {problem}. The "
            "format messages can carry it."
        )
    log = open_review_log(workspace, reviewer)
    return SavedEdit(log.append_edit(row_idx, edit, event_id), before, after, warning)


def undo_edit(workspace: Workspace, row_idx: int, *, reviewer: str) -> DecisionEvent:
    """Revert the reviewer's edit of a sample; an earlier one of theirs is current again.

    Raises InputError where the reviewer has none.
    """
    undone = open_review_log(workspace, reviewer).undo_edit(row_idx)
    if not undone:
        raise InputError(f"{reviewer} has no edit of row {row_idx} to undo.")
    return undone[0]


def own_operations(workspace: Workspace, sample: Sample, reviewer: str) -> tuple[Operation, ...]:
    """Return the operations of the reviewer's edit of a sample, which a further edit adds to."""
    name = open_review_log(workspace, reviewer).reviewer
    event = decision_feed(workspace).query_state(lambda s: s.find_edit(sample.row_idx, name))
    if event is None:
        return ()
    edit = parse_edit(str(event.edit))
    return edit.operations if edit.digest == digest_conversation(sample) else ()


def set_text(position: int, turn: Turn, text: str) -> SetText:
    """Return the operation that gives a turn a text with ``<image>`` where its images go.

    In a turn without images, ``<image>`` is text like any other.
    """
    if not turn.image_offsets:
        return SetText(position, text)
    pieces, offsets, length = text.split(PLACEHOLDER), [], 0
    for piece in pieces[:-1]:
        length += len(piece)
        offsets.append(length)
    return SetText(position, "".join(pieces), tuple(offsets))


def answer_position(sample: Sample, number: int) -> int:
    """Return the position of an answer, numbered from 1. Raises InputError where it is not."""
    positions = [i for i, turn in enumerate(sample.turns) if turn.role is Role.ASSISTANT]
    if not 1 <= number <= len(positions):
        raise InputError(
            f"Row {sample.row_idx} has {len(positions)} answer(s), and no answer {number}."
        )
    return positions[number - 1]


def question_position(sample: Sample, number: int) -> int:
    """Return the position of the question of an answer, numbered from 1. Raises InputError."""
    position = answer_position(sample, number) - 1
    if position < 0 or sample.turns[position].role is not Role.HUMAN:
        raise InputError(f"Answer {number} of row {sample.row_idx} has no question.")
    return position


def name_turns(sample: Sample) -> dict[int, str]:
    """Return position -> name of each turn, such as "answer 2"; without number if there is one."""
    names, n_answers = {}, 0
    several = sample.n_turns > 1
    for position, turn in enumerate(sample.turns):
        number = f" {n_answers + 1}" if several else ""
        kind = {Role.HUMAN: "question", Role.ASSISTANT: "answer"}.get(turn.role, "system prompt")
        names[position] = kind + (number if turn.role is not Role.SYSTEM else "")
        n_answers += turn.role is Role.ASSISTANT
    return names


def turns_now(sample: Sample, operations: Sequence[Operation]) -> dict[int, Turn]:
    """Return the turns by position after these operations. Raises InputError."""
    try:
        return dict(apply_operations(sample, operations).turns)
    except EditError as problem:
        raise InputError(f"Row {sample.row_idx} cannot be edited so: {problem}.") from problem


def read_prediction(
    workspace: Workspace, row_idx: int, number: int, run_id: str | None = None
) -> str:
    """Return the multimodal prediction of an answer (from 1), of a run or the latest one.

    Raises InputError where it has none.
    """
    record = read_run_or_latest(workspace, run_id)
    text = fetch_predictions(Store(workspace), record.run_id, row_idx).get(number - 1)
    if not text:
        raise InputError(
            f"Run {record.run_id} has no multimodal prediction of answer {number} of row "
            f"{row_idx}. Make one with visnec predict, or name another run with --run."
        )
    return text
