"""Every format of an export, read back by its usual readers and replayed from its manifest."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scoring import import_dataset
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import InputError, RecordError, RuleError, StorageError, VerificationError
from scoring.exports import files
from scoring.exports.export import ExportResult, export_subset
from scoring.exports.export_plan import plan_export
from scoring.exports.files import ContentDigest
from scoring.exports.formats import tar_member
from scoring.exports.manifest import read_manifest
from scoring.exports.manifest_differences import diff_manifests
from scoring.exports.options import FORMATS, ExportOptions
from scoring.exports.verify import (
    is_manifest_path,
    resolve_manifest,
    verify_manifest,
)
from scoring.images import containers
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.rules import Band, Threshold, TopShare, Weights
from scoring.samples import Status
from scoring.subsets.definitions import SubsetDefinition, read_outcome
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.exports.conftest import RECORDS, RUN_ID, golden_workspace
from tests.synthetic import Row, make_workspace, write_run

SAMPLES = "samples.parquet"
ALL = SubsetDefinition("all", TopShare(1.0), RUN_ID, text_only="keep")
WEIGHTED = SubsetDefinition("weighted", Weights(), RUN_ID)
EVERY: dict[str, ExportOptions] = {
    "llava with images and card": ExportOptions("llava", images="copy", card=True),
    "jsonl with links": ExportOptions("jsonl", images="link"),
    "parquet": ExportOptions("parquet", card=True),
    "parquet, images inside": ExportOptions("parquet", images="embed"),
    "huggingface": ExportOptions("huggingface", card=True),
    "huggingface, images inside": ExportOptions("huggingface", images="embed"),
    "webdataset": ExportOptions("webdataset"),
    "dropped": ExportOptions("dropped"),
    "turns gone": ExportOptions("llava", turns="drop", turn_min=0.1),
    "turns masked": ExportOptions("parquet", turns="mask", turn_min=0.1),
}


def export(
    workspace: Workspace, definition: SubsetDefinition, options: ExportOptions, to: str = ""
) -> ExportResult:
    folder = workspace.exports_dir / (to or options.format)
    return export_subset(
        workspace,
        Store(workspace),
        definition,
        folder,
        options,
        overwrite=True,
        allow_missing_images=True,  # reviewers kept samples whose images are missing
    )


def failure(folder: Path) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_manifest(folder)
    return str(caught.value)


@pytest.fixture
def pictured(tmp_path: Path) -> Workspace:
    """A workspace of 60 plausible samples whose images are there."""
    made = make_workspace(tmp_path / "ws", 60, with_decisions=True)
    build_database(made)
    return made


def multi_turn(tmp_path: Path) -> Workspace:
    """Three samples whose answers have the scores typed here: A and B; only C; D, E and F."""
    workspace = create_workspace(tmp_path / "ws")
    scores = [("x.png", (-0.5, 1.0)), ("y.png", (-1.0,)), ("z.png", (0.5, -0.25, 2.0))]
    lines, rows, letters = [], [], iter("ABCDEF")
    for image, turns in scores:
        said = [(f"{letter}?", letter, 4, 2.0 + one, 2.0) for one, letter in zip(turns, letters)]  # noqa: B905
        conversation = [
            {"from": role, "value": ("<image>\n" if role == "human" and not n else "") + text}
            for n, (question, answer, *_) in enumerate(said)
            for role, text in (("human", question), ("gpt", answer))
        ]
        lines.append(json.dumps({"image": image, "conversations": conversation, "n": 1e-7}))
        rows.append(
            Row(image=image, turns=tuple((q, a, n, 4 * t, 4 * m) for q, a, n, t, m in said))
        )
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    info = import_dataset(workspace, [tmp_path / "records.jsonl"], [tmp_path])
    write_run(workspace, rows, info.fingerprint)
    build_database(open_workspace(workspace.root))
    return open_workspace(workspace.root)


def test_a_random_draw_replays_from_its_manifest(pictured: Workspace) -> None:
    rule = Band(0.0, count=3, per="source", seed=4)
    definition = SubsetDefinition("drawn", rule, RUN_ID, hand_wins=False)
    folder = export(pictured, definition, ExportOptions("ids")).folder
    assert read_manifest(folder / "manifest.json").subset.rule == rule
    assert verify_manifest(folder).n_samples == 3


@pytest.mark.parametrize("options", EVERY.values(), ids=EVERY.keys())
def test_every_export_replays_and_repeats(pictured: Workspace, options: ExportOptions) -> None:
    folders = [export(pictured, ALL, options, name).folder for name in ("one", "two")]
    names = [sorted(str(p.relative_to(one)) for p in one.rglob("*")) for one in folders]
    assert names[0] == names[1]
    for name in names[0]:
        if (folders[0] / name).is_file():
            assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    report = verify_manifest(folders[0])
    assert report.n_samples > 20
    assert report.changed_inputs == ()
    assert len(report.notes) == (1 if options.takes_images else 0)  # missing images
    assert read_manifest(folders[0]).options == options
    assert str(pictured.root).encode() not in (folders[0] / "manifest.json").read_bytes()


def test_parquet_has_exact_records_and_parsed_columns(workspace: Workspace) -> None:
    folder = export(workspace, ALL, ExportOptions("parquet")).folder
    rows = pq.read_table(folder / "samples.parquet").to_pylist()
    assert [row["record"] for row in rows] == RECORDS
    assert [row["row_idx"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["id"] for row in rows] == ["7", "7", "7", "pretty", "line\nbreak", None]
    assert [row["visnec"] for row in rows] == [0.5, 0.25, 0.75, 1.0, -0.5, None]
    assert [row["n_answer_tokens"] for row in rows] == [4, 4, 4, 4, 4, None]
    assert rows[2]["images"] == ["b/3.png"]
    assert rows[2]["conversations"] == [
        {"from": "human", "value": "図 <image> naïve \u2028 😀"},
        {"from": "gpt", "value": "né"},
    ]


def test_the_saved_folder_describes_its_columns(pictured: Workspace) -> None:
    options = ExportOptions("huggingface", images="embed")
    folder = export(pictured, ALL, options).folder
    state = json.loads((folder / "train" / "state.json").read_text())
    assert state["_data_files"] == [{"filename": "data-00000-of-00001.arrow"}]
    features = json.loads((folder / "train" / "dataset_info.json").read_text())["features"]
    assert features["images"] == {"_type": "Sequence", "feature": {"_type": "Image"}}
    text = {"_type": "Value", "dtype": "string"}
    assert features["conversations"] == [{"from": text, "value": text}]
    with pa.ipc.open_stream(folder / "train" / "data-00000-of-00001.arrow") as stream:
        rows = stream.read_all().to_pylist()
    image = next(row["images"][0] for row in rows if row["images"] and row["images"][0])
    assert Image.open(io.BytesIO(image["bytes"])).size[0] > 8
    assert (pictured.root / "images" / image["path"]).read_bytes() == image["bytes"]


def test_what_is_exported_can_be_imported_again(pictured: Workspace, tmp_path: Path) -> None:
    for file_format in ("llava", "jsonl", "parquet", "huggingface", "webdataset"):
        folder = export(pictured, ALL, ExportOptions(file_format)).folder
        again = create_workspace(tmp_path / f"again-{file_format}")
        data = {
            "llava": [folder / "samples.json"],
            "jsonl": [folder / "samples.jsonl"],
            "parquet": [folder / "samples.parquet"],
            "webdataset": sorted(folder.glob("*.tar")),
        }
        info = import_dataset(again, data.get(file_format, [folder]))
        assert info.n_samples == read_manifest(folder).counts["selected"], file_format


def test_a_tar_member_is_what_the_standard_library_writes() -> None:
    info, content = tarfile.TarInfo("000000007.json"), b'{"a":1}'
    info.size = len(content)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
    assert tar_member("000000007.json", content) == written.getvalue()[:1024]


def test_a_shard_holds_record_and_image_under_one_key(pictured: Workspace) -> None:
    folder = export(pictured, ALL, ExportOptions("webdataset")).folder
    listed = [json.loads(one) for one in (folder / "images.jsonl").read_text().splitlines()]
    outcome = read_outcome(pictured, Store(pictured), ALL)
    records = []
    for shard in ("samples-000000.tar", "text-000000.tar"):
        with tarfile.open(folder / shard) as archive:
            records += [one for one in archive.getnames() if one.endswith(".json")]
    assert sorted(records) == [f"{row:09d}.json" for row in outcome.subset.selected]
    with tarfile.open(folder / "samples-000000.tar") as archive:
        names = archive.getnames()
        first = next(one for one in names if one.endswith(".jpg"))
        file = archive.extractfile(first)
        assert file is not None
        digest = hashlib.sha256(file.read()).hexdigest()
    assert digest in [one.get("sha256") for one in listed]


def test_images_are_exported_under_the_paths_of_their_records(pictured: Workspace) -> None:
    copied = export(pictured, ALL, ExportOptions("llava", images="copy"), "copied").folder
    linked = export(pictured, ALL, ExportOptions("llava", images="link"), "linked").folder
    records = json.loads((copied / "samples.json").read_bytes())
    there = 0
    for record in records:
        original = pictured.root / "images" / record.get("image", "none")
        if original.is_file():
            there += 1
            assert (copied / "images" / record["image"]).read_bytes() == original.read_bytes()
            assert (linked / "images" / record["image"]).samefile(original)
    assert there > 20
    images = read_manifest(copied).counts["written"]["images"]
    problems = [
        json.loads(line)["status"]
        for line in (copied / "images.jsonl").read_text().splitlines()
        if "problem" in line
    ]
    assert images["missing"] == len(problems)
    assert (copied / "images.jsonl").read_bytes() == (linked / "images.jsonl").read_bytes()


def test_changed_images_are_found(pictured: Workspace) -> None:
    folder = export(pictured, ALL, ExportOptions("jsonl", images="copy")).folder
    copy = next(one for one in sorted((folder / "images").rglob("*")) if one.is_file())
    name = copy.relative_to(folder).as_posix()
    content = copy.read_bytes()
    copy.write_bytes(content + b"\0")
    assert f"{name} has changed since the export" in failure(folder)
    copy.unlink()
    assert f"{name} is missing next to the manifest" in failure(folder)
    copy.write_bytes(content)
    verify_manifest(folder)
    original = pictured.root / name
    original.write_bytes(content + b"\0")
    assert "images.jsonl differs from what the workspace rebuilds, first for the image" in failure(
        folder
    )


def test_dropped_samples_are_listed_with_who_dropped_them(tmp_path: Path) -> None:
    scores: list[float | Status] = [0.5, 0.25, 0.75, 1.0, -0.5, Status.TEXT_ONLY]
    workspace = golden_workspace(tmp_path, RECORDS, scores)
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(3, Decision.DROP), DecisionDraft(4, Decision.DROP)])
    definition = SubsetDefinition("it", Threshold(min=0.5), RUN_ID)
    folder = export(workspace, definition, ExportOptions("dropped")).folder
    found = [json.loads(line) for line in (folder / "dropped.jsonl").read_text().splitlines()]
    assert [(one["row_idx"], one["by"], one["reason"], one["visnec"]) for one in found] == [
        (1, "rule", "rule", 0.25),
        (3, "reviewer", "reviewer", 1.0),
        (4, "both", "rule", -0.5),
        (5, "choice", "text_only", None),
    ]
    assert found[0] == {
        "row_idx": 1, "id": "7", "source": "a", "by": "rule", "reason": "rule",
        "status": "scored", "visnec": 0.25,
    }  # fmt: skip


def test_weights_become_a_column_or_repeats(workspace: Workspace) -> None:
    weights = read_outcome(workspace, Store(workspace), WEIGHTED).subset.weights
    assert weights is not None
    column = export(workspace, WEIGHTED, ExportOptions("llava", weights="column"))
    records = json.loads((column.folder / "samples.json").read_bytes())
    assert [one["weight"] for one in records] == pytest.approx(weights[:5].tolist(), rel=1e-5)
    assert (column.folder / "samples.json").read_bytes()[2:].startswith(RECORDS[0][:-1] + b", ")
    assert column.manifest.derived == ("weights",)
    options = ExportOptions("ids", weights="repeat", epoch_size=50, seed=3)
    repeated = export(workspace, WEIGHTED, options)
    rows = list(map(int, (repeated.folder / "row_idx.txt").read_text().split()))
    assert len(rows) == 50
    expected = weights[:5] / weights.sum() * 50
    assert np.all(np.abs(np.bincount(rows, minlength=5) - expected) < 1)
    assert rows == sorted(rows)
    table = pq.read_table(export(workspace, WEIGHTED, ExportOptions("parquet")).folder / SAMPLES)
    assert table.column("weight").to_pylist() == weights[:5].tolist()
    ignored = export(workspace, WEIGHTED, ExportOptions("llava", weights="ignore"))
    assert ignored.manifest.derived == ()
    for chosen in (ExportOptions("llava", weights="column"), options):
        verify_manifest(export(workspace, WEIGHTED, chosen, "again").folder)


def test_weights_need_an_option(workspace: Workspace) -> None:
    with pytest.raises(RuleError, match="Choose how to export them"):
        export(workspace, WEIGHTED, ExportOptions("llava"))
    with pytest.raises(RuleError, match="gives no weights"):
        export(workspace, ALL, ExportOptions("llava", weights="repeat"))


def test_a_key_that_is_taken_is_not_overwritten(tmp_path: Path) -> None:
    record = b'{"weight": 3, "image": "a/1.png", "conversations": ' + RECORDS[5][17:]
    workspace = golden_workspace(tmp_path, [record, RECORDS[0]], [0.5, 0.25])
    with pytest.raises(RecordError, match="Cannot add a weight to row 0: it has a key 'weight'"):
        export(workspace, WEIGHTED, ExportOptions("jsonl", weights="column"))
    options = ExportOptions("jsonl", weights="column", weight_key="sampling_weight")
    line = (export(workspace, WEIGHTED, options).folder / "samples.jsonl").read_bytes()
    assert line.startswith(record[:-1] + b', "sampling_weight": ')


def test_low_answers_are_removed_and_the_rest_is_unchanged(tmp_path: Path) -> None:
    workspace = multi_turn(tmp_path)
    result = export(workspace, ALL, ExportOptions("jsonl", turns="drop", turn_min=0.0))
    lines = (result.folder / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["conversations"] for line in lines] == [
        [{"from": "human", "value": "<image>\nB?"}, {"from": "gpt", "value": "B"}],
        [
            {"from": "human", "value": "<image>\nD?"},
            {"from": "gpt", "value": "D"},
            {"from": "human", "value": "F?"},
            {"from": "gpt", "value": "F"},
        ],
    ]
    assert all(line.endswith('"n": 1e-07}') for line in lines)
    assert result.manifest.counts["written"]["turns"] == {
        "samples_changed": 2,
        "answers": 2,
        "samples_without_answers": 1,
        "samples_left_whole": 0,
    }
    assert result.manifest.derived == ("turns",)
    assert result.manifest.counts["selected"] == 2
    verify_manifest(result.folder)
    dropped = export(workspace, ALL, replace(result.manifest.options, format="dropped")).folder
    [line] = (dropped / "dropped.jsonl").read_text().splitlines()
    assert (json.loads(line)["by"], json.loads(line)["reason"]) == ("turns", "no_turn")


def test_low_answers_are_masked_in_records_and_tables(tmp_path: Path) -> None:
    workspace = multi_turn(tmp_path)
    options = ExportOptions("jsonl", turns="mask", turn_min=0.0, mask_key="train")
    lines = (export(workspace, ALL, options).folder / "samples.jsonl").read_text().splitlines()
    masks = [
        [turn.get("train") for turn in json.loads(line)["conversations"] if turn["from"] == "gpt"]
        for line in lines
    ]
    assert masks == [[False, None], [None, False, None]]
    table = pq.read_table(
        export(workspace, ALL, replace(options, format="parquet")).folder / SAMPLES
    )
    assert table.column("turn_mask").to_pylist() == [[False, True], [True, False, True]]


def test_records_that_were_not_json_are_rebuilt_and_marked_derived(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(picture, "PNG")
    rows = [
        {"question": "What colour?", "answer": "red", "image": {"bytes": picture.getvalue()}},
        {"question": "And now, 図?", "answer": "red", "image": {"bytes": picture.getvalue()}},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    workspace = create_workspace(tmp_path / "ws")
    info = import_dataset(workspace, [tmp_path / "train.parquet"])
    workspace = open_workspace(workspace.root)
    write_run(workspace, [Row(turns=(("q", "a", 4, 4.0, 0.0),))] * 2, info.fingerprint)
    build_database(workspace)
    with pytest.raises(InputError, match=r"row 0 is inside train\.parquet"):
        export(workspace, ALL, ExportOptions("llava"))
    result = export(workspace, ALL, ExportOptions("llava", images="copy"))
    records = json.loads((result.folder / "samples.json").read_bytes())
    assert records[1]["conversations"][0] == {"from": "human", "value": "<image>\nAnd now, 図?"}
    for record in records:
        assert (result.folder / "images" / record["image"]).read_bytes() == picture.getvalue()
    assert result.manifest.derived == ("records",)
    verify_manifest(result.folder)


def test_a_card_shows_no_text_of_the_dataset_as_markdown(tmp_path: Path) -> None:
    hostile = "![x](http://example.invalid/a.png)`|<script>\n# head"
    records = [json.dumps({**json.loads(one), "source": hostile}).encode() for one in RECORDS[:2]]
    workspace = golden_workspace(tmp_path, records, [0.5, 0.25])
    folder = export(workspace, ALL, ExportOptions("parquet", card=True)).folder
    card = (folder / "README.md").read_text("utf-8")
    assert "| `![x](http://example.invalid/a.png)'¦<script> # head` | 2 | 2 |" in card
    plot = (folder / "plots" / "sources.svg").read_text("utf-8")
    assert "<script" not in plot
    assert "![x](http://example.inval" in plot
    metadata = json.loads((folder / "croissant.json").read_text("utf-8"))
    [file] = metadata["distribution"]
    content = (folder / "samples.parquet").read_bytes()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert metadata["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    columns = pq.read_schema(folder / "samples.parquet").names
    assert [field["name"] for field in metadata["recordSet"][0]["field"]] == columns
    (folder / "README.md").write_text(card + "!")
    assert "README.md has extra bytes" in failure(folder)


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], None], **options: Any) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path, **options)


def test_tables_are_compared_by_their_values(workspace: Workspace) -> None:
    folder = export(workspace, ALL, ExportOptions("parquet")).folder
    path = folder / "samples.parquet"
    before = path.read_bytes()
    rewrite(path, lambda rows: None, compression="none", row_group_size=2)
    assert path.read_bytes() != before
    verify_manifest(folder)

    def change(rows: list[dict[str, Any]]) -> None:
        rows[3]["conversations"][1]["value"] = "y"

    rewrite(path, change)
    message = failure(folder)
    assert "samples.parquet differs from what the workspace rebuilds, first at row 3" in message
    assert "in 'conversations'" in message
    path.write_bytes(before)
    rewrite(path, lambda rows: rows.pop())
    assert "samples.parquet" in failure(folder)
    path.write_bytes(before[:-9])
    assert "samples.parquet cannot be read as the rebuilt table" in failure(folder)
    path.unlink()
    assert "samples.parquet is missing next to the manifest" in failure(folder)


def test_the_digest_of_values_is_independent_of_chunks() -> None:
    values = {"a": [[1], None, [], [2, 3]], "b": ["x", None, "", "é"], "row_idx": [0, 1, 2, 3]}
    whole = pa.table(values)
    parts = pa.concat_tables([pa.table(values).slice(0, 1), pa.table(values).slice(1)])
    digests = []
    for table in (whole, parts, pa.table({**values, "b": ["x", "", None, "é"]})):
        digest = ContentDigest()
        digest.update(table)
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("file_format", list(FORMATS))
def test_a_full_disk_leaves_nothing(
    workspace: Workspace, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "flush_file", full)
    with pytest.raises(StorageError, match="No space left on device; nothing was left there"):
        export(workspace, ALL, ExportOptions(file_format))
    assert [one.name for one in workspace.exports_dir.iterdir()] == [".export.lock"]


def test_a_read_only_workspace_exports_to_another_folder(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.exports_dir.write_text("no folder can be made here")
    with pytest.raises(StorageError, match="stopped: File exists; nothing was left there"):
        export_subset(workspace, Store(workspace), ALL)
    folder = export_subset(workspace, Store(workspace), ALL, tmp_path / "elsewhere").folder
    assert verify_manifest(folder, workspace).n_samples == 6


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"format": "csv"}, "Unknown format 'csv'"),
        ({"format": "llava", "images": "embed"}, "can be embedded in parquet, huggingface"),
        ({"format": "ids", "images": "copy"}, "The format ids has no images"),
        (
            {"format": "llava", "images": "zip"},
            r"Unknown images 'zip'\. Choose one of: none, copy, li",
        ),
        ({"turns": "drop"}, "--turns drop needs --turn-min or --turn-max"),
        ({"turn_min": 0.5}, "need --turns drop or mask"),
        ({"turns": "drop", "turn_min": float("nan")}, "turn limit must be a finite number"),
        ({"format": "ids", "weights": "column"}, "has no columns"),
        ({"epoch_size": 5}, "needs weights repeat"),
        ({"weight_key": "a b"}, "for a record"),
    ],
)
def test_options_that_cannot_be_combined_are_refused(choice: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ExportOptions(**choice)


def test_options_round_trip() -> None:
    for options in EVERY.values():
        assert ExportOptions(**json.loads(json.dumps(options.to_dict()))) == options
    assert ExportOptions().to_dict() == {"format": "llava"}


def test_a_manifest_of_the_first_version_still_verifies(workspace: Workspace) -> None:
    from scoring.exports.manifest import digest_manifest

    folder = export(workspace, ALL, ExportOptions("llava", version=1)).folder
    path = folder / "manifest.json"
    value = json.loads(path.read_text("utf-8"))
    for key in ("options", "derived", "manifest_sha256"):
        del value[key]
    value["manifest_version"] = 1
    value["manifest_sha256"] = digest_manifest(value)
    path.write_text(json.dumps(value))
    assert verify_manifest(folder).n_samples == 6


def test_two_exports_are_compared_by_facts_and_samples(workspace: Workspace) -> None:
    one = export(workspace, ALL, ExportOptions("llava"))
    other = export(workspace, replace(ALL, rule=TopShare(0.5)), ExportOptions("ids"))
    facts = {key: (a, b) for key, a, b in diff_manifests(one.manifest, other.manifest)}
    assert facts["subset.rule.share"] == (1.0, 0.5)
    assert facts["format"] == ("llava", "ids")
    assert facts["counts.selected"] == (6, len(other.outcome.subset.selected))
    reasons = {key: both for key, both in facts.items() if "by_reason" in key}
    assert all(isinstance(n, int) for both in reasons.values() for n in both if n is not None)
    parts = [key.split(".")[0] for key in facts]
    assert parts == sorted(parts, key=list(dict.fromkeys(parts)).index)  # not mixed
    assert not [key for key in facts if key.startswith("inputs")]
    assert is_manifest_path(str(one.folder))
    assert not is_manifest_path("all")
    again = resolve_manifest(workspace, Store(workspace), other.manifest)
    assert again.subset.selected.tolist() == other.outcome.subset.selected.tolist()
    open_review_log(workspace, "ada", "desk").append([DecisionDraft(0, Decision.DROP)])
    again = resolve_manifest(workspace, Store(workspace), one.manifest)
    assert again.subset.selected.tolist() == [0, 1, 2, 3, 4, 5]


def test_progress_may_stop_an_export_and_nothing_is_left(pictured: Workspace) -> None:
    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done:
            raise Enough

    with pytest.raises(Enough):
        export_subset(pictured, Store(pictured), ALL, progress=stop)
    assert [one.name for one in pictured.exports_dir.iterdir()] == [".export.lock"]


def test_a_group_of_rows_ends_at_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_GROUP_BYTES", 2500)
    schema = pa.schema([("a", pa.binary())])
    rows = [b"x" * 1000] * 10
    for tables in (
        [pa.table({"a": rows}, schema)],
        [pa.table({"a": [row]}, schema) for row in rows],
    ):
        by_bytes = [len(one) for one in files.regroup_tables(tables, schema, 1000)]
        by_rows = [len(one) for one in files.regroup_tables(tables, schema, 2)]
        assert (by_bytes, by_rows) == ([3, 3, 3, 1], [2, 2, 2, 2, 2])
    [table] = [pa.table({"a": rows[:2]}, schema)]
    repeats = list(files.repeat_rows(table, np.array([3, 4])))
    assert [len(one) for one in repeats] == [2, 2, 2, 1]
    assert sum(one.column("a").to_pylist().count(rows[0]) for one in repeats) == 7


LARGE = {
    "records": ExportOptions("parquet", columns="understood"),
    "embedded": ExportOptions("parquet", images="embed"),
    "saved folder": ExportOptions("huggingface", images="embed"),
    "rows as they came": ExportOptions("parquet"),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_records_are_processed_a_few_at_a_time(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 records of 1 MB, in one row group where they come as a table, with budgets of 2 MB."""
    for name in (
        "scoring.exports.files._GROUP_BYTES",
        "scoring.exports.tables._PIECE_BYTES",
        "scoring.readers.tables.BATCH_BYTES",
        "scoring.dataset.records._GROUP_BYTES",
    ):
        monkeypatch.setattr(name, 2 << 20)
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, 1 << 20, np.uint8).tobytes() for _ in range(32)]
    rows = [{"question": "q?", "answer": "a", "image": {"bytes": one}} for one in images]
    source = tmp_path / ("train.parquet" if kind == "rows as they came" else "train.jsonl")
    if source.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), source, use_dictionary=False, write_batch_size=1)
        assert pq.read_metadata(source).num_row_groups == 1
    else:
        with source.open("w") as file:
            for one in images:
                turns = [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "a"}]
                encoded = base64.b64encode(one).decode()
                file.write(json.dumps({"image": encoded, "conversations": turns}) + "\n")
    pool, before = pa.proxy_memory_pool(pa.system_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        workspace = create_workspace(tmp_path / "ws")
        info = import_dataset(workspace, [source])
        write_run(workspace, [Row(turns=(("q", "a", 4, 4.0, 0.0),))] * 32, info.fingerprint)
        workspace = open_workspace(workspace.root)
        build_database(workspace)
        folder = export(workspace, ALL, LARGE[kind]).folder
        verify_manifest(folder)
    finally:
        containers.open_rows.cache_clear()  # its buffers would outlive their pool
        pa.set_memory_pool(before)
    assert pool.max_memory() < 32 << 20  # all of them are 32 MB, 43 MB in base64


def test_shards_of_a_saved_folder_follow_one_another(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scoring.exports import tables

    monkeypatch.setattr(tables, "_SHARD_ROWS", 4)
    folder = export(workspace, ALL, ExportOptions("huggingface")).folder
    rows = []
    for name in ("data-00000-of-00002.arrow", "data-00001-of-00002.arrow"):
        with pa.ipc.open_stream(folder / "train" / name) as stream:
            rows += stream.read_all().column("row_idx").to_pylist()
    assert rows == [0, 1, 2, 3, 4, 5]
    verify_manifest(folder)


def test_an_empty_subset_is_an_empty_table(workspace: Workspace) -> None:
    nothing = replace(ALL, rule=Threshold(min=9.0), text_only="drop")
    for file_format in ("parquet", "huggingface", "webdataset", "dropped"):
        folder = export(workspace, nothing, ExportOptions(file_format)).folder
        assert verify_manifest(folder).n_samples == 0
    outcome = read_outcome(workspace, Store(workspace), nothing)
    chosen = plan_export(workspace, Store(workspace), outcome, ExportOptions("parquet"))
    assert isinstance(chosen.rows, np.ndarray)
