"""The outcome of a rule: size of the subset, its composition, and why samples are in or out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data.context import Context
from dashboard.data.scores import read_cluster_names
from dashboard.data.subsets import describe_near_threshold, read_weight_stats
from dashboard.pages.subset.rule_choices import REASON_NAMES
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Bar, Cell, Figure, Table
from scoring.subsets.definitions import ResolvedSubset
from scoring.subsets.selection import Reason

_MAX_ROWS = 100
_FITTING_ROWS = 12  # longer tables scroll in a box of this height
_HEIGHT = 620


def show_outcome(context: Context, outcome: ResolvedSubset) -> None:
    """Show the figures and tables."""
    _show_size(context, outcome)
    if len(outcome.subset.selected) == 0:
        notices.show_note("This subset is empty", "No samples match this rule.")
    _show_weights(context, outcome)
    left, right = figures.pair_columns("outcome", 1, 1)
    clustered = context.scope.clustering_id is not None
    with left:
        st.subheader("By source", anchor=False)
        _show_sources(outcome)
        st.subheader("By category", anchor=False)
        _show_groups("Category", outcome.by_category(context.bands), swatches=True)
    with left if clustered else right:
        st.subheader("Reasons", anchor=False)
        _show_reasons(outcome)
    if clustered:
        with right:
            st.subheader("By cluster", anchor=False)
            names = {-1: "no cluster", **read_cluster_names(context)}
            _show_groups("Cluster", _select_largest(outcome.by_cluster(), "clusters"), names)


def _show_size(context: Context, outcome: ResolvedSubset) -> None:
    count, share = formatting.count, formatting.share
    subset, candidates = outcome.subset, outcome.candidates
    n, n_all = len(subset.selected), len(candidates)
    n_scored = int(candidates.scored.sum())
    n_kept = int((subset.kept & candidates.scored).sum())
    tokens = int(candidates.n_answer_tokens[candidates.scored].sum())
    kept_tokens = int(candidates.n_answer_tokens[subset.kept & candidates.scored].sum())
    known = tokens > 0  # imported scores may have no token counts
    figures.show_figures(
        [
            Figure("Samples in the subset", count(n), f"{share(n, n_all)} of {count(n_all)}"),
            Figure(
                "Of the scored samples",
                share(n_kept, n_scored),
                f"{count(n_kept)} of {count(n_scored)}",
            ),
            Figure(
                "Answer tokens",
                count(kept_tokens if known else None),
                f"{share(kept_tokens, tokens)} of scored samples" if known else formatting.UNKNOWN,
            ),
            Figure("Without a score", count(n - n_kept), "included by choice or by a reviewer"),
            Figure(
                "Manual overrides",
                count(subset.n_hand_kept + subset.n_hand_dropped),
                f"{count(subset.n_hand_kept)} kept, {count(subset.n_hand_dropped)} dropped "
                "against the rule",
            ),
        ]
    )
    near = describe_near_threshold(context, outcome)
    if near is not None:
        figures.show_caption(f"{near}.")


def _show_sources(outcome: ResolvedSubset) -> None:
    """Show counts per source, and each source's share of all samples and of the subset."""
    frame = outcome.by_source()
    n_samples, n_kept = int(frame["samples"].sum()), max(int(frame["kept"].sum()), 1)
    rows: list[list[Cell]] = [
        [
            str(name),
            *(formatting.count(row[column]) for column in ("samples", "kept", "dropped")),
            _make_bar(row["kept"] / row["samples"], " kept"),
            formatting.share(row["samples"], n_samples),
            formatting.share(row["kept"], n_kept),
        ]
        for name, row in _select_largest(frame, "sources").iterrows()
    ]
    columns = ("Source", "Samples", "Kept", "Dropped", "", "Of all", "Of subset")
    _show_table(Table(columns, rows, (1, 2, 3, 5, 6)))


def _select_largest(frame: pd.DataFrame, groups: str) -> pd.DataFrame:
    """Return the groups with the most samples, and show a remark if some are left out."""
    present = frame[frame["samples"] > 0]
    if len(present) <= _MAX_ROWS:
        return present
    figures.show_caption(f"The {_MAX_ROWS} largest of {len(present):,} {groups}.")
    return present.sort_values("samples", ascending=False, kind="stable").head(_MAX_ROWS)


