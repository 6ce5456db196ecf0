"""Reads for the pages: the only caller of scoring's reading functions, with a cache in front.

Answers are cached by what they depend on (the database's generation, the decisions' generation,
the scope, the filter's text), never by big frames. What is returned is shared between sessions
and must not be changed.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import pandas as pd

from dashboard.cards import Card, build_card, build_tile
from dashboard.standing import Standing, in_time
from dashboard.state import Queue, View
from scoring.dataset import DatasetInfo, read_dataset_info, read_samples
from scoring.errors import InputError, WorkspaceError
from scoring.necessity import Bands
from scoring.readers.images import ImageProblem, open_image, resolve_image
from scoring.reviews import (
    DecisionEvent,
    DecisionFeed,
    ReviewerProgress,
    conflicts,
    reviewer_progress,
)
from scoring.runs import RunProgress, RunRecord, list_runs, read_progress
from scoring.samples import Sample, Status
from scoring.store import Store, queries
from scoring.store.filters import Filter
from scoring.store.values import (
    BuildState,
    Cursor,
    CutCounts,
    LossPlane,
    Page,
    SampleDetail,
    Scope,
    ScoreSummary,
    Sort,
)
from scoring.subsets import Outcome, SubsetDefinition, list_subsets, read_outcome
from scoring.thumbnails import encode_image, thumbnail
from scoring.workspace import Workspace, open_workspace

WORKSPACE_VARIABLE: Final = "VISNEC_WORKSPACE"
MAX_QUEUE: Final = 1000
THUMBNAIL_SIZE: Final = 288
IMAGE_SIZE: Final = 2048
_MAX_ANSWERS = 512

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """What the reads of a page are about: a workspace with scores, and what the view chose."""

    workspace: Workspace
    store: Store
    scope: Scope
    bands: Bands
    filter: Filter
    edition: str  # fingerprint of the dataset

    def everything(self) -> Context:
        """The same without a filter."""
        return replace(self, filter=Filter())


@dataclass(frozen=True, slots=True)
class Opened:
    """A workspace as far as it goes; ``context`` is None until something is scored.

    ``problems`` are sentences about what the view asked for and the workspace does not have.
    """

    workspace: Workspace
    dataset: DatasetInfo | None
    context: Context | None
    problems: tuple[str, ...] = ()


class _Answers:
    """A small thread-safe cache: the least recently used answer goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], object] = OrderedDict()

    def get(self, key: tuple[object, ...], read: Callable[[], T]) -> T:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast(T, self._kept[key])
        value = read()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value


_answers = _Answers(_MAX_ANSWERS)
_references = _Answers(20_000)  # row -> image paths
_outcomes = _Answers(2)  # each holds columns of the whole dataset
_stores: dict[Path, Store] = {}
_books: dict[Path, _Book] = {}
_feeds: dict[Path, DecisionFeed] = {}
_lock = threading.Lock()


def read_workspace() -> Workspace:
    """The workspace that this server was started for. Raises WorkspaceError with the remedy."""
    root = os.environ.get(WORKSPACE_VARIABLE)
    if not root:
        raise WorkspaceError(
            "no workspace was named; start the dashboard with: visnec dashboard -w WORKSPACE"
        )
    return open_workspace(Path(root))


def open_store(workspace: Workspace) -> Store:
    """The database of the workspace, opened once per process. Raises WorkspaceError."""
    with _lock:
        store = _stores.get(workspace.root)
        if store is None or store.workspace.settings != workspace.settings:
            store = _stores[workspace.root] = Store(workspace)
        return store


def has_database(workspace: Workspace) -> bool:
    """Whether the derived database is there; a page may have it built."""
    return workspace.database.exists()


def open_view_context(view: View) -> Opened:
    """The workspace and what of the view it can show.

    Raises WorkspaceError where there is no workspace or its database cannot be read.
    """
    workspace = read_workspace()
    try:
        dataset = read_dataset_info(workspace)
    except WorkspaceError:
        return Opened(workspace, None, None)
    if not has_database(workspace):
        return Opened(workspace, dataset, None)
    store = open_store(workspace)
    scope, problems = _scope(store, view)
    if scope is None:
        return Opened(workspace, dataset, None, problems)
    which = view.filter
    if which.cluster and scope.clustering_id is None:
        problems += ("The filter's clusters were left out: there is no clustering yet.",)
        which = replace(which, cluster=())
    bands = view.bands(workspace.bands)
    context = Context(workspace, store, scope, bands, which, dataset.fingerprint)
    return Opened(workspace, dataset, context, problems)


