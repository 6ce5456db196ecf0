"""Which edit of a sample is current. Pure functions on events.

Of one reviewer, the newest edit that is not undone: inside a log the later event wins, between
machines the later time. Of several reviewers, the newest of theirs; where another reviewer's edit
has other operations, this is a conflict, which is reported and does not block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from scoring.errors import InputError
from scoring.reviews.decision_log import DecisionEvent
from scoring.reviews.edits import Edit, parse_edit


@dataclass(frozen=True, slots=True)
class SampleEdit:
    """The current edit of a sample; ``others`` are the current ones of other reviewers."""

    event: DecisionEvent
    others: tuple[DecisionEvent, ...] = ()

    @property
    def row_idx(self) -> int:
        """The sample."""
        return self.event.row_idx

    @property
    def edit(self) -> Edit:
        """Its edit. Raises InputError for one that this version cannot read."""
        return parse_edit(str(self.event.edit))

    @property
    def changes_record(self) -> bool:
        """Whether the record is changed: an edit without operations restores it."""
        return _operations_of(self.event) != ()

    @property
    def is_conflict(self) -> bool:
        """Whether reviewers have different edits of the sample."""
        return any(_operations_of(each) != _operations_of(self.event) for each in self.others)


def latest_edit(
    events: Sequence[DecisionEvent], undone: Collection[str] = ()
) -> DecisionEvent | None:
    """Return the current edit of one reviewer on one sample; None without one.

    ``events`` are ordered as for ``resolution.latest_decisions``; ``undone`` are ids of events.
    """
    by_machine = {
        event.machine: event  # the last one of each log stays
        for event in events
        if event.edit is not None and event.event_id not in undone
    }
    return max(by_machine.values(), key=_order_of, default=None)


def resolve_edits(events: Iterable[DecisionEvent]) -> list[SampleEdit]:
    """Return the current edit of each sample, from those of its reviewers, ascending by row."""
    by_row: dict[int, list[DecisionEvent]] = defaultdict(list)
    for event in events:
        by_row[event.row_idx].append(event)
    resolved = []
    for _, edits in sorted(by_row.items()):
        *others, newest = sorted(edits, key=_order_of)
        resolved.append(SampleEdit(newest, tuple(others)))
    return resolved


def _order_of(event: DecisionEvent) -> tuple[str, str]:
    return event.decided_at, event.event_id


def _operations_of(event: DecisionEvent) -> object:
    """Return the operations, or the text of an edit that this version cannot read."""
    try:
        return parse_edit(str(event.edit)).operations
    except InputError:
        return event.edit
