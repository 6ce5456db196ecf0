"""Figures, tables, charts and remarks of a page, as escaped HTML.

Streamlit's own metric and table read their labels as Markdown; names from a dataset must stay text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from scoring.database.filters import Range
from scoring.necessity import Category


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, a note below it, and a category's swatch where it has one."""

    name: str
    value: str
    note: str = ""
    category: Category | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A table cell that draws shares of a whole (0 to 1), by CSS class; ``label`` describes it."""

    shares: Mapping[str, float]
    label: str


@dataclass(frozen=True, slots=True)
class Link:
    """A table cell that opens a page of the dashboard; ``note`` follows the link."""

    text: str
    address: str
    note: str = ""
    strong: bool = False


Cell = str | Bar | Link


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells.

    ``numbers`` are the columns to align right, ``total`` marks the last row as a sum,
    ``swatches`` are the categories of the rows, if any, and ``row_headers`` makes the first cell of
    each row a heading.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: Iterable[int] = ()
    total: bool = False
    swatches: Sequence[str] = ()
    row_headers: bool = False


def show_figures(figures: Iterable[Figure]) -> None:
    """Show a row of figures that wraps."""
    body = ""
    for figure in figures:
        swatch = _format_swatch(figure.category) if figure.category else ""
        note = f'<div class="vn-note">{escape(figure.note)}</div>' if figure.note else ""
        body += (
            f'<div class="vn-figure"><div class="vn-name">{swatch}{escape(figure.name)}</div>'
            f'<div class="vn-value">{escape(figure.value)}</div>{note}</div>'
        )
    st.html(f'<div class="vn-figures">{body}</div>')


def _format_swatch(category: str) -> str:
    return f'<span class="vn-swatch {escape(category)}" aria-hidden="true"></span>'


def show_facts(facts: Mapping[str, str]) -> None:
    """Show names and values in two columns."""
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    st.html(f'<dl class="vn-facts">{"".join(pairs)}</dl>')


def show_table(table: Table) -> None:
    """Show a small table; long ones belong in the breakdown component."""
    numbers = frozenset(table.numbers)
    classes = ["number" if i in numbers else "" for i in range(len(table.columns))]
    head = "".join(
        f'<th class="{kind}" scope="col">{escape(name)}</th>'
        for kind, name in zip(classes, table.columns, strict=True)
    )
    body = ""
    for position, row in enumerate(table.rows):
        is_total = table.total and position == len(table.rows) - 1
        swatch = _format_swatch(table.swatches[position]) if position < len(table.swatches) else ""
        body += f'<tr class="{"total" if is_total else ""}">'
        for i, (kind, cell) in enumerate(zip(classes, row, strict=True)):
            content = f"{swatch if i == 0 else ''}{_format_cell(cell)}"
            is_heading = i == 0 and table.row_headers
            body += (
                f'<th scope="row">{content}</th>'
                if is_heading
                else f'<td class="{kind}">{content}</td>'
            )
        body += "</tr>"
    st.html(
        f'<div class="vn-table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _format_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    if isinstance(cell, Link):
        strong = ' class="vn-flip"' if cell.strong else ""
        link = f'<a href="{escape(cell.address)}" target="_self"{strong}>{escape(cell.text)}</a>'
        if not cell.address:
            link = escape(cell.text)
        return f'{link} <span class="vn-where">{escape(cell.note)}</span>' if cell.note else link
    segments = "".join(
        f'<span class="{escape(kind)}" style="width:{100 * share:.2f}%"></span>'
        for kind, share in cell.shares.items()
    )
    label = escape(cell.label)
    return f'<div class="vn-bar" role="img" aria-label="{label}" title="{label}">{segments}</div>'


def show_progress_bar(share: float, label: str) -> None:
    """Show a bar filled to ``share`` (0 to 1)."""
    width = 100 * min(max(share, 0.0), 1.0)
    st.html(
        f'<div class="vn-progress" role="img" aria-label="{escape(label)}">'
        f'<span style="width:{width:.2f}%"></span></div>'
    )


def show_caption(text: str) -> None:
    """Show a remark in quiet type."""
    st.html(f'<div class="vn-quiet">{escape(text)}</div>')


def show_entry(name: str, line: str, detail: str) -> None:
    """Show a saved item: its name, a summary, and a quieter line."""
    st.html(
        f'<div class="vn-named"><b>{escape(name)}</b><div>{escape(line)}</div>'
        f'<div class="vn-where">{escape(detail)}</div></div>'
    )


def show_inline_figure(value: str, name: str) -> None:
    """Show a figure in a row of widgets."""
    st.html(f'<div class="vn-line"><b>{escape(value)}</b> {escape(name)}</div>')


def pair_columns(key: str, left: int = 6, right: int = 5) -> list[DeltaGenerator]:
    """Return two columns that stack when the window is narrow."""
    with st.container(key=f"pair-{key}"):
        return st.columns([left, right], gap="large")


def use_dark_theme() -> bool:
    """Return whether the reader's browser shows the dark theme."""
    return st.context.theme.type == "dark"


def show_chart(figure: Any, key: str, **selection: Any) -> None:
    """Show a plotly figure; ``selection`` is Streamlit's ``on_select`` and ``selection_mode``."""
    st.plotly_chart(
        figure,
        theme="streamlit",
        config={"displayModeBar": False, "scrollZoom": False},
        key=key,
        **selection,
    )


def read_selected_range(state: Any, axis: str, lowest: float = -math.inf) -> Range | None:
    """Return the range that a box drawn on a chart covers along an axis, or None without a box.

    Rounded to two decimals: a box cannot be drawn more precisely.
    """
    selection = (state or {}).get("selection") if isinstance(state, Mapping) else None
    boxes = (selection or {}).get("box")
    if not boxes:
        return None
    low, high = sorted(float(end) for end in boxes[0][axis])
    low, high = max(round(low, 2), lowest), round(high, 2)
    return Range(low, high) if low < high else None
