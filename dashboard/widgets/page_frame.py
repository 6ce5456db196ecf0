"""The frame of every page: title, choice of scores, notices, empty states, and fragments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import streamlit as st

from dashboard.data import actions
from dashboard.data.activity import read_state
from dashboard.data.context import (
    Context,
    OpenedWorkspace,
    has_database,
    open_view_context,
    read_workspace,
    single_snapshot,
)
from dashboard.data.facts import read_clusterings, read_scopes
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.navigation import Fragment
from dashboard.view.state import View, current_view, open_view
from dashboard.widgets import filter_bar, notices, run_watcher
from scoring.bundled import MODEL_NOTICE

P = ParamSpec("P")
_SCORE_OWN_DATA = (
    "Score your own data",
    "visnec import DATA.json -w WORKSPACE --images FOLDER\n"
    "visnec score -w WORKSPACE --model MODEL_ID_OR_PATH --predict",
)


def view_fragment(
    key: Fragment | None = None,
) -> Callable[[Callable[Concatenate[Context, View, P], None]], Callable[P, None]]:
    """Make a function with the context and the current view a fragment without these arguments.

    All it reads is from one snapshot of the database. Nothing is shown before there are scores.
    """

    def make_fragment(show: Callable[Concatenate[Context, View, P], None]) -> Callable[P, None]:
        @st.fragment(key=key)
        @single_snapshot()
        @functools.wraps(show)
        def show_view(*args: P.args, **kwargs: P.kwargs) -> None:
            view = current_view()
            context = open_view_context(view).context
            if context is not None:
                show(context, view, *args, **kwargs)

        return show_view

    return make_fragment


def open_page(
    title: str, about: str, *, has_filter: bool = False, has_count: bool = True
) -> tuple[View, OpenedWorkspace]:
    """Show the head of a page; return its view and what the view refers to.

    Args:
        title: Of the page.
        about: Shown when the reader points at the info icon.
        has_filter: Whether the header line has the filter.
        has_count: Whether the filter shows the number of samples.
    """
    line = st.container(horizontal=True, vertical_alignment="center", key="page_head")
    line.title(title, anchor=False, help=about, width="content")
    view, problems = open_view()
    opened = open_view_context(view)
    if opened.dataset is not None and not has_database(opened.workspace):
        with st.status("Building the database …") as status:
            report = actions.build_workspace_database(read_workspace())
            n_samples = formatting.plural(report.n_samples, "sample")
            status.update(label=f"Database built: {n_samples}", state="complete")
        opened = open_view_context(view)
    if opened.context is not None:
        with line:
            _show_scope(opened.context)
            if has_filter:
                _show_filter(has_count)
    problems += opened.problems
    if problems:
        notices.show_note("Parts of this link were ignored", "\n".join(problems))
    state = read_state(opened)
    _show_notices(opened, running=bool(state.active))
    run_watcher.watch_runs(state, [])
    notices.show_message()
    return view, opened


def require_scores(opened: OpenedWorkspace) -> Context | None:
    """Return the scores of the page, or show an empty state and return None."""
    root = opened.workspace.root
    if opened.dataset is None:
        notices.show_empty(
            "No dataset yet",
            "Import LLaVA JSON or JSONL files. They stay where they are.",
            f"visnec import DATA.json -w {root} --images FOLDER",
        )
    elif opened.context is None:
        n_samples = formatting.plural(opened.dataset.n_samples, "sample")
        notices.show_empty(
            "No scores yet",
            f"{n_samples} to score. A model runs each twice, with and without its image.",
            f"visnec score -w {root} --model MODEL_ID_OR_PATH --predict",
        )
    return opened.context


@view_fragment(Fragment.FILTER)
def _show_filter(context: Context, _view: View, has_count: bool) -> None:
    filter_bar.show_filter_line(context, has_count)


def _show_scope(context: Context) -> None:
    """Show the run, baseline and clustering of the page, and let the reader choose others."""
    frame = read_scopes(context.store)
    scope = context.scope
    baseline = formatting.BASELINE_NAMES.get(scope.baseline, "other baseline")
    with st.popover(
        f"{scope.run_id} · {baseline}",
        icon=":material/tune:",
        width="content",
        help="Run and blind baseline of all pages",
    ):
        models = dict(zip(frame["run_id"], frame["model"], strict=True))
        url_widgets.choose_option(
            "run", "Run", list(models), scope.run_id, lambda run: f"{run} – {models[run]}"
        )
        url_widgets.choose_option(
            "baseline",
            "Blind baseline",
            list(frame[frame["run_id"] == scope.run_id]["baseline"]),
            scope.baseline,
            lambda name: formatting.BASELINE_NAMES.get(name, name),
            help="What replaces the image in the text-only pass",
        )
        clusterings = list(read_clusterings(context.store)["clustering_id"])
        if scope.clustering_id is not None:
            url_widgets.choose_option("clustering", "Clustering", clusterings, scope.clustering_id)


def _show_notices(opened: OpenedWorkspace, running: bool) -> None:
    context, own, notice = opened.context, opened.workspace.settings.notice, None
    if context is not None:
        frame = read_scopes(context.store)
        notice = frame[frame["run_id"] == context.scope.run_id]["notice"].iloc[0]
    # The demo's own notice is about runs of the bundled model only.
    if own and (context is None or own not in (notice, MODEL_NOTICE)):
        notices.show_dismissible("workspace_notice", own)
    if notice:
        is_demo = notice == MODEL_NOTICE
        notices.show_dismissible("run_notice", notice, _SCORE_OWN_DATA if is_demo else None)
    if context is None:
        return
    state = context.store.build_state()
    if state.n_new_parts and not running:
        n_files = formatting.plural(state.n_new_parts, "new result file")
        notices.show_note(
            f"{n_files} since this database was built",
            f"Figures are exact as of {formatting.moment(state.built_at)}.",
        )
        if st.button("Load new results", icon=":material/refresh:"):
            with st.spinner("Building the database …"):
                actions.build_workspace_database(opened.workspace)
            st.rerun()
