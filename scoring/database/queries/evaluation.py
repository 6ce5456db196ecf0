"""What an evaluation is about: the samples of a benchmark with their scores, and the verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scoring.database.conditions import EVERYTHING, Query, compile_query
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.queries.prediction_correctness import (
    PredictingModel,
    correctness_query,
    list_models,
)
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.evaluation.accuracy import DEFAULT_MEASURE, UNJUDGED, Correctness, list_cell_rows
from scoring.evaluation.evaluate import (
    DEFAULT_SCORE_BANDS,
    Benchmark,
    Evaluation,
    ModelCorrectness,
    evaluate_models,
)
from scoring.necessity import Bands
from scoring.predictions.files import Sight

_SAMPLES = """
    SELECT s.row_idx, s.visnec, s.source_no::INTEGER AS source, s.kind_no::TINYINT AS kind
    FROM scores s WHERE
"""

_SAME_WEIGHTS = """
    SELECT 1 FROM runs own, runs other
    WHERE own.run_id = $run_id AND other.run_id = $model AND (
        other.run_id = own.run_id
        OR (other.model_fingerprint = own.model_fingerprint AND own.model_fingerprint <> '')
    )
    LIMIT 1
"""


def evaluate_predictions(
    store: Store,
    scope: Scope,
    which: Filter = EVERYTHING,
    *,
    models: Sequence[str] | None = None,
    measure: str = DEFAULT_MEASURE,
    threshold: float | None = None,
    n_bands: int = DEFAULT_SCORE_BANDS,
    bands: Bands | None = None,
) -> Evaluation:
    """Evaluates models, by default all, on the samples under a filter by the scores of a scope.

    The necessary part is ``visnec >= threshold``, by default the upper band limit. Raises
    InputError where there are no predictions, for an unknown model, measure or scope.
    """
    bands = bands or store.bands
    benchmark, answers = _asked(compile_query(store, scope, which, bands), models, measure)
    limit = bands.high if threshold is None else threshold
    return evaluate_models(benchmark, answers, limit, bands, n_bands)


def read_cell_rows(
    store: Store,
    scope: Scope,
    which: Filter = EVERYTHING,
    *,
    models: Sequence[str] | None = None,
    measure: str = DEFAULT_MEASURE,
    threshold: float | None = None,
    bands: Bands | None = None,
) -> dict[str, dict[str, dict[str, list[int]]]]:
    """The rows behind each cell of the 2x2 of blind against seen: model -> ``all`` or
    ``necessary`` -> cell -> row_idx, ascending. Models without both predictions are left out.

    Raises InputError as :func:`evaluate_predictions` does.
    """
    bands = bands or store.bands
    benchmark, answers = _asked(compile_query(store, scope, which, bands), models, measure)
    limit = bands.high if threshold is None else threshold
    parts = {"all": np.ones(len(benchmark), np.bool_), "necessary": benchmark.visnec >= limit}
    return {
        one.model: {
            name: list_cell_rows(benchmark.row_idx[mask], one.blind[mask], one.seen[mask])
            for name, mask in parts.items()
        }
        for one in answers
        if one.blind is not None and one.seen is not None
    }


def _asked(
    asked: Query, models: Sequence[str] | None, measure: str
) -> tuple[Benchmark, list[ModelCorrectness]]:
    """The samples asked for, and what each model answered."""
    known = {one.name: one for one in list_models(asked.snapshot)}
    if not known:
        raise InputError(
            "there are no predictions to evaluate; make some with visnec predict, or name files: "
            "visnec evaluate FILE -w WORKSPACE"
        )
    for name in models or ():
        correctness_query(asked.snapshot, name, Sight.SEEN, measure)  # tells an unknown one
    chosen = [known[name] for name in models] if models else list(known.values())
    benchmark = _benchmark(asked)
    return benchmark, [_answers(asked, benchmark, one, measure) for one in chosen]


def _benchmark(asked: Query) -> Benchmark:
    query = "\n".join((_SAMPLES, asked.where, "ORDER BY s.row_idx"))
    columns = asked.snapshot.arrays(query, asked.values)
    names = asked.snapshot.rows("SELECT source FROM sources ORDER BY source_no")
    return Benchmark(
        row_idx=columns["row_idx"].astype(np.int64),
        visnec=columns["visnec"].astype(np.float64),
        source=columns["source"].astype(np.int32),
        sources=tuple(str(name) for (name,) in names),
        kind=columns["kind"].astype(np.int8),
    )


def _answers(
    asked: Query, benchmark: Benchmark, model: PredictingModel, measure: str
) -> ModelCorrectness:
    found = {
        str(sight): _verdicts(asked, benchmark, model.name, sight, measure)
        for sight in Sight
        if model.has(sight)
    }
    runs = {"run_id": asked.values["run_id"], "model": model.name}
    chose_part = model.own and bool(asked.snapshot.rows(_SAME_WEIGHTS, runs))
    return ModelCorrectness(model.name, **found, chose_part=chose_part)


def _verdicts(
    asked: Query, benchmark: Benchmark, model: str, sight: Sight, measure: str
) -> Correctness:
    query, values = correctness_query(asked.snapshot, model, sight, measure)
    columns = asked.snapshot.arrays(query, values)
    verdicts = np.full(len(benchmark), UNJUDGED, np.int8)
    if len(benchmark):
        rows = columns["row_idx"].astype(np.int64)
        places = np.searchsorted(benchmark.row_idx, rows).clip(max=len(benchmark) - 1)
        mine = benchmark.row_idx[places] == rows
        verdicts[places[mine]] = columns["verdict"][mine].astype(np.int8)
    return verdicts
