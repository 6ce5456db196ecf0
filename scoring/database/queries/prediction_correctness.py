"""Verdicts on predictions: whether a model was right about a sample, with the image and without.

The one decision behind it: a measure is a condition over what the database keeps of a prediction,
so that figures and filters can never differ about what is right. A sample without a reference
answer, and one that a measure cannot judge, has no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from scoring.database.connection import Snapshot, Store
from scoring.errors import InputError
from scoring.evaluation.accuracy import MEASURES
from scoring.predictions.files import Sight

_CONDITIONS: Final[Mapping[str, str]] = {
    "auto": "coalesce(p.letter, p.exact)",
    "exact": "p.exact",
    "letter": "p.letter",
    "f1": "p.f1 >= 0.5",
    "contains": "contains(lower(p.prediction), lower(trim(s.answer)))",
    "strict": "trim(p.prediction) = trim(s.answer)",
    "rotated": "p.rotated",
}
_OF_RUN: Final[Mapping[str, str]] = {
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
    SELECT p.run_id AS model, true AS own, any_value(r.model) AS told,
        count(p.prediction_multimodal) AS seen, count(p.prediction_text) AS blind,
        0 AS text_model, min(r.created_at) AS since
    FROM predictions p JOIN runs r ON r.run_id = p.run_id AND r.position = 0
    GROUP BY p.run_id
    UNION ALL
    SELECT model, false, model, count(*) FILTER (sight = 'seen'),
        count(*) FILTER (sight = 'blind'), count(*) FILTER (sight = 'text_model'), NULL
    FROM imported_predictions GROUP BY model
    ORDER BY own DESC, since, model
"""


@dataclass(frozen=True, slots=True)
class PredictingModel:
    """A model with predictions: a run (``own``) or an imported one, by the name filters give it.

    ``told`` is what the run's record calls its model. Counts are samples with a prediction.
    """

    name: str
    own: bool
    told: str
    seen: int
    blind: int
    text_model: int

    def has(self, sight: Sight) -> bool:
        """Whether it predicted anything with this sight."""
        return bool(getattr(self, str(sight)))


def fetch_models(store: Store) -> list[PredictingModel]:
    """The models with predictions: runs from the oldest on, then imported ones by name."""
    return list_models(store.snapshot())


def list_models(snapshot: Snapshot) -> list[PredictingModel]:
    """As ``read_models``; kept with the snapshot."""

    def read() -> list[PredictingModel]:
        return [PredictingModel(*row[:6]) for row in snapshot.rows(_MODELS)]

    return snapshot.cache.get_or_compute(
        ("models with predictions",), read, lambda found: 200 * len(found)
    )


def correctness_query(
    snapshot: Snapshot, model: str, sight: Sight, measure: str
) -> tuple[str, dict[str, Any]]:
    """Query and values for row_idx and verdict (true or false) of what a model answered.

    Raises InputError for a model without predictions and for an unknown measure.
    """
    known = {one.name: one for one in list_models(snapshot)}
    if model not in known:
        raise InputError(
            f"there are no predictions of {model!r}; there are those of: "
            f"{', '.join(known) or 'nobody, run visnec predict or visnec evaluate FILE'}"
        )
    condition = _CONDITIONS[check_measure(measure)]
    values: dict[str, Any] = {"model": model}
    predictions = _OF_RUN.get(sight) if known[model].own else _IMPORTED
    if predictions is None:
        return "SELECT 0::BIGINT AS row_idx, true AS verdict WHERE $model = ''", values
    if not known[model].own:
        values["sight"] = str(sight)
    pieces = (
        "SELECT s.row_idx,", condition, "AS verdict FROM (", predictions, ") p",
        "JOIN samples s ON s.row_idx = p.row_idx",
        "WHERE p.prediction IS NOT NULL AND s.answer_kind <> 'none' AND",
        "(", condition, ") IS NOT NULL",
    )  # fmt: skip
    return "\n".join(pieces), values


def imported_answers(store: Store, row_idx: int) -> pd.DataFrame:
    """What imported models predicted for one sample: model, sight, prediction and its matches
    with the reference (exact, letter, f1), by model, then sight."""
    return store.snapshot().frame(_OF_SAMPLE, {"row_idx": int(row_idx)})


_OF_SAMPLE = """
    SELECT model, sight, prediction, exact, letter, f1 FROM imported_predictions
    WHERE row_idx = $row_idx
    ORDER BY model, list_position(['seen', 'blind', 'text_model'], sight)
"""


def check_measure(measure: str) -> str:
    """``measure`` if there is such a one. Raises InputError."""
    if measure not in MEASURES:
        raise InputError(f"unknown measure {measure!r}; known are {', '.join(MEASURES)}")
    return measure
