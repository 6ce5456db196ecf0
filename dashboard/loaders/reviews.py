"""Review queues, and what holds of the decisions so far."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from dashboard.loaders.compare import read_other_scopes
from dashboard.loaders.context import Context, about, read_cached
from dashboard.standing import Standing, StandingBulk, in_time
from dashboard.state import Queue, View, Who
from scoring.reviews.agreement import Agreement, reviewer_agreement
from scoring.reviews.decisions import (
    DecisionEvent,
    DecisionFeed,
    ReviewerProgress,
    conflicts,
    reviewer_progress,
)
from scoring.reviews.settling import HandLabels
from scoring.store import queries
from scoring.store.compare import other_name
from scoring.store.queues import ReviewQueue
from scoring.workspace import Workspace

MAX_QUEUE: Final = 1000

_books: dict[Path, _Book] = {}
_feeds: dict[Path, DecisionFeed] = {}
_lock = threading.Lock()


def queue_order(context: Context, view: View) -> str:
    """The name of the view's queue as the store and the decision logs write it."""
    bands = context.workspace.bands
    if view.queue in (Queue.THRESHOLD, Queue.RULE):
        return f"{view.queue}:{view.threshold(bands)!r}"
    if view.queue is Queue.RUNS:
        others = [other_name(one) for one in read_other_scopes(context)]
        other = view.other if view.other in others else next(iter(others), None)
        return f"runs:{other}" if other else str(Queue.ROW_IDX)
    return str(view.queue)


def read_queue(context: Context, view: View, reviewer: str) -> ReviewQueue:
    """The first samples of the view's review queue, at most MAX_QUEUE, each with its chance of
    being drawn. Never cached: it is asked for once, when a queue begins."""
    return queries.review_queue(
        *about(context),
        queue_order(context, view),
        MAX_QUEUE,
        view.seed,
        context.bands,
        undecided_by=reviewer if view.who is Who.UNDECIDED else None,
        decided_by=reviewer if view.who is Who.MINE else None,
    )


@dataclass(frozen=True, slots=True)
class OwnDecisions:
    """A reviewer's verdicts on some rows, the last ones that an undo would take back, how many
    samples have one in all, and the last verdict on many samples at once."""

    decided: dict[int, str]
    history: list[dict[str, Any]]
    n_decided: int
    bulk: StandingBulk | None


class _Book:
    """The decisions of a workspace, read on by what was added since the last look."""

    def __init__(self, workspace: Workspace) -> None:
        self._feed = DecisionFeed(workspace)
        self._lock = threading.Lock()
        self._standing: dict[str, Standing] = {}

    def own(self, reviewer: str, rows: Sequence[int], history: int) -> OwnDecisions:
        with self._lock:
            by_reviewer: dict[str, list[DecisionEvent]] = {}
            for event in in_time(self._feed.refresh()):
                by_reviewer.setdefault(event.reviewer, []).append(event)
            for name, events in by_reviewer.items():
                self._standing.setdefault(name, Standing()).add(events)
            holds = self._standing.setdefault(reviewer, Standing())
            return OwnDecisions(
                holds.decided(rows), holds.history(history), holds.n_decided, holds.last_bulk()
            )


def read_own_decisions(
    workspace: Workspace, reviewer: str, rows: Sequence[int], history: int
) -> OwnDecisions:
    """What holds of a reviewer's decisions; only what was added since the last call is read."""
    with _lock:
        book = _books.get(workspace.root)
        if book is None:
            book = _books[workspace.root] = _Book(workspace)
    return book.own(reviewer, rows, history)


@dataclass(frozen=True, slots=True)
class ReviewState:
    """What all reviewers have decided: their figures, the rows to look at again (a tie, or
    anybody unsure), log name -> lines that could not be read, and how far they agree."""

    reviewers: list[ReviewerProgress]
    conflicts: list[int]
    damaged: dict[str, int]
    agreement: Agreement


def read_review_state(workspace: Workspace) -> ReviewState:
    """What holds of everybody's decisions; only what was added since the last call is read."""
    feed = _feed(workspace)
    latest = feed.latest()
    return ReviewState(
        reviewer_progress(latest),
        conflicts(latest),
        feed.damaged_lines(),
        reviewer_agreement(latest),
    )


def read_history(workspace: Workspace, row_idx: int) -> list[DecisionEvent]:
    """Everything that was ever decided, noted or undone about a sample, the oldest first."""
    return _feed(workspace).history(row_idx)


def _feed(workspace: Workspace) -> DecisionFeed:
    """One that no book reads from: two readers of one would each see a part of what is added."""
    with _lock:
        feed = _feeds.get(workspace.root)
        if feed is None:
            feed = _feeds[workspace.root] = DecisionFeed(workspace)
        return feed


def read_reviewers(workspace: Workspace) -> list[ReviewerProgress]:
    """Samples decided by each reviewer."""
    return read_review_state(workspace).reviewers


def read_labels(context: Context) -> HandLabels:
    """Verdicts as labels that stand for the dataset, under the filter; the same for every cut,
    and for other band limits where the filter does not depend on them."""
    if not context.filter.needs_bands:
        context = replace(context, bands=context.workspace.bands)
    return read_cached(
        context,
        "labels",
        lambda: queries.read_hand_labels(*about(context), context.bands),
    )
