"""Runs samples through a model so that one failing sample does not affect the others.

If a call raises, its samples are run one by one, and those that fail get a status with the reason.
This only applies to a model that works otherwise: a model that fails on everything, or whose device
is lost, re-raises its exception before a whole dataset is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from PIL import Image

from scoring.engine.preparation import Encoded, Problem
from scoring.models.base import EncodedSample, OutOfMemoryError
from scoring.samples import Role, Status, Turn

Result = TypeVar("Result")

PROBE_QUESTION = (Turn(Role.HUMAN, "What is it?", (0,)),)
PROBE_CONVERSATION = (*PROBE_QUESTION, Turn(Role.ASSISTANT, "A grey field."))
PROBE_IMAGE = Image.new("RGB", (288, 192), (128, 128, 128))
_LONGEST_REASON = 300


class FaultIsolator(Generic[Result]):
    """Calls ``run`` on samples and isolates those that fail.

    ``probe`` returns a sample that any model can process; it is needed if a single sample fails
    before any other has succeeded.
    """

    def __init__(
        self,
        run: Callable[[Sequence[EncodedSample]], Sequence[Result | None]],
        probe: Callable[[], EncodedSample],
    ) -> None:
        self._run, self._probe = run, probe
        self._succeeded: EncodedSample | None = None  # a sample that succeeded

    def __call__(self, samples: Sequence[Encoded | None]) -> list[Result | Problem | None]:
        """Return the results in order; None for a sample that does not fit the device.

        A Problem or None among ``samples`` stays in its place. Raises any exception of ``run`` if
        the model fails on every sample.
        """
        encoded = [sample for sample in samples if isinstance(sample, EncodedSample)]
        results: list[Result | Problem | None] = []
        try:
            results = list(self._run(encoded)) if encoded else []
        except Exception as error:
            if len(encoded) == 1:
                results = [_failure_reason(error)]
            else:
                results = [self._run_alone(sample) for sample in encoded]
            all_failed = all(isinstance(result, Problem) for result in results)
            if all_failed and not self._model_works(len(encoded)):
                raise
        if self._succeeded is None:
            pairs = zip(encoded, results, strict=True)
            good = (sample for sample, result in pairs if not isinstance(result, Problem | None))
            self._succeeded = next(good, None)
        remaining = iter(results)
        return [next(remaining) if isinstance(s, EncodedSample) else s for s in samples]

    def _run_alone(self, sample: EncodedSample) -> Result | Problem | None:
        try:
            return self._run([sample])[0]
        except Exception as error:  # noqa: BLE001 - models raise any exception
            return _failure_reason(error)

    def _model_works(self, n_failed: int) -> bool:
        if self._succeeded is None and n_failed > 1:
            return False
        try:
            return self._run([self._succeeded or self._probe()])[0] is not None
        except Exception:  # noqa: BLE001 - as above
            return False


def _failure_reason(error: Exception) -> Problem:
    if isinstance(error, (OutOfMemoryError, MemoryError)):
        return Problem(Status.OUT_OF_MEMORY, "computing it takes more memory than there is")
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return Problem(Status.BAD_RECORD, f"the model fails on it: {message[:_LONGEST_REASON]}")
