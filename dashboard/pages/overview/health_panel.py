"""Score health: what was not scored, and how many categories may change. Rows filter."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.scores import read_health
from dashboard.text import formatting
from dashboard.view.state import change_view, current_view
from dashboard.widgets import breakdown, figures
from scoring.database.filters import Filter, Range
from scoring.database.queries.health import ScoreHealth
from scoring.precision import UNKNOWN
from scoring.samples import Status


@dataclass(frozen=True, slots=True)
class _Row:
    """One line: what is counted, among how many, and the filter that shows it, if any does."""

    key: str
    name: str
    n: int
    among: int
    about: str
    which: Filter | None


def show(context: Context) -> None:
    """Draws both tables; choosing a row puts it into the filter, or takes it out again."""
    health = read_health(context)
    st.subheader("Statuses", anchor=False)
    _show_rows("statuses", "Samples by status", "status", _statuses(health), context.filter)
    st.subheader("Score health", anchor=False)
    figures.show_quiet(
        f"Noise of a score: {health.noise or UNKNOWN}. A score that close to a band limit may be "
        "on the other side of it by rounding alone."
    )
    _show_rows(
        "health", "How far the scores hold", "scores that …", _health(health), context.filter
    )


def _show_rows(key: str, label: str, name: str, rows: list[_Row], which: Filter) -> None:
    shown = [
        {
            "key": one.key,
            "name": one.name,
            "n": one.n,
            "share": one.n / one.among if one.among else None,
            "about": one.about,
            "opens": one.which is not None,
        }
        for one in rows
    ]
    chosen = breakdown.show(
        key,
        label,
        name,
        shown,
        chosen=[one.key for one in rows if one.which and _holds(which, one.which)],
        action="only these samples, or take them out of the filter",
    )
    wanted = next((one for one in rows if one.key == chosen), None)
    if wanted is not None and wanted.which is not None:
        change_view(filter=toggled(current_view().filter, wanted.which))
        st.rerun(scope="fragment")


def toggled(which: Filter, part: Filter) -> Filter:
    """The filter with the one part that ``part`` sets, or without it where it was so already."""
    name = next(name for name in _PARTS if getattr(part, name) != getattr(_NOTHING, name))
    value = getattr(_NOTHING if _holds(which, part) else part, name)
    return replace(which, **{name: value})


_PARTS = ("status", "content", "certainty", "baselines")
_NOTHING = Filter()


def _holds(which: Filter, part: Filter) -> bool:
    return all(
        getattr(which, name) == getattr(part, name)
        for name in _PARTS
        if getattr(part, name) != getattr(_NOTHING, name)
    )


def _statuses(health: ScoreHealth) -> list[_Row]:
    total = sum(health.statuses.values())
    return [
        _Row(
            status,
            formatting.status_name(status),
            n,
            total,
            formatting.STATUS_MEANINGS.get(Status(status), "") if status in list(Status) else "",
            Filter(status=(Status(status),)),
        )
        for status, n in health.statuses.items()
    ]


def _health(health: ScoreHealth) -> list[_Row]:
    scored = health.n_scored
    rows = [
        _Row(
            "one",
            "have one content token",
            health.n_one_token,
            scored,
            "nothing averages out",
            Filter(content=Range(1, 2)),
        ),
        # No part of a filter tells these apart.
        _Row(
            "truncated",
            "were cut to fit",
            health.n_truncated,
            scored,
            "what stood further behind was not scored",
            None,
        ),
    ]
    if health.n_undecided is not None:
        rows.insert(
            0,
            _Row(
                "undecided",
                "may be rounding",
                health.n_undecided,
                scored,
                "within the noise of a band limit",
                Filter(certainty=("undecided",)),
            ),
        )
    if health.n_compared:
        rows.append(
            _Row(
                "baselines",
                "depend on the baseline",
                health.n_differing,
                health.n_compared,
                "another category by another blind baseline",
                Filter(baselines=("differ",)),
            )
        )
    return rows
