"""The samples of a benchmark with their scores, and the correctness of predictions on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.answer_kinds import ANSWER_KIND
from scoring.database.conditions import Query, compile_query
from scoring.database.connection import Snapshot, Store
from scoring.database.filters import EVERYTHING, Filter
from scoring.database.queries.prediction_correctness import (
    PredictingModel,
    correctness_query,
    later_correctness_query,
    list_models,
)
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.evaluation.accuracy import UNJUDGED, Correctness, list_cell_rows
from scoring.evaluation.evaluate import (
    Benchmark,
    Evaluation,
    EvaluationOptions,
    ModelCorrectness,
    evaluate_models,
)
from scoring.necessity import Bands
from scoring.predictions.files import Sight
from scoring.rules.candidates import ANSWER_KINDS

_SAMPLES = """
    SELECT row_idx, visnec, source_no::INTEGER AS source, kind_no::TINYINT AS kind
    FROM matching ORDER BY row_idx
"""
# Later answers that any model predicted, with their kind.
_LATER = f"""
    SELECT row_idx, turn, list_position($kinds, {ANSWER_KIND}) - 1 AS kind_no
    FROM (
        SELECT DISTINCT ON (row_idx, turn) row_idx, turn, answer FROM (
            SELECT row_idx, turn, answer FROM turn_predictions
            UNION ALL SELECT row_idx, turn, answer FROM imported_turn_predictions
        )
    )
"""
_OF_TURNS = {
    "last": f"""
        SELECT
            m.row_idx, greatest(s.n_turns - 1, 0) AS turn, m.visnec, m.source_no::INTEGER AS source,
            coalesce(later.kind_no, m.kind_no)::TINYINT AS kind
        FROM matching m JOIN samples s ON s.row_idx = m.row_idx
        LEFT JOIN ({_LATER}) later ON later.row_idx = m.row_idx AND later.turn = s.n_turns - 1
        ORDER BY m.row_idx
    """,
    "all": f"""
        SELECT
            m.row_idx, answers.turn, m.visnec, m.source_no::INTEGER AS source,
            coalesce(answers.kind_no, m.kind_no)::TINYINT AS kind
        FROM matching m JOIN (
            SELECT row_idx, 0 AS turn, NULL AS kind_no FROM matching
            UNION ALL FROM ({_LATER})
        ) answers ON answers.row_idx = m.row_idx
        ORDER BY m.row_idx, answers.turn
    """,
}
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
    where: Filter = EVERYTHING,
    options: EvaluationOptions | None = None,
    *,
    bands: Bands | None = None,
    **settings: Any,
) -> Evaluation:
    """Evaluate models on the samples that match a filter; the scores are those of a scope.

    ``bands`` are by default those of the workspace, ``settings`` fields of ``EvaluationOptions``.
    Raises InputError where there are no predictions, or the model, measure or scope is unknown.
    """
    options = replace(options or EvaluationOptions(), **settings)
    selection = store.selection(scope, where, bands)
    benchmark, correctness = _read_correctness(compile_query(selection), options)
    limit = selection.bands.high if options.threshold is None else options.threshold
    return evaluate_models(benchmark, correctness, limit, selection.bands, options.n_bands)


def read_cell_rows(
    store: Store,
    scope: Scope,
    where: Filter = EVERYTHING,
    options: EvaluationOptions | None = None,
    *,
    bands: Bands | None = None,
) -> dict[str, dict[str, dict[str, list[int]]]]:
    """Return the rows in each cell of the 2x2 of blind against seen: model, then ``all`` or
    ``necessary``, then cell, to row_idx, ascending. Models without both predictions are left out.

    Raises InputError as :func:`evaluate_predictions` does.
    """
    options = options or EvaluationOptions()
    selection = store.selection(scope, where, bands)
    benchmark, correctness = _read_correctness(compile_query(selection), options)
    limit = selection.bands.high if options.threshold is None else options.threshold
    parts = {"all": np.ones(len(benchmark), np.bool_), "necessary": benchmark.visnec >= limit}
    return {
        of_model.model: {
            name: list_cell_rows(benchmark.row_idx[mask], of_model.blind[mask], of_model.seen[mask])
            for name, mask in parts.items()
        }
        for of_model in correctness
        if of_model.blind is not None and of_model.seen is not None
    }


def _read_correctness(
    query: Query, options: EvaluationOptions
) -> tuple[Benchmark, list[ModelCorrectness]]:
    """The samples of a query, and the correctness of each model on them."""
    snapshot = query.snapshot
    known = {model.name: model for model in list_models(snapshot)}
    if not known:
        raise InputError(
            "There are no predictions to evaluate. Create some with visnec predict, or name files: "
            "visnec evaluate FILE -w WORKSPACE"
        )
    for name in options.models:
        correctness_query(snapshot, name, Sight.SEEN, options.measure)  # raises for an unknown one
    if options.turns == "first":
        columns = query.fetch_arrays(_SAMPLES)
        columns["turn"] = np.zeros(len(columns["row_idx"]), np.int32)
    else:
        kinds = {"kinds": list(ANSWER_KINDS)}
        columns = query.fetch_arrays(_OF_TURNS[options.turns], kinds)
    turns = columns["turn"].astype(np.int64)
    benchmark = Benchmark(
        row_idx=columns["row_idx"].astype(np.int64),
        visnec=columns["visnec"].astype(np.float64),
        source=columns["source"].astype(np.int32),
        sources=tuple(snapshot.source_names()),
        kind=columns["kind"].astype(np.int8),
        turn=turns if options.turns == "all" else None,
    )
    n_turns = int(turns.max(initial=0)) + 1
    keys = benchmark.row_idx * n_turns + turns  # (n,) ascending
    judged = []
    for model in [known[name] for name in options.models] or known.values():
        correctness: dict[str, Correctness] = {}
        for sight in filter(model.has_sight, Sight):
            of_sight = correctness[str(sight)] = np.full(len(benchmark), UNJUDGED, np.int8)
            for rows, of_turns, is_right in _read_right(snapshot, model, sight, options):
                judged_keys = np.where(of_turns < n_turns, rows * n_turns + of_turns, -1)
                inside = np.isin(judged_keys, keys)
                of_sight[np.searchsorted(keys, judged_keys[inside])] = is_right[inside]
        runs = {"run_id": query.values["run_id"], "model": model.name}
        chose_part = model.own and bool(snapshot.fetch_rows(_SAME_WEIGHTS, runs))
        judged.append(ModelCorrectness(model.name, **correctness, chose_part=chose_part))
    return benchmark, judged


def _read_right(
    snapshot: Snapshot, model: PredictingModel, sight: Sight, options: EvaluationOptions
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Correctness]]:
    """Yield row_idx, turn and correctness: of first answers, then of later ones if requested."""
    queries = [correctness_query(snapshot, model.name, sight, options.measure)]
    later = later_correctness_query(model, sight, options.measure)
    if options.turns != "first" and later is not None:
        queries.append(later)
    for query in queries:
        predicted = snapshot.fetch_arrays(*query)
        rows = predicted["row_idx"].astype(np.int64)
        turns = predicted.get("turn", np.zeros(len(rows))).astype(np.int64)
        yield rows, turns, predicted["is_right"].astype(np.int8)
