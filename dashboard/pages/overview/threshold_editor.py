"""The threshold editor: a histogram with the threshold and both band limits.

Only bins go to the browser, never rows. While a limit moves, the browser estimates counts from the
bins. Once it stops, the browser requests exact counts from a route of the dashboard, shows them,
and then reports the limits to the page, which redraws everything else that depends on them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import streamlit as st

from dashboard.data import actions
from dashboard.data.context import Context, read_workspace
from dashboard.data.reviews import read_labels
from dashboard.data.scores import read_ecdf, read_histogram
from dashboard.data.threshold_stats import MIN_LABELS, choose_step, threshold_stats
from dashboard.frontend import assets
from dashboard.view.links import threshold_url
from dashboard.view.navigation import PageName, change_filter, go_to, rerun_filtered
from dashboard.view.state import Queue, QueueScope, RuleKind, View, change_view, current_view
from scoring.database.filters import Range

_KEY: Final = "threshold_editor"
_LARGEST_LIMIT: Final = 1e6
_LIMITS: Final = ("low", "high", "cut")
editor = st.components.v2.component(
    "visnec_threshold_editor",
    html=assets.HTML,
    css=assets.style("figures", "threshold_editor"),
    js=assets.script("threshold_plot", "threshold_fields", "threshold_editor"),
)


def show_heading(context: Context) -> None:
    """Show the title, and a button to label samples where there are too few labels."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(
            "VisNec score",
            anchor=False,
            width="content",
            help="Text-only loss minus multimodal loss, in nats per answer token. Drag a limit, "
            "move it with the arrow keys, or type it. Drag across the histogram to filter by "
            "score.",
        )
        if len(read_labels(context)) < MIN_LABELS and st.button(
            "Label samples to estimate wrong drops",
            icon=":material/casino:",
            type="tertiary",
            help="Opens a random draw from each source and category on the Review page",
        ):
            go_to(PageName.REVIEW, queue=Queue.STRATIFIED, who=QueueScope.UNDECIDED, row=None)


def show_editor(context: Context, view: View, threshold: float) -> None:
    """Show the editor; changes go into the view."""
    own, generation = context.workspace.bands, context.store.generation
    edges, counts = read_histogram(context)
    result = editor(
        key=_KEY,
        data={
            "edges": list(edges),
            "counts": list(counts),
            "ecdf": [list(point) for point in read_ecdf(context)],  # (score, share at or below)
            "version": f"{generation}-{context.scope}-{context.filter}-{len(edges)}",
            "step": choose_step(edges),
            "facts": dict(threshold_stats(view)),  # exact counts
            "address": threshold_url(context.scope, context.filter, generation),
            "own": {"low": own.low, "high": own.high},
            "log": view.log,  # symmetric-log heights, linear up to one sample
            "follows": view.cut is None,  # the threshold moves with the upper band limit
            "seq": read_sequence_number(_read_sent("limits") or {}),
        },
        default={"limits": None},
        on_limits_change=_change_limits,
        on_brushed_change=_filter_by_score,
        on_log_change=lambda: change_view(log=_read_sent("log") == "on"),
        on_act_change=change_bands,
    )
    if result.act == "subset":
        go_to(PageName.SUBSET, rule=RuleKind.THRESHOLD, minimum=threshold, maximum=None)
    if result.act == "review":
        go_to(PageName.REVIEW, queue=Queue.THRESHOLD, cut=threshold, row=None)


# ---- changes in the browser ----------------------------------------------------------------------


def _read_sent(name: str) -> Any:
    return (st.session_state.get(_KEY) or {}).get(name)


def _change_limits() -> None:
    """Change the view; a threshold alone does not rerun what depends on the bands only."""
    limits = read_limits(_read_sent("limits"))
    bands = current_view().bands(read_workspace().bands)
    low, high = limits.get("low", bands.low), limits.get("high", bands.high)
    if not limits or low > high:
        return
    change_view(**limits)
    if (low, high) != (bands.low, bands.high):
        rerun_filtered()


def _filter_by_score() -> None:
    ends = read_score_range(_read_sent("brushed"))
    if ends is not None:
        change_filter(replace(current_view().filter, visnec=Range(*ends)))


def change_bands() -> None:
    """Save the band limits or reset the view's; a callback cannot open another page."""
    action = _read_sent("act")
    if action == "save":
        workspace = read_workspace()
        actions.save_bands(workspace, current_view().bands(workspace.bands))
        change_view(low=None, high=None)
        rerun_filtered()
    elif action == "reset":
        change_view(low=None, high=None, cut=None)
        rerun_filtered()


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
    if not isinstance(ends, list | tuple) or len(ends) != 2 or not all(map(_is_limit, ends)):
        return None
    return (float(ends[0]), float(ends[1])) if ends[0] < ends[1] else None


def _is_limit(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and isinstance(value, int | float) and abs(value) <= _LARGEST_LIMIT


def read_sequence_number(limits: dict[str, Any]) -> int:
    """Return the number of changes in the browser that the server has received."""
    number = limits.get("seq", 0)
    return number if isinstance(number, int) else 0
