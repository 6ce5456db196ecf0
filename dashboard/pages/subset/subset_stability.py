"""How sure a subset is: on request, because every draw applies the rule anew."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard.charts.subset_charts import inclusion_figure
from dashboard.data.context import Context
from dashboard.data.samples import read_row_tiles
from dashboard.data.subsets import StabilityStats, read_known_stability, read_stability
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.state import MAX_DRAWS, View
from dashboard.widgets import figures, gallery, notices
from dashboard.widgets.figures import Bar, Figure, Table
from scoring.errors import VisnecError
from scoring.subsets.definitions import SubsetDefinition

_LEAST_DRAWS: Final = 10
_N_SHOWN: Final = 7


def show(context: Context, view: View, definition: SubsetDefinition) -> int | None:
    """Draws the panel; returns the row of a sample that was chosen just now."""
    figures.show_quiet(
        "Would the rule take the same samples by other scores? It is applied to the scores of "
        "every other run and blind baseline of this workspace, each with the noise of its dtype "
        "drawn many times. Manual decisions and samples without a score are left out of this."
    )
    known = read_known_stability(context, definition, view.draws)
    facts = known
    if _choose_draws(view, known is not None):
        facts = _work_out(context, view, definition)
    return None if facts is None else _show_facts(context, facts)


def _choose_draws(view: View, known: bool) -> bool:
    """Whether the figures were asked for just now."""
    with st.container(key="wrap-draws"):
        field, button, _ = st.columns([2, 2, 5], vertical_alignment="bottom")
        with field:
            url_widgets.choose_count(
                "draws", "Draws", view.draws, lowest=_LEAST_DRAWS, highest=MAX_DRAWS
            )
        return button.button(
            "Work it out",
            icon=":material/casino:",
            key="stability",
            width="stretch",
            disabled=known,
            help="Done for these choices" if known else None,
        )


def _work_out(context: Context, view: View, definition: SubsetDefinition) -> StabilityStats | None:
    bar = st.progress(0.0, "Reading the scores …")

    def tell(done: int, total: int) -> None:
        bar.progress(done / total, f"Draw {done:,} of {total:,}; any other choice stops it")

    try:
        return read_stability(context, definition, view.draws, tell)
    except VisnecError as error:
        notices.show_problem(error, "This rule has no such figures")
        return None
    finally:
        bar.empty()


def _show_facts(context: Context, facts: StabilityStats) -> int | None:
    _show_figures(facts)
    _show_replicates(facts)
    with st.container(key="pair-stability"):
        left, right = st.columns([6, 5], gap="large")
        with left:
            st.plotly_chart(
                inclusion_figure(facts.by_score, st.context.theme.type == "dark"),
                theme="streamlit",
                config={"displayModeBar": False, "scrollZoom": False},
                key="inclusion",
            )
        with right:
            _show_sources(facts)
    if not facts.unsure:
        return None
    figures.show_quiet("As often in as out: these samples decide nothing, or need a person.")
    rows = list(facts.unsure[:_N_SHOWN])
    return gallery.show("doubtful", read_row_tiles(context, rows))


def _show_figures(facts: StabilityStats) -> None:
    figures.show_figures(
        [
            Figure(
                "expected overlap",
                formatting.share(facts.overlap, 1),
                "Jaccard, of this subset with that of a draw",
            ),
            Figure(
                "firm",
                formatting.count(facts.n_firm),
                f"taken with at least 95 %; the rule takes {formatting.count(facts.n_taken)}",
            ),
            Figure("open", formatting.count(facts.n_open), "taken with 5 % to 95 %"),
            Figure("other scores", formatting.count(facts.n_used), "runs and blind baselines"),
            Figure("draws", formatting.count(facts.n_draws)),
        ]
    )
    figures.show_quiet(f"Judged by {facts.basis}.")


def _show_replicates(facts: StabilityStats) -> None:
    if not facts.replicates:
        return
    rows = [
        (
            one.run_id,
            formatting.BASELINE_NAMES.get(one.baseline, one.baseline),
            one.dtype or "unknown",
            formatting.share(one.coverage, 1),
            "left out: too few" if one.overlap is None else formatting.share(one.overlap, 1),
        )
        for one in facts.replicates
    ]
    columns = ("run", "blind baseline", "dtype", "scores of these", "overlap")
    figures.show_table(Table(columns, rows, frozenset({3, 4})))


def _show_sources(facts: StabilityStats) -> None:
    frame = facts.by_source[facts.by_source["scored"] > 0]
    rows: list[list[str | Bar]] = [
        [
            str(name),
            formatting.count(row["taken"]),
            f"{row['expected']:,.1f}",
            formatting.count(row["firm"]),
            formatting.count(row["open"]),
        ]
        for name, row in frame.iterrows()
    ]
    columns = ("source", "taken", "mean", "firm", "open")
    figures.show_table(Table(columns, rows, frozenset({1, 2, 3, 4})))
