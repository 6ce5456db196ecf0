"""One decision on several samples, shown with its count and undone as a whole.

A decision that the reviewer made on a single sample is never replaced: such samples are skipped and
counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dashboard.data import actions
from dashboard.data.context import read_workspace
from dashboard.data.reviews import read_last_bulk_decision, read_own_decisions
from dashboard.text import formatting
from dashboard.view.state import Key
from dashboard.widgets.gallery import BulkRequest, StatusMessage
from scoring.errors import VisnecError
from scoring.reviews.decisions import open_review_log


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What this session's last bulk decision or undo did; ``queue`` names a saved decision."""

    text: str
    queue: str | None = None
    failed: bool = False


def read_status() -> StatusMessage | None:
    """Return the status of the last bulk decision, and whether it can be undone.

    It is read from the log, so it outlives the page; after an undo, the one before it can be
    undone.
    """
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    outcome: _Outcome | None = st.session_state.get(Key.BULK)
    if reviewer is None:
        return None
    last = read_last_bulk_decision(read_workspace(), reviewer)
    st.session_state[Key.BULK_SHOWN] = last.queue if last else None
    if last is None:
        return None if outcome is None else StatusMessage(outcome.text, failed=outcome.failed)
    if outcome is not None and outcome.queue == last.queue:
        return StatusMessage(outcome.text, can_undo=True)
    text = (
        f"Last bulk decision: {last.decision} on {formatting.plural(last.n, 'sample')}, "
        f"{formatting.moment(last.decided_at)}."
    )
    if outcome is None:
        return StatusMessage(text, can_undo=True)
    return StatusMessage(f"{outcome.text} {text}", can_undo=True, failed=outcome.failed)


def decide_samples(request: BulkRequest) -> None:
    """Save the decision in the reviewer's name; callback of the gallery."""
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    if reviewer is not None:
        st.session_state[Key.BULK] = _save_decision(request, reviewer)


def _save_decision(request: BulkRequest, reviewer: str) -> _Outcome:
    workspace = read_workspace()
    own = read_own_decisions(workspace, reviewer, request.rows, 0).decided
    rows = [row for row in request.rows if row not in own]
    skipped = f"Skipped {formatting.plural(len(own), 'sample')} that already had your decision."
    if not rows:
        return _Outcome(f"Nothing changed. {skipped}")
    try:
        events = actions.record_bulk(workspace, reviewer, rows, request.decision)
    except (VisnecError, OSError) as error:
        return _Outcome(f"Nothing was saved: {formatting.describe_error(error)}", failed=True)
    text = f"Saved: {request.decision} on {formatting.plural(len(rows), 'sample')}."
    return _Outcome(f"{text} {skipped}" if own else text, events[0].queue)


def undo_decision() -> None:
    """Undo the bulk decision shown with the button; callback of the gallery."""
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    queue: str | None = st.session_state.get(Key.BULK_SHOWN)
    if reviewer is None or queue is None:
        return
    try:
        n = len(open_review_log(read_workspace(), reviewer).undo_bulk(queue))
        outcome = _Outcome(f"Undid the decision on {formatting.plural(n, 'sample')}.")
    except (VisnecError, OSError) as error:
        outcome = _Outcome(f"Nothing was undone: {formatting.describe_error(error)}", failed=True)
    st.session_state[Key.BULK] = outcome
