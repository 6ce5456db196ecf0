"""What all figures have in common: margins, backgrounds, legends and colour scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.charts import theme


def style_figure(figure: go.Figure, height: int, **layout: Any) -> None:
    """Set the height, the margins and a transparent background; ``layout`` adds or overrides."""
    clear = "rgba(0,0,0,0)"
    margin = {"l": 56, "r": 12, "t": 12, "b": 48}
    defaults = {"margin": margin, "dragmode": False}
    figure.update_layout(
        height=height, paper_bgcolor=clear, plot_bgcolor=clear, **(defaults | layout)
    )


def legend_above(dark: bool, y: float) -> dict[str, Any]:
    """Return a horizontal legend above the figure at the relative height ``y``."""
    return {"orientation": "h", "y": y, "x": 0, "font": {"color": theme.QUIET_INK.of(dark)}}


def density_heatmap(
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


def density_scale(dark: bool) -> list[tuple[float, str]]:
    """Return plotly's colour scale for counts."""
    colours = theme.DENSITY_DARK if dark else theme.DENSITY_LIGHT
    return [(position / (len(colours) - 1), colour) for position, colour in enumerate(colours)]


def escape_markup(name: str) -> str:
    """Escape a name for a figure's text, in which plotly interprets tags and links."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
