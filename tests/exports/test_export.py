"""Exports: records byte for byte, whole folders, nothing half done."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock, Timeout

from scoring.database.connection import Store
from scoring.errors import InputError, RecordError, StorageError, WorkspaceError
from scoring.exports.export import check_folder, export_subset
from scoring.exports.export_plan import ExportPlan, plan_export
from scoring.exports.files import OutputFile
from scoring.exports.formats import plan_outputs
from scoring.exports.json_edits import remove_line_breaks
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.exports.temporary_lock import TemporaryLock
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.rules import Threshold, TopCount, TopShare
from scoring.samples import Status
from scoring.subsets.definitions import SubsetDefinition, read_outcome
from scoring.workspace import Workspace
from tests.exports.conftest import RECORDS, RUN_ID, golden_workspace

ALL = SubsetDefinition("all", TopShare(1.0), RUN_ID, text_only="keep")
FIRST_THREE = SubsetDefinition("three", Threshold(min=0.25, max=1.0), RUN_ID)

# The three records of FIRST_THREE, typed out once more.
GOLDEN_ARRAY = (
    b"[\n"
    b'{"zeta": [1.50, 1e-7, -0, 12345678901234567890], "id": "7", "image": "a/1.png",'
    b' "conversations": [{"from":"human","value":"<image>\\nWho?"},{"from":"gpt","value":"A"}]},\n'
    b'{"id":7,"image":"a\\/2.png","conversations":[{"from":"human",'
    b'"value":"na\\u00efve \\ud83d\\ude00 <image>"},'
    b'{"from":"gpt","value":"tab\\there, \\"quotes\\", back\\\\slash"}],"\\u0069x":true},\n'
    b'{"conversations": [{"from": "human", "value": "\xe5\x9b\xb3 <image> na\xc3\xafve '
    b'\xe2\x80\xa8 \xf0\x9f\x98\x80"}, {"from": "gpt", "value": "n\xc3\xa9"}],'
    b' "image": "b/3.png", "id": "7"}\n'
    b"]\n"
)


@pytest.mark.parametrize("container", ["array", "lines"])
def test_records_come_out_byte_for_byte(tmp_path: Path, container: str) -> None:
    records = RECORDS[:3]
    workspace = golden_workspace(tmp_path, records, [0.5, 0.25, 0.75], container)
    result = export_subset(workspace, Store(workspace), FIRST_THREE)
    assert result.folder == workspace.exports_dir / "three"
    assert (result.folder / "samples.json").read_bytes() == GOLDEN_ARRAY
    assert (result.n_samples, result.n_new_parts) == (3, 0)


def test_all_records_of_every_kind(workspace: Workspace, store: Store) -> None:
    folder = export_subset(workspace, store, ALL).folder
    content = (folder / "samples.json").read_bytes()
    assert content == b"[\n" + b",\n".join(RECORDS) + b"\n]\n"
    assert [json.loads(record) for record in RECORDS] == json.loads(content)


def test_records_keep_their_original_order(workspace: Workspace, store: Store) -> None:
    definition = SubsetDefinition("two", TopCount(2), RUN_ID)  # scores 0.75 and 1.0
    folder = export_subset(workspace, store, definition).folder
    content = (folder / "samples.json").read_bytes()
    assert content == b"[\n" + RECORDS[2] + b",\n" + RECORDS[3] + b"\n]\n"


def test_lines_hold_one_record_each(workspace: Workspace, store: Store) -> None:
    folder = export_subset(workspace, store, ALL, format="jsonl").folder
    content = (folder / "samples.jsonl").read_bytes()
    pretty = (
        b'{"id": "pretty","image" :"b/4.png","conversations": ['
        b'{"from": "human", "value": "<image> two  spaces\\nand \\r\\n"},'
        b'{"from": "gpt", "value": "x\\"\\n { \\\\"}],"e": {}}'
    )
    assert content == b"\n".join([*RECORDS[:3], pretty, *RECORDS[4:], b""])
    assert json.loads(pretty) == json.loads(RECORDS[3])


def test_ids_and_row_numbers_are_written_line_by_line(workspace: Workspace, store: Store) -> None:
    folder = export_subset(workspace, store, ALL, format="ids").folder
    # Ids repeat, are numbers, contain a line break, or are missing.
    assert (folder / "ids.txt").read_bytes() == b"7\n7\n7\npretty\nline\\nbreak\n\n"
    assert (folder / "row_idx.txt").read_bytes() == b"0\n1\n2\n3\n4\n5\n"
    some = SubsetDefinition("some", Threshold(min=0.75), RUN_ID)
    folder = export_subset(workspace, store, some, format="ids").folder
    assert (folder / "ids.txt").read_bytes() == b"7\npretty\n"
    assert (folder / "row_idx.txt").read_bytes() == b"2\n3\n"


@pytest.mark.parametrize(
    ("file_format", "files"),
    [
        ("llava", {"samples.json": b"[]\n"}),
        ("jsonl", {"samples.jsonl": b""}),
        ("ids", {"ids.txt": b"", "row_idx.txt": b""}),
    ],
)
def test_an_empty_subset_is_an_empty_file(
    workspace: Workspace, store: Store, file_format: str, files: dict[str, bytes]
) -> None:
    nothing = SubsetDefinition("nothing", Threshold(min=9.0), RUN_ID)
    folder = export_subset(workspace, store, nothing, format=file_format).folder
    assert {path.name for path in folder.iterdir()} == {*files, "manifest.json", "README.md"}
    assert {name: (folder / name).read_bytes() for name in files} == files


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (b'{"a": 1}', b'{"a": 1}'),
        (b"{\n}", b"{}"),
        (b'{"a":\n\t[1,\r\n 2 ,  3]\r}', b'{"a":[1,2 ,  3]}'),
        (b'{"a\\n":\n"b\\\\",\n"c": "\\"\\n" }', b'{"a\\n":"b\\\\","c": "\\"\\n" }'),
        (b'["\\\\",\n "  x  ",\n\n\n "\\\\\\""]', b'["\\\\","  x  ","\\\\\\""]'),
        ('{"é":\n"図  \u2028"}'.encode(), '{"é":"図  \u2028"}'.encode()),
        (b'{"a": "\xff\xfe",\n"b": 1e-7}', b'{"a": "\xff\xfe","b": 1e-7}'),
    ],
)
def test_only_line_breaks_between_tokens_are_removed(record: bytes, line: bytes) -> None:
    assert remove_line_breaks(record) == line
    texts = [one.decode("utf-8", "surrogateescape") for one in (record, line)]
    assert json.loads(texts[0]) == json.loads(texts[1])


@pytest.mark.parametrize(
    ("file_format", "content", "sentence"),
    [
        ("llava", "3 samples", "3 of 6 samples of a multimodal instruction dataset, chosen by"),
        ("ids", "ids and row numbers of 3 samples", "Ids and row numbers of 3 of 6 samples of"),
        ("dropped", "3 samples left out", "A list of 3 of 6 samples of"),
    ],
)
def test_an_export_says_what_is_in_its_files(
    workspace: Workspace, store: Store, file_format: str, content: str, sentence: str
) -> None:
    result = export_subset(workspace, store, FIRST_THREE, format=file_format)
    assert result.manifest.describe_content() == content
    readme = (result.folder / "README.md").read_text()
    assert sentence in readme
    assert ("Every record is as it came" in readme) == (file_format == "llava")


def test_the_manifest_has_digests_and_counts(workspace: Workspace, store: Store) -> None:
    result = export_subset(workspace, store, FIRST_THREE, format="ids")
    manifest = read_manifest(result.folder)
    [ids, rows, readme] = manifest.outputs
    assert readme.name == "README.md"
    assert (ids.name, ids.bytes, rows.name, rows.bytes) == ("ids.txt", 6, "row_idx.txt", 6)
    assert ids.sha256 == hashlib.sha256(b"7\n7\n7\n").hexdigest()
    assert manifest.selected_sha256 == rows.sha256 == hashlib.sha256(b"0\n1\n2\n").hexdigest()
    assert manifest.counts["samples"] == 6
    assert manifest.counts["selected"] == 3
    # The source is the first folder of the image path, or the file's name without an image.
    assert manifest.counts["by_source"] == {
        "a": {"before": 2, "after": 2},
        "b": {"before": 3, "after": 1},
        "records": {"before": 1, "after": 0},
    }
    assert manifest.counts["by_status"] == {
        "scored": {"before": 5, "after": 3},
        "text_only": {"before": 1, "after": 0},
    }
    [file] = manifest.inputs.dataset["files"]
    assert file["name"] == "records.json"
    source = workspace.root.parent / "records.json"
    assert file["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    parts = [part.name for part in manifest.inputs.parts]
    assert parts == ["dataset/part-00000.parquet", "runs/tiny-run/scores/part-00000.parquet"]


def test_the_same_state_gives_the_same_folder_byte_for_byte(
    workspace: Workspace, store: Store, tmp_path: Path
) -> None:
    open_review_log(workspace, "ada", "desk").append([DecisionDraft(4, Decision.KEEP)])
    folders = [tmp_path / "one", tmp_path / "deeper" / "two"]
    for moment, folder in zip(("2026-01-01", "2027-01-01"), folders, strict=True):
        definition = replace(ALL, created_at=f"{moment}T00:00:00+00:00")
        export_subset(workspace, store, definition, folder)
    contents = [{path.name: path.read_bytes() for path in one.iterdir()} for one in folders]
    assert contents[0] == contents[1]
    assert str(tmp_path).encode() not in contents[0]["manifest.json"]
    assert b"202" not in contents[0]["manifest.json"].replace(b"sha256", b"").split(b'"inputs"')[0]


def test_a_local_models_path_is_not_exported(workspace: Workspace, store: Store) -> None:
    path = workspace.run_dir(RUN_ID) / "run.json"
    run = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(run | {"model": "/somewhere/private/llava-7b"}))
    folder = export_subset(workspace, store, ALL).folder
    assert read_manifest(folder).inputs.run["model"] == "llava-7b"
    assert "private" not in (folder / "manifest.json").read_text("utf-8")


def test_progress_ends_at_the_total(workspace: Workspace, store: Store) -> None:
    seen: list[tuple[int, int]] = []
    for file_format, total in (("llava", 6), ("ids", 12)):
        folder = workspace.exports_dir / file_format
        export_subset(workspace, store, ALL, folder, file_format, lambda *one: seen.append(one))
        assert seen.pop() == (total, total)


def test_an_export_is_overwritten_only_on_request(workspace: Workspace, store: Store) -> None:
    folder = export_subset(workspace, store, ALL).folder
    before = (folder / "samples.json").read_bytes()
    with pytest.raises(InputError, match=r"contains an export.*--overwrite"):
        export_subset(workspace, store, replace(ALL, rule=TopCount(1)))
    assert (folder / "samples.json").read_bytes() == before
    export_subset(workspace, store, FIRST_THREE, folder, "ids", overwrite=True)
    assert {path.name for path in folder.iterdir()} == {
        "ids.txt",
        "row_idx.txt",
        "manifest.json",
        "README.md",
    }
    assert [path.name for path in workspace.exports_dir.iterdir() if path.is_dir()] == ["all"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folders_are_left_alone(
    workspace: Workspace, store: Store, tmp_path: Path, overwrite: bool
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"other files than an export \(thesis.tex\)"):
        export_subset(workspace, store, ALL, home, overwrite=overwrite)
    (home / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"other files than an export \(thesis.tex\)"):
        export_subset(workspace, store, ALL, home, overwrite=overwrite)
    assert (home / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InputError, match="is a file"):
        export_subset(workspace, store, ALL, home / "thesis.tex", overwrite=overwrite)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")
    assert export_subset(workspace, store, ALL, tmp_path / "empty").n_samples == 6


def test_unknown_formats_are_refused_with_the_known_ones(
    workspace: Workspace, store: Store
) -> None:
    with pytest.raises(InputError, match=r"Unknown format 'csv'\. Choose one of: llava, jsonl"):
        export_subset(workspace, store, ALL, format="csv")


def test_bad_records_are_exported_only_by_decision_and_never_break_a_file(tmp_path: Path) -> None:
    good = RECORDS[0]
    records = [good, b'{"id": "torn", "conv', b'["no", "object"]', b'{"id": "no turns"}']
    bad = Status.BAD_RECORD
    workspace = golden_workspace(tmp_path, records, [0.5, bad, bad, bad], "lines")
    store = Store(workspace)
    everything = replace(ALL, unscored="keep")
    folder = export_subset(workspace, store, everything).folder
    assert (folder / "samples.json").read_bytes() == b"[\n" + good + b"\n]\n"

    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(2, Decision.KEEP), DecisionDraft(3, Decision.KEEP)])
    kept = replace(everything, name="kept")
    content = (export_subset(workspace, store, kept).folder / "samples.json").read_bytes()
    assert content == b"[\n" + b",\n".join([good, records[2], records[3]]) + b"\n]\n"

    log.append([DecisionDraft(1, Decision.KEEP)])
    torn = replace(everything, name="torn")
    for file_format in ("llava", "jsonl"):
        with pytest.raises(RecordError, match="Row 1 was kept by a reviewer, but its record"):
            export_subset(workspace, store, torn, format=file_format)
    leftovers = [path.name for path in workspace.exports_dir.iterdir() if path.is_dir()]
    assert sorted(leftovers) == ["all", "kept"]
    folder = export_subset(workspace, store, torn, format="ids").folder
    assert (folder / "row_idx.txt").read_bytes() == b"0\n1\n2\n3\n"


def test_rows_missing_from_the_dataset_are_reported(workspace: Workspace, store: Store) -> None:
    outcome = read_outcome(workspace, store, ALL)
    lacking = replace(outcome, subset=replace(outcome.subset, selected=np.array([1, 4, 6])))
    for file_format in ("llava", "jsonl", "ids", "parquet", "huggingface", "webdataset"):
        plan = plan_export(workspace, store, outcome, ExportOptions(file_format))
        chosen = replace(plan, outcome=lacking)
        with pytest.raises(WorkspaceError, match="The dataset parts lack row 6"):
            for output in plan_outputs(chosen):
                output.write(workspace.root / output.name.replace("/", "-"), lambda *_: None)


def test_everything_is_on_disk_before_the_folder_takes_its_name(
    workspace: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def flush(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        steps.append("new folder" if name.startswith(".all.") else name)
        fsync(descriptor)

    def move(path: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "rename", move)
    export_subset(workspace, store, ALL)
    files = ["samples.json", "README.md", "manifest.json"]
    assert steps == [*files, "new folder", "rename to all", "exports"]


def test_a_failing_write_leaves_the_old_export(
    workspace: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_subset(workspace, store, ALL).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rename = Path.rename

    def full_disk(path: Path, target: Path) -> Path:
        if target == folder and not path.name.endswith(".old.tmp"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full_disk)
    with pytest.raises(StorageError, match=r"No space left.*; the earlier export is unchanged"):
        export_subset(workspace, store, FIRST_THREE, folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in workspace.exports_dir.iterdir() if path.is_dir()] == ["all"]


# Exports, and stops for good in the middle of the second record or between the two renames.
EXPORTER = """
import sys, time
from pathlib import Path
import scoring.exports.export as export
from scoring.rules import TopShare
from scoring.database.connection import Store
from scoring.subsets.definitions import SubsetDefinition, read_outcome
from scoring.workspace import open_workspace

