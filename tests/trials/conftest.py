"""A workspace with real images and exact scores, and evaluation sets that share nothing with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scoring.database.build.build import build_database
from scoring.rules import Rule
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.workspace import Workspace
from tests.synthetic import CLUSTERING_ID, RUN_ID, make_workspace, typed_row

N_SCORED = 60

WriteSet = Callable[..., Path]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Sixty scores from -0.75 to 1.09375, answers of 2, 4 and 8 tokens, and four text-only rows."""
    from scoring.samples import Status

    values = [i / 32 - 0.75 for i in range(N_SCORED)]
    rows = [typed_row(value, i, 2 ** (1 + i % 3)) for i, value in enumerate(values)]
    rows += [typed_row(Status.TEXT_ONLY, N_SCORED + i) for i in range(4)]
    workspace = make_workspace(tmp_path / "ws", rows=rows)
    for number, path in enumerate(sorted((workspace.root / "images").rglob("*.png"))):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(path)  # each image once
    build_database(workspace)
    return workspace


@pytest.fixture
def save(workspace: Workspace) -> Callable[..., SubsetDefinition]:
    """Save a subset of a rule under a name."""

    def save_rule(name: str, rule: Rule, **choices: Any) -> SubsetDefinition:
        definition = SubsetDefinition(name, rule, RUN_ID, "none", CLUSTERING_ID, **choices)
        save_subset(workspace, definition)
        return definition

    return save_rule


@pytest.fixture
def write_set(tmp_path: Path) -> WriteSet:
    """Write an evaluation set; a record is (question, answer, image file or None)."""

    def write(name: str, records: Sequence[tuple[str, str, Path | None]] | None = None) -> Path:
        folder = tmp_path / f"set-{name}"
        folder.mkdir()
        if records is None:
            image = folder / "unseen.png"
            Image.new("RGB", (40, 40), (1, 2, 250)).save(image)
            records = [("Which colour is this?", "blue", image)]
        values = []
        for question, answer, picture in records:
            record: dict[str, Any] = {}
            if picture is not None:
                target = folder / picture.name
                target.write_bytes(picture.read_bytes())
                record["image"] = picture.name
                question = f"<image>\n{question}"
            record["conversations"] = [
                {"from": "human", "value": question},
                {"from": "gpt", "value": answer},
            ]
            values.append(record)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(values), "utf-8")
        return path

    return write
