"""Charts of an evaluation: results in, a plotly figure out. No Streamlit here."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.charts import theme
from dashboard.charts.style import legend_above, style_figure
from scoring.evaluation.evaluate import GroupResult
from scoring.necessity import Category

_LINES = (
    ("seen", "with the image", Category.VISION_CRITICAL, "solid", "circle"),
    ("blind", "without the image", Category.MISALIGNED, "dash", "square"),
    ("text_model", "text-only model", Category.REDUNDANT, "dot", "diamond"),
)


def accuracy_figure(bands: Sequence[GroupResult], dark: bool) -> go.Figure:
    """Return accuracy with and without the image by score band, with Wilson's 95 % intervals."""
    figure = go.Figure()
    for sight, name, category, dash, symbol in _LINES:
        known = [
            (band, accuracy.value, accuracy.interval, accuracy.n)
            for band, group in enumerate(bands)
            if (accuracy := getattr(group, sight))
            and accuracy.value is not None
            and accuracy.interval is not None
        ]
        if not known:
            continue
        colour = theme.CATEGORY_COLOURS[category].of(dark)
        figure.add_trace(
            go.Scatter(
                x=[band for band, *_ in known],
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
    line = theme.LINE.of(dark)
    axis = {"zeroline": False, "fixedrange": True, "linecolor": line}
    figure.update_xaxes(
        title={"text": "VisNec score (nats per answer token)", "font": {"size": 12}},
        tickvals=list(range(len(bands))),
        ticktext=[format_band(group) for group in bands],
        range=[-0.4, len(bands) - 0.6],
        showgrid=False,
        **axis,
    )
    figure.update_yaxes(range=[0, 1.03], tickformat=".0%", gridcolor=line, **axis)
    margin = {"l": 52, "r": 12, "t": 12, "b": 48}
    style_figure(figure, 330, margin=margin, legend=legend_above(dark, 1.14))
    return figure


def format_band(group: GroupResult) -> str:
    """Return a score band in words."""
    low, high = (
        None if limit is None else f"{limit:.2f}".replace("-", "−")
        for limit in (group.low, group.high)
    )
    if low is None:
        return "all scores" if high is None else f"below {high}"
    return f"{low} and more" if high is None else f"{low} to {high}"
