"""Training by the weights of an export: as a sampler, or as rows to repeat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import WeightedRandomSampler

from scoring.subsets.selection import repeat_counts


def weighted_sampler(
    weights: Sequence[float], size: int | None = None, seed: int = 0
) -> WeightedRandomSampler:
    """Return a sampler for a ``DataLoader`` that draws each sample in proportion to its weight.

    It draws with replacement, ``size`` samples an epoch, by default one per weight.
    """
    generator = torch.Generator().manual_seed(seed)
    values = np.asarray(weights, dtype=np.float64).tolist()
    return WeightedRandomSampler(values, size or len(values), generator=generator)


def repeat_rows(
    weights: Sequence[float],
    row_idx: Sequence[int] | None = None,
    size: int | None = None,
    seed: int = 0,
) -> list[int]:
    """Return the positions of an epoch in which each sample occurs as often as its weight.

    ``dataset.select(repeat_rows(dataset["weight"], dataset["row_idx"]))`` has the records that
    ``visnec export --weights repeat`` writes; without ``row_idx`` the rounding differs.
    """
    values = np.asarray(weights, dtype=np.float64)
    rows = np.arange(len(values)) if row_idx is None else np.asarray(row_idx, dtype=np.int64)
    positions: list[int] = np.repeat(
        np.arange(len(values)), repeat_counts(rows, values, size, seed)
    ).tolist()
    return positions
