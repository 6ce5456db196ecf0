"""A small workspace for edits and runs of edits, with a model whose losses depend on the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import score_dataset
from scoring.exports.editing import save_edit
from scoring.reviews.edits import Operation
from scoring.reviews.pinned_edits import pin_edits
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel

LOSSES = {"right": ([3.0], [1.0]), "wrong": ([1.0], [2.0]), "later": ([5.0], [1.0])}


def make_edit_workspace(folder: Path) -> Workspace:
    """Return four samples with the answer "wrong"; the last one has a second answer, "later"."""
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "wrong"}]
    more = [{"from": "human", "value": "and?"}, {"from": "gpt", "value": "later"}]
    records = [
        {"id": str(row), "image": "a.png", "conversations": turns + (more if row == 3 else [])}
        for row in range(4)
    ]
    (folder / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(folder / "ws"), [folder / "data.json"])
    return open_workspace(folder / "ws")


def edit(workspace: Workspace, row_idx: int, *operations: Operation, **values: Any) -> None:
    """Save an edit by the reviewer ada."""
    save_edit(workspace, row_idx, operations, reviewer="ada", **values)


def score_edited(workspace: Workspace, model: FakeModel | None = None, **settings: Any) -> str:
    """Score the edited samples; return the run."""
    model = model or FakeModel(LOSSES)
    return score_dataset(workspace, model, edits=pin_edits(workspace), **settings).run_id
