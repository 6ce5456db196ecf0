"""Background exports: visible to everyone, stopped by anyone, never started twice."""

from __future__ import annotations

import threading
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
from filelock import FileLock

from dashboard.data.context import WORKSPACE_VARIABLE
from dashboard.data.exports import (
    ExportJob,
    dismiss_export_job,
    list_export_jobs,
    read_exports,
    start_export_job,
    start_push,
    zip_export,
)
from dashboard.pages.subset import exports
from dashboard.pages.subset.exports import describe_progress
from dashboard.widgets import poller
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import InputError, StorageError
from scoring.exports.export import ExportResult, OnWait, Progress, export_subset
from scoring.exports.options import ExportOptions
from scoring.exports.push import PushResult
from scoring.hub.upload import PushTarget
from scoring.rules import TopShare
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace
from tests.dashboard.conftest import Draw, written
from tests.hub import running_hub, use_hub
from tests.synthetic import RUN_ID, make_workspace

DEFINITION = SubsetDefinition("it", TopShare(1.0), RUN_ID, text_only="keep")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path / "ws", 40)
    build_database(made)
    return made


def begin(
    workspace: Workspace, folder: str = "it", gate: threading.Event | None = None
) -> ExportJob:
    def work(progress: Progress, on_wait: OnWait) -> ExportResult:
        if gate is not None:
            progress(1, 4)
            gate.wait()
        return export_subset(
            workspace, Store(workspace), DEFINITION, workspace.exports_dir / folder,
            progress=progress, on_wait=on_wait,
        )  # fmt: skip

    return start_export_job(workspace.root, "it", workspace.exports_dir / folder, work)


def test_an_export_runs_to_its_end_and_is_listed(workspace: Workspace) -> None:
    job = begin(workspace)
    assert job.wait_for_end(60)
    assert job.state == "done"
    assert job.result is not None
    assert (job.done, job.total) == (job.result.n_samples, job.result.n_samples)
    assert (job.folder / "manifest.json").is_file()
    assert list_export_jobs(workspace.root) == [job]
    dismiss_export_job(workspace.root, job)
    assert list_export_jobs(workspace.root) == []


def test_a_stopped_export_leaves_nothing(workspace: Workspace) -> None:
    gate = threading.Event()
    job = begin(workspace, gate=gate)
    assert begin(workspace) is job  # the same folder is not begun twice
    job.request_stop()
    gate.set()
    assert job.wait_for_end(60)
    assert (job.state, job.result) == ("stopped", None)
    assert not (workspace.exports_dir / "it").exists()
    assert not [one for one in workspace.exports_dir.iterdir() if one.is_dir()]


def test_a_failed_export_keeps_its_error(workspace: Workspace) -> None:
    def fail(progress: Progress, on_wait: OnWait) -> ExportResult:
        raise StorageError("the disk is full")

    job = start_export_job(workspace.root, "it", workspace.exports_dir / "full", fail)
    assert job.wait_for_end(60)
    assert (job.state, job.error) == ("failed", "the disk is full")


def test_a_small_export_is_one_archive_with_its_images(workspace: Workspace) -> None:
    options = ExportOptions("llava", images="copy", card=True)
    export_subset(workspace, Store(workspace), DEFINITION, format=options)
    [export], problems = read_exports(workspace)
    assert problems == []
    assert export.n_images > 10
    with zipfile.ZipFile(BytesIO(zip_export(export))) as archive:
        names = set(archive.namelist())
        assert archive.read("it/samples.json") == (export.folder / "samples.json").read_bytes()
    images = {name for name in names if name.startswith("it/images/")}
    assert len(images) == export.n_images
    assert {"it/README.md", "it/croissant.json", "it/plots/scores.svg", "it/manifest.json"} < names
    on_disk = sum(one.stat().st_size for one in export.folder.rglob("*") if one.is_file())
    assert export.n_bytes == on_disk


def test_another_export_into_the_same_folder_is_refused(workspace: Workspace) -> None:
    gate = threading.Event()
    job = begin(workspace, gate=gate)
    for name, about in (("other", None), ("it", "other choices")):
        with pytest.raises(InputError, match="with other choices; wait until it ends"):
            start_export_job(workspace.root, name, job.folder, lambda *_: never(), about)
    gate.set()
    assert job.wait_for_end(60)


def never() -> ExportResult:
    raise AssertionError("it was not to begin")


