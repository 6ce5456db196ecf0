"""What each cell of a picture shows, as numbers: the first task of the vision tower."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.synthetic.palette import N_CELLS

PatchLabels = dict[str, npt.NDArray[np.int64]]
"""For some of ``LABEL_SIZES``: sixteen numbers, one per cell; 0 means none."""

LABEL_SIZES = {
    "shape": 7,
    "colour": 8,
    "symbol": 37,
    "digit": 11,
    "value": 7,
    "rank": 4,
    "cell": N_CELLS,
}


def empty_labels(*names: str) -> PatchLabels:
    """Return labels with "none" in every cell."""
    return {name: np.zeros(N_CELLS, dtype=np.int64) for name in names}


def complete_labels(labels: PatchLabels) -> PatchLabels:
    """Return the labels, the unused ones filled with "none", and each cell's number."""
    return {**empty_labels(*LABEL_SIZES), **labels, "cell": np.arange(N_CELLS)}
