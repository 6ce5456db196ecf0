"""The chart of a measure over several runs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import style, theme
from scoring.database.queries.run_trend import ALL_SOURCES

_MAX_SOURCES = len(theme.SOURCE_COLOURS)
_LONGEST_NAME = 24  # characters below the axis


def trend_figure(
    by_source: pd.DataFrame, measure: str, names: Sequence[str], dark: bool
) -> go.Figure:
    """Return a measure of all sources and of the largest ones over the runs ``names``."""
    is_share = measure != "median"
    shown = "%{y:.1f} %" if is_share else "%{y:.3f}"
    figure = go.Figure()
    sizes = by_source.drop_duplicates("source").sort_values("n", ascending=False, kind="stable")
    sources = [str(source) for source in sizes["source"] if source != ALL_SOURCES]
    lines = [(ALL_SOURCES, theme.INK, 3.0)]
    if len(sources) > 1:
        coloured = zip(sources, theme.SOURCE_COLOURS, strict=False)
        lines += [(source, colour, 1.6) for source, colour in coloured]
    for source, colour, width in lines:
        values = by_source[by_source["source"] == source][measure]
        values = 100 * values if is_share else values
        name = style.escape_markup(source or "no source")
        figure.add_trace(
            go.Scatter(
                x=list(range(len(names))),
                y=values.tolist(),
                mode="lines+markers",
                name=name,
                line={"color": colour.of(dark), "width": width},
                marker={"size": 7},
                connectgaps=True,
                hovertemplate=f"{name}: {shown}<extra></extra>",
            )
        )
    style.set_layout(
        figure, dark, 330, legend_height=1.18, margin={"l": 56, "r": 12, "t": 12, "b": 56}
    )
    figure.update_xaxes(
        tickvals=list(range(len(names))),
        ticktext=[style.escape_markup(_shorten(name)) for name in names],
        range=[-0.2, len(names) - 0.8],
    )
    if is_share:
        style.show_shares(figure, dark, 103)
    else:
        title = {"text": "median VisNec score"}
        figure.update_yaxes(title=title, showgrid=True, gridcolor=theme.LINE.of(dark))
    return figure


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
