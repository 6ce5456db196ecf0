"""Compare: two runs, or two blind baselines, over the same samples."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import streamlit as st

from dashboard.charts import score_charts
from dashboard.data.context import Context, open_view_context
from dashboard.data.samples import read_row_tiles
from dashboard.data.scores import read_comparison, read_other_scopes
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.navigation import PageName, go_to, page_link
from dashboard.view.state import Queue, View, change_view, current_view
from dashboard.widgets import figures, filter_bar, gallery, notices, page_frame, plane_panel
from dashboard.widgets.figures import Figure
from scoring.database.queries.compare import CATEGORIES, Comparison, flip_filter, other_name
from scoring.database.values import Scope

_N_APART = 24
_DENSITY = "comparison"


def render() -> None:
    """The page."""
    _, opened = page_frame.open_page(
        "Compare", "Where two runs, or two blind baselines, see the same samples differently"
    )
    context = page_frame.require_scores(opened, "Comparing")
    if context is None:
        return
    if not read_other_scopes(context):
        notices.show_empty(
            "There is only one set of scores",
            "Score with another blind baseline or with another model, and the two stand side by "
            "side here.",
            f"visnec score -w {context.workspace.root} --model MODEL --baseline none "
            "--baseline gray --run BOTH",
        )
        return
    _show_comparison()


@st.fragment
def _show_comparison() -> None:
    view = current_view()
    context = open_view_context(view).context
    if context is None:
        return
    filter_bar.show_strip(context, "All samples that have a score here and there.")
    other = _choose(context, view)
    found = read_comparison(context, other, view.share)
    if not found.n_both:
        notices.show_empty(
            "No sample has a score in both", "Take a part of the filter out, or compare others."
        )
        return
    _show_figures(found, view)
    with st.container(key="pair-compare"):
        left, right = st.columns([6, 5], gap="large")
        with left:
            _show_density(context, other, found)
        with right:
            _show_flips(context, view, other, found)
    _show_apart(context, view, other, found)


def _choose(context: Context, view: View) -> Scope:
    others = {other_name(one): one for one in read_other_scopes(context)}
    name = view.other if view.other in others else next(iter(others))
    here, there, share = st.columns([5, 5, 3], vertical_alignment="bottom")
    with here:
        figures.show_line(_named(context.scope), "here, chosen above")
    with there:
        url_widgets.choose_option(
            "other", "With", list(others), name, lambda one: _named(others[one])
        )
    with share:
        url_widgets.choose_number(
            "share",
            "Overlap of the top share",
            view.share,
            step=0.05,
            lowest=0.01,
            highest=1.0,
            digits="%.2f",
        )
    return others[name]


def _named(scope: Scope) -> str:
    return f"{scope.run_id} · {formatting.BASELINE_NAMES.get(scope.baseline, scope.baseline)}"


def _show_figures(found: Comparison, view: View) -> None:
    flipped = found.n_flipped
    figures.show_figures(
        [
            Figure(
                "scored in both",
                formatting.count(found.n_both),
                f"of {formatting.count(found.n_here)} here",
            ),
            Figure(
                "rank correlation",
                formatting.ABSENT if found.spearman is None else f"{found.spearman:.3f}",
                "Spearman; 1 is the same order",
            ),
            Figure(
                f"top {100 * view.share:.0f} % in common",
                formatting.ABSENT if found.overlap is None else f"{100 * found.overlap:.1f} %",
                f"Jaccard; {formatting.count(found.n_top_both)} in both tops",
            ),
            Figure(
                "another category",
                formatting.count(flipped),
                formatting.share(flipped, found.n_both),
            ),
        ]
    )


def _show_density(context: Context, other: Scope, found: Comparison) -> None:
    st.subheader("Score against score", anchor=False)
    figures.show_quiet(
        "Samples by their score here and there; on the line both are equal. Draw a stretch to see "
        "only the scores here between."
    )
    dark = st.context.theme.type == "dark"
    st.plotly_chart(
        score_charts.comparison_figure(
            found, _named(context.scope), _named(other), context.bands, dark
        ),
        theme="streamlit",
        config={"displayModeBar": False, "scrollZoom": False},
        key=_DENSITY,
        on_select=_take_stretch,
        selection_mode="box",
    )


def _take_stretch() -> None:
    # A selection is an event: the changed figure forgets it, the filter keeps it.
    scores = plane_panel.read_span(st.session_state.get(_DENSITY), "x")
    if scores is not None:
        change_view(filter=replace(current_view().filter, visnec=scores))


def _show_flips(context: Context, view: View, other: Scope, found: Comparison) -> None:
    """Category here against category there; each cell leads to its samples."""
    st.subheader("Categories", anchor=False)
    figures.show_quiet("Rows: category here. Columns: category there. A number opens its samples.")
    head = "".join(f'<th class="number" scope="col">{escape(one)}</th>' for one in CATEGORIES)
    body = "".join(
        f'<tr><th scope="row"><span class="vn-swatch {escape(here)}"></span>{escape(here)}</th>'
        + "".join(
            _flip_cell(context, view, other, i, j, int(found.flips[i, j]), found.n_both)
            for j in range(len(CATEGORIES))
        )
        + "</tr>"
        for i, here in enumerate(CATEGORIES)
    )
    st.html(
        f'<div class="vn-table"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _flip_cell(
    context: Context, view: View, other: Scope, i: int, j: int, n: int, total: int
) -> str:
    share = f'<span class="vn-where">{escape(formatting.share(n, total))}</span>'
    if not n:
        return f'<td class="number">0 {share}</td>'
    which = flip_filter(context.filter, other, CATEGORIES[i], CATEGORIES[j])
    cell = View(
        run=context.scope.run_id,
        baseline=context.scope.baseline,
        low=view.low,
        high=view.high,
        filter=which,
    )
    link = escape(page_link(PageName.EXPLORE, cell), quote=True)
    weight = "" if i == j else ' class="vn-flip"'
    return f'<td class="number"><a href="{link}" target="_self"{weight}>{n:,}</a> {share}</td>'


def _show_apart(context: Context, view: View, other: Scope, found: Comparison) -> None:
    if found.apart.empty:
        return
    line, button = st.columns([5, 2], vertical_alignment="bottom")
    with line:
        st.subheader("Furthest apart", anchor=False)
        figures.show_quiet("The samples whose ranks differ most, with their score here.")
    if button.button("Review these", icon=":material/fact_check:", width="stretch"):
        go_to(PageName.REVIEW, queue=Queue.RUNS, other=other_name(other), row=None)
    rows = found.apart["row_idx"].head(_N_APART).astype(int).tolist()
    there = dict(zip(found.apart["row_idx"], found.apart["other_visnec"], strict=True))
    tiles = [
        {
            **tile,
            "answer": f"there {formatting.score(float(there[tile['row_idx']]))} · {tile['answer']}",
        }
        for tile in read_row_tiles(context, rows)
    ]
    gallery.show("apart", tiles, take=_open, size=str(view.tiles))
    if st.session_state.pop("compare.opened", None):
        go_to(PageName.EXPLORE)


def _open(row_idx: int) -> None:
    change_view(sample=row_idx)
    st.session_state["compare.opened"] = True
