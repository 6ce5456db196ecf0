"""Evaluates models on a benchmark with and without the image, and on the part that needs it. Pure.

A sample without a judged prediction (none was made, or the measure does not apply) is left out of
every accuracy, and one without a score is only in the group of all samples. Both are counted.
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
    Correctness,
    Gain,
    Leakage,
    cross_tabulate,
    measure_accuracy,
    measure_gain,
    measure_leakage,
)
from scoring.evaluation.model_ranks import Ranking, rank_models
from scoring.necessity import Bands, Category
from scoring.rules.candidates import ANSWER_KINDS

DEFAULT_SCORE_BANDS = 5
SELF_SELECTION_NOTE = (
    "its own losses choose the necessary part, so its accuracy and gain there are subject to "
    "selection; compare models on a part that the scores of another model choose"
)
"""The note for a model with ``chose_part``."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """The samples of a benchmark as columns of length n, ascending by ``row_idx``.

    ``visnec`` is NaN for samples without a score; ``source`` holds positions in ``sources``,
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
class ModelCorrectness:
    """Whether one model's predictions are right, in columns with one value per sample.

    ``text_model`` is about the text-only model that it is built on. None: no such predictions.
    ``chose_part``: the scores that choose the necessary part are this model's own.
    """

    model: str
    seen: Correctness | None = None
    blind: Correctness | None = None
    text_model: Correctness | None = None
    chose_part: bool = False


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One model on one group of samples; None where there are no predictions.

    ``low`` and ``high`` are the limits of a score band (``low <= visnec < high``), None for other
    groups and at an open side.
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
        """Return the result as JSON values."""
        saved: dict[str, Any] = {"name": self.name, "n_samples": self.n_samples}
        for name in ("seen", "blind", "text_model", "gain", "leakage", "cells"):
            figure = getattr(self, name)
            saved[name] = None if figure is None else figure.to_dict()
        if self.low is not None or self.high is not None:
            saved |= {"from": self.low, "below": self.high}
        return saved


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model on all samples, on the necessary part, on the other scored ones, and by group.

    ``chose_part``: its own losses choose the necessary part, so its accuracy and gain there are
    partly due to selection, unlike those of other models.
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
        """Return the result as JSON values."""
        saved: dict[str, Any] = {"model": self.model, "chose_part": self.chose_part}
        for name in ("all", "necessary", "rest"):
            saved[name] = getattr(self, name).to_dict()
        for name in ("by_category", "by_band", "by_source", "by_kind"):
            saved[name] = [group.to_dict() for group in getattr(self, name)]
        return saved


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
        """Return the evaluation as JSON values."""
        return {
            "threshold": self.threshold,
            "n_samples": self.n_samples,
            "n_scored": self.n_scored,
            "n_necessary": self.n_necessary,
            "models": [model.to_dict() for model in self.models],
            "ranking": None if self.ranking is None else self.ranking.to_dict(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    name: str
    mask: Mask
    low: float | None = None
    high: float | None = None


def evaluate_models(
    benchmark: Benchmark,
    models: Sequence[ModelCorrectness],
    threshold: float,
    bands: Bands,
    n_bands: int = DEFAULT_SCORE_BANDS,
) -> Evaluation:
    """Evaluate models on all samples, on the necessary part (``visnec >= threshold``) and by group.

    Raises InputError for a threshold that is not finite, for less than one band, and for columns
    of another length than the benchmark's.
    """
    _check_input(benchmark, models, threshold, n_bands)
    scored = ~np.isnan(benchmark.visnec)
    necessary = scored & (benchmark.visnec >= threshold)
    everything = _Group("all", np.ones(len(benchmark), np.bool_))
    needing, rest = _Group("necessary", necessary), _Group("not necessary", scored & ~necessary)
    codes = bands.category_codes(benchmark.visnec)
    groups = {
        "by_category": [_Group(str(name), codes == code) for code, name in enumerate(Category)],
        "by_band": _group_by_band(benchmark.visnec, n_bands),
        "by_source": _group_by_code(benchmark.source, benchmark.sources),
        "by_kind": _group_by_code(benchmark.kind, ANSWER_KINDS),
    }

    def evaluate_model(model: ModelCorrectness) -> ModelResult:
        return ModelResult(
            model=model.model,
            all=_evaluate_group(model, everything),
            necessary=_evaluate_group(model, needing),
            rest=_evaluate_group(model, rest),
            chose_part=model.chose_part,
            **{
                name: tuple(_evaluate_group(model, group) for group in listed)
                for name, listed in groups.items()
            },
        )

    return Evaluation(
        threshold=float(threshold),
        n_samples=len(benchmark),
        n_scored=int(scored.sum()),
        n_necessary=int(necessary.sum()),
        models=tuple(evaluate_model(model) for model in models),
        ranking=rank_models(
            {model.model: model.seen for model in models if model.seen is not None}, necessary
        ),
    )


def _check_input(
    benchmark: Benchmark, models: Sequence[ModelCorrectness], threshold: float, n_bands: int
) -> None:
    if not math.isfinite(threshold):
        raise InputError(f"The threshold must be a finite number, got {threshold!r}")
    if n_bands < 1:
        raise InputError(f"The number of score bands must be at least 1, got {n_bands}")
    for model in models:
        for column in (model.seen, model.blind, model.text_model):
            if column is not None and len(column) != len(benchmark):
                raise InputError(
                    f"{model.model} has {len(column):,} predictions for a benchmark of "
                    f"{len(benchmark):,} samples"
                )


def _group_by_band(visnec: NDArray[np.float64], n_bands: int) -> list[_Group]:
    groups = []
    for low, high in split_into_bands(visnec[~np.isnan(visnec)], n_bands):
        inside = visnec >= (-math.inf if low is None else low)  # NaN is in no band
        inside &= visnec < (math.inf if high is None else high)
        ends = ["" if end is None else f"{end:.3f}" for end in (low, high)]
        groups.append(_Group("..".join(ends), inside, low, high))
    return groups


def _group_by_code(codes: NDArray[Any], names: Sequence[str]) -> list[_Group]:
    """Return the groups that have samples, in the order of ``names``."""
    present = np.flatnonzero(np.bincount(codes, minlength=len(names))).tolist()
    return [_Group(names[code], codes == code) for code in present]


def split_into_bands(
    visnec: NDArray[np.float64], n_bands: int
) -> list[tuple[float | None, float | None]]:
    """Return limits ``low <= visnec < high`` of bands with about equally many scores.

    The outer bands are open. Equal scores are never separated, so there may be fewer bands; none
    without scores.
    """
    if not len(visnec):
        return []
    ordered = np.sort(visnec)
    starts = [ordered[len(ordered) * number // n_bands] for number in range(1, n_bands)]
    inner = sorted({float(start) for start in starts if start > ordered[0]})
    limits: list[float | None] = [None, *inner, None]
    return list(pairwise(limits))


def _evaluate_group(model: ModelCorrectness, group: _Group) -> GroupResult:
    def measure(column: Correctness | None) -> Accuracy | None:
        return None if column is None else measure_accuracy(column)

    seen, blind, text_model = (
        None if column is None else column[group.mask]
        for column in (model.seen, model.blind, model.text_model)
    )
    cells = None if seen is None or blind is None else cross_tabulate(blind, seen)
    return GroupResult(
        name=group.name,
        n_samples=int(group.mask.sum()),
        seen=measure(seen),
        blind=measure(blind),
        text_model=measure(text_model),
        gain=None if cells is None else measure_gain(cells),
        leakage=None if blind is None or text_model is None else measure_leakage(blind, text_model),
        cells=cells,
        low=group.low,
        high=group.high,
    )
