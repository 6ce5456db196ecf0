"""Two subsets side by side: how far they agree, where they differ, and the samples themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.samples import read_row_tiles
from dashboard.data.subsets import read_best_rows, read_subset_diff
from dashboard.pages.subset.rule_choices import UNSAVED
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.state import View, change_view
from dashboard.widgets import figures, gallery, notices
from dashboard.widgets.figures import Bar, Cell, Figure, Table
from scoring.errors import VisnecError
from scoring.subsets.comparison import SubsetDiff
from scoring.subsets.definitions import SubsetDefinition, list_subsets

_CURRENT: Final = "the current rule"
_N_SHOWN: Final = 28
_A: Final = "view.subset_a"


def show_comparison(context: Context, view: View, definition: SubsetDefinition) -> int | None:
    """Show the panel; return the row of a sample that was just chosen."""
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
    show_figures(diff, (_CURRENT if a.name == UNSAVED else a.name, b.name))
    _show_sources(diff)
    return _show_samples(context, diff, a)


def _choose_subsets(
    view: View, definition: SubsetDefinition, saved: dict[str, SubsetDefinition]
) -> tuple[SubsetDefinition, SubsetDefinition]:
    """Choose A, by default the current rule, and B, by default the newest saved subset."""
    first = view.subset_a if view.subset_a in saved else ""
    second = view.subset_b if view.subset_b in saved else next(iter(saved))
    with st.container(key="wrap-two"):
        left, right = st.columns(2)
        with left:
            st.selectbox(
                "A",
                ["", *saved],
                format_func=lambda name: name or _CURRENT.capitalize(),
                **url_widgets.bind_widget(_A, first, _change_a),
            )
        with right:
            url_widgets.choose_option("subset_b", "B", list(saved), second)
    return saved.get(first, replace(definition, name=UNSAVED)), saved[second]


def _change_a() -> None:
    change_view(subset_a=url_widgets.consume_value(_A) or None)


def show_figures(diff: SubsetDiff, names: tuple[str, str]) -> None:
    """Show how far two subsets agree; ``names`` are those of A and B."""
    count = formatting.count
    figures.show_figures(
        [
            Figure("Overlap", formatting.share(diff.jaccard, 1), "Jaccard"),
            Figure("In both", count(len(diff.both)), "samples"),
            Figure("Only in A", count(len(diff.only_a)), names[0]),
            Figure("Only in B", count(len(diff.only_b)), names[1]),
            Figure("Size of A", count(diff.n_a), names[0]),
            Figure("Size of B", count(diff.n_b), names[1]),
        ]
    )


def _show_sources(diff: SubsetDiff) -> None:
    frame = diff.by_source[diff.by_source["samples"] > 0]
    counts = ("samples", "a", "b", "both", "only_a", "only_b")
    rows: list[list[Cell]] = []
    for name, row in frame.iterrows():
        overlap = float(row["jaccard"])
        is_empty = math.isnan(overlap)
        rows.append(
            [
                str(name),
                *(formatting.count(row[column]) for column in counts),
                formatting.ABSENT if is_empty else formatting.share(overlap, 1),
                Bar({"kept": 0.0 if is_empty else overlap}, "overlap"),
            ]
        )
    columns = ("Source", "Samples", "A", "B", "Both", "Only A", "Only B", "Overlap", "")
    figures.show_table(Table(columns, rows, range(1, 8)))


def _show_samples(context: Context, diff: SubsetDiff, a: SubsetDefinition) -> int | None:
    """Show the samples of one section of the comparison, the highest scores first."""
    sections = {
        f"{name} ({formatting.count(len(rows))})": rows
        for name, rows in (
            ("Only in A", diff.only_a),
            ("Only in B", diff.only_b),
            ("In both", diff.both),
        )
    }
    names = list(sections)
    choice = st.segmented_control(
        "Samples",
        range(len(names)),
        format_func=names.__getitem__,
        default=0,
        key="subset_part",
        label_visibility="collapsed",
        required=True,
    )
    section = sections[names[choice or 0]]
    if not len(section):
        figures.show_caption("None.")
        return None
    rows = read_best_rows(context, a.scope, section, _N_SHOWN)
    if len(section) > len(rows):
        n_all = formatting.count(len(section))
        figures.show_caption(f"The {len(rows)} highest scores of {n_all}.")
    return gallery.show_gallery("subset_difference", read_row_tiles(context, rows))
