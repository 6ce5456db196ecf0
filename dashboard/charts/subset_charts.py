"""Charts of the Subset page: a frame in, a plotly figure out. No Streamlit here."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import theme
from dashboard.charts.style import density_scale, escape_markup, legend_above, style_figure
from scoring.necessity import Category


def inclusion_figure(by_score: pd.DataFrame, dark: bool) -> go.Figure:
    """Return inclusion probability by score.

    A line is the mean of each bin, a band the range of 8 in 10 samples, faint bars the numbers of
    samples.
    """
    blue = theme.CATEGORY_COLOURS[Category.VISION_CRITICAL].of(dark)
    x = by_score["visnec"]
    tallest = max(float(by_score["samples"].max()), 1.0) if len(by_score) else 1.0
    figure = go.Figure(
        go.Bar(
            x=x,
            y=by_score["samples"] / tallest,
            marker={"color": theme.LINE.of(dark), "line": {"width": 0}},
            hoverinfo="skip",
            name="samples (relative)",
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
    axis = _axis(dark)
    figure.update_xaxes(title={"text": "VisNec score (nats per answer token)"}, **axis)
    figure.update_yaxes(
        range=[0, 1.04], tickformat=".0%", title={"text": "inclusion probability"}, **axis
    )
    style_figure(figure, 300, bargap=0.05, legend=legend_above(dark, 1.14))
    return figure


def overlap_figure(overlaps: pd.DataFrame, names: dict[str, str], dark: bool) -> go.Figure:
    """Return the overlap of each pair of subsets as a square with its number."""
    order = list(names)
    table = pd.DataFrame(1.0, index=order, columns=order)
    for row in overlaps.to_dict("records"):
        table.loc[row["a"], row["b"]] = table.loc[row["b"], row["a"]] = row["jaccard"]
    labels = [escape_markup(names[subset]) for subset in order]
    figure = go.Figure(
        go.Heatmap(
            x=labels,
            y=labels,
            z=table.to_numpy(),
            zmin=0,
            zmax=1,
            colorscale=density_scale(dark),
            showscale=False,
            xgap=2,
            ygap=2,
            texttemplate="%{z:.2f}",
            textfont={"size": 13},
            hovertemplate="%{y} and %{x}<br>overlap %{z:.3f}<extra></extra>",
        )
    )
    axis = _axis(dark)
    figure.update_yaxes(autorange="reversed", automargin=True, **axis)
    figure.update_xaxes(side="top", automargin=True, **axis)
    height = 90 + 62 * max(len(order), 2)
    style_figure(figure, height, margin={"l": 90, "r": 12, "t": 40, "b": 12})
    return figure


def _axis(dark: bool) -> dict[str, object]:
    return {
        "zeroline": False,
        "showgrid": False,
        "fixedrange": True,
        "linecolor": theme.LINE.of(dark),
        "tickfont": {"color": theme.QUIET_INK.of(dark), "size": 11.5},
    }
