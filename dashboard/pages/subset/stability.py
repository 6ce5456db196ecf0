"""Stability of a subset: computed on request, because every draw applies the rule again."""

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
from dashboard.widgets.figures import Figure, Table
from scoring.errors import VisnecError
from scoring.subsets.definitions import SubsetDefinition

_MIN_DRAWS: Final = 10
_N_SHOWN: Final = 7


def show_stability(context: Context, view: View, definition: SubsetDefinition) -> int | None:
    """Show the panel; return the row of a sample that was just chosen."""
    figures.show_caption(
        "Applies the rule to the scores of every other run and blind baseline, each with the noise "
        "of its dtype drawn many times. Manual decisions and unscored samples are ignored."
    )
    facts = read_known_stability(context, definition, view.draws)
    if _choose_draws(view, facts is not None):
        facts = _compute_stability(context, view, definition)
    return None if facts is None else _show_facts(context, facts)


def _choose_draws(view: View, is_known: bool) -> bool:
    """Choose the number of draws; return whether the button was just pressed."""
    with st.container(key="wrap-draws"):
        field, button, _ = st.columns([2, 2, 5], vertical_alignment="bottom")
        with field:
            url_widgets.choose_count(
                "draws", "Draws", view.draws, min_value=_MIN_DRAWS, max_value=MAX_DRAWS
            )
        return button.button(
            "Compute",
            icon=":material/casino:",
            key="stability",
            width="stretch",
            disabled=is_known,
            help="Already computed" if is_known else None,
        )


def _compute_stability(
    context: Context, view: View, definition: SubsetDefinition
) -> StabilityStats | None:
    bar = st.progress(0.0, "Reading the scores …")

    def show_progress(done: int, total: int) -> None:
        bar.progress(done / total, f"Draw {done:,} of {total:,}. Any other change stops it.")

    try:
        return read_stability(context, definition, view.draws, show_progress)
    except VisnecError as error:
        notices.show_problem(error, "No stability for this rule")
        return None
    finally:
        bar.empty()


def _show_facts(context: Context, facts: StabilityStats) -> int | None:
    count, share = formatting.count, formatting.share
    selected = f"selected in 95 % of draws or more; the rule selects {count(facts.n_taken)}"
    figures.show_figures(
        [
            Figure(
                "Expected overlap", share(facts.overlap, 1), "Jaccard, with the subset of a draw"
            ),
            Figure("Stable", count(facts.n_firm), selected),
            Figure("Uncertain", count(facts.n_open), "selected in 5 % to 95 % of draws"),
            Figure("Other scores", count(facts.n_used), "runs and blind baselines"),
            Figure("Draws", count(facts.n_draws)),
        ]
    )
    figures.show_caption(f"Based on {facts.basis}.")
    if facts.replicates:
        _show_replicates(facts)
    left, right = figures.pair_columns("stability")
    with left:
        figures.show_chart(inclusion_figure(facts.by_score, figures.use_dark_theme()), "inclusion")
    with right:
        frame = facts.by_source[facts.by_source["scored"] > 0]
        rows = [
            [
                str(name),
                count(row["taken"]),
                f"{row['expected']:,.1f}",
                count(row["firm"]),
                count(row["open"]),
            ]
            for name, row in frame.iterrows()
        ]
        columns = ("Source", "Selected", "Mean of draws", "Stable", "Uncertain")
        figures.show_table(Table(columns, rows, (1, 2, 3, 4)))
    if not facts.unsure:
        return None
    figures.show_caption("Samples selected in about half of the draws")
    tiles = read_row_tiles(context, list(facts.unsure[:_N_SHOWN]))
    return gallery.show_gallery("doubtful", tiles)


def _show_replicates(facts: StabilityStats) -> None:
    rows = [
        (
            replicate.run_id,
            formatting.BASELINE_NAMES.get(replicate.baseline, replicate.baseline),
            replicate.dtype or "unknown",
            formatting.share(replicate.coverage, 1),
            "ignored: too few"
            if replicate.overlap is None
            else formatting.share(replicate.overlap, 1),
        )
        for replicate in facts.replicates
    ]
    columns = ("Run", "Blind baseline", "Dtype", "Samples scored", "Overlap")
    figures.show_table(Table(columns, rows, (3, 4)))
