"""The trend over several runs: medians, accuracies, and samples that became vision-critical."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from dashboard.charts.trend_plots import trend_figure
from dashboard.data.context import Context
from dashboard.data.samples import read_row_tiles
from dashboard.data.scores import read_trend
from dashboard.text import formatting
from dashboard.view.navigation import PageName, page_link
from dashboard.view.state import View
from dashboard.widgets import figures
from scoring.database.queries.run_trend import CHANGES, RunTrend, change_filter
from scoring.database.values import Scope

_MAX_SOURCES = 12
_MAX_CHANGES = 12
_MEASURES = {
    "median": "Median score",
    "seen": "Accuracy with the image",
    "blind": "Accuracy without the image",
}
_CHANGES = {"became": "Became vision-critical", "stopped": "Stopped being vision-critical"}


def show_trend(context: Context, view: View, others: Sequence[Scope]) -> None:
    """Show the view's scores and others in this order."""
    trend = read_trend(context, others, _MAX_CHANGES)
    names = _name_scopes(trend.scopes)
    figures.show_heading(
        "Trend",
        f"{formatting.plural(trend.n_samples, 'sample')} with a score in all "
        f"{len(trend.scopes)} runs. Accuracies are about those that every run with predictions "
        "answered.",
    )
    if not trend.n_samples:
        return
    shown = [
        measure
        for measure in _MEASURES
        if measure == "median" or trend.by_source[f"n_{measure}"].any()
    ]
    tabs = st.tabs([_MEASURES[measure] for measure in shown])
    for tab, measure in zip(tabs, shown, strict=True):
        with tab:
            _show_measure(trend, measure, names)
    _show_changes(context, view, trend, names)


def _name_scopes(scopes: Sequence[Scope]) -> list[str]:
    """Return names of runs, with their baseline where it differs between them."""
    if len({scope.baseline for scope in scopes}) == 1:
        return [scope.run_id for scope in scopes]
    return [formatting.scope_name(scope) for scope in scopes]


def _show_measure(trend: RunTrend, measure: str, names: Sequence[str]) -> None:
    figure = trend_figure(trend.by_source, measure, names, figures.use_dark_theme())
    figures.show_chart(figure, f"trend_{measure}")
    table = _list_sources(trend, measure)
    columns = ("Source", "Samples", *names, "Change")
    figures.show_table(columns, table[: _MAX_SOURCES + 1], range(1, len(columns)))
    if len(table) > _MAX_SOURCES + 1:
        n_more = formatting.plural(len(table) - _MAX_SOURCES - 1, "smaller source")
        figures.show_caption(f"and {n_more}; visnec compare lists all")


def _list_sources(trend: RunTrend, measure: str) -> list[list[figures.Cell]]:
    """Return a row of all sources, then one per source, the largest first."""
    n = "n" if measure == "median" else f"n_{measure}"
    rows: list[tuple[int, list[figures.Cell]]] = []
    for source, frame in trend.by_source.groupby("source", sort=False):
        values, n_samples = frame[measure].tolist(), int(frame[n].iloc[0])
        cells = [_format_value(value, measure) for value in values]
        change = _format_change(values[-1] - values[0], measure)
        rows.append((n_samples, [str(source) or formatting.ABSENT, n_samples, *cells, change]))
    rows[1:] = sorted(rows[1:], key=lambda row: -row[0])
    return [cells for _, cells in rows]


def _format_value(value: float, measure: str) -> str:
    if math.isnan(value):  # no prediction
        return formatting.ABSENT
    return formatting.score(value) if measure == "median" else f"{100 * value:.1f} %"


def _format_change(value: float, measure: str) -> str:
    if measure == "median" or math.isnan(value):
        return _format_value(value, measure)
    return formatting.typeset_minus(f"{100 * value:+.1f} points")


def _show_changes(context: Context, view: View, trend: RunTrend, names: Sequence[str]) -> None:
    """Show the samples that became vision-critical from the first to the last run, or stopped."""
    figures.show_heading(
        "Changed samples",
        f"From {names[0]} to {names[-1]}, the largest change first. The filter in Explore has all; "
        "visnec compare --to writes them to a file.",
    )
    titles = [
        f"{title}: {formatting.count(trend.n_changes[change])}"
        for change, title in _CHANGES.items()
    ]
    for tab, change in zip(st.tabs(titles), CHANGES, strict=True):
        with tab:
            _show_changed(context, view, trend, change, names)


def _show_changed(
    context: Context, view: View, trend: RunTrend, change: str, names: Sequence[str]
) -> None:
    frame = trend.changes[trend.changes["change"] == change]
    if frame.empty:
        figures.show_caption("None.")
        return
    where = change_filter(context.filter, trend.scopes[-1], change)
    n_changes = trend.n_changes[change]
    link = figures.link_samples(context, view, where, n_changes, trend.n_samples)
    st.html(
        f'<a href="{escape(link.address)}" class="vn-go" target="_self">'
        f"Show {formatting.plural(n_changes, 'sample')} in Explore</a>"
    )
    records = frame.to_dict("records")
    tiles = read_row_tiles(context, [int(record["row_idx"]) for record in records])
    rows = [
        _list_cells(context, view, record, tile)
        for record, tile in zip(records, tiles, strict=True)
    ]
    columns = ("Sample", "Source", "Question", *names, "Change")
    figures.show_table(columns, rows, range(3, len(columns)))


def _list_cells(
    context: Context, view: View, record: dict[Any, Any], tile: dict[str, Any]
) -> list[figures.Cell]:
    row_idx, scope = int(record["row_idx"]), context.scope
    target = View(scope.run_id, scope.baseline, low=view.low, high=view.high, sample=row_idx)
    address = page_link(PageName.EXPLORE, target)
    scores = [value for name, value in record.items() if str(name).startswith("score_")]
    return [
        figures.Link(f"row {row_idx:,}", address),
        str(record["source"]) or formatting.ABSENT,
        tile["question"],
        *(_format_value(score, "median") for score in scores),
        formatting.score(scores[-1] - scores[0]),
    ]
