"""Opens what a view shows: the workspace, its database, the run and the clustering."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from dashboard.data.cache import APP_CACHE, ResultCache
from dashboard.data.facts import read_clusterings, read_scopes
from dashboard.view.state import View
from scoring.database import connection
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.queries.browse import check_filter
from scoring.database.values import Scope
from scoring.dataset.records import DatasetInfo, read_dataset_info
from scoring.errors import FilterError, InputError, OutdatedError, WorkspaceError
from scoring.necessity import Bands
from scoring.workspace import Workspace, open_workspace

WORKSPACE_VARIABLE: Final = "VISNEC_WORKSPACE"

P = ParamSpec("P")
T = TypeVar("T")

_pinned_stores: ContextVar[dict[Store, Store] | None] = ContextVar("pinned_stores", default=None)


@dataclass(frozen=True, slots=True)
class Context:
    """What a page reads from: a workspace with scores, and what the view has chosen."""

    workspace: Workspace
    store: Store
    scope: Scope
    bands: Bands
    filter: Filter
    edition: str  # fingerprint of the dataset
    filter_problem: str | None = None  # why the view's filter was ignored

    @property
    def selection(self) -> connection.Selection:
        """The samples in view, for queries."""
        return self.store.selection(self.scope, self.filter, self.bands)

    def without_filter(self) -> Context:
        """Return the same context for all samples."""
        return replace(self, filter=Filter(), filter_problem=None)


@dataclass(frozen=True, slots=True)
class OpenedWorkspace:
    """A workspace in any state; ``context`` is None until something is scored.

    ``problems`` are messages about what the view asked for and the workspace does not have.
    """

    workspace: Workspace
    dataset: DatasetInfo | None
    context: Context | None
    problems: tuple[str, ...] = ()


def read_workspace() -> Workspace:
    """Return the workspace that this server was started for.

    Raises:
        WorkspaceError: If there is none; the message names the command.
    """
    root = os.environ.get(WORKSPACE_VARIABLE)
    if not root:
        raise WorkspaceError(
            "no workspace given; start the dashboard with: visnec dashboard -w WORKSPACE"
        )
    return open_workspace(Path(root))


@contextmanager
def single_snapshot() -> Iterator[None]:
    """Read everything inside from one snapshot of the database, so that a page's figures agree.

    A build that finishes meanwhile shows up in the next rerun. Decisions are always current.
    """
    if _pinned_stores.get() is not None:
        yield
        return
    token = _pinned_stores.set({})
    try:
        yield
    finally:
        _pinned_stores.reset(token)


def open_store(workspace: Workspace) -> Store:
    """Return the workspace's database, opened once per process, or its pinned snapshot.

    Raises:
        WorkspaceError: If there is no database, or it is from another version.
    """
    key = (workspace.root, workspace.settings)
    store = APP_CACHE.stores.get(key, lambda: Store(workspace))
    pinned = _pinned_stores.get()
    if pinned is None:
        return store
    if store not in pinned:
        pinned[store] = store.pin()
    return pinned[store]


def has_database(workspace: Workspace) -> bool:
    """Return whether the derived database exists in this version; if not, a page can build it."""
    if not workspace.database.exists():
        return False
    try:
        open_store(workspace)
    except OutdatedError:
        return False
    return True


def open_view_context(view: View) -> OpenedWorkspace:
    """Open the workspace and as much of the view as it has.

    Raises:
        WorkspaceError: If there is no workspace or its database cannot be read.
    """
    workspace = read_workspace()
    try:
        dataset = read_dataset_info(workspace)
    except WorkspaceError:
        return OpenedWorkspace(workspace, None, None)
    if not has_database(workspace):
        return OpenedWorkspace(workspace, dataset, None)
    store = open_store(workspace)
    scope, problems = _resolve_scope(store, view)
    if scope is None:
        return OpenedWorkspace(workspace, dataset, None, problems)
    bands, where, filter_problem = view.bands(workspace.bands), view.filter, None
    if where.cluster and scope.clustering_id is None:
        problems += ("The filter's clusters were ignored: there is no clustering yet.",)
        where = replace(where, cluster=())
    try:
        check_filter(store.selection(scope, where, bands))
    except (FilterError, InputError) as error:
        where = replace(where, text=None) if where.pattern else Filter()
        filter_problem = str(error)
    context = Context(workspace, store, scope, bands, where, dataset.fingerprint, filter_problem)
    return OpenedWorkspace(workspace, dataset, context, problems)


def _resolve_scope(store: Store, view: View) -> tuple[Scope | None, tuple[str, ...]]:
    """Return the scores that the view names, or the newest run's, and messages if they differ."""
    frame = read_scopes(store)
    if frame.empty:
        return None, ()
    problems: list[str] = []
    runs = [str(run) for run in dict.fromkeys(frame["run_id"])]
    with_scores = [str(run) for run in frame[frame["n_scored"] > 0]["run_id"]]
    run_id = view.run if view.run in runs else (with_scores or runs)[-1]
    if view.run is not None and view.run != run_id:
        problems.append(
            f"{view.run} is a run of edits: see it on Runs and with each edited sample. Showing "
            f"{run_id}."
            if view.run in store.snapshot().edit_runs
            else f"There is no run {view.run} here; showing {run_id}."
        )
    baselines = list(frame[frame["run_id"] == run_id]["baseline"])
    baseline = view.baseline if view.baseline in baselines else baselines[0]
    if view.baseline is not None and view.baseline != baseline:
        problems.append(f"The run has no baseline {view.baseline}; showing {baseline}.")
    names = list(read_clusterings(store)["clustering_id"])
    clustering = view.clustering if view.clustering in names else (names[-1] if names else None)
    if view.clustering is not None and view.clustering != clustering:
        problems.append(f"There is no clustering {view.clustering} here.")
    return Scope(run_id, str(baseline), clustering), tuple(problems)


def cached_query(
    context: Context,
    name: str,
    query: Callable[[], T],
    *parameters: object,
    decisions: bool = True,
    cache: ResultCache = APP_CACHE.answers,
) -> T:
    """Return a result that depends on the database, the context and hashable ``parameters``.

    ``name`` distinguishes queries with the same parameters. Without ``decisions``, the result
    depends on people's decisions only if the filter does.
    """
    store = context.store
    by_decision = decisions or context.filter.needs_decisions
    generations = store.generation, store.decisions_generation if by_decision else ""
    choices = context.scope, str(context.filter), context.bands
    return cache.get((context.workspace.root, name, *generations, *choices, *parameters), query)


def cached_read(
    *,
    decisions: bool = True,
    cache: ResultCache = APP_CACHE.answers,
    reduce: Callable[[Context], Context] = lambda context: context,
    make_key: Callable[[object], object] = lambda value: value,
) -> Callable[[Callable[Concatenate[Context, P], T]], Callable[Concatenate[Context, P], T]]:
    """Cache a function of a context and hashable parameters like :func:`cached_query`.

    ``reduce`` keeps the part of the context that the result depends on; ``make_key`` turns a
    parameter that is not hashable into one that is.
    """

    def decorate(
        read: Callable[Concatenate[Context, P], T],
    ) -> Callable[Concatenate[Context, P], T]:
        @wraps(read)
        def read_cached(context: Context, /, *values: P.args, **named: P.kwargs) -> T:
            return cached_query(
                reduce(context),
                read.__name__,
                lambda: read(context, *values, **named),
                *map(make_key, (*values, *named.items())),
                decisions=decisions,
                cache=cache,
            )

        return read_cached

    return decorate
