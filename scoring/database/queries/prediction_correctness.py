"""Whether a model's predictions are right, with the image and without.

A measure is an SQL condition over the stored prediction, so that figures and filters cannot differ
about what is right. A sample without a reference answer, or one that a measure cannot judge, is
neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from scoring.database.connection import Snapshot, Store
from scoring.errors import InputError
from scoring.evaluation.accuracy import MEASURES
from scoring.predictions.files import Sight

_JUDGED = """
    SELECT s.row_idx, {condition} AS is_right
    FROM ({predictions}) p JOIN samples s ON s.row_idx = p.row_idx
    WHERE p.prediction IS NOT NULL AND s.answer_kind <> 'none' AND ({condition}) IS NOT NULL
"""
# Of the answers after the first, which name their own reference.
_JUDGED_LATER = """
    SELECT s.row_idx, s.turn, {condition} AS is_right
    FROM ({predictions}) s, LATERAL (SELECT s.prediction, s.exact, s.letter, s.f1, s.rotated) p
    WHERE p.prediction IS NOT NULL AND trim(s.answer) <> '' AND ({condition}) IS NOT NULL
"""
_LATER_OF_RUN = """
    SELECT
        row_idx, turn, answer, prediction_{pass_} AS prediction, exact_{pass_} AS exact,
        letter_{pass_} AS letter, f1_{pass_} AS f1, rotated_right_{pass_} = rotations AS rotated
    FROM turn_predictions WHERE run_id = $model
"""
_LATER_IMPORTED = """
    SELECT row_idx, turn, answer, prediction, exact, letter, f1, NULL::BOOLEAN AS rotated
    FROM imported_turn_predictions WHERE model = $model AND sight = $sight
"""
_PASSES = {Sight.SEEN: "multimodal", Sight.BLIND: "text"}
_CONDITIONS: Final = {
    "auto": "coalesce(p.letter, p.exact)",
    "exact": "p.exact",
    "letter": "p.letter",
    "f1": "p.f1 >= 0.5",
    "contains": "contains(lower(p.prediction), lower(trim(s.answer)))",
    "strict": "trim(p.prediction) = trim(s.answer)",
    "rotated": "p.rotated",
}
_OF_RUN: Final = {
    Sight.SEEN: """
        SELECT row_idx, prediction_multimodal AS prediction, exact_multimodal AS exact,
            letter_multimodal AS letter, f1_multimodal AS f1,
            rotated_right_multimodal = rotations AS rotated
        FROM predictions WHERE run_id = $model
    """,
    Sight.BLIND: """
        SELECT row_idx, prediction_text AS prediction, exact_text AS exact,
            letter_text AS letter, f1_text AS f1, rotated_right_text = rotations AS rotated
        FROM predictions WHERE run_id = $model
    """,
}
_IMPORTED = """
    SELECT row_idx, prediction, exact, letter, f1, NULL::BOOLEAN AS rotated
    FROM imported_predictions WHERE model = $model AND sight = $sight
"""
_MODELS = """
    SELECT run_id AS model, true AS own, r.model AS reported_name, coalesce(first.seen, 0) AS seen,
        coalesce(first.blind, 0) AS blind, 0 AS text_model, coalesce(later.n, 0) AS later,
        CASE WHEN later.n > 0 THEN ['seen', 'blind'] ELSE [] END AS later_sights,
        r.created_at AS since
    FROM (
        SELECT run_id, count(prediction_multimodal) AS seen, count(prediction_text) AS blind
        FROM predictions GROUP BY run_id
    ) first
    FULL JOIN (
        SELECT run_id, count(*) AS n FROM turn_predictions GROUP BY run_id
    ) later USING (run_id)
    JOIN runs r USING (run_id)
    WHERE r.position = 0
    UNION ALL
    SELECT model, false, model, coalesce(first.seen, 0), coalesce(first.blind, 0),
        coalesce(first.text_model, 0), coalesce(later.n, 0), coalesce(later.sights, []), NULL
    FROM (
        SELECT model, count(*) FILTER (sight = 'seen') AS seen,
            count(*) FILTER (sight = 'blind') AS blind,
            count(*) FILTER (sight = 'text_model') AS text_model
        FROM imported_predictions GROUP BY model
    ) first
    FULL JOIN (
        SELECT model, count(*) AS n, list(DISTINCT sight) AS sights
        FROM imported_turn_predictions GROUP BY model
    ) later USING (model)
    ORDER BY own DESC, since, model
