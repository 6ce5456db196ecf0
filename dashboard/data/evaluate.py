"""How models do on the benchmark: what their predictions come to, and whose there are."""

from __future__ import annotations

import pandas as pd

from dashboard.data.context import Context, about, read_cached
from scoring.database.queries.evaluation import evaluate_predictions
from scoring.database.queries.prediction_correctness import (
    PredictingModel,
    fetch_models,
    imported_answers,
)
from scoring.evaluation.evaluate import Evaluation
from scoring.predictions.imported import PredictionSet, list_predictions
from scoring.workspace import Workspace


def read_models(context: Context) -> list[PredictingModel]:
    """The models with predictions, runs first, as of the database."""
    return fetch_models(context.store)


def read_evaluation(context: Context, measure: str, threshold: float) -> Evaluation:
    """All models on the samples under the filter; the necessary part begins at ``threshold``."""
    store, scope, which = about(context)
    return read_cached(
        context,
        "evaluation",
        lambda: evaluate_predictions(
            store, scope, which, measure=measure, threshold=threshold, bands=context.bands
        ),
        measure,
        threshold,
        decisions=False,
    )


def read_prediction_sets(workspace: Workspace) -> list[PredictionSet]:
    """The imported predictions as they lie in the workspace now."""
    return list_predictions(workspace)


def read_imported_answers(context: Context, row_idx: int) -> pd.DataFrame:
    """What imported models predicted for one sample, with how it matches the reference."""
    return imported_answers(context.store, row_idx)
