"""What holds of one reviewer's decisions, kept up to date event by event; pure.

The review deck asks after every key, so the answer must not cost a walk over all decisions ever
made. Undos are applied as they come; the rare undo of an undo is settled by starting over.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from scoring.reviews.decisions import DecisionEvent


@dataclass(frozen=True, slots=True)
class StandingBulk:
    """A verdict on many samples at once, as far as it still holds: on ``n`` of them."""

    queue: str
    decision: str
    n: int
    decided_at: str


class Standing:
    """Verdicts of one reviewer that are not undone, in the order they were given."""

    def __init__(self) -> None:
        self._events: list[DecisionEvent] = []
        self._seen: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        self._n_decided = 0
        self._verdicts: dict[str, DecisionEvent] = {}
        self._by_row: dict[int, list[str]] = defaultdict(list)
        self._bulks: dict[str, dict[str, None]] = {}  # queue -> events, both in order
        self._undos: set[str] = set()
        self._undone: set[str] = set()

    def add(self, events: Sequence[DecisionEvent]) -> None:
        """Takes new events of the reviewer in, in order; those it knows are passed over."""
        events = [event for event in events if event.event_id not in self._seen]
        self._seen.update(event.event_id for event in events)
        self._events += events
        if any(event.undoes in self._undos for event in events if event.undoes):
            self._start_over()
            return
        for event in events:
            self._take(event)

    def _take(self, event: DecisionEvent) -> None:
        if event.undoes is not None:
            self._undos.add(event.event_id)
            self._undone.add(event.undoes)
            self._remove(event.undoes)
        elif event.decision is not None and event.event_id not in self._undone:
            self._verdicts[event.event_id] = event
            self._n_decided += not self._by_row[event.row_idx]
            self._by_row[event.row_idx].append(event.event_id)
            if event.in_bulk:
                self._bulks.setdefault(str(event.queue), {})[event.event_id] = None

    def _remove(self, event_id: str) -> None:
        verdict = self._verdicts.pop(event_id, None)
        if verdict is not None:
            self._by_row[verdict.row_idx].remove(event_id)
            self._n_decided -= not self._by_row[verdict.row_idx]
            bulk = self._bulks.get(verdict.queue or "", {})
            if bulk.pop(event_id, event_id) is None and not bulk:
                del self._bulks[str(verdict.queue)]

    def _start_over(self) -> None:
        """An undo that was itself undone takes nothing back: only those that hold are applied."""
        events = {event.event_id: event for event in self._events}
        taken_back: set[str] = set()
        for event in reversed(self._events):
            if event.undoes is not None and event.event_id not in taken_back:
                taken_back.add(event.undoes)
        self._forget()
        for event in events.values():
            if event.undoes is not None:
                self._undos.add(event.event_id)
            elif event.event_id not in taken_back:
                self._take(event)
        self._undone = taken_back

    @property
    def n_decided(self) -> int:
        """Samples on which the reviewer has a verdict."""
        return self._n_decided

    def decision(self, row_idx: int) -> str | None:
        """The verdict that holds on a sample."""
        given = self._by_row.get(row_idx)
        return str(self._verdicts[given[-1]].decision) if given else None

    def decided(self, rows: Iterable[int]) -> dict[int, str]:
        """Row to verdict, for those of ``rows`` that have one."""
        return {row: one for row in rows if (one := self.decision(row)) is not None}

    def last_bulk(self) -> StandingBulk | None:
        """The last verdict on many samples of which anything holds."""
        if not self._bulks:
            return None
        queue, events = next(reversed(self._bulks.items()))
        one = self._verdicts[next(iter(events))]
        return StandingBulk(queue, str(one.decision), len(events), one.decided_at)

    def history(self, n: int) -> list[dict[str, Any]]:
        """The last ``n`` verdicts, oldest first: what an undo takes back, from the end.

        Verdicts on many samples at once are left out: they are undone where they were given.
        """
        single = (one for one in reversed(self._verdicts.values()) if not one.in_bulk)
        last = list(islice(single, n))[::-1]
        return [
            {"event_id": one.event_id, "row_idx": one.row_idx, "decision": str(one.decision)}
            for one in last
        ]


def in_time(events: Iterable[DecisionEvent]) -> list[DecisionEvent]:
    """Events of several logs as one stretch: each log keeps its own order, whatever its clock
    says; between logs the clock decides."""
    by_log = sorted(events, key=lambda event: (event.reviewer, event.machine))
    logs = [
        list(log) for _, log in groupby(by_log, key=lambda event: (event.reviewer, event.machine))
    ]
    return list(heapq.merge(*logs, key=lambda event: event.decided_at))
