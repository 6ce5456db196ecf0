"""The two passes: samples in, a score or a status with its reason out.

Which answer tokens count is decided once, on the longer sequence, and both passes score exactly
those; a sample for which that fails has no score. Sums and squared differences are kept per turn,
so that means and confidence intervals need no second pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.necessity import visnec_score
from scoring.prompting import PromptProblem
from scoring.readers.images import ImageProblem, open_image, resolve_image
from scoring.samples import Sample, Status

BASELINES = ("none",)


@dataclass(frozen=True, slots=True)
class TurnScore:
    """Losses of one answer, in nats, summed over its ``n_answer_tokens`` tokens."""

    turn: int
    loss_text_sum: float
    loss_multimodal_sum: float
    n_answer_tokens: int
    delta_sq_sum: float


@dataclass(frozen=True, slots=True)
class SampleScore:
    """The outcome for one sample and blind baseline; ``turns`` is empty unless it was scored."""

    row_idx: int
    baseline: str
    status: Status
    reason: str | None = None
    truncated: bool = False
    turns: tuple[TurnScore, ...] = ()

    @property
    def n_answer_tokens(self) -> int:
        """Tokens that the losses are averaged over."""
        return sum(turn.n_answer_tokens for turn in self.turns)

    @property
    def loss_text(self) -> float | None:
        """Mean text-only loss in nats per answer token."""
        total = sum(turn.loss_text_sum for turn in self.turns)
        return total / self.n_answer_tokens if self.turns else None

    @property
    def loss_multimodal(self) -> float | None:
        """Mean multimodal loss in nats per answer token."""
        total = sum(turn.loss_multimodal_sum for turn in self.turns)
        return total / self.n_answer_tokens if self.turns else None

    @property
    def visnec(self) -> float | None:
        """The VisNec score in nats per answer token."""
        if self.loss_text is None or self.loss_multimodal is None:
            return None
        return visnec_score(self.loss_text, self.loss_multimodal)


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A sample ready for both passes."""

    sample: Sample
    multimodal: EncodedSample
    text: EncodedSample
    truncated: bool


class Scorer:
    """Scores samples with one model, against one or several blind baselines.

    ``prepare`` decodes and tokenises and may run in threads ahead of ``score``, which computes.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        image_roots: Sequence[Path],
        *,
        baselines: Sequence[str] = BASELINES,
        truncate: bool = False,
    ) -> None:
        self._model, self._roots, self._truncate = model, image_roots, truncate
        self._baselines = tuple(baselines)

    def prepare(self, samples: Sequence[Sample]) -> list[Prepared]:
        """Samples ready for the passes, or what became of them; in their order."""
        return [self._prepare(sample, "none") for sample in samples]

    def score(self, prepared: Sequence[Prepared]) -> list[SampleScore]:
        """One outcome per sample and baseline: all of the first baseline, then the next."""
        pairs = [item for item in prepared if isinstance(item, _Pair)]
        multimodal = self._model.answer_losses([pair.multimodal for pair in pairs])
        text = self._model.answer_losses([pair.text for pair in pairs])
        passes = zip(pairs, text, multimodal, strict=True)
        scored = iter([_scored(pair, "none", *losses) for pair, *losses in passes])
        return [next(scored) if isinstance(item, _Pair) else item for item in prepared]

    def _prepare(self, sample: Sample, baseline: str) -> _Pair | SampleScore:
        if sample.status is not Status.PENDING:
            return SampleScore(sample.row_idx, baseline, sample.status, sample.reason)
        try:
            images = [open_image(resolve_image(path, self._roots)) for path in sample.images]
            multimodal = self._model.encode(sample.turns, images)
            text = self._model.encode(sample.turns, ())
            return self._pair(sample, multimodal, text)
        except (ImageProblem, PromptProblem) as problem:
            return SampleScore(sample.row_idx, baseline, problem.status, problem.reason)

    def _pair(self, sample: Sample, multimodal: EncodedSample, text: EncodedSample) -> _Pair:
        if multimodal.answer_ids != text.answer_ids:
            raise PromptProblem(
                Status.TOKEN_MISMATCH, "the answers are tokenised differently without the image"
            )
        if not multimodal.answer_ids:
            raise PromptProblem(Status.NO_ANSWER, "no answer token is left to score")
        limit = self._model.info.max_length
        longest = max(len(multimodal.input_ids), len(text.input_ids))
        if longest <= limit:
            return _Pair(sample, multimodal, text, truncated=False)
        if not self._truncate:
            raise PromptProblem(
                Status.TOO_LONG,
                f"{longest:,} tokens, the model takes {limit:,}; --truncate scores what fits",
            )
        return _truncated(sample, multimodal, text, limit)


Prepared = _Pair | SampleScore
"""What ``Scorer.prepare`` gives and ``Scorer.score`` takes."""


def _truncated(sample: Sample, multimodal: EncodedSample, text: EncodedSample, limit: int) -> _Pair:
    """Both passes cut behind the same answer token: the last that fits in the longer one."""
    longer = max(multimodal, text, key=lambda encoded: len(encoded.input_ids))
    kept = sum(turn >= 0 for turn in longer.turn_ids[:limit])
    if not kept:
        raise PromptProblem(
            Status.TOO_LONG, f"no answer token fits within the model's {limit:,} tokens"
        )
    return _Pair(sample, _cut(multimodal, kept), _cut(text, kept), truncated=True)


def _cut(encoded: EncodedSample, n_answers: int) -> EncodedSample:
    """``encoded`` up to and including its ``n_answers``-th answer token."""
    answers = [index for index, turn in enumerate(encoded.turn_ids) if turn >= 0]
    end = answers[n_answers - 1] + 1
    length = len(encoded.input_ids)
    inputs = {
        key: value[:, :end] if tuple(value.shape[:2]) == (1, length) else value
        for key, value in encoded.inputs.items()
    }
    return EncodedSample(encoded.input_ids[:end], encoded.turn_ids[:end], inputs)


def _scored(
    pair: _Pair,
    baseline: str,
    text: NDArray[np.float32] | None,
    multimodal: NDArray[np.float32] | None,
) -> SampleScore:
    outcome = SampleScore(pair.sample.row_idx, baseline, Status.SCORED, truncated=pair.truncated)
    if text is None or multimodal is None:
        reason = "the sample does not fit the device's memory, even alone"
        return replace(outcome, status=Status.OUT_OF_MEMORY, reason=reason)
    if not (np.isfinite(text).all() and np.isfinite(multimodal).all()):
        reason = "the model gave a loss that is not a finite number"
        return replace(outcome, status=Status.NON_FINITE, reason=reason)
    return replace(outcome, turns=turn_scores(pair.text.answer_turns, text, multimodal))


def turn_scores(
    turns: Sequence[int], text: NDArray[np.float32], multimodal: NDArray[np.float32]
) -> tuple[TurnScore, ...]:
    """Sums per turn, in float64, over the losses of answer tokens in nats (equal lengths)."""
    of_turn = np.asarray(turns)
    text64, multimodal64 = text.astype(np.float64), multimodal.astype(np.float64)
    scores = []
    for turn in np.unique(of_turn):
        mine = of_turn == turn
        delta = text64[mine] - multimodal64[mine]
        scores.append(
            TurnScore(
                turn=int(turn),
                loss_text_sum=float(text64[mine].sum()),
                loss_multimodal_sum=float(multimodal64[mine].sum()),
                n_answer_tokens=int(mine.sum()),
                delta_sq_sum=float((delta * delta).sum()),
            )
        )
    return tuple(scores)
