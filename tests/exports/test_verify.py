"""A manifest rebuilds its export byte for byte, or reports what differs and why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.image_index import index_images
from scoring.errors import InputError, VerificationError, WorkspaceError
from scoring.exports.export import export_subset
from scoring.exports.manifest import digest_manifest, read_manifest
from scoring.exports.verify import verify_manifest
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.rules import (
    PaperCodeTopShare,
    PaperTopShare,
    RandomShare,
    Rule,
    Threshold,
    TopCount,
    TopShare,
)
from scoring.samples import Status
from scoring.schemas import SCORES
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, open_workspace
from tests.exports.conftest import RECORDS, RUN_ID, golden_workspace
from tests.synthetic import CLUSTERING_ID, make_workspace

KEEP, DROP = Decision.KEEP, Decision.DROP
POSITIVE = SubsetDefinition("positive", Threshold(min=0.25), RUN_ID)


def exported(
    workspace: Workspace, definition: SubsetDefinition = POSITIVE, file_format: str = "llava"
) -> Path:
    return export_subset(workspace, Store(workspace), definition, format=file_format).folder


def decide(workspace: Workspace, *decisions: tuple[int, Decision]) -> None:
    log = open_review_log(workspace, "ada", "laptop")
    log.append([DecisionDraft(row_idx, decision) for row_idx, decision in decisions])


RULES: list[Rule] = [
    Threshold(min=0.0, max=0.5),
    TopShare(0.3),
    TopCount(17),
    PaperTopShare(0.4),
    PaperCodeTopShare(0.4),
    RandomShare(share=0.3, seed=5),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_every_rule_replays(tmp_path: Path, rule: Rule) -> None:
    workspace = make_workspace(tmp_path / "ws", 150, with_images=False, with_decisions=True)
    build_database(workspace)
    definition = SubsetDefinition("it", rule, RUN_ID, "none", CLUSTERING_ID, "keep", "keep")
    for file_format in ("llava", "jsonl", "ids"):
        folder = workspace.exports_dir / file_format
        export_subset(workspace, Store(workspace), definition, folder, file_format)
        report = verify_manifest(folder)
        assert report.n_samples == report.manifest.counts["selected"] > 20
        assert (report.changed_inputs, report.notes) == ((), ())


def test_digests_of_images_are_no_input_of_an_export(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", 60)
    index_images(workspace)
    build_database(workspace)
    folder = exported(workspace)
    parts = [part.name for part in read_manifest(folder).inputs.parts]
    assert not any("image-digests" in name for name in parts)
    assert "image_index" not in read_manifest(folder).inputs.run
    assert verify_manifest(folder).changed_inputs == ()


def test_the_manifest_file_or_its_folder_may_be_named(workspace: Workspace) -> None:
    folder = exported(workspace)
    assert verify_manifest(folder).n_samples == 4
    assert verify_manifest(folder / "manifest.json").path == folder / "manifest.json"


def test_an_export_elsewhere_needs_its_workspace_named(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    export_subset(workspace, Store(workspace), POSITIVE, folder)
    with pytest.raises(InputError, match="is not inside a workspace"):
        verify_manifest(folder)
    assert verify_manifest(folder, workspace).n_samples == 4
    (tmp_path / "other").mkdir()
    other = golden_workspace(tmp_path / "other")
    with pytest.raises(InputError, match="was exported from workspace"):
        verify_manifest(folder, other)


def test_a_moved_workspace_still_verifies(workspace: Workspace, tmp_path: Path) -> None:
    exported(workspace)
    shutil.copytree(workspace.root, tmp_path / "copy")
    shutil.rmtree(workspace.root)
    moved = open_workspace(tmp_path / "copy")
    moved.database.unlink()
    assert verify_manifest(moved.exports_dir / "positive").n_samples == 4


def test_verifying_changes_nothing_in_the_workspace(workspace: Workspace) -> None:
    folder = exported(workspace)

    def state() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in workspace.root.rglob("*")}

    before = state()
    verify_manifest(folder)
    assert state() == before


def test_later_decisions_and_scores_are_ignored(tmp_path: Path) -> None:
    scores: list[float | Status] = [0.5, 0.75, Status.PENDING, 0.1]
    workspace = golden_workspace(tmp_path, RECORDS[:4], scores)
    decide(workspace, (3, KEEP))
    folder = exported(workspace)
    assert json.loads((folder / "samples.json").read_bytes())[-1]["id"] == "pretty"
    decide(workspace, (3, DROP), (0, DROP))
    open_review_log(workspace, "ben", "laptop").append([DecisionDraft(1, DROP)])
    turn = {"turn": 0, "loss_text_sum": 8.0, "loss_multimodal_sum": 0.0, "n_answer_tokens": 4}
    late = {"row_idx": 2, "baseline": "none", "status": "scored", "truncated": False}
    table = pa.Table.from_pylist([late | {"turns": [turn]}], SCORES)
    pq.write_table(table, workspace.run_dir(RUN_ID) / "scores" / "part-00007.parquet")
    build_database(workspace)
    report = verify_manifest(folder)
    assert report.changed_inputs == ()
    assert report.notes == (
        f"1 score part(s) of run {RUN_ID} are newer and were ignored",
        "later decisions in ada@laptop, ben@laptop were ignored",
    )
    # Exported again, both count.
    again = export_subset(workspace, Store(workspace), POSITIVE, folder, overwrite=True)
    assert again.outcome.subset.selected.tolist() == [2]


def test_parts_that_are_not_in_the_database_yet_are_not_in_the_manifest(
    workspace: Workspace,
) -> None:
    part = workspace.run_dir(RUN_ID) / "scores" / "part-00000.parquet"
    shutil.copyfile(part, part.with_name("part-00001.parquet"))
    result = export_subset(workspace, Store(workspace), POSITIVE)
    assert result.n_new_parts == 1
    names = [fact.name for fact in result.manifest.inputs.parts]
    assert f"runs/{RUN_ID}/scores/part-00001.parquet" not in names
    assert verify_manifest(result.folder).n_samples == 4


def failure(folder: Path, workspace: Workspace | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_manifest(folder, workspace)
    return str(caught.value)


def test_a_changed_byte_is_reported_with_its_row(workspace: Workspace) -> None:
    folder = exported(workspace)
    path = folder / "samples.json"
    content = path.read_bytes()
    at = content.index("né".encode())  # in the third record, row 2
    path.write_bytes(content[:at] + b"N" + content[at + 1 :])
    message = failure(folder)
    assert f"samples.json differs from what the workspace rebuilds, first at byte {at}" in message
    assert "(row 2)" in message
    assert "found b'N" in message
    assert "samples.json is no longer the file of the manifest" in message
    assert "changed since the export" not in message
    assert "other samples" not in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content + b" ", "samples.json has extra bytes from byte"),
        (lambda content: content[:-1], "found the end of the file, expected b'\\n'"),
        (lambda content: b"", "first at byte 0 (between two records)"),
        (lambda content: content[:300], "first at byte 300 (row 1): found the end"),
        (lambda content: content.replace(b",\n{", b", {", 1), "(between two records)"),
    ],
)
def test_truncated_and_extended_files_are_reported(
    workspace: Workspace, change: Callable[[bytes], bytes], expected: str
) -> None:
    folder = exported(workspace)
    path = folder / "samples.json"
    path.write_bytes(change(path.read_bytes()))
    assert expected in failure(folder)


def test_a_missing_file_is_named(workspace: Workspace) -> None:
    folder = exported(workspace, file_format="ids")
    (folder / "row_idx.txt").unlink()
    assert "row_idx.txt is missing next to the manifest" in failure(folder)


def test_a_changed_decision_log_is_named(workspace: Workspace) -> None:
    decide(workspace, (4, KEEP), (0, DROP))
    folder = exported(workspace)
    log = workspace.reviews_dir / "ada@laptop.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"drop"', b'"keep"'))
    message = failure(folder)
    assert "first at byte" in message
    assert "changed since the export: the decision log ada@laptop, up to event 2" in message
    log.unlink()
    message = failure(folder)
    assert "the decision log ada@laptop lacks event 2 or is gone" in message


def test_a_log_changed_without_effect_is_reported_and_passes(workspace: Workspace) -> None:
    decide(workspace, (4, KEEP))
    folder = exported(workspace)
    log = workspace.reviews_dir / "ada@laptop.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"note": null', b'"note": "x"'))
    report = verify_manifest(folder)
    assert report.changed_inputs == ("the decision log ada@laptop, up to event 1",)


def change_part(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def test_a_changed_record_is_named_with_its_part(workspace: Workspace) -> None:
    folder = exported(workspace)

    def change(row: dict[str, Any]) -> None:
        if row["row_idx"] == 1:
            row["original"] = row["original"].replace(b"quotes", b"QUOTES")

    change_part(workspace.dataset_dir / "part-00000.parquet", change)
    message = failure(folder)
    assert "(row 1): found b'quotes" in message
    assert "changed since the export: dataset/part-00000.parquet" in message
    assert "no longer the file of the manifest" not in message


def test_records_without_bytes_are_reported(workspace: Workspace) -> None:
    change_part(workspace.dataset_dir / "part-00000.parquet", lambda row: row.update(original=None))
    with pytest.raises(WorkspaceError, match="lack the record bytes of row 0"):
        exported(workspace)
    assert not (workspace.exports_dir / "positive").exists()


def test_a_changed_score_is_named_with_its_part(workspace: Workspace) -> None:
    folder = exported(workspace)

    def change(row: dict[str, Any]) -> None:
        if row["row_idx"] == 0:
            row["turns"][0]["loss_text_sum"] = 0.0

    change_part(workspace.run_dir(RUN_ID) / "scores" / "part-00000.parquet", change)
    message = failure(folder)
    # Row 0 is left out now, so row 1 is in its position.
    assert "first at byte 4 (row 1): found b'zeta" in message
    assert "other samples are selected now: 3 instead of 4" in message
    assert f"changed since the export: runs/{RUN_ID}/scores/part-00000.parquet" in message


def test_changed_clusters_are_named(workspace: Workspace) -> None:
    definition = SubsetDefinition(
        "paper", PaperCodeTopShare(0.5), RUN_ID, clustering_id=CLUSTERING_ID
    )
    folder = exported(workspace, definition)
    path = workspace.clusters_dir / CLUSTERING_ID / "clusters.parquet"
    change_part(path, lambda row: row.update(cluster_id=0))
    message = failure(folder)
    assert f"changed since the export: clusters/{CLUSTERING_ID}/clusters.parquet" in message
    shutil.rmtree(path.parent)
    message = failure(folder)
    assert f"clusters/{CLUSTERING_ID}/clusters.parquet is gone" in message
    assert f"clustering {CLUSTERING_ID} is gone" in message


def test_a_part_that_is_gone_or_broken_is_named(workspace: Workspace) -> None:
    folder = exported(workspace)
    part = workspace.run_dir(RUN_ID) / "scores" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    message = failure(folder)
    assert "the workspace cannot rebuild it" in message
    assert f"changed since the export: runs/{RUN_ID}/scores/part-00000.parquet" in message
    part.unlink()
    assert f"runs/{RUN_ID}/scores/part-00000.parquet is gone" in failure(folder)


def test_a_changed_run_record_is_reported(workspace: Workspace) -> None:
    folder = exported(workspace)
    path = workspace.run_dir(RUN_ID) / "run.json"
    run = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(run | {"template": "other", "created_at": "2030-01-01T00:00:00Z"}))
    report = verify_manifest(folder)
    assert report.changed_inputs == (f"run {RUN_ID}: template",)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda value: value["counts"].update(selected=5), "the manifest was edited"),
        (lambda value: value["versions"].update(numpy="1"), "the manifest was edited"),
        (lambda value: value["subset"]["rule"].update(min=0.75), "the manifest itself was edited"),
    ],
)
def test_an_edited_manifest_is_noticed(
    workspace: Workspace, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    folder = exported(workspace)
    edit_manifest(folder, change)
    assert expected in failure(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda value: value["counts"].update(selected=5), "has selected = 5, and 4 is rebuilt"),
        (lambda value: value["counts"]["by_source"]["a"].update(after=0), "has by_source = "),
        (lambda value: value.update(selected_sha256="0"), "digest of the selected rows"),
        (lambda value: value["outputs"][0].update(bytes=1), "size or sha256 of samples.json"),
    ],
)
def test_a_manifest_with_a_new_digest_must_still_be_correct(
    workspace: Workspace, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    from scoring.exports.manifest import digest_manifest

    def sign(value: dict[str, Any]) -> None:
        change(value)
        del value["manifest_sha256"]
        value["manifest_sha256"] = digest_manifest(value)

    folder = exported(workspace)
    edit_manifest(folder, sign)
    assert expected in failure(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("inputs"),
        lambda value: value.update(format="csv"),
        lambda value: value["outputs"][0].update(name="../../../secret"),
        lambda value: value["inputs"]["parts"][0].update(name="../../secret.parquet"),
        lambda value: value["inputs"]["parts"][0].update(name="dataset/../../x.parquet"),
        lambda value: value["inputs"]["parts"][0].update(name="/etc/passwd"),
    ],
)
def test_files_that_are_not_manifests_are_refused(
    workspace: Workspace, change: Callable[[dict[str, Any]], None]
) -> None:
    folder = exported(workspace)
    edit_manifest(folder, change)
    with pytest.raises(InputError, match="is not a manifest of an export"):
        read_manifest(folder)


def test_newer_and_missing_manifests_are_reported(workspace: Workspace, tmp_path: Path) -> None:
    folder = exported(workspace)
    edit_manifest(folder, lambda value: value.update(manifest_version=5))
    with pytest.raises(InputError, match="manifest version 5"):
        read_manifest(folder)
    (folder / "manifest.json").write_text("not json")
    with pytest.raises(InputError, match="is not a manifest of an export"):
        read_manifest(folder)
    with pytest.raises(InputError, match="does not exist"):
        verify_manifest(tmp_path / "nowhere")


def test_reading_a_manifest_gives_what_was_written(workspace: Workspace) -> None:
    decide(workspace, (4, KEEP))
    result = export_subset(workspace, Store(workspace), POSITIVE)
    path = result.folder / "manifest.json"
    assert read_manifest(path).to_bytes() == result.manifest.to_bytes() == path.read_bytes()


def test_exports_do_not_load_torch() -> None:
    modules = "subsets.selection, subsets.definitions, exports.verify, reviews.decisions"
    imports = "".join(f"import scoring.{module}; " for module in modules.split(", "))
    program = f"import sys; {imports}print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout == "False\n", answer.stderr


def test_folders_of_a_local_embedder_are_not_exported(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", 40)
    path = workspace.clusters_dir / CLUSTERING_ID / "clustering.json"
    record = json.loads(path.read_text()) | {"embedder": "/home/ada/mine", "weights": "abc"}
    path.write_text(json.dumps(record))
    build_database(workspace)
    definition = SubsetDefinition("it", PaperTopShare(0.4), RUN_ID, clustering_id=CLUSTERING_ID)
    manifest_file = exported(workspace, definition) / "manifest.json"
    assert "/home/ada" not in manifest_file.read_text()
    value = json.loads(manifest_file.read_text())
    assert value["inputs"]["clustering"]["embedder"] == "mine"
    assert value["inputs"]["clustering"]["weights"] == "abc"
    # Manifests of earlier versions kept the whole path, and go on being verified.
    del value["manifest_sha256"], value["inputs"]["clustering"]["weights"]
    value["inputs"]["clustering"]["embedder"] = "/home/ada/mine"
    value["manifest_sha256"] = digest_manifest(value)
    manifest_file.write_text(json.dumps(value))
    assert verify_manifest(manifest_file).changed_inputs == (
        f"clustering {CLUSTERING_ID}: weights",
    )
