"""The definition of visual necessity: the score, its sign, the categories, the default bands.

Source: *VisNec: Measuring and Leveraging Visual Necessity for Multimodal Instruction Tuning*
(arXiv 2603.01195), the score as the mean over answer tokens. The paper gives no numeric band
around zero and calls a score of 0.2058 redundant; hence the default upper limit of 0.25.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from scoring.errors import InputError


class Category(StrEnum):
    """What the score says about a sample."""

    MISALIGNED = "misaligned"
    REDUNDANT = "redundant"
    VISION_CRITICAL = "vision-critical"


@dataclass(frozen=True, slots=True)
class Bands:
    """Limits between the categories, in nats per answer token: ``low`` <= redundant < ``high``."""

    low: float = 0.0
    high: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise InputError(f"band limits must be finite numbers, got {self.low} and {self.high}")
        if self.low > self.high:
            raise InputError(
                f"the lower band limit ({self.low:g}) lies above the upper one ({self.high:g}); "
                "give low <= high"
            )

    def category(self, visnec: float) -> Category:
        """Return the category of a score in nats per answer token."""
        if visnec < self.low:
            return Category.MISALIGNED
        return Category.REDUNDANT if visnec < self.high else Category.VISION_CRITICAL

    def category_codes(self, visnec: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the position in ``Category`` of each score, -1 for NaN."""
        codes = np.searchsorted([self.low, self.high], visnec, side="right")
        return np.where(np.isnan(visnec), -1, codes)


DEFAULT_BANDS = Bands()


def visnec_score(loss_text: float, loss_multimodal: float) -> float:
    """The VisNec score: what the image takes off the loss, in nats per answer token.

    Positive where the image helps to predict the answer, negative where it contradicts it.
    Both losses are means over the same answer tokens.
    """
    return loss_text - loss_multimodal
