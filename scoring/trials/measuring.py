"""Measure a trained model on an evaluation set: exact greedy answers, and the loss of the answers.

Greedy decoding writes exactly the reference if each of its tokens, with the end-of-turn token, is
the likeliest after those before it. One pass with the reference as input shows that, and gives the
loss. Longer answers are generated, as the same text may also have other tokens, and so are answers
whose prompt is not the beginning of the whole conversation.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from scoring.database.answer_kinds import classify_answers
from scoring.engine.predictions import turns_before
from scoring.engine.preparation import ImageLoader, Problem, try_encode
from scoring.errors import InputError
from scoring.models.base import EncodedSample
from scoring.models.hf import HfModel
from scoring.models.losses import head_in_float32
from scoring.rules.candidates import ANSWER_KINDS
from scoring.samples import Sample
from scoring.trials.encoding_cache import MAX_BYTES, count_bytes, shrink
from scoring.trials.results import SetResult
from scoring.trials.training import TrainingError, UnitStoppedError

_BATCH = 64  # samples between two looks at ``stop``
_EXTRA_TOKENS = 8  # that a generated answer may have more than the reference

OnMeasured = Callable[[int, int], None]
"""Called with the number of samples measured and of all."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A conversation whose first answer is compared; ``prompt`` is None unless it is generated."""

    encoded: EncodedSample
    n_tokens: int  # of the first answer
    reference: str
    prompt: EncodedSample | None

    @property
    def n_bytes(self) -> int:
        """About how much memory it takes."""
        prompts = [self.encoded, *([self.prompt] if self.prompt else [])]
        return sum(map(count_bytes, prompts))


@dataclass(frozen=True, slots=True)
class Measured:
    """The first answer of one sample: whether it is right, and the loss of all its answers."""

    is_right: bool
    total_loss: float  # nats
    n_tokens: int


class EvaluationRunner:
    """Measures one model, as it is trained at the time, on the samples of one evaluation set.

    Encoded samples are kept for the next unit, up to ``max_bytes``.
    """

    def __init__(
        self,
        model: HfModel,
        samples: Sequence[Sample],
        loader: ImageLoader,
        generate_above: int,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._model, self._samples, self._loader = model, samples, loader
        self._generate_above, self._bytes_left = generate_above, max_bytes
        self._kinds = classify_answers([sample.answer for sample in samples])
        self._kept: dict[int, Question | Problem] = {}  # by position in samples
        self._image_keys: dict[tuple[str, ...], object] = {}  # by references

    def measure(
        self,
        *,
        on_measured: OnMeasured = lambda *_: None,
        stop: threading.Event | None = None,
    ) -> SetResult:
        """Return the result of the model with its current weights.

        Raises UnitStoppedError soon after ``stop`` is set, InputError if the model cannot read any
        sample, and TrainingError if a loss is not a finite number.
        """
        measured: list[Measured | None] = []
        n_generated = 0
        for questions in self._batches():
            if stop is not None and stop.is_set():
                raise UnitStoppedError
            readable = [each for each in questions if isinstance(each, Question)]
            answers = iter(self._measure_batch(readable))
            measured += [next(answers) if isinstance(q, Question) else None for q in questions]
            n_generated += sum(question.prompt is not None for question in readable)
            on_measured(len(measured), len(self._samples))
        return self._summarize(measured, n_generated)

    def _batches(self) -> Iterator[list[Question | Problem]]:
        positions = iter(range(len(self._samples)))
        while batch := list(islice(positions, _BATCH)):
            yield [self._read_question(position) for position in batch]

    def _read_question(self, position: int) -> Question | Problem:
        if (kept := self._kept.get(position)) is not None:
            return kept
        sample, size = self._samples[position], 0
        question = encode_question(self._model, sample, self._loader, self._generate_above)
        if isinstance(question, Question):
            key = self._image_keys.setdefault(sample.images, object())
            prompt = question.prompt and shrink(question.prompt, key)
            question = replace(question, encoded=shrink(question.encoded, key), prompt=prompt)
            size = question.n_bytes
        if size <= self._bytes_left:
            self._bytes_left -= size
            self._kept[position] = question
        return question

    def _measure_batch(self, questions: Sequence[Question]) -> list[Measured | None]:
        """Return what was measured; None for a sample that does not fit the device."""
        read = self._model.answer_hits([question.encoded for question in questions])
        written = self._generate([question for question in questions if question.prompt])
        measured: list[Measured | None] = []
        for question, values in zip(questions, read, strict=True):
            answer = next(written) if question.prompt else ""
            if values is None or answer is None:
                measured.append(None)
                continue
            if question.prompt:
                is_right = answer.strip() == question.reference
            else:
                is_right = bool(values[: question.n_tokens, 1].all())
            measured.append(Measured(is_right, float(values[:, 0].sum(dtype=float)), len(values)))
        return measured

    def _generate(self, questions: Sequence[Question]) -> Iterator[str | None]:
        if not questions:
            return iter(())
        limit = max(question.n_tokens for question in questions) + _EXTRA_TOKENS
        prompts = [question.prompt for question in questions if question.prompt]
        with head_in_float32(self._model.network):  # as in the pass with the reference
            return iter(self._model.generate(prompts, limit))

    def _summarize(self, measured: Sequence[Measured | None], n_generated: int) -> SetResult:
        done = [each for each in measured if each is not None]
        if not done:
            raise InputError("The model cannot read any sample of the evaluation set.")
        loss = sum(each.total_loss for each in done) / sum(each.n_tokens for each in done)
        if not np.isfinite(loss):
            raise TrainingError(
                f"The loss on the evaluation set is {loss}. Plan a trial with a lower "
                "--learning-rate."
            )
        by_kind: dict[str, list[bool]] = defaultdict(list)
        for kind, each in zip(self._kinds, measured, strict=True):
            if each is not None:
                by_kind[kind].append(each.is_right)
        return SetResult(
            n_samples=len(done),
            values={"accuracy": _percent([each.is_right for each in done]), "loss": loss},
            n_skipped=len(measured) - len(done),
            n_generated=n_generated,
            by_kind={
                kind: (len(by_kind[kind]), _percent(by_kind[kind]))
                for kind in ANSWER_KINDS
                if kind in by_kind
            },
        )


def encode_question(
    model: HfModel, sample: Sample, loader: ImageLoader, generate_above: int
) -> Question | Problem:
    """Return a sample encoded for measuring, or why the model cannot read it."""
    images = loader.load_images(sample.images)
    if isinstance(images, Problem):
        return images
    encoded = try_encode(lambda: model.encode(sample.turns, images))
    if not (turns := turns_before(sample.turns, 0)):
        return Problem(sample.status, "no question and answer to measure")
    own = images[: sum(len(turn.image_offsets) for turn in turns)]
    prompt = try_encode(lambda: model.encode_prompt(turns, own))
    if isinstance(encoded, Problem):
        return encoded
    if isinstance(prompt, Problem):
        return prompt
    n_tokens, limit = encoded.turn_ids.count(0), model.info.max_length
    if not n_tokens or len(encoded.input_ids) > limit:
        return Problem(sample.status, f"no answer within the {limit:,} tokens of the model")
    start = encoded.turn_ids.index(0)
    is_exact = n_tokens <= generate_above and encoded.input_ids[:start] == prompt.input_ids
    return Question(encoded, n_tokens, sample.answer, None if is_exact else prompt)


def _percent(values: Sequence[bool]) -> float:
    return 100 * sum(values) / len(values)
