"""The threshold editor: a histogram with the threshold and both band limits.

Only bins go to the browser, never rows. While a limit moves, the browser estimates counts from the
bins. Once it stops, the browser requests exact counts from a route of the dashboard, shows them,
and then reports the limits to the page, which redraws whatever else depends on them.
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
_LARGEST_LIMIT: Final = 1e6
_LIMITS: Final = ("low", "high", "cut")
_editor = st.components.v2.component(
    "visnec_threshold_editor",
    html=assets.HTML,
    css=assets.style("figures", "threshold_editor"),
    js=assets.script("threshold_plot", "threshold_fields", "threshold_editor"),
)


class EditorAction(StrEnum):
    """A button of the editor; it applies to the current limits."""

    SUBSET = "subset"
    REVIEW = "review"
    SAVE = "save"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Distribution:
    """The data of the plots; ``version`` changes with it.

    ``counts`` are between ``edges`` (nats per answer token); ``ecdf`` are scores with the share of
    scored samples at or below each.
    """

    edges: Sequence[float]
    counts: Sequence[int]
    ecdf: Sequence[tuple[float, float]]
    version: str


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Handlers of moved limits, a range dragged across the histogram, the scale and the buttons."""

    limits: Callable[[dict[str, float]], None]
    score_range: Callable[[tuple[float, float]], None]
    log: Callable[[bool], None]
    action: Callable[[EditorAction], None]


def show_editor(
    distribution: Distribution,
    facts: Mapping[str, Any],
    address: str,
    own: Bands,
    callbacks: Callbacks,
    *,
    log_counts: bool,
    follows: bool,
) -> EditorAction | None:
    """Show the editor; return the button that was just pressed.

    Args:
        distribution: Histogram and ECDF of the scores.
        facts: Exact counts (:func:`dashboard.data.threshold_stats.threshold_stats`).
        address: Route that returns the counts for other limits.
        own: Band limits of the workspace.
        callbacks: Handlers of the reader's changes.
        log_counts: Symmetric-log heights, linear up to one sample, so empty bins stay empty.
        follows: The threshold is the upper band limit and moves with it.
    """
    state = st.session_state.get(_KEY) or {}
    result = _editor(
        key=_KEY,
        data={
            "edges": list(distribution.edges),
            "counts": list(distribution.counts),
            "ecdf": [list(point) for point in distribution.ecdf],
            "version": distribution.version,
            "step": choose_step(distribution.edges),
            "facts": dict(facts),
            "address": address,
            "own": {"low": own.low, "high": own.high},
            "log": log_counts,
            "follows": follows,
            "seq": read_sequence_number(state.get("limits") or {}),
        },
        default={"limits": None},
        on_limits_change=lambda: _call(callbacks.limits, read_limits(_read_sent("limits"))),
        on_brushed_change=lambda: _call(
            callbacks.score_range, read_score_range(_read_sent("brushed"))
        ),
        on_log_change=lambda: callbacks.log(_read_sent("log") == "on"),
        on_act_change=lambda: _call(callbacks.action, read_action(_read_sent("act"))),
    )
    return read_action(result.act)


def _read_sent(name: str) -> Any:
    return (st.session_state.get(_KEY) or {}).get(name)


def _call(handler: Callable[[Any], None], value: Any) -> None:
    if value:
        handler(value)


def read_action(value: object) -> EditorAction | None:
    """Return the button that the browser sent, or None for an invalid one."""
    return EditorAction(value) if isinstance(value, str) and value in list(EditorAction) else None


def choose_step(edges: Sequence[float]) -> float:
    """Return the power of ten by which limits move: about 1/500 of the axis."""
    span = edges[-1] - edges[0]
    return float(10.0 ** round(math.log10(span / 500))) if span > 0 else 0.01


def read_limits(limits: object) -> dict[str, float]:
    """Return the limits that were moved in the browser; empty for invalid ones."""
    if not isinstance(limits, dict):
        return {}
    sent = {name: limits[name] for name in _LIMITS if name in limits}
    if not all(map(_is_limit, sent.values())):
        return {}
    read = {name: float(value) for name, value in sent.items()}
    return read if read.get("low", -math.inf) <= read.get("high", math.inf) else {}


def read_score_range(ends: object) -> tuple[float, float] | None:
    """Return both ends of the range that the browser sent, or None for an invalid one."""
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return None
    if not all(map(_is_limit, ends)) or not ends[0] < ends[1]:
        return None
    return float(ends[0]), float(ends[1])


def _is_limit(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and isinstance(value, int | float) and abs(value) <= _LARGEST_LIMIT


def read_sequence_number(limits: dict[str, Any]) -> int:
    """Return the number of changes in the browser that the server has received."""
    number = limits.get("seq", 0)
    return number if isinstance(number, int) else 0
