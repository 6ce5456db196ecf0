"""How precise a score is: the measured numerical noise of each dtype, in nats per answer token.

The mean over an answer's tokens is exact, so a score has no interval. It differs from what float32
gives by rounding only, and by how much was measured with ``benchmarks/precision.py`` on a CPU
(results in ``benchmarks/results/precision.md``): 300 samples of the bundled dataset by the bundled
model, in batches, against float32 one by one. Other models and devices may differ. A score within
the band of a threshold may fall on its other side by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Noise:
    """Measured noise of scores: ``rms`` of the errors, and the ``band`` to show around a limit.

    The band is about two rms, which about 95 % of the errors stay within.
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
    """Return the noise of scores in ``dtype``, or None where it is not known."""
    return next((one for one in MEASURED if one.dtype == dtype), None)
