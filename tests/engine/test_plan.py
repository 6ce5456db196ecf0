"""The plan: its order, its samples, and how it is rewritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.engine.plan import Plan, open_plan, split_at_images, split_between_groups
from scoring.workspace import Workspace, create_workspace, open_workspace

IMAGES = ["b", None, "a", "b", None, "c", "a", "b"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    records = []
    for row, image in enumerate(IMAGES):
        turns = [{"from": "human", "value": f"q\u0000 {row} \u00e9"}, {"from": "gpt", "value": "a"}]
        if image:
            turns[0]["value"] = "<image>\n" + turns[0]["value"]
        named = {"image": f"{'xy'[row % 2]}/{image}.png"} if image else {}
        records.append({"id": str(row), "conversations": turns} | named)
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def test_rows_with_the_same_first_image_are_adjacent(workspace: Workspace) -> None:
    plan = open_plan(workspace)
    # x/b: 0; x/a: 2 and 6; y/b: 3 and 7; y/c: 5; without an image: 1 and 4
    assert plan.rows.tolist() == [0, 1, 2, 6, 3, 7, 4, 5]
    assert plan.position_of.tolist() == [0, 1, 2, 4, 6, 7, 3, 5]
    names = [plan.source_names[code] for code in plan.source_codes]
    assert names == ["x", "data", "x", "x", "y", "y", "data", "y"]


def test_samples_equal_the_datasets_without_their_bytes(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = open_plan(workspace)
    found = plan.read_samples(np.array([5, 0, 3]))
    dataset = list(read_samples(workspace))
    for sample, row in zip(found, [7, 0, 6], strict=True):
        assert (sample.row_idx, sample.original) == (row, b"")
        for name in ("id", "source", "images", "turns", "status", "reason"):
            assert getattr(sample, name) == getattr(dataset[row], name)
    assert capfd.readouterr().out == ""  # stdout is for data


def test_a_lost_or_outdated_plan_is_rewritten_identically(workspace: Workspace) -> None:
    before = open_plan(workspace).rows.tolist()
    folder = workspace.dataset_dir / "plan"
    (folder / "plan.json").write_text('{"fingerprint": "another"}')
    assert open_plan(workspace).rows.tolist() == before
    shutil.rmtree(folder)
    (workspace.dataset_dir / ".plan.dead.tmp").mkdir()
    assert open_plan(workspace).rows.tolist() == before
    assert not list(workspace.dataset_dir.glob(".plan.*.tmp"))


def test_rows_are_read_across_row_groups_and_parts(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in (("GROUP_ROWS", 2), ("PART_ROWS", 4)):
        monkeypatch.setattr(f"scoring.database.build.plan_order.{name}", rows)
        monkeypatch.setattr(f"scoring.engine.plan.{name}", rows)
    plan: Plan = open_plan(workspace)
    assert [path.name for path in sorted((workspace.dataset_dir / "plan").glob("part-*"))] == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert [one.row_idx for one in plan.read_samples(np.arange(8))] == [0, 1, 2, 6, 3, 7, 4, 5]


def test_chunks_end_between_images() -> None:
    def cut(*borders: int) -> list[int]:
        return split_between_groups(np.array(borders), borders[-1], 4).tolist()

    assert cut(0, 3, 6, 9) == [0, 3, 6]
    assert cut(0, 5, 9) == [0, 5]
    assert cut(0, 1, 7, 8) == [0, 4]  # a group of six is split at four, its rest ends near eight
    assert cut(0, 20) == [0, 4, 8, 12, 16]
    assert cut(0, 1, 2, 3, 4, 5, 6) == [0, 4]
    assert split_between_groups(np.array([0]), 0, 4).tolist() == []


def test_every_position_is_in_its_chunk(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoring.engine.plan.CHUNK_ROWS", 3)
    plan = open_plan(workspace)
    # rows 0 | 1 | 2 6 | 3 7 | 4 | 5 by image: no pair is split
    assert plan.chunk_starts.tolist() == [0, 4, 7]
    assert plan.chunk_of(np.arange(8)).tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    assert [plan.chunk_positions(one) for one in range(3)] == [
        slice(0, 4),
        slice(4, 7),
        slice(7, 8),
    ]


def test_a_window_is_split_only_between_images(workspace: Workspace) -> None:
    plan = open_plan(workspace)
    samples = plan.read_samples(np.arange(8))
    cut = split_at_images(samples, plan.leaders, 4)
    assert [[one.row_idx for one in group] for group in cut] == [[0, 1], [2, 6], [3, 7], [4, 5]]
    cut = split_at_images(samples, plan.leaders, 8)
    assert [[one.row_idx for one in group] for group in cut] == [[0], [1], [2, 6], [3, 7], [4], [5]]