def _show_groups(
    group: str,
    frame: pd.DataFrame,
    names: Mapping[Any, str] | None = None,
    swatches: bool = False,
) -> None:
    """Show counts per group, with the kept share as a bar."""
    present = frame[frame["samples"] > 0]
    rows: list[list[Cell]] = [
        [
            (names or {}).get(name, str(name)),
            *(formatting.count(row[column]) for column in ("samples", "kept", "dropped")),
            formatting.share(row["kept"], row["samples"]),
            _make_bar(row["kept"] / row["samples"], " kept"),
        ]
        for name, row in present.iterrows()
    ]
    categories = [str(name) if " " not in str(name) else "none" for name in present.index]
    columns = (group, "Samples", "Kept", "Dropped", "Share", "")
    _show_table(Table(columns, rows, (1, 2, 3, 4), swatches=categories if swatches else ()))


def _show_table(table: Table) -> None:
    scrolls = len(table.rows) > _FITTING_ROWS
    with st.container(height=_HEIGHT, border=False) if scrolls else st.container():
        figures.show_table(table)


def _make_bar(share: float, label: str = "") -> Bar:
    return Bar({"kept": share}, formatting.share(share, 1) + label)


def _show_reasons(outcome: ResolvedSubset) -> None:
    """Show why samples are in or out; the rows add up to the dataset."""
    frame = outcome.reasons()
    total = int(frame["samples"].sum())
    rows = [
        [
            str(row["outcome"]),
            REASON_NAMES[Reason(row["reason"])],
            formatting.count(row["samples"]),
            formatting.share(row["samples"], total),
        ]
        for row in frame.to_dict("records")
    ]
    rows.append(["All samples", "", formatting.count(total), formatting.share(total, total)])
    columns = ("Outcome", "Reason", "Samples", "Share")
    figures.show_table(Table(columns, rows, (2, 3), total=True))


# ---- weights -------------------------------------------------------------------------------------


def _show_weights(context: Context, outcome: ResolvedSubset) -> None:
    """Show how uneven the weights are and the mixture that training will see."""
    facts = read_weight_stats(context, outcome)
    if facts is None:
        return
    st.subheader("Weights", anchor=False)
    figures.show_figures(
        [
            Figure(
                "Effective share",
                formatting.share(facts.effective_share, 1),
                "effective sample size (Kish)",
            ),
            Figure("Lowest weight", f"{facts.lowest:.3g}", "of the kept samples"),
            Figure("Highest weight", f"{facts.highest:.3g}", "times as often as before"),
            Figure("Epoch", formatting.count(facts.epoch), "samples, repeats included"),
        ]
    )
    left, right = figures.pair_columns("weights", 3, 2)
    with left:
        _show_mixture(outcome)
    with right:
        _show_repeats(facts.repeats)


def _show_mixture(outcome: ResolvedSubset) -> None:
    st.subheader("Expected mixture by source", anchor=False)
    rows: list[list[Cell]] = []
    for name, row in outcome.composition().iterrows():
        mean = float(row["mean_weight"])
        rows.append(
            [
                str(name),
                formatting.count(row["samples"]),
                formatting.ABSENT if math.isnan(mean) else f"{mean:.3f}",
                formatting.share(row["share_before"], 1),
                formatting.share(row["share_after"], 1),
                _make_bar(row["share_after"]),
            ]
        )
    columns = ("Source", "Samples", "Mean weight", "Before", "After", "")
    figures.show_table(Table(columns, rows, (1, 2, 3, 4)))


def _show_repeats(repeats: Sequence[int]) -> None:
    st.subheader("As whole repeats", anchor=False)
    last, total = len(repeats) - 1, sum(repeats)
    rows: list[list[Cell]] = [
        [
            "left out" if n == 0 else f"{n} ×" if n < last else f"{n} × or more",
            formatting.count(samples),
            formatting.share(samples, total),
            _make_bar(samples / total),
        ]
        for n, samples in enumerate(repeats)
    ]
    figures.show_table(Table(("In an epoch", "Samples", "Share", ""), rows, (1, 2)))
    figures.show_caption("A sample with weight 2.3 is written two or three times (seeded).")
