"""One verdict on many samples: how many is said before and after, and one undo takes it back.

A verdict that the reviewer gave by hand is never replaced in passing: such samples are left out
and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dashboard.data import actions
from dashboard.data.context import read_workspace
from dashboard.data.reviews import read_last_bulk_decision, read_own_decisions
from dashboard.text import formatting
from dashboard.view.state import Key
from dashboard.widgets.gallery import Bulk, Told
from scoring.errors import VisnecError


@dataclass(frozen=True, slots=True)
class _News:
    """What this session's last verdict, or undo of one, did; ``queue`` names a verdict that was
    saved."""

    said: str
    queue: str | None = None
    failed: bool = False


def told() -> Told | None:
    """What to tell of the last verdict, and whether there is one that can be taken back.

    That is found in the log, so it outlives the page, and after an undo the one before is next.
    """
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    news: _News | None = st.session_state.get(Key.BULK)
    if reviewer is None:
        return None
    last = read_last_bulk_decision(read_workspace(), reviewer)
    st.session_state[Key.BULK_SHOWN] = last.queue if last else None
    if last is None:
        return None if news is None else Told(news.said, failed=news.failed)
    if news is not None and news.queue == last.queue:
        return Told(news.said, can_undo=True)
    standing = (
        f"Last verdict on several: {last.decision} on {formatting.plural(last.n, 'sample')}, "
        f"{formatting.moment(last.decided_at)}."
    )
    said = standing if news is None else f"{news.said} {standing}"
    return Told(said, can_undo=True, failed=news is not None and news.failed)


def take(bulk: Bulk) -> None:
    """Saves the verdict in the reviewer's name; for the gallery's callback."""
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    if reviewer is not None:
        st.session_state[Key.BULK] = _save(bulk, reviewer)


def _save(bulk: Bulk, reviewer: str) -> _News:
    workspace = read_workspace()
    own = read_own_decisions(workspace, reviewer, bulk.rows, 0).decided
    rows = [row for row in bulk.rows if row not in own]
    stayed = f"{formatting.plural(len(own), 'sample')} already had your verdict and stayed."
    if not rows:
        return _News(f"Nothing was changed: {stayed}")
    try:
        events = actions.record_bulk(workspace, reviewer, rows, bulk.decision)
    except (VisnecError, OSError) as error:
        return _News(f"Nothing was saved: {formatting.describe_error(error)}", failed=True)
    said = f"Saved: {bulk.decision} on {formatting.plural(len(rows), 'sample')}."
    return _News(f"{said} {stayed}" if own else said, events[0].queue)


def undo() -> None:
    """Takes back whole the verdict that was shown beside the button; for the gallery's callback."""
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    queue: str | None = st.session_state.get(Key.BULK_SHOWN)
    if reviewer is None or queue is None:
        return
    try:
        held = actions.undo_bulk(read_workspace(), reviewer, queue)
    except (VisnecError, OSError) as error:
        st.session_state[Key.BULK] = _News(
            f"Nothing was undone: {formatting.describe_error(error)}", failed=True
        )
        return
    st.session_state[Key.BULK] = _News(f"Undone on {formatting.plural(held, 'sample')}.")
