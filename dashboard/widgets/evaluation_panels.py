"""What an evaluation shows: the figures, the 2x2, the groups, the order of the models, the files.

Names of models and sources come from outside and are shown as text only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

import streamlit as st

from dashboard.charts import evaluation_charts
from dashboard.data.context import Context
from dashboard.data.evaluate import read_imported_answers
from dashboard.text import formatting
from dashboard.view.navigation import PageName, page_link
from dashboard.view.state import View
from dashboard.widgets import figures
from dashboard.widgets.figures import Figure, Table
from scoring.database.filters import Filter, Range
from scoring.evaluation.accuracy import Accuracy, ContingencyTable, Gain, Leakage
from scoring.evaluation.evaluate import SELF_SELECTION_NOTE, Evaluation, GroupResult, ModelResult
from scoring.necessity import Category
from scoring.predictions.imported import list_predictions

_COLUMNS = ("samples", "with the image", "without", "gain", "leakage")
_MAX_ANSWER = 1000
_SIGHTS = {"seen": "with the image", "blind": "without it", "text_model": "text-only model"}


def show_figures(one: ModelResult, found: Evaluation) -> None:
    """The headline: accuracy on all samples and on the necessary part, gain, leakage."""
    whole, part = one.all, one.necessary
    figures.show_figures(
        [
            Figure("accuracy, all samples", _share(whole.seen), _note(whole.seen)),
            Figure("accuracy, necessary part", _share(part.seen), _note(part.seen)),
            Figure("without the image, all", _share(whole.blind), _note(whole.blind)),
            Figure("without, necessary part", _share(part.blind), _note(part.blind)),
            Figure("multimodal gain, necessary", *_gain(part.gain)),
            Figure("leakage, all samples", *_leakage(whole.leakage)),
        ]
    )
    n_unscored = found.n_samples - found.n_scored
    unscored = (
        f"; {formatting.count(n_unscored)} without a score are in no part" if n_unscored else ""
    )
    figures.show_quiet(
        f"The necessary part holds {formatting.count(found.n_necessary)} of "
        f"{formatting.plural(found.n_samples, 'sample')}{unscored}. Ranges are 95 % "
        f"intervals; samples "
        "without a prediction are left out and counted."
    )
    if one.chose_part:
        figures.show_quiet(f"{one.model} made the cut: {SELF_SELECTION_NOTE}.")


def show_bands(one: ModelResult) -> None:
    """Accuracy over the score bands."""
    st.subheader("By score", anchor=False)
    if not one.by_band:
        figures.show_quiet("No sample under this filter has a score.")
        return
    figures.show_quiet(
        "Bands of about equally many samples; where the score is high, the answer needs the image."
    )
    dark = st.context.theme.type == "dark"
    st.plotly_chart(
        evaluation_charts.accuracy_figure(one.by_band, dark),
        theme="streamlit",
        config={"displayModeBar": False, "scrollZoom": False},
        key="accuracy_by_band",
    )


def show_cells(context: Context, view: View, one: ModelResult, found: Evaluation) -> None:
    """The 2x2 of blind against seen, on all samples and on the necessary part; cells are links."""
    st.subheader("Blind against seen", anchor=False)
    if one.all.cells is None:
        figures.show_quiet("This needs predictions both with the image and without it.")
        return
    figures.show_quiet("Samples that have both predictions. A number opens its samples.")
    base = replace(context.filter, model=_filter_name(context, one.model))
    needed = replace(base, visnec=from_threshold(base.visnec, found.threshold))
    for name, which, cells in (
        ("all samples", base, one.all.cells),
        ("necessary part", needed, one.necessary.cells),
    ):
        if cells is not None:
            st.html(_cells_table(context, view, name, which, cells))


def _filter_name(context: Context, model: str) -> str | None:
    """How the filter names the model; the run in view goes without saying."""
    return None if model == context.scope.run_id else model


def from_threshold(limits: Range | None, threshold: float) -> Range:
    """The part of a score range that lies in the necessary part."""
    if limits is None:
        return Range(threshold, None)
    low = threshold if limits.min is None else max(limits.min, threshold)
    return Range(low, limits.max if limits.max is None else max(limits.max, low))


def _cells_table(
    context: Context, view: View, name: str, which: Filter, cells: ContingencyTable
) -> str:
    head = "".join(
        f'<th class="number" scope="col">{one}</th>' for one in ("seen right", "seen wrong")
    )
    body = "".join(
        f'<tr><th scope="row">blind {blind}</th>'
        + "".join(_cell(context, view, which, cells, blind, seen) for seen in ("right", "wrong"))
        + "</tr>"
        for blind in ("right", "wrong")
    )
    return (
        f'<div class="vn-table"><table><thead><tr><th>{escape(name)}</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(
    context: Context, view: View, which: Filter, cells: ContingencyTable, blind: str, seen: str
) -> str:
    n = cells.count(blind, seen)
    share = f'<span class="vn-where">{escape(formatting.share(n, cells.n))}</span>'
    if not n:
        return f'<td class="number">0 {share}</td>'
    target = View(
        run=context.scope.run_id,
        baseline=context.scope.baseline,
        low=view.low,
        high=view.high,
        filter=replace(which, blind=(blind,), seen=(seen,)),
    )
    link = escape(page_link(PageName.EXPLORE, target), quote=True)
    return f'<td class="number"><a href="{link}" target="_self">{n:,}</a> {share}</td>'


def show_groups(one: ModelResult) -> None:
    """The same figures by part, category, score band, source and type of answer."""
    groups: tuple[tuple[str, Sequence[GroupResult], tuple[str, ...]], ...] = (
        ("part", (one.all, one.necessary, one.rest), ()),
        ("category", one.by_category, tuple(map(str, Category))),
        ("score band", one.by_band, ()),
        ("source", one.by_source, ()),
        ("type of answer", one.by_kind, ()),
    )
    for tab, (name, parts, swatches) in zip(
        st.tabs([f"By {name}" for name, *_ in groups]), groups, strict=True
    ):
        with tab:
            rows = [
                (
                    evaluation_charts.band_label(part) if name == "score band" else part.name,
                    formatting.count(part.n_samples),
                    _cell_text(part.seen),
                    _cell_text(part.blind),
                    _short(*_gain(part.gain)),
                    _short(*_leakage(part.leakage)),
                )
                for part in parts
            ]
            numbers = frozenset(range(1, len(_COLUMNS) + 1))
            figures.show_table(Table((name, *_COLUMNS), rows, numbers, swatches=swatches))


def show_ranking(found: Evaluation) -> None:
    """The order of the models on all samples and on the necessary part."""
    ranking = found.ranking
    if ranking is None:
        return
    chose_part = {one.model for one in found.models if one.chose_part}
    st.subheader("Order of the models", anchor=False)
    agree = ", ".join(
        f"{name} {formatting.ABSENT if value is None else f'{value:.2f}'}"
        for name, value in (("Spearman", ranking.spearman), ("Kendall", ranking.kendall))
    )
    figures.show_quiet(
        f"Over the {formatting.plural(ranking.n_common, 'sample')} that all models "
        f"answered with the "
        f"image, {formatting.count(ranking.n_necessary)} of them in the necessary part. "
        f"The two orders agree by {agree}; 1 is the same order."
    )
    rows = [
        (
            f"{one.model} *" if one.model in chose_part else one.model,
            f"{one.rank_all:g}",
            _cell_text(one.on_all),
            f"{one.rank_necessary:g}{_moved(one.rank_all - one.rank_necessary)}",
            _cell_text(one.on_necessary),
        )
        for one in ranking.models
    ]
    columns = ("model", "rank", "on all samples", "rank there", "on the necessary part")
    figures.show_table(Table(columns, rows, frozenset({1, 2, 3, 4})))
    if chose_part:
        figures.show_quiet(f"* {SELF_SELECTION_NOTE[0].upper()}{SELF_SELECTION_NOTE[1:]}.")


def _moved(places: float) -> str:
    return "" if not places else f" {'▲' if places > 0 else '▼'}{abs(places):g}"


def show_kept(context: Context) -> None:
    """The imported predictions, with what of their files did not fit."""
    kept = list_predictions(context.workspace)
    if not kept:
        return
    edition = context.edition
    rows = [
        (
            one.model,
            _SIGHTS.get(one.sight, one.sight),
            one.file,
            formatting.count(one.n_taken),
            formatting.count(one.n_missing),
            _left_out(one.findings)
            + ("" if one.dataset_fingerprint == edition else " (of another edition of the data)"),
        )
        for one in kept
    ]
    with st.expander(f"Imported predictions: {formatting.plural(len(kept), 'file')}"):
        columns = ("model", "predictions", "file", "samples", "samples without", "did not fit")
        figures.show_table(Table(columns, rows, frozenset({3, 4})))


def _left_out(findings: Sequence[dict[str, object]]) -> str:
    said = [f"{one['what']}: {one['n']:,}" for one in findings]
    return "; ".join(said) or "nothing"


def _share(one: Accuracy | None) -> str:
    return formatting.ABSENT if one is None else formatting.share(one.right, one.n)


def _note(one: Accuracy | None) -> str:
    if one is None:
        return "no such predictions"
    if one.interval is None:
        return "no sample has one"
    low, high = one.interval
    return f"{100 * low:.0f} to {100 * high:.0f} %, of {one.n:,}"


def _cell_text(one: Accuracy | None) -> str:
    if one is None or one.interval is None:
        return formatting.ABSENT
    return f"{formatting.share(one.right, one.n)} ({_note(one)})"


def _gain(one: Gain | None) -> tuple[str, str]:
    if one is None:
        return formatting.ABSENT, "needs both predictions"
    low, high = (_points(value) for value in (one.low, one.high))
    return f"{_points(one.value)} points", f"{low} to {high}, of {one.seen.n:,}"


def _leakage(one: Leakage | None) -> tuple[str, str]:
    if one is None:
        return formatting.ABSENT, "needs the text-only model"
    return f"{100 * one.value:.1f} points", f"of {one.blind.n:,}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def _short(value: str, note: str) -> str:
    return value if value == formatting.ABSENT else f"{value.removesuffix(' points')} ({note})"


def show_answers(context: Context, row_idx: int) -> None:
    """What imported models predicted for one sample; nothing where there are none."""
    found = read_imported_answers(context, row_idx)
    if found.empty:
        return
    rows = [
        (
            str(row["model"]),
            _SIGHTS.get(str(row["sight"]), str(row["sight"])),
            str(row["prediction"])[:_MAX_ANSWER],
            _matched(row["exact"], row["letter"], row["f1"]),
        )
        for row in found.to_dict("records")
    ]
    st.subheader("Predictions of other models", anchor=False)
    columns = ("model", "predicted", "prediction", "against the reference")
    figures.show_table(Table(columns, rows))


def _matched(exact: bool, letter: bool | None, f1: float) -> str:
    if letter is not None:
        return "the same choice" if letter else "another choice"
    return "the same" if exact else f"token F1 {f1:.2f}"