def _scope(store: Store, view: View) -> tuple[Scope | None, tuple[str, ...]]:
    """The scores that the view names, or the newest run's; told where the two differ."""
    frame = read_scopes(store)
    if frame.empty:
        return None, ()
    problems: list[str] = []
    runs = [str(run) for run in dict.fromkeys(frame["run_id"])]
    with_scores = [str(run) for run in frame[frame["n_scored"] > 0]["run_id"]]
    run_id = view.run if view.run in runs else (with_scores or runs)[-1]
    if view.run is not None and view.run != run_id:
        problems.append(f"There is no run {view.run} here; the page shows {run_id}.")
    baselines = list(frame[frame["run_id"] == run_id]["baseline"])
    baseline = view.baseline if view.baseline in baselines else baselines[0]
    if view.baseline is not None and view.baseline != baseline:
        problems.append(f"The run has no baseline {view.baseline}; the page shows {baseline}.")
    names = list(read_clusterings(store)["clustering_id"])
    clustering = view.clustering if view.clustering in names else (names[-1] if names else None)
    if view.clustering is not None and view.clustering != clustering:
        problems.append(f"There is no clustering {view.clustering} here.")
    return Scope(run_id, str(baseline), clustering), tuple(problems)


def _read(
    context: Context,
    name: str,
    read: Callable[[], T],
    *more: object,
    decisions: bool = True,
    answers: _Answers = _answers,
) -> T:
    """An answer that depends on the database, the scope, the filter and the bands, and on the
    decisions where it shows any or the filter names any."""
    store = context.store
    decided = store.decisions_generation if decisions or context.filter.decision else ""
    about = (context.scope, str(context.filter), context.bands)
    key = (context.workspace.root, name, store.generation, decided, *about, *more)
    return answers.get(key, read)


def _about(context: Context) -> tuple[Store, Scope, Filter]:
    return context.store, context.scope, context.filter


# ---- the workspace -------------------------------------------------------------------------------


def read_scopes(store: Store) -> pd.DataFrame:
    """Run and baseline of every set of scores, oldest first."""
    key = (store.workspace.root, "scopes", store.generation)
    return _answers.get(key, lambda: queries.scopes(store))


def read_prediction_counts(store: Store) -> dict[str, int]:
    """Run to samples with predictions, as of the database."""
    key = (store.workspace.root, "predictions", store.generation)
    return _answers.get(key, lambda: queries.prediction_counts(store))


def read_clusterings(store: Store) -> pd.DataFrame:
    """Every clustering, oldest first."""
    key = (store.workspace.root, "clusterings", store.generation)
    return _answers.get(key, lambda: queries.clusterings(store))


def read_dataset_counts(store: Store) -> pd.DataFrame:
    """Per source: samples, with an image, with several turns."""
    key = (store.workspace.root, "dataset", store.generation)
    return _answers.get(key, lambda: queries.dataset_counts(store))


def read_runs(workspace: Workspace) -> list[RunRecord]:
    """The runs of the workspace, oldest first."""
    return list_runs(workspace)


def read_run_progress(workspace: Workspace, run_id: str) -> RunProgress | None:
    """How far a process is with a run; None where none has reported."""
    return read_progress(workspace, run_id)


def read_dataset_edition(workspace: Workspace) -> str:
    """Fingerprint of the dataset. Raises WorkspaceError where nothing was imported."""
    return read_dataset_info(workspace).fingerprint


def read_build_state(store: Store) -> BuildState:
    """When the database was built, and how many parts are newer."""
    return store.build_state()


# ---- scores --------------------------------------------------------------------------------------


def read_summary(context: Context) -> ScoreSummary:
    """Counts, categories, mean and quantiles under the filter."""
    return _read(
        context,
        "summary",
        lambda: queries.score_summary(*_about(context), context.bands),
        decisions=False,
    )


def read_histogram(context: Context, bins: int) -> tuple[list[float], list[int]]:
    """Round edges that hold still while filters change, and the counts between them."""

    def read() -> tuple[list[float], list[int]]:
        edges = queries.histogram_edges(context.store, context.scope, bins)
        frame = queries.histogram(*_about(context), edges, context.bands)
        return edges, [int(n) for n in frame["n"]]

    return _read(context, "histogram", read, bins, decisions=False)


def read_cut(context: Context, minimum: float | None, maximum: float | None = None) -> CutCounts:
    """What a cut keeps and drops, exactly."""
    return _read(
        context,
        "cut",
        lambda: queries.cut_counts(*_about(context), minimum, maximum, context.bands),
        minimum,
        maximum,
        decisions=False,
    )


