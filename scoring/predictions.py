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
from scoring.prediction_records import DEFAULT_MAX_NEW_TOKENS, Prediction, matched_prediction
from scoring.prompting import PromptProblem
from scoring.readers.images import ImageProblem, open_image, resolve_image
from scoring.samples import Role, Sample, Status, Turn

Prompt = tuple[Sequence[Turn], Sequence[Image.Image]]


def first_question(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The conversation up to and including its first human turn; empty where there is none."""
    for position, turn in enumerate(turns):
        if turn.role is Role.HUMAN:
            return tuple(turns[: position + 1])
    return ()


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
        ready = [prompt for prompt in prompts if not isinstance(prompt, str)]
        seeing = iter(self._generate(ready))
        blind = iter(self._generate([(turns, ()) for turns, _ in ready]))
        return [
            Prediction(sample.row_idx, reason=prompt)
            if isinstance(prompt, str)
            else _matched(sample, next(blind), next(seeing))
            for sample, prompt in zip(samples, prompts, strict=True)
        ]

    def _prompt(self, sample: Sample) -> Prompt | str:
        """The prompt, or why there is none."""
        if sample.status is not Status.PENDING:
            return sample.reason or f"the sample is {sample.status}"
        question = first_question(sample.turns)
        if not question:
            return "the conversation holds no human turn"
        n_images = sum(len(turn.image_offsets) for turn in question)
        try:
            paths = [resolve_image(path, self._roots) for path in sample.images[:n_images]]
            return question, [open_image(path) for path in paths]
        except ImageProblem as problem:
            return problem.reason

    def _generate(self, prompts: Sequence[Prompt]) -> list[_Answer]:
        """Answers in order; a prompt that the model refuses takes no other with it."""
        if not prompts:
            return []
        try:
            texts = self._model.generate(prompts, self._max_new_tokens)
        except PromptProblem as problem:
            if len(prompts) == 1:
                return [_Answer(None, problem.reason)]
            half = len(prompts) // 2
            return self._generate(prompts[:half]) + self._generate(prompts[half:])
        return [_Answer(text, None if text is not None else _TOO_LARGE) for text in texts]


_TOO_LARGE = "the prompt does not fit the device's memory, even alone"


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str | None
    reason: str | None


def _matched(sample: Sample, blind: _Answer, seeing: _Answer) -> Prediction:
    return matched_prediction(
        sample.row_idx,
        blind.text,
        seeing.text,
        sample.answer,
        sample.question,
        reason=seeing.reason or blind.reason,
    )
