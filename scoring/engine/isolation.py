"""Puts samples through a model so that one it stumbles over takes nothing from the others.

Where a call raises, its samples go through one by one, and those that fail are told with their
reason. That is only believed of a model that works otherwise: one that fails on everything, or
whose device is gone, raises what it raised, before a whole dataset is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from PIL import Image

from scoring.engine.preparation import Problem
from scoring.models.base import EncodedSample, OutOfMemoryError
from scoring.samples import Role, Status, Turn

Result = TypeVar("Result")

PROBE_QUESTION = (Turn(Role.HUMAN, "What is it?", (0,)),)
PROBE_CONVERSATION = (*PROBE_QUESTION, Turn(Role.ASSISTANT, "A grey field."))
_LONGEST_REASON = 300


def probe_image() -> Image.Image:
    """What the conversations above are about."""
    return Image.new("RGB", (288, 192), (128, 128, 128))


class FaultIsolator(Generic[Result]):
    """Calls ``run`` on samples: their results in order, None for what does not fit the device.

    ``probe`` makes a sample that any model can take; it is asked for where nothing went through
    yet and a single sample fails.
    """

    def __init__(
        self,
        run: Callable[[Sequence[EncodedSample]], Sequence[Result | None]],
        probe: Callable[[], EncodedSample],
    ) -> None:
        self._run, self._probe = run, probe
        self._passed: EncodedSample | None = None  # a sample that went through

    def __call__(self, samples: Sequence[EncodedSample]) -> list[Result | Problem | None]:
        """Raises what ``run`` raises where the model fails on every sample."""
        if not samples:
            return []
        found: list[Result | Problem | None]
        try:
            found = list(self._run(samples))
        except Exception as error:
            found = [self._alone(one) for one in samples] if len(samples) > 1 else [_blamed(error)]
            failed = all(isinstance(one, Problem) for one in found)
            if failed and not self._works_otherwise(len(samples)):
                raise
        if self._passed is None:
            pairs = zip(samples, found, strict=True)
            went = (one for one, got in pairs if got is not None and not isinstance(got, Problem))
            self._passed = next(went, None)
        return found

    def _alone(self, sample: EncodedSample) -> Result | Problem | None:
        try:
            return self._run([sample])[0]
        except Exception as error:  # noqa: BLE001 - models raise whatever they like
            return _blamed(error)

    def _works_otherwise(self, n_failed: int) -> bool:
        if self._passed is None and n_failed > 1:
            return False
        try:
            return self._run([self._passed or self._probe()])[0] is not None
        except Exception:  # noqa: BLE001 - as above
            return False


def _blamed(error: Exception) -> Problem:
    if isinstance(error, (OutOfMemoryError, MemoryError)):
        return Problem(Status.OUT_OF_MEMORY, "computing it takes more memory than there is")
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return Problem(Status.BAD_RECORD, f"the model fails on it: {said[:_LONGEST_REASON]}")
