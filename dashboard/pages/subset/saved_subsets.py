"""Subsets under a name: save what is chosen, open one again, export it, forget it."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import Context, read_workspace
from dashboard.data.subsets import read_subset_size
from dashboard.pages.subset import export_panel, subset_arms
from dashboard.pages.subset.rule_choices import read_definition, view_changes
from dashboard.text import formatting
from dashboard.view.state import View, change_view
from dashboard.widgets import figures, notices
from scoring.errors import VisnecError
from scoring.subsets.definitions import SubsetDefinition, delete_subset, list_subsets, save_subset

_PLACE = subset_arms.PLACE
_SAVE = "save form"


def show_save(context: Context, view: View) -> None:
    """A form that saves the choices under a name."""
    with st.form("save_subset", border=False):
        left, right = st.columns([3, 2], vertical_alignment="bottom")
        with left:
            st.text_input("Save as", key="subset_name", max_chars=100, placeholder="a short name")
        with right:
            pressed = st.form_submit_button("Save", icon=":material/save:", width="stretch")
        st.checkbox("Replace a subset of this name", key="subset_replace")
    if pressed:
        _save(context, view)
    notices.show_remembered(_SAVE)


def _save(context: Context, view: View) -> None:
    name = str(st.session_state.get("subset_name") or "").strip()
    if not name:
        notices.show_note("A name is missing", "Type one to save these choices under.")
        return
    try:
        definition = read_definition(context, view, name)
        save_subset(context.workspace, definition, bool(st.session_state.get("subset_replace")))
    except (VisnecError, OSError) as error:
        notices.show_problem(error, "The subset was not saved")
        return
    notices.remember("done", f"Saved as {name}", "It stands below, ready to export.", _SAVE)
    st.rerun()


def show_list(context: Context) -> None:
    """The saved subsets, newest first."""
    st.subheader("Saved subsets", anchor=False)
    notices.show_remembered(_PLACE)
    try:
        saved = list_subsets(context.workspace)
    except VisnecError as error:
        notices.show_problem(error, "The saved subsets cannot be listed")
        return
    if not saved:
        notices.show_empty(
            "No subset is saved yet",
            "Choose a rule above and save it under a name; then it can be exported and repeated.",
        )
        return
    for definition in reversed(saved):
        _show_one(context, definition)


def _show_one(context: Context, definition: SubsetDefinition) -> None:
    with st.container(border=True, key=f"saved-{definition.name}"):
        said, does = st.columns([1, 1], vertical_alignment="center")
        with said:
            figures.show_named(definition.name, _summary(context, definition), _choices(definition))
        with does, st.container(horizontal=True, horizontal_alignment="right"):
            st.button(
                "Open",
                key=f"open-{definition.name}",
                icon=":material/visibility:",
                on_click=_open,
                args=(definition,),
                help="Sets the controls above to these choices",
            )
            subset_arms.show(context, definition)
            export_panel.show(context, definition, _PLACE)
            _show_delete(definition)


def _summary(context: Context, definition: SubsetDefinition) -> str:
    try:
        n, total = read_subset_size(context, definition)
    except VisnecError as error:
        return str(error)
    return f"{definition.rule} · {formatting.plural(n, 'sample')}, {formatting.share(n, total)}"


def _choices(definition: SubsetDefinition) -> str:
    parts = [f"run {definition.run_id}"]
    parts += ["text-only samples in"] if definition.text_only == "keep" else []
    parts += ["samples without a score in"] if definition.unscored == "keep" else []
    parts += [] if definition.hand_wins else ["decisions by hand left out"]
    return " · ".join([*parts, f"saved {formatting.moment(definition.created_at)}"])


def _open(definition: SubsetDefinition) -> None:
    changes = view_changes(definition)
    if changes is None:
        notices.remember(
            "note",
            f"{definition.name} cannot be shown with these controls",
            f"Its rule is {definition.rule}; it can still be exported.",
            _PLACE,
        )
        return
    change_view(**changes)


def _show_delete(definition: SubsetDefinition) -> None:
    with st.popover("", icon=":material/delete:", help="Forget this subset"):
        st.text(f"Forget {definition.name}? Its exports stay.")
        st.button(
            "Forget it", key=f"forget-{definition.name}", on_click=_forget, args=(definition.name,)
        )


def _forget(name: str) -> None:
    try:
        delete_subset(read_workspace(), name)
    except (VisnecError, OSError) as error:
        notices.remember(
            "problem", "The subset was not forgotten", formatting.describe_error(error), _PLACE
        )
        return
    notices.remember("done", f"Forgot {name}", "Its exports are still there.", _PLACE)
