"""Statuses and score health as tables whose rows filter the page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.scores import read_health, read_run_image_use, read_scorer_fit
from dashboard.text import formatting
from dashboard.view.navigation import change_filter
from dashboard.view.state import current_view
from dashboard.widgets import breakdown, figures, notices
from scoring.database.filters import Filter, Range
from scoring.database.queries.image_use import describe_image_use, find_image_problem
from scoring.database.queries.scorer_fit import TRAINING_NOTE, find_fit_problem
from scoring.precision import UNKNOWN
from scoring.samples import Status

_BASELINES = {key: f"“{name}”" for key, name in formatting.BASELINE_NAMES.items()}


@dataclass(frozen=True, slots=True)
class _Row:
    """A count out of a total, with the field and value of the filter that shows these samples.

    No filter shows a row with an empty ``field``.
    """

    name: str
    n: int
    total: int
    about: str
    field: str = ""
    value: Any = None


def show_health(context: Context) -> None:
    """Show both tables; choosing a row adds it to the filter, or removes it."""
    health = read_health(context)
    name, meaning = formatting.status_name, formatting.status_meaning
    total, scored = sum(health.statuses.values()), health.n_scored
    st.subheader("Statuses", anchor=False)
    rows = [
        _Row(name(status), n, total, meaning(status), "status", (Status(status),))
        for status, n in health.statuses.items()
    ]
    _show_rows("statuses", "Samples by status", "Status", rows, context.filter)
    figures.show_heading(
        "Score health",
        f"Noise of a score: {health.noise or UNKNOWN}. Rounding can change the category of a score "
        "this close to a band limit.",
    )
    fit = read_scorer_fit(context.without_filter())
    if fit is not None and (problem := find_fit_problem(fit)):
        notices.show_note("This model may not be fit for the task", problem)
    use = read_run_image_use(context)
    if problem := find_image_problem(use, _BASELINES):
        notices.show_notice("problem", "", problem)
    figures.show_caption(f"{describe_image_use(use, _BASELINES)}. {TRAINING_NOTE}")
    rows = []
    if (n := health.n_undecided) is not None:
        noise = "within the noise"
        rows.append(_Row("near a band limit", n, scored, noise, "certainty", ("undecided",)))
    n, one_token = health.n_one_token, Range(1, 2)
    rows.append(_Row("single content token", n, scored, "not averaged", "content", one_token))
    # No filter selects truncated samples.
    rows.append(_Row("truncated", health.n_truncated, scored, "the rest was not scored"))
    if n_all := health.n_compared:
        n, about = health.n_differing, "another category with another baseline"
        rows.append(_Row("baseline-dependent", n, n_all, about, "baselines", ("differ",)))
    _show_rows("health", "Score health", "Scores", rows, context.filter)


def _show_rows(key: str, label: str, name: str, rows: list[_Row], current: Filter) -> None:
    def choose_row(name: str) -> None:
        row = next((row for row in rows if row.name == name), None)
        if row is not None and row.field:
            change_filter(toggle_value(current_view().filter, row.field, row.value))

    table = [
        {
            "key": row.name,
            "name": row.name,
            "n": row.n,
            "share": row.n / row.total if row.total else None,
            "about": row.about,
            "opens": bool(row.field),
        }
        for row in rows
    ]
    chosen = [row.name for row in rows if row.field and getattr(current, row.field) == row.value]
    breakdown.show_breakdown(key, label, name, table, choose_row=choose_row, chosen=chosen)


def toggle_value(current: Filter, field: str, value: Any) -> Filter:
    """Return the filter with ``value`` in a field, or with the field empty if it had that value."""
    is_set = getattr(current, field) == value
    return replace(current, **{field: getattr(Filter(), field) if is_set else value})
