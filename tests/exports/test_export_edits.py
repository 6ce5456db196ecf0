"""Exports with reviewers' edits: their bytes, the diff, the manifest, verify, and what refuses."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.errors import InputError, RecordError, VerificationError
from scoring.exchange.imported_columns import import_columns
from scoring.exports.export import ExportResult, export_subset
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.reviews.decisions import open_review_log
from scoring.reviews.edits import (
    DropTurn,
    Edit,
    Operation,
    RemoveImage,
    SetText,
    SwapAnswers,
    digest_conversation,
)
from scoring.rules import Threshold
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace
from tests.exports.conftest import RECORDS, RUN_ID, golden_workspace
from tests.synthetic import CREATED_AT, Row, write_images, write_run


def record_edit(
    workspace: Workspace, row_idx: int, *operations: Operation, reviewer: str = "ada"
) -> None:
    [sample] = read_samples(workspace, [row_idx])
    edit = Edit(operations, "wrong_answer", digest_conversation(sample), "looked twice")
    open_review_log(workspace, reviewer, "desk").append_edit(row_idx, edit)


def export(workspace: Workspace, format_: str = "llava", **options: Any) -> ExportResult:
    definition = SubsetDefinition(
        "good", Threshold(0.0), RUN_ID, text_only="keep", created_at=CREATED_AT
    )
    return export_subset(
        workspace,
        Store(workspace),
        definition,
        format=ExportOptions(format_, **options),
        overwrite=True,
    )


def test_edits_change_their_record_and_nothing_else(workspace: Workspace, store: Store) -> None:
    before = export(workspace).folder.joinpath("samples.json").read_bytes()
    record_edit(workspace, 0, SetText(1, "B"))
    result = export(workspace)
    after = result.folder.joinpath("samples.json").read_bytes()
    assert after == before.replace(b'{"from":"gpt","value":"A"}', b'{"from":"gpt","value":"B"}')
    assert result.manifest.derived == ("edits",)
    assert result.manifest.counts["written"]["edits"] == {"samples": 1, "conflicts": 0}
    [line] = result.folder.joinpath("edits.jsonl").read_text("utf-8").splitlines()
    diff = json.loads(line)
    assert (diff["row_idx"], diff["reviewer"], diff["reason"]) == (0, "ada", "wrong_answer")
    texts = [[turn["text"] for turn in diff[side]["turns"]] for side in ("before", "after")]
    assert texts == [["\nWho?", "A"], ["\nWho?", "B"]]
    assert "Records corrected by reviewers: 1" in result.folder.joinpath("README.md").read_text(
        "utf-8"
    )
    ignored = export(workspace, edits="ignore")
    assert ignored.folder.joinpath("samples.json").read_bytes() == before
    assert "edits" not in ignored.manifest.to_dict()["inputs"]
    assert not ignored.folder.joinpath("edits.jsonl").exists()


def test_an_export_keeps_its_edits_whatever_comes_later(workspace: Workspace) -> None:
    record_edit(workspace, 0, SetText(1, "B"))
    result = export(workspace)
    assert verify_manifest(result.folder).notes == ()
    record_edit(workspace, 0, SetText(1, "C"), reviewer="ben")
    record_edit(workspace, 2, SetText(1, "C"))
    *_, note = verify_manifest(result.folder).notes
    assert note == "later edits of 2 of its samples were ignored"
    open_review_log(workspace, "ada", "desk").undo_edit(0)
    assert verify_manifest(result.folder).n_samples == len(RECORDS) - 1
    log = next(workspace.reviews_dir.glob("ada*.jsonl"))
    log.write_bytes(log.read_bytes().replace(b'\\"B\\"', b'\\"X\\"'))
    with pytest.raises(VerificationError, match="of row 0 has other contents now"):
        verify_manifest(result.folder)
    log.unlink()
    with pytest.raises(VerificationError, match="of row 0 is gone"):
        verify_manifest(result.folder)


def test_only_edited_samples_are_exported(workspace: Workspace) -> None:
    record_edit(workspace, 2, SetText(1, "B"))
    record_edit(workspace, 4, SetText(1, "not in the subset"))
    record_edit(workspace, 3)  # restored: not edited
    for format_ in ("jsonl", "ids"):
        result = export(workspace, format_, edits="only")
        assert result.n_samples == 1
        assert verify_manifest(result.folder).n_samples == 1
    record_edit(workspace, 2)
    assert export(workspace, "ids", edits="only").n_samples == 0


def test_the_newest_edit_holds_and_conflicts_are_counted(workspace: Workspace) -> None:
    record_edit(workspace, 0, SetText(1, "B"), reviewer="ben")
    record_edit(workspace, 0, SetText(1, "C"))
    result = export(workspace, "jsonl")
    assert b'"value":"C"' in result.folder.joinpath("samples.jsonl").read_bytes()
    assert result.manifest.counts["written"]["edits"] == {"samples": 1, "conflicts": 1}
    assert verify_manifest(result.folder).n_samples == result.n_samples


TURNS = (("What?", "Red", 4, 1.5, 0.5), ("Where?", "Left", 4, 0.25, 0.5))
ROWS = [
    Row(turns=TURNS, image="one.png", id="a"),
    Row(turns=TURNS[:1], image="two.png", id="b"),
]


def import_rows(folder: Path) -> Workspace:
    records = [
        {
            "id": row.id,
            "image": row.image,
            "conversations": [
                {"from": role, "value": text if role == "gpt" or number else f"<image>\n{text}"}
                for number, turn in enumerate(row.turns)
                for role, text in zip(("human", "gpt"), turn[:2], strict=True)
            ],
        }
        for row in ROWS
    ]
    source = folder / "records.json"
    source.write_text(json.dumps(records))
    write_images(folder / "images", ROWS)
    workspace = create_workspace(folder / "ws")
    info = import_dataset(workspace, [source], [folder / "images"])
    write_run(workspace, ROWS, info.fingerprint)
    build_database(workspace)
    return workspace


@pytest.mark.parametrize("format_", ["llava", "jsonl", "messages", "parquet", "webdataset"])
def test_every_format_of_records_has_the_edit(tmp_path: Path, format_: str) -> None:
    workspace = import_rows(tmp_path)
    record_edit(workspace, 0, DropTurn(1))
    result = export(workspace, format_)
    if format_ == "webdataset":
        with tarfile.open(result.folder / "samples-000000.tar") as tar:
            content = tar.extractfile("000000000.json")
            assert content is not None
            assert b"Left" in (record := content.read())
            assert b"Red" not in record
    elif format_ == "parquet":
        table = pq.read_table(result.folder / "samples.parquet").to_pylist()
        assert [turn["value"] for turn in table[0]["conversations"]] == ["<image>\nWhere?", "Left"]
        assert b"Red" not in table[0]["record"]
        assert [row["visnec"] is None for row in table] == [True, False]
        assert [row["status"] for row in table] == ["pending", "scored"]
    else:
        name = "samples.json" if format_ == "llava" else "samples.jsonl"
        text = result.folder.joinpath(name).read_text("utf-8")
        assert text.count("Red") == 1  # of the other sample
    assert verify_manifest(result.folder).n_samples == 2
    again = create_workspace(tmp_path / "again")
    import_dataset(again, [result.folder], [tmp_path / "images"])
    first = next(read_samples(again))
    assert [turn.text.strip() for turn in first.turns] == ["Where?", "Left"]


def test_scores_of_edited_samples_are_not_written(tmp_path: Path) -> None:
    workspace = import_rows(tmp_path)
    record_edit(workspace, 0, SetText(1, "Blue"))
    result = export(workspace, "jsonl", scores=True, turns="drop", turn_min=0.0)
    lines = result.folder.joinpath("samples.jsonl").read_text("utf-8").splitlines()
    records = list(map(json.loads, lines))
    assert [record["visnec"] for record in records] == [None, 1.0]
    assert [len(record["conversations"]) for record in records] == [4, 2]  # whole
    assert result.manifest.counts["written"]["turns"]["samples_left_whole"] == 1
    assert verify_manifest(result.folder).n_samples == 2


def test_values_per_answer_follow_the_answers(tmp_path: Path) -> None:
    workspace = import_rows(tmp_path)
    values = tmp_path / "values.jsonl"
    values.write_text('{"row_idx": 0, "rating": [1, 5]}\n{"row_idx": 1, "rating": [3]}\n')
    import_columns(workspace, values)

    def ratings(*operations: Operation) -> list[list[int | None]]:
        record_edit(workspace, 0, *operations)
        result = export(workspace, "jsonl", add_columns=("rating",))
        assert verify_manifest(result.folder).n_samples == 2
        lines = result.folder.joinpath("samples.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line)["col:rating"] for line in lines]

    assert ratings(SwapAnswers(1, 3)) == [[5, 1], [3]]
    assert ratings(DropTurn(1)) == [[5], [3]]
    assert ratings(SetText(3, "Right")) == [[1, None], [3]]


def test_a_removed_image_is_in_no_file(tmp_path: Path) -> None:
    workspace = import_rows(tmp_path)
    record_edit(workspace, 1, RemoveImage(0))
    result = export(workspace, "parquet", images="embed")
    rows = pq.read_table(result.folder / "samples.parquet").to_pylist()
    assert [len(row["images"]) for row in rows] == [1, 0]
    assert b"two.png" not in rows[1]["record"]
    copied = export(workspace, images="copy")
    assert [path.name for path in (copied.folder / "images").iterdir()] == ["one.png"]
    assert verify_manifest(copied.folder).n_samples == 2


def test_rows_of_a_table_are_edited_in_the_decoded_way_only(tmp_path: Path) -> None:
    source = tmp_path / "data.parquet"
    made = import_rows(tmp_path)
    table = pq.read_table(export(made, "parquet").folder / "samples.parquet")
    pq.write_table(table.select(["id", "images", "conversations"]), source)
    workspace = create_workspace(tmp_path / "tables")
    info = import_dataset(workspace, [source], [tmp_path / "images"])
    write_run(workspace, ROWS, info.fingerprint)
    build_database(workspace)
    record_edit(workspace, 1, SetText(1, "Blue"))
    with pytest.raises(InputError, match="columns of the source cannot be"):
        export(workspace, "parquet")
    understood = export(workspace, "parquet", columns="understood")
    rows = pq.read_table(understood.folder / "samples.parquet").to_pylist()
    assert rows[1]["conversations"][1]["value"] == "Blue"
    assert verify_manifest(understood.folder).n_samples == 2
    assert b"Blue" in export(workspace).folder.joinpath("samples.json").read_bytes()
    assert export(workspace, "parquet", edits="ignore").manifest.options.columns == "source"


def test_an_edit_that_no_longer_fits_refuses_the_export(tmp_path: Path) -> None:
    workspace = golden_workspace(tmp_path)
    edit = Edit((SetText(1, "B"),), "other", "0" * 64)
    open_review_log(workspace, "ada", "desk").append_edit(0, edit)
    with pytest.raises(RecordError, match="row 0 by ada cannot be applied: it was made for"):
        export(workspace)
    export(workspace, edits="ignore")