def read_threshold_for_share(context: Context, share: float) -> float:
    """The score that keeps the top share; infinity where it keeps none."""
    return _read(
        context,
        "share",
        lambda: queries.threshold_for_share(*_about(context), share, context.bands),
        share,
        decisions=False,
    )


def read_loss_plane(context: Context, bins: int = 48) -> LossPlane:
    """Scored samples by both losses."""
    return _read(
        context,
        "plane",
        lambda: queries.loss_plane(*_about(context), bins, context.bands),
        bins,
        decisions=False,
    )


def read_by_source(context: Context) -> pd.DataFrame:
    """Figures per source, the largest first."""
    return _read(context, "by_source", lambda: queries.by_source(*_about(context), context.bands))


def read_by_cluster(context: Context) -> pd.DataFrame:
    """Figures per cluster, the largest first; empty without a clustering."""
    if context.scope.clustering_id is None:
        return pd.DataFrame()
    return _read(context, "by_cluster", lambda: queries.by_cluster(*_about(context), context.bands))


def read_status_counts(context: Context) -> pd.DataFrame:
    """status and n; adds up to the samples under the filter."""
    return _read(
        context, "statuses", lambda: queries.status_counts(*_about(context), context.bands)
    )


def read_status_reasons(context: Context) -> pd.DataFrame:
    """The commonest reasons of each status with an example."""
    return _read(context, "reasons", lambda: queries.status_reasons(context.store, context.scope))


def read_cluster_names(context: Context) -> dict[int, str]:
    """Cluster number to name; empty without a clustering."""
    clustering = context.scope.clustering_id
    if clustering is None:
        return {}
    return _read(context, "cluster_names", lambda: queries.cluster_names(context.store, clustering))


# ---- samples -------------------------------------------------------------------------------------


def read_page(context: Context, view: View) -> Page:
    """The view's page of samples."""
    return read_page_at(context, view.sort, view.page, view.size)


def read_page_at(context: Context, sort: Sort, cursor: Cursor | None, limit: int) -> Page:
    """At most ``limit`` samples at a place of an order."""
    return _read(
        context,
        "page",
        lambda: queries.page(*_about(context), sort, cursor, limit, context.bands),
        sort,
        cursor,
        limit,
    )


def read_tiles(context: Context, page: Page) -> list[Card]:
    """What the gallery shows of a page."""
    rows = page.rows.to_dict("records")
    for row in rows:
        _remember_images(context, int(row["row_idx"]), tuple(row["images"]))
    return [build_tile(row, context.bands, context.edition) for row in rows]


def _remember_images(context: Context, row_idx: int, images: tuple[str, ...]) -> None:
    key = (context.workspace.root, "images", context.edition, row_idx)
    _references.get(key, lambda: images)


def read_card(context: Context, row_idx: int) -> Card:
    """One sample in full. Raises InputError where the dataset has no such row."""
    return read_cards(context, [row_idx])[0]


def read_cards(context: Context, rows: Sequence[int]) -> list[Card]:
    """Samples in full, in the order of ``rows``. Raises InputError for a row that is not there."""
    details = {row: read_detail(context, row) for row in rows}
    samples = {one.row_idx: one for one in read_samples(context.workspace, sorted(set(rows)))}
    return [
        build_card(
            samples[row], details[row], context.scope.baseline, context.bands, context.edition
        )
        for row in rows
    ]


def read_detail(context: Context, row_idx: int) -> SampleDetail:
    """What the database knows about one sample."""
    return _read(
        context,
        "detail",
        lambda: queries.sample_detail(context.store, context.scope, row_idx),
        row_idx,
    )


def read_record(workspace: Workspace, row_idx: int) -> Sample:
    """One sample of the dataset with its original bytes. Raises InputError."""
    for sample in read_samples(workspace, [row_idx]):
        return sample
    raise InputError(f"the dataset has no row {row_idx}")


# ---- pictures ------------------------------------------------------------------------------------


def read_thumbnail(workspace: Workspace, row_idx: int) -> bytes:
    """The small picture of a sample's first image, as JPEG. Raises ImageProblem."""
    return thumbnail(workspace, _reference(workspace, row_idx, 0), THUMBNAIL_SIZE)


