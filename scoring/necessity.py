"""The definition of visual necessity: the score, its categories and the default band limits.

Source: *VisNec: Measuring and Leveraging Visual Necessity for Multimodal Instruction Tuning*
(arXiv 2603.01195), the score as the mean over answer tokens. The paper gives no numeric band
around zero and calls a score of 0.2058 redundant; hence the default upper limit of 0.25.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scoring.errors import InputError


class Category(StrEnum):
    """What a score means for its sample, by ascending score."""

    MISALIGNED = "misaligned"
    REDUNDANT = "redundant"
    VISION_CRITICAL = "vision-critical"


CATEGORIES: Final = tuple(Category)
"""The categories by their code: misaligned 0, redundant 1, vision-critical 2."""


@dataclass(frozen=True, slots=True)
class Bands:
    """Limits between the categories, in nats per answer token: ``low`` <= redundant < ``high``."""

    low: float = 0.0
    high: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise InputError(f"Band limits must be finite numbers, got {self.low} and {self.high}.")
        if self.low > self.high:
            raise InputError(
                f"The lower band limit ({self.low:g}) is above the upper one ({self.high:g}). "
                "Choose low <= high."
            )

    def category_of(self, visnec: float) -> Category:
        """Return the category of a score in nats per answer token."""
        return CATEGORIES[2 - (visnec < self.high) - (visnec < self.low)]

    def category_codes(self, visnec: NDArray[np.float64]) -> NDArray[np.int8]:
        """Return the index in ``CATEGORIES`` of each score, -1 for NaN."""
        codes: NDArray[np.int8] = np.int8(2) - (visnec < self.high) - (visnec < self.low)
        codes[np.isnan(visnec)] = -1
        return codes

    def range_of(self, category: Category) -> tuple[float | None, float | None]:
        """Return ``(minimum, maximum)`` of a category's scores; None leaves a side open."""
        limits = (None, self.low, self.high, None)
        code = CATEGORIES.index(category)
        return limits[code], limits[code + 1]


DEFAULT_BANDS = Bands()
LOW_TOLERANCE: Final = 0.05
"""How far from the lower limit a score is weak evidence of misalignment: in a controlled
experiment, 93 % of the scores below -0.05 had a wrong answer, and 44 % of those below 0."""


def visnec_score(loss_text: float, loss_multimodal: float) -> float:
    """Return the VisNec score: how much the image lowers the loss, in nats per answer token.

    Positive where the image helps to predict the answer, negative where it contradicts it.
    Both losses are means over the same answer tokens.
    """
    return loss_text - loss_multimodal