def test_an_export_waiting_for_another_can_be_stopped(workspace: Workspace) -> None:
    workspace.exports_dir.mkdir(exist_ok=True)
    with FileLock(workspace.exports_dir / ".export.lock"):
        job = begin(workspace)
        while not job.waiting:
            assert not job.wait_for_end(0.01)
        assert describe_progress(job) == "it is waiting for another export of this workspace"
        job.request_stop()
        assert job.wait_for_end(60)
    assert job.state == "stopped"
    again = begin(workspace)
    assert again.wait_for_end(60)
    assert (again.state, again.waiting) == ("done", False)


def test_an_export_is_pushed_in_the_background(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = workspace.exports_dir / "it", PushTarget("me/it", private=True)
    options = ExportOptions("jsonl", card=True)
    export_subset(workspace, Store(workspace), DEFINITION, folder, options)
    with running_hub() as hub:
        use_hub(hub, tmp_path / "home", monkeypatch)
        job = start_push(workspace, folder, target)
        assert describe_progress(job).startswith("Pushing it to me/it for ")
        assert job.wait_for_end(60)
        assert (job.state, job.error) == ("done", "")
        assert isinstance(job.result, PushResult)
        assert job.result.pushed.url == f"{hub.url}/datasets/me/it"
        assert hub.repositories["me/it"].private
        monkeypatch.delenv("HF_TOKEN")
        failed = start_push(workspace, folder, target)
        assert failed.wait_for_end(60)
    assert failed.state == "failed" and "not logged in" in failed.error
    assert [each.repository for each in list_export_jobs(workspace.root)] == ["me/it"]


def test_the_page_pushes_an_export(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    options = ExportOptions("jsonl", card=True)
    export_subset(workspace, Store(workspace), DEFINITION, workspace.exports_dir / "it", options)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    with running_hub() as hub:
        use_hub(hub, tmp_path / "home", monkeypatch)
        app = draw("subset", session={"push-form-it-0": True})
        assert app.button("push-it").disabled
        app.text_input("push-to-it").set_value("it").run()
        app.button("push-it").click().run()
        assert "Name it as OWNER/NAME" in written(app)
        app.text_input("push-to-it").set_value("me/it").run()
        app.button("push-it").click().run()
        (job,) = list_export_jobs(workspace.root)
        assert job.wait_for_end(60)
        app.run()
    assert not app.exception
    assert (job.state, job.error) == ("done", "")
    assert "Pushed it to me/it" in written(app) and f"{hub.url}/datasets/me/it" in written(app)
    assert hub.repositories["me/it"].private


def test_a_stop_counts_in_a_run_that_is_aborted_before_its_button(
    workspace: Workspace, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    workspace.exports_dir.mkdir(parents=True)
    with FileLock(workspace.exports_dir / ".export.lock"):
        job = begin(workspace)
        app = draw("subset")
        (stop,) = (button for button in app.button if button.label == "Stop")
        with monkeypatch.context() as patched:
            patched.setattr(exports, "_show_job", lambda _: st.stop())
            stop.click().run()
        assert job.wait_for_end(60)
    assert job.state == "stopped"
    app.run()
    (dismiss,) = (button for button in app.button if button.label == "Dismiss")
    dismiss.click().run()
    assert not app.exception
    assert list_export_jobs(workspace.root) == []


def test_a_stop_is_about_the_export_next_to_it(
    workspace: Workspace, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    workspace.exports_dir.mkdir(parents=True)
    earlier = begin(workspace, "earlier")
    assert earlier.wait_for_end(60)
    with FileLock(workspace.exports_dir / ".export.lock"):
        jobs = [begin(workspace, name) for name in ("first", "second")]
        app = draw("subset")
        stop = next(button for button in app.button if button.label == "Stop")
        dismiss_export_job(workspace.root, earlier)  # by someone else, meanwhile
        stop.click().run()
        assert jobs[0].wait_for_end(60)
        assert (jobs[0].state, jobs[1].state) == ("stopped", "running")
        jobs[1].request_stop()
        assert jobs[1].wait_for_end(60)


@pytest.mark.parametrize(("fragments", "reruns"), [(None, 1), (["a"], 1), (["a", "b"], 0)])
def test_the_page_is_not_rerun_by_a_run_with_a_click_elsewhere(
    fragments: list[str] | None, reruns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    run = SimpleNamespace(fragment_ids_this_run=fragments)
    monkeypatch.setattr(poller, "get_script_run_ctx", lambda: run)
    monkeypatch.setattr(st, "rerun", lambda: calls.append(1))
    poller.rerun_page()
    assert len(calls) == reruns
