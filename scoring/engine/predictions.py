"""Predictions: what the model answers to the first question, without the image and with it.

Only the first answer of a conversation is predicted: in later turns the earlier reference
answers would give the image away to the text-only prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scoring.engine.isolation import PROBE_QUESTION, FaultIsolator, probe_image
from scoring.engine.preparation import Encoded, ImageLoader, Problem, try_encode
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.predictions.records import DEFAULT_MAX_NEW_TOKENS, Prediction, match_prediction
from scoring.samples import Role, Sample, Status, Turn

_TOO_LARGE = "the prompt does not fit the device's memory, even alone"

Answer = str | Problem | None
"""What a model says, or why not; None: the prompt does not fit the device."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What the model is asked about a sample, encoded with the images and without, or why not."""

    sample: Sample
    seeing: Encoded
    blind: Encoded

    def encoded(self) -> Iterator[EncodedSample]:
        """What the model is fed."""
        yield from (one for one in (self.seeing, self.blind) if isinstance(one, EncodedSample))


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
        self._model, self._roots = model, image_roots
        self._seeing, self._blind = (
            FaultIsolator(
                lambda prompts: model.generate(prompts, max_new_tokens),
                partial(model.encode_prompt, PROBE_QUESTION, shown),
            )
            for shown in ([probe_image()], [])
        )

    def prepare(self, samples: Sequence[Sample]) -> list[Question]:
        """Questions ready for the model, in the order of their samples. May run in threads.

        Images that neighbours share are decoded once.
        """
        opened = ImageLoader(self._roots)
        return [self._question(sample, opened) for sample in samples]

    def predict(self, questions: Sequence[Question]) -> list[Prediction]:
        """One prediction pair per question, in their order.

        Raises what the model raises where it fails on every question; see ``CarefulCalls``.
        """
        seeing = _answers(self._seeing, [question.seeing for question in questions])
        blind = _answers(self._blind, [question.blind for question in questions])
        return [
            match_prediction(
                question.sample.row_idx,
                _text(without),
                _text(with_images),
                question.sample.answer,
                question.sample.question,
                reason=_reason(with_images) or _reason(without),
            )
            for question, without, with_images in zip(questions, blind, seeing, strict=True)
        ]

    def _question(self, sample: Sample, opened: ImageLoader) -> Question:
        if sample.status is not Status.PENDING:
            return _unasked(sample, sample.reason or f"the sample is {sample.status}")
        turns = first_question(sample.turns)
        if not turns:
            return _unasked(sample, "the conversation holds no human turn")
        images = opened.of(sample.images[: sum(len(turn.image_offsets) for turn in turns)])
        if isinstance(images, Problem):
            return Question(sample, images, images)
        return Question(
            sample,
            try_encode(lambda: self._model.encode_prompt(turns, images)),
            try_encode(lambda: self._model.encode_prompt(turns, ())),
        )


def _answers(calls: FaultIsolator[str], prompts: Sequence[Encoded]) -> list[Answer]:
    """Answers to those prompts that are there, each at its place; for the others, why not."""
    found = iter(calls([prompt for prompt in prompts if isinstance(prompt, EncodedSample)]))
    return [next(found) if isinstance(one, EncodedSample) else one for one in prompts]


def _unasked(sample: Sample, reason: str) -> Question:
    problem = Problem(sample.status, reason)
    return Question(sample, problem, problem)


def _text(answer: Answer) -> str | None:
    return answer if isinstance(answer, str) else None


def _reason(answer: Answer) -> str | None:
    """Why there is no answer."""
    if isinstance(answer, Problem):
        return answer.reason
    return _TOO_LARGE if answer is None else None
