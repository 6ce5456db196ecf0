"""Plots of a subset as SVG: static, without scripts, without fonts or files from elsewhere.

The one decision behind it: they are drawn from counts alone and rounded to tenths, so the same
subset gives the same bytes on every machine. Colours are readable on light and on dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from scoring.subsets.definitions import ResolvedSubset

_BEFORE, _AFTER, _INK = "#9aa5b1", "#2f6fdf", "#7a828c"
_WIDTH, _LEFT, _FONT = 720, 56, "font-family='system-ui,sans-serif' font-size='12'"
_MAX_SOURCES = 20
_MAX_LABEL = 28


def score_histogram(outcome: ResolvedSubset, n_bins: int = 60) -> bytes:
    """How the VisNec scores lie, before and after; the outermost bars take what lies beyond."""
    found = outcome.candidates
    scores = found.visnec[found.scored]
    kept = found.visnec[found.scored & outcome.subset.kept]
    if not len(scores):
        return _svg(60, "VisNec scores", [_text(_LEFT, 40, "no sample has a score")])
    low, high = np.quantile(scores, [0.005, 0.995])
    low, high = min(float(low), 0.0), max(float(high), float(low) + 1e-3, 1e-3)
    edges = np.linspace(low, high, n_bins + 1)
    before, after = (np.histogram(np.clip(one, low, high), edges)[0] for one in (scores, kept))
    top, height, bottom = 46.0, 200.0, 246.0
    scale = height / max(int(before.max()), 1)
    step = (_WIDTH - _LEFT - 16) / n_bins
    shapes = _legend("VisNec score (nats per answer token)")
    for counts, colour in ((before, _BEFORE), (after, _AFTER)):
        for place, count in enumerate(counts.tolist()):
            if count:
                bar = count * scale
                shapes.append(_rect(_LEFT + place * step, bottom - bar, step - 1, bar, colour))
    for value in np.linspace(low, high, 7):
        x = _LEFT + (value - low) / (high - low) * step * n_bins
        shapes.append(_text(x, bottom + 18, f"{value + 0.0:.2f}", "middle"))
    shapes.append(_text(_LEFT - 6, top + 8, f"{int(before.max()):,}", "end"))
    shapes.append(_text(_LEFT - 6, bottom, "0", "end"))
    return _svg(280, "VisNec scores before and after", shapes)


def source_bars(outcome: ResolvedSubset) -> bytes:
    """Samples by source, before and after; the largest sources first."""
    frame = outcome.by_source().sort_values("samples", ascending=False, kind="stable")
    shown = frame.head(_MAX_SOURCES)
    left = 220
    scale = (_WIDTH - left - 150) / max(int(shown["samples"].max()), 1) if len(shown) else 1.0
    shapes = _legend("samples by source")
    y = 48.0
    for name, before, after in zip(shown.index, shown["samples"], shown["kept"], strict=True):
        shapes.append(_text(left - 8, y + 12, _short(str(name)), "end"))
        shapes.append(_rect(left, y, int(before) * scale, 16, _BEFORE))
        if after:
            shapes.append(_rect(left, y, int(after) * scale, 16, _AFTER))
        label = f"{int(after):,} of {int(before):,}"
        shapes.append(_text(left + int(before) * scale + 6, y + 12, label))
        y += 22
    if len(frame) > len(shown):
        shapes.append(_text(left, y + 12, f"and {len(frame) - len(shown):,} more sources"))
        y += 22
    return _svg(int(y) + 12, "Samples by source before and after", shapes)


def _legend(title: str) -> list[str]:
    return [
        _text(_LEFT, 20, title),
        _rect(_WIDTH - 200, 11, 10, 10, _BEFORE),
        _text(_WIDTH - 186, 20, "before"),
        _rect(_WIDTH - 120, 11, 10, 10, _AFTER),
        _text(_WIDTH - 106, 20, "in the subset"),
    ]


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    place = f"x='{x:.1f}' y='{y:.1f}' width='{max(width, 0.5):.1f}' height='{max(height, 0.5):.1f}'"
    return f"<rect {place} fill='{colour}'/>"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    said = escape("".join(one if one.isprintable() else " " for one in text))
    place = f"x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'"
    return f"<text {place} fill='{_INK}' {_FONT}>{said}</text>"


def _short(name: str) -> str:
    return name if len(name) <= _MAX_LABEL else name[: _MAX_LABEL - 1] + "…"


def _svg(height: int, title: str, shapes: Sequence[str]) -> bytes:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' "
        f"width='{_WIDTH}' height='{height}' role='img'><title>{escape(title)}</title>"
    )
    return ("\n".join([head, *shapes, "</svg>"]) + "\n").encode()
