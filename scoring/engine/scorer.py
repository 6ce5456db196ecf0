"""The two passes: samples in, a score or a status with its reason out.

Several blind baselines share the multimodal pass, and one that fails for a sample takes nothing
from the others. Sums are kept per turn, and among them those of its end-of-turn token and of its
thought, so that a score without these needs no second pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.engine.baselines import GRAY, REFERENCE, BaselineSettings
from scoring.engine.isolation import PROBE_CONVERSATION, FaultIsolator, probe_image
from scoring.engine.preparation import Blind, OnOpened, Prepared, Preparer, Problem
from scoring.engine.shuffled_images import ShuffledImages
from scoring.errors import InputError
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.models.prompting import PromptProblem
from scoring.necessity import visnec_score
from scoring.samples import Role, Sample, Segment, Status, Turn
from scoring.unicode_text import replace_surrogates

__all__ = [
    "Prepared",
    "SampleScore",
    "Scorer",
    "TokenLosses",
    "TurnScore",
    "check_baselines",
    "score_row",
    "turn_scores",
]

Losses = NDArray[np.float32] | Problem | None
"""Nats per answer token, as a model gives them, or why not; None: it does not fit the device."""

_NO_MEMORY = Problem(
    Status.OUT_OF_MEMORY, "the sample does not fit the device's memory, even alone"
)
_NO_NUMBER = Problem(Status.NON_FINITE, "the model gave a loss that is not a finite number")


@dataclass(frozen=True, slots=True)
class TurnScore:
    """Losses of one answer, in nats, summed over its ``n_answer_tokens`` tokens.

    The other sums are over those of them that are end-of-turn tokens, and over those of a
    thought; None where the model does not know its answers' segments.
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


@dataclass(frozen=True, slots=True, eq=False)
class TokenLosses:
    """Losses of each answer token in nats, all of one length.

    ``turns`` is the answer that a token belongs to, ``texts`` the token as text, None where the
    model does not tell.
    """

    turns: tuple[int, ...]
    texts: tuple[str, ...] | None
    loss_text: NDArray[np.float32]
    loss_multimodal: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SampleScore:
    """The outcome for one sample and blind baseline; ``turns`` is empty unless it was scored.

    ``text_altered`` and ``thoughts_dropped`` are those of ``EncodedSample``.
    """

    row_idx: int
    baseline: str
    status: Status
    reason: str | None = None
    truncated: bool = False
    turns: tuple[TurnScore, ...] = ()
    text_altered: bool = False
    thoughts_dropped: int = 0
    tokens: TokenLosses | None = field(default=None, compare=False)

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
    """Raises InputError where the model does not know a baseline: once, and before the work."""
    if GRAY in baselines.names and model.neutral_colour() is None:
        raise InputError(
            "baseline gray is not defined for this model: no colour is known that it maps to zero; "
            f"leave --baseline {GRAY} out"
        )
    if REFERENCE not in baselines.names:
        return
    try:
        model.encode_masked((Turn(Role.HUMAN, "a", (0,)), Turn(Role.ASSISTANT, "b")))
    except PromptProblem as problem:
        raise InputError(f"{problem.reason}; leave --baseline {REFERENCE} out") from problem


