"""Whether a benchmark orders models the same on all samples and on the part that needs the image.

The one decision behind it: models are ranked over the samples that all of them answered, so that
no model gains by leaving hard ones out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.evaluation.accuracy import UNGRADED, Accuracy, Grades, measure_accuracy


@dataclass(frozen=True, slots=True)
class RankedModel:
    """One model's place, 1 being the best and ties averaged, on all and on the necessary part."""

    model: str
    on_all: Accuracy
    rank_all: float
    on_necessary: Accuracy
    rank_necessary: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Models over the samples that all of them answered with the image, best on all first.

    ``spearman`` and ``kendall`` (tau-b) compare the two orders; None where all models are equal on
    a side. ``n_necessary`` of the ``n_common`` samples are in the necessary part.
    """

    models: tuple[RankedModel, ...]
    n_common: int
    n_necessary: int
    spearman: float | None
    kendall: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "n_common": self.n_common,
            "n_necessary": self.n_necessary,
            "spearman": self.spearman,
            "kendall": self.kendall,
            "models": [
                {
                    "model": one.model,
                    "on_all": one.on_all.to_dict(),
                    "rank_all": one.rank_all,
                    "on_necessary": one.on_necessary.to_dict(),
                    "rank_necessary": one.rank_necessary,
                }
                for one in self.models
            ],
        }


def rank_models(verdicts: Mapping[str, Grades], necessary: NDArray[np.bool_]) -> Ranking | None:
    """Ranks of models by their verdicts; None for fewer than two, or where no sample of the
    necessary part was answered by all."""
    seen = list(verdicts.items())
    if len(seen) < 2:
        return None
    common = np.logical_and.reduce([one != UNGRADED for _, one in seen])
    inside = common & necessary
    n_common, n_inside = int(common.sum()), int(inside.sum())
    if not n_inside:
        return None
    on_all = [measure_accuracy(one[common]) for _, one in seen]
    on_part = [measure_accuracy(one[inside]) for _, one in seen]
    orders = [ranks([-one.right for one in found]) for found in (on_all, on_part)]
    columns = zip(verdicts, on_all, orders[0], on_part, orders[1], strict=True)
    ranked = [RankedModel(*values) for values in columns]
    return Ranking(
        models=tuple(sorted(ranked, key=lambda one: (one.rank_all, one.rank_necessary, one.model))),
        n_common=n_common,
        n_necessary=n_inside,
        spearman=spearman(*orders),
        kendall=kendall(*orders),
    )


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, ascending by value; equal values share their mean rank."""
    return [
        (2 * sum(other < one for other in values) + sum(other == one for other in values) + 1) / 2
        for one in values
    ]


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's correlation of two lists of ranks; None where either is constant."""
    x, y = np.asarray(one, np.float64), np.asarray(other, np.float64)
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / spread if spread else None


def kendall(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b of two lists of ranks, which allows for ties; None where one is constant."""
    pairs = [
        (_sign(one[i] - one[j]), _sign(other[i] - other[j]))
        for i in range(len(one))
        for j in range(i)
    ]
    spread = math.sqrt(_total(pairs, lambda x, _: x * x) * _total(pairs, lambda _, y: y * y))
    return _total(pairs, lambda x, y: x * y) / spread if spread else None


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _total(pairs: Sequence[tuple[int, int]], of: Callable[[int, int], int]) -> int:
    return sum(of(x, y) for x, y in pairs)
