"""The queue that is open on the Review page: it holds still while its samples are decided."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.reviews import queue_order, read_queue
from dashboard.data.samples import count_samples
from dashboard.text import formatting
from dashboard.view.state import Key, Queue, View, change_view
from dashboard.widgets.decision_buttons import Origin

SEEDED: Final = (Queue.RANDOM, Queue.STRATIFIED)


@dataclass(frozen=True, slots=True)
class Queued:
    """A queue as it stood when it was opened.

    ``chances`` runs beside ``rows``: how likely a sample was to be drawn, None in an order that
    is no random draw; ``draw`` is what it was drawn from. ``n_eligible`` samples could come up,
    of ``n_samples`` under the filter.
    """

    key: str
    rows: tuple[int, ...]
    name: str
    chances: tuple[float | None, ...]
    draw: str | None
    n_eligible: int
    n_samples: int

    def origin(self, place: int) -> Origin:
        """How the sample at a place came before the reviewer."""
        chance = self.chances[place]
        return Origin(self.name, chance, None if chance is None else self.draw)

    @property
    def said(self) -> str:
        """How much of the dataset it is; empty where it is all of it."""
        eligible, samples = (
            formatting.count(self.n_eligible),
            formatting.plural(self.n_samples, "sample"),
        )
        if self.n_eligible > len(self.rows):
            return f"the first of {eligible} that fit, of {samples}"
        return f"of {samples}" if self.n_samples > len(self.rows) else ""


def open_queue(context: Context, view: View, reviewer: str) -> Queued:
    """The queue of the view: the one that is open, or a new one where the view asks for another."""
    order = queue_order(context, view)
    seed = view.seed if view.queue in SEEDED else 0
    bands = context.bands if view.queue is Queue.STRATIFIED else None
    about = (context.scope, str(context.filter), order, seed, bands, view.who, reviewer)
    asked = hashlib.sha256(repr((str(context.workspace.root), *about)).encode()).hexdigest()[:16]
    present: Queued | None = st.session_state.get(Key.QUEUE)
    if present is not None and present.key.startswith(asked):
        return present
    if present is not None and view.row is not None:
        change_view(row=None)  # another queue begins at its own beginning
    found = read_queue(context, view, reviewer)
    serial = st.session_state.get(Key.QUEUE_SERIAL, 0) + 1
    st.session_state[Key.QUEUE_SERIAL] = serial
    queued = Queued(
        f"{asked}-{serial}",
        tuple(found.rows),
        found.name,
        tuple(found.probabilities),
        found.draw,
        found.n_eligible,
        count_samples(context),
    )
    st.session_state[Key.QUEUE] = queued
    return queued


def close_queue() -> None:
    """Has a new queue opened at the next drawing."""
    st.session_state.pop(Key.QUEUE, None)
