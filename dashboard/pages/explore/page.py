"""Explore: filter, sort and page through samples as pictures, and open one in full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import streamlit as st

from dashboard.data.cards import Card
from dashboard.data.context import Context, open_view_context
from dashboard.data.samples import read_first_hits, read_page, read_page_at, read_tiles
from dashboard.pages.explore import bulk, open_sample
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.fragments import Fragment, rerun_fragment
from dashboard.view.state import (
    PAGE_SIZES,
    Key,
    Layout,
    Tiles,
    View,
    current_view,
    take_view,
)
from dashboard.widgets import figures, filter_bar, gallery, notices, page_frame, reviewer
from dashboard.widgets.gallery import Bulk
from scoring.database.filters import Range
from scoring.database.values import Page, Sort

_LAYOUTS = {Layout.PAGES: "all, page by page", Layout.CUT: "both sides of the cut"}
# Widgets that an open sample takes the place of.
_OF_THE_LIST = ("filter.", "view.layout", "view.sort", "view.size", "view.tiles", "view.cut")
_SEVERAL = "Decide about several at once"
_SORTS = {
    Sort.VISNEC_DESC: "highest VisNec first",
    Sort.VISNEC_ASC: "lowest VisNec first",
    Sort.ROW_IDX: "order of the dataset",
    Sort.LOSS_TEXT_DESC: "highest text-only loss first",
    Sort.LOSS_MULTIMODAL_DESC: "highest multimodal loss first",
    Sort.TOKENS_DESC: "longest answers first",
}


def render() -> None:
    """The page."""
    _, opened = page_frame.open_page("Explore", "Samples as pictures; open one to see it in full")
    if page_frame.require_scores(opened, "Exploring") is not None:
        _show_samples()


@st.fragment(key=Fragment.SAMPLES)
def _show_samples() -> None:
    view = current_view()
    context = open_view_context(view).context
    if context is None:
        return
    if view.sample is not None:
        url_widgets.forget_widgets(*_OF_THE_LIST)
        open_sample.show(context, view, view.sample)
        return
    filter_bar.show(context)
    _show_listed()


@st.fragment(key=Fragment.LISTED)
def _show_listed() -> None:
    """The samples under the filter, without the filter: a page on, or another cut, is no more."""
    view = current_view()
    context = open_view_context(view).context
    if context is None:
        return
    if view.layout is Layout.CUT:
        _show_around_cut(context, view)
    else:
        _show_page(context, view)


def _show_page(context: Context, view: View) -> None:
    with _first_hits_meanwhile(context, view):
        page = read_page(context, view)
    _show_page_line(view, page)
    if not page.records:
        _show_nothing(context, view)
        return
    reviewer.offer(view.reviewer, _SEVERAL)
    _show_gallery("gallery", read_tiles(context, page), view, _take_focus())
    _show_pager("below", page)


@contextmanager
def _first_hits_meanwhile(context: Context, view: View) -> Iterator[None]:
    """Shows some of what a text search finds while all samples are looked at for the page."""
    hits = None if view.page else read_first_hits(context, view.size)
    if hits is None:
        yield
        return
    place = st.empty()
    with place.container():
        how_far = f"{hits.n_looked:,} of {hits.n_samples:,} samples were looked at so far"
        figures.show_line(f"first {formatting.plural(hits.n_hits, 'hit')}, counting …", how_far)
        gallery.show("first-hits", read_tiles(context, hits), size=str(view.tiles))
    yield
    place.empty()


def _show_gallery(key: str, tiles: list[Card], view: View, focus: int | None) -> None:
    """Pictures to open, and, for somebody who has said who they are, to decide about."""

    def decide(one: Bulk) -> None:
        st.session_state[Key.BULK_PLACE] = key
        bulk.take(one)

    # Of two galleries, the one in which it was decided tells what became of it.
    tells = view.layout is Layout.PAGES or st.session_state.get(Key.BULK_PLACE) == key
    selecting = gallery.Selecting(decide, bulk.undo, bulk.told() if tells else None)
    known = st.session_state.get(Key.REVIEWER) is not None
    gallery.show(key, tiles, focus, _open, selecting if known else None, str(view.tiles))


def _take_focus() -> int | None:
    """The row to which the reader comes back from a sample; once."""
    row: int | None = st.session_state.pop(Key.GALLERY_FOCUS, None)
    return row


def _open(row_idx: int) -> None:
    open_sample.open_row(row_idx)
    rerun_fragment(Fragment.SAMPLES)


def _show_page_line(view: View, page: Page) -> None:
    with st.container(key="page-line"):
        said, layout, order, size, tiles, pager = st.columns(
            [4, 3, 4, 2, 2, 5], vertical_alignment="bottom"
        )
    with said:
        figures.show_line(
            formatting.plural(page.total, "sample"), "match the filter" if view.filter else "in all"
        )
    with layout:
        url_widgets.choose_option("layout", "Show", list(Layout), view.layout, _LAYOUTS.__getitem__)
    with order:
        url_widgets.choose_option("sort", "Order", list(_SORTS), view.sort, _SORTS.__getitem__)
    with size:
        url_widgets.choose_option("size", "On a page", list(PAGE_SIZES), view.size)
    with tiles:
        url_widgets.choose_option("tiles", "Pictures", list(Tiles), view.tiles)
    with pager:
        _show_pager("above", page)


# ---- both sides of the cut -----------------------------------------------------------------------


def _show_around_cut(context: Context, view: View) -> None:
    """What the cut just keeps beside what it just drops, the nearest first."""
    cut = view.threshold(context.workspace.bands)
    with st.container(key="page-line"):
        said, layout, number, size, tiles = st.columns([6, 3, 3, 2, 2], vertical_alignment="bottom")
    with said:
        figures.show_quiet("The nearest on both sides of the cut: is it where it should be?")
    with layout:
        url_widgets.choose_option("layout", "Show", list(Layout), view.layout, _LAYOUTS.__getitem__)
    with number:
        url_widgets.choose_number("cut", "Cut: keep scores from", cut)
    with size:
        url_widgets.choose_option("size", "Each side", list(PAGE_SIZES), view.size)
    with tiles:
        url_widgets.choose_option("tiles", "Pictures", list(Tiles), view.tiles)
    reviewer.offer(view.reviewer, _SEVERAL)
    sides, focus = st.columns(2, gap="large"), _take_focus()
    for column, side in zip(sides, ("dropped", "kept"), strict=True):
        with column:
            _show_side(context, view, cut, side, focus)


def _show_side(context: Context, view: View, cut: float, side: str, focus: int | None) -> None:
    kept = side == "kept"
    limits = context.filter.visnec
    low, high = (limits.min, limits.max) if limits else (None, None)
    if kept:
        low = cut if low is None else max(low, cut)
    else:
        high = cut if high is None else min(high, cut)
    if low is not None and high is not None and low >= high:
        notices.show_empty(f"Nothing {side} here", "The filter's scores lie on the other side.")
        return
    on_side = replace(context, filter=replace(context.filter, visnec=Range(low, high)))
    sort = Sort.VISNEC_ASC if kept else Sort.VISNEC_DESC
    page = read_page_at(on_side, sort, None, view.size)
    figures.show_line(formatting.plural(page.total, "sample"), side)
    if not page.records:
        notices.show_empty(f"Nothing {side}", "Move the cut, or take a part of the filter out.")
        return
    _show_gallery(f"gallery-{side}", read_tiles(on_side, page), view, focus)


# ---- pages ---------------------------------------------------------------------------------------


def _show_pager(where: str, page: Page) -> None:
    with st.container(horizontal=True, horizontal_alignment="right", key=f"pager-{where}"):
        for label, icon, cursor in (
            ("First", ":material/first_page:", None),
            ("Previous", ":material/chevron_left:", page.previous),
            ("Next", ":material/chevron_right:", page.next),
        ):
            st.button(
                label,
                key=f"{label}-{where}",
                icon=icon,
                disabled=cursor is None and (label != "First" or page.previous is None),
                on_click=take_view,
                kwargs={"page": cursor},
            )


def _show_nothing(context: Context, view: View) -> None:
    if view.page is not None:
        notices.show_empty(
            "This page is empty", "The list has changed since the link was made; go to the first."
        )
        st.button("First page", on_click=take_view, kwargs={"page": None})
    elif context.filter:
        notices.show_empty(
            "No sample matches this filter", "Take a part of it out, or clear it above."
        )
    else:
        notices.show_empty("The dataset is empty", "There is nothing to show.")
