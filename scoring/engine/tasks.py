"""What a run does with samples: score them, or predict answers to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from scoring.engine.predictions import Predictor, Question, RotatedQuestion, RotatingPredictor
from scoring.engine.preparation import Prepared
from scoring.engine.scorer import Scorer, score_row
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.predictions.records import PredictionSettings, to_prediction_row
from scoring.samples import Sample
from scoring.workspace import Workspace

Item = TypeVar("Item")


class SampleTask(Protocol[Item]):
    """Turns samples into rows of a run's journal, in two steps."""

    def prepare(self, samples: Sequence[Sample]) -> list[Item]:
        """Decode and tokenise samples; called in threads, ahead of ``compute_rows``."""
        ...

    def compute_rows(self, items: list[Item]) -> list[dict[str, Any]]:
        """Run the model on prepared items and return rows of the journal."""
        ...

    def encoded_samples(self, item: Item) -> Iterable[EncodedSample]:
        """Return the encoded samples in an item, whose tensors count towards the memory limit."""
        ...


class ScoringTask:
    """Scores samples with and without their images."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def prepare(self, samples: Sequence[Sample]) -> list[Prepared]:
        """Decode and tokenise samples."""
        return self._scorer.prepare(samples)

    def compute_rows(self, items: list[Prepared]) -> list[dict[str, Any]]:
        """Return a row of ``schemas.SCORES`` per sample and baseline."""
        return [score_row(score) for score in self._scorer.score(items)]

    def encoded_samples(self, item: Prepared) -> Iterable[EncodedSample]:
        """Return the inputs of all passes."""
        return item.encoded_samples()


class PredictionTask:
    """Predicts the answer to each sample's first question with and without its images."""

    def __init__(
        self, model: VisionLanguageModel, workspace: Workspace, settings: PredictionSettings
    ) -> None:
        self._max_new_tokens = settings.max_new_tokens
        plain = Predictor(model, workspace.image_roots, max_new_tokens=settings.max_new_tokens)
        self._predictor: Any = RotatingPredictor(plain) if settings.rotate_choices else plain

    def prepare(self, samples: Sequence[Sample]) -> list[Question | RotatedQuestion]:
        """Decode and tokenise questions."""
        return list(self._predictor.prepare(samples))

    def compute_rows(self, items: list[Question | RotatedQuestion]) -> list[dict[str, Any]]:
        """Return a row of ``schemas.PREDICTIONS`` per sample."""
        predictions = self._predictor.predict(items)
        return [to_prediction_row(prediction, self._max_new_tokens) for prediction in predictions]

    def encoded_samples(self, item: Question | RotatedQuestion) -> Iterable[EncodedSample]:
        """Return the prompts of both passes."""
        return item.encoded_samples()
