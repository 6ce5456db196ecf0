"""The benchmark of subsets: its data, its small models, an arm from pool to result, its report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from benchmarks import _proof_student as student
from benchmarks import proof
from benchmarks._proof_arms import ARMS
from benchmarks._proof_plan import MAIN_STAGE, STAGES, Plan
from benchmarks._proof_report import Result, write_report
from benchmarks._proof_world import MADE, WorldSizes, draw_pool, draw_world, read_records
from data.tiny_llava import build_model
from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.models import load_model
from scoring.training.collator import TrainingCollator

SIZES = WorldSizes(
    stock=dict(zip(MADE, (80, 90, 50, 20), strict=True)),
    pool=80,
    warm=20,
    test={"vision_critical": 16, "redundant": 8, "text_only": 4},
)
PLAN = Plan(sizes=SIZES, base_steps=1, warm_epochs=1, epochs=4, clusters=2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small world and a base that starts from the bundled model."""
    folder = tmp_path_factory.mktemp("proof")
    proof.make_world(folder, PLAN)
    base = student.load_student(bundled_folder("tiny-vlm"))
    student.save_student(base, folder / "models" / "base")
    return folder


def test_no_picture_or_question_of_the_test_is_trained_on(keep: Path) -> None:
    world = keep / "world"
    digests = {
        kind: {
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (world / "images" / kind).rglob("*.png")
        }
        for kind in ("stock", "warm", "test")
    }
    assert digests["test"]
    assert not digests["test"] & (digests["stock"] | digests["warm"])
    asked = {
        kind: {
            turn["value"]
            for record in read_records(world / f"{kind}.json")
            if record["made"] == "text_only"
            for turn in record["conversations"][::2]
        }
        for kind in ("stock", "test")
    }
    assert len(asked["test"]) == SIZES.test["text_only"]
    assert not asked["test"] & asked["stock"]


def test_pools_have_their_mix_and_share_records(keep: Path) -> None:
    stock = read_records(keep / "world" / "stock.json")
    few, many = (draw_pool(stock, 80, misaligned, seed=3) for misaligned in (0.15, 0.3))
    assert sum(record["made"] == "misaligned" for record in many) == 24
    critical = [
        {record["id"] for record in pool if record["made"] == "vision_critical"}
        for pool in (few, many)
    ]
    assert critical[0] == critical[1]
    assert few != draw_pool(stock, 80, 0.15, seed=4)


def test_the_world_is_the_same_each_time(keep: Path, tmp_path: Path) -> None:
    draw_world(tmp_path, SIZES)
    assert (tmp_path / "stock.json").read_bytes() == (keep / "world" / "stock.json").read_bytes()


def test_records_are_trained_on_as_they_are_scored(keep: Path) -> None:
    records = read_records(keep / "world" / "stock.json")[:40]
    features, encoder = proof.load_world(keep)
    model = load_model(BUNDLED_MODEL, device="cpu")
    collate = TrainingCollator(model, keep / "world" / "images")
    network = student.load_student(bundled_folder("tiny-vlm"))
    for record, example in zip(
        records, student.encode_records(records, encoder, features), strict=True
    ):
        batch = collate([record])
        assert batch["input_ids"][0].tolist() == example.ids.tolist()
        assert batch["labels"][0].tolist() == example.labels.tolist()
        logits, targets = student.answer_logits(network, *student.make_batch([example], features))
        expected = network(**batch).loss.item()
        assert cross_entropy(logits, targets).item() == pytest.approx(expected, abs=2e-4)


def test_an_arm_of_twenty_steps_learns_and_repeats(keep: Path) -> None:
    features, encoder = proof.load_world(keep)
    examples = student.encode_records(
        read_records(keep / "world" / "stock.json"), encoder, features
    )
    results = []
    for _ in range(2):
        model = build_model(1280)
        first = student.train(model, examples, features, 1, seed=5)
        results.append(student.train(model, examples, features, 20, seed=5))
    assert results[0].loss < 0.8 * first.loss
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-3)


def test_weights_decide_how_often_a_sample_is_drawn(keep: Path) -> None:
    features, encoder = proof.load_world(keep)
    examples = student.encode_records(
        read_records(keep / "world" / "stock.json"), encoder, features
    )
    weights = [0.0] * len(examples)
    weights[7] = 1.0
    drawn = [each for batch in student.draw_batches(examples, 9, 1, weights) for each in batch]
    assert len(drawn) == 9 * student.BATCH
    assert {id(example) for example in drawn} == {id(examples[7])}


