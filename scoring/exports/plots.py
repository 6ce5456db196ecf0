"""Draw a subset as SVG: static, without scripts, fonts or external files.

Plots use counts alone, rounded to tenths: the same subset gives the same bytes on every machine,
which a plotting library does not promise across versions. Colours are readable on light and dark
pages.
"""

from __future__ import annotations

from html import escape

import numpy as np

from scoring.subsets.definitions import ResolvedSubset

_BEFORE, _AFTER, _INK = "#9aa5b1", "#2f6fdf", "#7a828c"
_WIDTH, _LEFT, _FONT = 720, 56, "font-family='system-ui,sans-serif' font-size='12'"
_MAX_SOURCES = 20
_MAX_LABEL = 28


def draw_score_histogram(outcome: ResolvedSubset, n_bins: int = 60) -> bytes:
    """Draw the VisNec scores before and after; the outermost bars include everything beyond."""
    candidates = outcome.candidates
    scores = candidates.visnec[candidates.scored]
    kept = candidates.visnec[candidates.scored & outcome.subset.kept]
    if not len(scores):
        return _svg(60, "VisNec scores", [_text(_LEFT, 40, "no sample has a score")])
    low, high = np.quantile(scores, [0.005, 0.995])
    low, high = min(float(low), 0.0), max(float(high), float(low) + 1e-3, 1e-3)
    edges = np.linspace(low, high, n_bins + 1)
    before, after = (np.histogram(np.clip(v, low, high), edges)[0] for v in (scores, kept))
    top, height, bottom = 46.0, 200.0, 246.0
    scale = height / max(int(before.max()), 1)
    step = (_WIDTH - _LEFT - 16) / n_bins
    shapes = _legend("VisNec score (nats per answer token)")
    for counts, colour in ((before, _BEFORE), (after, _AFTER)):
        for number in np.flatnonzero(counts).tolist():
            bar = int(counts[number]) * scale
            shapes.append(_rect(_LEFT + number * step, bottom - bar, step - 1, bar, colour))
    for value in np.linspace(low, high, 7):
        x = _LEFT + (value - low) / (high - low) * step * n_bins
        shapes.append(_text(x, bottom + 18, f"{value + 0.0:.2f}", "middle"))
    shapes.append(_text(_LEFT - 6, top + 8, f"{int(before.max()):,}", "end"))
    shapes.append(_text(_LEFT - 6, bottom, "0", "end"))
    return _svg(280, "VisNec scores before and after", shapes)


def draw_source_bars(outcome: ResolvedSubset) -> bytes:
    """Draw the samples by source before and after, the largest sources first."""
    frame = outcome.by_source().sort_values("samples", ascending=False, kind="stable")
    shown = frame.head(_MAX_SOURCES)
    left, y = 220, 48.0
    scale = (_WIDTH - left - 150) / max(int(shown["samples"].max()), 1) if len(shown) else 1.0
    shapes = _legend("samples by source")
    for name, before, after in zip(shown.index, shown["samples"], shown["kept"], strict=True):
        label = str(name) if len(str(name)) <= _MAX_LABEL else f"{str(name)[: _MAX_LABEL - 1]}…"
        shapes.append(_text(left - 8, y + 12, label, "end"))
        shapes.append(_rect(left, y, int(before) * scale, 16, _BEFORE))
        if after:
            shapes.append(_rect(left, y, int(after) * scale, 16, _AFTER))
        counts = f"{int(after):,} of {int(before):,}"
        shapes.append(_text(left + int(before) * scale + 6, y + 12, counts))
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
    size = f"width='{max(width, 0.5):.1f}' height='{max(height, 0.5):.1f}'"
    return f"<rect x='{x:.1f}' y='{y:.1f}' {size} fill='{colour}'/>"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    printable = escape("".join(c if c.isprintable() else " " for c in text))
    position = f"x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'"
    return f"<text {position} fill='{_INK}' {_FONT}>{printable}</text>"


def _svg(height: int, title: str, shapes: list[str]) -> bytes:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' "
        f"width='{_WIDTH}' height='{height}' role='img'><title>{escape(title)}</title>"
    )
    return ("\n".join([head, *shapes, "</svg>"]) + "\n").encode()
