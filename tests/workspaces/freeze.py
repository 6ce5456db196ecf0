"""Writes a small workspace with everything in it, to be frozen when the form of one changes.

    python -m tests.workspaces.freeze tests/workspaces/version-3

What is derived and what belongs to one machine is left out. Losses are typed in (see FakeModel).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from scoring.clustering.clusters import cluster_dataset
from scoring.clustering.embedders import TfidfEmbedder
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.exports.export import export_subset
from scoring.predictions.imported import import_predictions
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.rules import Threshold
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.workspace import create_workspace, open_workspace
from tests.fakes import FakeModel

N, HALF = 12, 6
QUESTIONS = ("Which colour has the cup?", "How many hats lie on this table?")


def records() -> list[dict[str, object]]:
    """Every third without an image, one whose image is missing; paths are those of one file."""
    found: list[dict[str, object]] = []
    for i in range(N):
        placed = "" if i % 3 == 2 else "<image>\n"
        turns = [
            {"from": "human", "value": placed + QUESTIONS[i % 2]},
            {"from": "gpt", "value": f"It is number {i}."},
        ]
        image = {"image": f"colours/{i % HALF}.png"} if placed else {}
        found.append({"id": f"s-{i}", **image, "conversations": turns, "größe": 1.50})
    return found


def write_files(folder: Path) -> None:
    """Two files, which call other images by the same paths."""
    for name, start in (("one", 0), ("two", HALF)):
        (folder / name / "colours").mkdir(parents=True)
        for i in range(start, min(start + HALF, N - 2)):
            picture = Image.new("RGB", (8, 8), (20 * i, 100, 200))
            picture.save(folder / name / "colours" / f"{i % HALF}.png")
        text = json.dumps(records()[start : start + HALF], ensure_ascii=False)
        (folder / name / "a.json").write_text(text, "utf-8")


def freeze(folder: Path) -> None:
    """Writes the workspace."""
    workspace = create_workspace(folder)
    write_files(folder)
    with tempfile.TemporaryDirectory() as place:
        import_dataset(workspace, [folder / "one" / "a.json", folder / "two" / "a.json"])
        workspace = open_workspace(folder)
        losses = {f"It is number {i}.": ([1.0] * 4, [0.25 * (i % 6)] * 4) for i in range(N)}
        score_dataset(workspace, FakeModel(losses), run_id="first")
        predict_dataset(workspace, FakeModel(losses), "first")
        cluster_dataset(workspace, TfidfEmbedder(), k=2)
        answers = Path(place) / "other.jsonl"
        answers.write_text('{"row_idx": 0, "prediction": "It is number 0."}\n')
        import_predictions(workspace, answers)
    log = open_review_log(workspace, "Ann", "desk")
    log.append([DecisionDraft(0, Decision.KEEP, note="sharp"), DecisionDraft(1, Decision.DROP)])
    log.append([DecisionDraft(4, Decision.DROP)])
    log.undo_latest()
    build_database(workspace)
    subset = SubsetDefinition("kept", Threshold(min=0.25), "first")
    save_subset(workspace, subset)
    export_subset(workspace, Store(workspace), subset)
    workspace.database.unlink()
    told = folder / "dataset" / "images.json"
    told.write_text(told.read_text("utf-8").replace(str(folder.resolve()), "."), "utf-8")
    for left in (folder / "thumbnails", folder / "embeddings", folder / "runs/first/progress"):
        shutil.rmtree(left, ignore_errors=True)
    for path in folder.rglob(".*"):
        if path.is_file():
            path.unlink()


if __name__ == "__main__":
    freeze(Path(sys.argv[1]))
