"""Review: one sample at a time, one key per decision."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace

import streamlit as st

from dashboard.data import actions
from dashboard.data.actions import Receipt
from dashboard.data.context import Context, open_view_context, read_workspace, single_snapshot
from dashboard.data.reviews import read_own_decisions
from dashboard.data.samples import count_samples
from dashboard.data.scores import read_other_scopes
from dashboard.pages.review import labels_panel, plain_review, review_deck, reviewers_panel
from dashboard.pages.review.review_deck import HISTORY, Deck
from dashboard.pages.review.review_queue import SEEDED, OpenQueue, close_queue, open_queue
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.links import cards_url
from dashboard.view.navigation import sample_link
from dashboard.view.state import Key, Queue, QueueScope, View, change_view, current_view
from dashboard.widgets import figures, page_frame
from dashboard.widgets import reviewer as names
from scoring.database.filters import Filter
from scoring.database.queries.compare import other_name
from scoring.dataset.records import read_dataset_info
from scoring.errors import VisnecError
from scoring.workspace import Workspace

_DECK = "review_deck"
_QUEUE_NAMES = {
    Queue.THRESHOLD: "Nearest to the threshold",
    Queue.LOWEST: "Lowest score first",
    Queue.HIGHEST: "Highest score first",
    Queue.RANDOM: "Random (seeded)",
    Queue.STRATIFIED: "Random from each source and category",
    Queue.RUNS: "Furthest apart in two sets of scores",
    Queue.CONFLICTS: "Tied or unsure",
    Queue.REVIEWERS: "Reviewers disagree",
    Queue.RULE: "Decided against the threshold",
    Queue.ROW_IDX: "Dataset order",
}
_WHO_NAMES = {
    QueueScope.UNDECIDED: "Undecided by me",
    QueueScope.ALL: "All",
    QueueScope.MINE: "Decided by me",
}


def render() -> None:
    """Show the page."""
    view, opened = page_frame.open_page("Review", "One sample at a time, one key per decision")
    context = page_frame.require_scores(opened)
    if context is None:
        return
    reviewer = names.ask_name(view.reviewer)
    if reviewer is None:
        return
    _show_choices(context, current_view(), reviewer)
    _show_review()
    labels_panel.show_threshold_quality()
    reviewers_panel.show_reviewers()


def _show_choices(context: Context, view: View, reviewer: str) -> None:
    """Show which samples come up, in which order, and who decides."""
    has_parameter = view.queue in (Queue.THRESHOLD, Queue.RULE, Queue.RUNS, *SEEDED)
    widths = [4, 3, 3] if has_parameter else [7, 3]
    queue, *parameter, who = st.columns(widths, vertical_alignment="bottom")
    with queue:
        url_widgets.choose_option(
            "queue", "Queue", list(Queue), view.queue, _QUEUE_NAMES.__getitem__
        )
    if has_parameter:
        with parameter[0]:
            _choose_parameter(context, view)
    with who:
        url_widgets.choose_option(
            "who", "Samples", list(QueueScope), view.who, _WHO_NAMES.__getitem__
        )
    with st.container(horizontal=True, vertical_alignment="center", key="review_switches"):
        url_widgets.choose_flag(
            "blind",
            "Blind first",
            view.blind,
            "Show the question and the text-only prediction first. One key reveals the image and "
            "the reference, so they cannot bias your answer.",
        )
        url_widgets.choose_flag(
            "buttons",
            "Plain buttons",
            view.buttons,
            "Buttons without keys, for screen readers and slow browsers",
        )
        with st.popover("Reviewer", icon=":material/person:", width="content"):
            st.text(f"Decisions are saved as {reviewer}.")
            if names.is_login_configured():
                st.button("Sign out", on_click=st.logout)
            else:
                st.button("Change name", on_click=names.forget_name)
    if context.filter != Filter():
        with st.container(horizontal=True, vertical_alignment="center"):
            n_samples = formatting.plural(count_samples(context), "sample")
            figures.show_caption(f"Filter: {context.filter} ({n_samples})")
            st.button("Clear filter", on_click=change_view, kwargs={"filter": Filter()})


def _choose_parameter(context: Context, view: View) -> None:
    """Show the parameter of the queue: seed, threshold or other scores."""
    if view.queue in SEEDED:
        url_widgets.choose_count("seed", "Seed", view.seed)
    elif view.queue is not Queue.RUNS:
        url_widgets.choose_number("cut", "Threshold", view.threshold(context.workspace.bands))
    elif others := [other_name(scope) for scope in read_other_scopes(context)]:
        chosen = view.other if view.other in others else others[0]
        url_widgets.choose_option("other", "Compare with", others, chosen)


@st.fragment
@single_snapshot()
def _show_review() -> None:
    """Show the queue and its sample; a decision reruns only this fragment."""
    view = current_view()
    context = open_view_context(view).context
    reviewer = st.session_state.get(Key.REVIEWER)
    if context is None or reviewer is None:
        return
    queue = open_queue(context, view, reviewer)
    row = current_view().row
    if view.buttons:
        reload = plain_review.show_review(context, queue, reviewer, row, view.blind)
    else:
        reload = _show_deck(context, view, queue, reviewer, row)
    if reload:
        close_queue()
        st.rerun(scope="fragment")


# ---- the keyed deck ------------------------------------------------------------------------------


def _show_deck(
    context: Context, view: View, queue: OpenQueue, reviewer: str, row: int | None
) -> bool:
    own = read_own_decisions(context.workspace, reviewer, queue.rows, HISTORY)
    answered, receipt = st.session_state.get(Key.REVIEW_RECEIPT) or (0, Receipt())
    deck = Deck(
        deck=_name_deck(context.workspace, context.edition, reviewer),
        reviewer=reviewer,
        queue=list(queue.rows),
        queue_key=queue.key,
        queue_name=queue.name,
        chances=list(queue.probabilities),
        draw=queue.draw,
        extent=queue.extent,
        start=row,
        decided={str(row_idx): decision for row_idx, decision in own.decided.items()},
        history=[asdict(decision) for decision in own.history],
        n_decided=own.n_decided,
        receipt=asdict(receipt),
        answered=answered,
        cards=cards_url(context.scope, context.bands, context.store.generation),
        explore=sample_link(replace(view, page=None, row=None, filter=Filter())),
        blind=view.blind,
    )
    return review_deck.show_deck(_DECK, deck, save_outbox)


def _name_deck(workspace: Workspace, edition: str, reviewer: str) -> str:
    """Name the browser's outbox: two workspaces may have the same address."""
    return hashlib.sha256(repr((str(workspace.root), edition, reviewer)).encode()).hexdigest()[:24]


def save_outbox() -> None:
    """Save the decisions that the browser sent, in the name of the reviewer who made them."""
    sent = review_deck.read_outbox((st.session_state.get(_DECK) or {}).get("outbox"))
    if sent is None:
        return
    change_view(row=sent.row)
    try:
        receipt = _save_drafts(sent)
    except (VisnecError, OSError) as error:
        receipt = Receipt(problem=formatting.describe_error(error))
    st.session_state[Key.REVIEW_RECEIPT] = sent.n, receipt


def _save_drafts(sent: review_deck.Outbox) -> Receipt:
    workspace = read_workspace()
    edition = read_dataset_info(workspace).fingerprint
    reviewer = names.read_name(sent.reviewer)
    if names.is_login_configured() and reviewer != names.read_login_name():
        return Receipt(
            problem=f"these decisions were made by {reviewer}, who is not signed in here. They "
            "stay in this browser until that reviewer signs in again"
        )
    if reviewer is None or sent.deck != _name_deck(workspace, edition, reviewer):
        return Receipt(
            problem="these decisions belong to another dataset; reload the page. They stay in "
            "this browser until that dataset is served again"
        )
    return actions.record_decisions(workspace, reviewer, sent.drafts)
