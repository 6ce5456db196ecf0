"""The histogram with its three limits: dragged, typed, stepped, or set by a share.

Bins go to the browser, rows never do: while a limit moves the browser counts from the bins and
says "about"; on release the server counts exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import streamlit as st

from dashboard.components import assets
from dashboard.state import View
from scoring.necessity import Bands, Category
from scoring.store.values import CutCounts, ScoreSummary

_KEY: Final = "threshold_editor"
_FURTHEST: Final = 1e6
_LIMITS: Final = ("low", "high", "cut")
_editor = st.components.v2.component(
    "visnec_threshold_editor",
    html=assets.HTML,
    css=assets.style("threshold_editor"),
    js=assets.script("threshold_editor"),
)


def show(
    edges: Sequence[float],
    counts: Sequence[int],
    bands: Bands,
    cut: float,
    summary: ScoreSummary,
    kept: CutCounts,
    version: str,
    log_counts: bool = False,
    ecdf: Sequence[tuple[float, float]] = (),
    follows: bool = False,
    take: Callable[[dict[str, float]], None] | None = None,
    brush: Callable[[float, float], None] | None = None,
) -> None:
    """Draws the histogram, and beside it the curve of shares at or below each score.

    ``version`` changes with the bins and the curve. ``log_counts``: symmetric-log heights, linear
    up to one sample, so that empty bins stay empty. ``follows``: the cut stands at the upper band
    limit and moves with it. ``take`` gets the limits that were moved there, and ``brush`` both ends
    of a stretch that was drawn across the bars.
    """

    def give() -> None:
        limits = read_limits((st.session_state.get(_KEY) or {}).get("limits"))
        if limits and take is not None:
            take(limits)

    def give_stretch() -> None:
        stretch = read_stretch((st.session_state.get(_KEY) or {}).get("brushed"))
        if stretch and brush is not None:
            brush(*stretch)

    state = st.session_state.get(_KEY) or {}
    limits = state.get("limits") or {}
    _editor(
        key=_KEY,
        data={
            "edges": list(edges),
            "counts": list(counts),
            "total": summary.n_scored,
            "low": bands.low,
            "high": bands.high,
            "cut": cut,
            "follows": follows,
            "step": step_along(edges),
            "seq": sequence_number(limits),
            "version": version,
            "log": log_counts,
            "ecdf": [list(point) for point in ecdf],
            "exact": {
                "low": bands.low,
                "high": bands.high,
                "cut": cut,
                "misaligned": summary.categories[Category.MISALIGNED],
                "critical": summary.categories[Category.VISION_CRITICAL],
                "dropped": kept.n_dropped,
            },
        },
        default={"limits": None},
        on_limits_change=give,
        on_brushed_change=give_stretch,
    )


def step_along(edges: Sequence[float]) -> float:
    """The power of ten by which limits move on this axis: about a five-hundredth of it."""
    span = edges[-1] - edges[0]
    return float(10.0 ** round(math.log10(span / 500))) if span > 0 else 0.01


def read_limits(limits: object) -> dict[str, float]:
    """The limits that were moved in the browser, or nothing where they make no sense."""
    if not isinstance(limits, dict):
        return {}
    found = {name: limits[name] for name in _LIMITS if name in limits}
    if not all(map(_is_limit, found.values())):
        return {}
    read = {name: float(value) for name, value in found.items()}
    return read if read.get("low", -math.inf) <= read.get("high", math.inf) else {}


def read_stretch(stretch: object) -> tuple[float, float] | None:
    """Both ends of a stretch of scores that the browser sent, or None where it makes no sense."""
    if not isinstance(stretch, list | tuple) or len(stretch) != 2:
        return None
    if not all(map(_is_limit, stretch)) or not stretch[0] < stretch[1]:
        return None
    return float(stretch[0]), float(stretch[1])


def _is_limit(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and isinstance(value, int | float) and abs(value) <= _FURTHEST


def sequence_number(limits: dict[str, Any]) -> int:
    """How many changes of the browser the server has seen."""
    number = limits.get("seq", 0)
    return number if isinstance(number, int) else 0


def changed_bands(view: View, default: Bands, low: float | None, high: float | None) -> Bands:
    """Band limits after one of them was typed: the other one gives way."""
    bands = view.bands(default)
    if low is not None:
        return Bands(low, max(low, bands.high))
    if high is not None:
        return Bands(min(bands.low, high), high)
    return bands
