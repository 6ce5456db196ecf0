"""How much a subset depends on the clustering: its overlap between numbers of clusters."""

from __future__ import annotations

from collections import Counter
from typing import Any

import streamlit as st

from dashboard.charts.subset_charts import overlap_figure
from dashboard.data.context import Context
from dashboard.data.facts import read_current_clusterings
from dashboard.data.subsets import read_clustering_overlaps
from dashboard.pages.subset.rule_choices import uses_clusters
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Bar, Table
from scoring.errors import VisnecError
from scoring.subsets.definitions import SubsetDefinition


def show(context: Context, definition: SubsetDefinition) -> None:
    """Draws the panel, or what is missing for it."""
    frame = read_current_clusterings(context.store)
    if len(frame) < 2:
        notices.show_empty(
            "There are fewer than two clusterings of this dataset",
            "Several numbers of clusters over the same embeddings show how much a subset depends "
            "on them.",
            f"visnec cluster -w {context.workspace.root} --sweep 10,20,30",
        )
        return
    if not uses_clusters(definition.rule):
        figures.show_quiet(
            "This rule does not look at clusters, so its subset is the same with any of them."
        )
        return
    names = _names(frame.to_dict("records"))
    try:
        with st.spinner("Applying the rule to each clustering …"):
            overlaps = read_clustering_overlaps(context, definition)
    except VisnecError as error:
        notices.show_problem(error, "The rule cannot be applied to every clustering")
        return
    figures.show_quiet(
        "Overlap (Jaccard) of the subsets that this rule takes with each clustering; decisions by "
        "hand are left out, they would make every pair look alike."
    )
    with st.container(key="pair-clusterings"):
        left, right = st.columns([6, 5], gap="large")
        with left:
            st.plotly_chart(
                overlap_figure(overlaps, names, st.context.theme.type == "dark"),
                theme="streamlit",
                config={"displayModeBar": False, "scrollZoom": False},
                key="overlaps",
            )
        with right:
            pairs = overlaps[overlaps["a"] != overlaps["b"]].to_dict("records")
            rows: list[list[str | Bar]] = [
                [
                    f"{names[row['a']]} · {names[row['b']]}",
                    formatting.count(row["n_a"]),
                    formatting.count(row["n_b"]),
                    formatting.count(row["both"]),
                    formatting.share(row["jaccard"], 1),
                ]
                for row in pairs
            ]
            columns = ("pair", "first", "second", "both", "overlap")
            figures.show_table(Table(columns, rows, frozenset({1, 2, 3, 4})))


def _names(clusterings: list[dict[Any, Any]]) -> dict[str, str]:
    """``K = 20``; with the seed, and at last the id, where that would name two of them alike."""
    named = {str(one["clustering_id"]): f"K = {one['k']}" for one in clusterings}
    for more in ("seed", "clustering_id"):
        counts = Counter(named.values())
        for one in clusterings:
            key = str(one["clustering_id"])
            if counts[named[key]] > 1:
                named[key] += f", seed {one[more]}" if more == "seed" else f" ({one[more]})"
    return named
