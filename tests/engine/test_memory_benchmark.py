"""The memory benchmark runs to the end on a few records."""

from __future__ import annotations

import pytest

from benchmarks import memory


@pytest.mark.long
def test_every_step_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    memory.main(["300"])
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| 300 |")]
    assert [row[1] for row in rows] == list(memory.STEPS)
