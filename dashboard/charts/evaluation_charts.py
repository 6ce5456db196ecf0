"""Charts of an evaluation: results in, a plotly figure out. No Streamlit here."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.charts import theme
from scoring.evaluation.evaluate import GroupResult
from scoring.necessity import Category

_MARGIN = {"l": 52, "r": 12, "t": 12, "b": 48}
_LINES = (
    ("seen", "with the image", Category.VISION_CRITICAL, "solid", "circle"),
    ("blind", "without the image", Category.MISALIGNED, "dash", "square"),
    ("text_model", "text-only model", Category.REDUNDANT, "dot", "diamond"),
)


def accuracy_figure(parts: Sequence[GroupResult], dark: bool) -> go.Figure:
    """Accuracy with and without the image over the score bands, with Wilson's 95 % intervals."""
    figure = go.Figure()
    for sight, name, category, dash, symbol in _LINES:
        known = [
            (place, one.value, one.interval, one.n)
            for place, part in enumerate(parts)
            if (one := getattr(part, sight)) and one.value is not None and one.interval is not None
        ]
        if not known:
            continue
        colour = theme.CATEGORY_COLOURS[category].of(dark)
        figure.add_trace(
            go.Scatter(
                x=[place for place, *_ in known],
                y=[value for _, value, _, _ in known],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - value for _, value, (_, high), _ in known],
                    "arrayminus": [value - low for _, value, (low, _), _ in known],
                    "thickness": 1.4,
                    "width": 4,
                },
                customdata=[n for *_, n in known],
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 8, "symbol": symbol},
                hovertemplate=f"{name}: %{{y:.1%}} of %{{customdata:,}}<extra></extra>",
            )
        )
    quiet, line = theme.QUIET_INK.of(dark), theme.LINE.of(dark)
    names = [band_label(part) for part in parts]
    axis = {"zeroline": False, "fixedrange": True, "linecolor": line}
    figure.update_xaxes(
        title={"text": "VisNec score (nats per answer token)", "font": {"size": 12}},
        tickvals=list(range(len(parts))),
        ticktext=names,
        range=[-0.4, len(parts) - 0.6],
        showgrid=False,
        **axis,
    )
    figure.update_yaxes(range=[0, 1.03], tickformat=".0%", gridcolor=line, **axis)
    figure.update_layout(
        height=330,
        margin=_MARGIN,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.14, "x": 0, "font": {"color": quiet}},
        dragmode=False,
    )
    return figure


def band_label(part: GroupResult) -> str:
    """A score band as a reader says it."""
    low, high = (
        None if one is None else f"{one:.2f}".replace("-", "−") for one in (part.low, part.high)
    )
    if low is None:
        return "all scores" if high is None else f"below {high}"
    return f"{low} and more" if high is None else f"{low} to {high}"
