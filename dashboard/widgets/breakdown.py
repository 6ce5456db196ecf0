"""A table by source, cluster, turn and so on, with category bars and rows that can be chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard.frontend import assets

_table = st.components.v2.component(
    "visnec_breakdown",
    html=assets.HTML,
    css=assets.style("breakdown"),
    js=assets.script("breakdown"),
)

_NATS: Final = "nats per answer token"
_COLUMNS: Final = [
    {"key": key, "label": label, "kind": kind, "help": help_text}
    for key, label, kind, help_text in (
        ("n", "Samples", "count", "with or without a score"),
        ("share", "Share", "share", "of the samples shown"),
        ("n_scored", "Scored", "count", "samples with a score"),
        ("median_visnec", "Median VisNec", "score", _NATS),
        ("mean_visnec", "Mean", "score", _NATS),
        (
            "bar",
            "misaligned · redundant · vision-critical",
            "bar",
            "category shares of the scored samples; sorts by vision-critical",
        ),
        (
            "histogram",
            "Distribution",
            "histogram",
            "scores on the axis of the histogram above, each row scaled to its own height; sorts "
            "by the median",
        ),
        ("loss_text", "Text-only loss", "loss", f"mean, {_NATS}"),
        ("loss_multimodal", "Multimodal loss", "loss", f"mean, {_NATS}"),
        ("kept_share", "Kept", "share", "scored samples at or above the threshold"),
        ("about", "", "text", ""),
        ("keep", "✓", "count", "samples with a manual keep"),
        ("drop", "✕", "count", "samples with a manual drop"),
    )
]


@dataclass(frozen=True, slots=True)
class HistogramAxis:
    """Bin edges of the small histograms, the band limits and the threshold (``cut``)."""

    edges: Sequence[float]
    low: float
    high: float
    cut: float


def show_breakdown(
    key: str,
    label: str,
    name: str,
    rows: list[dict[str, Any]],
    *,
    choose_row: Callable[[Any], None],
    chosen: Collection[object] = (),
    limits: HistogramAxis | None = None,
) -> None:
    """Show the table.

    Args:
        key: Of the widget.
        label: Read out by screen readers.
        name: Heading of the first column.
        rows: Those with a ``histogram`` (counts between the edges of ``limits``) show it; those
            with ``opens`` false cannot be chosen.
        choose_row: Callback that gets the key of a chosen row.
        chosen: Keys that the filter contains already.
        limits: Axis of the histograms.
    """

    def handle_row() -> None:
        opened = (st.session_state.get(key) or {}).get("opened")
        if opened is not None:
            choose_row(opened)

    present = {column for row in rows for column in row}
    if "misaligned" in present:
        present.add("bar")
    columns = [{"key": "name", "label": name, "kind": "name", "help": ""}]
    columns += [column for column in _COLUMNS if column["key"] in present]
    _table(
        key=key,
        data={
            "label": label,
            "columns": columns,
            "rows": rows,
            "opens": True,
            "limits": None if limits is None else {**asdict(limits), "edges": list(limits.edges)},
            "action": "add to the filter, or remove from it",
            "chosen": [value for value in chosen if isinstance(value, str | int)],
        },
        on_opened_change=handle_row,
    )


def read_rows(frame: pd.DataFrame, key: str, name: str) -> list[dict[str, Any]]:
    """Return the rows of a database frame for :func:`show_breakdown`; missing values are None."""
    rows = []
    for row in frame.to_dict("records"):
        label = to_json_value(row[name])
        rows.append(
            {
                **{
                    column["key"]: to_json_value(row[column["key"]])
                    for column in _COLUMNS
                    if column["key"] in row
                },
                "key": to_json_value(row[key]),
                "name": "no cluster" if label is None else str(label),
                "misaligned": int(row["misaligned"]),
                "redundant": int(row["redundant"]),
                "vision-critical": int(row["vision_critical"]),
            }
        )
    return rows


def to_json_value(value: Any) -> Any:
    """Return a value of a frame as one that JSON can represent."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if hasattr(value, "item") else value