def read_picture(workspace: Workspace, row_idx: int, position: int = 0) -> bytes:
    """A sample's image, as PNG or JPEG, at most IMAGE_SIZE wide or high. Raises ImageProblem.

    Encoded anew from its pixels: no byte of a dataset file reaches a browser as it came.
    """
    path = resolve_image(_reference(workspace, row_idx, position), workspace.image_roots)
    return _encoded(path, path.stat().st_mtime_ns)


def _reference(workspace: Workspace, row_idx: int, position: int) -> str:
    """The image path that a row names; looked up once, because pages ask for many at a time."""
    fingerprint = read_dataset_info(workspace).fingerprint
    key = (workspace.root, "images", fingerprint, row_idx)
    images = _references.get(key, lambda: read_record(workspace, row_idx).images)
    if position >= len(images):
        raise ImageProblem(Status.TEXT_ONLY, "this sample names no such image")
    return images[position]


@lru_cache(maxsize=64)
def _encoded(path: Path, modified: int) -> bytes:  # noqa: ARG001 - part of the cache's key
    return encode_image(open_image(path), IMAGE_SIZE)


def read_row_tiles(context: Context, rows: Sequence[int]) -> list[Card]:
    """What a gallery shows of these rows, in their order."""
    wanted = list(rows)
    frame = _read(
        context,
        "rows",
        lambda: queries.read_rows(context.store, context.scope, wanted),
        tuple(wanted),
    )
    return [build_tile(row, context.bands, context.edition) for row in frame.to_dict("records")]


# ---- decisions and subsets -----------------------------------------------------------------------


def queue_order(view: View, bands: Bands) -> str:
    """The name of the view's queue as the store and the decision logs write it."""
    if view.queue is Queue.THRESHOLD:
        return f"threshold:{view.threshold(bands)!r}"
    return str(view.queue)


def read_queue(context: Context, view: View, reviewer: str) -> list[int]:
    """The first samples of the view's review queue, at most MAX_QUEUE. Never cached: it is asked
    for once, when a queue begins."""
    return queries.queue_rows(
        *_about(context),
        queue_order(view, context.workspace.bands),
        MAX_QUEUE,
        view.seed,
        context.bands,
        reviewer if view.undecided else None,
    )


def count_samples(context: Context) -> int:
    """How many samples meet the filter."""
    return _read(context, "count", lambda: queries.sample_count(*_about(context), context.bands))


@dataclass(frozen=True, slots=True)
class OwnDecisions:
    """A reviewer's verdicts on some rows, the last ones that an undo would take back, and how
    many samples have one in all."""

    decided: dict[int, str]
    history: list[dict[str, Any]]
    n_decided: int


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
            return OwnDecisions(holds.decided(rows), holds.history(history), holds.n_decided)


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
    anybody unsure), and log name -> lines that could not be read."""

    reviewers: list[ReviewerProgress]
    conflicts: list[int]
    damaged: dict[str, int]


def read_review_state(workspace: Workspace) -> ReviewState:
    """What holds of everybody's decisions; only what was added since the last call is read."""
    # A feed of its own: two readers of one would each see only part of what was added.
    with _lock:
        feed = _feeds.get(workspace.root)
        if feed is None:
            feed = _feeds[workspace.root] = DecisionFeed(workspace)
    latest = feed.latest()
    return ReviewState(reviewer_progress(latest), conflicts(latest), feed.damaged_lines())


def read_reviewers(workspace: Workspace) -> list[ReviewerProgress]:
    """Samples decided by each reviewer."""
    return read_review_state(workspace).reviewers


def read_subsets(workspace: Workspace) -> list[SubsetDefinition]:
    """The saved subsets, oldest first."""
    return list_subsets(workspace)


def read_subset_outcome(context: Context, definition: SubsetDefinition) -> Outcome:
    """What a definition comes to now."""
    return _read(
        context,
        "outcome",
        lambda: read_outcome(context.workspace, context.store, definition),
        *_deciding(definition),
        answers=_outcomes,
    )


def read_subset_size(context: Context, definition: SubsetDefinition) -> tuple[int, int]:
    """How many samples a definition takes now, and of how many; kept far longer than outcomes."""

    def read() -> tuple[int, int]:
        outcome = read_subset_outcome(context, definition)
        return len(outcome.subset.selected), len(outcome.candidates)

    return _read(context, "size", read, *_deciding(definition))


def _deciding(definition: SubsetDefinition) -> tuple[object, ...]:
    """All of a definition that decides its outcome, as a key."""
    rule = tuple(sorted((key, repr(value)) for key, value in definition.rule.to_dict().items()))
    choices = (definition.text_only, definition.unscored, definition.hand_wins)
    return rule, choices, definition.scope
