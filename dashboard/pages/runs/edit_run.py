"""The scores of a run of edits, next to those of the records as imported."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import OpenedWorkspace
from dashboard.text import formatting
from dashboard.view.navigation import PageName, page_link
from dashboard.view.state import View
from dashboard.widgets import figures
from dashboard.widgets.figures import Cell, Link
from scoring.database.queries.edited_scores import ScoreChange, list_score_changes
from scoring.reviews.pinned_edits import current_edits
from scoring.runs.record import RunRecord

_SHOWN = 50


def show_scores(opened: OpenedWorkspace, record: RunRecord) -> None:
    """Show the score of each edited sample before and after its edit."""
    st.subheader("Scores of edited samples", anchor=False)
    changes = list_score_changes(opened.context.store, record) if opened.context else []
    if not changes:
        figures.show_caption("The scores appear once the results are loaded.")
        return
    current = {edit.event.event_id for edit in current_edits(opened.workspace)}
    several = len(record.baselines) > 1
    rows: list[tuple[Cell, ...]] = []
    for change in changes[:_SHOWN]:
        row_idx, baseline = change.after.row_idx, change.after.baseline
        view = View(run=change.run_before, baseline=change.run_before and baseline, sample=row_idx)
        link = Link(f"row {row_idx:,}", page_link(PageName.EXPLORE, view))
        name = formatting.BASELINE_NAMES.get(baseline, baseline)
        is_stale = change.after.event_id not in current
        rows.append(
            (
                link,
                *((name,) if several else ()),
                formatting.score(change.before),
                _describe_after(change),
                "edit replaced or undone since" if is_stale else "",
            )
        )
    names = ("Sample", *(("Baseline",) if several else ()), "Before", "After", "")
    figures.show_table(names, rows, (len(names) - 3, len(names) - 2))
    _show_notes(changes)


def _describe_after(change: ScoreChange) -> str:
    if change.after.visnec is None:
        return formatting.status_name(change.after.status)
    return formatting.score(change.after.visnec)


def _show_notes(changes: list[ScoreChange]) -> None:
    if len(changes) > _SHOWN:
        figures.show_caption(
            f"The first {_SHOWN} of {len(changes):,}; visnec edits --json lists all."
        )
    runs = sorted({change.run_before for change in changes if change.run_before is not None})
    figures.show_caption(
        f"Before: the scores of run {', '.join(runs)}, with the same model and settings."
        if runs
        else "No run of the whole dataset has this model and these settings to compare with."
    )
