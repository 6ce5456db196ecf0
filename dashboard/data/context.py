"""Opens what a view is about: the workspace, its database, the run and the clustering."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from dashboard.data.cache import ANSWERS, Answers
from dashboard.data.facts import read_clusterings, read_scopes
from dashboard.view.state import View
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.queries.search import check_filter
from scoring.database.values import Scope
from scoring.dataset.records import DatasetInfo, read_dataset_info
from scoring.errors import FilterError, InputError, OutdatedError, WorkspaceError
from scoring.necessity import Bands
from scoring.workspace import Workspace, open_workspace

WORKSPACE_VARIABLE: Final = "VISNEC_WORKSPACE"

T = TypeVar("T")

_stores: dict[Path, Store] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Context:
    """What the reads of a page are about: a workspace with scores, and what the view chose."""

    workspace: Workspace
    store: Store
    scope: Scope
    bands: Bands
    filter: Filter
    edition: str  # fingerprint of the dataset
    filter_problem: str | None = None  # why the view's filter was left out

    def everything(self) -> Context:
        """The same without a filter."""
        return replace(self, filter=Filter(), filter_problem=None)


@dataclass(frozen=True, slots=True)
class OpenedWorkspace:
    """A workspace as far as it goes; ``context`` is None until something is scored.

    ``problems`` are sentences about what the view asked for and the workspace does not have.
    """

    workspace: Workspace
    dataset: DatasetInfo | None
    context: Context | None
    problems: tuple[str, ...] = ()


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
    """Whether the derived database is there and of this version; a page may have it built."""
    if not workspace.database.exists():
        return False
    try:
        open_store(workspace)
    except OutdatedError:
        return False
    return True


def open_view_context(view: View) -> OpenedWorkspace:
    """The workspace and what of the view it can show.

    Raises WorkspaceError where there is no workspace or its database cannot be read.
    """
    workspace = read_workspace()
    try:
        dataset = read_dataset_info(workspace)
    except WorkspaceError:
        return OpenedWorkspace(workspace, None, None)
    if not has_database(workspace):
        return OpenedWorkspace(workspace, dataset, None)
    store = open_store(workspace)
    scope, problems = _scope(store, view)
    if scope is None:
        return OpenedWorkspace(workspace, dataset, None, problems)
    which = view.filter
    if which.cluster and scope.clustering_id is None:
        problems += ("The filter's clusters were left out: there is no clustering yet.",)
        which = replace(which, cluster=())
    bands = view.bands(workspace.bands)
    which, problem = _answerable(store, scope, which, bands)
    context = Context(workspace, store, scope, bands, which, dataset.fingerprint, problem)
    return OpenedWorkspace(workspace, dataset, context, problems)


def _answerable(
    store: Store, scope: Scope, which: Filter, bands: Bands
) -> tuple[Filter, str | None]:
    """The filter, or what is left of it without the part that cannot be asked, and why."""
    try:
        check_filter(store, scope, which, bands)
    except (FilterError, InputError) as error:
        return (replace(which, text=None) if which.pattern else Filter()), str(error)
    return which, None


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


def cached_query(
    context: Context,
    name: str,
    read: Callable[[], T],
    *more: object,
    decisions: bool = True,
    answers: Answers = ANSWERS,
) -> T:
    """An answer that depends on the database, the scope, the filter and the bands, and on the
    decisions where it shows any or the filter names any."""
    store = context.store
    by_decision = decisions or context.filter.needs_decisions
    decided = store.decisions_generation if by_decision else ""
    about = (context.scope, str(context.filter), context.bands)
    key = (context.workspace.root, name, store.generation, decided, *about, *more)
    return answers.get(key, read)


def query_arguments(context: Context) -> tuple[Store, Scope, Filter]:
    """What most questions to the store begin with."""
    return context.store, context.scope, context.filter
