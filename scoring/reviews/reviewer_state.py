"""Which decision holds for every sample and reviewer, kept up to date log by log; pure.

Everything here depends on what the logs contain, never on the order in which their events arrived:
adding events one by one gives what reading all logs at once gives.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from scoring.reviews.decision_log import Decision, DecisionEvent
from scoring.reviews.resolution import LatestDecision, resolve_decision

SampleKey = tuple[int, str]
"""A sample's row_idx and a reviewer."""


@dataclass(frozen=True, slots=True)
class UndoableDecision:
    """A decision on one sample that holds, and what would hold for the sample without it.

    ``then`` is what holds once this decision and every later one is taken back.
    """

    event_id: str
    row_idx: int
    decision: str
    then: str | None


@dataclass(frozen=True, slots=True)
class BulkDecision:
    """A decision on many samples at once, as far as it still holds: on ``n`` of them."""

    queue: str
    decision: str
    n: int
    decided_at: str


class DecisionState:
    """Decisions of all reviewers: what holds, what can be undone next, and how many there are."""

    def __init__(self) -> None:
        self._logs: dict[str, _Log] = {}  # ascending by name
        self._latest: dict[SampleKey, LatestDecision] = {}
        self._undone: dict[SampleKey, dict[str, str]] = {}  # samples with undos only
        self._n_decided: Counter[str] = Counter()

    # ---- events in ---------------------------------------------------------------------------

    def extend_log(self, name: str, events: Iterable[DecisionEvent]) -> set[int]:
        """Adds the events that a log has grown by; returns the rows for which others hold now."""
        if name not in self._logs:
            return self.replace_log(name, events)
        return self._update(self._logs[name].add(events))

    def replace_log(self, name: str, events: Iterable[DecisionEvent]) -> set[int]:
        """Reads a log as if it never had other events; returns the rows that this changed."""
        before, log = self._logs.get(name), _Log(name)
        keys = log.add(events)
        self._logs = dict(sorted((self._logs | {name: log}).items()))
        return self._update(keys | before.by_sample.keys() if before else keys)

    def _update(self, keys: Iterable[SampleKey]) -> set[int]:
        changed = set()
        for key in keys:
            before = self._latest.get(key)
            latest, undone = resolve_decision(self._events(key))
            if undone:
                self._undone[key] = undone
            else:
                self._undone.pop(key, None)
            if latest == before:
                continue
            if latest is not None:
                self._latest[key] = latest
            else:
                del self._latest[key]
            changed.add(key[0])
            self._n_decided[key[1]] += _is_decided(latest) - _is_decided(before)
        return changed

    def _events(self, key: SampleKey) -> list[DecisionEvent]:
        """Events of a reviewer about a sample, ordered as :func:`resolve_decision` expects."""
        return [event for log in self._logs.values() for event in log.by_sample.get(key, ())]

    # ---- what holds --------------------------------------------------------------------------

    def list_latest(self, rows: Iterable[int] | None = None) -> list[LatestDecision]:
        """What holds per sample and reviewer, ascending; of all samples, or of these ``rows``."""
        if rows is None:
            return [self._latest[key] for key in sorted(self._latest)]
        keys = product(sorted(rows), self._reviewers())
        return [self._latest[key] for key in keys if key in self._latest]

    def _reviewers(self) -> list[str]:
        return sorted({reviewer for log in self._logs.values() for reviewer in log.reviewers})

    def list_decided(self, reviewer: str, rows: Iterable[int]) -> dict[int, Decision]:
        """Row -> the reviewer's decision, for those of ``rows`` that have one."""
        found = ((row_idx, self._latest.get((row_idx, reviewer))) for row_idx in rows)
        return {row: latest.decision for row, latest in found if latest and latest.decision}

    def count_decided(self, reviewer: str) -> int:
        """Samples on which the reviewer has a decision."""
        return self._n_decided[reviewer]

    def list_history(self, row_idx: int) -> list[DecisionEvent]:
        """Every event about a sample, undone ones and undos included, by time."""
        events = [
            one for reviewer in self._reviewers() for one in self._events((row_idx, reviewer))
        ]
        return sorted(events, key=lambda event: (event.decided_at, event.machine, event.seq))

    # ---- what can be undone ------------------------------------------------------------------

    def find_undo(self, event: DecisionEvent) -> str | None:
        """Id of the undo that takes the event back, None where it is not undone."""
        return self._undone.get((event.row_idx, event.reviewer), {}).get(event.event_id)

    def find_undo_target(self, reviewer: str) -> list[DecisionEvent]:
        """What an undo takes back next: the reviewer's last decision that holds.

        One event, or all that holds of a bulk decision; empty where nothing is left.
        """
        given = (self._holding(events) for events in self._given(reviewer, True, False))
        return next((events for events in given if events), [])

    def list_undoable(self, reviewer: str, n: int) -> list[UndoableDecision]:
        """The last ``n`` decisions on one sample each, oldest first: undo takes them from the end.

        Bulk decisions are left out: they are undone where they were given.
        """
        taken: dict[int, set[str]] = defaultdict(set)
        found: list[UndoableDecision] = []
        single = (events for events in self._given(reviewer, False) if self._holding(events))
        for [event] in islice(single, n):
            gone = taken[event.row_idx]
            gone.add(event.event_id)
            events = self._events((event.row_idx, reviewer))
            left, _ = resolve_decision([one for one in events if one.event_id not in gone])
            then = left.decision if left else None
            found.append(UndoableDecision(event.event_id, event.row_idx, str(event.decision), then))
        return found[::-1]

    def find_last_bulk(self, reviewer: str) -> BulkDecision | None:
        """The reviewer's last decision on many samples of which anything holds."""
        given = (self._holding(events) for events in self._given(reviewer, True))
        events = next((events for events in given if events), None)
        if events is None:
            return None
        first = events[0]
        return BulkDecision(str(first.queue), str(first.decision), len(events), first.decided_at)

    def list_bulk_events(self, reviewer: str, queue: str) -> list[DecisionEvent]:
        """What still holds of the reviewer's bulk decision of that queue."""
        given = (events for events in self._given(reviewer, True) if events[0].queue == queue)
        return self._holding(next(given, ()))

    def _holding(self, events: Sequence[DecisionEvent]) -> list[DecisionEvent]:
        return [event for event in events if self.find_undo(event) is None]

    def _given(self, reviewer: str, *in_bulk: bool) -> Iterator[list[DecisionEvent]]:
        """Decisions of a reviewer as they were given, the latest first, undone ones included.

        Each log keeps its own order, whatever its clock says; between logs the clock decides.
        """
        logs = [log.latest_first(reviewer, kind) for log in self._logs.values() for kind in in_bulk]
        seen: set[tuple[int, str]] = set()  # an event may be in two logs: a copied file
        for *_, events in heapq.merge(*logs, reverse=True):
            first = events[0].row_idx, events[0].event_id
            if first not in seen:
                seen.add(first)
                yield events


