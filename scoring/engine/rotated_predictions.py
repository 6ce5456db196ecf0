"""Predictions of multiple-choice questions in every order of their options.

The one decision behind it: each order is a question of its own to the same predictor, and what is
kept are counts beside the prediction of the question as it stands, so that every other measure
goes on being about the question as people read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scoring.engine.choice_rotation import Rotation, rotate_choices
from scoring.engine.predictions import Predictor, first_question
from scoring.models.base import EncodedSample
from scoring.predictions.records import Prediction
from scoring.samples import Sample

if TYPE_CHECKING:
    from scoring.engine.predictions import Question


@dataclass(frozen=True, slots=True, eq=False)
class RotatedQuestion:
    """A question as it stands, and its further orders with what is asked in each."""

    plain: Question
    orders: tuple[Rotation, ...]
    asked: tuple[Question, ...]

    def encoded(self) -> Iterator[EncodedSample]:
        """What the model is fed."""
        for question in (self.plain, *self.asked):
            yield from question.encoded()


class RotatingPredictor:
    """Asks a predictor each multiple-choice question once per option."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def prepare(self, samples: Sequence[Sample]) -> list[RotatedQuestion]:
        """Questions ready for the model, in the order of their samples. May run in threads."""
        orders = [rotate_choices(first_question(one.turns), one.answer) for one in samples]
        variants = [
            [sample, *(_moved(sample, order) for order in mine[1:])]
            for sample, mine in zip(samples, orders, strict=True)
        ]
        ready = iter(self._predictor.prepare([one for group in variants for one in group]))
        return [
            RotatedQuestion(next(ready), mine, tuple(next(ready) for _ in mine[1:]))
            for mine in orders
        ]

    def predict(self, questions: Sequence[RotatedQuestion]) -> list[Prediction]:
        """One prediction pair per question, with how many orders each of the two is right in."""
        flat = [one for question in questions for one in (question.plain, *question.asked)]
        found = iter(self._predictor.predict(flat))
        return [
            _counted(question.orders, [next(found) for _ in range(1 + len(question.asked))])
            for question in questions
        ]


def _moved(sample: Sample, order: Rotation) -> Sample:
    return replace(sample, turns=(*order.turns, *sample.turns[len(order.turns) :]))


def _counted(orders: Sequence[Rotation], predictions: Sequence[Prediction]) -> Prediction:
    plain = predictions[0]
    if not orders:
        return plain
    return replace(
        plain,
        rotations=len(orders),
        rotated_right_text=_n_right(orders, [one.prediction_text for one in predictions]),
        rotated_right_multimodal=_n_right(
            orders, [one.prediction_multimodal for one in predictions]
        ),
    )


def _n_right(orders: Sequence[Rotation], texts: Sequence[str | None]) -> int | None:
    """Orders in which the answer is right; None where one of them has no answer."""
    pairs = [(order, text) for order, text in zip(orders, texts, strict=True) if text is not None]
    if len(pairs) < len(orders):
        return None
    return sum(order.is_right(text) for order, text in pairs)
