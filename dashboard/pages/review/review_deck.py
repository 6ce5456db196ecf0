"""The keyed review deck: sends a queue to the browser, receives decisions, returns receipts.

The browser may be ahead of the server. It repeats everything that is not confirmed, and each
decision has its own id, so a lost or repeated message neither loses nor repeats a decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import streamlit as st

from dashboard.data import actions
from dashboard.data.actions import Receipt
from dashboard.data.context import Context, read_workspace
from dashboard.data.edits import edits_version
from dashboard.data.reviews import read_own_decisions
from dashboard.frontend import assets
from dashboard.pages.review.open_queue import OpenQueue
from dashboard.text import formatting
from dashboard.view.links import cards_url
from dashboard.view.navigation import sample_link
from dashboard.view.state import Key, View, change_view
from dashboard.widgets import edit_form
from dashboard.widgets import reviewer as names
from dashboard.widgets.gallery import is_row
from scoring.database.filters import Filter
from scoring.dataset.records import read_dataset_info
from scoring.errors import VisnecError
from scoring.reviews.reviewer_state import UndoableDecision
from scoring.workspace import Workspace

HISTORY = 200  # decisions that the browser can undo one by one
KEY = "review_deck"
_deck = st.components.v2.component(
    "visnec_review_deck",
    html=assets.HTML,
    css=assets.style("card", "review_deck"),
    js=assets.script(
        *("image_viewer", "card", "keymap", "key_help", "deck_state", "deck_loader", "deck_group"),
        *("deck_pace", "deck_status", "outbox", "review_deck"),
    ),
)


def show_deck(
    context: Context, view: View, queue: OpenQueue, reviewer: str, row: int | None
) -> bool:
    """Show the deck; return whether the reviewer just asked for a new queue."""
    drawn = queue.drawn
    own = read_own_decisions(context.workspace, reviewer, drawn.rows, HISTORY)
    answered, receipt = st.session_state.get(Key.REVIEW_RECEIPT) or (0, Receipt())
    result = _deck(
        key=KEY,
        data={
            "deck": name_deck(context.workspace, context.edition, reviewer),
            "reviewer": reviewer,
            "queue": drawn.rows,
            "queue_key": queue.key,
            "queue_name": drawn.name,
            "chances": drawn.probabilities,  # per row; None unless the queue is random
            "draw": drawn.draw,
            "said": queue.extent,
            "start": row,
            # The reviewer's decisions on rows of the queue and of the history.
            "decided": {str(row_idx): decision for row_idx, decision in own.decided.items()},
            # The last decisions, each with the one on its sample once it and later ones are undone.
            "history": [_describe_undoable(decision) for decision in own.history],
            "n_decided": own.n_decided,  # on any sample
            "receipt": asdict(receipt),
            "answered": answered,  # number of the outbox that the receipt is about
            # When this URL changes, the browser reloads the samples.
            "cards": cards_url(
                context.scope,
                context.bands,
                f"{context.store.generation}-{edits_version(context.workspace)}",
            ),
            # The address of a sample without its row.
            "explore": sample_link(replace(view, page=None, row=None, filter=Filter())),
            "blind": view.blind,  # hides each sample's image and reference at first
        },
        default={"outbox": None},
        on_outbox_change=save_outbox,
        on_rebuild_change=lambda: None,
        on_edit_change=lambda: None,
    )
    edited = (result.edit or {}).get("row")
    if is_row(edited):
        edit_form.show_form(context, edited, reviewer)
    return result.rebuild is not None


def _describe_undoable(decision: UndoableDecision) -> dict[str, Any]:
    others = {str(row_idx): then for row_idx, then in decision.others.items()}
    return asdict(decision) | {"others": others}


def name_deck(workspace: Workspace, edition: str, reviewer: str) -> str:
    """Name the browser's outbox: two workspaces may have the same address."""
    return hashlib.sha256(repr((str(workspace.root), edition, reviewer)).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Outbox:
    """What the browser sent: decisions in order, their reviewer, the row it shows, and the number
    of the message."""

    deck: str
    reviewer: str
    drafts: tuple[dict[str, Any], ...]
    row: int | None
    n: int = 0


def read_outbox(value: object) -> Outbox | None:
    """Return the outbox that the browser sent, or None for an invalid one."""
    if not isinstance(value, Mapping):
        return None
    deck, reviewer, drafts, row = (value.get(k) for k in ("deck", "reviewer", "drafts", "row"))
    if not isinstance(deck, str) or not isinstance(reviewer, str) or not isinstance(drafts, list):
        return None
    valid = tuple(dict(draft) for draft in drafts if isinstance(draft, Mapping))
    n = value.get("n")
    return Outbox(deck, reviewer, valid, row if is_row(row) else None, n if is_row(n) else 0)


def save_outbox() -> None:
    """Save the decisions that the browser sent, in the name of the reviewer who made them."""
    sent = read_outbox((st.session_state.get(KEY) or {}).get("outbox"))
    if sent is None:
        return
    change_view(row=sent.row)
    try:
        receipt = _save_drafts(sent)
    except (VisnecError, OSError) as error:
        receipt = Receipt(problem=formatting.describe_error(error))
    st.session_state[Key.REVIEW_RECEIPT] = sent.n, receipt


def _save_drafts(sent: Outbox) -> Receipt:
    workspace = read_workspace()
    edition = read_dataset_info(workspace).fingerprint
    reviewer = names.read_name(sent.reviewer)
    if names.is_login_configured() and reviewer != names.read_login_name():
        return Receipt(
            problem=f"these decisions were made by {reviewer}, who is not signed in here. They "
            "stay in this browser until that reviewer signs in again"
        )
    if reviewer is None or sent.deck != name_deck(workspace, edition, reviewer):
        return Receipt(
            problem="these decisions belong to another dataset; reload the page. They stay in "
            "this browser until that dataset is served again"
        )
    return actions.record_decisions(workspace, reviewer, sent.drafts)
