"""An open sample in Explore: in full, with its decisions, its history and similar samples."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.data.cards import Card
from dashboard.data.context import Context, open_view_context
from dashboard.data.reviews import read_own_decisions
from dashboard.data.samples import (
    read_card,
    read_page,
    read_page_at,
    read_tiles,
    resolve_order,
)
from dashboard.frontend import assets
from dashboard.pages.explore.duplicates import show_duplicates
from dashboard.text import formatting
from dashboard.view.navigation import PageName, change_filter, go_to, page_link
from dashboard.view.state import Key, Tiles, View, change_view, current_view
from dashboard.widgets import decision_buttons, edit_form, figures, gallery, notices, reviewer
from dashboard.widgets.gallery import is_row
from scoring.database.filters import Filter
from scoring.database.queries.browse import read_column_value
from scoring.database.queries.detail import sample_detail
from scoring.database.queries.prediction_correctness import imported_answers
from scoring.database.values import ColumnSort, Cursor, Order, Sort
from scoring.dataset.records import read_sample
from scoring.errors import InputError
from scoring.reviews.decisions import decision_feed

_N_SIMILAR = 5
_MAX_ANSWER = 1000  # characters
_SORT_VALUES = {
    Sort.VISNEC_DESC: "visnec",
    Sort.VISNEC_ASC: "visnec",
    Sort.ROW_IDX: "row_idx",
    Sort.LOSS_TEXT_DESC: "loss_text",
    Sort.LOSS_MULTIMODAL_DESC: "loss_multimodal",
    Sort.TOKENS_DESC: "n_answer_tokens",
}
ACTIONS = ("previous", "next", "back", "open", "image")
_sample_view = st.components.v2.component(
    "visnec_sample_view",
    html=assets.HTML,
    css=assets.style("card"),
    js=assets.script("image_viewer", "card", "sample_view"),
)


def show_open_sample(context: Context, view: View, row_idx: int) -> None:
    """Show the sample, its decisions and similar samples, or that there is no such row."""
    try:
        card = read_card(context, row_idx)
    except InputError as error:
        notices.show_problem(error, "No such sample")
        st.button("Back to the list", on_click=_close_sample, args=(None,))
        return
    neighbours = _read_neighbours(context, view.sort, card)
    with st.container(horizontal=True, key="sample_line"):
        st.button(
            "Back to the list",
            key="sample-back",
            icon=":material/grid_view:",
            on_click=_close_sample,
            args=(card,),
            help="Esc",
        )
        for name, icon, key in (("previous", "left", "←"), ("next", "right", "→")):
            st.button(
                name.capitalize(),
                key=f"sample-{name}",
                icon=f":material/chevron_{icon}:",
                disabled=neighbours[name] is None,
                on_click=open_row,
                args=(neighbours[name],),
                help=key,
            )
    exact_view = replace(view, run=context.scope.run_id, baseline=context.scope.baseline)
    record = read_sample(context.workspace, row_idx)
    original = record.original.decode("utf-8", "replace") or f"stored in {record.origin}"
    _show_card(card, page_link(PageName.EXPLORE, exact_view), original, neighbours)
    _show_imported_answers(context, row_idx, card["n_turns"])
    reviewer_name: str | None = st.session_state.get(Key.REVIEWER)
    if reviewer_name is None:
        with st.container(horizontal=True):
            reviewer.show_name_button(current_view().reviewer, "Keep or drop this sample")
            if st.button("Review this sample", icon=":material/fact_check:"):
                go_to(PageName.REVIEW, row=row_idx)
    else:
        own = read_own_decisions(context.workspace, reviewer_name, [row_idx], 0)
        decision_buttons.show_buttons(row_idx, reviewer_name, own.decided.get(row_idx))
        edit_form.show_edit_button(context, row_idx, reviewer_name)
        notices.show_message()
    show_duplicates(card)
    _show_history(context, row_idx)
    if card["cluster_id"] is not None:
        _show_cluster(context, card)


def _show_card(card: Card, link: str, record: str, neighbours: dict[str, int | None]) -> None:
    """Show the sample; keys and clicks in the browser become actions here."""

    def handle_change() -> None:
        action, row = read_action((st.session_state.get("sample") or {}).get("action"))
        if action == "open":
            open_row(row)
        elif row != card["row_idx"]:
            return  # a key that was meant for a sample shown before
        elif action == "image":
            context = open_view_context(current_view()).context
            if context is not None:
                images = sample_detail(context.store, context.scope, card["row_idx"]).images
                change_filter(Filter(image=images), sample=None)
        elif action == "back":
            _close_sample(card)
        else:
            open_row(neighbours[action])

    present = {name: row is not None for name, row in neighbours.items()}
    data = {"card": card, "link": link, "record": record, **present}
    _sample_view(key="sample", data=data, on_action_change=handle_change)


def read_action(value: object) -> tuple[str, int | None]:
    """Return the action that the browser sent, and the row to open or the one that was shown.

    The row is None for an invalid action.
    """
    if not isinstance(value, dict) or value.get("action") not in ACTIONS:
        return "", None
    row = value.get("row")
    return value["action"], row if is_row(row) else None


def _make_cursor(context: Context, card: Card, sort: Order, backward: bool = False) -> Cursor:
    """Return the position in the list right after a sample, or before it."""
    if isinstance(sort, ColumnSort):
        value = read_column_value(context.store, sort.column, card["row_idx"])
    else:
        value = card[_SORT_VALUES[sort]]
    return Cursor(None if value is None else float(value), card["row_idx"], backward)


def _read_neighbours(context: Context, sort: Order, card: Card) -> dict[str, int | None]:
    """Return the rows before and after this sample in the list, even if it is not in the list."""
    after = _make_cursor(context, card, sort)
    before_records = read_page_at(context, sort, replace(after, backward=True), limit=1).records
    after_records = read_page_at(context, sort, after, limit=1).records
    return {
        "previous": before_records[-1]["row_idx"] if before_records else None,
        "next": after_records[0]["row_idx"] if after_records else None,
    }


def open_row(row_idx: int | None) -> None:
    """Open a sample; for callbacks."""
    if row_idx is not None:
        change_view(sample=row_idx)


def _close_sample(card: Card | None) -> None:
    """Go back to the page of the list that contains the sample."""
    view = current_view()
    context = open_view_context(view).context
    page = view.page
    if card is not None and context is not None:
        view, _ = resolve_order(context, view)
        st.session_state[Key.GALLERY_FOCUS] = card["row_idx"]
        listed = {record["row_idx"] for record in read_page(context, view).records}
        if card["row_idx"] not in listed:
            previous_row = _read_neighbours(context, view.sort, card)["previous"]
            page = None
            if previous_row is not None:
                page = _make_cursor(context, read_card(context, previous_row), view.sort)
    change_view(sample=None, page=page)


def _show_imported_answers(context: Context, row_idx: int, n_turns: int) -> None:
    """Show what imported models predicted for the sample, if any."""
    rows = []
    for row in imported_answers(context.store, row_idx).to_dict("records"):
        match = "identical" if row["exact"] else f"token F1 {row['f1']:.2f}"
        if row["letter"] is not None:
            match = "same choice" if row["letter"] else "different choice"
        sight = formatting.SIGHT_NAMES.get(str(row["sight"]), str(row["sight"]))
        turn = formatting.turn_numbers([int(row["turn"])], n_turns)
        prediction = str(row["prediction"])[:_MAX_ANSWER]
        rows.append((turn or "", str(row["model"]), sight, prediction, match))
    if rows:
        st.subheader("Predictions of other models", anchor=False)
        columns = ("Turn", "Model", "Input", "Prediction", "Against the reference")
        hidden = 0 if n_turns > 1 else 1
        figures.show_table(columns[hidden:], [row[hidden:] for row in rows])


def _show_history(context: Context, row_idx: int) -> None:
    """Show all events about this sample, undone ones included."""
    feed = decision_feed(context.workspace)
    events = feed.query_state(lambda state: state.list_history(row_idx))
    if not events:
        return
    with st.expander(f"History: {formatting.plural(len(events), 'entry', 'entries')}"):
        rows = [
            (
                formatting.moment(event.decided_at),
                event.reviewer,
                (
                    "undo"
                    if event.undoes
                    else "edit"
                    if event.edit
                    else str(event.decision or "note")
                )
                + (" (undone)" if is_undone else ""),
                event.note or "",
                "bulk decision" if event.in_bulk else event.queue or "",
            )
            for event, is_undone in events
        ]
        figures.show_table(("When", "Reviewer", "What", "Note", "Queue"), rows)


def _show_cluster(context: Context, card: Card) -> None:
    """Show samples with similar instructions, those nearest in score on both sides."""
    similar = replace(context, filter=Filter(cluster=(int(card["cluster_id"]),)))
    sort = Sort.VISNEC_DESC
    tiles: list[Card] = []
    for backward in (True, False):
        cursor = _make_cursor(context, card, sort, backward)
        tiles += read_tiles(similar, read_page_at(similar, sort, cursor, _N_SIMILAR))
    if not tiles:
        return
    title, button = st.columns([5, 2], vertical_alignment="bottom")
    with title:
        remark = f"Nearest scores in the cluster “{card['cluster']}”"
        figures.show_heading("Similar instructions", remark)
    with button.container(horizontal=True, horizontal_alignment="right"):
        st.button(
            "Show the whole cluster",
            icon=":material/grid_view:",
            on_click=change_filter,
            args=(similar.filter,),
            kwargs={"sample": None},
        )
    gallery.show_gallery("alike", tiles, open_row, size=str(Tiles.SMALL))
