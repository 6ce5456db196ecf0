"""Compare: runs, such as checkpoints, or blind baselines on the same samples."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import streamlit as st

from dashboard.charts import plots
from dashboard.data.context import Context
from dashboard.data.samples import read_row_tiles
from dashboard.data.scores import read_comparison, read_other_scopes
from dashboard.pages.compare import trend_panel
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.navigation import Fragment, PageName, change_filter, go_to
from dashboard.view.state import Queue, View, current_view
from dashboard.widgets import figures, gallery, notices, page_frame
from scoring.database.filters import Range
from scoring.database.queries.compare import Comparison, flip_filter, other_name
from scoring.database.values import Scope
from scoring.necessity import CATEGORIES

_N_APART = 24
_DENSITY = "comparison"


def render() -> None:
    """Show the page."""
    _, opened = page_frame.open_page(
        "Compare",
        "Runs or blind baselines on the same samples",
        has_filter=True,
    )
    context = page_frame.require_scores(opened)
    if context is None:
        return
    if read_other_scopes(context):
        _show_comparison()
        return
    notices.show_empty(
        "Only one set of scores",
        "Score with another blind baseline or another model to compare.",
        f"visnec score -w {context.workspace.root} --model MODEL --baseline none "
        "--baseline gray --run BOTH",
    )


@page_frame.view_fragment(Fragment.FILTERED)
def _show_comparison(context: Context, view: View) -> None:
    through, other = _choose_others(context, view)
    if through:
        trend_panel.show_trend(context, view, (*through, other))
        st.subheader("A against B", anchor=False)
    comparison = read_comparison(context, other, view.share)
    if not comparison.n_both:
        notices.show_empty(
            "No sample has both scores", "Remove part of the filter, or choose another B."
        )
        return
    spearman, overlap = comparison.spearman, comparison.overlap
    figures.show_figures(
        ("Scored in both", comparison.n_both, f"of {formatting.count(comparison.n_here)} in A"),
        (
            "Rank correlation",
            formatting.ABSENT if spearman is None else f"{spearman:.3f}",
            "Spearman; 1 is the same order",
        ),
        (
            f"Overlap of the top {100 * view.share:.0f} %",
            formatting.ABSENT if overlap is None else formatting.share(overlap, 1),
            f"Jaccard; {formatting.count(comparison.n_top_both)} in both",
        ),
        (
            "Different category",
            comparison.n_flipped,
            formatting.share(comparison.n_flipped, comparison.n_both),
        ),
    )
    left, right = figures.pair_columns("compare")
    with left:
        figures.show_heading(
            "Score against score",
            "On the line both scores are equal. Arrowheads count the samples beyond the axes. Drag "
            "to filter by the score in A.",
        )
        names = formatting.scope_name(context.scope), formatting.scope_name(other)
        figure = plots.comparison_figure(
            comparison, *names, context.bands, figures.use_dark_theme()
        )
        ends = float(comparison.edges_here[0]), float(comparison.edges_here[-1])
        choose = partial(_filter_by_score, *ends)
        figures.show_chart(figure, _DENSITY, on_select=choose, selection_mode="box")
    with right:
        _show_flips(context, view, other, comparison)
    if not comparison.furthest.empty:
        _show_furthest_apart(context, view, other, comparison)


def _choose_others(context: Context, view: View) -> tuple[tuple[Scope, ...], Scope]:
    """Choose the scores B and, if there are more, those between A and B."""
    others = {other_name(scope): scope for scope in read_other_scopes(context)}

    def describe_other(key: str) -> str:
        return formatting.scope_name(others[key])

    name = view.other if view.other in others else next(iter(others))
    between = [key for key in others if key != name]
    through = [key for key in view.through if key in between]
    widths = [4, 7, 4, 3] if between else [5, 5, 3]
    first, *middle, second, share = st.columns(widths, vertical_alignment="bottom")
    with first:
        figures.show_inline_figure("A", f"{formatting.scope_name(context.scope)} (chosen above)")
    if middle:
        with middle[0]:
            url_widgets.choose_options(
                "through",
                "Between A and B",
                between,
                through,
                describe_other,
                placeholder="more runs, in order",
                help="Shows the trend from A to B over these runs, such as checkpoints",
            )
    with second:
        url_widgets.choose_option("other", "B", list(others), name, describe_other)
    with share:
        url_widgets.choose_share("share", "Top share to compare", view.share, step=5.0)
    return tuple(others[key] for key in through), others[name]


def _filter_by_score(first: float, last: float) -> None:
    """Filter by the selected scores; beyond the ends of the axis the range is open."""
    # A selection is an event: the redrawn figure forgets it, the filter keeps it.
    scores = figures.read_selected_range(st.session_state.get(_DENSITY), "x")
    if scores is not None:
        change_filter(replace(current_view().filter, visnec=open_ends(scores, first, last)))


def open_ends(scores: Range, first: float, last: float) -> Range | None:
    """Return a range without the ends that are beyond the axis; None if it has no end then."""
    low = None if scores.min is None or scores.min < first else scores.min
    high = None if scores.max is None or scores.max > last else scores.max
    return None if low is None and high is None else Range(low, high)


def _show_flips(context: Context, view: View, other: Scope, comparison: Comparison) -> None:
    """Show categories in A against categories in B; each number opens its samples."""
    figures.show_heading(
        "Categories",
        "Rows: category in A. Columns: category in B. Click a number to list its samples.",
    )
    rows: list[list[figures.Cell]] = []
    for i, here in enumerate(CATEGORIES):
        rows.append([here])
        for j, there in enumerate(CATEGORIES):
            where = flip_filter(context.filter, other, here, there)
            n = int(comparison.flips[i, j])
            rows[-1].append(
                figures.link_samples(context, view, where, n, comparison.n_both, strong=i != j)
            )
    columns = ("", *CATEGORIES)
    numbers = range(1, len(columns))
    figures.show_table(columns, rows, numbers, swatches=CATEGORIES, row_headers=True)


def _show_furthest_apart(
    context: Context, view: View, other: Scope, comparison: Comparison
) -> None:
    title, button = st.columns([5, 2], vertical_alignment="bottom")
    with title:
        figures.show_heading(
            "Furthest apart", "The samples whose ranks differ most, with their score in A and in B."
        )
    with button.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Review these", icon=":material/fact_check:"):
            go_to(PageName.REVIEW, queue=Queue.RUNS, other=other_name(other), row=None)
    frame = comparison.furthest.head(_N_APART)
    scores = dict(zip(frame["row_idx"].astype(int), frame["other_visnec"], strict=True))
    tiles = read_row_tiles(context, list(scores))
    for tile in tiles:
        score = formatting.score(float(scores[tile["row_idx"]]))
        tile["answer"] = f"B {score} · {tile['answer']}"
    opened = gallery.show_gallery("apart", tiles, size=str(view.tiles))
    if opened is not None:
        go_to(PageName.EXPLORE, sample=opened)
