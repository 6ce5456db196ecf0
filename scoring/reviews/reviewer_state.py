"""The current decision and edit of every sample and reviewer, updated log by log. Pure.

The state depends on the contents of the logs, never on the order in which their events arrived:
adding events one by one gives the same as reading all logs at once.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice, product

from scoring.reviews.decision_log import Decision, DecisionEvent
from scoring.reviews.edit_resolution import SampleEdit, latest_edit, resolve_edits
from scoring.reviews.resolution import LatestDecision, resolve_decision

SampleKey = tuple[int, str]
"""A sample's row_idx and a reviewer."""

# Decisions in the order they were made: clocks, numbers and events (several of a bulk decision).
# Three lists cost less memory than many tuples.
_Timeline = tuple[list[str], list[int], list[DecisionEvent | list[DecisionEvent]]]


class _Kind(Enum):
    """How many samples a decision is about."""

    SINGLE = "one"
    GROUP = "one and its near-duplicates"
    BULK = "several that were selected"


@dataclass(frozen=True, slots=True)
class UndoableDecision:
    """A current decision on one sample, or on one and its near-duplicates.

    ``then`` is the sample's decision once this one and every later one are undone, ``others`` is
    the same by row for the near-duplicates.
    """

    event_id: str
    row_idx: int
    decision: str
    then: str | None
    others: dict[int, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BulkDecision:
    """A decision on many samples at once, still current for ``n`` of them."""

    queue: str
    decision: str
    n: int
    decided_at: str


class DecisionState:
    """Decisions of all reviewers: which are current, what can be undone next, and counts."""

    def __init__(self) -> None:
        self._logs: dict[str, _Log] = {}  # ascending by name
        self._latest: dict[SampleKey, LatestDecision] = {}
        self._undone: dict[SampleKey, dict[str, str]] = {}  # samples with undos only
        self._edits: dict[SampleKey, DecisionEvent] = {}
        self._n_decided: Counter[str] = Counter()

    def extend_log(self, name: str, events: Iterable[DecisionEvent]) -> set[int]:
        """Add a log's new events; returns the rows whose current decision or edit changed."""
        if name not in self._logs:
            return self.replace_log(name, events)
        return self._resolve_samples(self._logs[name].add_events(events))

    def replace_log(self, name: str, events: Iterable[DecisionEvent]) -> set[int]:
        """Replace all events of a log; returns the rows whose current decision or edit changed."""
        before, log = self._logs.get(name), _Log(name)
        keys = log.add_events(events)
        self._logs = dict(sorted((self._logs | {name: log}).items()))
        return self._resolve_samples(keys | before.by_sample.keys() if before else keys)

    def _resolve_samples(self, keys: Iterable[SampleKey]) -> set[int]:
        changed = set()
        for key in keys:
            before, events = self._latest.get(key), self._list_events(key)
            latest, undone = resolve_decision(events)
            if undone:
                self._undone[key] = undone
            else:
                self._undone.pop(key, None)
            if self._replace_edit(key, latest_edit(events, undone)):
                changed.add(key[0])
            if latest == before:
                continue
            if latest is not None:
                self._latest[key] = latest
            else:
                del self._latest[key]
            changed.add(key[0])
            is_decided, was_decided = (bool(held and held.decision) for held in (latest, before))
            self._n_decided[key[1]] += is_decided - was_decided
        return changed

    def _replace_edit(self, key: SampleKey, edit: DecisionEvent | None) -> bool:
        """Replace a reviewer's edit of a sample; returns whether it changed."""
        before = self._edits.pop(key, None)
        if edit is not None:
            self._edits[key] = edit
        return edit != before

    def _list_events(self, key: SampleKey) -> list[DecisionEvent]:
        """Return a reviewer's events on a sample, ordered as :func:`resolve_decision` expects."""
        return [event for log in self._logs.values() for event in log.by_sample.get(key, ())]

    def list_latest(self, rows: Iterable[int] | None = None) -> list[LatestDecision]:
        """Return the current decisions per sample and reviewer, ascending; of all or these rows."""
        if rows is None:
            return [self._latest[key] for key in sorted(self._latest)]
        keys = product(sorted(rows), self._list_reviewers())
        return [self._latest[key] for key in keys if key in self._latest]

    def list_edits(self, rows: Iterable[int] | None = None) -> list[SampleEdit]:
        """Return the current edit of each edited sample, ascending; of all or these rows."""
        wanted = None if rows is None else set(rows)
        events = [e for key, e in self._edits.items() if wanted is None or key[0] in wanted]
        return resolve_edits(events)

    def find_edit(self, row_idx: int, reviewer: str) -> DecisionEvent | None:
        """Return the reviewer's edit of a sample that is not undone."""
        return self._edits.get((row_idx, reviewer))

    def _list_reviewers(self) -> list[str]:
        return sorted({reviewer for log in self._logs.values() for reviewer in log.reviewers})

    def list_decided(self, reviewer: str, rows: Iterable[int]) -> dict[int, Decision]:
        """Return row -> the reviewer's decision, for those of ``rows`` that have one."""
        current = ((row_idx, self._latest.get((row_idx, reviewer))) for row_idx in rows)
        return {row: latest.decision for row, latest in current if latest and latest.decision}

    def count_decided(self, reviewer: str) -> int:
        """Return the number of samples that the reviewer has decided."""
        return self._n_decided[reviewer]

    def list_history(self, row_idx: int) -> list[tuple[DecisionEvent, bool]]:
        """Return every event on a sample by time, undos included, and whether it is undone."""
        events = [
            event
            for reviewer in self._list_reviewers()
            for event in self._list_events((row_idx, reviewer))
        ]
        events.sort(key=lambda event: (event.decided_at, event.machine, event.seq))
        return [(event, self.find_undo(event) is not None) for event in events]

    def find_undo(self, event: DecisionEvent) -> str | None:
        """Return the id of the undo that reverts the event, None if it is not undone."""
        return self._undone.get((event.row_idx, event.reviewer), {}).get(event.event_id)

    def find_undo_target(self, reviewer: str) -> list[DecisionEvent]:
        """Return what an undo reverts next: the reviewer's last current decision.

        One event, or the current part of a bulk decision; empty if there is nothing left.
        """
        return next(self._latest_first(reviewer, *_Kind), [])

    def list_undoable(self, reviewer: str, n: int) -> list[UndoableDecision]:
        """Return the last ``n`` decisions on a sample or a group of near-duplicates, oldest first.

        Undo starts at the end. Bulk decisions on selected samples are left out: they are undone on
        the page where they were made.
        """
        undone: dict[int, set[str]] = defaultdict(set)
        decisions: list[UndoableDecision] = []
        for events in islice(self._latest_first(reviewer, _Kind.SINGLE, _Kind.GROUP), n):
            others: dict[int, str | None] = {}
            for event in events:
                row = event.row_idx
                undone[row].add(event.event_id)
                present = self._list_events((row, reviewer))
                left, _ = resolve_decision([e for e in present if e.event_id not in undone[row]])
                others[row] = left.decision if left else None
            shown = events[-1]
            then = others.pop(shown.row_idx)
            undoable = (shown.event_id, shown.row_idx, str(shown.decision), then, others)
            decisions.append(UndoableDecision(*undoable))
        return decisions[::-1]

    def list_group_events(self, reviewer: str, row_idx: int, event_id: str) -> list[DecisionEvent]:
        """Return the current events of the decision on a group that an event belongs to.

        Empty for an event that is about one sample, and for an unknown one.
        """
        for event in self._list_events((row_idx, reviewer)):
            if event.event_id == event_id and event.in_group:
                return self.list_bulk_events(reviewer, str(event.queue))
        return []

    def find_last_bulk(self, reviewer: str) -> BulkDecision | None:
        """Return the reviewer's last bulk decision that is still current for any sample."""
        events = next(self._latest_first(reviewer, _Kind.GROUP, _Kind.BULK), None)
        if events is None:
            return None
        first = events[0]
        decisions = sorted({str(event.decision) for event in events})
        return BulkDecision(
            str(first.queue), " and ".join(decisions), len(events), first.decided_at
        )

    def list_bulk_events(self, reviewer: str, queue: str) -> list[DecisionEvent]:
        """Return the events of the reviewer's bulk decision of that queue that are not undone."""
        bulks = self._latest_first(reviewer, _Kind.GROUP, _Kind.BULK)
        return next((events for events in bulks if events[0].queue == queue), [])

    def _latest_first(self, reviewer: str, *kinds: _Kind) -> Iterator[list[DecisionEvent]]:
        """Yield what is not undone of each decision of a reviewer, in the order they were made.

        Each log keeps its own order regardless of its clock; between logs the clock decides.
        """
        logs = [log.latest_first(reviewer, kind) for log in self._logs.values() for kind in kinds]
        seen: set[tuple[int, str]] = set()  # a copied file has the same events twice
        for *_, events in heapq.merge(*logs, reverse=True):
            first = events[0].row_idx, events[0].event_id
            if first not in seen:
                seen.add(first)
                if current := [event for event in events if self.find_undo(event) is None]:
                    yield current


class _Log:
    """The events of one log: by sample, and its decisions in the order they were made."""

    def __init__(self, name: str) -> None:
        self.by_sample: dict[SampleKey, list[DecisionEvent]] = {}
        self.reviewers: set[str] = set()  # one person, except in merged files
        self._name = name
        self._clock = ""  # the latest time so far: setting the clock back does not change the order
        self._n = 0
        self._timelines: dict[tuple[str, _Kind], _Timeline] = {}  # by reviewer and kind
        self._bulks: dict[tuple[str, str], list[DecisionEvent]] = {}

    def add_events(self, events: Iterable[DecisionEvent]) -> set[SampleKey]:
        """Add events in the log's order; returns the samples and reviewers that they concern."""
        keys = set()
        for event in events:
            sample = (event.row_idx, event.reviewer)
            keys.add(sample)
            self.by_sample.setdefault(sample, []).append(event)
            self.reviewers.add(event.reviewer)
            self._clock = max(self._clock, event.decided_at)
            self._n += 1
            if event.decision is None or event.undoes is not None:
                continue
            decided: DecisionEvent | list[DecisionEvent] = event
            kind = _Kind.SINGLE
            if event.in_bulk:
                kind = _Kind.GROUP if event.in_group else _Kind.BULK
                decided = self._bulks.setdefault((event.reviewer, str(event.queue)), [])
                decided.append(event)
                if len(decided) > 1:
                    continue
            key = event.reviewer, kind
            clocks, numbers, in_order = self._timelines.setdefault(key, ([], [], []))
            clocks.append(self._clock)
            numbers.append(self._n)
            in_order.append(decided)
        return keys

    def latest_first(
        self, reviewer: str, kind: _Kind
    ) -> Iterator[tuple[str, str, int, list[DecisionEvent]]]:
        """Return decisions with the key that orders them among those of all logs."""
        clocks, numbers, in_order = self._timelines.get((reviewer, kind), ([], [], []))
        latest_first = zip(reversed(clocks), reversed(numbers), reversed(in_order), strict=True)
        for clock, n, events in latest_first:
            yield clock, self._name, n, events if isinstance(events, list) else [events]
