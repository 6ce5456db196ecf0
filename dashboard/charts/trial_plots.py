"""The charts of a trial: arms with their intervals, and the result by share of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.charts import style, theme
from scoring.necessity import Category

_ROW_HEIGHT = 30  # pixels per arm
_MARGIN = {"l": 8, "r": 16, "t": 8, "b": 44}


@dataclass(frozen=True, slots=True)
class ArmPoint:
    """An arm on one evaluation set: its mean over seeds with a 95 % interval, if there is one.

    ``values`` are those of the seeds, ``share`` is its part of the dataset.
    """

    name: str
    is_control: bool
    share: float
    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


def arms_figure(
    points: Sequence[ArmPoint], unit: str, dark: bool, most: float | None = None
) -> go.Figure:
    """Return a row per arm: faint marks for the seeds, a dot for the mean, a line for the interval.

    Subsets are filled dots, controls open ones. ``most`` is the highest value of the unit, which
    the axis exceeds only for an interval.
    """
    figure = go.Figure()
    quiet = theme.QUIET_INK.of(dark)
    names = [style.escape_markup(point.name) for point in points]
    seeds = [
        (name, value) for name, point in zip(names, points, strict=True) for value in point.values
    ]
    figure.add_trace(
        go.Scatter(
            x=[value for _, value in seeds],
            y=[name for name, _ in seeds],
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 9, "color": quiet, "opacity": 0.8},
            hovertemplate="one seed: %{x:.2f}<extra></extra>",
            showlegend=False,
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[point.mean for point in points],
            y=names,
            error_x=_error_bars(points, dark),
            mode="markers",
            marker={
                "size": 10,
                "symbol": ["circle-open" if p.is_control else "circle" for p in points],
                "line": {"width": 2},
                "color": [_colour_of(p, dark) for p in points],
            },
            customdata=[_describe_interval(point) for point in points],
            hovertemplate="%{y}: <b>%{x:.2f}</b>%{customdata}<extra></extra>",
            showlegend=False,
        )
    )
    height = _MARGIN["t"] + _MARGIN["b"] + _ROW_HEIGHT * max(len(points), 2)
    style.set_layout(figure, dark, height, margin=_MARGIN)
    figure.update_xaxes(title={"text": unit}, showgrid=True)
    figure.update_xaxes(gridcolor=theme.LINE.of(dark), maxallowed=_find_end(points, most))
    figure.update_traces(cliponaxis=False)
    figure.update_yaxes(autorange="reversed", automargin=True, type="category")
    return figure


def retention_figure(
    points: Sequence[ArmPoint], unit: str, dark: bool, most: float | None = None
) -> go.Figure:
    """Return the mean by share of the dataset; a dotted line connects the controls.

    Controls have no label: those of two subsets of one size would be on top of each other. For
    ``most`` see :func:`arms_figure`.
    """
    figure = go.Figure()
    controls = sorted((p for p in points if p.is_control), key=lambda point: point.share)
    if len(controls) > 1:
        x, y = [100 * p.share for p in controls], [p.mean for p in controls]
        figure.add_trace(style.draw_dotted_line(x, y, theme.QUIET_INK.of(dark), 1.4))
    for is_control, symbol in ((False, "circle"), (True, "circle-open")):
        chosen = [point for point in points if point.is_control is is_control]
        if not chosen:
            continue
        figure.add_trace(
            go.Scatter(
                x=[100 * point.share for point in chosen],
                y=[point.mean for point in chosen],
                error_y=_error_bars(chosen, dark),
                mode="markers" if is_control else "markers+text",
                text=[f"\u2002{style.escape_markup(point.name)}\u2002" for point in chosen],
                textposition=["middle left" if p.share > 0.7 else "middle right" for p in chosen],
                textfont=style.make_tick_font(dark),
                marker={
                    "size": 10,
                    "symbol": symbol,
                    "line": {"width": 2},
                    "color": _colour_of(chosen[0], dark),
                },
                hovertemplate="%{text}<b>%{y:.2f}</b> with %{x:.1f} % of the samples"
                "<extra></extra>",
                showlegend=False,
            )
        )
    margin = {"l": 56, "r": 16, "t": 8, "b": 44}
    style.set_layout(figure, dark, 320, margin=margin)
    title = {"text": "samples of the dataset (%)"}
    figure.update_xaxes(title=title, range=[0, 106])
    figure.update_yaxes(title={"text": unit}, showgrid=True)
    figure.update_yaxes(gridcolor=theme.LINE.of(dark), maxallowed=_find_end(points, most))
    figure.update_traces(cliponaxis=False)
    return figure


def _find_end(points: Sequence[ArmPoint], most: float | None) -> float | None:
    """Return the highest value that an axis may have: ``most``, or the end of an interval."""
    ends = [point.high for point in points if point.high is not None]
    return None if most is None else max([most, *ends])


def _colour_of(point: ArmPoint, dark: bool) -> str:
    if point.is_control:
        return theme.QUIET_INK.of(dark)
    return theme.CATEGORY_COLOURS[Category.VISION_CRITICAL].of(dark)


def _error_bars(points: Sequence[ArmPoint], dark: bool) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if p.high is None else p.high - p.mean for p in points],
        "arrayminus": [0.0 if p.low is None else p.mean - p.low for p in points],
        "color": theme.QUIET_INK.of(dark),
        "thickness": 1.6,
        "width": 4,
    }


def _describe_interval(point: ArmPoint) -> str:
    if point.low is None or point.high is None:
        return ""
    return f" ({point.low:.2f} to {point.high:.2f})"
