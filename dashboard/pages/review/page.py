"""Review: one sample at a time, one key per decision, and nothing decided is ever lost."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace

import streamlit as st

from dashboard.data import actions
from dashboard.data.actions import Receipt
from dashboard.data.context import Context, open_view_context, read_workspace
from dashboard.data.reviews import read_own_decisions
from dashboard.data.samples import count_samples
from dashboard.data.scores import read_other_scopes
from dashboard.pages.review import plain_review, review_deck, reviewers_panel
from dashboard.pages.review.review_deck import HISTORY, Deck
from dashboard.pages.review.review_queue import SEEDED, Queued, close_queue, open_queue
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.links import cards_url
from dashboard.view.navigation import sample_link
from dashboard.view.state import Key, Queue, QueueScope, View, change_view, current_view
from dashboard.widgets import figures, labels_panel, page_frame
from dashboard.widgets import reviewer as names
from scoring.database.filters import Filter
from scoring.database.queries.compare import other_name
from scoring.dataset.records import read_dataset_info
from scoring.errors import VisnecError
from scoring.workspace import Workspace

_DECK = "review_deck"
_MAX_LINKS = 40
_QUEUE_NAMES = {
    Queue.THRESHOLD: "Nearest to the threshold",
    Queue.LOWEST: "Lowest score first",
    Queue.HIGHEST: "Highest score first",
    Queue.RANDOM: "Random, by a seed",
    Queue.STRATIFIED: "Random from each source and category",
    Queue.RUNS: "Furthest apart in two sets of scores",
    Queue.CONFLICTS: "A tie, or somebody unsure",
    Queue.REVIEWERS: "Reviewers disagree",
    Queue.RULE: "Decided against the cut",
    Queue.ROW_IDX: "In the order of the file",
}


_WHO_NAMES = {
    QueueScope.UNDECIDED: "I have not decided",
    QueueScope.ALL: "all",
    QueueScope.MINE: "I have decided",
}


def render() -> None:
    """The page."""
    view, opened = page_frame.open_page("Review", "One sample at a time, one key per decision")
    context = page_frame.require_scores(opened, "Review")
    if context is None:
        return
    reviewer = names.show(view.reviewer)
    if reviewer is None:
        return
    _show_choices(context, current_view(), reviewer)
    _show_review()
    labels_panel.show()
    reviewers_panel.show()


def _show_choices(context: Context, view: View, reviewer: str) -> None:
    """Which samples come up, in which order, and who decides."""
    with_parameter = view.queue in (Queue.THRESHOLD, Queue.RULE, Queue.RUNS, *SEEDED)
    widths = [4, 3, 3] if with_parameter else [7, 3]
    order, *parameter, which = st.columns(widths, vertical_alignment="bottom")
    with order:
        url_widgets.choose_option(
            "queue", "Queue", list(Queue), view.queue, _QUEUE_NAMES.__getitem__
        )
    if with_parameter:
        with parameter[0]:
            _choose_parameter(context, view)
    with which:
        url_widgets.choose_option(
            "who", "Samples", list(QueueScope), view.who, _WHO_NAMES.__getitem__
        )
    with st.container(horizontal=True, vertical_alignment="center", key="review_switches"):
        url_widgets.choose_flag(
            "blind",
            "Blind first",
            view.blind,
            "Show the question and the text-only prediction first; one key reveals the image and "
            "the reference, so that they cannot lead your first thought",
        )
        url_widgets.choose_flag(
            "buttons",
            "Plain buttons",
            view.buttons,
            "Ordinary buttons without keys, for screen readers and slow browsers",
        )
        with st.popover("Reviewer", icon=":material/person:", width="content"):
            st.text(f"Decisions are made as {reviewer}.")
            if names.login_configured():
                st.button("Sign out", on_click=st.logout)
            else:
                st.button("Change the name", on_click=names.ask_again)
    _show_filter(context)


def _choose_parameter(context: Context, view: View) -> None:
    """What else the queue needs to know."""
    if view.queue in SEEDED:
        url_widgets.choose_count("seed", "Seed", view.seed)
    elif view.queue is not Queue.RUNS:
        url_widgets.choose_number("cut", "Threshold", view.threshold(context.workspace.bands))
    elif others := [other_name(one) for one in read_other_scopes(context)]:
        url_widgets.choose_option(
            "other", "With", others, view.other if view.other in others else others[0]
        )


def _show_filter(context: Context) -> None:
    if context.filter == Filter():
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        n = formatting.plural(count_samples(context), "sample")
        figures.show_quiet(f"Only samples under the filter {context.filter} ({n})")
        st.button("Clear the filter", on_click=_clear_filter)


def _clear_filter() -> None:
    change_view(filter=Filter())


@st.fragment
def _show_review() -> None:
    """The queue and its sample; a decision draws only this part anew."""
    view = current_view()
    context = open_view_context(view).context
    reviewer = st.session_state.get(Key.REVIEWER)
    if context is None or reviewer is None:
        return
    queued = open_queue(context, view, reviewer)
    row = current_view().row
    if view.buttons:
        again = plain_review.show(context, queued, reviewer, row, view.blind)
    else:
        again = _show_deck(context, view, queued, reviewer, row)
    if again:
        close_queue()
        st.rerun(scope="fragment")


# ---- the keyed deck ------------------------------------------------------------------------------


def _show_deck(
    context: Context, view: View, queued: Queued, reviewer: str, row: int | None
) -> bool:
    own = read_own_decisions(context.workspace, reviewer, queued.rows, HISTORY)
    answered, receipt = st.session_state.get(Key.REVIEW_RECEIPT) or (0, Receipt())
    deck = Deck(
        name=_deck_name(context.workspace, context.edition, reviewer),
        reviewer=reviewer,
        queue=queued.rows,
        queue_key=queued.key,
        queue_name=queued.name,
        chances=queued.chances,
        draw=queued.draw,
        said=queued.said,
        start=row,
        decided=own.decided,
        history=[asdict(one) for one in own.history],
        n_decided=own.n_decided,
        receipt=asdict(receipt),
        answered=answered,
        cards=cards_url(context.scope, context.bands, context.store.generation),
        explore=sample_link(replace(view, page=None, row=None, filter=Filter())),
        blind=view.blind,
    )
    return review_deck.show(_DECK, deck, take_outbox)


def _deck_name(workspace: Workspace, edition: str, reviewer: str) -> str:
    """One drawer per workspace, dataset and reviewer: two workspaces may share an address."""
    return hashlib.sha256(repr((str(workspace.root), edition, reviewer)).encode()).hexdigest()[:24]


def take_outbox() -> None:
    """Saves what the browser sent, in the name of the reviewer for whom it was decided."""
    sent = review_deck.read_outbox((st.session_state.get(_DECK) or {}).get("outbox"))
    if sent is None:
        return
    change_view(row=sent.row)
    try:
        receipt = _save(sent)
    except (VisnecError, OSError) as error:
        receipt = Receipt(problem=formatting.describe_error(error))
    st.session_state[Key.REVIEW_RECEIPT] = sent.n, receipt


def _save(sent: review_deck.Outbox) -> Receipt:
    workspace = read_workspace()
    edition = read_dataset_info(workspace).fingerprint
    reviewer = names.read_name(sent.reviewer)
    if names.login_configured() and reviewer != names.signed_in():
        return Receipt(
            problem=f"these decisions were made by {reviewer}, who is not the one signed in here. "
            "They are kept in this browser until that person signs in again"
        )
    if reviewer is None or sent.deck != _deck_name(workspace, edition, reviewer):
        return Receipt(
            problem="these decisions belong to another dataset; reload the page. They are kept "
            "in this browser until that dataset is served again"
        )
    return actions.record_decisions(workspace, reviewer, sent.drafts)
