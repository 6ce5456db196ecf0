"""Edits that exports and runs apply, named so that it stays known which text was used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from scoring.errors import InputError
from scoring.reviews.decision_log import DecisionEvent
from scoring.reviews.decisions import find_events, read_edits
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PinnedEdit:
    """An edit that was applied, as a manifest or run names it; ``sha256`` is of the edit.

    ``conflict``: another reviewer had a different edit, which was older.
    """

    row_idx: int
    event_id: str
    sha256: str
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class ChosenEdit:
    """The edit of a sample that may be applied."""

    event: DecisionEvent
    conflict: bool = False

    def pin(self) -> PinnedEdit:
        """Return the entry of a manifest."""
        digest = hashlib.sha256(str(self.event.edit).encode()).hexdigest()
        return PinnedEdit(self.event.row_idx, self.event.event_id, digest, self.conflict)


def current_edits(workspace: Workspace) -> list[ChosenEdit]:
    """Return the current edits that change a record, ascending by row_idx."""
    edits = (each for each in read_edits(workspace) if each.changes_record)
    return [ChosenEdit(each.event, each.is_conflict) for each in edits]


def pin_edits(workspace: Workspace) -> tuple[PinnedEdit, ...]:
    """Return the current edits as a run of edits pins them. Raises InputError without any."""
    pins = tuple(ChosenEdit(edit.event).pin() for edit in current_edits(workspace))
    if not pins:
        raise InputError(
            f"No sample in {workspace.root} has an edit that changes its record. Edit one in "
            "Review or with visnec edit."
        )
    return pins


def find_pinned_edits(workspace: Workspace, pins: Sequence[PinnedEdit]) -> list[ChosenEdit]:
    """Return pinned edits, also where later edits replaced them.

    Raises InputError where one is gone or has other contents.
    """
    events = find_events(workspace, [pin.event_id for pin in pins])
    chosen = []
    for pin in pins:
        event = events.get(pin.event_id)
        edit = None if event is None else ChosenEdit(event, pin.conflict)
        if edit is None or edit.pin() != pin:
            what = "is gone from the decision logs" if edit is None else "has other contents now"
            raise InputError(f"The edit {pin.event_id} of row {pin.row_idx} {what}.")
        chosen.append(edit)
    return chosen
