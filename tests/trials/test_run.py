"""Trials on the demo: killed, stopped, resumed, shared by processes, and refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.database.connection import Store
from scoring.errors import InputError, VisnecError
from scoring.rules import Threshold
from scoring.runs.progress import ReportFile
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.trials.options import Budget, EvaluationSource, PlanOptions
from scoring.trials.plan import TrialPlan, read_plan, save_plan, trial_folder
from scoring.trials.planning import plan_trial
from scoring.trials.progress import open_units, progress_folder, read_trial_progress
from scoring.trials.results import UnitResult, read_results, result_path
from scoring.trials.run import TrialRunner, run_trial
from scoring.trials.workers import TrialJob
from scoring.workspace import Workspace, open_workspace

pytest.importorskip("accelerate")
pytest.importorskip("peft")
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from scoring.cli import main; main()"]
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra [ray]")


@pytest.fixture
def workspace(demo_workspace: Path) -> Workspace:
    workspace = open_workspace(demo_workspace)
    rule = Threshold(min=1.5)
    save_subset(workspace, SubsetDefinition("best", rule, "demo", "none", None))
    return workspace


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Twelve questions that the text answers and that no arm contains."""
    records = json.loads((ROOT / "data/held-out/text.json").read_text("utf-8"))[:12]
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(records), "utf-8")
    return path


def plan_units(
    workspace: Workspace, questions: Path, name: str = "t", steps: int = 2, seeds: int = 2
) -> TrialPlan:
    """Two arms, each with ``seeds`` seeds."""
    options = PlanOptions(
        subsets=("best",),
        controls=("random",),
        seeds=seeds,
        evaluation=(EvaluationSource("text", questions),),
        model="tiny-vlm",
        adapter="lora",
        budget=Budget(epochs=None, steps=steps),
        batch_size=4,
    )
    return plan_trial(workspace, Store(workspace), name, options)


def comparable(results: list[UnitResult]) -> list[dict[str, Any]]:
    timed = ("training_seconds", "evaluation_seconds", "created_at", "plan_digest")
    return [{k: v for k, v in asdict(each).items() if k not in timed} for each in results]


def result_files(workspace: Workspace, plan: TrialPlan) -> dict[str, bytes]:
    folder = trial_folder(workspace, plan.name) / "results"
    return {path.name: path.read_bytes() for path in folder.glob("*")}


def start(workspace: Workspace, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "trial", "run", "t", "-w", str(workspace.root), "--device", "cpu", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"},
        cwd=ROOT,
    )


def wait_for_step(
    workspace: Workspace, plan: TrialPlan, process: subprocess.Popen[str], n_done: int
) -> None:
    """Wait until ``n_done`` units are done and another one is in training."""
    while process.poll() is None:
        progress = read_trial_progress(workspace, plan)
        if progress.done >= n_done and any(unit.done for unit in progress.active):
            return
        time.sleep(0.02)


def test_a_killed_trial_resumes_without_a_lost_or_doubled_unit(
    workspace: Workspace, questions: Path
) -> None:
    plan = plan_units(workspace, questions, steps=6)
    process = start(workspace)
    wait_for_step(workspace, plan, process, 1)
    process.kill()
    process.communicate()
    kept = result_files(workspace, plan)
    assert 1 <= len(kept) < 4
    assert read_trial_progress(workspace, plan).state == "silent"

    summary = run_trial(workspace, "t", device="cpu")
    assert (summary.done_before, summary.done, summary.stopped) == (len(kept), 4, False)
    after = result_files(workspace, plan)
    assert len(after) == 4  # one file per unit, and no temporary ones
    assert {name: after[name] for name in kept} == kept  # finished units were not run again
    assert {(each.arm, each.seed) for each in read_results(workspace, plan)} == set(plan.units)
    assert not list((trial_folder(workspace, "t") / "claims").iterdir())
    assert not (trial_folder(workspace, "t") / "models").exists()
    assert read_trial_progress(workspace, plan).state == "finished"


@pytest.mark.long
def test_ctrl_c_ends_within_a_step_and_says_how_to_go_on(
    workspace: Workspace, questions: Path
) -> None:
    plan = plan_units(workspace, questions, steps=400)
    process = start(workspace)
    wait_for_step(workspace, plan, process, 0)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, messages = process.communicate()
    assert process.returncode == 130, messages
    assert time.monotonic() - began < 30
    assert "0 of 4 trainings are done" in messages
    assert "run the same command to resume" in messages
    assert "Traceback" not in messages
    assert not result_files(workspace, plan)
    assert read_trial_progress(workspace, plan).state == "stopped"


