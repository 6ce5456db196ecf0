"""The strata of stratified review queues: source by category.

Queues draw from these strata and labels are weighted by them; were they to differ, estimates would
be biased.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scoring.necessity import CATEGORIES, Bands


def assign_strata(
    source: NDArray[np.integer], visnec: NDArray[np.float64], bands: Bands
) -> NDArray[np.int64]:
    """Return the number of each sample's stratum, from its source's number and its score.

    A sample without a score (of another run, which a draw was made by) counts as vision-critical.
    """
    codes = bands.category_codes(visnec)
    codes[codes < 0] = len(CATEGORIES) - 1
    return source.astype(np.int64) * len(CATEGORIES) + codes


def count_strata(strata: NDArray[np.int64]) -> dict[int, int]:
    """Return how many samples each occurring stratum has, ascending by stratum."""
    counts = np.bincount(strata)
    occurring = np.flatnonzero(counts)
    return dict(zip(occurring.tolist(), counts[occurring].tolist(), strict=True))


def category_of_stratum(stratum: int) -> int:
    """Return the code of a stratum's category."""
    return stratum % len(CATEGORIES)