"""


@dataclass(frozen=True, slots=True)
class PredictingModel:
    """A model with predictions: a run (``own``) or an imported one, by its name in filters.

    ``reported_name`` is the model's name in the run's record. Counts are samples with a prediction
    of the first answer; ``later`` counts predictions of later answers, made with ``later_sights``.
    """

    name: str
    own: bool
    reported_name: str
    seen: int
    blind: int
    text_model: int
    later: int
    later_sights: Sequence[str]

    def has_sight(self, sight: Sight) -> bool:
        """Return whether it predicted anything with this sight."""
        return bool(getattr(self, str(sight)) or sight in self.later_sights)


def fetch_models(store: Store) -> list[PredictingModel]:
    """Return the models with predictions: runs, oldest first, then imported models by name."""
    return list_models(store.snapshot())


def list_models(snapshot: Snapshot) -> list[PredictingModel]:
    """As :func:`fetch_models`, cached with the snapshot."""
    return snapshot.cache.get_or_compute(
        ("models with predictions",),
        lambda: [PredictingModel(*row[:8]) for row in snapshot.fetch_rows(_MODELS)],
        lambda models: 200 * len(models),
    )


def correctness_query(
    snapshot: Snapshot, model: str, sight: Sight, measure: str
) -> tuple[str, dict[str, Any]]:
    """Return a query for row_idx and is_right of a model's predictions, and its values.

    Raises InputError for a model without predictions and for an unknown measure.
    """
    known = {predicting.name: predicting for predicting in list_models(snapshot)}
    if model not in known:
        raise InputError(
            f"There are no predictions of {model!r}. Available: "
            f"{', '.join(known) or 'none yet, run visnec predict or visnec evaluate FILE'}."
        )
    if measure not in MEASURES:
        raise InputError(f"Unknown measure {measure!r}. Choose one of: {', '.join(MEASURES)}.")
    predictions = _OF_RUN.get(sight) if known[model].own else _IMPORTED
    if predictions is None:
        return "SELECT 0::BIGINT AS row_idx, true AS is_right WHERE false", {}
    query = _JUDGED.format(condition=_CONDITIONS[measure], predictions=predictions)
    return query, {"model": model, "sight": str(sight)}


def later_correctness_query(
    model: PredictingModel, sight: Sight, measure: str
) -> tuple[str, dict[str, Any]] | None:
    """Return a query for row_idx, turn and is_right of a model's answers after the first.

    None if it has none with this sight. The measure was checked by :func:`correctness_query`.
    """
    if sight not in model.later_sights:
        return None
    condition = _CONDITIONS[measure]
    if model.own:
        predictions = _LATER_OF_RUN.format(pass_=_PASSES[sight])
        return _JUDGED_LATER.format(condition=condition, predictions=predictions), {
            "model": model.name
        }
    query = _JUDGED_LATER.format(condition=condition, predictions=_LATER_IMPORTED)
    return query, {"model": model.name, "sight": str(sight)}


def imported_answers(store: Store, row_idx: int) -> pd.DataFrame:
    """Return what imported models predicted for one sample, by turn, model, then sight.

    Columns: turn (0-based position among the answers), model, sight, prediction and its matches
    with the reference (exact, letter, f1).
    """
    return store.snapshot().fetch_frame(
        """
        SELECT 0 AS turn, model, sight, prediction, exact, letter, f1 FROM imported_predictions
        WHERE row_idx = $row_idx
        UNION ALL
        SELECT turn, model, sight, prediction, exact, letter, f1 FROM imported_turn_predictions
        WHERE row_idx = $row_idx
        ORDER BY turn, model, list_position(['seen', 'blind', 'text_model'], sight)
        """,
        {"row_idx": int(row_idx)},
    )
