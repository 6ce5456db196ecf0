"""Reads for the Evaluate page: how models do on the samples under the filter."""

from __future__ import annotations

import pandas as pd

from dashboard.data.context import Context, cached_query, query_arguments
from scoring.database.queries.evaluation import evaluate_predictions
from scoring.database.queries.prediction_correctness import (
    PredictingModel,
    fetch_models,
    imported_answers,
)
from scoring.evaluation.evaluate import Evaluation


def read_models(context: Context) -> list[PredictingModel]:
    """Return the models with predictions, runs first, as of the database."""
    return fetch_models(context.store)


def read_evaluation(context: Context, measure: str, threshold: float) -> Evaluation:
    """Return all models' results; samples that need the image are those from ``threshold``."""
    store, scope, where = query_arguments(context)
    return cached_query(
        context,
        "evaluation",
        lambda: evaluate_predictions(
            store, scope, where, measure=measure, threshold=threshold, bands=context.bands
        ),
        measure,
        threshold,
        decisions=False,
    )


def read_imported_answers(context: Context, row_idx: int) -> pd.DataFrame:
    """Return imported predictions for one sample and how they match the reference."""
    return imported_answers(context.store, row_idx)
