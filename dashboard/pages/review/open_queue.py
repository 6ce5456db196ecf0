"""The open queue of the Review page; it stays the same while its samples are decided."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.reviews import queue_order, read_queue
from dashboard.data.samples import count_samples
from dashboard.text import formatting
from dashboard.view.state import Key, Queue, View, change_view
from scoring.database.queries.review_queues import ReviewQueue

SEEDED: Final = (Queue.RANDOM, Queue.STRATIFIED)


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """A queue as it was ``drawn`` when it was opened; ``n_samples`` match the filter."""

    key: str
    drawn: ReviewQueue
    n_samples: int

    def origin_of(self, position: int) -> dict[str, Any]:
        """Return the fields of a decision that record how its sample came up."""
        chance = self.drawn.probabilities[position]
        draw = None if chance is None else self.drawn.draw
        return {"queue": self.drawn.name, "sampling_probability": chance, "draw": draw}

    @property
    def extent(self) -> str:
        """How much of the dataset the queue is; empty for all of it."""
        samples = formatting.plural(self.n_samples, "sample")
        n_eligible, n_rows = self.drawn.n_eligible, len(self.drawn.rows)
        if n_eligible > n_rows:
            return f"the first of {formatting.count(n_eligible)} eligible, out of {samples}"
        return f"out of {samples}" if self.n_samples > n_rows else ""


def open_queue(context: Context, view: View, reviewer: str) -> OpenQueue:
    """Return the open queue, or open a new one if the view has changed."""
    order = queue_order(context, view)
    seed = view.seed if view.queue in SEEDED else 0
    bands = context.bands if view.queue is Queue.STRATIFIED else None
    about = (context.scope, str(context.filter), order, seed, bands, view.who, reviewer)
    digest = hashlib.sha256(repr((str(context.workspace.root), *about)).encode()).hexdigest()[:16]
    present: OpenQueue | None = st.session_state.get(Key.QUEUE)
    if present is not None and present.key.startswith(digest):
        return present
    if present is not None and view.row is not None:
        change_view(row=None)  # a new queue starts with its first sample
    drawn = read_queue(context, view, reviewer)
    serial = st.session_state.get(Key.QUEUE_SERIAL, 0) + 1
    st.session_state[Key.QUEUE_SERIAL] = serial
    opened = OpenQueue(f"{digest}-{serial}", drawn, count_samples(context))
    st.session_state[Key.QUEUE] = opened
    return opened


def close_queue() -> None:
    """Make the next rerun open a new queue."""
    st.session_state.pop(Key.QUEUE, None)
