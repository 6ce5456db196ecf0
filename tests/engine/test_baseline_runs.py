"""Runs with several blind baselines: the settings that decide them, and their reproducibility."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from scoring.cli.console import show_statuses
from scoring.database.connection import Store
from scoring.database.queries.overview import status_counts
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.engine.baselines import BaselineSettings
from scoring.engine.pipeline import score_dataset
from scoring.errors import InputError, RunConflictError
from scoring.models.base import EncodedSample
from scoring.models.prompting import PromptProblem
from scoring.runs.record import list_runs, read_run
from scoring.samples import Status, Turn
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel

COLOURS = {(40 * n, 0, 0): 0.1 * n for n in range(1, 7)}  # loss per word with each image


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Twelve records on six images, the last with a missing one."""
    for n, colour in enumerate(COLOURS):
        Image.new("RGB", (2, 2), colour).save(tmp_path / f"{n}.png")
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a b"}]
    records = [{"conversations": turns, "image": f"{row % 6}.png"} for row in range(12)]
    records[11]["image"] = "gone.png"
    (tmp_path / "data.json").write_text(json.dumps(records))
    place = create_workspace(tmp_path / "ws")
    import_dataset(place, [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def rows_of(workspace: Workspace, run_id: str) -> list[dict[str, Any]]:
    parts = sorted((workspace.run_dir(run_id) / "scores").glob("part-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    return sorted(rows, key=lambda row: (row["row_idx"], row["baseline"]))


def test_each_sample_is_counted_once_under_each_baseline(workspace: Workspace) -> None:
    model = FakeModel(by_colour=COLOURS)
    summary = score_dataset(workspace, model, baselines=("shuffled", "none"), run_id="both")
    expected = {"scored": 11, "missing_image": 1}
    assert (summary.done, summary.total, summary.statuses) == (12, 12, expected)
    assert summary.by_baseline == {"none": expected, "shuffled": expected}
    assert read_run(workspace, "both").baselines == ("none", "shuffled")
    for baseline in ("none", "shuffled"):
        counted = status_counts(Store(workspace).selection(Scope("both", baseline)))
        assert dict(zip(counted["status"], counted["n"], strict=True)) == expected


def test_shuffled_is_the_same_in_pieces_and_after_its_file_is_lost(workspace: Workspace) -> None:
    whole = BaselineSettings(("shuffled",), shuffle_seed=3)
    model = FakeModel(by_colour=COLOURS)
    score_dataset(workspace, model, baselines=whole, run_id="whole")
    for limit in (1, 5, None):
        score_dataset(workspace, model, baselines=whole, run_id="pieces", limit=limit)
        (workspace.run_dir("pieces") / "images.arrow").unlink()
    assert rows_of(workspace, "whole") == rows_of(workspace, "pieces")
    other = BaselineSettings(("shuffled",), shuffle_seed=4)
    score_dataset(workspace, model, baselines=other, run_id="other")
    assert rows_of(workspace, "other") != rows_of(workspace, "whole")
    shown = [row["turns"][0]["loss_text_sum"] for row in rows_of(workspace, "whole")[:6]]
    own = [row["turns"][0]["loss_multimodal_sum"] for row in rows_of(workspace, "whole")[:6]]
    assert sorted(shown) == sorted(own)  # a derangement of the images: each is shown, none
    assert all(mine != others for mine, others in zip(own, shown, strict=True))  # to its sample


def test_another_list_of_baselines_is_another_run(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), run_id="mine")
    with pytest.raises(RunConflictError, match=r"\('none',\) then, \('none', 'gray'\) now.*--run"):
        score_dataset(workspace, FakeModel(), run_id="mine", baselines=("none", "gray"))
    with pytest.raises(RunConflictError, match="tokens: False then, True now"):
        score_dataset(workspace, FakeModel(), run_id="mine", tokens=True)
    blurred = BaselineSettings(("blur",), blur_sigma=0.1)
    score_dataset(workspace, FakeModel(), run_id="blurred", baselines=blurred)
    with pytest.raises(RunConflictError, match=r"blur_sigma: 0.1 then, 0.05 now"):
        score_dataset(workspace, FakeModel(), run_id="blurred", baselines=("blur",))


def test_only_deciding_settings_determine_a_runs_name(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel())
    score_dataset(workspace, FakeModel(), baselines=BaselineSettings(("none",), 0.3, 9))
    assert len(list_runs(workspace)) == 1
    score_dataset(workspace, FakeModel(), baselines=("none", "blur"))
    score_dataset(workspace, FakeModel(), baselines=BaselineSettings(("blur", "none"), 0.3))
    assert len(list_runs(workspace)) == 3


def test_a_refused_baseline_creates_no_run(workspace: Workspace) -> None:
    class Unmasked(FakeModel):
        def encode_masked(self, turns: tuple[Turn, ...]) -> EncodedSample:  # type: ignore[override]
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, "not for this model")

    with pytest.raises(InputError, match="not for this model"):
        score_dataset(workspace, Unmasked(), baselines=("none", "reference"))
    assert list_runs(workspace) == []


def test_the_final_table_adds_up_under_each_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    show_statuses(
        "Run x", {"none": {"scored": 9, "too_long": 1}, "gray": {"scored": 8, "non_finite": 2}}
    )
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        ["Run", "x"],
        ["samples", "by", "status", "none", "gray"],
        ["scored", "9", "8"],
        ["non_finite", "0", "2"],
        ["too_long", "1", "0"],
        ["all", "10", "10"],
    ]
