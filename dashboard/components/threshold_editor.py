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
STEP: Final = 0.01
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
    take: Callable[[dict[str, float]], None] | None = None,
) -> None:
    """Draws the histogram, and beside it the curve of shares at or below each score.

    ``version`` changes with the bins and the curve. ``log_counts``: symmetric-log heights, linear
    up to one sample, so that empty bins stay empty. ``take`` gets the limits that were set there.
    """

    def give() -> None:
        limits = read_limits((st.session_state.get(_KEY) or {}).get("limits"))
        if limits and take is not None:
            take(limits)

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
    )


def read_limits(limits: object) -> dict[str, float]:
    """The limits that the browser sent, or nothing where they make no sense."""
    if not isinstance(limits, dict):
        return {}
    found: dict[str, float] = {}
    for name in ("low", "high", "cut"):
        value = limits.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e6:
            return {}
        if not math.isfinite(value):
            return {}
        found[name] = float(value)
    return found if found["low"] <= found["high"] else {}


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
