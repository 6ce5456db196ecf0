"""The threshold editor: the histogram with its three limits, every other way to set them, and what
the cut keeps and drops.

Bins go to the browser, rows never do: while a limit moves the browser counts from the bins and
says "about"; once it stands it asks a route of the dashboard for exact counts, shows them, and then
tells the page, which draws what else depends on the limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import streamlit as st

from dashboard.frontend import assets
from scoring.necessity import Bands

_KEY: Final = "threshold_editor"
_FURTHEST: Final = 1e6
_LIMITS: Final = ("low", "high", "cut")
_editor = st.components.v2.component(
    "visnec_threshold_editor",
    html=assets.HTML,
    css=assets.style("figures", "threshold_editor"),
    js=assets.script("threshold_plot", "threshold_fields", "threshold_editor"),
)


class Act(StrEnum):
    """What the reader asks for with the limits as they stand."""

    SUBSET = "subset"
    REVIEW = "review"
    SAVE = "save"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the plots are drawn from; ``version`` changes with it.

    ``counts`` lie between ``edges`` (nats per answer token); ``ecdf`` are scores with the share of
    scored samples at or below each.
    """

    edges: Sequence[float]
    counts: Sequence[int]
    ecdf: Sequence[tuple[float, float]]
    version: str


@dataclass(frozen=True, slots=True)
class Takers:
    """Who takes what the reader does: limits that were moved, a stretch drawn across the bars, the
    scale, and what was asked for with the limits."""

    limits: Callable[[dict[str, float]], None]
    stretch: Callable[[tuple[float, float]], None]
    log: Callable[[bool], None]
    act: Callable[[Act], None]


def show(
    distribution: Distribution,
    facts: Mapping[str, Any],
    address: str,
    own: Bands,
    takers: Takers,
    *,
    log_counts: bool,
    follows: bool,
) -> Act | None:
    """Draws the editor; returns what was asked for with the limits just now.

    ``facts`` are the exact counts (:func:`dashboard.data.threshold_stats.threshold_stats`),
    ``address`` is where those of other limits are asked for, ``own`` are the workspace's
    limits. ``log_counts``: symmetric-log heights, linear up to one sample, so that empty bins
    stay empty. ``follows``: the cut stands at the upper band limit and moves with it.
    """
    state = st.session_state.get(_KEY) or {}
    result = _editor(
        key=_KEY,
        data={
            "edges": list(distribution.edges),
            "counts": list(distribution.counts),
            "ecdf": [list(point) for point in distribution.ecdf],
            "version": distribution.version,
            "step": step_along(distribution.edges),
            "facts": dict(facts),
            "address": address,
            "own": {"low": own.low, "high": own.high},
            "log": log_counts,
            "follows": follows,
            "seq": sequence_number(state.get("limits") or {}),
        },
        default={"limits": None},
        on_limits_change=lambda: _give(read_limits(_sent("limits")), takers.limits),
        on_brushed_change=lambda: _give(read_stretch(_sent("brushed")), takers.stretch),
        on_log_change=lambda: takers.log(_sent("log") == "on"),
        on_act_change=lambda: _give(read_act(_sent("act")), takers.act),
    )
    return read_act(result.act)


def _sent(name: str) -> Any:
    return (st.session_state.get(_KEY) or {}).get(name)


def _give(value: Any, take: Callable[[Any], None]) -> None:
    if value:
        take(value)


def read_act(value: object) -> Act | None:
    """What was asked for, or None where it makes no sense."""
    return Act(value) if isinstance(value, str) and value in list(Act) else None


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
