"""Draw the arms of a trial as dots with their intervals, one panel per evaluation set."""

from __future__ import annotations

import math

from scoring.exports.svg import (
    INK,
    WIDTH,
    draw_document,
    draw_dot,
    draw_rectangle,
    draw_text,
)
from scoring.trials.report import UNITS, ArmValue, Report
from scoring.trials.statistics import format_value

_ARM = "#2f6fdf"
_LEFT, _RIGHT, _ROW = 200, 150, 22
_MAX_LABEL = 28


def draw_report(report: Report) -> bytes:
    """Return an SVG of the arms by the plan's measure, with their own 95 % intervals.

    Intervals of two arms may overlap although their paired difference is significant; conclusions
    are in the report.
    """
    shapes = [draw_text(16, 20, f"Trial {report.trial}: mean and 95 % interval over seeds")]
    y = 34.0
    for name in (*report.evaluation_sets, *report.undeclared):
        values = [v for v in report.arms if (v.evaluation_set, v.measure) == (name, report.measure)]
        if values:
            shapes += _draw_panel(f"{name} ({UNITS[report.measure]})", values, y)
            y += _ROW * (len(values) + 2)
    return draw_document(int(y) + 12, f"Arms of trial {report.trial}", shapes)


def _draw_panel(title: str, values: list[ArmValue], y: float) -> list[str]:
    """Return the shapes of a panel with a scale of its own."""
    ends = [v for each in values for v in (each.mean, each.low, each.high) if not math.isnan(v)]
    low, high = min(ends), max(ends)
    pad = (high - low) * 0.05 or 1.0
    scale = (WIDTH - _LEFT - _RIGHT) / (high - low + 2 * pad)

    def place_on_axis(value: float) -> float:
        return _LEFT + (value - low + pad) * scale

    shapes = [draw_text(16, y + 14, title)]
    for row, value in enumerate(values, 1):
        middle = y + _ROW * row + 10
        name = value.arm if len(value.arm) <= _MAX_LABEL else f"{value.arm[: _MAX_LABEL - 1]}…"
        shapes.append(draw_text(_LEFT - 8, middle + 4, name, "end"))
        text = format_value(value.mean, value.measure)
        if not math.isnan(value.low):
            low_text, high_text = (format_value(v, value.measure) for v in (value.low, value.high))
            text += f" ({low_text} to {high_text})"
            left, right = place_on_axis(value.low), place_on_axis(value.high)
            shapes.append(draw_rectangle(left, middle - 0.5, right - left, 1, INK))
        shapes.append(draw_dot(place_on_axis(value.mean), middle, 4, _ARM))
        shapes.append(draw_text(WIDTH - 8, middle + 4, text, "end"))
    return shapes
