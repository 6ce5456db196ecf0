"""A table by source, cluster, turn and so on, with category bars; choosing a row gives its key."""

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

_FIGURES: Final = (
    {"key": "n", "label": "samples", "kind": "count", "help": "all samples, with or without score"},
    {"key": "share", "label": "share", "kind": "share", "help": "of the samples shown"},
    {"key": "n_scored", "label": "scored", "kind": "count", "help": "samples with a score"},
    {
        "key": "median_visnec",
        "label": "median VisNec",
        "kind": "score",
        "help": "nats per answer token",
    },
    {"key": "mean_visnec", "label": "mean", "kind": "score", "help": "nats per answer token"},
    {
        "key": "bar",
        "label": "misaligned · redundant · vision-critical",
        "kind": "bar",
        "help": "share of each category among the scored; sorts by vision-critical",
    },
    {
        "key": "histogram",
        "label": "distribution",
        "kind": "histogram",
        "help": "scores from low to high on the axis of the histogram above, each row to its own "
        "height; sorts by the median",
    },
    {
        "key": "loss_text",
        "label": "text-only loss",
        "kind": "loss",
        "help": "mean, nats per answer token",
    },
    {
        "key": "loss_multimodal",
        "label": "multimodal loss",
        "kind": "loss",
        "help": "mean, nats per answer token",
    },
    {"key": "kept_share", "label": "kept", "kind": "share", "help": "scored samples over the cut"},
    {"key": "about", "label": "", "kind": "text", "help": ""},
    {"key": "keep", "label": "✓", "kind": "count", "help": "samples kept by hand"},
    {"key": "drop", "label": "✕", "kind": "count", "help": "samples dropped by hand"},
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the small distributions are drawn with: bin edges, the band limits and the cut."""

    edges: Sequence[float]
    low: float
    high: float
    cut: float


def show(
    key: str,
    label: str,
    name: str,
    rows: list[dict[str, Any]],
    opens: bool = True,
    limits: Limits | None = None,
    chosen: Collection[object] = (),
    action: str = "show these samples",
    take: Callable[[Any], None] | None = None,
) -> Any:
    """Draws the table and returns the key of a row that was chosen just now, or None.

    Rows with a ``histogram`` (counts between the edges of ``limits``) show their distribution; one
    with ``opens`` false cannot be chosen. ``chosen`` are the keys that a filter names already,
    ``action`` says what choosing does. ``take`` gets a chosen key before anything is drawn.
    """

    def give() -> None:
        opened = (st.session_state.get(key) or {}).get("opened")
        if take is not None and opened is not None:
            take(opened)

    present = {column for row in rows for column in row}
    columns = [{"key": "name", "label": name, "kind": "name", "help": ""}]
    if "misaligned" in present:
        present.add("bar")
    columns += [one for one in _FIGURES if one["key"] in present]
    result = _table(
        key=key,
        data={
            "label": label,
            "columns": columns,
            "rows": rows,
            "opens": opens,
            "limits": None if limits is None else {**asdict(limits), "edges": list(limits.edges)},
            "action": action,
            "chosen": [one for one in chosen if isinstance(one, str | int)],
        },
        on_opened_change=give,
    )
    return result.opened


def read_rows(frame: pd.DataFrame, key: str, name: str) -> list[dict[str, Any]]:
    """Rows for :func:`show` from a frame of the store; what is absent becomes None."""
    rows = []
    for row in frame.to_dict("records"):
        shown = {figure["key"]: _plain(row.get(figure["key"])) for figure in _FIGURES}
        rows.append(
            {
                **{column: value for column, value in shown.items() if column in row},
                "key": _plain(row[key]),
                "name": str(row[name]) if _plain(row[name]) is not None else "no cluster",
                "misaligned": int(row["misaligned"]),
                "redundant": int(row["redundant"]),
                "vision-critical": int(row["vision_critical"]),
            }
        )
    return rows


def _plain(value: Any) -> Any:
    """A value that JSON knows."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if hasattr(value, "item") else value
