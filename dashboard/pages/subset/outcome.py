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
from dashboard.pages.subset.rule_families import REASON_NAMES
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Bar, Cell
from scoring.rules import Mixture
from scoring.subsets.definitions import ResolvedSubset
from scoring.subsets.selection import Reason

_MAX_ROWS = 100
_MAX_WARNINGS = 8
_FITTING_ROWS = 12  # longer tables scroll in a box of this height
_HEIGHT = 620


def show_outcome(context: Context, outcome: ResolvedSubset) -> None:
    """Show the figures and tables."""
    _show_size(context, outcome)
    if len(outcome.subset.selected) == 0:
        notices.show_note("This subset is empty", "No samples match this rule.")
    if vanishing := outcome.find_vanishing():
        lines = "\n".join(f"{line}." for line in vanishing[:_MAX_WARNINGS])
        notices.show_note("The composition changes strongly", lines)
    if not isinstance(outcome.definition.rule, Mixture):
        _show_weights(context, outcome)
    left, right = figures.pair_columns("outcome", 1, 1)
    clustered = context.scope.clustering_id is not None
    with left:
        st.subheader("By source", anchor=False)
        _show_groups("Source", _select_largest(outcome.composition("source"), "sources"))
        st.subheader("By category", anchor=False)
        categories = outcome.composition("category", context.bands)
        _show_groups("Category", categories, swatches=True)
        st.subheader("By answer type", anchor=False)
        _show_groups("Answer type", outcome.composition("answer type"))
    with left if clustered else right:
        st.subheader("Reasons", anchor=False)
        _show_reasons(outcome)
    if clustered:
        with right:
            st.subheader("By cluster", anchor=False)
            names = {-1: "no cluster", **read_cluster_names(context)}
            clusters = _select_largest(outcome.composition("cluster"), "clusters")
            _show_groups("Cluster", clusters, names)


def _show_size(context: Context, outcome: ResolvedSubset) -> None:
    count, share = formatting.count, formatting.share
    subset, candidates = outcome.subset, outcome.candidates
    n, n_all = len(subset.selected), len(candidates)
    n_scored = int(candidates.scored.sum())
    n_kept = int((subset.kept & candidates.scored).sum())
    tokens = int(candidates.n_answer_tokens[candidates.scored].sum())
    kept_tokens = int(candidates.n_answer_tokens[subset.kept & candidates.scored].sum())
    known = tokens > 0  # imported scores may have no token counts
    of_tokens = f"{share(kept_tokens, tokens)} of scored samples" if known else formatting.UNKNOWN
    n_overrides = subset.n_hand_kept + subset.n_hand_dropped
    overrides = f"{count(subset.n_hand_kept)} kept, {count(subset.n_hand_dropped)} dropped"
    of_scored = f"{count(n_kept)} of {count(n_scored)}"
    figures.show_figures(
        ("Samples in the subset", n, f"{share(n, n_all)} of {count(n_all)}"),
        ("Of the scored samples", share(n_kept, n_scored), of_scored),
        ("Answer tokens", kept_tokens if known else None, of_tokens),
        ("Without a score", n - n_kept, "included by choice or by a reviewer"),
        ("Manual overrides", n_overrides, f"{overrides} against the rule"),
    )
    if (filtered := outcome.describe_filter()) is not None:
        figures.show_caption(f"{filtered}.")
    if (unranked := outcome.describe_unranked()) is not None:
        figures.show_caption(f"{unranked}.")
    near = describe_near_threshold(context, outcome)
    if near is not None:
        figures.show_caption(f"{near}.")


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
    """Show a composition: counts per group, and each group's share of all and of the subset."""
    frame = frame[frame["samples"] > 0]
    rows: list[list[Cell]] = []
    for name, row in frame.iterrows():
        samples, kept = int(row["samples"]), int(row["kept"])
        bar = Bar(kept / samples, f"{formatting.share(kept, samples)} kept")
        after = row["share_after"]
        of_subset = formatting.ABSENT if math.isnan(after) else formatting.share(after, 1)
        ends: list[Cell] = [bar, formatting.share(row["share_before"], 1), of_subset]
        rows.append([(names or {}).get(name, str(name)), samples, kept, samples - kept, *ends])
    columns = (group, "Samples", "Kept", "Dropped", "Kept share", "Of all", "Of subset")
    categories = [str(name) if " " not in str(name) else "none" for name in frame.index]
    marks = categories if swatches else ()
    with (
        st.container(height=_HEIGHT, border=False) if len(rows) > _FITTING_ROWS else st.container()
    ):
        figures.show_table(columns, rows, (1, 2, 3, 5, 6), swatches=marks)


def _show_reasons(outcome: ResolvedSubset) -> None:
    """Show why samples are in or out; the rows add up to the dataset."""
    frame = outcome.reasons()
    total = int(frame["samples"].sum())
    rows: list[tuple[Cell, ...]] = []
    for row in frame.to_dict("records"):
        reason, share = REASON_NAMES[Reason(row["reason"])], formatting.share(row["samples"], total)
        rows.append((str(row["outcome"]), reason, row["samples"], share))
    rows.append(("All samples", "", total, formatting.share(total, total)))
    figures.show_table(("Outcome", "Reason", "Samples", "Share"), rows, (2, 3), total=True)


# ---- weights -------------------------------------------------------------------------------------


def _show_weights(context: Context, outcome: ResolvedSubset) -> None:
    """Show how uneven the weights are and the mixture that training will see."""
    facts = read_weight_stats(context, outcome)
    if facts is None:
        return
    st.subheader("Weights", anchor=False)
    effective = formatting.share(facts.effective_share, 1)
    figures.show_figures(
        ("Effective share", effective, "effective sample size (Kish)"),
        ("Lowest weight", f"{facts.lowest:.3g}", "of the kept samples"),
        ("Highest weight", f"{facts.highest:.3g}", "times as often as before"),
        ("Epoch", facts.epoch, "samples, repeats included"),
    )
    left, right = figures.pair_columns("weights", 3, 2)
    with left:
        st.subheader("Expected mixture by source", anchor=False)
        rows: list[list[Cell]] = []
        for name, row in outcome.composition().iterrows():
            mean = float(row["mean_weight"])
            shown = formatting.ABSENT if math.isnan(mean) else f"{mean:.3f}"
            before = formatting.share(row["share_before"], 1)
            after = formatting.share(row["share_after"], 1)
            bar = Bar(row["share_after"], after)
            rows.append([str(name), row["samples"], shown, before, after, bar])
        columns = ("Source", "Samples", "Mean weight", "Before", "After", "")
        figures.show_table(columns, rows, (1, 2, 3, 4))
    with right:
        st.subheader("As whole repeats", anchor=False)
        _show_repeats(facts.repeats)


def _show_repeats(repeats: Sequence[int]) -> None:
    last, total = len(repeats) - 1, sum(repeats)
    rows: list[tuple[Cell, ...]] = []
    for n, samples in enumerate(repeats):
        name = "left out" if n == 0 else f"{n} ×" + (" or more" if n == last else "")
        share = formatting.share(samples, total)
        rows.append((name, samples, share, Bar(samples / total, share)))
    figures.show_table(("In an epoch", "Samples", "Share", ""), rows, (1, 2))
    figures.show_caption("A sample with weight 2.3 is written two or three times (seeded).")
