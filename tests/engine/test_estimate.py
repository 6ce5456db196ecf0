"""``score --estimate`` reports the expected cost and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.dataset.importing import import_dataset
from scoring.engine.baselines import BaselineSettings
from scoring.engine.estimate import TokenStats, estimate_run
from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import score_dataset
from scoring.errors import RunConflictError
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Six records: answers of 1, 2, 1, 2, ... words, the last one without an image."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    records = []
    for row in range(6):
        human = {"from": "human", "value": "<image>\nq"}
        answer = {"from": "gpt", "value": "red blue" if row % 2 else "red"}
        records.append({"id": str(row), "image": "a.png", "conversations": [human, answer]})
    del records[5]["image"]
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def test_tokens_are_of_the_remaining_samples(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), run_id="mine", limit=2)
    found = estimate_run(workspace, FakeModel(), ScoreOptions("mine"))
    assert (found.n_samples, found.n_done, found.n_left, found.n_tried) == (6, 2, 4, 4)
    assert found.statuses == {"scored": 3, "text_only": 1}
    # Rows 2, 3, 4: start, image, q and the answer of 1, 2, 1 words.
    assert found.tokens_multimodal == TokenStats(13 / 3, 5)
    assert found.tokens_text == TokenStats(10 / 3, 4)
    assert found.answer_tokens == TokenStats(4 / 3, 2)
    least, most = found.seconds
    assert 0 < least <= most
    with pytest.raises(RunConflictError, match="baselines"):
        estimate_run(workspace, FakeModel(), ScoreOptions("mine", BaselineSettings(("gray",))))


@pytest.mark.parametrize("how", [(), ("--workers", "2"), ("--engine", "ray")], ids=" ".join)
def test_an_estimate_scores_nothing_for_any_engine(
    workspace: Workspace, how: tuple[str, ...]
) -> None:
    command = ["score", "-w", str(workspace.root), "--model", "tiny-vlm", "--device", "cpu"]
    result = CliRunner().invoke(app, [*command, "--estimate", "--json", *how])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["n_left"], told["statuses"]) == (6, {"scored": 5, "text_only": 1})
    assert list(workspace.runs_dir.glob("*")) == []
