"""Evaluate: models on the benchmark, and on what of it needs the image."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.data.context import Context, open_view_context
from dashboard.data.evaluate import read_evaluation, read_models
from dashboard.view import url_widgets
from dashboard.view.state import View, change_view, current_view
from dashboard.widgets import evaluation_panels, filter_bar, notices, page_frame
from scoring.database.queries.prediction_correctness import PredictingModel
from scoring.evaluation.accuracy import DEFAULT_MEASURE, MEASURES

_MODEL, _MEASURE = "evaluate.model", "evaluate.measure"


def render() -> None:
    """The page."""
    _, opened = page_frame.open_page(
        "Evaluate", "How models answer with and without the image, where the image is needed"
    )
    context = page_frame.require_scores(opened, "Evaluating")
    if context is None:
        return
    if not read_models(context):
        root = context.workspace.root
        notices.show_empty(
            "There are no predictions yet",
            "Let the run's own model answer, or bring what other models answered: one JSON object "
            "or CSV row per sample, with row_idx or id, and prediction.",
            f"visnec predict -w {root}\n"
            f"visnec evaluate NAME=PREDICTIONS.jsonl --blind NAME=BLIND.jsonl -w {root}",
        )
        return
    _show_evaluation()


@st.fragment
def _show_evaluation() -> None:
    view = current_view()
    context = open_view_context(view).context
    if context is None:
        return
    filter_bar.show_strip(context, "All samples of the benchmark.")
    models = {one.name: one for one in read_models(context)}
    name, measure, threshold = _choose(context, view, models)
    found = read_evaluation(context, measure, threshold)
    one = next(one for one in found.models if one.model == name)
    evaluation_panels.show_figures(one, found)
    with st.container(key="pair-evaluate"):
        left, right = st.columns([6, 5], gap="large")
        with left:
            evaluation_panels.show_bands(one)
        with right:
            evaluation_panels.show_cells(context, view, one, found)
    evaluation_panels.show_groups(one)
    evaluation_panels.show_ranking(found)
    evaluation_panels.show_kept(context)


def _choose(
    context: Context, view: View, models: dict[str, PredictingModel]
) -> tuple[str, str, float]:
    """Whose predictions, what counts as right, and where the necessary part begins.

    Model and measure live in the filter, so that the samples behind a figure open under it.
    """
    which = context.filter
    run = context.scope.run_id
    default = run if run in models else next(iter(models))
    name = which.model if which.model in models else default
    measure = which.measure or DEFAULT_MEASURE
    with st.container(key="wrap-evaluate"):
        first, second, third = st.columns([4, 4, 3])
        with first:
            st.selectbox(
                "Model",
                list(models),
                key=url_widgets.widget_key(_MODEL, name),
                format_func=lambda one: _told(models[one]),
                on_change=url_widgets.on_user_change,
                args=(_MODEL, _take_model, run),
            )
        with second:
            st.selectbox(
                "Right is",
                list(MEASURES),
                key=url_widgets.widget_key(_MEASURE, measure),
                format_func=lambda one: f"{one}: {MEASURES[one]}",
                on_change=url_widgets.on_user_change,
                args=(_MEASURE, _take_measure),
            )
        with third:
            url_widgets.choose_number(
                "cut",
                "The necessary part begins at",
                view.threshold(context.workspace.bands),
                step=0.05,
                help="VisNec score in nats per answer token; by default the upper band limit",
            )
    return str(name), measure, view.threshold(context.workspace.bands)


def _told(model: PredictingModel) -> str:
    return f"{model.name} · run of {model.told}" if model.own else model.name


def _take_model(run: str) -> None:
    name = str(url_widgets.consume_value(_MODEL))
    which = current_view().filter
    change_view(filter=replace(which, model=None if name == run else name))


def _take_measure() -> None:
    measure = str(url_widgets.consume_value(_MEASURE))
    which = current_view().filter
    change_view(filter=replace(which, measure=None if measure == DEFAULT_MEASURE else measure))
