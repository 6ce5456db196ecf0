"""A sample opened in Explore: in full, with its decisions, its history and samples like it."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.data.cards import Card
from dashboard.data.context import Context, open_view_context
from dashboard.data.reviews import read_decision_history, read_own_decisions
from dashboard.data.samples import (
    read_card,
    read_detail,
    read_page,
    read_page_at,
    read_record,
    read_tiles,
)
from dashboard.text import formatting
from dashboard.view.navigation import PageName, go_to, page_link
from dashboard.view.state import Key, Tiles, View, change_view, current_view
from dashboard.widgets import (
    decision_buttons,
    evaluation_panels,
    figures,
    gallery,
    notices,
    reviewer,
    sample_view,
)
from dashboard.widgets.figures import Table
from dashboard.widgets.sample_view import Action
from scoring.database.filters import Filter
from scoring.database.values import Cursor, Sort
from scoring.errors import InputError
from scoring.reviews.decision_log import DecisionEvent

_N_ALIKE = 5


def show(context: Context, view: View, row_idx: int) -> None:
    """Draws the sample, its decisions and what is like it; or says that there is no such row."""
    try:
        card = read_card(context, row_idx)
    except InputError as error:
        notices.show_problem(error, "There is no such sample")
        st.button("Back to the samples", on_click=_go_back, args=(None,))
        return
    before, behind = _neighbours(context, view.sort, card)
    _show_sample_line(card, before, behind)
    exactly = replace(view, run=context.scope.run_id, baseline=context.scope.baseline)
    sample_view.show(
        "sample",
        card,
        page_link(PageName.EXPLORE, exactly),
        before is not None,
        behind is not None,
        lambda action: _act(action, card, before, behind),
    )
    evaluation_panels.show_answers(context, row_idx)
    _show_decision(context, row_idx)
    _show_history(context, row_idx)
    _show_cluster(context, card)
    _show_record(context, row_idx)


def _act(action: Action, card: Card, before: int | None, behind: int | None) -> None:
    """What a key or a click in the sample asked for. A key pressed on a sample that is no longer
    shown does nothing."""
    if action.name == "open":
        open_row(action.row)
    elif action.row != card["row_idx"]:
        return
    elif action.name == "image":
        _list_image(card["row_idx"])
    elif action.name == "back":
        _go_back(card)
    else:
        open_row({"previous": before, "next": behind}[action.name])


def _list_image(row_idx: int) -> None:
    """All samples on an image of this one."""
    context = open_view_context(current_view()).context
    if context is not None:
        images = read_detail(context, row_idx).images
        change_view(filter=Filter(image=images), sample=None)


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
        records = read_page_at(context, sort, cursor, limit=1).records
        found.append(records[place]["row_idx"] if records else None)
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
            on_click=open_row,
            args=(before,),
            help="←",
        )
        st.button(
            "Next",
            key="sample-next",
            icon=":material/chevron_right:",
            disabled=behind is None,
            on_click=open_row,
            args=(behind,),
            help="→",
        )


def open_row(row_idx: int | None) -> None:
    """Shows a sample; for callbacks."""
    if row_idx is not None:
        change_view(sample=row_idx)


def _go_back(card: Card | None) -> None:
    """Back to the list, to the page on which the sample stands."""
    view = current_view()
    context = open_view_context(view).context
    page = view.page
    if card is not None and context is not None:
        st.session_state[Key.GALLERY_FOCUS] = card["row_idx"]
        records = read_page(context, view).records
        if card["row_idx"] not in {record["row_idx"] for record in records}:
            before, _ = _neighbours(context, view.sort, card)
            page = None if before is None else _cursor_of(context, view.sort, before)
    change_view(sample=None, page=page)


def _cursor_of(context: Context, sort: Sort, row_idx: int) -> Cursor:
    """The place right behind a sample."""
    value = read_card(context, row_idx)[_SORT_VALUES[sort]]
    return Cursor(None if value is None else float(value), row_idx)


def _show_decision(context: Context, row_idx: int) -> None:
    name: str | None = st.session_state.get(Key.REVIEWER)
    if name is None:
        with st.container(horizontal=True):
            reviewer.offer(current_view().reviewer, "Decide about this sample")
            if st.button("Review this sample", icon=":material/fact_check:"):
                go_to(PageName.REVIEW, row=row_idx)
        return
    own = read_own_decisions(context.workspace, name, [row_idx], 0)
    decision_buttons.show(row_idx, name, None, own.decided.get(row_idx))
    notices.show_remembered()


def _show_history(context: Context, row_idx: int) -> None:
    """Everything that people did to this sample; an undo takes back and erases nothing."""
    events = read_decision_history(context.workspace, row_idx)
    if not events:
        return
    taken_back = {event.undoes for event in events if event.undoes}
    with st.expander(f"History: {formatting.plural(len(events), 'entry', 'entries')}"):
        rows = [
            (
                formatting.moment(event.decided_at),
                event.reviewer,
                _deed(event) + (" (undone)" if event.event_id in taken_back else ""),
                event.note or "",
                "with others at once" if event.in_bulk else event.queue or "",
            )
            for event in events
        ]
        figures.show_table(Table(("when", "reviewer", "what", "note", "queue"), rows))


def _deed(event: DecisionEvent) -> str:
    if event.undoes:
        return "undo"
    return "note" if event.decision is None else str(event.decision)


def _show_cluster(context: Context, card: Card) -> None:
    """Samples with similar instructions, those nearest in score on both sides."""
    cluster = card["cluster_id"]
    if cluster is None:
        return
    alike = replace(context, filter=Filter(cluster=(int(cluster),)))
    before, behind = (
        read_tiles(
            alike,
            read_page_at(
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
    gallery.show("alike", [*before, *behind], None, open_row, size=str(Tiles.SMALL))


def _show_record(context: Context, row_idx: int) -> None:
    with st.expander("Raw record"):
        record = read_record(context.workspace, row_idx)
        original = record.original.decode("utf-8", "replace") or f"in {record.origin}"
        st.code(original, language=None, wrap_lines=True)
