"""What every page has around it: the title, which scores it is about, and what is to be known.

It also settles the states in which there is nothing to show yet, so that a page is only drawn
where it has something.
"""

from __future__ import annotations

import streamlit as st

from dashboard.data import actions
from dashboard.data.activity import read_state
from dashboard.data.context import (
    Context,
    OpenedWorkspace,
    has_database,
    open_view_context,
    read_workspace,
)
from dashboard.data.facts import read_build_state, read_clusterings, read_scopes
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.state import View, open_view
from dashboard.widgets import notices, run_watcher
from scoring.bundled import MODEL_NOTICE

_OWN_MODEL = (
    "visnec import DATA.json -w WORKSPACE --images FOLDER\n"
    "visnec score -w WORKSPACE --model MODEL_ID_OR_PATH --predict"
)


def open_page(title: str, subtitle: str) -> tuple[View, OpenedWorkspace]:
    """Draws the head of a page and returns the view and what it is about."""
    left, right = st.columns([5, 2], vertical_alignment="bottom")
    left.title(title, anchor=False)
    left.html(f'<div class="vn-quiet">{subtitle}</div>')
    view, problems = open_view()
    opened = open_view_context(view)
    if opened.dataset is not None and not has_database(opened.workspace):
        opened = _with_database(view)
    if opened.context is not None:
        with right:
            _show_scope(opened.context)
    notices.show_left_out([*problems, *opened.problems])
    state = read_state(opened)
    _show_notices(opened, at_work=bool(state.active))
    run_watcher.watch(state)
    notices.show_remembered()
    return view, opened


def _with_database(view: View) -> OpenedWorkspace:
    """Builds the derived database where it is missing; it costs nothing but a little time."""
    workspace = read_workspace()
    with st.status("Building the database from the parts …") as status:
        report = actions.build_workspace_database(workspace)
        status.update(
            label=f"Database built: {formatting.plural(report.n_samples, 'sample')}",
            state="complete",
        )
    return open_view_context(view)


def require_scores(opened: OpenedWorkspace, what: str) -> Context | None:
    """The scores of the page, or None after an empty state was drawn in their place."""
    root = opened.workspace.root
    if opened.dataset is None:
        notices.show_empty(
            "This workspace holds no dataset yet",
            f"{what} needs one. Import LLaVA JSON or JSONL files; they stay where they are.",
            f"visnec import DATA.json -w {root} --images FOLDER",
        )
    elif opened.context is None:
        notices.show_empty(
            "Nothing is scored yet",
            f"{what} needs scores: "
            f"{formatting.plural(opened.dataset.n_samples, 'sample')} are waiting "
            "for a model to look at them twice, with and without their image.",
            f"visnec score -w {root} --model MODEL_ID_OR_PATH --predict",
        )
    return opened.context


def _show_scope(context: Context) -> None:
    """Which run, baseline and clustering the page is about, and how to choose others."""
    frame = read_scopes(context.store)
    scope = context.scope
    baseline = formatting.BASELINE_NAMES.get(scope.baseline, "other baseline")
    with st.popover(
        f"{scope.run_id} · {baseline}",
        icon=":material/tune:",
        width="stretch",
        help="Which scores the pages show",
    ):
        models = dict(zip(frame["run_id"], frame["model"], strict=True))
        url_widgets.choose_option(
            "run", "Run", list(models), scope.run_id, lambda run: f"{run} – {models[run]}"
        )
        baselines = list(frame[frame["run_id"] == scope.run_id]["baseline"])
        url_widgets.choose_option(
            "baseline",
            "Blind baseline",
            baselines,
            scope.baseline,
            lambda one: formatting.BASELINE_NAMES.get(one, one),
            help="What stood in for the image in the pass without it",
        )
        clusterings = list(read_clusterings(context.store)["clustering_id"])
        if scope.clustering_id is not None:
            url_widgets.choose_option("clustering", "Clustering", clusterings, scope.clustering_id)


def _show_notices(opened: OpenedWorkspace, at_work: bool) -> None:
    context = opened.context
    own = opened.workspace.settings.notice
    if context is None:
        if own:
            notices.show_note("", own)
        return
    frame = read_scopes(context.store)
    notice = frame[frame["run_id"] == context.scope.run_id]["notice"].iloc[0]
    if own and own not in (notice, MODEL_NOTICE):  # the demo's is about runs of its own model
        notices.show_note("", own)
    if notice == MODEL_NOTICE:
        notices.show_details(
            "Demonstration scores.",
            MODEL_NOTICE,
            "Score your own data with your own model",
            _OWN_MODEL,
        )
    elif notice:
        notices.show_note("", notice)
    state = read_build_state(context.store)
    if state.stale and not at_work:
        notices.show_note(
            f"{formatting.plural(state.n_new_parts, 'new part')} since this database was built",
            f"The figures are exact as of {formatting.moment(state.built_at)}.",
        )
        if st.button("Take the new parts in", icon=":material/refresh:"):
            with st.spinner("Building the database …"):
                actions.build_workspace_database(opened.workspace)
            st.rerun()
