"""Review queues, and the decisions made so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from dashboard.data.context import Context, cached_query
from dashboard.data.facts import read_numeric_columns, read_sortable_columns
from dashboard.data.scores import read_other_scopes
from dashboard.view.state import Queue, QueueScope, View
from scoring.database.queries.column_rows import GROUPING_TYPES
from scoring.database.queries.compare import other_name
from scoring.database.queries.review_labels import read_hand_labels
from scoring.database.queries.review_queues import ReviewQueue, review_queue
from scoring.database.queries.suspects import SuspectPrecision, suspect_precision
from scoring.reviews.decision_log import Decision
from scoring.reviews.decisions import decision_feed
from scoring.reviews.resolution import (
    Agreement,
    LatestDecision,
    ReviewerProgress,
    find_conflicts,
    reviewer_agreement,
    reviewer_progress,
)
from scoring.reviews.reviewer_state import DecisionState, UndoableDecision
from scoring.reviews.threshold_estimation import WeightedLabels
from scoring.workspace import Workspace

MAX_QUEUE: Final = 1000
COLUMN_QUEUES: Final = (
    *(Queue.ABOVE_COLUMN, Queue.BELOW_COLUMN),
    *(Queue.HIGHEST_VALUE, Queue.LOWEST_VALUE),
)
"""Queues that need the name of an imported column."""


def queue_order(context: Context, view: View) -> str:
    """Return the name of the view's queue as the database and the decision logs write it."""
    bands = context.workspace.bands
    if view.queue in (Queue.THRESHOLD, Queue.RULE):
        return f"{view.queue}:{view.threshold(bands)!r}"
    if view.queue is Queue.RUNS:
        others = [other_name(scope) for scope in read_other_scopes(context)]
        other = view.other if view.other in others else next(iter(others), None)
        return f"runs:{other}" if other else str(Queue.ROW_IDX)
    if view.queue is Queue.SUSPECTS:
        column = choose_suspect_column(context, view)
        return f"{view.queue}:{column}" if column else str(view.queue)
    if view.queue in COLUMN_QUEUES:
        column = choose_queue_column(context, view)
        return f"{view.queue}:{column}" if column else str(Queue.ROW_IDX)
    return str(view.queue)


def list_queue_columns(context: Context, queue: Queue) -> list[str]:
    """Return the columns that a queue can be about: of numbers, or for their values of any type."""
    names = read_numeric_columns(context.store)
    if queue in (Queue.HIGHEST_VALUE, Queue.LOWEST_VALUE):
        types = read_sortable_columns(context.store)
        names = [*names, *(name for name, kind in types.items() if kind in GROUPING_TYPES)]
    return names


def choose_queue_column(context: Context, view: View) -> str | None:
    """Return the column that the view's queue is about, or else the first one; None without any."""
    names = list_queue_columns(context, view.queue)
    return view.column if view.column in names else next(iter(names), None)


def choose_suspect_column(context: Context, view: View) -> str | None:
    """Return the view's column if it can be evidence about suspects; None for no column."""
    return view.column if view.column in read_numeric_columns(context.store) else None


def read_suspect_precision(context: Context, view: View) -> list[SuspectPrecision]:
    """Return how many of the suspects under the filter reviewers dropped or edited."""
    column = choose_suspect_column(context, view)
    return cached_query(
        context, "suspects", lambda: suspect_precision(context.selection, column), column
    )


def read_queue(context: Context, view: View, reviewer: str) -> ReviewQueue:
    """Return the first samples of the view's queue with their probabilities of being drawn.

    At most MAX_QUEUE samples. Not cached: a page reads it once, when a queue starts.
    """
    return review_queue(
        context.selection,
        queue_order(context, view),
        MAX_QUEUE,
        view.seed,
        undecided_by=reviewer if view.who is QueueScope.UNDECIDED else None,
        decided_by=reviewer if view.who is QueueScope.MINE else None,
    )


@dataclass(frozen=True, slots=True)
class OwnDecisions:
    """A reviewer's decisions on some rows and the last ones that an undo would revert.

    The rows of ``history`` and their near-duplicates are in ``decided`` too. ``n_decided`` counts
    all decided samples.
    """

    decided: dict[int, Decision]
    history: list[UndoableDecision]
    n_decided: int


def read_own_decisions(
    workspace: Workspace, reviewer: str, rows: Sequence[int], history: int
) -> OwnDecisions:
    """Return a reviewer's current decisions; reads only what the logs gained since last time."""

    def read(state: DecisionState) -> OwnDecisions:
        undoable = state.list_undoable(reviewer, history)
        in_history = ((decision.row_idx, *decision.others) for decision in undoable)
        all_rows = {*rows, *chain.from_iterable(in_history)}
        return OwnDecisions(
            state.list_decided(reviewer, all_rows), undoable, state.count_decided(reviewer)
        )

    return decision_feed(workspace).query_state(read)


@dataclass(frozen=True, slots=True)
class ReviewState:
    """The decisions of all reviewers.

    ``conflicts`` are rows to look at again (a tie, or anyone unsure); ``damaged`` is log name to
    number of unreadable lines.
    """

    reviewers: list[ReviewerProgress]
    conflicts: list[int]
    damaged: dict[str, int]
    agreement: Agreement


def read_review_state(workspace: Workspace) -> ReviewState:
    """Return everyone's decisions; reads only what the logs gained since last time."""
    latest = read_latest_decisions(workspace)
    return ReviewState(
        reviewer_progress(latest),
        find_conflicts(latest),
        decision_feed(workspace).damaged_lines(),
        reviewer_agreement(latest),
    )


def read_latest_decisions(workspace: Workspace) -> list[LatestDecision]:
    """Return the current decision per sample and reviewer."""
    return decision_feed(workspace).query_state(lambda state: state.list_latest())


def read_labels(context: Context) -> WeightedLabels:
    """Return decisions as labels, weighted to represent the samples under the filter.

    The same for every threshold, and for other band limits if the filter does not use them.
    """
    if not context.filter.needs_bands:
        context = replace(context, bands=context.workspace.bands)
    return cached_query(context, "labels", lambda: read_hand_labels(context.selection))
