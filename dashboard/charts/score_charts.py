"""Charts: a frame or value in, a plotly figure out. No Streamlit here.

Only pre-binned counts are drawn, never one mark per sample, so a chart costs the same at six
hundred samples and at ten million.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import theme
from scoring.database.queries.compare import Comparison
from scoring.database.values import LossPlane
from scoring.necessity import Bands, Category
from scoring.reviews.threshold_estimation import ThresholdQuality

PLANE_HEIGHT = 420  # pixels
_MARGIN = {"l": 56, "r": 12, "t": 12, "b": 48}


def loss_plane_figure(plane: LossPlane, bands: Bands, dark: bool) -> go.Figure:
    """Scored samples by text-only loss (x) and multimodal loss (y), with the regions named.

    The score is the distance to the right of the diagonal; both band limits are drawn. Bins above
    the highest loss that occurs are left out.
    """
    n = _used_bins(plane)
    edges, counts = plane.edges[: n + 1], plane.counts[:n, :n]
    shade = np.where(counts > 0, np.log10(np.maximum(counts, 1)) + 0.15, np.nan)
    figure = go.Figure(
        go.Heatmap(
            x=(edges[:-1] + edges[1:]) / 2,
            y=(edges[:-1] + edges[1:]) / 2,
            z=shade,
            customdata=counts,
            colorscale=_colourscale(dark),
            showscale=False,
            zmin=0,
            zmax=max(float(np.nanmax(shade, initial=0.15)), 0.3),
            hovertemplate=(
                "text-only loss %{x:.2f}<br>multimodal loss %{y:.2f}"
                "<br><b>%{customdata:,}</b> samples<extra></extra>"
            ),
        )
    )
    top = float(edges[-1])
    for offset, category in (
        (bands.low, Category.MISALIGNED),
        (bands.high, Category.VISION_CRITICAL),
    ):
        colour = theme.CATEGORY_COLOURS[category].of(dark)
        figure.add_trace(_limit_line(offset, top, colour))
    _name_regions(figure, top, theme.QUIET_INK.of(dark))
    _axes(figure, top, theme.QUIET_INK.of(dark), theme.LINE.of(dark))
    return figure


def comparison_figure(
    found: Comparison, here: str, there: str, bands: Bands, dark: bool
) -> go.Figure:
    """Samples by their score in one set (x) and in another (y), with the line of equal scores."""
    shade = np.where(found.density > 0, np.log10(np.maximum(found.density, 1)) + 0.15, np.nan)
    x, y = found.edges_here, found.edges_there
    figure = go.Figure(
        go.Heatmap(
            x=(x[:-1] + x[1:]) / 2,
            y=(y[:-1] + y[1:]) / 2,
            z=shade,
            customdata=found.density,
            colorscale=_colourscale(dark),
            showscale=False,
            zmin=0,
            zmax=max(float(np.nanmax(shade, initial=0.15)), 0.3),
            hovertemplate="here %{x:.2f}<br>there %{y:.2f}"
            "<br><b>%{customdata:,}</b> samples<extra></extra>",
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
    figure.update_layout(
        height=420,
        margin=_MARGIN,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        dragmode="select",
        selectdirection="h",  # a filter holds the scores here, not those there
        newselection={"line": {"color": quiet, "width": 1.2, "dash": "dash"}},
    )
    return figure


def threshold_quality_figure(
    curve: Sequence[ThresholdQuality], cut: float, dark: bool
) -> go.Figure:
    """Precision and recall of "keep" by the cut, with their 95 % intervals, and the cut in use."""
    figure = go.Figure()
    ink, quiet = theme.INK.of(dark), theme.QUIET_INK.of(dark)
    lines = (
        ("precision", theme.CATEGORY_COLOURS[Category.VISION_CRITICAL].of(dark), "solid"),
        ("recall", ink, "dash"),
    )
    for name, colour, dash in lines:
        known = [(one.threshold, getattr(one, name)) for one in curve if getattr(one, name)]
        x = [threshold for threshold, _ in known]
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
                hovertemplate=f"cut %{{x:.3f}}<br>{name} %{{y:.1%}}<extra></extra>",
            )
        )
    figure.add_vline(cut, line={"color": theme.ACCENT.of(dark), "width": 2})
    axis = {"zeroline": False, "fixedrange": True, "linecolor": theme.LINE.of(dark)}
    figure.update_xaxes(title={"text": "cut (nats per answer token)"}, showgrid=False, **axis)
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", gridcolor=theme.LINE.of(dark), **axis)
    figure.update_layout(
        height=300,
        margin=_MARGIN,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.12, "x": 0, "font": {"color": quiet}},
        dragmode=False,
    )
    return figure


def escape_markup(name: str) -> str:
    """A name for a figure's text, of which plotly would read tags and links."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _used_bins(plane: LossPlane) -> int:
    """How many bins from 0 on hold all samples, with one to spare."""
    used = np.flatnonzero(plane.counts.any(axis=0) | plane.counts.any(axis=1))
    last = int(used[-1]) if len(used) else 0
    return min(max(last + 2, 8), len(plane.edges) - 1)


def _name_regions(figure: go.Figure, top: float, colour: str) -> None:
    """Names the regions in the margins around the data, so that no name hides a sample."""
    for x, y, words, x_anchor in (
        (0.0, -0.045, "◣ redundant", "left"),
        (1.0, -0.045, "vision-critical ◢", "right"),
        (0.0, 1.045, "◤ image hurts", "left"),
        (1.0, 1.045, "model cannot use the image ◥", "right"),
    ):
        figure.add_annotation(
            x=x * top,
            y=y * top,
            text=words,
            showarrow=False,
            xanchor=x_anchor,
            font={"size": 12, "color": colour},
        )


def _limit_line(offset: float, top: float, colour: str) -> go.Scatter:
    """The line on which the score is ``offset``."""
    start, end = max(offset, 0.0), min(top, top + offset)
    return go.Scatter(
        x=[start, end],
        y=[start - offset, end - offset],
        mode="lines",
        line={"color": colour, "width": 1.6, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )


def _axes(figure: go.Figure, top: float, quiet: str, line: str) -> None:
    axis = {
        "zeroline": False,
        "showgrid": False,
        "linecolor": line,
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
    figure.update_layout(
        height=PLANE_HEIGHT,
        margin=_MARGIN,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        dragmode="select",
        newselection={"line": {"color": quiet, "width": 1.2, "dash": "dash"}},
    )


def _colourscale(dark: bool) -> list[tuple[float, str]]:
    colours = theme.DENSITY_DARK if dark else theme.DENSITY_LIGHT
    return [(place / (len(colours) - 1), colour) for place, colour in enumerate(colours)]
