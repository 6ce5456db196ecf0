"""Explore: filter, sort and page through samples as pictures, and open one in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data.cards import Card
from dashboard.data.context import Context
from dashboard.data.facts import read_sortable_columns
from dashboard.data.samples import (
    read_first_hits,
    read_page,
    read_sides,
    read_tiles,
    resolve_order,
)
from dashboard.pages.explore import bulk, map_panel, open_sample
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.navigation import Fragment, rerun_fragments
from dashboard.view.state import PAGE_SIZES, Key, Layout, Tiles, View, change_view
from dashboard.widgets import figures, gallery, notices, page_frame, reviewer
from scoring.database.values import ColumnSort, Order, Page, Sort
from scoring.reviews.decision_log import Decision

_LAYOUTS = {Layout.PAGES: "All samples", Layout.THRESHOLD: "Both sides", Layout.MAP: "Map"}
# Widgets that an open sample replaces.
_LIST_WIDGETS = tuple(
    f"view.{name}" for name in ("layout", "sort", "size", "tiles", "cut", "map", "colour")
)
_SELECT_SEVERAL = "Select several"
_COLUMN_SORTS = {  # type of a column: descending, ascending
    "text": ("{}, Z to A", "{}, A to Z"),
    "boolean": ("{}, true first", "{}, false first"),
}
_SORTS: dict[Order, str] = {
    Sort.VISNEC_DESC: "Highest VisNec",
    Sort.VISNEC_ASC: "Lowest VisNec",
    Sort.ROW_IDX: "Dataset order",
    Sort.LOSS_TEXT_DESC: "Highest text-only loss",
    Sort.LOSS_MULTIMODAL_DESC: "Highest multimodal loss",
    Sort.TOKENS_DESC: "Longest answer",
}


def render() -> None:
    """Show the page."""
    _, opened = page_frame.open_page(
        "Explore", "Samples as pictures", has_filter=True, has_count=False
    )
    if page_frame.require_scores(opened) is not None:
        _show_samples()


@page_frame.view_fragment(Fragment.FILTERED)
def _show_samples(context: Context, view: View) -> None:
    if view.sample is not None:
        url_widgets.forget_widgets(*_LIST_WIDGETS)
        open_sample.show_open_sample(context, resolve_order(context, view)[0], view.sample)
        return
    _show_list()


@page_frame.view_fragment(Fragment.LISTED)
def _show_list(context: Context, view: View) -> None:
    """Show the list, which paging and a new threshold change, and nothing else."""
    view, problem = resolve_order(context, view)
    if problem:
        notices.show_notice("problem", "The order of the link was ignored", problem)
    if view.layout is Layout.THRESHOLD:
        _show_both_sides(context, view)
    else:
        _show_page(context, view)


def _show_page(context: Context, view: View) -> None:
    with _show_first_hits(context, view):
        page = read_page(context, view)
    _show_list_line(context, view, page)
    name = map_panel.open_map(context, view) if view.layout is Layout.MAP else None
    if name is None:
        _show_pictures(context, view, page)
        return
    with st.container(key="pair-map"):
        left, right = st.columns([3, 2], gap="medium")
        with left:
            map_panel.show_map(context, view, name)
        with right:
            _show_pictures(context, view, page)


def _show_list_line(context: Context, view: View, page: Page) -> None:
    with _open_list_line():
        total = formatting.plural(page.total, "sample")
        figures.show_inline_figure(total, _name_range(page, view.sort))
        _choose_layout(view)
        _choose_order(context, view.sort)
        _choose_sizes(view, "per page")
        if page.records:
            reviewer.show_name_button(view.reviewer, _SELECT_SEVERAL)
        _show_pager("above", page)


def _show_pictures(context: Context, view: View, page: Page) -> None:
    if page.records:
        _show_gallery("gallery", read_tiles(context, page), view, _pop_focus())
        _show_pager("below", page)
    elif view.page is not None:
        notices.show_empty("This page is empty", "The list has changed since the link was made.")
        st.button("First page", on_click=change_view, kwargs={"page": None})
    elif context.filter:
        notices.show_empty("No matching samples", "Remove part of the filter, or clear it above.")
    else:
        notices.show_empty("The dataset is empty", "There are no samples to show.")


def _name_range(page: Page, order: Order) -> str:
    """Return the scores from the first to the last sample of a page in the order of the scores."""
    scores = [row["visnec"] for row in page.records if row["visnec"] is not None]
    if not scores or order not in (Sort.VISNEC_DESC, Sort.VISNEC_ASC):
        return ""
    return f"this page: {formatting.score(scores[0], 2)} to {formatting.score(scores[-1], 2)}"


def _choose_order(context: Context, order: Order) -> None:
    names = dict(_SORTS)
    for column, kind in read_sortable_columns(context.store).items():
        descending, ascending = _COLUMN_SORTS.get(kind, ("Highest {}", "Lowest {}"))
        names[ColumnSort(column)] = descending.format(column)
        names[ColumnSort(column, is_descending=False)] = ascending.format(column)
    if order not in names and isinstance(order, ColumnSort):  # such as rating.min, from a link
        names[order] = f"{'Highest' if order.is_descending else 'Lowest'} {order.column}"
    url_widgets.choose_option("sort", "Sort by", list(names), order, names.__getitem__, width=215)


def _open_list_line() -> DeltaGenerator:
    """Return the line above a list, which wraps where the window is narrow."""
    return st.container(horizontal=True, vertical_alignment="center", key="list_line")


def _choose_layout(view: View) -> None:
    name = _LAYOUTS.__getitem__
    url_widgets.choose_option("layout", "Show", list(Layout), view.layout, name, width=140)


def _choose_sizes(view: View, per: str) -> None:
    """Show the number of samples ``per`` page or side, and the size of their pictures."""
    sizes = list(PAGE_SIZES)
    url_widgets.choose_option("size", per, sizes, view.size, lambda n: f"{n} {per}", width=140)
    names = {size: f"{size.capitalize()} pictures" for size in Tiles}
    url_widgets.choose_option(
        "tiles", "Pictures", list(Tiles), view.tiles, names.__getitem__, width=160
    )


@contextmanager
def _show_first_hits(context: Context, view: View) -> Iterator[None]:
    """Show the first hits of a text search while the enclosed lines search all samples."""
    hits = None if view.page else read_first_hits(context, view.size)
    if hits is None:
        yield
        return
    placeholder = st.empty()
    with placeholder.container():
        figures.show_inline_figure(
            f"First {formatting.plural(hits.n_hits, 'hit')}, counting …",
            f"{hits.n_searched:,} of {hits.n_samples:,} samples searched",
        )
        gallery.show_gallery("first-hits", read_tiles(context, hits), size=str(view.tiles))
    yield
    placeholder.empty()


def _show_gallery(key: str, tiles: list[Card], view: View, focus: int | None) -> None:
    """Show pictures to open and, once the reviewer's name is known, to keep or drop."""

    def decide_samples(rows: Sequence[int], decision: Decision) -> None:
        st.session_state[Key.BULK_PLACE] = key
        bulk.decide_samples(rows, decision)

    def open_row(row_idx: int) -> None:
        open_sample.open_row(row_idx)
        rerun_fragments(Fragment.FILTERED)

    callbacks = None
    if st.session_state.get(Key.REVIEWER) is not None:
        # Of two galleries, only the one with the decision shows its status.
        shows_status = (
            view.layout is not Layout.THRESHOLD or st.session_state.get(Key.BULK_PLACE) == key
        )
        status = bulk.read_status() if shows_status else None
        callbacks = gallery.BulkCallbacks(decide_samples, bulk.undo_decision, status)
    gallery.show_gallery(key, tiles, open_row, focus=focus, bulk=callbacks, size=str(view.tiles))


