"""What the charts have in common: margins, axes, lines, bands, densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.charts import theme

SMALL = {"size": 12}


def set_layout(
    figure: go.Figure,
    dark: bool,
    height: int,
    legend_height: float | None = None,
    margin: dict[str, int] | None = None,
    **axis: Any,
) -> None:
    """Set margins, a clear background and plain axes; a legend above the figure if it has one."""
    legend = None
    if legend_height is not None:
        font = {"color": theme.QUIET_INK.of(dark)}
        legend = {"orientation": "h", "y": legend_height, "x": 0, "font": font}
    figure.update_layout(
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin=margin or {"l": 56, "r": 12, "t": 12, "b": 48},
        dragmode=False,
        legend=legend,
    )
    axis |= {"zeroline": False, "fixedrange": True, "showgrid": False}
    axis |= {"linecolor": theme.LINE.of(dark), "tickfont": make_tick_font(dark)}
    axis |= {"title": {"font": {"color": theme.QUIET_INK.of(dark), "size": 12}}}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)


def make_selectable(figure: go.Figure, dark: bool) -> None:
    """Let the reader drag a box over the figure."""
    line = {"color": theme.QUIET_INK.of(dark), "width": 1.2, "dash": "dash"}
    figure.update_layout(dragmode="select", newselection={"line": line})


def show_shares(figure: go.Figure, dark: bool, top: float) -> None:
    """Show grid lines and per cent, the unit of the values, on the vertical axis, 0 to ``top``."""
    colour = theme.LINE.of(dark)
    figure.update_yaxes(range=[0, top], ticksuffix=" %", showgrid=True, gridcolor=colour)


def make_tick_font(dark: bool) -> dict[str, Any]:
    """Return the font of the tick labels."""
    return {"color": theme.QUIET_INK.of(dark), "size": 11.5}


def draw_dotted_line(x: list[float], y: list[float], colour: str, width: float) -> go.Scatter:
    """Return a dotted line without a label."""
    line = {"color": colour, "width": width, "dash": "dot"}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def draw_interval_band(
    x: list[float], low: list[float], high: list[float], colour: str, **options: Any
) -> go.Scatter:
    """Return the area between two curves."""
    return go.Scatter(
        x=x + x[::-1],
        y=high + low[::-1],
        fill="toself",
        fillcolor=colour,
        line={"width": 0},
        hoverinfo="skip",
        **options,
    )


def draw_density(
    counts: NDArray[Any], x: NDArray[Any], y: NDArray[Any], dark: bool, hovertemplate: str
) -> go.Heatmap:
    """Return a heatmap of counts between edges, shaded by their logarithm; empty bins are clear."""
    shade = np.where(counts > 0, np.log10(np.maximum(counts, 1)) + 0.15, np.nan)
    return go.Heatmap(
        x=(x[:-1] + x[1:]) / 2,
        y=(y[:-1] + y[1:]) / 2,
        z=shade,
        customdata=counts,
        colorscale=density_scale(dark),
        showscale=False,
        zmin=0,
        zmax=max(float(np.nanmax(shade, initial=0.15)), 0.3),
        hovertemplate=hovertemplate,
    )


def draw_beyond(
    counts: NDArray[Any], x: NDArray[Any], y: NDArray[Any], dark: bool
) -> list[go.Scatter]:
    """Return arrowheads outside the edges for the border of ``counts``, which is beyond them.

    The legend has their number on each side.
    """
    across, up = _border_positions(x), _border_positions(y)
    sides = (
        ("below the range of x", "triangle-left", counts[:, 0], across[0], up),
        ("above the range of x", "triangle-right", counts[:, -1], across[-1], up),
        ("below the range of y", "triangle-down", counts[0, 1:-1], across[1:-1], up[0]),
        ("above the range of y", "triangle-up", counts[-1, 1:-1], across[1:-1], up[-1]),
    )
    traces = []
    for side, symbol, n, at_x, at_y in sides:
        used = np.flatnonzero(n)
        if len(used):
            traces.append(
                go.Scatter(
                    x=np.broadcast_to(at_x, n.shape)[used],
                    y=np.broadcast_to(at_y, n.shape)[used],
                    customdata=n[used],
                    mode="markers",
                    name=f"{int(n.sum()):,}",
                    marker={
                        "symbol": symbol,
                        "size": np.minimum(8 + 1.5 * np.log10(n[used]), 13),
                        "color": theme.ACCENT.of(dark),
                    },
                    hovertemplate=f"<b>%{{customdata:,}}</b> {side}<extra></extra>",
                )
            )
    return traces


def widen_range(edges: NDArray[Any], share: float = 0.04) -> tuple[float, float]:
    """Return the range of an axis with a margin for arrowheads on both sides."""
    margin = share * float(edges[-1] - edges[0])
    return float(edges[0]) - margin, float(edges[-1]) + margin


def _border_positions(edges: NDArray[Any]) -> NDArray[Any]:
    """Return the middle of each bin, and one position outside at either end."""
    low, high = widen_range(edges, 0.02)
    return np.concatenate([[low], (edges[:-1] + edges[1:]) / 2, [high]])


def density_scale(dark: bool) -> list[tuple[float, str]]:
    """Return the colours of a density, from few samples to many."""
    colours = theme.DENSITY_DARK if dark else theme.DENSITY_LIGHT
    return [(position / (len(colours) - 1), colour) for position, colour in enumerate(colours)]


def escape_markup(name: str) -> str:
    """Escape a name for a figure's text, in which plotly interprets tags and links."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
