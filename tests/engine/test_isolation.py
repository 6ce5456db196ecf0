"""Failing samples are isolated, unless the model itself fails."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scoring.engine.isolation import FaultIsolator
from scoring.engine.preparation import Problem
from scoring.models.base import EncodedSample, OutOfMemoryError
from scoring.samples import Status


def numbered(*numbers: int) -> list[EncodedSample]:
    return [EncodedSample((number,), (-1,)) for number in numbers]


class Model:
    """Returns the first token; raises if a call contains one of ``culprits``."""

    def __init__(self, *culprits: int, error: Exception | None = None) -> None:
        self.culprits, self.calls = set(culprits), 0
        self._error = error or ValueError("odd\n  shape")

    def __call__(self, samples: Sequence[EncodedSample]) -> list[int | None]:
        self.calls += 1
        ids = [sample.input_ids[0] for sample in samples]
        if self.culprits & set(ids):
            raise self._error
        return list(ids)


def careful(model: Model) -> FaultIsolator[int]:
    return FaultIsolator(model, lambda: numbered(0)[0])


ODD = Problem(Status.BAD_RECORD, "the model fails on it: ValueError: odd shape")


def test_a_failing_sample_is_isolated() -> None:
    assert careful(Model(5))(numbered(4, 5, 6)) == [4, ODD, 6]


def test_a_successful_call_is_made_once() -> None:
    model = Model(5)
    assert careful(model)(numbered(4, 6)) == [4, 6]
    assert model.calls == 1
    assert careful(model)([]) == []


def test_a_model_that_fails_on_everything_raises() -> None:
    with pytest.raises(ValueError, match="odd"):
        careful(Model(4, 5))(numbered(4, 5))


def test_after_a_success_all_samples_of_a_call_may_fail() -> None:
    calls = careful(Model(4, 5))
    calls(numbered(1))
    assert calls(numbered(4, 5)) == [ODD, ODD]


def test_a_lost_device_marks_no_sample() -> None:
    model = Model()
    calls = careful(model)
    calls(numbered(1))
    model.culprits = {0, 1, 2, 3}
    with pytest.raises(ValueError, match="odd"):
        calls(numbered(2, 3))


def test_a_single_sample_fails_only_if_the_probe_succeeds() -> None:
    assert careful(Model(4))(numbered(4)) == [ODD]
    with pytest.raises(ValueError, match="odd"):
        careful(Model(0, 4))(numbered(4))


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("too much")])
def test_out_of_memory_is_a_status_of_its_own(error: Exception) -> None:
    found = careful(Model(5, error=error))(numbered(4, 5))
    assert found[0] == 4
    assert isinstance(found[1], Problem)
    assert found[1].status is Status.OUT_OF_MEMORY


def test_a_long_message_is_shortened() -> None:
    (_, problem) = careful(Model(5, error=ValueError("x" * 5000)))(numbered(4, 5))
    assert isinstance(problem, Problem)
    assert len(str(problem.reason)) < 400
