"""Resolves decision events: undos, each reviewer's decision, the majority, and agreement.

Pure functions on values. :func:`resolve_decision` alone decides which decision is current, for one
sample and one reviewer, so a new event affects only its own sample and reviewer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from scoring.reviews.decision_log import Decision, DecisionEvent, unrecorded_draw


@dataclass(frozen=True, slots=True)
class LatestDecision:
    """A reviewer's current decision on a sample, after all undos.

    ``decision`` is None if the reviewer left only a note. ``decided_at`` and ``event_id`` belong
    to the decision, or to the note if there is no decision. ``queue``, ``sampling_probability``
    and ``draw`` record how the sample was first drawn at random for a decision (at ``drawn_at``),
    because looking at it again elsewhere does not undo the draw; without a draw, ``queue`` is that
    of the current decision. ``first_decided_at`` is the time of the first decision not undone.
    """

    row_idx: int
    reviewer: str
    decision: Decision | None
    note: str | None
    decided_at: str
    event_id: str
    queue: str | None = None
    sampling_probability: float | None = None
    draw: str | None = None
    drawn_at: str | None = None
    first_decided_at: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewerProgress:
    """How many samples a reviewer has decided, by decision, and the time of the last one."""

    reviewer: str
    keep: int
    drop: int
    unsure: int
    last_decided_at: str

    @property
    def decided(self) -> int:
        """Samples with a decision."""
        return self.keep + self.drop + self.unsure


def latest_decisions(events: Iterable[DecisionEvent]) -> list[LatestDecision]:
    """Return the current decision per sample and reviewer, ascending by (row_idx, reviewer).

    ``events`` are all events, log by log in the order of the logs' names, each log in its order.
    """
    by_sample: dict[tuple[int, str], list[DecisionEvent]] = defaultdict(list)
    for event in events:
        by_sample[event.row_idx, event.reviewer].append(event)
    resolved = (resolve_decision(by_sample[key])[0] for key in sorted(by_sample))
    return [latest for latest in resolved if latest is not None]


def majority_decisions(latest: Iterable[LatestDecision]) -> dict[int, Decision]:
    """Return the decision on each sample: keep or drop by the majority of its reviewers.

    ``unsure`` is an abstention. Samples with a tie, or only ``unsure``, are absent: there the
    rule decides.
    """
    lead: dict[int, int] = defaultdict(int)
    for held in latest:
        lead[held.row_idx] += (held.decision is Decision.KEEP) - (held.decision is Decision.DROP)
    return {
        row_idx: Decision.KEEP if votes > 0 else Decision.DROP
        for row_idx, votes in sorted(lead.items())
        if votes
    }


def find_conflicts(latest: Iterable[LatestDecision]) -> list[int]:
    """Return samples to review again, ascending: a tie of keep and drop, or anyone unsure."""
    votes: dict[int, list[Decision]] = defaultdict(list)
    for held in latest:
        if held.decision is not None:
            votes[held.row_idx].append(held.decision)
    return sorted(
        row_idx
        for row_idx, given in votes.items()
        if Decision.UNSURE in given or given.count(Decision.KEEP) == given.count(Decision.DROP)
    )


def reviewer_progress(latest: Iterable[LatestDecision]) -> list[ReviewerProgress]:
    """Count the samples decided by each reviewer, in ascending order of names."""
    by_reviewer: dict[str, list[LatestDecision]] = defaultdict(list)
    for held in latest:
        if held.decision is not None:
            by_reviewer[held.reviewer].append(held)
    progress = []
    for reviewer, decisions in sorted(by_reviewer.items()):
        counts = Counter(held.decision for held in decisions)
        keep, drop, unsure = (counts[decision] for decision in Decision)
        last = max(held.decided_at for held in decisions)
        progress.append(ReviewerProgress(reviewer, keep, drop, unsure, last))
    return progress


def resolve_decision(
    events: Sequence[DecisionEvent],
) -> tuple[LatestDecision | None, dict[str, str]]:
    """Resolve which decision of one reviewer on one sample is current.

    Inside a log the later event wins; between machines of the reviewer the later ``decided_at``.
    A decision without a note keeps an earlier note. An undo reverts only an event of its own
    reviewer on its own sample. ``events`` are ordered as for :func:`latest_decisions`.

    Returns:
        The current decision or note, None if there is neither; and event id -> id of the undo that
        reverts it.
    """
    if len(events) == 1 and events[0].undoes is None:  # the case of most samples
        return _latest_of_log(events), {}
    unique = {event.event_id: event for event in events}
    undone = _find_undone(unique.values())
    logs: dict[str, list[DecisionEvent]] = defaultdict(list)
    for event in unique.values():
        if event.undoes is None and event.event_id not in undone:
            logs[event.machine].append(event)
    latest: LatestDecision | None = None
    for machine in sorted(logs):
        other = _latest_of_log(logs[machine])
        if other is not None:
            latest = other if latest is None else _merge_machines(latest, other)
    return latest, undone


def _find_undone(events: Iterable[DecisionEvent]) -> dict[str, str]:
    """Return event id -> id of the undo that reverts it; an undo that is undone reverts nothing.

    Undos are resolved backwards from the last of each chain; the chain gives the order, not the
    clock.
    """
    undos = {event.event_id: event for event in events if event.undoes is not None}
    if not undos:
        return {}
    waiting = Counter(event.undoes for event in undos.values())
    ready = [event for event in undos.values() if not waiting[event.event_id]]
    undone: dict[str, str] = {}
    while ready:
        undo = ready.pop()
        target = str(undo.undoes)
        if undo.event_id not in undone:
            undone.setdefault(target, undo.event_id)
        waiting[target] -= 1
        if not waiting[target] and target in undos:
            ready.append(undos[target])
    return undone


def _latest_of_log(log: Sequence[DecisionEvent]) -> LatestDecision | None:
    """Return the last decision and the last note in one log, which has no undone events."""
    decisions = [event for event in log if event.decision is not None]
    notes = [event for event in log if event.note is not None]
    note = notes[-1].note if notes else None
    if not decisions and not note:
        return None
    current = decisions[-1] if decisions else notes[-1]
    drawn = next((event for event in decisions if event.sampling_probability is not None), None)
    shown_by = drawn or current
    return LatestDecision(
        row_idx=current.row_idx,
        reviewer=current.reviewer,
        decision=current.decision,
        note=note or None,
        decided_at=current.decided_at,
        event_id=current.event_id,
        queue=shown_by.queue,
        sampling_probability=shown_by.sampling_probability,
        draw=None if drawn is None else drawn.draw or unrecorded_draw(drawn.queue),
        drawn_at=None if drawn is None else drawn.decided_at,
        first_decided_at=decisions[0].decided_at if decisions else None,
    )


def _merge_machines(first: LatestDecision, second: LatestDecision) -> LatestDecision:
    """Merge two machines of one reviewer: a decision beats a mere note, else the later clock."""
    loser, winner = sorted(
        (first, second),
        key=lambda held: (held.decision is not None, held.decided_at, held.event_id),
    )
    starts = [start for start in (first.first_decided_at, second.first_decided_at) if start]
    drawn = [held for held in (first, second) if held.drawn_at is not None]
    shown_by = min(drawn, key=lambda held: (str(held.drawn_at), held.event_id), default=winner)
    return replace(
        winner,
        note=winner.note or loser.note,
        queue=shown_by.queue,
        sampling_probability=shown_by.sampling_probability,
        draw=shown_by.draw,
        drawn_at=shown_by.drawn_at,
        first_decided_at=min(starts, default=None),
    )


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two reviewers on the samples that both decided.

    ``table`` counts (decision of first, decision of second). ``kappa`` is None if both gave one
    and the same answer throughout: agreement by chance would be complete too.
    """

    first: str
    second: str
    table: Mapping[tuple[Decision, Decision], int]

    @property
    def n_both(self) -> int:
        """Samples that both decided."""
        return sum(self.table.values())

    @property
    def n_same(self) -> int:
        """Samples with the same decision."""
        return sum(n for (mine, yours), n in self.table.items() if mine is yours)

    @property
    def raw(self) -> float:
        """Share of samples with the same decision."""
        return self.n_same / self.n_both

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: agreement beyond chance; at most 1, and 0 for agreement by chance."""
        mine, yours = Counter[Decision](), Counter[Decision]()
        for (left, right), n in self.table.items():
            mine[left] += n
            yours[right] += n
        chance = sum(n * yours[decision] for decision, n in mine.items()) / self.n_both**2
        return None if math.isclose(chance, 1.0) else (self.raw - chance) / (1 - chance)


@dataclass(frozen=True, slots=True)
class Agreement:
    """All reviewers of a workspace: the pairs, and the samples that several decided.

    ``n_shared`` samples have two or more decisions; all are equal for ``n_unanimous`` of them.
    """

    pairs: tuple[PairAgreement, ...]
    n_shared: int
    n_unanimous: int

    @property
    def raw(self) -> float | None:
        """Share of shared samples on which all agree; None if there are none."""
        return self.n_unanimous / self.n_shared if self.n_shared else None


def reviewer_agreement(latest: Iterable[LatestDecision]) -> Agreement:
    """Return the agreement of every pair with common samples, in ascending order of names.

    Keep, drop and unsure are three answers; a note without a decision does not count.
    """
    by_sample: dict[int, dict[str, Decision]] = defaultdict(dict)
    for held in latest:
        if held.decision is not None:
            by_sample[held.row_idx][held.reviewer] = held.decision
    tables: dict[tuple[str, str], Counter[tuple[Decision, Decision]]] = defaultdict(Counter)
    shared = [decisions for decisions in by_sample.values() if len(decisions) > 1]
    for decisions in shared:
        for first, second in combinations(sorted(decisions), 2):
            tables[first, second][decisions[first], decisions[second]] += 1
    pairs = tuple(PairAgreement(*names, tables[names]) for names in sorted(tables))
    n_unanimous = sum(len(set(decisions.values())) == 1 for decisions in shared)
    return Agreement(pairs, len(shared), n_unanimous)
