"""Predictions: what the model answers to the first question, without the image and with it.

Only the first answer of a conversation is predicted: in later turns the earlier reference
answers would give the image away to the text-only prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from scoring.models.base import VisionLanguageModel
from scoring.readers.images import ImageProblem, open_image, resolve_image
from scoring.samples import Role, Sample, Status, Turn

DEFAULT_MAX_NEW_TOKENS = 64

Prompt = tuple[Sequence[Turn], Sequence[Image.Image]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Greedy answers to the first human turn; None where none could be made."""

    row_idx: int
    prediction_text: str | None
    prediction_multimodal: str | None


def first_question(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The conversation up to and including its first human turn."""
    end = next(index for index, turn in enumerate(turns) if turn.role is Role.HUMAN)
    return tuple(turns[: end + 1])


class Predictor:
    """Predicts answers with one model."""

    def __init__(
        self,
        model: VisionLanguageModel,
        image_roots: Sequence[Path],
        *,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
    ) -> None:
        self._model, self._roots, self._max_new_tokens = model, image_roots, max_new_tokens

    def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One prediction pair per sample, in their order."""
        prompts = [self._prompt(sample) for sample in samples]
        ready = [prompt for prompt in prompts if prompt is not None]
        multimodal = iter(self._model.generate(ready, self._max_new_tokens))
        blind = [(turns, ()) for turns, _ in ready]
        text = iter(self._model.generate(blind, self._max_new_tokens))
        return [
            Prediction(sample.row_idx, None, None)
            if prompt is None
            else Prediction(sample.row_idx, next(text), next(multimodal))
            for sample, prompt in zip(samples, prompts, strict=True)
        ]

    def _prompt(self, sample: Sample) -> Prompt | None:
        if sample.status is not Status.PENDING:
            return None
        question = first_question(sample.turns)
        n_images = sum(len(turn.image_offsets) for turn in question)
        try:
            paths = [resolve_image(path, self._roots) for path in sample.images[:n_images]]
            return question, [open_image(path) for path in paths]
        except ImageProblem:
            return None
