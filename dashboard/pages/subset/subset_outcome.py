"""What a subset comes to: its size, where it comes from, and why each sample is in or out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data.context import Context
from dashboard.data.scores import read_cluster_names
from dashboard.data.subsets import describe_near_threshold
from dashboard.pages.subset import weights_outcome
from dashboard.pages.subset.rule_choices import REASON_NAMES
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Bar, Figure, Table
from scoring.subsets.definitions import ResolvedSubset
from scoring.subsets.selection import Reason

_SHOWN_ROWS = 100
_FITTING_ROWS = 12  # longer tables scroll, so that the page stays where it is
_HEIGHT = 620


def show(context: Context, outcome: ResolvedSubset) -> None:
    """Draws the outcome."""
    _show_size(context, outcome)
    if len(outcome.subset.selected) == 0:
        notices.show_note(
            "This subset is empty", "Nothing fits these choices; widen the rule to take more."
        )
    weights_outcome.show(context, outcome)
    with st.container(key="pair-outcome"):
        left, right = st.columns(2, gap="large")
        with left:
            st.subheader("By source", anchor=False)
            _show_sources(outcome)
            st.subheader("By category", anchor=False)
            _show_groups("category", outcome.by_category(context.bands), swatches=True)
        clustered = context.scope.clustering_id is not None
        with left if clustered else right:
            st.subheader("Why", anchor=False)
            _show_reasons(outcome)
        if clustered:
            with right:
                st.subheader("By cluster", anchor=False)
                _show_clusters(context, outcome)


def _show_size(context: Context, outcome: ResolvedSubset) -> None:
    subset, found = outcome.subset, outcome.candidates
    n = len(subset.selected)
    scored = int(found.scored.sum())
    kept_scored = int((subset.kept & found.scored).sum())
    tokens = int(found.n_answer_tokens[found.scored].sum())
    kept_tokens = int(found.n_answer_tokens[subset.kept & found.scored].sum())
    known = tokens > 0  # imported scores do not tell their answer tokens
    by_hand = subset.n_hand_kept + subset.n_hand_dropped
    figures.show_figures(
        [
            Figure(
                "samples in the subset",
                formatting.count(n),
                f"{formatting.share(n, len(found))} of {formatting.count(len(found))}",
            ),
            Figure(
                "of the scored",
                formatting.share(kept_scored, scored),
                f"{formatting.count(kept_scored)} of {formatting.count(scored)}",
            ),
            Figure(
                "answer tokens",
                formatting.count(kept_tokens if known else None),
                f"{formatting.share(kept_tokens, tokens)} of all scored ones"
                if known
                else formatting.UNKNOWN,
            ),
            Figure(
                "without a score",
                formatting.count(n - kept_scored),
                "taken in by choice or by hand",
            ),
            Figure(
                "turned by hand",
                formatting.count(by_hand),
                f"{formatting.count(subset.n_hand_kept)} kept, "
                f"{formatting.count(subset.n_hand_dropped)} "
                "dropped against the rule",
            ),
        ]
    )
    near = describe_near_threshold(context, outcome)
    if near is not None:
        figures.show_quiet(f"{near}.")


def _show_sources(outcome: ResolvedSubset) -> None:
    """Before and after, and how the mixture of sources moves."""
    frame = outcome.by_source()
    kept = max(int(frame["kept"].sum()), 1)
    largest = _largest(frame, "sources")
    rows: list[list[str | Bar]] = [
        [
            str(name),
            formatting.count(row["samples"]),
            formatting.count(row["kept"]),
            formatting.count(row["dropped"]),
            _kept_bar(row["kept"], row["samples"]),
            formatting.share(row["samples"], int(frame["samples"].sum())),
            formatting.share(row["kept"], kept),
        ]
        for name, row in largest.iterrows()
    ]
    columns = ("source", "samples", "kept", "dropped", "", "of all", "of subset")
    _show(Table(columns, rows, frozenset({1, 2, 3, 5, 6})))


def _largest(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """The groups with most samples; says so where it leaves some out."""
    held = frame[frame["samples"] > 0]
    if len(held) <= _SHOWN_ROWS:
        return held
    figures.show_quiet(f"The {_SHOWN_ROWS} largest of {len(held):,} {what}.")
    return held.sort_values("samples", ascending=False, kind="stable").head(_SHOWN_ROWS)


def _show_groups(
    what: str,
    frame: pd.DataFrame,
    names: Mapping[Any, str] | None = None,
    swatches: bool = False,
) -> None:
    """Before and after, with the share that stays as a bar."""
    held = frame[frame["samples"] > 0]
    rows: list[list[str | Bar]] = [
        [
            (names or {}).get(name, str(name)),
            formatting.count(row["samples"]),
            formatting.count(row["kept"]),
            formatting.count(row["dropped"]),
            formatting.share(row["kept"], row["samples"]),
            _kept_bar(row["kept"], row["samples"]),
        ]
        for name, row in held.iterrows()
    ]
    shown = [str(name) if " " not in str(name) else "none" for name in held.index]
    _show(
        Table(
            (what, "samples", "kept", "dropped", "share", ""),
            rows,
            frozenset({1, 2, 3, 4}),
            swatches=shown if swatches else (),
        )
    )


def _show(table: Table) -> None:
    if len(table.rows) <= _FITTING_ROWS:
        figures.show_table(table)
        return
    with st.container(height=_HEIGHT, border=False):
        figures.show_table(table)


def _kept_bar(kept: float, samples: float) -> Bar:
    return Bar({"kept": kept / samples}, f"{formatting.share(kept, samples)} kept")


def _show_clusters(context: Context, outcome: ResolvedSubset) -> None:
    names: dict[int, str] = {-1: "no cluster", **read_cluster_names(context)}
    _show_groups("cluster", _largest(outcome.by_cluster(), "clusters"), names)


def _show_reasons(outcome: ResolvedSubset) -> None:
    """Why samples are in or out; adds up to the dataset."""
    frame = outcome.reasons()
    total = int(frame["samples"].sum())
    rows: list[list[str | Bar]] = [
        [
            row["outcome"],
            REASON_NAMES[Reason(row["reason"])],
            formatting.count(row["samples"]),
            formatting.share(row["samples"], total),
        ]
        for row in frame.to_dict("records")
    ]
    rows.append(["all samples", "", formatting.count(total), formatting.share(total, total)])
    figures.show_table(
        Table(("outcome", "because of", "samples", "share"), rows, frozenset({2, 3}), total=True)
    )