def wait(done=1, total=1):
    if not done:
        return
    print("waiting", flush=True)
    time.sleep(600)

workspace = open_workspace(Path(sys.argv[1]))
definition = SubsetDefinition("all", TopShare(1.0), "tiny-run", text_only="keep")
if sys.argv[2] == "writing":
    export._STEP = 2
    progress = wait
else:
    progress = None
    rename = Path.rename
    Path.rename = lambda path, to: wait() if to.name == "all" else rename(path, to)
export.export_subset(workspace, Store(workspace), definition, progress=progress, overwrite=True)
"""


@pytest.mark.parametrize("moment", ["writing", "renaming"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_killed_export_leaves_no_partial_folder(
    workspace: Workspace, store: Store, moment: str, earlier: bool
) -> None:
    folder = workspace.exports_dir / "all"
    if earlier:
        export_subset(workspace, store, FIRST_THREE, folder)
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORTER, str(workspace.root), moment],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hidden = [path for path in workspace.exports_dir.iterdir() if path.name.startswith(".all.")]
    assert hidden
    if folder.exists():
        assert (folder / "samples.json").read_bytes() == GOLDEN_ARRAY
    # The next export puts an earlier one back where it was and clears the rest away.
    if earlier:
        with pytest.raises(InputError, match="contains an export"):
            export_subset(workspace, store, ALL, folder)
        assert (folder / "samples.json").read_bytes() == GOLDEN_ARRAY
    export_subset(workspace, store, ALL, folder, overwrite=True)
    assert [path.name for path in workspace.exports_dir.iterdir() if path.is_dir()] == ["all"]
    assert len(json.loads((folder / "samples.json").read_bytes())) == len(RECORDS)


def test_an_unreadable_input_is_not_reported_as_an_unwritable_target(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = workspace.root / "dataset" / "part-000000.parquet"

    def unreadable(chosen: ExportPlan) -> list[OutputFile]:
        raise PermissionError(errno.EACCES, "Permission denied", str(part))

    monkeypatch.setattr("scoring.exports.export.plan_outputs", unreadable)
    with pytest.raises(StorageError) as caught:
        export_subset(workspace, Store(workspace), ALL, tmp_path / "out")
    said = str(caught.value)
    assert f"stopped: {part} cannot be read (Permission denied); nothing was left there" in said
    assert said.endswith("Export again when it can be read.")


def test_an_export_to_elsewhere_leaves_no_lock(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    locked: list[list[Path]] = []
    export_subset(
        workspace,
        Store(workspace),
        ALL,
        tmp_path / "out",
        progress=lambda *_: locked.append(list(temporary.glob("visnec-export-*.lock"))),
    )
    assert len(locked[0]) == 1
    assert not list(temporary.glob("visnec-export-*"))


def test_a_lock_that_is_removed_with_its_file_excludes_all_others(tmp_path: Path) -> None:
    path, holders, most = tmp_path / "a.lock", 0, 0

    def work() -> None:
        nonlocal holders, most
        for _ in range(40):
            lock = TemporaryLock(path)
            lock.acquire(60)
            holders += 1
            most = max(most, holders)
            time.sleep(0.0005)
            holders -= 1
            lock.release()

    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(work) for _ in range(8)]:
            job.result()
    assert (most, holders, path.exists()) == (1, 0, False)
    first, second = TemporaryLock(path), TemporaryLock(path)
    first.acquire(0)
    with pytest.raises(Timeout):
        second.acquire(0)
    path.unlink()  # by a cleaner of temporary files
    second.acquire(0)
    first.release()
    assert path.exists()
    second.release()


def test_a_lock_whose_file_was_removed_while_it_was_opened_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lock"
    first, second, third = TemporaryLock(path), TemporaryLock(path), TemporaryLock(path)
    first.acquire(0)
    open_file = os.open

    def open_and_release(*arguments: Any) -> int:
        descriptor = open_file(*arguments)
        monkeypatch.setattr("os.open", open_file)
        first.release()
        return descriptor

    monkeypatch.setattr("os.open", open_and_release)
    second.acquire(1)
    assert path.exists()
    with pytest.raises(Timeout):
        third.acquire(0)
    second.release()
    third.acquire(0)
    third.release()


def test_an_export_reports_that_it_waits_for_another(workspace: Workspace) -> None:
    workspace.exports_dir.mkdir(exist_ok=True)
    lock = FileLock(workspace.exports_dir / ".export.lock")
    waited: list[int] = []

    def on_wait() -> None:
        waited.append(1)
        if len(waited) == 2:
            lock.release()

    with lock:
        export_subset(workspace, Store(workspace), ALL, on_wait=on_wait)
    assert len(waited) == 2
    assert (workspace.exports_dir / ALL.name / "manifest.json").is_file()
