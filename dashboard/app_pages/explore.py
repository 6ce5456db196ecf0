"""Explore: filter, sort and page through samples as pictures, and open one in full."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard import loaders, text
from dashboard.cards import Card
from dashboard.components import (
    bound,
    bulk,
    decision_buttons,
    figures,
    filter_bar,
    gallery,
    notices,
    page_frame,
    sample_view,
)
from dashboard.components.sample_view import Action
from dashboard.loaders import Context
from dashboard.navigation import PageName, go_to
from dashboard.state import (
    PAGE_SIZES,
    Key,
    Layout,
    Tiles,
    View,
    change_view,
    current_view,
    take_view,
)
from scoring.errors import InputError
from scoring.store.filters import Filter, Range
from scoring.store.values import Cursor, Page, Sort

_LAYOUTS = {Layout.PAGES: "all, page by page", Layout.CUT: "both sides of the cut"}
_N_ALIKE = 5
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


@st.fragment
def _show_samples() -> None:
    view = current_view()
    context = loaders.open_view_context(view).context
    if context is None:
        return
    if view.sample is not None:
        _show_sample(context, view, view.sample)
        return
    filter_bar.show(context)
    if view.layout is Layout.CUT:
        _show_around_cut(context, view)
    else:
        _show_page(context, view)


def _show_page(context: Context, view: View) -> None:
    page = loaders.read_page(context, view)
    _show_page_line(view, page)
    if page.rows.empty:
        _show_nothing(context, view)
        return
    _show_gallery("gallery", loaders.read_tiles(context, page), view)
    _show_pager("below", page)


def _show_gallery(key: str, tiles: list[Card], view: View) -> None:
    """Pictures to open, and, for somebody who has said who they are, to decide about."""
    focus = st.session_state.pop(Key.GALLERY_FOCUS, None)
    selecting = gallery.Selecting(bulk.take, bulk.undo, bulk.told())
    known = st.session_state.get(Key.REVIEWER) is not None
    gallery.show(key, tiles, focus, _open, selecting if known else None, view.tiles)


def _show_page_line(view: View, page: Page) -> None:
    said, layout, order, size, tiles, pager = st.columns(
        [4, 3, 4, 2, 2, 5], vertical_alignment="bottom"
    )
    with said:
        figures.show_line(
            text.plural(page.total, "sample"), "match the filter" if view.filter else "in all"
        )
    with layout:
        bound.choose("layout", "Show", list(Layout), view.layout, _LAYOUTS.__getitem__)
    with order:
        bound.choose("sort", "Order", list(_SORTS), view.sort, _SORTS.__getitem__)
    with size:
        bound.choose("size", "On a page", list(PAGE_SIZES), view.size)
    with tiles:
        bound.choose("tiles", "Pictures", list(Tiles), view.tiles)
    with pager:
        _show_pager("above", page)


# ---- both sides of the cut -----------------------------------------------------------------------


def _show_around_cut(context: Context, view: View) -> None:
    """What the cut just keeps beside what it just drops, the nearest first."""
    cut = view.threshold(context.workspace.bands)
    said, layout, number, size, tiles = st.columns([6, 3, 3, 2, 2], vertical_alignment="bottom")
    with said:
        figures.show_quiet("The nearest on both sides of the cut: is it where it should be?")
    with layout:
        bound.choose("layout", "Show", list(Layout), view.layout, _LAYOUTS.__getitem__)
    with number:
        bound.choose_number("cut", "Cut: keep scores from", cut)
    with size:
        bound.choose("size", "Each side", list(PAGE_SIZES), view.size)
    with tiles:
        bound.choose("tiles", "Pictures", list(Tiles), view.tiles)
    sides = st.columns(2, gap="large")
    for column, side in zip(sides, ("dropped", "kept"), strict=True):
        with column:
            _show_side(context, view, cut, side)


def _show_side(context: Context, view: View, cut: float, side: str) -> None:
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
    page = loaders.read_page_at(on_side, sort, None, view.size)
    figures.show_line(text.plural(page.total, "sample"), side)
    if page.rows.empty:
        notices.show_empty(f"Nothing {side}", "Move the cut, or take a part of the filter out.")
        return
    _show_gallery(f"gallery-{side}", loaders.read_tiles(on_side, page), view)


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


# ---- one sample ----------------------------------------------------------------------------------


def _show_sample(context: Context, view: View, row_idx: int) -> None:
    try:
        card = loaders.read_card(context, row_idx)
    except InputError as error:
        notices.show_problem(error, "There is no such sample")
        st.button("Back to the samples", on_click=_go_back, args=(None,))
        return
    before, behind = _neighbours(context, view.sort, card)
    _show_sample_line(card, before, behind)
    sample_view.show(
        "sample",
        card,
        before is not None,
        behind is not None,
        lambda action: _act(action, card, before, behind),
    )
    _show_decision(context, row_idx)
    _show_cluster(context, card)
    _show_record(context, row_idx)


def _act(action: Action, card: Card, before: int | None, behind: int | None) -> None:
    """What a key or a click in the sample asked for. A key pressed on a sample that is no longer
    shown does nothing."""
    if action.name == "open":
        _open(action.row)
    elif action.row != card["row_idx"]:
        return
    elif action.name == "back":
        _go_back(card)
    else:
        _open({"previous": before, "next": behind}[action.name])


_SORT_VALUES = {
    Sort.VISNEC_DESC: "visnec",
    Sort.VISNEC_ASC: "visnec",
    Sort.ROW_IDX: "row_idx",
    Sort.LOSS_TEXT_DESC: "loss_text",
    Sort.LOSS_MULTIMODAL_DESC: "loss_multimodal",
    Sort.TOKENS_DESC: "n_answer_tokens",
}


def _neighbours(context: Context, sort: Sort, card: Card) -> tuple[int | None, int | None]:
    """The samples before and behind this one in the order of the list, wherever it stands."""
    value = card[_SORT_VALUES[sort]]
    found = []
    for backward, place in ((True, -1), (False, 0)):
        cursor = Cursor(None if value is None else float(value), card["row_idx"], backward)
        rows = loaders.read_page_at(context, sort, cursor, limit=1).rows["row_idx"]
        found.append(int(rows.iloc[place]) if len(rows) else None)
    return found[0], found[1]


def _show_sample_line(card: Card, before: int | None, behind: int | None) -> None:
    with st.container(horizontal=True, key="sample_line"):
        st.button(
            "Back to the samples",
            key="sample-back",
            icon=":material/grid_view:",
            on_click=_go_back,
            args=(card,),
            help="Esc",
        )
        st.button(
            "Previous",
            key="sample-previous",
            icon=":material/chevron_left:",
            disabled=before is None,
            on_click=_open,
            args=(before,),
            help="←",
        )
        st.button(
            "Next",
            key="sample-next",
            icon=":material/chevron_right:",
            disabled=behind is None,
            on_click=_open,
            args=(behind,),
            help="→",
        )


def _open(row_idx: int | None) -> None:
    if row_idx is not None:
        change_view(sample=row_idx)


def _go_back(card: Card | None) -> None:
    """Back to the list, to the page on which the sample stands."""
    view = current_view()
    context = loaders.open_view_context(view).context
    page = view.page
    if card is not None and context is not None:
        st.session_state[Key.GALLERY_FOCUS] = card["row_idx"]
        if card["row_idx"] not in set(loaders.read_page(context, view).rows["row_idx"]):
            before, _ = _neighbours(context, view.sort, card)
            page = None if before is None else _cursor_of(context, view.sort, before)
    change_view(sample=None, page=page)


def _cursor_of(context: Context, sort: Sort, row_idx: int) -> Cursor:
    """The place right behind a sample."""
    value = loaders.read_card(context, row_idx)[_SORT_VALUES[sort]]
    return Cursor(None if value is None else float(value), row_idx)


def _show_decision(context: Context, row_idx: int) -> None:
    reviewer: str | None = st.session_state.get(Key.REVIEWER)
    if reviewer is None:
        figures.show_quiet("To decide about samples, say who you are on the Review page.")
        if st.button("Review this sample", icon=":material/fact_check:"):
            go_to(PageName.REVIEW, row=row_idx)
        return
    own = loaders.read_own_decisions(context.workspace, reviewer, [row_idx], 0)
    decision_buttons.show(row_idx, reviewer, None, own.decided.get(row_idx))
    notices.show_remembered()


def _show_cluster(context: Context, card: Card) -> None:
    """Samples with similar instructions, those nearest in score on both sides."""
    cluster = card["cluster_id"]
    if cluster is None:
        return
    alike = replace(context, filter=Filter(cluster=(int(cluster),)))
    before, behind = (
        loaders.read_tiles(
            alike,
            loaders.read_page_at(
                alike,
                Sort.VISNEC_DESC,
                Cursor(card["visnec"], card["row_idx"], backward),
                _N_ALIKE,
            ),
        )
        for backward in (True, False)
    )
    if not before and not behind:
        return
    title, button = st.columns([5, 2], vertical_alignment="bottom")
    with title:
        st.subheader("Similar instructions", anchor=False)
        figures.show_quiet(f"Nearest in score within the cluster “{card['cluster']}”")
    if button.button("Show the whole cluster", icon=":material/grid_view:", width="stretch"):
        change_view(filter=Filter(cluster=(int(cluster),)), sample=None)
        st.rerun(scope="fragment")
    gallery.show("alike", [*before, *behind], None, _open, size=str(Tiles.SMALL))


def _show_record(context: Context, row_idx: int) -> None:
    with st.expander("Raw record"):
        record = loaders.read_record(context.workspace, row_idx)
        original = record.original.decode("utf-8", "replace") or f"in {record.origin}"
        st.code(original, language=None, wrap_lines=True)
