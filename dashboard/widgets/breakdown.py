"""A table by source, cluster, turn and so on, with category bars and rows that can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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


def show_breakdown(
    key: str,
    label: str,
    name: str,
    rows: list[dict[str, Any]],
    *,
    choose_row: Callable[[Any], None],
    chosen: Collection[object] = (),
    limits: Mapping[str, object] | None = None,
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
        limits: Bin ``edges`` of the histograms, the band limits ``low`` and ``high``, and the
            threshold ``cut``.
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
            "limits": limits,
            "action": "add to the filter, or remove from it",
            "chosen": [value for value in chosen if isinstance(value, str | int)],
        },
        on_opened_change=handle_row,
    )


def read_rows(
    frame: pd.DataFrame, key: str, name: str, without: str = "no cluster"
) -> list[dict[str, Any]]:
    """Return the rows of a database frame for :func:`show_breakdown`; missing values are None.

    ``without`` is the name of a row without one.
    """
    rows = []
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        shown = {column["key"]: row[column["key"]] for column in _COLUMNS if column["key"] in row}
        shown["key"] = row[key]
        shown["name"] = without if row[name] is None else str(row[name])
        for category in ("misaligned", "redundant", "vision-critical"):
            shown[category] = int(row[category.replace("-", "_")])
        rows.append(shown)
    return rows
