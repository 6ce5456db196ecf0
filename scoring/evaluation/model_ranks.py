"""Compares how a benchmark ranks models on all samples and on the part that needs the image.

Models are ranked over the samples that all of them answered, so no model gains by skipping hard
ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.evaluation.accuracy import UNJUDGED, Accuracy, Correctness, measure_accuracy


@dataclass(frozen=True, slots=True)
class RankedModel:
    """A model's ranks on all samples and on the necessary part: 1 is best, ties are averaged."""

    model: str
    on_all: Accuracy
    rank_all: float
    on_necessary: Accuracy
    rank_necessary: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Models over the samples that all of them answered with the image, best on all first.

    ``spearman`` and ``kendall`` (tau-b) compare the two rankings; None if all models are equal in
    one of them. ``n_necessary`` of the ``n_common`` samples are in the necessary part.
    """

    models: tuple[RankedModel, ...]
    n_common: int
    n_necessary: int
    spearman: float | None
    kendall: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the ranking as JSON values."""
        return {
            "n_common": self.n_common,
            "n_necessary": self.n_necessary,
            "spearman": self.spearman,
            "kendall": self.kendall,
            "models": [
                {
                    "model": ranked.model,
                    "on_all": ranked.on_all.to_dict(),
                    "rank_all": ranked.rank_all,
                    "on_necessary": ranked.on_necessary.to_dict(),
                    "rank_necessary": ranked.rank_necessary,
                }
                for ranked in self.models
            ],
        }


def rank_models(
    correctness: Mapping[str, Correctness], necessary: NDArray[np.bool_]
) -> Ranking | None:
    """Rank models by accuracy on all samples and on the necessary part.

    Returns:
        None for fewer than two models, or if all models answered no common necessary sample.
    """
    if len(correctness) < 2:
        return None
    common = np.logical_and.reduce([column != UNJUDGED for column in correctness.values()])
    inside = common & necessary
    if not inside.any():
        return None
    from scipy.stats import kendalltau, rankdata, spearmanr  # slow to import, rarely needed

    on_all = [measure_accuracy(column[common]) for column in correctness.values()]
    on_necessary = [measure_accuracy(column[inside]) for column in correctness.values()]
    ranks, ranks_necessary = (
        rankdata([-accuracy.right for accuracy in accuracies]).tolist()
        for accuracies in (on_all, on_necessary)
    )
    columns = zip(correctness, on_all, ranks, on_necessary, ranks_necessary, strict=True)
    models = [RankedModel(*values) for values in columns]
    spearman = kendall = None
    if len(set(ranks)) > 1 and len(set(ranks_necessary)) > 1:
        # Rounded, because scipy's coefficient of equal ranks may be 1 minus one unit of rounding.
        spearman = round(float(spearmanr(ranks, ranks_necessary).statistic), 15)
        kendall = round(float(kendalltau(ranks, ranks_necessary).statistic), 15)
    return Ranking(
        models=tuple(sorted(models, key=lambda m: (m.rank_all, m.rank_necessary, m.model))),
        n_common=int(common.sum()),
        n_necessary=int(inside.sum()),
        spearman=spearman,
        kendall=kendall,
    )
