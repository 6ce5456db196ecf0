"""Predictions: the model's answer to the first question, without the image and with it.

Only the first answer of a conversation is predicted: in later turns the earlier reference answers
would reveal the image to the text-only prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from scoring.engine.choice_rotation import Rotation, rotate_choices
from scoring.engine.isolation import PROBE_QUESTION, FaultIsolator, probe_image
from scoring.engine.preparation import Encoded, ImageLoader, Problem, try_encode
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.predictions.records import DEFAULT_MAX_NEW_TOKENS, Prediction, match_prediction
from scoring.samples import Role, Sample, Status, Turn

_TOO_LARGE = "the prompt does not fit the device's memory, even alone"

Answer = str | Problem | None
"""A generated answer, or why there is none; None: the prompt does not fit the device."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A sample's question, encoded with the images and without, or why it is not."""

    sample: Sample
    multimodal: Encoded
    text_only: Encoded

    def encoded_samples(self) -> Iterator[EncodedSample]:
        """Yield the model's inputs."""
        for prompt in (self.multimodal, self.text_only):
            if isinstance(prompt, EncodedSample):
                yield prompt


def first_question(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return the conversation up to and including its first human turn; empty without one."""
    for index, turn in enumerate(turns):
        if turn.role is Role.HUMAN:
            return tuple(turns[: index + 1])
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
        self._multimodal_pass, self._text_pass = (
            FaultIsolator(
                lambda prompts: model.generate(prompts, max_new_tokens),
                partial(model.encode_prompt, PROBE_QUESTION, images),
            )
            for images in ([probe_image()], [])
        )

    def prepare(self, samples: Sequence[Sample]) -> list[Question]:
        """Prepare questions for the model, in the order of their samples. May run in threads.

        Images that neighbours share are decoded once.
        """
        loader = ImageLoader(self._roots)
        return [self._prepare_question(sample, loader) for sample in samples]

    def predict(self, questions: Sequence[Question]) -> list[Prediction]:
        """Return one pair of predictions per question, in order.

        Raises any exception of the model if it fails on every question; see ``FaultIsolator``.
        """
        multimodal = self._multimodal_pass([question.multimodal for question in questions])
        text_only = self._text_pass([question.text_only for question in questions])
        return [
            match_prediction(
                question.sample.row_idx,
                without if isinstance(without, str) else None,
                with_images if isinstance(with_images, str) else None,
                question.sample.answer,
                question.sample.question,
                reason=_missing_reason(with_images) or _missing_reason(without),
            )
            for question, without, with_images in zip(questions, text_only, multimodal, strict=True)
        ]

    def _prepare_question(self, sample: Sample, loader: ImageLoader) -> Question:
        turns = first_question(sample.turns)
        problem: Problem | None = None
        if sample.status is not Status.PENDING:
            reason = sample.reason or f"the sample is {sample.status}"
            problem = Problem(sample.status, reason)
        elif not turns:
            problem = Problem(sample.status, "the conversation has no human turn")
        if problem is not None:
            return Question(sample, problem, problem)
        n_images = sum(len(turn.image_offsets) for turn in turns)
        images = loader.load_images(sample.images[:n_images])
        if isinstance(images, Problem):
            return Question(sample, images, images)
        return Question(
            sample,
            try_encode(lambda: self._model.encode_prompt(turns, images)),
            try_encode(lambda: self._model.encode_prompt(turns, ())),
        )


def _missing_reason(answer: Answer) -> str | None:
    """Return why there is no answer."""
    if isinstance(answer, Problem):
        return answer.reason
    return _TOO_LARGE if answer is None else None


@dataclass(frozen=True, slots=True, eq=False)
class RotatedQuestion:
    """A question in its original order and in the other rotations of its options."""

    original: Question
    rotations: tuple[Rotation, ...]
    rotated: tuple[Question, ...]

    def encoded_samples(self) -> Iterator[EncodedSample]:
        """Yield the model's inputs."""
        for question in (self.original, *self.rotated):
            yield from question.encoded_samples()


class RotatingPredictor:
    """Predicts the answer to each multiple-choice question once per option.

    The prediction is that of the original question, so all other measures stay about the question
    as people read it; the rotations add the numbers of right answers.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def prepare(self, samples: Sequence[Sample]) -> list[RotatedQuestion]:
        """Prepare questions for the model, in the order of their samples. May run in threads."""
        rotations = [
            rotate_choices(first_question(sample.turns), sample.answer) for sample in samples
        ]
        variants: list[Sample] = []
        for sample, orders in zip(samples, rotations, strict=True):
            variants.append(sample)
            variants += [
                replace(sample, turns=(*order.turns, *sample.turns[len(order.turns) :]))
                for order in orders[1:]
            ]
        questions = iter(self._predictor.prepare(variants))
        return [
            RotatedQuestion(next(questions), orders, tuple(next(questions) for _ in orders[1:]))
            for orders in rotations
        ]

    def predict(self, questions: Sequence[RotatedQuestion]) -> list[Prediction]:
        """Return one pair of predictions per question, with the number of right rotations."""
        flat = [q for question in questions for q in (question.original, *question.rotated)]
        predictions = iter(self._predictor.predict(flat))
        return [
            _count_right(question.rotations, [next(predictions) for _ in (0, *question.rotated)])
            for question in questions
        ]


def _count_right(rotations: Sequence[Rotation], predictions: Sequence[Prediction]) -> Prediction:
    if not rotations:
        return predictions[0]

    def n_right(texts: Sequence[str | None]) -> int | None:
        """Return in how many rotations the answer is right; None if one has no answer."""
        given = [text for text in texts if text is not None]
        if len(given) < len(rotations):
            return None
        return sum(order.is_right(text) for order, text in zip(rotations, given, strict=True))

    return replace(
        predictions[0],
        rotations=len(rotations),
        rotated_right_text=n_right([prediction.prediction_text for prediction in predictions]),
        rotated_right_multimodal=n_right(
            [prediction.prediction_multimodal for prediction in predictions]
        ),
    )
