"""Evaluate: how models do on a benchmark, and on its part that needs the image."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.data.context import Context, open_view_context, single_snapshot
from dashboard.data.evaluate import read_evaluation, read_models
from dashboard.pages.evaluate import panels
from dashboard.view import url_widgets
from dashboard.view.state import View, change_view, current_view
from dashboard.widgets import figures, filter_bar, notices, page_frame
from scoring.database.queries.prediction_correctness import PredictingModel
from scoring.evaluation.accuracy import DEFAULT_MEASURE, MEASURES

_MODEL, _MEASURE = "evaluate.model", "evaluate.measure"


def render() -> None:
    """Show the page."""
    _, opened = page_frame.open_page("Evaluate", "Model accuracy with and without the image")
    context = page_frame.require_scores(opened)
    if context is None:
        return
    if not read_models(context):
        root = context.workspace.root
        notices.show_empty(
            "No predictions yet",
            "Predict with the run's own model, or import predictions of other models: one JSON "
            "object or CSV row per sample, with row_idx or id, and prediction.",
            f"visnec predict -w {root}\n"
            f"visnec evaluate NAME=PREDICTIONS.jsonl --blind NAME=BLIND.jsonl -w {root}",
        )
        return
    _show_evaluation()


@st.fragment
@single_snapshot()
def _show_evaluation() -> None:
    view = current_view()
    context = open_view_context(view).context
    if context is None:
        return
    filter_bar.show_filter_strip(context, "All samples of the benchmark.")
    models = {model.name: model for model in read_models(context)}
    name, measure = _choose_model(context, view, models)
    evaluation = read_evaluation(context, measure, view.threshold(context.workspace.bands))
    model = next(model for model in evaluation.models if model.model == name)
    panels.show_headline(model, evaluation)
    left, right = figures.pair_columns("evaluate")
    with left:
        panels.show_bands(model)
    with right:
        panels.show_cells(context, view, model, evaluation)
    panels.show_groups(model)
    panels.show_ranking(evaluation)
    panels.show_imported(context)


def _choose_model(
    context: Context, view: View, models: dict[str, PredictingModel]
) -> tuple[str, str]:
    """Choose the model, the measure, and the threshold of the necessary part.

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
        first, second, third = st.columns([4, 4, 3])
        with first:
            st.selectbox(
                "Model",
                list(models),
                key=url_widgets.widget_key(_MODEL, name),
                format_func=describe_model,
                on_change=url_widgets.on_user_change,
                args=(_MODEL, _change_model, run),
            )
        with second:
            st.selectbox(
                "Correct if",
                list(MEASURES),
                key=url_widgets.widget_key(_MEASURE, measure),
                format_func=lambda measure: f"{measure}: {MEASURES[measure]}",
                on_change=url_widgets.on_user_change,
                args=(_MEASURE, _change_measure),
            )
        with third:
            url_widgets.choose_number(
                "cut",
                "Threshold of the necessary part",
                view.threshold(context.workspace.bands),
                step=0.05,
                help="VisNec score in nats per answer token; by default the upper band limit",
            )
    return str(name), measure


def _change_model(run: str) -> None:
    name = str(url_widgets.consume_value(_MODEL))
    current = current_view().filter
    change_view(filter=replace(current, model=None if name == run else name))


def _change_measure() -> None:
    measure = str(url_widgets.consume_value(_MEASURE))
    current = current_view().filter
    change_view(filter=replace(current, measure=None if measure == DEFAULT_MEASURE else measure))