def test_the_bundled_model_answers_the_test(keep: Path) -> None:
    model = student.load_student(bundled_folder("tiny-vlm"))
    measured = proof.measure_model(keep, model)
    assert {made: each["n"] for made, each in measured.items()} == SIZES.test
    assert measured["vision_critical"]["accuracy"] >= 75


def test_an_arm_goes_from_its_pool_to_a_result_and_is_trained_once(keep: Path) -> None:
    stage = replace(MAIN_STAGE, share=0.3)
    unit = proof.Unit(stage, 11, "random-per-cluster")
    proof.train_unit(keep, PLAN, unit)
    path = keep / "results" / unit.file
    result = json.loads(path.read_text())
    exports = keep / "pools" / "15-11" / "workspace" / "exports"
    exported = read_records(exports / "random-per-cluster-30" / "samples.jsonl")
    assert result["n"] == len(exported) == len(read_records(exports / "paper-30" / "samples.jsonl"))
    assert sum(result["made"].values()) == result["n"]
    assert result["steps"] == -(-4 * result["n"] // 16)
    assert 0 <= result["test"]["vision_critical"]["accuracy"] <= 100
    written = path.stat().st_mtime_ns
    proof.train_unit(keep, PLAN, unit)
    assert path.stat().st_mtime_ns == written


def test_results_of_another_plan_are_refused(tmp_path: Path) -> None:
    proof.check_plan(tmp_path, PLAN)
    proof.check_plan(tmp_path, replace(PLAN, stages=()))
    with pytest.raises(SystemExit, match="another plan"):
        proof.check_plan(tmp_path, replace(PLAN, epochs=2))


def simulate(n_seeds: int, gains: dict[str, float]) -> list[Result]:
    """Return results of the main stage: 40 % and the gain of the arm, with a little noise."""
    noise = np.random.default_rng(1)
    raw: list[Result] = [{"stage": "run", "machine": "simulated", "versions": {}}]
    for seed in MAIN_STAGE.seeds[:n_seeds]:
        for arm in MAIN_STAGE.arms:
            accuracy = 40 + gains.get(arm, 0) + noise.normal(0, 0.3)
            test = {
                made: {"n": 100, "accuracy": accuracy, "loss": 1.0, "groups": {"lettered": [9, 3]}}
                for made in SIZES.test
            }
            raw.append(
                {
                    "stage": "main", "seed": seed, "arm": arm, "n": 800, "made": {}, "groups": {},
                    "steps": 150, "test": test, "cpu_seconds": 1, "load": 1,
                }
            )  # fmt: skip
    return raw


def test_the_report_concludes_by_the_statistics_of_trials() -> None:
    report = write_report(simulate(5, {"band": 12, "all": 20}), STAGES)
    lines = {line.split(" | ")[0]: line for line in report.splitlines()}
    assert "| better +1" in lines["| band - random"]
    assert "| not significant: " in lines["| top - random"]
    assert "| worse -" in lines["| paper - all"]
    assert "5 trainings" not in report
    assert "80 trainings" in report


def test_an_arm_that_was_not_trained_is_not_taken_from_another_stage() -> None:
    report = write_report(simulate(5, {"band": 12}), STAGES)
    assert "30 % of the scored samples" not in report
    assert report.count("| band - random |") == 1


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_fewer_than_three_seeds_give_no_conclusion(n_seeds: int) -> None:
    report = write_report(simulate(n_seeds, {"band": 12}), STAGES)
    assert "better" not in report
    assert f"{n_seeds} of 5 seeds: no conclusion yet" in report


def test_every_planned_arm_is_defined() -> None:
    for stage in STAGES:
        arms = {arm for comparison in stage.comparisons for arm in comparison}
        assert set(stage.arms) <= set(ARMS)
        assert arms <= {*stage.arms, *(MAIN_STAGE.arms if stage.reference else ())}


def test_the_command_reports_raw_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "proof.jsonl"
    raw.write_text("".join(json.dumps(result) + "\n" for result in simulate(3, {})))
    proof.main(["report", "--raw", str(raw)])
    assert "so far, 3 of 5 seeds: not significant" in capsys.readouterr().out
