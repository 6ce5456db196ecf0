"""A small benchmark with typed scores and answers, and files of predictions for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.samples import Status
from scoring.workspace import Workspace
from tests.synthetic import Row, make_workspace

# row: score, question, reference, id. The run's predictions are right with the image; without it
# they are right for rows 0 and 5.
SAMPLES: tuple[tuple[float, str, str, str], ...] = (
    (1.0, "Which is it? A. cat B. dog", "B", "a"),
    (0.5, "Which is it? A. cat B. dog", "A", "b"),
    (0.25, "How many?", "three", "c"),
    (0.125, "How many?", "4", "d"),
    (-0.5, "What colour?", "dark red", "twice"),
    (-1.0, "What colour?", "blue", "twice"),
)


def benchmark_rows() -> list[Row]:
    rows = [
        Row(
            source=("quiz", "count", "colour")[place // 2],
            image=f"{place}.png",
            id=identifier,
            turns=((question, answer, 4, 2.0 + score, 2.0),),
        )
        for place, (score, question, answer, identifier) in enumerate(SAMPLES)
    ]
    return [
        *rows,
        Row(status=Status.MISSING_IMAGE, image="no.png", id="g", turns=(("?", "no", 4, 0, 0),)),
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Seven samples, six of them scored, with the run's own predictions."""
    place = make_workspace(tmp_path / "ws", rows=benchmark_rows(), with_images=False)
    build_database(place)
    return place


@pytest.fixture
def store(workspace: Workspace) -> Store:
    return Store(workspace)


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records), "utf-8")
    return path


@pytest.fixture
def seen_file(tmp_path: Path) -> Path:
    """Right for rows 0, 1, 3, 5; wrong for 2 and 4; row 6 is missing."""
    answers = ["The answer is B.", "(A)", "two", "four", "red", "Blue.", None]
    return write_lines(
        tmp_path / "big.jsonl",
        [{"row_idx": i, "prediction": one} for i, one in enumerate(answers) if one],
    )


@pytest.fixture
def blind_file(tmp_path: Path) -> Path:
    """Right for rows 1, 2 and 5; wrong for 0, 3, 4 and 6."""
    answers = ["A", "A", "3", "9", "green", "blue", "yes"]
    return write_lines(
        tmp_path / "big-blind.jsonl",
        [{"row_idx": i, "prediction": one} for i, one in enumerate(answers)],
    )
