"""Charts: a frame or value in, a plotly figure out. No Streamlit here.

Only pre-binned counts are drawn, never one mark per sample, so a chart costs the same at six
hundred samples and at ten million.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard import theme
from scoring.necessity import Bands, Category
from scoring.store.values import LossPlane

_MARGIN = {"l": 56, "r": 12, "t": 12, "b": 48}


def loss_plane_figure(plane: LossPlane, bands: Bands, dark: bool) -> go.Figure:
    """Scored samples by text-only loss (x) and multimodal loss (y), with the regions named.

    The score is the distance to the right of the diagonal; both band limits are drawn.
    """
    ink, quiet = theme.INK.of(dark), theme.QUIET_INK.of(dark)
    edges = plane.edges
    middle = (edges[:-1] + edges[1:]) / 2
    counts = plane.counts.astype(float)
    shade = np.where(counts > 0, np.log10(np.maximum(counts, 1)) + 0.15, np.nan)
    figure = go.Figure(
        go.Heatmap(
            x=middle,
            y=middle,
            z=shade,
            customdata=plane.counts,
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
    for offset, category in ((bands.low, Category.MISALIGNED), (bands.high, None)):
        shown = category or Category.VISION_CRITICAL
        figure.add_trace(_limit_line(offset, top, theme.CATEGORY_COLOURS[shown].of(dark)))
    for x, y, words in _regions(top):
        figure.add_annotation(
            x=x,
            y=y,
            text=words,
            showarrow=False,
            font={"size": 11.5, "color": ink},
            bgcolor=theme.PAPER.of(dark),
            opacity=0.82,
            borderpad=3,
        )
    _axes(figure, top, quiet, theme.LINE.of(dark))
    return figure


def _regions(top: float) -> list[tuple[float, float, str]]:
    """Where the four regions of the plane are named."""
    return [
        (0.80 * top, 0.07 * top, "image decides"),
        (0.14 * top, 0.045 * top, "answerable blind"),
        (0.84 * top, 0.93 * top, "hard, or a wrong answer"),
        (0.17 * top, 0.80 * top, "image misleads"),
    ]


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
        "range": [0, top],
        "zeroline": False,
        "showgrid": False,
        "linecolor": line,
        "tickfont": {"color": quiet, "size": 11.5},
        "fixedrange": True,
    }
    figure.update_xaxes(
        title={"text": "text-only loss (nats per answer token)", "font": {"size": 12}}, **axis
    )
    figure.update_yaxes(
        title={"text": "multimodal loss", "font": {"size": 12}},
        scaleanchor=None,
        **axis,
    )
    figure.update_layout(
        height=400,
        margin=_MARGIN,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        dragmode=False,
    )


def _colourscale(dark: bool) -> list[tuple[float, str]]:
    colours = theme.DENSITY_DARK if dark else theme.DENSITY_LIGHT
    return [(place / (len(colours) - 1), colour) for place, colour in enumerate(colours)]

