"""Predictions: the model's own answers in a conversation, without the image and with it.

The prompt of an answer is everything before it, with the reference answers of earlier turns. In
later turns these may reveal the image to the text-only prediction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from scoring.engine.isolation import PROBE_IMAGE, PROBE_QUESTION, FaultIsolator
from scoring.engine.preparation import Encoded, ImageLoader, Images, Problem, try_encode
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.predictions.answer_match import (
    find_chosen_letter,
    find_option_spans,
    find_reference_letter,
    list_options,
)
from scoring.predictions.records import (
    DEFAULT_MAX_NEW_TOKENS,
    LaterTurns,
    Prediction,
    match_prediction,
    to_prediction_row,
)
from scoring.samples import Role, Sample, Status, Turn

_TOO_LARGE = "the prompt does not fit the device's memory, even alone"

# Such options mean something else in another position.
_POSITION_DEPENDENT = re.compile(
    r"\b(?:both|neither|above|below|options?|choices?)\b|\b[A-H] (?:and|or) [A-H]\b", re.IGNORECASE
)

Answer = str | Problem | None
"""A generated answer, or why there is none; None: the prompt does not fit the device."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A question with its options moved, and the letter that is then right."""

    turns: tuple[Turn, ...]
    letter: str
    question: str

    def is_right(self, prediction: str) -> bool:
        """Return whether a prediction chooses the option of the reference."""
        return find_chosen_letter(prediction, list_options(self.question)) == self.letter


