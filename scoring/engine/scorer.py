"""The two passes: samples in, a score or a status with its reason out.

Several blind baselines share the multimodal pass, and one that fails for a sample does not affect
the others. Sums are kept per turn, and separately for its end-of-turn token and its thought, so a
score without these needs no second pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.engine.baselines import GRAY, REFERENCE, BaselineSettings
from scoring.engine.isolation import PROBE_CONVERSATION, PROBE_IMAGE, FaultIsolator
from scoring.engine.preparation import Encoded, Prepared, Preparer, Problem
from scoring.errors import InputError
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.models.prompting import PromptProblem
from scoring.necessity import visnec_score
from scoring.samples import Role, Segment, Status, Turn
from scoring.unicode_text import replace_surrogates

Losses = NDArray[np.float32] | Problem | None
"""(answer_tokens,) nats, or why there are none; None: the sample does not fit the device."""

_NO_MEMORY = Problem(
    Status.OUT_OF_MEMORY, "the sample does not fit the device's memory, even alone"
)
_NO_NUMBER = Problem(Status.NON_FINITE, "the model gave a loss that is not a finite number")


@dataclass(frozen=True, slots=True)
class TurnScore:
    """Losses of one answer, in nats, summed over its ``n_answer_tokens`` tokens.

    The other sums are over its end-of-turn tokens and over the tokens of its thought; None if the
    model does not know its answers' segments.
    """

    turn: int
    loss_text_sum: float
    loss_multimodal_sum: float
    n_answer_tokens: int
    end_loss_text_sum: float | None = None
    end_loss_multimodal_sum: float | None = None
    n_end_tokens: int | None = None
    thought_loss_text_sum: float | None = None
    thought_loss_multimodal_sum: float | None = None
    n_thought_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class SampleScore:
    """The outcome for one sample and blind baseline; ``turns`` is empty unless it was scored.

    ``text_altered`` and ``thoughts_dropped`` are as in ``EncodedSample``; ``tokens`` are columns
    of ``schemas.SCORES`` with a value per answer token, if they are kept.
    """

    row_idx: int
    baseline: str
    status: Status
    reason: str | None = None
    truncated: bool = False
    turns: tuple[TurnScore, ...] = ()
    text_altered: bool = False
    thoughts_dropped: int = 0
    tokens: dict[str, Any] = field(default_factory=dict, compare=False)

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


def check_baselines(model: VisionLanguageModel, baselines: BaselineSettings) -> None:
    """Raise InputError if the model does not support a baseline: once, before any work."""
    if GRAY in baselines.names and model.neutral_colour() is None:
        raise InputError(
            "Baseline gray is not defined for this model: no colour is known that it maps to zero; "
            f"leave --baseline {GRAY} out"
        )
    try:
        if REFERENCE in baselines.names:
            model.encode_masked((Turn(Role.HUMAN, "a", (0,)), Turn(Role.ASSISTANT, "b")))
    except PromptProblem as problem:
        raise InputError(f"{problem.reason}; leave --baseline {REFERENCE} out") from problem


class Scorer:
    """Scores samples with one model, against one or several blind baselines.

    ``prepare`` decodes and tokenises and may run in threads ahead of ``score``, which computes.
    """

    def __init__(self, preparer: Preparer, *, tokens: bool = False) -> None:
        """Create a scorer; with ``tokens`` it keeps the loss of every answer token."""
        self.prepare, self._baselines, self._tokens = preparer.prepare, preparer.baselines, tokens
        model = preparer.model
        self._multimodal_pass, self._text_pass = (
            FaultIsolator(model.answer_losses, partial(model.encode, PROBE_CONVERSATION, images))
            for images in ([PROBE_IMAGE], [])
        )

    def score(self, prepared: Sequence[Prepared]) -> list[SampleScore]:
        """Return one outcome per sample and baseline: all of the first baseline, then the next.

        Raises any exception of the model if it fails on every sample; see ``FaultIsolator``.
        """
        multimodal = self._multimodal_pass([item.multimodal for item in prepared])
        outcomes: list[SampleScore] = []
        rows = [item.row_idx for item in prepared]
        for index, baseline in enumerate(self._baselines):
            blind = [item.blind[index] for item in prepared]
            passes = zip(rows, blind, self._text_pass(blind), multimodal, strict=True)
            outcomes += [
                self._score_sample(row, baseline, encoded, *losses)
                for row, encoded, *losses in passes
            ]
        return outcomes

    def compute_rows(self, prepared: list[Prepared]) -> list[dict[str, Any]]:
        """Return a row of ``schemas.SCORES`` per sample and baseline."""
        return [score_row(score) for score in self.score(prepared)]

    def encoded_samples(self, item: Prepared) -> Iterator[EncodedSample]:
        """Yield the inputs of all passes."""
        passes = (item.multimodal, *item.blind)
        return (encoded for encoded in passes if isinstance(encoded, EncodedSample))

    def _score_sample(
        self, row_idx: int, baseline: str, blind: Encoded, text: Losses, multimodal: Losses
    ) -> SampleScore:
        """Compare the losses of both passes: (answer_tokens,) each, of the same token ids."""
        if isinstance(blind, Problem):
            return SampleScore(row_idx, baseline, blind.status, blind.reason)
        if isinstance(multimodal, Problem):
            problem = multimodal
        elif isinstance(text, Problem):
            problem = text
        elif text is None or multimodal is None:
            problem = _NO_MEMORY
        else:
            multimodal = multimodal[: len(text)]  # another baseline may keep more of it
            if np.isfinite(text).all() and np.isfinite(multimodal).all():
                turns, tokens = blind.answer_turns, {}
                if self._tokens:
                    texts = [replace_surrogates(piece) for piece in blind.pieces]
                    tokens = {
                        "token_turns": turns,
                        "token_texts": texts if len(texts) == len(text) else None,
                        "token_loss_text": text,
                        "token_loss_multimodal": multimodal,
                    }
                return SampleScore(
                    row_idx,
                    baseline,
                    Status.SCORED,
                    truncated=blind.truncated,
                    turns=turn_scores(turns, text, multimodal, blind.segments),
                    text_altered=blind.text_altered,
                    thoughts_dropped=blind.thoughts_dropped,
                    tokens=tokens,
                )
            problem = _NO_NUMBER
        return SampleScore(row_idx, baseline, problem.status, problem.reason, blind.truncated)


def turn_scores(
    turns: Sequence[int],
    text: NDArray[np.float32],
    multimodal: NDArray[np.float32],
    segments: Sequence[int] = (),
) -> tuple[TurnScore, ...]:
    """Return the sums per turn, in float64, of the losses of answer tokens in nats.

    All arguments are (answer_tokens,). ``turns`` are ascending: the answers of a conversation
    follow one another. ``segments`` are empty if they are unknown.
    """
    turn_numbers, starts = np.unique(turns, return_index=True)  # (turns,) each
    values = np.stack([text, multimodal, np.ones(len(text))])  # (3, answer_tokens), float64

    def sum_turns(inside: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
        sums = np.add.reduceat(values * inside, starts, axis=1)  # (3, turns)
        return [(float(blind), float(seen), int(n)) for blind, seen, n in sums.T]

    columns = [sum_turns(np.ones(len(text), np.bool_))]
    if len(segments):
        columns += [
            sum_turns(np.asarray(segments) == segment) for segment in (Segment.END, Segment.THOUGHT)
        ]
    return tuple(
        TurnScore(int(turn), *chain.from_iterable(parts))
        for turn, *parts in zip(turn_numbers, *columns, strict=True)
    )


def score_row(score: SampleScore) -> dict[str, Any]:
    """Return a row of ``schemas.SCORES``."""
    return {
        "row_idx": score.row_idx,
        "baseline": score.baseline,
        "status": score.status.value,
        "reason": None if score.reason is None else replace_surrogates(score.reason),
        "truncated": score.truncated,
        "turns": [asdict(turn) for turn in score.turns],
        "text_altered": score.text_altered,
        "thoughts_dropped": score.thoughts_dropped,
        **score.tokens,
    }
