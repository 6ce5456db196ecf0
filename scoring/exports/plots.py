"""Draw a subset as SVG: static, without scripts, fonts or external files.

Plots use counts alone, rounded to tenths: the same subset gives the same bytes on every machine,
which a plotting library does not promise across versions.
"""

from __future__ import annotations

import numpy as np

from scoring.exports.svg import WIDTH, draw_document, draw_rectangle, draw_text
from scoring.subsets.definitions import ResolvedSubset

_BEFORE, _AFTER = "#9aa5b1", "#2f6fdf"
_LEFT = 56
_MAX_SOURCES = 20
_MAX_LABEL = 28


def draw_score_histogram(outcome: ResolvedSubset, n_bins: int = 60) -> bytes:
    """Draw the VisNec scores before and after; the outermost bars include everything beyond."""
    candidates = outcome.candidates
    scores = candidates.visnec[candidates.scored]
    kept = candidates.visnec[candidates.scored & outcome.subset.kept]
    if not len(scores):
        return draw_document(60, "VisNec scores", [draw_text(_LEFT, 40, "no sample has a score")])
    low, high = np.quantile(scores, [0.005, 0.995])
    low, high = min(float(low), 0.0), max(float(high), float(low) + 1e-3, 1e-3)
    edges = np.linspace(low, high, n_bins + 1)
    before, after = (np.histogram(np.clip(v, low, high), edges)[0] for v in (scores, kept))
    top, height, bottom = 46.0, 200.0, 246.0
    scale = height / max(int(before.max()), 1)
    step = (WIDTH - _LEFT - 16) / n_bins
    shapes = _legend("VisNec score (nats per answer token)")
    for counts, colour in ((before, _BEFORE), (after, _AFTER)):
        for number in np.flatnonzero(counts).tolist():
            bar = int(counts[number]) * scale
            shapes.append(
                draw_rectangle(_LEFT + number * step, bottom - bar, step - 1, bar, colour)
            )
    for value in np.linspace(low, high, 7):
        x = _LEFT + (value - low) / (high - low) * step * n_bins
        shapes.append(draw_text(x, bottom + 18, f"{value + 0.0:.2f}", "middle"))
    shapes.append(draw_text(_LEFT - 6, top + 8, f"{int(before.max()):,}", "end"))
    shapes.append(draw_text(_LEFT - 6, bottom, "0", "end"))
    return draw_document(280, "VisNec scores before and after", shapes)


def draw_source_bars(outcome: ResolvedSubset) -> bytes:
    """Draw the samples by source before and after, the largest sources first."""
    frame = outcome.by_source().sort_values("samples", ascending=False, kind="stable")
    shown = frame.head(_MAX_SOURCES)
    left, y = 220, 48.0
    scale = (WIDTH - left - 150) / max(int(shown["samples"].max()), 1) if len(shown) else 1.0
    shapes = _legend("samples by source")
    for name, before, after in zip(shown.index, shown["samples"], shown["kept"], strict=True):
        label = str(name) if len(str(name)) <= _MAX_LABEL else f"{str(name)[: _MAX_LABEL - 1]}…"
        shapes.append(draw_text(left - 8, y + 12, label, "end"))
        shapes.append(draw_rectangle(left, y, int(before) * scale, 16, _BEFORE))
        if after:
            shapes.append(draw_rectangle(left, y, int(after) * scale, 16, _AFTER))
        counts = f"{int(after):,} of {int(before):,}"
        shapes.append(draw_text(left + int(before) * scale + 6, y + 12, counts))
        y += 22
    if len(frame) > len(shown):
        shapes.append(draw_text(left, y + 12, f"and {len(frame) - len(shown):,} more sources"))
        y += 22
    return draw_document(int(y) + 12, "Samples by source before and after", shapes)


def _legend(title: str) -> list[str]:
    return [
        draw_text(_LEFT, 20, title),
        draw_rectangle(WIDTH - 200, 11, 10, 10, _BEFORE),
        draw_text(WIDTH - 186, 20, "before"),
        draw_rectangle(WIDTH - 120, 11, 10, 10, _AFTER),
        draw_text(WIDTH - 106, 20, "in the subset"),
    ]
