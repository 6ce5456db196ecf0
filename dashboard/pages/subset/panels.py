"""Details of a subset: borderline samples, stability, comparison, other clusterings."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.charts.subset_charts import overlap_figure
from dashboard.data.context import Context
from dashboard.data.facts import read_current_clusterings
from dashboard.data.samples import read_row_tiles
from dashboard.data.subsets import read_clustering_overlaps
from dashboard.pages.subset import comparison, stability
from dashboard.pages.subset.rule_choices import uses_clusters
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.state import Panel, View
from dashboard.widgets import figures, gallery, notices
from dashboard.widgets.figures import Table
from scoring.errors import VisnecError
from scoring.subsets.definitions import ResolvedSubset, SubsetDefinition
from scoring.subsets.selection import REASONS, Reason

_N_EDGE: Final = 7
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
        return stability.show_stability(context, view, outcome.definition)
    if view.panel is Panel.COMPARE:
        return comparison.show_comparison(context, view, outcome.definition)
    if view.panel is Panel.CLUSTERINGS:
        _show_clusterings(context, outcome.definition)
        return None
    return _show_edge(context, outcome)


# ---- borderline samples --------------------------------------------------------------------------


def _show_edge(context: Context, outcome: ResolvedSubset) -> int | None:
    edges = find_edge_rows(outcome)
    choice = st.segmented_control(
        "Borderline samples",
        list(edges),
        default=next(iter(edges)),
        key="subset_edge",
        label_visibility="collapsed",
        required=True,
    )
    rows = edges.get(str(choice), [])
    if not rows:
        figures.show_caption("None.")
        return None
    return gallery.show_gallery("subset_gallery", read_row_tiles(context, rows))


def find_edge_rows(outcome: ResolvedSubset, n: int = _N_EDGE) -> dict[str, list[int]]:
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
    if not uses_clusters(definition.rule):
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
        chart = overlap_figure(overlaps, names, figures.use_dark_theme())
        figures.show_chart(chart, "overlaps")
    with right:
        rows = [
            [
                f"{names[row['a']]} · {names[row['b']]}",
                *(formatting.count(row[column]) for column in ("n_a", "n_b", "both")),
                formatting.share(row["jaccard"], 1),
            ]
            for row in overlaps[overlaps["a"] != overlaps["b"]].to_dict("records")
        ]
        columns = ("Pair", "First", "Second", "Both", "Overlap")
        figures.show_table(Table(columns, rows, (1, 2, 3, 4)))


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
