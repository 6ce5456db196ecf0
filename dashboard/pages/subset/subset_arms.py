"""Arms to compare a subset with, saved beside it with one click."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import streamlit as st

from dashboard.data.context import Context
from dashboard.pages.subset.rule_choices import uses_clusters
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Bar, Table
from scoring.errors import VisnecError
from scoring.rules import Ablation, Control, RandomShare, WeightingRule, ablation_arms
from scoring.runs.record import utc_now
from scoring.subsets.definitions import SubsetDefinition, save_subset

PLACE: Final = "saved subsets"
_MEANINGS: Final = {
    "text-loss": "highest text-only losses of each cluster",
    "multimodal-loss": "lowest multimodal losses of each cluster",
    "no-clusters": "highest scores of the whole dataset",
    "random": "a random part of the whole dataset",
    "random-per-cluster": "a random part of each cluster",
}


def show(context: Context, definition: SubsetDefinition) -> None:
    """A button that unfolds what the arms are and saves them; nothing for what is an arm itself."""
    arms = read_arms(definition)
    if not arms:
        return
    with st.popover("Arms", icon=":material/science:"):
        st.text("Subsets of the same size, to show in training what the scores and clusters do:")
        rows: list[list[str | Bar]] = [
            [one.name, _MEANINGS.get(arm, str(one.rule))] for arm, one in arms.items()
        ]
        figures.show_table(Table(("saved as", "takes instead"), rows))
        st.button(
            "Save the arms",
            key=f"arms-{definition.name}",
            type="primary",
            on_click=_save,
            args=(context, arms),
        )


def read_arms(definition: SubsetDefinition) -> dict[str, SubsetDefinition]:
    """The arms of a subset by what they are, with its choices; without a clustering only those
    that need none. Empty for a rule that is an arm itself or weighs."""
    rule = definition.rule
    if isinstance(rule, Ablation | Control | RandomShare | WeightingRule):
        return {}
    return {
        arm: replace(definition, name=f"{definition.name[:80]}-{arm}", rule=control)
        for arm, control in ablation_arms(rule).items()
        if definition.clustering_id is not None or not uses_clusters(control)
    }


def _save(context: Context, arms: dict[str, SubsetDefinition]) -> None:
    saved = []
    for arm in arms.values():
        try:
            save_subset(context.workspace, replace(arm, created_at=utc_now()))
        except (VisnecError, OSError) as error:
            notices.remember(
                "problem",
                f"The arm {arm.name} was not saved",
                formatting.describe_error(error),
                PLACE,
            )
            return
        saved.append(arm.name)
    notices.remember(
        "done", f"Saved {formatting.plural(len(saved), 'arm')}", ", ".join(saved), PLACE
    )
