"""Review: one sample at a time, one key per decision."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.reviews import (
    COLUMN_QUEUES,
    choose_queue_column,
    choose_suspect_column,
    list_queue_columns,
)
from dashboard.data.scores import read_other_scopes
from dashboard.pages.review import panels, plain_review, review_deck
from dashboard.pages.review.open_queue import SEEDED, close_queue, open_queue
from dashboard.view import url_widgets
from dashboard.view.navigation import Fragment
from dashboard.view.state import Key, Queue, QueueScope, View, current_view
from dashboard.widgets import figures, page_frame
from dashboard.widgets import reviewer as names
from scoring.database.queries.compare import other_name

_QUEUE_NAMES = {
    Queue.THRESHOLD: "Nearest to the threshold",
    Queue.LOWEST: "Lowest score first",
    Queue.HIGHEST: "Highest score first",
    Queue.RANDOM: "Random (seeded)",
    Queue.STRATIFIED: "Random from each source and category",
    Queue.RUNS: "Furthest apart in two sets of scores",
    Queue.ABOVE_COLUMN: "High score, low in a column",
    Queue.BELOW_COLUMN: "Low score, high in a column",
    Queue.HIGHEST_VALUE: "Highest in a column first",
    Queue.LOWEST_VALUE: "Lowest in a column first",
    Queue.SUSPECTS: "Suspects: answer may be wrong",
    Queue.CONFLICTS: "Tied or unsure",
    Queue.REVIEWERS: "Reviewers disagree",
    Queue.RULE: "Decided against the threshold",
    Queue.ROW_IDX: "Dataset order",
}
_NO_COLUMN = "No column"  # not a name that a column can have
_WHO_NAMES = {
    QueueScope.UNDECIDED: "Undecided by me",
    QueueScope.ALL: "All",
    QueueScope.MINE: "Decided by me",
}


def render() -> None:
    """Show the page."""
    view, opened = page_frame.open_page(
        "Review", "One sample at a time, one key per decision", has_filter=True
    )
    context = page_frame.require_scores(opened)
    if context is None:
        return
    reviewer = names.ask_name(view.reviewer)
    if reviewer is None:
        return
    _show_choices(context, current_view(), reviewer)
    _show_review()
    if current_view().queue is Queue.SUSPECTS:
        panels.show_suspects()
    panels.show_threshold_quality()
    panels.show_reviewers()


def _show_choices(context: Context, view: View, reviewer: str) -> None:
    """Show which samples come up, in which order, and who decides."""
    with st.container(horizontal=True, vertical_alignment="center", key="review_line"):
        name = _QUEUE_NAMES.__getitem__
        url_widgets.choose_option("queue", "Queue", list(Queue), view.queue, name, width=290)
        _choose_parameter(context, view)
        scope = _WHO_NAMES.__getitem__
        url_widgets.choose_option("who", "Samples", list(QueueScope), view.who, scope, width=180)
        url_widgets.choose_flag(
            "blind",
            "Blind first",
            view.blind,
            "Show the question and the text-only prediction first. One key reveals the image and "
            "the reference, so they cannot bias your answer.",
        )
        about = "Buttons without keys, for screen readers and slow browsers"
        url_widgets.choose_flag("buttons", "Plain buttons", view.buttons, about)
        with st.popover("Reviewer", icon=":material/person:", width="content"):
            st.text(f"Decisions are saved as {reviewer}.")
            if names.is_login_configured():
                st.button("Sign out", on_click=st.logout)
            else:
                st.button("Change name", on_click=names.forget_name)


def _choose_parameter(context: Context, view: View) -> None:
    """Show the parameter of the queue, if it has one: seed, threshold, column or other scores."""
    look = url_widgets.UNLABELLED
    if view.queue in SEEDED:
        figures.show_inline_figure("", "Seed")
        url_widgets.choose_count("seed", "Seed", view.seed, width=140, **look)
    elif view.queue in COLUMN_QUEUES:
        if column := choose_queue_column(context, view):
            names = list_queue_columns(context, view.queue)
            url_widgets.choose_option("column", "Column", names, column, width=180)
    elif view.queue is Queue.SUSPECTS:
        if names := list_queue_columns(context, view.queue):
            chosen = choose_suspect_column(context, view) or _NO_COLUMN
            url_widgets.choose_option("column", "Column", [_NO_COLUMN, *names], chosen, width=180)
    elif view.queue in (Queue.THRESHOLD, Queue.RULE):
        threshold = view.threshold(context.workspace.bands)
        figures.show_inline_figure("", "Threshold")
        url_widgets.choose_number("cut", "Threshold", threshold, width=140, **look)
    elif view.queue is Queue.RUNS:
        others = [other_name(scope) for scope in read_other_scopes(context)]
        if others:
            chosen = view.other if view.other in others else others[0]
            url_widgets.choose_option("other", "Compare with", others, chosen, width=180)


@page_frame.view_fragment(Fragment.FILTERED)
def _show_review(context: Context, view: View) -> None:
    """Show the queue and its sample; a decision reruns only this fragment."""
    reviewer = st.session_state.get(Key.REVIEWER)
    if reviewer is None:
        return
    queue = open_queue(context, view, reviewer)
    row = current_view().row
    if view.buttons:
        reload = plain_review.show_review(context, queue, reviewer, row, view.blind)
    else:
        reload = review_deck.show_deck(context, view, queue, reviewer, row)
    if reload:
        close_queue()
        st.rerun(scope="fragment")
