"""Saved subsets: save the current rule under a name, open, export and delete subsets."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import streamlit as st

from dashboard.data.context import Context, read_workspace
from dashboard.data.subsets import read_subset_size
from dashboard.pages.subset import exports
from dashboard.pages.subset.rule_choices import read_definition, uses_clusters, view_changes
from dashboard.pages.subset.try_subset import show_trial_form
from dashboard.text import formatting
from dashboard.view.state import View, change_view
from dashboard.widgets import figures, notices
from dashboard.widgets.lazy_popover import close_popover, lazy_popover
from scoring.errors import VisnecError
from scoring.rules import Ablation, Control, Mixture, RandomShare, Weights, ablation_arms
from scoring.runs.record import utc_now
from scoring.subsets.definitions import (
    SubsetDefinition,
    delete_subset,
    list_subsets,
    name_arm,
    save_subset,
)
from scoring.workspace import Workspace

_SECTION: Final = "saved subsets"
_SAVE: Final = "save form"
_ARM_MEANINGS: Final = {
    "text-loss": "highest text-only losses of each cluster",
    "multimodal-loss": "lowest multimodal losses of each cluster",
    "no-clusters": "highest scores of the whole dataset",
    "random": "random samples of the whole dataset",
    "random-per-cluster": "random samples of each cluster",
}


def show_save_form(context: Context, view: View) -> None:
    """Show a form that saves the current rule under a name."""
    with st.form("save_subset", border=False):
        left, right = st.columns([3, 2], vertical_alignment="bottom")
        typed = left.text_input("Save as", key="subset_name", max_chars=100, placeholder="name")
        with right:
            pressed = st.form_submit_button(
                "Save", icon=":material/save:", type="primary", width="stretch"
            )
        replaces = st.checkbox("Replace a subset of this name", key="subset_replace")
    name = typed.strip()
    if pressed and not name:
        notices.show_note("Type a name for this subset")
    elif pressed:
        with notices.show_problem_on_failure("The subset was not saved"):
            save_subset(context.workspace, read_definition(context, view, name), replaces)
            notices.set_message("done", f"Saved as {name}", "Listed below, ready to export.", _SAVE)
            st.rerun()
    notices.show_message(_SAVE)


def show_saved_subsets(context: Context) -> None:
    """Show the saved subsets, newest first."""
    st.subheader("Saved subsets", anchor=False)
    notices.show_message(_SECTION)
    try:
        saved = list_subsets(context.workspace)
    except VisnecError as error:
        notices.show_problem(error, "Saved subsets cannot be listed")
        return
    if not saved:
        notices.show_empty("No saved subsets", "Save a rule above under a name to export it.")
    for definition in reversed(saved):
        with st.container(border=True, key=f"saved-{definition.name}"):
            _show_subset(context, definition)


def _show_subset(context: Context, definition: SubsetDefinition) -> None:
    name = definition.name
    about, buttons = st.columns([1, 1], vertical_alignment="center")
    with about:
        try:
            n, total = read_subset_size(context, definition)
            size = f"{formatting.plural(n, 'sample')}, {formatting.share(n, total)}"
            summary = f"{definition.describe_rule()} · {size}"
        except VisnecError as error:
            summary = str(error)
        details = [f"run {definition.run_id}"]
        details += ["text-only samples included"] if definition.text_only == "keep" else []
        details += ["unscored samples included"] if definition.unscored == "keep" else []
        details += [] if definition.hand_wins else ["manual decisions ignored"]
        details += [f"saved {formatting.moment(definition.created_at)}"]
        figures.show_entry(name, summary, " · ".join(details))
    with buttons:
        _show_actions(context.workspace, definition)


@st.fragment
def _show_actions(workspace: Workspace, definition: SubsetDefinition) -> None:
    name = definition.name
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button(
            "Open",
            key=f"open-{name}",
            icon=":material/visibility:",
            on_click=_open_subset,
            args=(definition,),
            help="Sets the controls above to this rule",
        ):
            st.rerun()
        if arms := read_arms(definition):
            _show_arms(workspace, name, arms)
        show_trial_form(workspace, definition)
        exports.show_export_popover(workspace, definition, _SECTION)
        with lazy_popover(
            "", f"delete-{name}", icon=":material/delete:", tooltip="Delete this subset"
        ) as is_drawn:
            if is_drawn:
                st.text(f"Delete {name}? Its exports are kept.")
                if st.button("Delete", key=f"forget-{name}", on_click=_delete_subset, args=(name,)):
                    st.rerun()


def _open_subset(definition: SubsetDefinition) -> None:
    changes = view_changes(definition)
    if changes is not None:
        change_view(**changes)
        return
    title = f"These controls cannot show {definition.name}"
    text = f"Its rule is {definition.describe_rule()}. It can still be exported."
    notices.set_message("note", title, text, _SECTION)


def _delete_subset(name: str) -> None:
    with notices.set_message_on_failure("The subset was not deleted", _SECTION):
        delete_subset(read_workspace(), name)
        notices.set_message("done", f"Deleted {name}", "Its exports are kept.", _SECTION)


# ---- arms ----------------------------------------------------------------------------------------


def _show_arms(workspace: Workspace, name: str, arms: dict[str, SubsetDefinition]) -> None:
    """Show a button that lists the arms of a subset and saves them."""
    key = f"arms-list-{name}"
    with lazy_popover("Arms", key, icon=":material/science:") as is_drawn:
        if not is_drawn:
            return
        st.text("Subsets of the same size that show what scores and clusters contribute:")
        rows = [(arm.name, _ARM_MEANINGS.get(kind, str(arm.rule))) for kind, arm in arms.items()]
        figures.show_table(("Saved as", "Selects"), rows)
        if st.button("Save arms", key=f"arms-{name}", type="primary"):
            _save_arms(workspace, arms)
            close_popover(key)
            st.rerun()


def _save_arms(workspace: Workspace, arms: dict[str, SubsetDefinition]) -> None:
    for arm in arms.values():
        try:
            save_subset(workspace, replace(arm, created_at=utc_now()))
        except (VisnecError, OSError) as error:
            title, problem = f"The arm {arm.name} was not saved", formatting.describe_error(error)
            notices.set_message("problem", title, problem, _SECTION)
            return
    names = ", ".join(arm.name for arm in arms.values())
    notices.set_message("done", f"Saved {formatting.plural(len(arms), 'arm')}", names, _SECTION)


def read_arms(definition: SubsetDefinition) -> dict[str, SubsetDefinition]:
    """Return the arms to compare a subset with, by their kind.

    Without a clustering only those that need none; empty for a rule that is an arm or weighs.
    """
    rule = definition.rule
    is_weighting = isinstance(rule, Weights) or (isinstance(rule, Mixture) and rule.max_repeat > 1)
    if is_weighting or isinstance(rule, Ablation | Control | RandomShare):
        return {}
    return {
        kind: replace(definition, name=name_arm(definition.name, kind), rule=control)
        for kind, control in ablation_arms(rule).items()
        if definition.clustering_id is not None or not uses_clusters(control)
    }
