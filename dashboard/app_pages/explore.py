"""Explore: filter, sort and page through samples as pictures, and open one in full."""

from __future__ import annotations

import streamlit as st

from dashboard import loaders, text
from dashboard.components import (
    bound,
    decision_buttons,
    figures,
    filter_bar,
    gallery,
    notices,
    page_frame,
    sample_view,
)
from dashboard.loaders import Context
from dashboard.navigation import PageName, go_to
from dashboard.state import View, change_view, current_view
from scoring.errors import InputError
from scoring.store.values import Cursor, Page, Sort

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
    page = loaders.read_page(context, view)
    _show_page_line(view, page)
    if page.rows.empty:
        _show_nothing(context, view)
        return
    tiles = loaders.read_tiles(context, page)
    opened = gallery.show("gallery", tiles, st.session_state.pop("explore.focus", None))
    if opened is not None:
        change_view(sample=opened)
        st.rerun(scope="fragment")
    _show_pager("below", page)


def _show_page_line(view: View, page: Page) -> None:
    left, middle, right = st.columns([4, 3, 3], vertical_alignment="bottom")
    with left:
        figures.show_quiet(f"{text.plural(page.total, 'sample')} under this filter")
    with middle:
        bound.choose("sort", "Order", list(_SORTS), view.sort, _SORTS.__getitem__)
    with right:
        _show_pager("above", page)


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
                on_click=change_view,
                kwargs={"page": cursor},
            )


def _show_nothing(context: Context, view: View) -> None:
    if view.page is not None:
        notices.show_empty(
            "This page is empty", "The list has changed since the link was made; go to the first."
        )
        st.button("First page", on_click=change_view, kwargs={"page": None})
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
    before, behind = _neighbours(context, view, row_idx)
    _show_sample_line(row_idx, before, behind)
    action = sample_view.show("sample", card, before is not None, behind is not None)
    if action is not None:
        target = {"previous": before, "next": behind, "open": action.row}.get(action.name)
        if action.name == "back":
            _go_back(row_idx)
        elif target is not None and action.row in (row_idx, target):
            _open(target)
        st.rerun(scope="fragment")
    _show_decision(context, view, row_idx)
    _show_record(context, row_idx)


def _neighbours(context: Context, view: View, row_idx: int) -> tuple[int | None, int | None]:
    """The samples before and behind this one in the order of the list, across its pages."""
    page = loaders.read_page(context, view)
    rows = [int(row) for row in page.rows["row_idx"]]
    if row_idx not in rows:
        return None, rows[0] if rows else None
    at = rows.index(row_idx)
    before = rows[at - 1] if at > 0 else _edge(context, view, page.previous, -1)
    behind = rows[at + 1] if at + 1 < len(rows) else _edge(context, view, page.next, 0)
    return before, behind


def _edge(context: Context, view: View, cursor: Cursor | None, place: int) -> int | None:
    """The first or last sample of a neighbouring page."""
    if cursor is None:
        return None
    rows = loaders.read_page_at(context, view.sort, cursor).rows["row_idx"]
    return int(rows.iloc[place]) if len(rows) else None


def _show_sample_line(row_idx: int, before: int | None, behind: int | None) -> None:
    with st.container(horizontal=True, key="sample_line"):
        st.button(
            "Back to the samples",
            key="sample-back",
            icon=":material/grid_view:",
            on_click=_go_back,
            args=(row_idx,),
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
    """Opens a sample; where it stands on a neighbouring page, that page comes with it."""
    if row_idx is None:
        return
    view = current_view()
    context = loaders.open_view_context(view).context
    changes: dict[str, object] = {"sample": row_idx}
    if context is not None:
        page = loaders.read_page(context, view)
        for cursor in (page.previous, page.next):
            if row_idx in set(page.rows["row_idx"]):
                break
            if cursor is None:
                continue
            beside = loaders.read_page_at(context, view.sort, cursor)
            if row_idx in set(beside.rows["row_idx"]):
                changes["page"] = cursor
    change_view(**changes)


def _go_back(row_idx: int | None) -> None:
    st.session_state["explore.focus"] = row_idx
    change_view(sample=None)


def _show_decision(context: Context, view: View, row_idx: int) -> None:
    if view.reviewer is None:
        figures.show_quiet("To decide about samples, say who you are on the Review page.")
        if st.button("Review this sample", icon=":material/fact_check:"):
            go_to(PageName.REVIEW, sample=row_idx)
        return
    own = loaders.read_own_decisions(context.workspace, view.reviewer, [row_idx], 0)
    notices.show_remembered()
    decision_buttons.show(row_idx, view.reviewer, None, own.decided.get(row_idx))


def _show_record(context: Context, row_idx: int) -> None:
    with st.expander("Raw record"):
        original = loaders.read_record(context.workspace, row_idx).original
        st.code(original.decode("utf-8", "replace"), language=None, wrap_lines=True)