class Scorer:
    """Scores samples with one model, against one or several blind baselines.

    ``prepare`` decodes and tokenises and may run in threads ahead of ``score``, which computes.
    ``tokens`` keeps the losses of every answer token. ``cycle`` is the order of the dataset's
    images that the baseline ``shuffled`` needs. ``on_opened`` gets each image that is decoded.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        image_roots: Sequence[Path],
        *,
        baselines: BaselineSettings | None = None,
        cycle: ShuffledImages | None = None,
        truncate: bool = False,
        tokens: bool = False,
        on_opened: OnOpened | None = None,
    ) -> None:
        settings = baselines or BaselineSettings()
        self._baselines, self._tokens = settings.names, tokens
        self._seeing, self._blind = (
            FaultIsolator(model.answer_losses, partial(model.encode, PROBE_CONVERSATION, shown))
            for shown in ([probe_image()], [])
        )
        self._preparer = Preparer(
            model, image_roots, settings, cycle, truncate=truncate, on_opened=on_opened
        )

    def prepare(self, samples: Sequence[Sample]) -> list[Prepared]:
        """Samples ready for the passes, or what became of them; in their order."""
        return self._preparer.prepare(samples)

    def score(self, prepared: Sequence[Prepared]) -> list[SampleScore]:
        """One outcome per sample and baseline: all of the first baseline, then the next.

        Raises what the model raises where it fails on every sample; see ``CarefulCalls``.
        """
        multimodal = _losses(self._seeing, [item.multimodal for item in prepared])
        outcomes: list[SampleScore] = []
        for position, baseline in enumerate(self._baselines):
            blind = [item.blind[position] for item in prepared]
            text = _losses(self._blind, [_encoded(one) for one in blind])
            passes = zip(prepared, blind, text, multimodal, strict=True)
            outcomes += [
                self._outcome(item.row_idx, baseline, one, *losses) for item, one, *losses in passes
            ]
        return outcomes

    def _outcome(
        self, row_idx: int, baseline: str, blind: Blind | Problem, text: Losses, multimodal: Losses
    ) -> SampleScore:
        if isinstance(blind, Problem):
            return _unscored(row_idx, baseline, blind)
        if isinstance(multimodal, Problem):
            return _unscored(row_idx, baseline, multimodal, blind.truncated)
        if isinstance(text, Problem):
            return _unscored(row_idx, baseline, text, blind.truncated)
        if text is None or multimodal is None:
            return _unscored(row_idx, baseline, _NO_MEMORY, blind.truncated)
        multimodal = multimodal[: len(text)]  # another baseline may keep more of it
        if not (np.isfinite(text).all() and np.isfinite(multimodal).all()):
            return _unscored(row_idx, baseline, _NO_NUMBER, blind.truncated)
        of_turn, pieces = blind.encoded.answer_turns, blind.encoded.pieces
        texts = pieces if len(pieces) == len(text) else None
        return SampleScore(
            row_idx,
            baseline,
            Status.SCORED,
            truncated=blind.truncated,
            turns=turn_scores(of_turn, text, multimodal, blind.encoded.segments),
            text_altered=blind.encoded.text_altered,
            thoughts_dropped=blind.encoded.thoughts_dropped,
            tokens=TokenLosses(of_turn, texts, text, multimodal) if self._tokens else None,
        )


def _losses(
    calls: FaultIsolator[NDArray[np.float32]], encoded: Sequence[EncodedSample | None]
) -> list[Losses]:
    """Losses of those that are there, each at its place."""
    found = iter(calls([one for one in encoded if one is not None]))
    return [None if one is None else next(found) for one in encoded]


def _encoded(blind: Blind | Problem) -> EncodedSample | None:
    return blind.encoded if isinstance(blind, Blind) else None


def _unscored(
    row_idx: int, baseline: str, problem: Problem, truncated: bool = False
) -> SampleScore:
    return SampleScore(row_idx, baseline, problem.status, problem.reason, truncated)


def turn_scores(
    turns: Sequence[int],
    text: NDArray[np.float32],
    multimodal: NDArray[np.float32],
    segments: Sequence[int] = (),
) -> tuple[TurnScore, ...]:
    """Sums per turn, in float64, over the losses of answer tokens in nats (equal lengths).

    ``turns`` ascends: the answers of a conversation follow one another. ``segments`` are those of
    the tokens, empty where they are unknown.
    """
    of_turn, starts = np.unique(turns, return_index=True)  # (turns,)
    counted = np.stack([text, multimodal, np.ones(len(text))])  # (3, answer_tokens), float64

    def sums(inside: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
        found = np.add.reduceat(counted * inside, starts, axis=1)  # (3, turns)
        return [(float(blind), float(seen), int(n)) for blind, seen, n in found.T]

    columns = [sums(np.ones(len(text), np.bool_))]
    if len(segments):
        columns += [sums(np.asarray(segments) == one) for one in (Segment.END, Segment.THOUGHT)]
    return tuple(
        TurnScore(int(turn), *chain.from_iterable(parts))
        for turn, *parts in zip(of_turn, *columns, strict=True)
    )


def score_row(score: SampleScore) -> dict[str, Any]:
    """A row of ``schemas.SCORES``."""
    row: dict[str, Any] = {
        "row_idx": score.row_idx,
        "baseline": score.baseline,
        "status": score.status.value,
        "reason": None if score.reason is None else replace_surrogates(score.reason),
        "truncated": score.truncated,
        "turns": [asdict(turn) for turn in score.turns],
        "text_altered": score.text_altered,
        "thoughts_dropped": score.thoughts_dropped,
    }
    return row if score.tokens is None else row | _token_columns(score.tokens)


def _token_columns(tokens: TokenLosses) -> dict[str, Any]:
    texts = tokens.texts
    return {
        "token_turns": tokens.turns,
        "token_texts": None if texts is None else [replace_surrogates(text) for text in texts],
        "token_loss_text": tokens.loss_text,
        "token_loss_multimodal": tokens.loss_multimodal,
    }
