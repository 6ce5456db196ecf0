"""Details of a subset: borderline samples, stability, comparison, other clusterings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.charts import plots
from dashboard.data.context import Context
from dashboard.data.facts import read_current_clusterings
from dashboard.data.samples import read_row_tiles
from dashboard.data.subsets import (
    StabilityStats,
    read_best_rows,
    read_clustering_overlaps,
    read_known_stability,
    read_stability,
    read_subset_diff,
)
from dashboard.pages.subset.rule_choices import UNSAVED, uses_clusters
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.state import MAX_DRAWS, Panel, View, change_view
from dashboard.widgets import figures, gallery, notices
from dashboard.widgets.figures import Bar, Cell
from scoring.errors import VisnecError
from scoring.subsets.comparison import SubsetDiff
from scoring.subsets.definitions import ResolvedSubset, SubsetDefinition, list_subsets
from scoring.subsets.selection import REASONS, Reason

_CURRENT: Final = "the current rule"
_A: Final = "view.subset_a"
_MIN_DRAWS: Final = 10
_N_COMPARED: Final = 28
_N_SHOWN: Final = 7
PANEL_NAMES: Final = {
    Panel.EDGE: "Borderline samples",
    Panel.STABILITY: "Stability",
    Panel.COMPARE: "Compare with a subset",
    Panel.CLUSTERINGS: "Other clusterings",
}


def show_panel(context: Context, view: View, outcome: ResolvedSubset) -> int | None:
    """Show the panel that the view names; return the row of a sample that was just chosen."""
    st.subheader("Details", anchor=False)
    url_widgets.choose_segment("panel", "Details", list(Panel), view.panel, PANEL_NAMES.__getitem__)
    if view.panel is Panel.STABILITY:
        return _show_stability(context, view, outcome.definition)
    if view.panel is Panel.COMPARE:
        return _show_comparison(context, view, outcome.definition)
    if view.panel is Panel.CLUSTERINGS:
        _show_clusterings(context, outcome.definition)
        return None
    edges = find_edge_rows(outcome)
    rows = _choose_section("subset_edge", "Borderline samples", edges)
    return gallery.show_gallery("subset_gallery", read_row_tiles(context, rows)) if rows else None


def _choose_section(key: str, label: str, sections: dict[str, Any]) -> Any:
    """Choose one of several lists of samples and return it; show a remark if it is empty."""
    names = list(sections)
    choice = st.segmented_control(
        label,
        range(len(names)),
        format_func=names.__getitem__,
        default=0,
        key=key,
        label_visibility="collapsed",
        required=True,
    )
    section = sections[names[min(choice or 0, len(names) - 1)]]
    if not len(section):
        figures.show_caption("None.")
    return section


def find_edge_rows(outcome: ResolvedSubset, n: int = _N_SHOWN) -> dict[str, list[int]]:
    """Return the rows of the lowest scores kept, the highest dropped, and manual overrides."""
    candidates, subset = outcome.candidates, outcome.subset
    scores, scored = candidates.visnec, candidates.scored
    positions = {
        "Lowest scores kept": _find_lowest(scores, scored & subset.kept, n),
        "Highest scores dropped": _find_lowest(-scores, scored & ~subset.kept, n),
    }
    overrides = np.flatnonzero(subset.why == REASONS.index(Reason.REVIEWER))[:n]
    if len(overrides):
        positions["Manual overrides"] = overrides
    return {
        name: [int(row) for row in candidates.row_idx[some]] for name, some in positions.items()
    }


def _find_lowest(values: NDArray[Any], mask: NDArray[Any], n: int) -> NDArray[Any]:
    """Return the positions of the ``n`` lowest values under the mask, without sorting all."""
    positions = np.flatnonzero(mask)
    if len(positions) > n:
        limit = np.partition(values[positions], n - 1)[n - 1]
        positions = positions[values[positions] <= limit]
    return positions[np.argsort(values[positions], kind="stable")][:n]


# ---- stability: computed on request, because every draw applies the rule again -------------------


def _show_stability(context: Context, view: View, definition: SubsetDefinition) -> int | None:
    figures.show_caption(
        "Applies the rule to the scores of every other run and blind baseline, each with the noise "
        "of its dtype drawn many times. Manual decisions and unscored samples are ignored."
    )
    facts = read_known_stability(context, definition, view.draws)
    with st.container(key="wrap-draws"):
        field, button, _ = st.columns([2, 2, 5], vertical_alignment="bottom")
    with field:
        url_widgets.choose_count(
            "draws", "Draws", view.draws, min_value=_MIN_DRAWS, max_value=MAX_DRAWS
        )
    if button.button(
        "Compute",
        icon=":material/casino:",
        key="stability",
        width="stretch",
        disabled=facts is not None,
        help=None if facts is None else "Already computed",
    ):
        bar = st.progress(0.0, "Reading the scores …")

        def show_progress(done: int, total: int) -> None:
            bar.progress(done / total, f"Draw {done:,} of {total:,}. Any other change stops it.")

        try:
            facts = read_stability(context, definition, view.draws, show_progress)
        except VisnecError as error:
            notices.show_problem(error, "No stability for this rule")
        finally:
            bar.empty()
    return None if facts is None else _show_stability_facts(context, facts)


def _show_stability_facts(context: Context, facts: StabilityStats) -> int | None:
    share = formatting.share
    n_taken = formatting.count(facts.n_taken)
    figures.show_figures(
        ("Expected overlap", share(facts.overlap, 1), "Jaccard, with the subset of a draw"),
        ("Stable", facts.n_firm, f"selected in 95 % of draws or more; the rule selects {n_taken}"),
        ("Uncertain", facts.n_open, "selected in 5 % to 95 % of draws"),
        ("Other scores", facts.n_used, "runs and blind baselines"),
        ("Draws", facts.n_draws, ""),
    )
    figures.show_caption(f"Based on {facts.basis}.")
    rows: list[tuple[Cell, ...]] = []
    for replicate in facts.replicates:
        baseline = formatting.BASELINE_NAMES.get(replicate.baseline, replicate.baseline)
        overlap = "ignored: too few" if replicate.overlap is None else share(replicate.overlap, 1)
        dtype = replicate.dtype or "unknown"
        rows.append((replicate.run_id, baseline, dtype, share(replicate.coverage, 1), overlap))
    if rows:
        columns = ("Run", "Blind baseline", "Dtype", "Samples scored", "Overlap")
        figures.show_table(columns, rows, (3, 4))
    left, right = figures.pair_columns("stability")
    with left:
        figure = plots.inclusion_figure(facts.by_score, figures.use_dark_theme())
        figures.show_chart(figure, "inclusion")
    with right:
        frame = facts.by_source[facts.by_source["scored"] > 0]
        rows = [
            (str(name), row["taken"], f"{row['expected']:,.1f}", row["firm"], row["open"])
            for name, row in frame.iterrows()
        ]
        columns = ("Source", "Selected", "Mean of draws", "Stable", "Uncertain")
        figures.show_table(columns, rows, (1, 2, 3, 4))
    if not facts.unsure:
        return None
    figures.show_caption("Samples selected in about half of the draws")
    tiles = read_row_tiles(context, list(facts.unsure[:_N_SHOWN]))
    return gallery.show_gallery("doubtful", tiles)


# ---- comparison with a saved subset --------------------------------------------------------------


def _show_comparison(context: Context, view: View, definition: SubsetDefinition) -> int | None:
    try:
        saved = {subset.name: subset for subset in reversed(list_subsets(context.workspace))}
    except VisnecError as error:
        notices.show_problem(error, "Saved subsets cannot be listed")
        return None
    if not saved:
        notices.show_empty(
            "No saved subset to compare with", "Save this rule, then change it to compare both."
        )
        return None
    a, b = _choose_subsets(view, definition, saved)
    try:
        diff = read_subset_diff(context, a, b)
    except VisnecError as error:
        notices.show_problem(error, "These subsets cannot be compared")
        return None
    show_overlap(diff, (_CURRENT if a.name == UNSAVED else a.name, b.name))
    rows: list[list[Cell]] = []
    for name, row in diff.by_source[diff.by_source["samples"] > 0].iterrows():
        counts = [row[column] for column in ("samples", "a", "b", "both", "only_a", "only_b")]
        overlap = float(row["jaccard"])
        if math.isnan(overlap):  # both are empty
            shown = (formatting.ABSENT, Bar(0.0, "overlap"))
        else:
            shown = (formatting.share(overlap, 1), Bar(overlap, "overlap"))
        rows.append([str(name), *counts, *shown])
    columns = ("Source", "Samples", "A", "B", "Both", "Only A", "Only B", "Overlap", "")
    figures.show_table(columns, rows, range(1, 8))
    sections = {"Only in A": diff.only_a, "Only in B": diff.only_b, "In both": diff.both}
    counted = {f"{name} ({formatting.count(len(s))})": s for name, s in sections.items()}
    section = _choose_section("subset_part", "Samples", counted)
    if not len(section):
        return None
    best = read_best_rows(context, a.scope, section, _N_COMPARED)  # the highest scores first
    if len(section) > len(best):
        n_all = formatting.count(len(section))
        figures.show_caption(f"The {len(best)} highest scores of {n_all}.")
    return gallery.show_gallery("subset_difference", read_row_tiles(context, best))


def _choose_subsets(
    view: View, definition: SubsetDefinition, saved: dict[str, SubsetDefinition]
) -> tuple[SubsetDefinition, SubsetDefinition]:
    """Choose A, by default the current rule, and B, by default the newest saved subset."""
    first = view.subset_a if view.subset_a in saved else ""
    second = view.subset_b if view.subset_b in saved else next(iter(saved))
    with st.container(key="wrap-two"):
        left, right = st.columns(2)
    left.selectbox(
        "A",
        ["", *saved],
        format_func=lambda name: name or _CURRENT.capitalize(),
        **url_widgets.bind_widget(
            _A, first, lambda: change_view(subset_a=url_widgets.consume_value(_A) or None)
        ),
    )
    with right:
        url_widgets.choose_option("subset_b", "B", list(saved), second)
    return saved.get(first, replace(definition, name=UNSAVED)), saved[second]


def show_overlap(diff: SubsetDiff, names: Sequence[str]) -> None:
    """Show how far two subsets agree; ``names`` are those of A and B."""
    figures.show_figures(
        ("Overlap", formatting.share(diff.jaccard, 1), "Jaccard"),
        ("In both", len(diff.both), "samples"),
        ("Only in A", len(diff.only_a), names[0]),
        ("Only in B", len(diff.only_b), names[1]),
        ("Size of A", diff.n_a, names[0]),
        ("Size of B", diff.n_b, names[1]),
    )


# ---- other clusterings ---------------------------------------------------------------------------


def _show_clusterings(context: Context, definition: SubsetDefinition) -> None:
    """Show how much the subset depends on the number of clusters."""
    frame = read_current_clusterings(context.store)
    if len(frame) < 2:
        notices.show_empty(
            "Fewer than two clusterings",
            "Cluster with several K to see how much a subset depends on the number of clusters.",
            f"visnec cluster -w {context.workspace.root} --sweep 10,20,30",
        )
        return
    if not uses_clusters(definition.rule) and not definition.uses_cluster_filter():
        figures.show_caption("This rule does not use clusters. Its subset is the same with any.")
        return
    names = _name_clusterings(frame.to_dict("records"))
    try:
        with st.spinner("Applying the rule to each clustering …"):
            overlaps = read_clustering_overlaps(context, definition, tuple(names))
    except VisnecError as error:
        notices.show_problem(error, "The rule cannot be applied to every clustering")
        return
    figures.show_caption(
        "Overlap (Jaccard) of this rule's subsets with each clustering. Manual decisions are "
        "ignored: they would make all pairs look similar."
    )
    left, right = figures.pair_columns("clusterings")
    with left:
        chart = plots.overlap_figure(overlaps, names, figures.use_dark_theme())
        figures.show_chart(chart, "overlaps")
    with right:
        rows = [
            (
                f"{names[row['a']]} · {names[row['b']]}",
                *(row[column] for column in ("n_a", "n_b", "both")),
                formatting.share(row["jaccard"], 1),
            )
            for row in overlaps[overlaps["a"] != overlaps["b"]].to_dict("records")
        ]
        figures.show_table(("Pair", "First", "Second", "Both", "Overlap"), rows, (1, 2, 3, 4))


def _name_clusterings(clusterings: list[dict[Any, Any]]) -> dict[str, str]:
    """Name each clustering ``K = 20``, with the seed and then the id where names are the same."""
    names = {str(row["clustering_id"]): f"K = {row['k']}" for row in clusterings}
    for field in ("seed", "clustering_id"):
        counts = Counter(names.values())
        for row in clusterings:
            key = str(row["clustering_id"])
            if counts[names[key]] > 1:
                names[key] += f", seed {row[field]}" if field == "seed" else f" ({row[field]})"
    return names
