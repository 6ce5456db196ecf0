"""From decision events to what holds: undos, the latest decision of each reviewer, the outcome.

Pure functions on values. :func:`resolve_decision` alone decides which decision holds: for one
sample and one reviewer, so that a new event changes nothing but its own sample and reviewer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from scoring.reviews.decision_log import Decision, DecisionEvent
from scoring.reviews.draws import unrecorded_draw


@dataclass(frozen=True, slots=True)
class LatestDecision:
    """What holds for a sample and reviewer after all undos.

    ``decision`` is None where the reviewer left only a note. ``decided_at`` and ``event_id`` are
    those of the verdict, or of the note where there is no verdict. ``queue``,
    ``sampling_probability`` and ``draw`` say how the sample came before the reviewer: by the first
    random draw that a verdict followed (at ``drawn_at``), because looking at it again elsewhere
    does not undo the draw; without any, by the queue of the verdict that holds.
    ``first_decided_at`` is when the first verdict was given that was not taken back.
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
    """How many samples a reviewer has verdicts on, by verdict, and when the last one was given."""

    reviewer: str
    keep: int
    drop: int
    unsure: int
    last_decided_at: str

    @property
    def decided(self) -> int:
        """Samples with a verdict."""
        return self.keep + self.drop + self.unsure


def latest_decisions(events: Iterable[DecisionEvent]) -> list[LatestDecision]:
    """What holds per sample and reviewer after undos, ascending by (row_idx, reviewer).

    Args:
        events: all events, log by log in the order of the logs' names, each log in its order.
    """
    by_sample: dict[tuple[int, str], list[DecisionEvent]] = defaultdict(list)
    for event in events:
        by_sample[event.row_idx, event.reviewer].append(event)
    found = (resolve_decision(by_sample[key])[0] for key in sorted(by_sample))
    return [latest for latest in found if latest is not None]


def majority_decisions(latest: Iterable[LatestDecision]) -> dict[int, Decision]:
    """The verdict of each sample: keep or drop by the majority of its reviewers.

    ``unsure`` is an abstention. Samples with a tie, or with nothing but ``unsure``, are absent:
    there the rule decides.
    """
    lead: dict[int, int] = defaultdict(int)
    for verdict in latest:
        keep, drop = verdict.decision is Decision.KEEP, verdict.decision is Decision.DROP
        lead[verdict.row_idx] += keep - drop
    return {
        row_idx: Decision.KEEP if votes > 0 else Decision.DROP
        for row_idx, votes in sorted(lead.items())
        if votes
    }


def find_conflicts(latest: Iterable[LatestDecision]) -> list[int]:
    """Samples to look at again: as many for keep as for drop, or anybody unsure. Ascending."""
    votes: dict[int, list[Decision]] = defaultdict(list)
    for verdict in latest:
        if verdict.decision is not None:
            votes[verdict.row_idx].append(verdict.decision)
    return sorted(
        row_idx
        for row_idx, given in votes.items()
        if Decision.UNSURE in given or given.count(Decision.KEEP) == given.count(Decision.DROP)
    )


def reviewer_progress(latest: Iterable[LatestDecision]) -> list[ReviewerProgress]:
    """Samples decided by each reviewer, ascending by name."""
    given: dict[str, list[LatestDecision]] = defaultdict(list)
    for verdict in latest:
        if verdict.decision is not None:
            given[verdict.reviewer].append(verdict)
    return [
        ReviewerProgress(
            reviewer,
            keep=sum(one.decision is Decision.KEEP for one in verdicts),
            drop=sum(one.decision is Decision.DROP for one in verdicts),
            unsure=sum(one.decision is Decision.UNSURE for one in verdicts),
            last_decided_at=max(one.decided_at for one in verdicts),
        )
        for reviewer, verdicts in sorted(given.items())
    ]


def resolve_decision(
    events: Sequence[DecisionEvent],
) -> tuple[LatestDecision | None, dict[str, str]]:
    """Which decision of one reviewer holds for one sample, and which events are undone.

    Inside a log the later event wins; between machines of the reviewer the later ``decided_at``.
    A verdict without a note leaves an earlier note as it is. An undo takes back an event of its
    own reviewer about its own sample only.

    Args:
        events: all events of the reviewer about the sample, log by log in the order of the logs'
            names, each log in its order.

    Returns:
        The decision or note that holds, None where there is neither; and event id -> id of the
        undo that takes it back.
    """
    if len(events) == 1 and events[0].undoes is None:  # as for most samples
        return _latest_of_log(events), {}
    unique = {event.event_id: event for event in events}
    undone = _undone_events(unique.values())
    logs: dict[str, list[DecisionEvent]] = defaultdict(list)
    for event in unique.values():
        if event.undoes is None and event.event_id not in undone:
            logs[event.machine].append(event)
    latest: LatestDecision | None = None
    for machine in sorted(logs):
        found = _latest_of_log(logs[machine])
        if found is not None:
            latest = _later(latest, found)
    return latest, undone


def _undone_events(events: Iterable[DecisionEvent]) -> dict[str, str]:
    """Event id -> id of the undo that takes it back; an undo that was itself undone takes nothing.

    Undos are resolved from the last of each chain backwards; the chain, not the clock, gives the
    order.
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
    """The last verdict and the last note about a sample in one log; undone ones are not in it."""
    verdict = next((event for event in reversed(log) if event.decision is not None), None)
    noted = next((event for event in reversed(log) if event.note is not None), None)
    said = verdict or noted
    note = noted.note if noted is not None else None
    if said is None or (verdict is None and not note):
        return None
    verdicts = [event for event in log if event.decision is not None]
    drawn = next((event for event in verdicts if event.sampling_probability is not None), None)
    came = drawn or said
    return LatestDecision(
        said.row_idx,
        said.reviewer,
        said.decision,
        note or None,
        said.decided_at,
        said.event_id,
        came.queue,
        came.sampling_probability,
        None if drawn is None else drawn.draw or unrecorded_draw(drawn.queue),
        None if drawn is None else drawn.decided_at,
        verdicts[0].decided_at if verdicts else None,
    )


def _later(one: LatestDecision | None, other: LatestDecision) -> LatestDecision:
    """Two machines of one reviewer: a verdict beats a mere note, else the later clock wins."""
    if one is None:
        return other
    loser, winner = sorted(
        (one, other), key=lambda said: (said.decision is not None, said.decided_at, said.event_id)
    )
    firsts = [said.first_decided_at for said in (one, other) if said.first_decided_at is not None]
    drawn = [said for said in (one, other) if said.drawn_at is not None]
    came = min(drawn, key=lambda said: (str(said.drawn_at), said.event_id), default=winner)
    return replace(
        winner,
        note=winner.note or loser.note,
        queue=came.queue,
        sampling_probability=came.sampling_probability,
        draw=came.draw,
        drawn_at=came.drawn_at,
        first_decided_at=min(firsts, default=None),
    )
