"""The open queue of the Review page; it stays the same while its samples are decided."""

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
from dashboard.widgets.decision_buttons import Sampling

SEEDED: Final = (Queue.RANDOM, Queue.STRATIFIED)


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """A queue as it was when it was opened.

    ``probabilities`` has one entry per row, None unless the queue is random; ``draw`` is what it
    was drawn from. The queue could have had ``n_eligible`` samples, and ``n_samples`` match the
    filter.
    """

    key: str
    rows: tuple[int, ...]
    name: str
    probabilities: tuple[float | None, ...]
    draw: str | None
    n_eligible: int
    n_samples: int

    def sampling_of(self, position: int) -> Sampling:
        """Return how the sample at a position of the queue was drawn."""
        probability = self.probabilities[position]
        return Sampling(self.name, probability, None if probability is None else self.draw)

    @property
    def extent(self) -> str:
        """How much of the dataset the queue is; empty for all of it."""
        samples = formatting.plural(self.n_samples, "sample")
        if self.n_eligible > len(self.rows):
            return f"the first of {formatting.count(self.n_eligible)} eligible, out of {samples}"
        return f"out of {samples}" if self.n_samples > len(self.rows) else ""


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
    queue = read_queue(context, view, reviewer)
    serial = st.session_state.get(Key.QUEUE_SERIAL, 0) + 1
    st.session_state[Key.QUEUE_SERIAL] = serial
    opened = OpenQueue(
        f"{digest}-{serial}",
        tuple(queue.rows),
        queue.name,
        tuple(queue.probabilities),
        queue.draw,
        queue.n_eligible,
        count_samples(context),
    )
    st.session_state[Key.QUEUE] = opened
    return opened


def close_queue() -> None:
    """Make the next rerun open a new queue."""
    st.session_state.pop(Key.QUEUE, None)
