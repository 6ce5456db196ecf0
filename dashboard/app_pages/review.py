"""Review: one sample at a time, one key per decision, and nothing decided is ever lost."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from html import escape

import streamlit as st

from dashboard import actions, loaders, text
from dashboard.actions import Receipt
from dashboard.components import (
    bound,
    figures,
    notices,
    page_frame,
    plain_review,
    review_deck,
)
from dashboard.components import reviewer as names
from dashboard.components.figures import Table
from dashboard.components.review_deck import HISTORY, Deck
from dashboard.links import cards_url
from dashboard.loaders import MAX_QUEUE, Context
from dashboard.navigation import PageName, page_link, sample_link
from dashboard.state import Key, Queue, View, change_view, current_view
from scoring.errors import VisnecError
from scoring.store.filters import Filter
from scoring.workspace import Workspace

_DECK = "review_deck"
_MAX_LINKS = 40
_QUEUE_NAMES = {
    Queue.THRESHOLD: "Nearest to the threshold",
    Queue.LOWEST: "Lowest score first",
    Queue.HIGHEST: "Highest score first",
    Queue.RANDOM: "Random, by a seed",
    Queue.ROW_IDX: "In the order of the file",
}


@dataclass(frozen=True, slots=True)
class _Queued:
    """A queue as it stood when it was opened; it holds still while samples are decided.

    ``probability`` is the chance that a sample under the filter came into a random queue.
    """

    key: str
    rows: tuple[int, ...]
    name: str
    probability: float | None


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
    _show_reviewers()


def _show_choices(context: Context, view: View, reviewer: str) -> None:
    """Which samples come up, in which order, and who decides."""
    with_parameter = view.queue in (Queue.THRESHOLD, Queue.RANDOM)
    widths = [3, 2, 2, 2, 2, 2] if with_parameter else [5, 2, 2, 2, 2]
    order, *parameter, undecided, blind, buttons, who = st.columns(
        widths, vertical_alignment="bottom"
    )
    with order:
        bound.choose("queue", "Queue", list(Queue), view.queue, _QUEUE_NAMES.__getitem__)
    if view.queue is Queue.THRESHOLD:
        with parameter[0]:
            bound.choose_number("cut", "Threshold", view.threshold(context.workspace.bands))
    elif view.queue is Queue.RANDOM:
        with parameter[0]:
            bound.choose_count("seed", "Seed", view.seed)
    with undecided:
        bound.switch("undecided", "Only undecided", view.undecided)
    with blind:
        bound.switch(
            "blind",
            "Blind first",
            view.blind,
            "Show the question and the text-only prediction first; one key reveals the image and "
            "the reference, so that they cannot lead your first thought",
        )
    with buttons:
        bound.switch(
            "buttons",
            "Plain buttons",
            view.buttons,
            "Ordinary buttons without keys, for screen readers and slow browsers",
        )
    with who, st.popover("Reviewer", icon=":material/person:", width="stretch"):
        st.text(f"Decisions are made as {reviewer}.")
        st.button("Change the name", on_click=names.ask_again)
    _show_filter(context)


def _show_filter(context: Context) -> None:
    if context.filter == Filter():
        return
    left, right = st.columns([6, 1], vertical_alignment="center")
    with left:
        n = text.plural(loaders.count_samples(context), "sample")
        figures.show_quiet(f"Only samples under the filter {context.filter} ({n})")
    right.button("Clear the filter", on_click=_clear_filter, width="stretch")


def _clear_filter() -> None:
    change_view(filter=Filter())


@st.fragment
def _show_review() -> None:
    """The queue and its sample; a decision draws only this part anew."""
    view = current_view()
    context = loaders.open_view_context(view).context
    reviewer = st.session_state.get(Key.REVIEWER)
    if context is None or reviewer is None:
        return
    queued = _open_queue(context, view, reviewer)
    row = current_view().row
    if view.buttons:
        again = plain_review.show(
            context, queued.rows, reviewer, queued.name, queued.probability, row
        )
    else:
        again = _show_deck(context, view, queued, reviewer, row)
    if again:
        st.session_state.pop(Key.QUEUE, None)
        st.rerun(scope="fragment")


# ---- the queue -----------------------------------------------------------------------------------


def _open_queue(context: Context, view: View, reviewer: str) -> _Queued:
    """The queue of the view: the one that is open, or a new one where the view asks for another."""
    order = loaders.queue_order(view, context.workspace.bands)
    seed = view.seed if view.queue is Queue.RANDOM else 0
    about = (context.scope, str(context.filter), order, seed, view.undecided, reviewer)
    asked = hashlib.sha256(repr((str(context.workspace.root), *about)).encode()).hexdigest()[:16]
    present: _Queued | None = st.session_state.get(Key.QUEUE)
    if present is not None and present.key.startswith(asked):
        return present
    if present is not None and view.row is not None:
        change_view(row=None)  # another queue begins at its own beginning
    rows = tuple(loaders.read_queue(context, view, reviewer))
    serial = st.session_state.get(Key.QUEUE_SERIAL, 0) + 1
    st.session_state[Key.QUEUE_SERIAL] = serial
    queued = _Queued(f"{asked}-{serial}", rows, order, _probability(context, view, len(rows)))
    st.session_state[Key.QUEUE] = queued
    return queued


def _probability(context: Context, view: View, n_rows: int) -> float | None:
    """Known for a random queue that holds everything, or that leaves out no decided sample."""
    if view.queue is not Queue.RANDOM or not n_rows:
        return None
    if n_rows < MAX_QUEUE:
        return 1.0
    return None if view.undecided else n_rows / loaders.count_samples(context)


# ---- the keyed deck ------------------------------------------------------------------------------


def _show_deck(
    context: Context, view: View, queued: _Queued, reviewer: str, row: int | None
) -> bool:
    own = loaders.read_own_decisions(context.workspace, reviewer, queued.rows, HISTORY)
    receipt: Receipt = st.session_state.get(Key.REVIEW_RECEIPT) or Receipt()
    scope = context.scope
    deck = Deck(
        name=_deck_name(context.workspace, context.edition, reviewer),
        reviewer=reviewer,
        queue=queued.rows,
        queue_key=queued.key,
        queue_name=queued.name,
        sampling_probability=queued.probability,
        start=row,
        decided=own.decided,
        history=own.history,
        n_decided=own.n_decided,
        receipt=asdict(receipt),
        cards=cards_url(scope.run_id, scope.baseline, scope.clustering_id),
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
        st.session_state[Key.REVIEW_RECEIPT] = _save(sent)
    except (VisnecError, OSError) as error:
        st.session_state[Key.REVIEW_RECEIPT] = Receipt(problem=str(error))


def _save(sent: review_deck.Outbox) -> Receipt:
    workspace = loaders.read_workspace()
    edition = loaders.read_dataset_edition(workspace)
    reviewer = names.read_name(sent.reviewer)
    if reviewer is None or sent.deck != _deck_name(workspace, edition, reviewer):
        return Receipt(
            problem="these decisions belong to another dataset; reload the page. They are kept "
            "in this browser until that dataset is served again"
        )
    return actions.record_decisions(workspace, reviewer, sent.drafts)


# ---- everybody's decisions -----------------------------------------------------------------------


@st.fragment
def _show_reviewers() -> None:
    """Who has decided how much, where they differ, and what of the logs cannot be read."""
    workspace = loaders.read_workspace()
    state = loaders.read_review_state(workspace)
    if not state.reviewers and not state.damaged:
        return
    st.subheader("Everybody's decisions", anchor=False)
    rows = [
        (
            one.reviewer,
            *(text.count(n) for n in (one.decided, one.keep, one.drop, one.unsure)),
            text.moment(one.last_decided_at),
        )
        for one in state.reviewers
    ]
    columns = ("reviewer", "decided", "keep", "drop", "unsure", "last decision")
    figures.show_table(Table(columns, rows, frozenset({1, 2, 3, 4})))
    left, right = st.columns([6, 1], vertical_alignment="center")
    with left:
        figures.show_quiet(
            f"As of {text.moment(datetime.now(UTC).isoformat())}. Each sample counts once a person."
        )
    right.button("Count again", icon=":material/refresh:", width="stretch")
    _show_conflicts(state.conflicts)
    if state.damaged:
        lines = "\n".join(f"{name}: {n}" for name, n in state.damaged.items())
        notices.show_note(
            "Lines of the decision logs that cannot be read",
            f"Torn by a kill, or damaged. No other decision is affected.\n{lines}",
        )


def _show_conflicts(rows: list[int]) -> None:
    """Samples without a majority, as links to them."""
    if not rows:
        return
    view = replace(current_view(), page=None, row=None, filter=Filter())
    links = " ".join(
        f'<a href="{escape(page_link(PageName.EXPLORE, replace(view, sample=row)), quote=True)}" '
        f'target="_self">row {row:,}</a>'
        for row in rows[:_MAX_LINKS]
    )
    more = f" and {len(rows) - _MAX_LINKS:,} more" if len(rows) > _MAX_LINKS else ""
    st.html(
        f'<div class="vn-quiet">{text.plural(len(rows), "sample")} without a majority (as many '
        f"keep as drop, or somebody unsure); the rule decides there: "
        f'<span class="vn-links">{links}</span>{more}</div>'
    )
