"""Charts of the Subset page: a frame in, a plotly figure out. No Streamlit here."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import theme
from dashboard.charts.score_charts import escape_markup
from scoring.necessity import Category

_MARGIN = {"l": 56, "r": 12, "t": 12, "b": 48}
_CLEAR = "rgba(0,0,0,0)"


def inclusion_figure(by_score: pd.DataFrame, dark: bool) -> go.Figure:
    """Inclusion probability by score: the mean of each bin, the range of 8 in 10 samples around
    it, and faint bars for how many samples there are."""
    blue = theme.CATEGORY_COLOURS[Category.VISION_CRITICAL].of(dark)
    x = by_score["visnec"]
    tallest = max(float(by_score["samples"].max()), 1.0) if len(by_score) else 1.0
    figure = go.Figure(
        go.Bar(
            x=x,
            y=by_score["samples"] / tallest,
            marker={"color": theme.LINE.of(dark), "line": {"width": 0}},
            hoverinfo="skip",
            name="samples, to their own height",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[*x, *x[::-1]],
            y=[*by_score["high"], *by_score["low"][::-1]],
            fill="toself",
            fillcolor=blue,
            opacity=0.2,
            line={"width": 0},
            hoverinfo="skip",
            name="8 in 10 samples",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=x,
            y=by_score["inclusion"],
            customdata=by_score["samples"],
            mode="lines+markers",
            marker={"size": 4},
            line={"color": blue, "width": 2},
            name="mean",
            hovertemplate="score %{x:.3f}<br>in %{y:.0%} of the draws"
            "<br>%{customdata:,} samples<extra></extra>",
        )
    )
    _settle(figure, dark, 300)
    figure.update_xaxes(title={"text": "VisNec score (nats per answer token)"})
    figure.update_yaxes(range=[0, 1.04], tickformat=".0%", title={"text": "inclusion probability"})
    figure.update_layout(
        bargap=0.05,
        legend={"orientation": "h", "y": 1.14, "x": 0, "font": {"color": theme.QUIET_INK.of(dark)}},
    )
    return figure


def overlap_figure(overlaps: pd.DataFrame, names: dict[str, str], dark: bool) -> go.Figure:
    """Overlap of each pair of subsets as a square with its number."""
    order = list(names)
    table = pd.DataFrame(1.0, index=order, columns=order)
    for row in overlaps.to_dict("records"):
        table.loc[row["a"], row["b"]] = table.loc[row["b"], row["a"]] = row["jaccard"]
    shown = [escape_markup(names[one]) for one in order]
    colours = theme.DENSITY_DARK if dark else theme.DENSITY_LIGHT
    figure = go.Figure(
        go.Heatmap(
            x=shown,
            y=shown,
            z=table.to_numpy(),
            zmin=0,
            zmax=1,
            colorscale=[
                (place / (len(colours) - 1), colour) for place, colour in enumerate(colours)
            ],
            showscale=False,
            xgap=2,
            ygap=2,
            texttemplate="%{z:.2f}",
            textfont={"size": 13},
            hovertemplate="%{y} and %{x}<br>overlap %{z:.3f}<extra></extra>",
        )
    )
    _settle(figure, dark, 90 + 62 * max(len(order), 2))
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(side="top", automargin=True)
    figure.update_layout(margin={"l": 90, "r": 12, "t": 40, "b": 12})
    return figure


def _settle(figure: go.Figure, dark: bool, height: int) -> None:
    quiet, line = theme.QUIET_INK.of(dark), theme.LINE.of(dark)
    axis = {
        "zeroline": False,
        "showgrid": False,
        "fixedrange": True,
        "linecolor": line,
        "tickfont": {"color": quiet, "size": 11.5},
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_layout(
        height=height,
        margin=_MARGIN,
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        dragmode=False,
    )
