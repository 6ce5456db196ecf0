"""Figures, facts and small tables that a page writes itself, as escaped HTML.

Streamlit's own metric and table read their labels as Markdown; names from a dataset must not be
read as anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import streamlit as st

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
    """A cell that draws shares: class of the stretch -> share of the whole (0 to 1)."""

    shares: Mapping[str, float]
    said: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts and bars; ``numbers`` are the columns to set flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Bar]]
    numbers: frozenset[int] = frozenset()
    total: bool = False  # the last row adds up the others
    swatches: Sequence[str] = field(default_factory=tuple)  # category of each row, if any


def show_figures(figures: Iterable[Figure]) -> None:
    """A row of figures that wraps."""
    st.html(f'<div class="vn-figures">{"".join(map(_figure, figures))}</div>')


def _figure(figure: Figure) -> str:
    swatch = _swatch(figure.category) if figure.category else ""
    note = f'<div class="vn-note">{escape(figure.note)}</div>' if figure.note else ""
    return (
        f'<div class="vn-figure"><div class="vn-name">{swatch}{escape(figure.name)}</div>'
        f'<div class="vn-value">{escape(figure.value)}</div>{note}</div>'
    )


def _swatch(category: str) -> str:
    return f'<span class="vn-swatch {escape(category)}" aria-hidden="true"></span>'


def show_facts(facts: Mapping[str, str]) -> None:
    """Names and values in two columns."""
    inside = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()
    )
    st.html(f'<dl class="vn-facts">{inside}</dl>')


def show_table(table: Table) -> None:
    """A small table; long ones belong into the breakdown component."""
    head = "".join(
        f'<th class="{_alignment(table, i)}" scope="col">{escape(name)}</th>'
        for i, name in enumerate(table.columns)
    )
    body = "".join(_row(table, i) for i in range(len(table.rows)))
    st.html(
        f'<div class="vn-table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(table: Table, place: int) -> str:
    total = table.total and place == len(table.rows) - 1
    swatch = _swatch(table.swatches[place]) if place < len(table.swatches) else ""
    cells = "".join(
        f'<td class="{_alignment(table, i)}">{swatch if i == 0 else ""}{_cell(cell)}</td>'
        for i, cell in enumerate(table.rows[place])
    )
    return f'<tr class="{"total" if total else ""}">{cells}</tr>'


def _alignment(table: Table, column: int) -> str:
    return "number" if column in table.numbers else ""


def _cell(cell: str | Bar) -> str:
    if isinstance(cell, str):
        return escape(cell)
    stretches = "".join(
        f'<span class="{escape(kind)}" style="width:{100 * share:.2f}%"></span>'
        for kind, share in cell.shares.items()
    )
    said = escape(cell.said, quote=True)
    return f'<div class="vn-bar" role="img" aria-label="{said}" title="{said}">{stretches}</div>'


def show_progress_bar(share: float, said: str) -> None:
    """A bar that is filled to ``share`` (0 to 1)."""
    width = 100 * min(max(share, 0.0), 1.0)
    st.html(
        f'<div class="vn-progress" role="img" aria-label="{escape(said, quote=True)}">'
        f'<span style="width:{width:.2f}%"></span></div>'
    )


def show_quiet(text: str) -> None:
    """A remark."""
    st.html(f'<div class="vn-quiet">{escape(text)}</div>')


def show_named(name: str, line: str, detail: str) -> None:
    """A saved thing: its name, what it is, and a quieter line."""
    st.html(
        f'<div class="vn-named"><b>{escape(name)}</b><div>{escape(line)}</div>'
        f'<div class="vn-where">{escape(detail)}</div></div>'
    )


def show_line(value: str, name: str) -> None:
    """A figure in a line of widgets."""
    st.html(f'<div class="vn-line"><b>{escape(value)}</b> {escape(name)}</div>')