def _pop_focus() -> int | None:
    """Return the row of the sample that was just closed, once."""
    row: int | None = st.session_state.pop(Key.GALLERY_FOCUS, None)
    return row


def _show_pager(position: str, page: Page) -> None:
    with st.container(horizontal=True, horizontal_alignment="right", key=f"pager-{position}"):
        for label, icon, cursor in (
            ("First", ":material/first_page:", None),
            ("Previous", ":material/chevron_left:", page.previous),
            ("Next", ":material/chevron_right:", page.next),
        ):
            st.button(
                label,
                key=f"{label}-{position}",
                icon=icon,
                disabled=cursor is None and (label != "First" or page.previous is None),
                on_click=change_view,
                kwargs={"page": cursor},
            )


# ---- both sides of the threshold -----------------------------------------------------------------


def _show_both_sides(context: Context, view: View) -> None:
    """Show the samples nearest to the threshold: dropped on the left, kept on the right."""
    threshold = view.threshold(context.workspace.bands)
    with _open_list_line():
        figures.show_inline_figure("Nearest to the threshold")
        look = url_widgets.UNLABELLED
        url_widgets.choose_number("cut", "Threshold", threshold, width=140, **look)
        _choose_layout(view)
        _choose_sizes(view, "per side")
        reviewer.show_name_button(view.reviewer, _SELECT_SEVERAL)
    focus = _pop_focus()
    pages = read_sides(context, threshold, view.size)
    for column, side, page in zip(
        st.columns(2, gap="large"), ("dropped", "kept"), pages, strict=True
    ):
        with column:
            if page is None:
                reason = "The filter's scores are on the other side of the threshold."
                notices.show_empty(f"No {side} samples here", reason)
                continue
            figures.show_inline_figure(formatting.plural(page.total, "sample"), side)
            if page.records:
                _show_gallery(f"gallery-{side}", read_tiles(context, page), view, focus)
            else:
                remedy = "Move the threshold, or remove part of the filter."
                notices.show_empty(f"No {side} samples", remedy)
