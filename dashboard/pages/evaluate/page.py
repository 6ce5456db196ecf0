"""Evaluate: how models do on a benchmark, and on its part that needs the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard.charts import plots
from dashboard.data.context import Context
from dashboard.data.scores import read_evaluation
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.navigation import Fragment, change_filter
from dashboard.view.state import TURNS, View, current_view
from dashboard.widgets import figures, notices, page_frame
from scoring.database.filters import Range
from scoring.database.queries.prediction_correctness import PredictingModel, fetch_models
from scoring.evaluation.accuracy import DEFAULT_MEASURE, MEASURES, Accuracy, Gain, Leakage
from scoring.evaluation.evaluate import (
    SELF_SELECTION_NOTE,
    Evaluation,
    GroupResult,
    ModelResult,
    Ranking,
)
from scoring.necessity import Category
from scoring.predictions.imported import list_predictions
from scoring.predictions.records import TurnChoice

_MODEL, _MEASURE = "evaluate.model", "evaluate.measure"


def render() -> None:
    """Show the page."""
    _, opened = page_frame.open_page(
        "Evaluate", "Model accuracy with and without the image", has_filter=True
    )
    context = page_frame.require_scores(opened)
    if context is None:
        return
    if fetch_models(context.store):
        _show_evaluation()
        return
    root = context.workspace.root
    notices.show_empty(
        "No predictions yet",
        "Predict with the run's own model, or import predictions of other models: one JSON object "
        "or CSV row per sample, with row_idx or id, and prediction.",
        f"visnec predict -w {root}\n"
        f"visnec evaluate NAME=PREDICTIONS.jsonl --blind NAME=BLIND.jsonl -w {root}",
    )


@page_frame.view_fragment(Fragment.FILTERED)
def _show_evaluation(context: Context, view: View) -> None:
    models = {model.name: model for model in fetch_models(context.store)}
    name, measure = _choose_model(context, view, models)
    turns = view.turns if any(model.later for model in models.values()) else "first"
    threshold = view.threshold(context.workspace.bands)
    evaluation = read_evaluation(context, measure, threshold, turns)
    model = next(model for model in evaluation.models if model.model == name)
    _show_headline(model, evaluation, turns)
    left, right = figures.pair_columns("evaluate")
    with left:
        st.subheader("By score", anchor=False)
        if model.by_band:
            figures.show_caption(
                "Bands of about the same number of samples. The higher the score, the more the "
                "answer needs the image."
            )
            figure = plots.accuracy_figure(model.by_band, figures.use_dark_theme())
            figures.show_chart(figure, "accuracy_by_band")
        else:
            figures.show_caption("No sample under this filter has a score.")
    with right:
        _show_cells(context, view, model, evaluation, turns)
    _show_groups(model)
    if evaluation.ranking is not None:
        chose_part = {model.model for model in evaluation.models if model.chose_part}
        _show_ranking(evaluation.ranking, chose_part)
    _show_imported(context)


def _choose_model(
    context: Context, view: View, models: dict[str, PredictingModel]
) -> tuple[str, str]:
    """Choose the model, the measure, the threshold of the necessary part, and the turns.

    Model and measure are part of the filter, so the samples behind a figure open under it.
    """
    current = context.filter
    run = context.scope.run_id
    default = run if run in models else next(iter(models))
    name = current.model if current.model in models else default
    measure = current.measure or DEFAULT_MEASURE

    def describe_model(name: str) -> str:
        model = models[name]
        return f"{name} · run of {model.reported_name}" if model.own else name

    with st.container(key="wrap-evaluate"):
        has_later = any(model.later for model in models.values())
        first, second, third, *more = st.columns([4, 4, 3, 3] if has_later else [4, 4, 3])
    bound = url_widgets.bind_widget(_MODEL, name, _change_filter, _MODEL, "model", run)
    first.selectbox("Model", list(models), format_func=describe_model, **bound)
    second.selectbox(
        "Correct if",
        list(MEASURES),
        format_func=lambda measure: f"{measure}: {MEASURES[measure]}",
        **url_widgets.bind_widget(
            _MEASURE, measure, _change_filter, _MEASURE, "measure", DEFAULT_MEASURE
        ),
    )
    with third:
        url_widgets.choose_number(
            "cut",
            "Threshold of the necessary part",
            view.threshold(context.workspace.bands),
            step=0.05,
            help="VisNec score in nats per answer token; by default the upper band limit",
        )
    if more:
        with more[0]:
            url_widgets.choose_option(
                "turns",
                "Turns of conversations",
                TURNS,
                view.turns,
                lambda turns: "all answers" if turns == "all" else f"{turns} answer",
                "Over all answers, intervals resample whole samples, because the answers of a "
                "sample are not independent.",
            )
    return str(name), measure


def _change_filter(widget: str, field: str, default: str) -> None:
    value = str(url_widgets.consume_value(widget))
    changes: dict[str, Any] = {field: None if value == default else value}
    change_filter(replace(current_view().filter, **changes))


# ---- panels --------------------------------------------------------------------------------------


def _show_headline(model: ModelResult, evaluation: Evaluation, turns: TurnChoice) -> None:
    """Show accuracy on all samples and on the necessary part, gain and leakage."""
    whole, part = model.all, model.necessary
    figures.show_figures(
        ("Accuracy, all samples", _format_share(whole.seen), _describe(whole.seen)),
        ("Accuracy, necessary part", _format_share(part.seen), _describe(part.seen)),
        ("Without image, all samples", _format_share(whole.blind), _describe(whole.blind)),
        ("Without image, necessary part", _format_share(part.blind), _describe(part.blind)),
        ("Multimodal gain, necessary part", *_format_gain(part.gain)),
        ("Leakage, all samples", *_format_leakage(whole.leakage)),
    )
    if turns == "all":
        figures.show_caption("Accuracies count the answers of all turns that were predicted.")
    n_unscored = evaluation.n_samples - evaluation.n_scored
    unscored = f" ({formatting.count(n_unscored)} have no score)" if n_unscored else ""
    figures.show_caption(
        f"The necessary part contains {formatting.count(evaluation.n_necessary)} of "
        f"{formatting.plural(evaluation.n_samples, 'sample')}{unscored}. Ranges are 95 % "
        "confidence intervals. Samples without a prediction are excluded."
    )
    if model.chose_part:
        figures.show_caption(f"{model.model}: {SELF_SELECTION_NOTE}.")


def _show_cells(
    context: Context, view: View, model: ModelResult, evaluation: Evaluation, turns: TurnChoice
) -> None:
    """Show the 2x2 of answers without and with the image; for first answers, numbers are links."""
    st.subheader("With and without the image", anchor=False)
    if model.all.cells is None:
        figures.show_caption("Needs predictions both with and without the image.")
        return
    caption = "Samples with both predictions. Click a number to list its samples."
    figures.show_caption(caption if turns == "first" else "Answers with both predictions.")
    own = model.model == context.scope.run_id  # the filter names other models only
    base = replace(context.filter, model=None if own else model.model)
    necessary = replace(base, visnec=limit_to_part(base.visnec, evaluation.threshold))
    for name, current, cells in (
        ("All samples", base, model.all.cells),
        ("Necessary part", necessary, model.necessary.cells),
    ):
        if cells is None:
            continue
        rows: list[list[figures.Cell]] = []
        for blind in ("right", "wrong"):
            rows.append([f"{blind.capitalize()} without image"])
            for seen in ("right", "wrong"):
                where = replace(current, blind=(blind,), seen=(seen,))
                n = cells.count(blind, seen)
                if turns == "first":  # filters are about first answers
                    rows[-1].append(figures.link_samples(context, view, where, n, cells.n))
                else:
                    share = formatting.share(n, cells.n)
                    rows[-1].append(figures.Link(formatting.count(n), "", share))
        columns = (name, "Right with image", "Wrong with image")
        figures.show_table(columns, rows, (1, 2), row_headers=True)


def limit_to_part(limits: Range | None, threshold: float) -> Range:
    """Return the section of a score range that is in the necessary part."""
    if limits is None:
        return Range(threshold, None)
    low = threshold if limits.min is None else max(limits.min, threshold)
    return Range(low, limits.max if limits.max is None else max(limits.max, low))


def _show_groups(model: ModelResult) -> None:
    """Show the same figures by part, category, score band, source and answer type."""
    groups: tuple[tuple[str, Sequence[GroupResult], tuple[str, ...]], ...] = (
        ("part", (model.all, model.necessary, model.rest), ()),
        ("category", model.by_category, tuple(map(str, Category))),
        ("score band", model.by_band, ()),
        ("source", model.by_source, ()),
        ("answer type", model.by_kind, ()),
    )
    tabs = st.tabs([f"By {name}" for name, *_ in groups])
    for tab, (name, parts, swatches) in zip(tabs, groups, strict=True):
        rows = [
            (
                plots.format_band(part) if name == "score band" else part.name,
                part.n_samples,
                _format_accuracy(part.seen),
                _format_accuracy(part.blind),
                _join_note(*_format_gain(part.gain)),
                _join_note(*_format_leakage(part.leakage)),
            )
            for part in parts
        ]
        name = name.capitalize()
        columns = (name, "Samples", "With image", "Without image", "Gain", "Leakage")
        with tab:
            figures.show_table(columns, rows, range(1, len(columns)), swatches=swatches)


def _show_ranking(ranking: Ranking, chose_part: set[str]) -> None:
    """Show the models by rank on all samples and on the necessary part, which some chose."""
    agreement = ", ".join(
        f"{name} {formatting.ABSENT if value is None else f'{value:.2f}'}"
        for name, value in (("Spearman", ranking.spearman), ("Kendall", ranking.kendall))
    )
    figures.show_heading(
        "Model ranking",
        f"{formatting.plural(ranking.n_common, 'sample')} that all models answered with the image, "
        f"{formatting.count(ranking.n_necessary)} of them in the necessary part. Agreement of the "
        f"two rankings: {agreement}; 1 is the same order.",
    )
    rows = []
    for model in ranking.models:
        moved = model.rank_all - model.rank_necessary
        arrow = f" {'▲' if moved > 0 else '▼'}{abs(moved):g}" if moved else ""
        rows.append(
            (
                f"{model.model} *" if model.model in chose_part else model.model,
                f"{model.rank_all:g}",
                _format_accuracy(model.on_all),
                f"{model.rank_necessary:g}{arrow}",
                _format_accuracy(model.on_necessary),
            )
        )
    columns = ("Model", "Rank", "All samples", "Rank", "Necessary part")
    figures.show_table(columns, rows, (1, 2, 3, 4))
    if chose_part:
        figures.show_caption(f"* {SELF_SELECTION_NOTE[0].upper()}{SELF_SELECTION_NOTE[1:]}.")


def _show_imported(context: Context) -> None:
    """Show the imported predictions with the records that could not be matched."""
    rows = []
    for predictions in list_predictions(context.workspace):
        problems = [f"{issue['what']}: {issue['n']:,}" for issue in predictions.findings]
        is_current = predictions.dataset_fingerprint == context.edition
        rows.append(
            (
                predictions.model,
                formatting.SIGHT_NAMES.get(predictions.sight, predictions.sight),
                predictions.file,
                predictions.n_taken,
                predictions.n_missing,
                ("; ".join(problems) or "none")
                + ("" if is_current else " (another version of the dataset)"),
            )
        )
    if rows:
        with st.expander(f"Imported predictions: {formatting.plural(len(rows), 'file')}"):
            columns = ("Model", "Input", "File", "Predicted", "Not predicted", "Problems")
            figures.show_table(columns, rows, (3, 4))


def _format_share(accuracy: Accuracy | None) -> str:
    return formatting.ABSENT if accuracy is None else formatting.share(accuracy.right, accuracy.n)


def _describe(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "no such predictions"
    if accuracy.interval is None:
        return "no predicted samples"
    return f"{formatting.interval(*accuracy.interval)}, of {accuracy.n:,}"


def _format_accuracy(accuracy: Accuracy | None) -> str:
    if accuracy is None or accuracy.interval is None:
        return formatting.ABSENT
    return f"{_format_share(accuracy)} ({_describe(accuracy)})"


def _format_gain(gain: Gain | None) -> tuple[str, str]:
    if gain is None:
        return formatting.ABSENT, "needs both predictions"
    value, low, high = (
        f"{100 * share:+.1f}".replace("-", "−") for share in (gain.value, gain.low, gain.high)
    )
    return f"{value} points", f"{low} to {high}, of {gain.seen.n:,}"


def _format_leakage(leakage: Leakage | None) -> tuple[str, str]:
    if leakage is None:
        return formatting.ABSENT, "needs the text-only model"
    return f"{100 * leakage.value:.1f} points", f"of {leakage.blind.n:,}"


def _join_note(value: str, note: str) -> str:
    return value if value == formatting.ABSENT else f"{value.removesuffix(' points')} ({note})"
