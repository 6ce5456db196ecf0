"""What weights come to: how uneven they are, and which mixture training will see."""

from __future__ import annotations

import math

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.subsets import WeightStats, read_weight_stats
from dashboard.text import formatting
from dashboard.widgets import figures
from dashboard.widgets.figures import Bar, Figure, Table
from scoring.subsets.definitions import ResolvedSubset


def show(context: Context, outcome: ResolvedSubset) -> None:
    """Draws it; nothing where the rule does not weigh."""
    facts = read_weight_stats(context, outcome)
    if facts is None:
        return
    st.subheader("Weights", anchor=False)
    figures.show_figures(
        [
            Figure(
                "effective share",
                formatting.share(facts.effective_share, 1),
                "equally weighted samples that say as much",
            ),
            Figure("lowest weight", f"{facts.lowest:.3g}", "of those that stay"),
            Figure("highest weight", f"{facts.highest:.3g}", "times as often as before"),
            Figure("epoch", formatting.count(facts.epoch), "samples shown, repeats counted"),
        ]
    )
    with st.container(key="pair-weights"):
        left, right = st.columns([3, 2], gap="large")
        with left:
            _show_mixture(outcome)
        with right:
            _show_repeats(facts)


def _show_mixture(outcome: ResolvedSubset) -> None:
    """Expected composition by source."""
    st.subheader("Expected mixture by source", anchor=False)
    frame = outcome.composition()
    rows: list[list[str | Bar]] = []
    for name, row in frame.iterrows():
        mean = float(row["mean_weight"])
        rows.append(
            [
                str(name),
                formatting.count(row["samples"]),
                "–" if math.isnan(mean) else f"{mean:.3f}",
                formatting.share(row["share_before"], 1),
                formatting.share(row["share_after"], 1),
                Bar({"kept": row["share_after"]}, formatting.share(row["share_after"], 1)),
            ]
        )
    columns = ("source", "samples", "mean weight", "before", "after", "")
    figures.show_table(Table(columns, rows, frozenset({1, 2, 3, 4})))


def _show_repeats(facts: WeightStats) -> None:
    st.subheader("As whole repeats", anchor=False)
    last = len(facts.repeats) - 1
    total = sum(facts.repeats)
    rows: list[list[str | Bar]] = [
        [
            "left out" if n == 0 else f"{n} ×" if n < last else f"{n} × or more",
            formatting.count(samples),
            formatting.share(samples, total),
            Bar({"kept": samples / total}, formatting.share(samples, total)),
        ]
        for n, samples in enumerate(facts.repeats)
    ]
    figures.show_table(Table(("in an epoch", "samples", "share", ""), rows, frozenset({1, 2})))
    figures.show_quiet("A weight of 2.3 stands twice or three times, drawn by a seed.")
