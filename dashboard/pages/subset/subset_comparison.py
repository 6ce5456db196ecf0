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
from dashboard.widgets.figures import Bar, Figure, Table
from scoring.errors import VisnecError
from scoring.subsets.comparison import SubsetDiff
from scoring.subsets.definitions import SubsetDefinition, list_subsets

_CHOICES: Final = "the choices above"
_N_SHOWN: Final = 28
_A: Final = "view.subset_a"


def show(context: Context, view: View, definition: SubsetDefinition) -> int | None:
    """Draws the panel; returns the row of a sample that was chosen just now."""
    try:
        saved = {one.name: one for one in reversed(list_subsets(context.workspace))}
    except VisnecError as error:
        notices.show_problem(error, "The saved subsets cannot be listed")
        return None
    if not saved:
        notices.show_empty(
            "There is no saved subset to compare with",
            "Save these choices under a name, then change the rule: both stand side by side here.",
        )
        return None
    a, b = _choose(view, definition, saved)
    try:
        diff = read_subset_diff(context, a, b)
    except VisnecError as error:
        notices.show_problem(error, "These two cannot be compared")
        return None
    names = (_named(a), _named(b))
    show_figures(diff, names)
    _show_sources(diff)
    return _show_samples(context, diff, a)


def _named(definition: SubsetDefinition) -> str:
    return _CHOICES if definition.name == UNSAVED else definition.name


def _choose(
    view: View, definition: SubsetDefinition, saved: dict[str, SubsetDefinition]
) -> tuple[SubsetDefinition, SubsetDefinition]:
    """A is what is chosen above unless a saved one is named; B the newest saved one."""
    here = replace(definition, name=UNSAVED)
    first = view.subset_a if view.subset_a in saved else ""
    second = view.subset_b if view.subset_b in saved else next(iter(saved))
    with st.container(key="wrap-two"):
        left, right = st.columns(2)
        with left:
            st.selectbox(
                "A",
                ["", *saved],
                key=url_widgets.widget_key(_A, first),
                format_func=lambda one: one or _CHOICES,
                on_change=url_widgets.on_user_change,
                args=(_A, _take_a),
            )
        with right:
            url_widgets.choose_option("subset_b", "B", list(saved), second)
    return saved.get(first, here), saved[second]


def _take_a() -> None:
    change_view(subset_a=url_widgets.consume_value(_A) or None)


def show_figures(diff: SubsetDiff, names: tuple[str, str]) -> None:
    """How far two subsets agree; ``names`` are what A and B are called."""
    figures.show_figures(
        [
            Figure(
                "overlap", formatting.share(diff.jaccard, 1), "Jaccard: in both, of those in either"
            ),
            Figure("in both", formatting.count(len(diff.both)), "samples"),
            Figure("only in A", formatting.count(len(diff.only_a)), names[0]),
            Figure("only in B", formatting.count(len(diff.only_b)), names[1]),
            Figure("size of A", formatting.count(diff.n_a), names[0]),
            Figure("size of B", formatting.count(diff.n_b), names[1]),
        ]
    )


def _show_sources(diff: SubsetDiff) -> None:
    frame = diff.by_source[diff.by_source["samples"] > 0]
    rows: list[list[str | Bar]] = [
        [
            str(name),
            *(formatting.count(row[column]) for column in ("samples", "a", "b", "both")),
            formatting.count(row["only_a"]),
            formatting.count(row["only_b"]),
            formatting.ABSENT
            if math.isnan(row["jaccard"])
            else formatting.share(row["jaccard"], 1),
            Bar({"kept": 0 if math.isnan(row["jaccard"]) else row["jaccard"]}, "overlap"),
        ]
        for name, row in frame.iterrows()
    ]
    columns = ("source", "samples", "A", "B", "both", "only A", "only B", "overlap", "")
    figures.show_table(Table(columns, rows, frozenset(range(1, 8))))


def _show_samples(context: Context, diff: SubsetDiff, a: SubsetDefinition) -> int | None:
    """The highest scores of each part first."""
    parts = {
        f"Only in A ({formatting.count(len(diff.only_a))})": diff.only_a,
        f"Only in B ({formatting.count(len(diff.only_b))})": diff.only_b,
        f"In both ({formatting.count(len(diff.both))})": diff.both,
    }
    place = st.segmented_control(
        "Samples",
        range(len(parts)),
        format_func=lambda one: list(parts)[one],
        default=0,
        key="subset_part",
        label_visibility="collapsed",
        required=True,
    )
    part = list(parts.values())[place or 0]
    if not len(part):
        figures.show_quiet("There are none.")
        return None
    rows = read_best_rows(context, a.scope, part, _N_SHOWN)
    if len(part) > len(rows):
        figures.show_quiet(f"The {len(rows)} highest scores of {formatting.count(len(part))}.")
    return gallery.show("subset_difference", read_row_tiles(context, rows))
