"""The options of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scoring.evaluation.accuracy import DEFAULT_MEASURE, MEASURES
from scoring.evaluation.evaluate import DEFAULT_SCORE_BANDS
from scoring.options import Option


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Which models are evaluated, what counts as right, and where the necessary part starts."""

    threshold: Annotated[
        float | None,
        Option("Lowest VisNec score of the necessary part. Default: the upper band limit."),
    ] = None
    measure: Annotated[
        str,
        Option(
            "What counts as right. "
            + "; ".join(f"{name}: {meaning}" for name, meaning in MEASURES.items())
        ),
    ] = DEFAULT_MEASURE
    models: Annotated[
        tuple[str, ...], Option("Evaluate only these models (repeatable).", "--model")
    ] = ()
    n_bands: Annotated[
        int, Option("Number of score bands, of about the same number of samples.", "--bands", min=1)
    ] = DEFAULT_SCORE_BANDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models or ()))