@dataclass(slots=True)
class _Given:
    """Decisions in the order they were given; lists side by side cost less than many tuples."""

    clocks: list[str]
    numbers: list[int]
    events: list[DecisionEvent | list[DecisionEvent]]


class _Log:
    """The events of one log: by sample, and its decisions in the order they were given."""

    def __init__(self, name: str) -> None:
        self.by_sample: dict[SampleKey, list[DecisionEvent]] = {}
        self.reviewers: set[str] = set()  # one person, except in files that were put together
        self._name = name
        self._clock = ""  # the latest moment so far: a clock that is set back changes no order
        self._n = 0
        self._given: dict[tuple[str, bool], _Given] = {}  # by reviewer and whether in bulk
        self._bulks: dict[tuple[str, str], list[DecisionEvent]] = {}

    def add(self, events: Iterable[DecisionEvent]) -> set[SampleKey]:
        """Adds events in the log's order; returns the samples and reviewers they are about."""
        keys = set()
        for event in events:
            key = (event.row_idx, event.reviewer)
            keys.add(key)
            about = self.by_sample.get(key)
            if about is None:
                self.by_sample[key] = [event]
            else:
                about.append(event)
            self.reviewers.add(event.reviewer)
            self._clock = max(self._clock, event.decided_at)
            self._n += 1
            if event.decision is not None and event.undoes is None:
                self._add_decision(event)
        return keys

    def _add_decision(self, event: DecisionEvent) -> None:
        events: DecisionEvent | list[DecisionEvent] = event
        if event.in_bulk:
            events = self._bulks.setdefault((event.reviewer, str(event.queue)), [])
            events.append(event)
            if len(events) > 1:
                return
        given = self._given.get((event.reviewer, event.in_bulk))
        if given is None:
            given = self._given[event.reviewer, event.in_bulk] = _Given([], [], [])
        given.clocks.append(self._clock)
        given.numbers.append(self._n)
        given.events.append(events)

    def latest_first(
        self, reviewer: str, in_bulk: bool
    ) -> Iterator[tuple[str, str, int, list[DecisionEvent]]]:
        """Decisions, the events of each behind what gives it its place among those of all logs."""
        given = self._given.get((reviewer, in_bulk), _Given([], [], []))
        for at in reversed(range(len(given.events))):
            events = given.events[at]
            place = given.clocks[at], self._name, given.numbers[at]
            yield *place, events if isinstance(events, list) else [events]


def _is_decided(latest: LatestDecision | None) -> bool:
    return latest is not None and latest.decision is not None
