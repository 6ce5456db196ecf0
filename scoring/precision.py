"""How precise a score is: the measured numerical noise of each dtype, in nats per answer token.

The mean over an answer's tokens is exact, so a score has no interval. It differs from what float32
gives by rounding only, and by how much was measured (``benchmarks/precision.py``): the bundled
model's scores of its demonstration data in each dtype, with the cross-entropy in float32, against
those in float32; for float32, batches against one sample at a time. Other models differ, mostly
downwards; a score within the band of a threshold may fall on its other side by rounding.
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
    Noise("float16", 0.0012, 0.0025),
    Noise("bfloat16", 0.0053, 0.01),
)
UNKNOWN = "unknown, as these scores came without their dtype"


def noise_of(dtype: str | None) -> Noise | None:
    """Return the noise of scores in ``dtype``, or None where it is not known."""
    return next((one for one in MEASURED if one.dtype == dtype), None)
