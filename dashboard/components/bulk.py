"""One verdict on many samples: how many is said before and after, and one undo takes it back.

A verdict that the reviewer gave by hand is never replaced in passing: such samples are left out
and counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dashboard import actions, loaders, text
from dashboard.components.gallery import Bulk, Told
from dashboard.state import Key
from scoring.errors import VisnecError


@dataclass(frozen=True, slots=True)
class _Last:
    """What the last verdict did; ``queue`` names it for an undo, None where nothing was saved."""

    reviewer: str
    said: str
    queue: str | None = None
    count: int = 0
    failed: bool = False


def told() -> Told | None:
    """What to tell of the last verdict, and whether it can be taken back."""
    last: _Last | None = st.session_state.get(Key.BULK)
    return None if last is None else Told(last.said, last.queue is not None, last.failed)


def take(bulk: Bulk) -> None:
    """Saves the verdict in the reviewer's name; for the gallery's callback."""
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    if reviewer is not None:
        st.session_state[Key.BULK] = _save(bulk, reviewer)


def _save(bulk: Bulk, reviewer: str) -> _Last:
    workspace = loaders.read_workspace()
    own = loaders.read_own_decisions(workspace, reviewer, bulk.rows, 0).decided
    rows = [row for row in bulk.rows if row not in own]
    stayed = f"{text.plural(len(own), 'sample')} already had your verdict and stayed."
    if not rows:
        return _Last(reviewer, f"Nothing was changed: {stayed}")
    try:
        events = actions.record_bulk(workspace, reviewer, rows, bulk.decision)
    except (VisnecError, OSError) as error:
        return _Last(reviewer, f"Nothing was saved: {text.problem(error)}", failed=True)
    said = f"Saved: {bulk.decision} on {text.plural(len(rows), 'sample')}."
    return _Last(reviewer, f"{said} {stayed}" if own else said, events[0].queue, len(rows))


def undo() -> None:
    """Takes the last verdict back whole; for the gallery's callback."""
    last: _Last | None = st.session_state.get(Key.BULK)
    if last is None or last.queue is None:
        return
    try:
        held = actions.undo_bulk(loaders.read_workspace(), last.reviewer, last.queue)
    except (VisnecError, OSError) as error:
        said = f"Nothing was undone: {text.problem(error)}"
        st.session_state[Key.BULK] = _Last(last.reviewer, said, last.queue, last.count, True)
        return
    rest = "" if held == last.count else " The others had been undone before."
    said = f"Undone on {text.plural(held, 'sample')}.{rest}"
    st.session_state[Key.BULK] = _Last(last.reviewer, said)
