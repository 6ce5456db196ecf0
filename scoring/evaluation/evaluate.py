"""How models do on a benchmark with and without the image, and on the part that needs it. Pure.

The one decision behind it: a sample without a verdict (no prediction, or nothing that the measure
can judge) is in no accuracy, and one without a score is in no part but the whole; both are counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import InputError
from scoring.evaluation.accuracy import (
    Accuracy,
    ContingencyTable,
    Gain,
    Grades,
    Leakage,
    cross_tabulate,
    measure_accuracy,
    measure_gain,
    measure_leakage,
)
from scoring.evaluation.model_ranks import Ranking, rank_models
from scoring.necessity import Bands, Category
from scoring.rules.candidates import ANSWER_KINDS

DEFAULT_BANDS_OF_SCORE = 5
SELF_SELECTION_NOTE = (
    "its own losses choose the necessary part, so its accuracy and gain there are subject to "
    "selection; compare models on a part that the scores of another model choose"
)
"""What to say of a model with ``chose_part``."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """The samples of a benchmark as columns of length n, ascending by ``row_idx``.

    ``visnec`` is NaN where a sample has no score; ``source`` holds positions in ``sources``,
    ``kind`` positions in ``ANSWER_KINDS``.
    """

    row_idx: NDArray[np.int64]
    visnec: NDArray[np.float64]
    source: NDArray[np.int32]
    sources: tuple[str, ...]
    kind: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.row_idx)


@dataclass(frozen=True, slots=True, eq=False)
class ModelGrades:
    """The verdicts on one model's predictions, each of length n, one per sample of a benchmark.

    ``text_model`` is about the text-only model that it is built on. None: no such predictions.
    ``chose_part``: the scores that choose the necessary part are of this very model.
    """

    model: str
    seen: Grades | None = None
    blind: Grades | None = None
    text_model: Grades | None = None
    chose_part: bool = False


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One model on one part of the benchmark; what nobody predicted is None.

    ``low`` and ``high`` are the limits of a score band (``low <= visnec < high``), None elsewhere
    and at an open side.
    """

    name: str
    n_samples: int
    seen: Accuracy | None
    blind: Accuracy | None
    text_model: Accuracy | None
    gain: Gain | None
    leakage: Leakage | None
    cells: ContingencyTable | None
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        parts = ("seen", "blind", "text_model", "gain", "leakage", "cells")
        found = {name: getattr(self, name) for name in parts}
        told = {name: None if one is None else one.to_dict() for name, one in found.items()}
        return {"name": self.name, "n_samples": self.n_samples, **told} | (
            {} if self.low is None and self.high is None else {"from": self.low, "below": self.high}
        )


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model on all samples, on the necessary part, on the other scored ones, and by group.

    ``chose_part``: its own losses choose the necessary part, so that its accuracy and gain there
    are partly selected, and those of other models are not.
    """

    model: str
    all: GroupResult
    necessary: GroupResult
    rest: GroupResult
    by_category: tuple[GroupResult, ...]
    by_band: tuple[GroupResult, ...]
    by_source: tuple[GroupResult, ...]
    by_kind: tuple[GroupResult, ...]
    chose_part: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        single = {name: getattr(self, name).to_dict() for name in ("all", "necessary", "rest")}
        groups = ("by_category", "by_band", "by_source", "by_kind")
        listed = {name: [one.to_dict() for one in getattr(self, name)] for name in groups}
        return {"model": self.model, "chose_part": self.chose_part, **single, **listed}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All models on one benchmark: ``n_necessary`` samples have ``visnec >= threshold``."""

    threshold: float
    n_samples: int
    n_scored: int
    n_necessary: int
    models: tuple[ModelResult, ...]
    ranking: Ranking | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "threshold": self.threshold,
            "n_samples": self.n_samples,
            "n_scored": self.n_scored,
            "n_necessary": self.n_necessary,
            "models": [one.to_dict() for one in self.models],
            "ranking": None if self.ranking is None else self.ranking.to_dict(),
        }


def evaluate_models(
    benchmark: Benchmark,
    answers: Sequence[ModelGrades],
    threshold: float,
    bands: Bands,
    n_bands: int = DEFAULT_BANDS_OF_SCORE,
) -> Evaluation:
    """Every model on all samples, on the necessary part (``visnec >= threshold``) and by group.

    Raises InputError for a threshold that is no number, for less than one band, and for verdicts
    of another length than the benchmark's.
    """
    _check(benchmark, answers, threshold, n_bands)
    scored = ~np.isnan(benchmark.visnec)
    necessary = scored & (benchmark.visnec >= threshold)
    groups = _Groups(benchmark, scored, necessary, bands, n_bands)
    return Evaluation(
        threshold=float(threshold),
        n_samples=len(benchmark),
        n_scored=int(scored.sum()),
        n_necessary=int(necessary.sum()),
        models=tuple(groups.result(one) for one in answers),
        ranking=rank_models(
            {one.model: one.seen for one in answers if one.seen is not None}, necessary
        ),
    )