@pytest.mark.long
def test_two_workers_have_the_results_of_one_process(workspace: Workspace, questions: Path) -> None:
    plan = plan_units(workspace, questions)
    shutil.copytree(workspace.root, workspace.root.with_name("other"))
    other = open_workspace(workspace.root.with_name("other"))
    process = start(workspace, "--workers", "2", "--json")
    output, messages = process.communicate()
    assert process.returncode == 0, messages
    printed = json.loads(output)
    assert (printed["done_before"], printed["done"], printed["stopped"]) == (0, 4, False)
    assert len(list(progress_folder(workspace, plan).glob("*.json"))) == 2  # both have reported
    run_trial(other, "t", device="cpu")
    ours, theirs = (comparable(read_results(each, plan)) for each in (workspace, other))
    assert ours == theirs
    assert [(each["arm"], each["seed"]) for each in printed["results"]] == [
        (each["arm"], each["seed"]) for each in ours
    ]


def test_processes_that_share_a_trial_run_each_unit_once(
    workspace: Workspace, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_units(workspace, questions, seeds=6)
    ran: list[tuple[str, int]] = []

    def run_unit(self: Any, arm: str, seed: int, *_: Any) -> UnitResult:
        ran.append((arm, seed))
        time.sleep(0.05)
        return UnitResult(plan.digest, arm, seed, {})

    monkeypatch.setattr(TrialRunner, "_run_unit", run_unit)
    runners = [TrialRunner(workspace, plan, device="cpu") for _ in range(3)]
    threads = [threading.Thread(target=runner.run) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == sorted(plan.units)
    assert not open_units(workspace, plan)


def test_a_unit_that_another_process_took_over_is_not_written(
    workspace: Workspace, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_units(workspace, questions)
    monkeypatch.setattr("scoring.runs.leases.ChunkLeases.is_held", lambda *_: False)
    runner = TrialRunner(workspace, plan, device="cpu")
    stop = threading.Event()

    def run_unit(self: Any, arm: str, seed: int, *_: Any) -> UnitResult:
        stop.set()
        return UnitResult(plan.digest, arm, seed, {})

    monkeypatch.setattr(TrialRunner, "_run_unit", run_unit)
    runner.run(stop=stop)
    assert not result_files(workspace, plan)


def test_results_say_how_they_came_to_be(workspace: Workspace, questions: Path) -> None:
    plan = plan_units(workspace, questions, seeds=1)
    seen = []
    run_trial(workspace, "t", device="cpu", keep_models=True, on_progress=seen.append)
    assert plan.training is not None
    for result in read_results(workspace, plan):
        assert (result.n_steps, result.n_samples) == (2, plan.arm(result.arm).n_samples)
        assert result.n_answer_tokens is not None and result.n_answer_tokens > 8
        assert result.training_loss is not None
        assert result.sets["text"].n_samples == 12
        assert set(result.sets["text"].values) == {"accuracy", "loss"}
        assert {"torch", "transformers", "peft", "accelerate"} <= set(result.versions)
        assert len(result.versions["model files"]) == 12  # of its tokenizer, template, ...
        kept = trial_folder(workspace, "t") / "models" / f"{result.seed}-{result.arm}"
        assert (kept / "adapter_model.safetensors").is_file()
    assert (seen[-1].done, seen[-1].total, seen[-1].state) == (2, 2, "finished")
    assert any(unit.phase == "train" for each in seen for unit in each.active)


def copy_plan(workspace: Workspace, plan: TrialPlan, **changes: Any) -> TrialPlan:
    """Save ``plan`` with changes as another trial with the same arms and sets."""
    changed = replace(plan, name="changed", **changes)
    folder = trial_folder(workspace, "changed")
    shutil.copytree(trial_folder(workspace, plan.name), folder)
    (folder / "plan.json").unlink()
    save_plan(workspace, changed)
    return read_plan(workspace, "changed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model", "weights of tiny-vlm are not those that trial 'changed' was planned with"),
        ("dataset", "dataset is not the one that trial 'changed' was planned with"),
        ("arms", "arms.parquet was changed after the trial was planned"),
        ("set", "are not those that trial 'changed' was planned with"),
        ("recorded", "planned for results of trainings done elsewhere"),
    ],
)
def test_what_differs_from_the_plan_is_refused(
    workspace: Workspace, questions: Path, change: str, message: str
) -> None:
    plan = plan_units(workspace, questions)
    assert plan.training is not None
    other = "0" * 64
    changes: dict[str, Any] = {
        "model": {"training": replace(plan.training, model_fingerprint=other)},
        "dataset": {"dataset_fingerprint": other},
        "arms": {"arms_digest": other},
        "set": {"evaluation": (replace(plan.evaluation[0], digest=other),)},
        "recorded": {"training": None},
    }[change]
    copy_plan(workspace, plan, **changes)
    with pytest.raises(VisnecError, match=message) as raised:
        run_trial(workspace, "changed", device="cpu")
    assert raised.value.exit_code == 2
    assert not list(trial_folder(workspace, "changed").glob("results/*"))


def test_a_finished_trial_does_nothing(workspace: Workspace, questions: Path) -> None:
    plan = plan_units(workspace, questions, seeds=1)
    for arm, seed in plan.units:
        path = result_path(workspace, plan, arm, seed)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(UnitResult(plan.digest, arm, seed, {}))), "utf-8")
    arguments = ["trial", "run", "t", "-w", str(workspace.root), "--json"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["done_before"] == 2
    assert "2 of 2 trainings are done" in result.stderr


def test_progress_lists_the_units_in_flight(workspace: Workspace, questions: Path) -> None:
    plan = plan_units(workspace, questions)
    assert read_trial_progress(workspace, plan).state == "planned"
    with ReportFile(progress_folder(workspace, plan)) as file:
        unit = {"arm": "best", "seed": 1, "phase": "train", "done": 3, "total": 8, "rate": 1.5}
        file.report(state="running", **unit)
        file.write()
        progress = read_trial_progress(workspace, plan)
        assert (progress.done, progress.total, progress.state) == (0, 4, "running")
        (active,) = progress.active
        assert {name: getattr(active, name) for name in unit} == unit
        assert active.pid == os.getpid()
        file.report(state="stopped")
    assert read_trial_progress(workspace, plan).state == "stopped"


@pytest.mark.long
def test_a_dead_workers_unit_is_taken_over(workspace: Workspace, questions: Path) -> None:
    plan = plan_units(workspace, questions, steps=20)
    process = start(workspace, "--workers", "2")
    wait_for_step(workspace, plan, process, 0)
    os.kill(read_trial_progress(workspace, plan).active[0].pid, signal.SIGKILL)
    _, messages = process.communicate()
    assert process.returncode == 1, messages
    assert "the other workers do its trainings" in messages
    assert {(each.arm, each.seed) for each in read_results(workspace, plan)} == set(plan.units)


@pytest.mark.long
def test_ctrl_c_stops_all_workers(workspace: Workspace, questions: Path) -> None:
    plan = plan_units(workspace, questions, steps=400)
    process = start(workspace, "--workers", "2")
    wait_for_step(workspace, plan, process, 0)
    pids = [unit.pid for unit in read_trial_progress(workspace, plan).active]
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate()
    assert process.returncode == 130, messages
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.long
def test_an_error_of_all_workers_is_reported_once(workspace: Workspace, questions: Path) -> None:
    plan = plan_units(workspace, questions)
    assert plan.training is not None
    training = replace(plan.training, model_fingerprint="0" * 64)
    copy_plan(workspace, plan, training=training)
    arguments = ["trial", "run", "changed", "-w", str(workspace.root), "--workers", "2"]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert "weights of tiny-vlm are not those" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named(workspace: Workspace, questions: Path) -> None:
    from scoring.trials.distributed import run_trial_distributed

    plan_units(workspace, questions)
    with pytest.raises(InputError, match=r"pip install 'visnec-studio\[ray\]'"):
        run_trial_distributed(workspace, TrialJob(str(workspace.root), "t"), 2)


@needs_ray
@pytest.mark.long
def test_ray_resumes_a_trial_and_a_plain_process_finds_it_complete(
    workspace: Workspace, questions: Path
) -> None:
    from scoring.trials.distributed import run_trial_distributed

    plan = plan_units(workspace, questions)
    TrialRunner(workspace, plan, device="cpu").run([0])
    kept = result_files(workspace, plan)
    assert len(kept) == 1
    job = TrialJob(str(workspace.root), "t", "cpu")
    outcome = run_trial_distributed(workspace, job, 2)
    assert (outcome.stopped, outcome.lost) == (False, ())
    after = result_files(workspace, plan)
    assert len(after) == 4
    assert {name: after[name] for name in kept} == kept
    again = run_trial(workspace, "t", device="cpu")
    assert (again.done_before, again.done) == (4, 4)


@needs_ray
@pytest.mark.long
def test_ray_stops_within_a_step(workspace: Workspace, questions: Path) -> None:
    from scoring.trials.distributed import run_trial_distributed

    plan = plan_units(workspace, questions, steps=400)
    stop = threading.Event()
    job = TrialJob(str(workspace.root), "t", "cpu")
    outcome = run_trial_distributed(
        workspace, job, 2, on_progress=lambda each: each.active and stop.set(), stop=stop
    )
    assert outcome.stopped
    assert not result_files(workspace, plan)
