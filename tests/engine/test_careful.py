"""Samples that a model stumbles over: who is blamed, and when the model is."""

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
    """Gives back the first token; raises where a call holds one of ``culprits``."""

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


def test_the_culprit_is_found_and_the_others_keep_their_places() -> None:
    assert careful(Model(5))(numbered(4, 5, 6)) == [4, ODD, 6]


def test_a_call_that_works_is_made_once() -> None:
    model = Model(5)
    assert careful(model)(numbered(4, 6)) == [4, 6]
    assert model.calls == 1
    assert careful(model)([]) == []


def test_a_model_that_fails_on_everything_is_not_believed() -> None:
    with pytest.raises(ValueError, match="odd"):
        careful(Model(4, 5))(numbered(4, 5))


def test_once_a_sample_went_through_a_whole_call_may_be_to_blame() -> None:
    calls = careful(Model(4, 5))
    calls(numbered(1))
    assert calls(numbered(4, 5)) == [ODD, ODD]


def test_a_device_that_is_gone_blames_no_sample() -> None:
    model = Model()
    calls = careful(model)
    calls(numbered(1))
    model.culprits = {0, 1, 2, 3}
    with pytest.raises(ValueError, match="odd"):
        calls(numbered(2, 3))


def test_a_single_sample_is_to_blame_where_the_model_takes_the_probe() -> None:
    assert careful(Model(4))(numbered(4)) == [ODD]
    with pytest.raises(ValueError, match="odd"):
        careful(Model(0, 4))(numbered(4))


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("too much")])
def test_what_runs_out_of_memory_is_told_as_that(error: Exception) -> None:
    found = careful(Model(5, error=error))(numbered(4, 5))
    assert found[0] == 4
    assert isinstance(found[1], Problem)
    assert found[1].status is Status.OUT_OF_MEMORY


def test_a_long_trace_is_cut() -> None:
    (_, problem) = careful(Model(5, error=ValueError("x" * 5000)))(numbered(4, 5))
    assert isinstance(problem, Problem)
    assert len(str(problem.reason)) < 400
