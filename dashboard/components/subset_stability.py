"""How sure a subset is: on request, because every draw applies the rule anew."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard import loaders, text
from dashboard.components import bound, figures, gallery, notices
from dashboard.components.figures import Bar, Figure, Table
from dashboard.loaders import Context, StabilityFacts
from dashboard.state import MAX_DRAWS, View
from dashboard.subset_charts import inclusion_figure
from scoring.curation.subsets import SubsetDefinition
from scoring.errors import VisnecError

_LEAST_DRAWS: Final = 10
_N_SHOWN: Final = 7


def show(context: Context, view: View, definition: SubsetDefinition) -> int | None:
    """Draws the panel; returns the row of a sample that was chosen just now."""
    figures.show_quiet(
        "A score is a mean over few answer tokens, so it is known up to a standard error. The "
        "scores are redrawn many times and the rule applied to each: how often is a sample taken? "
        "Decisions by hand and samples without a score are left out of this."
    )
    known = loaders.known_stability(context, definition, view.draws)
    facts = known
    if _choose_draws(view, known is not None):
        facts = _work_out(context, view, definition)
    return None if facts is None else _show_facts(context, facts)


def _choose_draws(view: View, known: bool) -> bool:
    """Whether the figures were asked for just now."""
    with st.container(key="wrap-draws"):
        field, button, _ = st.columns([2, 2, 5], vertical_alignment="bottom")
        with field:
            bound.choose_count("draws", "Draws", view.draws, lowest=_LEAST_DRAWS, highest=MAX_DRAWS)
        return button.button(
            "Work it out",
            icon=":material/casino:",
            key="stability",
            width="stretch",
            disabled=known,
            help="Done for these choices" if known else None,
        )


def _work_out(context: Context, view: View, definition: SubsetDefinition) -> StabilityFacts | None:
    bar = st.progress(0.0, "Reading the scores …")

    def tell(done: int, total: int) -> None:
        bar.progress(done / total, f"Draw {done:,} of {total:,}; any other choice stops it")

    try:
        return loaders.read_stability(context, definition, view.draws, tell)
    except VisnecError as error:
        notices.show_problem(error, "This rule has no such figures")
        return None
    finally:
        bar.empty()


def _show_facts(context: Context, facts: StabilityFacts) -> int | None:
    _show_figures(facts)
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
    if not facts.doubtful:
        return None
    figures.show_quiet("As often in as out: these samples decide nothing, or need a person.")
    rows = list(facts.doubtful[:_N_SHOWN])
    return gallery.show("doubtful", loaders.read_row_tiles(context, rows))


def _show_figures(facts: StabilityFacts) -> None:
    from_tokens = facts.n_from_tokens
    figures.show_figures(
        [
            Figure(
                "expected overlap",
                text.share(facts.overlap, 1),
                "Jaccard, of this subset with one from redrawn scores",
            ),
            Figure(
                "firm",
                text.count(facts.n_firm),
                f"in at least 95 % of the draws; the rule takes {text.count(facts.n_taken)}",
            ),
            Figure("open", text.count(facts.n_open), "more than 5 % of the draws either way"),
            Figure(
                "redrawn from tokens",
                text.share(from_tokens, facts.n_scored),
                "the others from a normal distribution",
            ),
            Figure("draws", text.count(facts.n_draws)),
        ]
    )


def _show_sources(facts: StabilityFacts) -> None:
    frame = facts.by_source[facts.by_source["scored"] > 0]
    rows: list[list[str | Bar]] = [
        [
            str(name),
            text.count(row["taken"]),
            f"{row['expected']:,.1f}",
            text.count(row["firm"]),
            text.count(row["open"]),
        ]
        for name, row in frame.iterrows()
    ]
    columns = ("source", "taken", "mean of draws", "firm", "open")
    figures.show_table(Table(columns, rows, frozenset({1, 2, 3, 4})))
