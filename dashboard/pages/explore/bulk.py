"""One decision on several samples, shown with its count and undone as a whole.

A decision that the reviewer made on a single sample is never replaced: such samples are skipped and
counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from dashboard.data import actions
from dashboard.data.context import read_workspace
from dashboard.data.reviews import read_own_decisions
from dashboard.text import formatting
from dashboard.view.state import Key
from dashboard.widgets.gallery import StatusMessage
from scoring.errors import VisnecError
from scoring.reviews.decision_log import Decision
from scoring.reviews.decisions import decision_feed, open_review_log


def read_status() -> StatusMessage | None:
    """Return the status of the last bulk decision, and whether it can be undone.

    It is read from the log, so it outlives the page; after an undo, the one before it can be
    undone.
    """
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    if reviewer is None:
        return None
    # What this session did last, and the queue of the decision it saved.
    outcome: StatusMessage | None
    outcome, queue = st.session_state.get(Key.BULK, (None, None))
    feed = decision_feed(read_workspace())
    last = feed.query_state(lambda state: state.find_last_bulk(reviewer))
    st.session_state[Key.BULK_SHOWN] = last.queue if last else None
    if last is None:
        return outcome
    if outcome is not None and queue == last.queue:
        return replace(outcome, can_undo=True)
    text = (
        f"Last bulk decision: {last.decision} on {formatting.plural(last.n, 'sample')}, "
        f"{formatting.moment(last.decided_at)}."
    )
    if outcome is None:
        return StatusMessage(text, can_undo=True)
    return replace(outcome, text=f"{outcome.text} {text}", can_undo=True)


def decide_samples(selected: Sequence[int], decision: Decision) -> None:
    """Save the decision in the reviewer's name; callback of the gallery."""
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    if reviewer is None:
        return
    workspace, queue = read_workspace(), None
    own = read_own_decisions(workspace, reviewer, selected, 0).decided
    rows = [row for row in selected if row not in own]
    skipped = f"Skipped {formatting.plural(len(own), 'sample')} that already had your decision."
    if rows:
        try:
            queue = actions.record_bulk(workspace, reviewer, rows, decision)[0].queue
            text = f"Saved: {decision} on {formatting.plural(len(rows), 'sample')}."
            outcome = StatusMessage(f"{text} {skipped}" if own else text)
        except (VisnecError, OSError) as error:
            text = f"Nothing was saved: {formatting.describe_error(error)}"
            outcome = StatusMessage(text, failed=True)
    else:
        outcome = StatusMessage(f"Nothing changed. {skipped}")
    st.session_state[Key.BULK] = outcome, queue


def keep_one(row_idx: int, group: Sequence[int]) -> None:
    """Keep a sample and drop the others of its group, as one decision; callback of a button."""
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    if reviewer is None:
        return
    workspace, queue = read_workspace(), None
    own = read_own_decisions(workspace, reviewer, group, 0).decided
    others = [row for row in group if row not in own and row != row_idx]
    kept = [row_idx] if row_idx not in own else []
    skipped = f"Skipped {formatting.plural(len(own), 'sample')} that already had your decision."
    text = f"Kept {len(kept)} and dropped {formatting.plural(len(others), 'sample')}."
    outcome = StatusMessage(f"{text} {skipped}" if own else text)
    try:
        if others or kept:
            drop = Decision.DROP
            queue = actions.record_bulk(workspace, reviewer, others, drop, kept)[0].queue
    except (VisnecError, OSError) as error:
        text = f"Nothing was saved: {formatting.describe_error(error)}"
        outcome = StatusMessage(text, failed=True)
    st.session_state[Key.BULK] = outcome, queue


def undo_decision() -> None:
    """Undo the bulk decision shown with the button; callback of the gallery."""
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    queue: str | None = st.session_state.get(Key.BULK_SHOWN)
    if reviewer is None or queue is None:
        return
    try:
        n = len(open_review_log(read_workspace(), reviewer).undo_bulk(queue))
        outcome = StatusMessage(f"Undid the decision on {formatting.plural(n, 'sample')}.")
    except (VisnecError, OSError) as error:
        text = f"Nothing was undone: {formatting.describe_error(error)}"
        outcome = StatusMessage(text, failed=True)
    st.session_state[Key.BULK] = outcome, None