def rotate_choices(turns: Sequence[Turn], reference: str) -> tuple[Rotation, ...]:
    """Return the question in every rotation, first unchanged; empty if it cannot be rotated.

    The options move to other letters. A model that always answers A, or prefers the first option,
    is right about a question by chance; one that knows the answer is right in every order. Only the
    texts of the options move, so the rest of the prompt stays unchanged, including its length.

    ``turns`` end with the question. It cannot be rotated if it lists no options, the reference is
    not one of them, an option refers to others, or an image is between them.
    """
    if not turns:
        return ()
    text = turns[-1].text
    spans = find_option_spans(text)
    right = find_reference_letter(reference, text) if spans else None
    if right is None or any(_POSITION_DEPENDENT.search(text[a:b]) for _, a, b in spans):
        return ()
    if any(spans[0][1] < offset < spans[-1][2] for offset in turns[-1].image_offsets):
        return ()
    letters = [letter for letter, _, _ in spans]
    right_index = letters.index(right)
    rotations = []
    for shift in range(len(spans)):
        pieces, copied = [], 0
        for index, (_, start, end) in enumerate(spans):
            _, first, last = spans[(index + shift) % len(spans)]  # the option that moves here
            pieces += [text[copied:start], text[first:last]]
            copied = end
        question = "".join((*pieces, text[copied:]))
        if list(list_options(question)) != letters:
            return ()  # the text of an option reads as a letter elsewhere
        moved = (*turns[:-1], replace(turns[-1], text=question))
        rotations.append(Rotation(moved, letters[(right_index - shift) % len(letters)], question))
    return tuple(rotations)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What comes before an answer, encoded with the images and without, or why it is not.

    ``turn`` is the 0-based position of the answer among the answers of its sample.
    """

    row_idx: int
    turn: int
    question: str
    reference: str
    multimodal: Encoded
    text_only: Encoded
    rotations: tuple[Rotation, ...] = ()  # the orders of its options, its own first
    rotated: tuple[Question, ...] = ()  # the questions in the other orders


def turns_before(turns: Sequence[Turn], turn: int) -> tuple[Turn, ...]:
    """Return the conversation before an answer; empty if no human turn is directly before it.

    ``turn`` is the 0-based position among the answers.
    """
    answers = [index for index, each in enumerate(turns) if each.role is Role.ASSISTANT]
    before = turns[: answers[turn]] if turn < len(answers) else ()
    return tuple(before) if before and before[-1].role is Role.HUMAN else ()


class Predictor:
    """Predicts answers with one model: the first of each sample, or with ``later`` the later ones.

    With ``rotate_choices`` it answers each multiple-choice question once per option. The prediction
    is that of the original question, so all other measures stay about the question as people read
    it; the rotations add the numbers of right answers.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        image_roots: Sequence[Path],
        *,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        rotate_choices: bool = False,
        later: LaterTurns | None = None,
    ) -> None:
        self._model, self._roots, self._later = model, image_roots, later
        self._max_new_tokens, self._rotates = max_new_tokens, rotate_choices
        self._multimodal_pass, self._text_pass = (
            FaultIsolator(
                lambda prompts: model.generate(prompts, max_new_tokens),
                partial(model.encode_prompt, PROBE_QUESTION, images),
            )
            for images in ([PROBE_IMAGE], [])
        )

    def prepare(self, samples: Sequence[Sample]) -> list[Question]:
        """Prepare questions, in order; may run in threads. Shared images are decoded once."""
        loader = ImageLoader(self._roots)
        questions = []
        for sample in samples:
            for turn in self._predicted_turns(sample):
                prompt = turns_before(sample.turns, turn)
                question = self._prepare_question(sample, turn, prompt, loader)
                if self._rotates:
                    orders = rotate_choices(prompt, question.reference)
                    variants = tuple(
                        self._prepare_question(sample, turn, order.turns, loader)
                        for order in orders[1:]
                    )
                    question = replace(question, rotations=orders, rotated=variants)
                questions.append(question)
        return questions

    def _predicted_turns(self, sample: Sample) -> Sequence[int]:
        """Return which answers of a sample are predicted."""
        later = range(1, sample.n_turns)
        return range(1) if self._later is None else later[-1:] if self._later == "last" else later

    def predict(self, questions: Sequence[Question]) -> list[Prediction]:
        """Return one pair of predictions per question, in order.

        Raises any exception of the model if it fails on every question; see ``FaultIsolator``.
        """
        flat = [variant for question in questions for variant in (question, *question.rotated)]
        multimodal = self._multimodal_pass([question.multimodal for question in flat])
        text_only = self._text_pass([question.text_only for question in flat])
        pairs = zip(text_only, multimodal, strict=True)
        predictions = []
        for question in questions:
            answers = [next(pairs) for _ in (question, *question.rotated)]
            texts, seen_texts = (
                [answer if isinstance(answer, str) else None for answer in one_pass]
                for one_pass in zip(*answers, strict=True)
            )
            without, with_images = answers[0]
            prediction = match_prediction(
                question.row_idx,
                texts[0],
                seen_texts[0],
                question.reference,
                question.question,
                reason=_missing_reason(with_images) or _missing_reason(without),
                turn=question.turn,
            )
            if question.rotations:
                prediction = replace(
                    prediction,
                    rotations=len(question.rotations),
                    rotated_right_text=_count_right(question.rotations, texts),
                    rotated_right_multimodal=_count_right(question.rotations, seen_texts),
                )
            predictions.append(prediction)
        return predictions

    def compute_rows(self, questions: list[Question]) -> list[dict[str, Any]]:
        """Return a row of ``schemas.TURN_PREDICTIONS`` per question."""
        predictions = self.predict(questions)
        return [to_prediction_row(prediction, self._max_new_tokens) for prediction in predictions]

    def encoded_samples(self, item: Question) -> Iterator[EncodedSample]:
        """Yield the prompts of both passes."""
        variants = (item, *item.rotated)
        prompts = (prompt for each in variants for prompt in (each.multimodal, each.text_only))
        return (prompt for prompt in prompts if isinstance(prompt, EncodedSample))

    def _prepare_question(
        self, sample: Sample, turn: int, prompt: Sequence[Turn], loader: ImageLoader
    ) -> Question:
        """Encode the turns before an answer."""
        answers = [each.text.strip() for each in sample.turns if each.role is Role.ASSISTANT]
        reference = answers[turn] if answers else ""
        images: Images
        if sample.status is not Status.PENDING:
            images = Problem(sample.status, sample.reason or f"the sample is {sample.status}")
        elif not prompt:
            images = Problem(sample.status, "no question comes directly before this answer")
        else:
            n_images = sum(len(each.image_offsets) for each in prompt)
            images = loader.load_images(sample.images[:n_images])
        if isinstance(images, Problem):
            encoded: tuple[Encoded, Encoded] = (images, images)
        else:
            encoded = (self._encode_prompt(prompt, images), self._encode_prompt(prompt, ()))
        question = prompt[-1].text.strip() if prompt else ""
        return Question(sample.row_idx, turn, question, reference, *encoded)

    def _encode_prompt(self, prompt: Sequence[Turn], images: Sequence[Image.Image]) -> Encoded:
        """Return the encoded prompt, or why the model cannot continue it."""
        encoded = try_encode(lambda: self._model.encode_prompt(prompt, images))
        limit = self._model.info.max_length
        if isinstance(encoded, EncodedSample) and len(encoded.input_ids) >= limit:
            reason = (
                f"{len(encoded.input_ids):,} tokens come before this answer, but the model accepts "
                f"{limit:,}"
            )
            return Problem(Status.TOO_LONG, reason)
        return encoded


def _missing_reason(answer: Answer) -> str | None:
    """Return why there is no answer."""
    if isinstance(answer, Problem):
        return answer.reason
    return _TOO_LARGE if answer is None else None


def _count_right(rotations: Sequence[Rotation], answers: Sequence[str | None]) -> int | None:
    """Return in how many rotations the answer is right; None if one has no answer."""
    given = [answer for answer in answers if answer is not None]
    if len(given) < len(rotations):
        return None
    return sum(order.is_right(answer) for order, answer in zip(rotations, given, strict=True))
