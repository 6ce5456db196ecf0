"""Adding to a dataset: old rows keep everything, new ones stand behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.clustering.clusters import cluster_dataset, list_clusterings
from scoring.clustering.embedders import load_embedder
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset import importing, records
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.engine.pipeline import score_dataset
from scoring.engine.plan import open_plan
from scoring.errors import InputError, RunConflictError, WorkspaceError
from scoring.exports.export import export_subset
from scoring.exports.verify import verify_manifest
from scoring.images.decode import open_reference
from scoring.readers.options import ReadOptions
from scoring.reviews.decisions import open_review_log
from scoring.rules import TopShare
from scoring.runs.progress import ProgressFile, SampleCounts
from scoring.runs.record import list_runs
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace, write_json
from tests.fakes import FakeModel


def write(path: Path, name: str, n: int = 4, image: str | None = None) -> Path:
    records = [
        {
            "id": f"{name}{i}",
            "image": image or f"{name}.png",
            "conversations": [
                {"from": "human", "value": f"<image>\nwhat is {name}{i}"},
                {"from": "gpt", "value": f"{name} {i}"},
            ],
        }
        for i in range(n)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    (tmp_path / "other").mkdir()
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "other" / "b.png")
    return [write(tmp_path / "a.json", "a"), write(tmp_path / "other" / "b.json", "b", 3)]


@pytest.fixture
def workspace(files: list[Path], tmp_path: Path) -> Workspace:
    import_dataset(create_workspace(tmp_path / "ws"), files[:1])
    return open_workspace(tmp_path / "ws")


def add(workspace: Workspace, *files: Path) -> Workspace:
    import_dataset(workspace, files, append=True)
    return open_workspace(workspace.root)


def scores(workspace: Workspace, run_id: str) -> list[int]:
    folder = workspace.run_dir(run_id) / "scores"
    return sorted(
        row
        for part in folder.glob("*.parquet")
        for row in pq.read_table(part)["row_idx"].to_pylist()
    )


def test_appended_rows_follow_and_old_rows_are_unchanged(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "GROUP_ROWS", 1)
    monkeypatch.setattr(records, "PART_ROWS", 2)
    workspace = create_workspace(tmp_path / "ws")
    first = import_dataset(workspace, files[:1])
    before = [(one.row_idx, one.original) for one in read_samples(workspace)]
    workspace = add(open_workspace(workspace.root), files[1])
    info = read_dataset_info(workspace)
    samples = list(read_samples(workspace))
    assert [sample.row_idx for sample in samples] == list(range(7))
    assert [sample.id for sample in samples] == ["a0", "a1", "a2", "a3", "b0", "b1", "b2"]
    after = read_samples(workspace, range(4))
    assert [(one.row_idx, one.original) for one in after] == before
    assert [(file.name, file.n_records) for file in info.files] == [("a.json", 4), ("b.json", 3)]
    assert [(one.n_samples, one.n_parts) for one in info.editions] == [(4, 2), (7, 4)]
    assert info.origin == first.fingerprint != info.fingerprint
    assert info.includes_edition(first.fingerprint) and info.includes_edition(info.fingerprint)
    assert workspace.image_roots == (tmp_path.resolve(),)
    assert workspace.image_roots.bases == (((tmp_path / "other").resolve(),),)
    assert add(workspace, files[1]) == workspace  # the same files again change nothing
    assert import_dataset(workspace, files[:1]) == info == read_dataset_info(workspace)
    assert sorted(path.name for path in workspace.root.iterdir()) == ["dataset", "workspace.json"]


def test_a_second_import_is_refused_and_suggests_append(
    workspace: Workspace, files: list[Path]
) -> None:
    with pytest.raises(WorkspaceError, match="Add this one to it with --append, or import it into"):
        import_dataset(workspace, files[1:])


def test_a_run_resumes_with_the_new_rows_only(workspace: Workspace, files: list[Path]) -> None:
    summary = score_dataset(workspace, FakeModel())
    open_review_log(workspace, "ann").append_bulk([1], "drop")
    open_plan(workspace)
    workspace = add(workspace, files[1])
    build_database(workspace)
    (run,) = list_runs(workspace)
    snapshot = Store(workspace).snapshot()
    found = snapshot.fetch_rows("SELECT row_idx, status FROM scores ORDER BY row_idx")
    assert found == [(i, "scored" if i < 4 else "pending") for i in range(7)]
    assert snapshot.fetch_rows("SELECT row_idx FROM decisions WHERE decision = 'drop'") == [(1,)]
    model = FakeModel()
    again = score_dataset(workspace, model)
    assert (again.run_id, again.done_before, again.done) == (summary.run_id, 4, 7)
    assert scores(workspace, run.run_id) == list(range(7))


def test_the_shuffled_baseline_starts_a_new_run_after_an_addition(
    workspace: Workspace, files: list[Path]
) -> None:
    score_dataset(workspace, FakeModel(), baselines=["none", "shuffled"], run_id="mine")
    workspace = add(workspace, files[1])
    with pytest.raises(RunConflictError, match="dataset_fingerprint"):
        score_dataset(workspace, FakeModel(), baselines=["none", "shuffled"], run_id="mine")
    score_dataset(workspace, FakeModel(), baselines=["none", "shuffled"])
    assert len(list_runs(workspace)) == 2


def test_clusters_cover_the_old_rows_until_recomputed(
    workspace: Workspace, files: list[Path]
) -> None:
    embedder = load_embedder("tfidf")
    cluster_dataset(workspace, embedder, k=2)
    workspace = add(workspace, files[1])
    cluster_dataset(workspace, embedder, k=2)
    sizes = [sum(one.size for one in found.clusters) for found in list_clusterings(workspace)]
    assert sorted(sizes) == [4, 7]


def test_a_killed_addition_leaves_the_dataset_unchanged(
    workspace: Workspace, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    info = read_dataset_info(workspace)

    def killed(path: Path, value: object) -> None:
        if path.name == "images.json":  # the parts have moved
            raise KeyboardInterrupt
        write_json(path, value)

    with monkeypatch.context() as patch:
        patch.setattr("scoring.dataset.staging.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            import_dataset(workspace, files[1:], append=True)
    assert len(list(workspace.dataset_dir.glob("part-*.parquet"))) == 2
    (workspace.dataset_dir / "part-00001.parquet").write_bytes(b"cut off")
    assert read_dataset_info(workspace).fingerprint == info.fingerprint
    assert len(list(read_samples(workspace))) == 4 == build_database(workspace).n_samples
    workspace = add(workspace, files[1])
    assert len(list(read_samples(workspace))) == 7
    assert build_database(workspace).n_samples == 7


def test_an_interrupted_addition_resumes(
    workspace: Workspace, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_CHECKPOINT_ROWS", 1)
    more = [files[1], write(tmp_path / "other" / "c.json", "c", 2, image="b.png")]
    whole, opened = importing.SourceReader.samples, []

    def broken(self: importing.SourceReader, first_row: int) -> object:
        opened.append(first_row)
        if first_row == 7:
            raise KeyboardInterrupt
        return whole(self, first_row)

    with monkeypatch.context() as patch:
        patch.setattr(importing.SourceReader, "samples", broken)
        with pytest.raises(KeyboardInterrupt):
            import_dataset(workspace, more, append=True)
    assert opened == [4, 7]
    workspace = add(workspace, *more)
    assert [one.id for one in read_samples(workspace)][4:] == ["b0", "b1", "b2", "c0", "c1"]


def test_an_added_file_uses_its_own_image_folder(workspace: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path / "other" / "c.json", "c", image="a.png")
    Image.new("RGB", (4, 4), "lime").save(tmp_path / "other" / "a.png")
    workspace = add(workspace, path)
    images = [sample.images[0] for sample in read_samples(workspace)]
    assert images == ["a.png"] * 4 + ["base=0#a.png"] * 4
    colours = [open_reference(one, workspace.image_roots).getpixel((0, 0)) for one in images[3:5]]
    assert colours == [(255, 0, 0), (0, 255, 0)]


def test_container_files_with_the_same_name_are_refused(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_text(f"question,answer\nq,{folder}\n")
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [tmp_path / "x" / "t.csv"])
    with pytest.raises(InputError, match=r"already has a file named 't\.csv'"):
        add(open_workspace(workspace.root), tmp_path / "y" / "t.csv")


def test_nothing_is_added_during_an_active_run(workspace: Workspace, files: list[Path]) -> None:
    score_dataset(workspace, FakeModel(), run_id="mine")
    with ProgressFile(workspace, "mine") as file:
        file.report(phase="score", state="running", total=4, rate=1.0, written=SampleCounts(),
                    in_flight=SampleCounts(), source_totals={})  # fmt: skip
        file.write()
        with pytest.raises(WorkspaceError, match="Run 'mine' is still active"):
            add(workspace, files[1])


def test_the_command_reports_the_addition(
    workspace: Workspace, files: list[Path], tmp_path: Path
) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["import", *arguments], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        return done.stderr

    command = [str(files[1]), "-w", str(workspace.root), "--append"]
    assert "Added 3 samples to 4" in run(*command)
    assert "All of this data is already in the workspace; nothing was added" in run(*command)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "new.png")
    path = write(tmp_path / "n.json", "n", 2, image="new.png")
    assert "Imported 2 samples" in run(str(path), "-w", str(tmp_path / "fresh"), "--append")


def test_files_that_are_already_imported_are_reported_and_not_added_again(
    workspace: Workspace, files: list[Path], tmp_path: Path
) -> None:
    def run(*arguments: str | Path) -> Any:
        command = ["import", *map(str, arguments), "-w", str(workspace.root)]
        return CliRunner().invoke(app, command, env={"COLUMNS": "200"})

    again = run(files[0])
    assert (again.exit_code, "nothing was added" in again.stderr) == (0, True), again.output
    copy = write(tmp_path / "copy.json", "a")
    partly = run(files[1], copy, "--append")
    assert isinstance(partly.exception, InputError)
    message = "1 of 2 files are already imported, with the same content: copy.json"
    assert message in str(partly.exception)
    assert read_dataset_info(workspace).n_samples == 4
    assert not list(workspace.root.glob(".dataset.*"))
    options = ReadOptions(columns={"question": "id", "answer": "image"})
    info = import_dataset(workspace, [copy], options=options, append=True)
    assert info.n_samples == 8  # read in another way


def test_exports_from_before_an_addition_are_verified_still(
    workspace: Workspace, files: list[Path]
) -> None:
    run = score_dataset(workspace, FakeModel()).run_id
    subset = SubsetDefinition("all", TopShare(1.0), run)
    manifest = export_subset(workspace, Store(workspace), subset).folder / "manifest.json"
    assert verify_manifest(manifest, workspace).n_samples == 4
    workspace = add(workspace, files[1])
    build_database(workspace)
    report = verify_manifest(manifest, workspace)
    assert (report.n_samples, report.changed_inputs) == (4, ())
    assert report.notes == ("3 samples were added to the dataset later and were ignored",)
    record = workspace.dataset_dir / "dataset.json"
    record.write_text(record.read_text().replace('"format": "llava"', '"format": "messages"', 1))
    assert verify_manifest(manifest, workspace).changed_inputs == (
        "the dataset's record (dataset.json): files",
    )
