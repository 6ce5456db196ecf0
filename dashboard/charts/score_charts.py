"""Charts of scores: a frame or value in, a plotly figure out. No Streamlit here.

Only binned counts are drawn, never one mark per sample, so a chart costs the same for six hundred
samples and for ten million.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import theme
from dashboard.charts.style import density_heatmap, escape_markup, legend_above, style_figure
from scoring.database.queries.compare import Comparison
from scoring.database.values import LossPlane
from scoring.necessity import Bands, Category
from scoring.reviews.threshold_estimation import ThresholdQuality

PLANE_HEIGHT = 420  # pixels


def loss_plane_figure(plane: LossPlane, bands: Bands, dark: bool) -> go.Figure:
    """Return scored samples by text-only loss (x) and multimodal loss (y), with named regions.

    The score is the distance to the right of the diagonal; lines mark both band limits. Bins above
    the highest loss are left out.
    """
    used = np.flatnonzero(plane.counts.any(axis=0) | plane.counts.any(axis=1))
    last = int(used[-1]) if len(used) else 0
    n_bins = min(max(last + 2, 8), len(plane.edges) - 1)  # one more than needed
    edges, counts = plane.edges[: n_bins + 1], plane.counts[:n_bins, :n_bins]
    figure = go.Figure(
        density_heatmap(
            counts,
            edges,
            edges,
            dark,
            "text-only loss %{x:.2f}<br>multimodal loss %{y:.2f}"
            "<br><b>%{customdata:,}</b> samples<extra></extra>",
        )
    )
    top = float(edges[-1])
    for offset, category in (
        (bands.low, Category.MISALIGNED),
        (bands.high, Category.VISION_CRITICAL),
    ):
        start, end = max(offset, 0.0), min(top, top + offset)
        colour = theme.CATEGORY_COLOURS[category].of(dark)
        figure.add_trace(
            go.Scatter(
                x=[start, end],
                y=[start - offset, end - offset],
                mode="lines",
                line={"color": colour, "width": 1.6, "dash": "dot"},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    quiet = theme.QUIET_INK.of(dark)
    _name_regions(figure, top, quiet)
    axis = {
        "zeroline": False,
        "showgrid": False,
        "linecolor": theme.LINE.of(dark),
        "tickfont": {"color": quiet, "size": 11.5},
        "fixedrange": True,
        "rangemode": "nonnegative",
    }
    figure.update_xaxes(
        title={"text": "text-only loss (nats per answer token)", "font": {"size": 12}},
        range=[0, top],
        **axis,
    )
    figure.update_yaxes(
        title={"text": "multimodal loss", "font": {"size": 12}},
        range=[-0.09 * top, 1.09 * top],
        tick0=0,
        **axis,
    )
    style_figure(
        figure,
        PLANE_HEIGHT,
        dragmode="select",
        newselection={"line": {"color": quiet, "width": 1.2, "dash": "dash"}},
    )
    return figure


def _name_regions(figure: go.Figure, top: float, colour: str) -> None:
    """Name the regions in the margins around the data, so that no name covers a sample."""
    for x, y, text, x_anchor in (
        (0.0, -0.045, "◣ redundant", "left"),
        (1.0, -0.045, "vision-critical ◢", "right"),
        (0.0, 1.045, "◤ image hurts", "left"),
        (1.0, 1.045, "model cannot use the image ◥", "right"),
    ):
        figure.add_annotation(
            x=x * top,
            y=y * top,
            text=text,
            showarrow=False,
            xanchor=x_anchor,
            font={"size": 12, "color": colour},
        )


def comparison_figure(
    comparison: Comparison, here: str, there: str, bands: Bands, dark: bool
) -> go.Figure:
    """Return samples by their scores in two sets (x and y), with the line of equal scores."""
    x, y = comparison.edges_here, comparison.edges_there
    figure = go.Figure(
        density_heatmap(
            comparison.density,
            x,
            y,
            dark,
            "here %{x:.2f}<br>there %{y:.2f}<br><b>%{customdata:,}</b> samples<extra></extra>",
        )
    )
    low, high = max(float(x[0]), float(y[0])), min(float(x[-1]), float(y[-1]))
    quiet, line = theme.QUIET_INK.of(dark), theme.LINE.of(dark)
    figure.add_trace(
        go.Scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            line={"color": quiet, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    for limit in (bands.low, bands.high):
        figure.add_vline(limit, line={"color": line, "width": 1})
        figure.add_hline(limit, line={"color": line, "width": 1})
    axis = {"zeroline": False, "showgrid": False, "fixedrange": True, "linecolor": line}
    font = {"size": 12}
    figure.update_xaxes(title={"text": escape_markup(here), "font": font}, **axis)
    figure.update_yaxes(title={"text": escape_markup(there), "font": font}, **axis)
    style_figure(
        figure,
        420,
        dragmode="select",
        selectdirection="h",  # a filter uses the scores here, not those there
        newselection={"line": {"color": quiet, "width": 1.2, "dash": "dash"}},
    )
    return figure


def threshold_quality_figure(
    curve: Sequence[ThresholdQuality], threshold: float, dark: bool
) -> go.Figure:
    """Return precision and recall of "keep" by threshold with 95 % intervals."""
    figure = go.Figure()
    lines = (
        ("precision", theme.CATEGORY_COLOURS[Category.VISION_CRITICAL].of(dark), "solid"),
        ("recall", theme.INK.of(dark), "dash"),
    )
    for name, colour, dash in lines:
        known = [(each.threshold, getattr(each, name)) for each in curve if getattr(each, name)]
        x = [at for at, _ in known]
        band = [*(share.high for _, share in known), *(share.low for _, share in known[::-1])]
        figure.add_trace(
            go.Scatter(
                x=x + x[::-1],
                y=band,
                fill="toself",
                fillcolor=colour,
                opacity=0.13,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[share.value for _, share in known],
                mode="lines",
                name=name,
                line={"color": colour, "width": 2, "dash": dash, "shape": "hv"},
                hovertemplate=f"threshold %{{x:.3f}}<br>{name} %{{y:.1%}}<extra></extra>",
            )
        )
    line = theme.LINE.of(dark)
    figure.add_vline(threshold, line={"color": theme.ACCENT.of(dark), "width": 2})
    axis = {"zeroline": False, "fixedrange": True, "linecolor": line}
    title = {"text": "threshold (nats per answer token)"}
    figure.update_xaxes(title=title, showgrid=False, **axis)
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", gridcolor=line, **axis)
    style_figure(figure, 300, legend=legend_above(dark, 1.12))
    return figure
