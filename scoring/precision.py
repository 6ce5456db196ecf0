"""The precision of a score: the measured numerical noise per dtype, in nats per answer token.

The mean over an answer's tokens is exact, so a score has no confidence interval. It differs from
float32 by rounding only; the difference was measured with ``benchmarks/precision.py`` on a CPU
(results in ``benchmarks/results/precision.md``): 300 samples of the bundled dataset with the
bundled model, in batches, against float32 one by one. Other models and devices may differ. Rounding
may move a score within the band of a threshold to its other side.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Noise:
    """Measured noise of scores: ``rms`` of the errors, and the ``band`` around a threshold.

    The band is about two rms, which contains about 95 % of the errors.
    """

    dtype: str
    rms: float
    band: float

    def __str__(self) -> str:
        return f"± {f'{self.band:.6f}'.rstrip('0')} in {self.dtype}"


MEASURED = (
    Noise("float32", 0.000_001, 0.000_002),
    Noise("float16", 0.0006, 0.0013),
    Noise("bfloat16", 0.0053, 0.01),
)
UNKNOWN = "unknown, as these scores came without their dtype"


def noise_of(dtype: str | None) -> Noise | None:
    """Return the noise of scores in ``dtype``, or None if it is not known."""
    return next((noise for noise in MEASURED if noise.dtype == dtype), None)
