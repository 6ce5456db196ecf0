"""Figures, tables, charts and remarks of a page, as escaped HTML.

Streamlit's own metric and table read their labels as Markdown; names from a dataset must stay text.
Numbers in figures and tables are written by :func:`~dashboard.text.formatting.count`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data.context import Context
from dashboard.text import formatting
from dashboard.view.navigation import PageName, page_link
from dashboard.view.state import View
from scoring.database.filters import Filter, Range


@dataclass(frozen=True, slots=True)
class Bar:
    """A table cell that draws a share of a whole (0 to 1); ``label`` describes it."""

    share: float
    label: str


@dataclass(frozen=True, slots=True)
class Link:
    """A table cell that opens a page of the dashboard; ``note`` follows the link."""

    text: str
    address: str
    note: str = ""
    strong: bool = False


Cell = str | float | Bar | Link | None


def show_figures(*figures: tuple[str, str | float | None, str], in_line: bool = False) -> None:
    """Show figures in a row that wraps: a name, a value, and a note below it or ``in_line``."""
    body = ""
    for name, value, note in figures:
        note = f'<div class="vn-note">{escape(note)}</div>' if note else ""
        body += (
            f'<div class="vn-figure"><div class="vn-name">{escape(name)}</div>'
            f'<div class="vn-value">{_format_cell(value)}</div>{note}</div>'
        )
    st.html(f'<div class="vn-figures{" line" if in_line else ""}">{body}</div>')


def show_facts(facts: Mapping[str, str]) -> None:
    """Show names and values in two columns."""
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    st.html(f'<dl class="vn-facts">{"".join(pairs)}</dl>')


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    numbers: Iterable[int] = (),
    *,
    total: bool = False,
    swatches: Sequence[str] = (),
    row_headers: bool = False,
) -> None:
    """Show a small table; long ones belong in the breakdown component.

    Args:
        columns: Headings.
        rows: Cells.
        numbers: Columns to align right.
        total: Whether the last row is a sum.
        swatches: The categories of the rows, if any.
        row_headers: Whether the first cell of each row is a heading.
    """
    numbers = frozenset(numbers)
    classes = ["number" if i in numbers else "" for i in range(len(columns))]
    head = "".join(
        f'<th class="{kind}" scope="col">{escape(name)}</th>'
        for kind, name in zip(classes, columns, strict=True)
    )
    body = ""
    for position, row in enumerate(rows):
        is_total = total and position == len(rows) - 1
        body += f'<tr class="{"total" if is_total else ""}">'
        for i, (kind, cell) in enumerate(zip(classes, row, strict=True)):
            content = _format_cell(cell)
            if i == 0 and position < len(swatches):
                category = escape(swatches[position])
                content = f'<span class="vn-swatch {category}" aria-hidden="true"></span>{content}'
            if i == 0 and row_headers:
                body += f'<th scope="row">{content}</th>'
            else:
                body += f'<td class="{kind}">{content}</td>'
        body += "</tr>"
    st.html(
        f'<div class="vn-table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _format_cell(cell: Cell) -> str:
    if isinstance(cell, Bar):
        label = escape(cell.label)
        segment = f'<span class="kept" style="width:{100 * cell.share:.2f}%"></span>'
        image = f'role="img" aria-label="{label}" title="{label}"'
        return f'<div class="vn-bar" {image}>{segment}</div>'
    if not isinstance(cell, Link):
        return escape(cell if isinstance(cell, str) else formatting.count(cell))
    link = escape(cell.text)
    if cell.address:
        strong = ' class="vn-flip"' if cell.strong else ""
        link = f'<a href="{escape(cell.address)}" target="_self"{strong}>{link}</a>'
    return f'{link} <span class="vn-where">{escape(cell.note)}</span>' if cell.note else link


def link_samples(
    context: Context, view: View, where: Filter, n: int, n_all: int, strong: bool = False
) -> Link:
    """Return a cell with a number of samples and their share, which opens them in Explore."""
    scope = context.scope
    target = View(
        run=scope.run_id, baseline=scope.baseline, low=view.low, high=view.high, filter=where
    )
    address = page_link(PageName.EXPLORE, target) if n else ""
    return Link(formatting.count(n), address, formatting.share(n, n_all), strong)


def show_progress_bar(done: float, total: float, label: str) -> None:
    """Show a bar with what is done out of the total."""
    width = 100 * min(max(done / total if total else 0.0, 0.0), 1.0)
    st.html(
        f'<div class="vn-progress" role="img" aria-label="{escape(label)}">'
        f'<span style="width:{width:.2f}%"></span></div>'
    )


def show_caption(text: str, tooltip: str = "") -> None:
    """Show a remark in quiet type."""
    title = f' title="{escape(tooltip)}"' if tooltip else ""
    st.html(f'<div class="vn-quiet"{title}>{escape(text)}</div>')


def show_heading(title: str, remark: str) -> None:
    """Show a title with a remark below it."""
    st.subheader(title, anchor=False)
    show_caption(remark)


def show_entry(name: str, line: str, detail: str) -> None:
    """Show a saved item: its name, a summary, and a quieter line."""
    st.html(
        f'<div class="vn-named"><b>{escape(name)}</b><div>{escape(line)}</div>'
        f'<div class="vn-where">{escape(detail)}</div></div>'
    )


def show_inline_figure(value: str, name: str = "") -> None:
    """Show a figure in a row of widgets."""
    st.html(f'<div class="vn-line"><b>{escape(value)}</b> {escape(name)}</div>', width="content")


def pair_columns(key: str, left: int = 6, right: int = 5) -> list[DeltaGenerator]:
    """Return two columns that stack when the window is narrow."""
    with st.container(key=f"pair-{key}"):
        return st.columns([left, right], gap="large")


def use_dark_theme() -> bool:
    """Return whether the reader's browser shows the dark theme."""
    return st.context.theme.type == "dark"


def show_chart(figure: Any, key: str, **selection: Any) -> None:
    """Show a plotly figure; ``selection`` is Streamlit's ``on_select`` and ``selection_mode``."""
    config = {"displayModeBar": False, "scrollZoom": False}
    st.plotly_chart(figure, theme="streamlit", config=config, key=key, **selection)


def read_selected_range(
    state: Any, axis: str, lowest: float = -math.inf, digits: int = 2
) -> Range | None:
    """Return the range that a box drawn on a chart covers along an axis, or None without a box.

    Rounded to ``digits`` decimals: a box cannot be drawn more precisely.
    """
    selection = (state or {}).get("selection") if isinstance(state, Mapping) else None
    boxes = (selection or {}).get("box")
    if not boxes:
        return None
    low, high = sorted(float(end) for end in boxes[0][axis])
    low, high = max(round(low, digits), lowest), round(high, digits)
    return Range(low, high) if low < high else None
