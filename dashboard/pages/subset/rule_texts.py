"""Fields for what is typed as text: the filter of a subset and the sum that its rule ranks by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import streamlit as st

from dashboard.pages.subset.rule_choices import has_ranking
from dashboard.view import url_widgets
from dashboard.view.parameters import read_conditions
from dashboard.view.state import NORMALISATIONS, RuleKind, View, change_view
from dashboard.widgets import notices
from scoring.database.filters import EVERYTHING
from scoring.errors import InputError
from scoring.rules.combination import EXAMPLE, format_combination, parse_combination
from scoring.subsets.rule_inputs import parse_pinned_filter

_SCALES: Final = {"z": "Mean 0, standard deviation 1", "rank": "Rank from 0 to 1"}


def show_filter(view: View) -> None:
    """Show the filter inside which the rule selects; a valid one goes into the view."""
    _show_text(
        "where",
        str(view.where),
        parse_pinned_filter,
        EVERYTHING,
        label="Only samples that match",
        placeholder='all, or a filter such as source:coco col:clip>0.3 text:"what colour"',
        help="The rule selects from these, so shares and numbers are of these. Samples that do not "
        "match are kept only by a manual decision.",
    )


def show_texts(view: View, kind: RuleKind) -> None:
    """Show the options of a rule that are typed: its conditions, or what it ranks by."""
    if kind is RuleKind.FILTER:
        for field, label in (("all_of", "Match all of"), ("any_of", "Match at least one of")):
            _show_text(
                field,
                "\n".join(getattr(view, field)),
                read_conditions,
                (),
                st.text_area,
                label=label,
                placeholder="visnec>=0.25 col:clip>=0.3",
                help="One filter a line; a sample has to match all parts of a line.",
                height=80,
            )
    if has_ranking(view, kind):
        _show_ranking(view)


def _show_ranking(view: View) -> None:
    _show_text(
        "rank_by",
        view.rank_by or "",
        lambda text: format_combination(parse_combination(text)),
        None,
        label="Rank by",
        placeholder=f"the score, or a sum such as {EXAMPLE}",
        help="Scores, losses and imported columns of numbers, each normalised. Samples without a "
        "value for one of them are not ranked.",
    )
    if view.rank_by is not None:
        names = _SCALES.__getitem__
        url_widgets.choose_option(
            "normalise", "Scale of each term", list(NORMALISATIONS), view.normalise, names
        )


def _show_text(
    field: str,
    value: str,
    parse: Callable[[str], Any],
    empty: object,
    show: Callable[..., Any] = st.text_input,
    **options: Any,
) -> None:
    """Show a field of text for a field of the view; an invalid text stays to be corrected."""
    name = f"subset.{field}"
    problem = st.session_state.get(f"{name}.problem")

    def change() -> None:
        text = str(url_widgets.consume_value(name)).strip()
        st.session_state[f"{name}.problem"] = None
        try:
            change_view(**{field: parse(text) if text else empty})
        except InputError as error:
            st.session_state[f"{name}.problem"] = str(error)

    typed = url_widgets.current_value(name) if problem else None
    bound = url_widgets.bind_widget(name, value if typed is None else typed, change)
    show(max_chars=1000, **options, **bound)
    if problem:
        notices.show_problem(InputError(problem), "Not valid")