def _check(
    benchmark: Benchmark, answers: Sequence[ModelGrades], threshold: float, n_bands: int
) -> None:
    if not math.isfinite(threshold):
        raise InputError(f"a threshold is a finite number, got {threshold!r}")
    if n_bands < 1:
        raise InputError(f"scores are cut into one band or more, got {n_bands}")
    for one in answers:
        for verdicts in (one.seen, one.blind, one.text_model):
            if verdicts is not None and len(verdicts) != len(benchmark):
                raise InputError(
                    f"{len(verdicts):,} verdicts on {one.model} do not fit a benchmark of "
                    f"{len(benchmark):,} samples"
                )


class _Groups:
    """The parts of a benchmark, cut once for all models."""

    def __init__(
        self, benchmark: Benchmark, scored: Mask, necessary: Mask, bands: Bands, n_bands: int
    ) -> None:
        visnec = benchmark.visnec
        self._all = np.ones(len(benchmark), np.bool_)
        self._necessary, self._rest = necessary, scored & ~necessary
        self._categories = [
            (Category.MISALIGNED, visnec < bands.low),
            (Category.REDUNDANT, (visnec >= bands.low) & (visnec < bands.high)),
            (Category.VISION_CRITICAL, visnec >= bands.high),
        ]
        self._bands = [
            (low, high, _between(visnec, low, high))
            for low, high in split_into_bands(visnec[scored], n_bands)
        ]
        self._sources = _named(benchmark.source, benchmark.sources)
        self._kinds = _named(benchmark.kind, ANSWER_KINDS)

    def result(self, answers: ModelGrades) -> ModelResult:
        def part(
            name: str, mask: Mask, low: float | None = None, high: float | None = None
        ) -> GroupResult:
            return evaluate_group(name, answers, mask, low, high)

        return ModelResult(
            model=answers.model,
            all=part("all", self._all),
            necessary=part("necessary", self._necessary),
            rest=part("not necessary", self._rest),
            by_category=tuple(part(str(name), mask) for name, mask in self._categories),
            by_band=tuple(
                part(format_band(low, high), mask, low, high) for low, high, mask in self._bands
            ),
            by_source=tuple(part(name, mask) for name, mask in self._sources),
            by_kind=tuple(part(name, mask) for name, mask in self._kinds),
            chose_part=answers.chose_part,
        )


def _between(visnec: NDArray[np.float64], low: float | None, high: float | None) -> Mask:
    inside = ~np.isnan(visnec)
    if low is not None:
        inside &= visnec >= low
    return inside if high is None else inside & (visnec < high)


def _named(codes: NDArray[Any], names: Sequence[str]) -> list[tuple[str, Mask]]:
    """The groups that have samples, in the order of their names' list."""
    present = np.flatnonzero(np.bincount(codes, minlength=len(names))).tolist()
    return [(names[place], codes == place) for place in present]


def split_into_bands(
    visnec: NDArray[np.float64], n_bands: int
) -> list[tuple[float | None, float | None]]:
    """Limits of bands of about equally many scores: ``low <= visnec < high``, open at the ends.

    Equal scores are never parted, so that there may be fewer bands; none without scores.
    """
    if not len(visnec):
        return []
    ordered = np.sort(visnec)
    starts = [ordered[len(ordered) * place // n_bands] for place in range(1, n_bands)]
    inner = sorted({float(one) for one in starts if one > ordered[0]})
    limits: list[float | None] = [None, *inner, None]
    return list(pairwise(limits))


def format_band(low: float | None, high: float | None) -> str:
    """A score band as the filter writes it, with three digits."""
    return f"{'' if low is None else f'{low:.3f}'}..{'' if high is None else f'{high:.3f}'}"


def evaluate_group(
    name: str,
    answers: ModelGrades,
    mask: Mask,
    low: float | None = None,
    high: float | None = None,
) -> GroupResult:
    """One model on the samples of ``mask``."""
    seen, blind, text = (
        None if one is None else one[mask]
        for one in (answers.seen, answers.blind, answers.text_model)
    )
    both = None if seen is None or blind is None else cross_tabulate(blind, seen)
    return GroupResult(
        name=name,
        n_samples=int(mask.sum()),
        seen=_accuracy(seen),
        blind=_accuracy(blind),
        text_model=_accuracy(text),
        gain=None if both is None else measure_gain(both),
        leakage=None if blind is None or text is None else measure_leakage(blind, text),
        cells=both,
        low=low,
        high=high,
    )


def _accuracy(verdicts: Grades | None) -> Accuracy | None:
    return None if verdicts is None else measure_accuracy(verdicts)
