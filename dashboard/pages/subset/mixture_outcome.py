"""What a mixture makes of its groups: samples, answer tokens and repeats, before and after."""

from __future__ import annotations

from typing import Final, cast

import pandas as pd
import streamlit as st

from dashboard.data.context import Context
from dashboard.pages.subset.mixture_targets import (
    FITTING_ROWS,
    HEIGHT,
    name_grouping,
    name_groups,
    order_groups,
)
from dashboard.pages.subset.rule_choices import read_groups
from dashboard.text import formatting
from dashboard.view.state import View
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Bar, Cell
from scoring.rules import Mixture
from scoring.subsets.definitions import ResolvedSubset

_MAX_ISSUES: Final = 8
_MAX_ROWS: Final = 300


def show_mixture(context: Context, view: View, outcome: ResolvedSubset) -> None:
    """Show the groups before and after, and name those below their targets or repeated often."""
    rule = cast(Mixture, outcome.definition.rule)
    st.subheader("Before and after", anchor=False)
    frame = outcome.mixture()
    present = {str(name) for name in frame.index[frame["samples"] > 0]}
    first = [name for name in order_groups(read_groups(context, view), view) if name in present]
    frame = frame.set_axis(frame.index.map(str), axis=0)
    frame = frame.loc[[*first, *sorted(present.difference(first))]]
    shown = frame.head(_MAX_ROWS)
    is_long = len(shown) > FITTING_ROWS
    with st.container(height=HEIGHT, border=False) if is_long else st.container():
        _show_groups(context, rule, shown)
    if len(frame) > _MAX_ROWS:
        figures.show_caption(f"The {_MAX_ROWS} largest of {len(frame):,} groups.")
    figures.show_caption(describe_epoch(frame, rule))
    if issues := rule.describe_issues(outcome.candidates):
        lines = [f"{issue}." for issue in issues[:_MAX_ISSUES]]
        lines += [f"And {len(issues) - _MAX_ISSUES} more."] if len(issues) > _MAX_ISSUES else []
        notices.show_note("Some groups are below their target or repeated often", "\n".join(lines))


def describe_epoch(frame: pd.DataFrame, rule: Mixture) -> str:
    """Return in words what an epoch of the mixture consists of, and what the shares are of."""
    kept, repeated = int(frame["kept"].sum()), int(frame["repeated"].sum())
    unit = "samples" if rule.tokens is None else "answer tokens"
    size = formatting.plural(repeated, "sample")
    if repeated != kept:
        size += f", repeats of {formatting.count(kept)} different ones"
    tokens = formatting.plural(int(frame["repeated_tokens"].sum()), "answer token")
    return (
        f"In an epoch: {size}; {tokens}. Before, after and target are shares of {unit}. Epochs: "
        "how often a group's samples are seen on average."
    )


def _show_groups(context: Context, rule: Mixture, frame: pd.DataFrame) -> None:
    """Show a line per group; the bars before and after have the same scale."""
    unit = "share" if rule.tokens is None else "token_share"
    columns = [f"{unit}_before", f"{unit}_after"]
    frame = frame.fillna(dict.fromkeys(columns, 0.0))
    scale = max(*frame[columns].to_numpy().flat, 1e-9)
    titles = name_groups(context, rule.per)
    rows: list[list[Cell]] = []
    for name, row in frame.iterrows():
        before, after = (formatting.share(row[column], 1) for column in columns)
        bars = [
            Bar(row[column] / scale, label)
            for column, label in zip(columns, (before, after), strict=True)
        ]
        target = formatting.ABSENT if pd.isna(row["target"]) else formatting.share(row["target"], 1)
        shares: list[Cell] = [before, bars[0], after, bars[1], target]
        counts = [int(row[each]) for each in ("samples", "repeated", "tokens", "repeated_tokens")]
        repeats: list[Cell] = [f"{row['epochs']:.2f}", int(row["most_repeats"])]
        rows.append([titles.get(str(name), str(name)), *shares, *counts, *repeats])
    headings = (
        *(name_grouping(rule.per), "Before", "", "After", "", "Target"),
        *("Samples before", "after", "Tokens before", "after", "Epochs", "Most repeats"),
    )
    swatches = [str(name) for name in frame.index] if rule.per == "category" else ()
    figures.show_table(headings, rows, (1, 3, *range(5, 12)), swatches=swatches)
