"""Trains small models on subsets that VisNec selects and on controls, and compares the results.

    python -m benchmarks.proof [run] [--keep DIR] [--workers 2] [--quick]
    python -m benchmarks.proof report [--keep DIR] [--raw FILE]

The plan (``_proof_plan.py``) was fixed before the first of its trainings. A synthetic world gives
each seed a pool of 6,000 samples of known kinds. They are imported, scored, clustered, selected and
exported by the ``visnec`` command; an arm is a small LLaVA trained on the exported records of one
seed. The primary outcome is the accuracy on held-out questions that need the image, after three
epochs, paired by seed.

``run`` keeps each result in DIR/results as a file that appears complete or not at all: the same
command resumes after a stop. ``report`` prints the tables of DIR or of the raw results; ``--write``
stores them as benchmarks/results/proof.md and proof.jsonl. It takes two to three hours of CPU time
and no GPU; ``--quick`` compares four arms with two seeds, too few for a conclusion.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration

from benchmarks import _proof_student as student
from benchmarks._proof_arms import (
    ALL,
    ARMS,
    EXPERT,
    ORACLE,
    SELF,
    WARM,
    Pool,
    read_weights,
    write_result,
)
from benchmarks._proof_plan import MAIN, QUICK_STAGES, STAGES, Plan, Stage
from benchmarks._proof_report import Result, write_report
from benchmarks._proof_world import draw_pool, draw_world, read_records
from data.tiny_llava import Encoder
from scoring.bundled import bundled_folder

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Unit:
    """One training: an arm of a stage with a seed."""

    stage: Stage
    seed: int
    arm: str

    @property
    def file(self) -> str:
        """The name of its result."""
        return f"{self.stage.name}-{self.seed}-{self.arm}.json"


def train_unit(keep: Path, plan: Plan, unit: Unit) -> None:
    """Select, export, train and measure an arm, unless its result exists."""
    path = keep / "results" / unit.file
    if path.exists():
        return
    start, stage = time.process_time(), unit.stage
    pool = open_pool(keep, plan, stage.misaligned, unit.seed, ARMS[unit.arm].run)
    records = read_records(pool.export(unit.arm, stage.share))
    features, encoder = load_world(keep)
    examples = student.encode_records(records, encoder, features)
    model = student.load_student(keep / "models" / "base")
    steps = stage.steps or count_steps(len(examples), plan.epochs)
    trained = student.train(model, examples, features, steps, unit.seed, read_weights(records))
    if (stage.name, unit.arm) == (MAIN, ALL):
        student.save_student(model, keep / "models" / f"{SELF}-{unit.seed}")
    result = {
        "stage": stage.name,
        "seed": unit.seed,
        "arm": unit.arm,
        "misaligned": stage.misaligned,
        "share": stage.share,
        "n": len(examples),
        "made": student.count_by(examples, "made"),
        "groups": student.count_by(examples, "group"),
        "steps": trained.steps,
        "training_loss": round(trained.loss, 4),
        "test": measure_model(keep, model),
        "cpu_seconds": round(time.process_time() - start, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    write_result(path, result)


def count_steps(n: int, epochs: int) -> int:
    """Return the number of steps of an arm of ``n`` samples."""
    return -(-epochs * n // student.BATCH)


def measure_model(keep: Path, model: LlavaForConditionalGeneration) -> dict[str, object]:
    """Return accuracy (per cent) and loss on each kind of test questions."""
    features, _ = load_world(keep)
    measured = student.measure(model, load_test(keep), features)
    return {
        made: {
            "n": each.n,
            "accuracy": round(100 * each.n_right / each.n, 3),
            "loss": round(each.loss, 4),
            "groups": each.groups if made == "vision_critical" else {},
        }
        for made, each in measured.items()
    }


@functools.cache
def load_world(keep: Path) -> tuple[student.Features, Encoder]:
    """Return the features of all images and the encoder; once per process."""
    return student.compute_features(keep / "world" / "images"), student.load_encoder()


@functools.cache
def load_test(keep: Path) -> list[student.Example]:
    """Return the encoded test questions; once per process."""
    features, encoder = load_world(keep)
    return student.encode_records(read_records(keep / "world" / "test.json"), encoder, features)


def open_pool(keep: Path, plan: Plan, misaligned: float, seed: int, run: str) -> Pool:
    """Return the pool of a seed, imported, clustered and scored by the expert and by ``run``."""
    pool = Pool(keep / "pools" / f"{100 * misaligned:g}-{seed}", seed)
    world = keep / "world"
    stock = read_records(world / "stock.json")
    records = draw_pool(stock, plan.sizes.pool, misaligned, seed)
    pool.create(records, world / "images", plan.clusters)
    models = {
        EXPERT: bundled_folder("tiny-vlm"),
        WARM: keep / "models" / WARM,
        SELF: keep / "models" / f"{SELF}-{seed}",
        ORACLE: None,
    }
    for name in dict.fromkeys((EXPERT, run)):
        pool.score(name, models[name])
        path = keep / "results" / f"scores-{100 * misaligned:g}-{seed}-{name}.json"
        if name != ORACLE and not path.exists():
            facts = {"misaligned": misaligned, "seed": seed, "scorer": name}
            write_result(path, {"stage": "scores", **facts, "values": pool.describe_scores(name)})
    return pool


def make_world(keep: Path, plan: Plan) -> None:
    """Draw the data and compute the features, unless that was done."""
    world = keep / "world"
    if not (world / "test.json").exists():
        draw_world(world, plan.sizes)
    student.compute_features(world / "images")


def make_base(keep: Path, plan: Plan) -> None:
    """Train the base that every arm starts from, unless that was done."""
    folder = keep / "models" / "base"
    if not folder.exists():
        student.train_base(folder.with_suffix(".partial"), plan.base_steps)
        folder.with_suffix(".partial").rename(folder)


def make_warm(keep: Path, plan: Plan) -> None:
    """Train the warm scorer on records that are in no pool, and measure all scorers."""
    folder, base = keep / "models" / WARM, keep / "models" / "base"
    features, encoder = load_world(keep)
    if not folder.exists():
        records = read_records(keep / "world" / "warm.json")
        examples = student.encode_records(records, encoder, features)
        model = student.load_student(base)
        steps = count_steps(len(examples), plan.warm_epochs)
        student.train(model, examples, features, steps, seed=0)
        student.save_student(model, folder.with_suffix(".partial"))
        folder.with_suffix(".partial").rename(folder)
    for name, path in (("base", base), (WARM, folder), (EXPERT, bundled_folder("tiny-vlm"))):
        measured = measure_model(keep, student.load_student(path))
        write_result(
            keep / "results" / f"scorer-{name}.json",
            {"stage": "scorer", "scorer": name, "test": measured},
        )


def run(keep: Path, plan: Plan, workers: int) -> None:
    """Train all units of a plan that have no result yet, the stages in their order."""
    check_plan(keep, plan)
    write_result(keep / "results" / "run.json", {"stage": "run", **describe_machine()})
    jobs = [
        [Unit(stage, seed, arm) for arm in stage.arms]
        for stage in plan.stages
        for seed in stage.seeds
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=use_one_thread) as executor:
        for step in ((make_world, make_base), (make_warm,)):
            for each in [executor.submit(make, keep, plan) for make in step]:
                each.result()
        futures = {executor.submit(train_units, keep, plan, units): units for units in jobs}
        for number, done in enumerate(as_completed(futures), start=1):
            units = futures[done]
            done.result()
            note(f"{number}/{len(jobs)} {units[0].stage.name} seed {units[0].seed}")


def train_units(keep: Path, plan: Plan, units: Sequence[Unit]) -> None:
    """Train the arms of one stage and seed, one after the other."""
    for unit in units:
        train_unit(keep, plan, unit)
        note(unit.file)


def use_one_thread() -> None:
    """Keep PyTorch to one thread: small models lose time to more."""
    torch.set_num_threads(1)


def note(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def check_plan(keep: Path, plan: Plan) -> None:
    """Refuse to mix results of two plans in a folder."""
    path = keep / "plan.json"
    keep.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(json.dumps({"digest": plan.digest}), encoding="utf-8")
    if json.loads(path.read_text("utf-8"))["digest"] != plan.digest:
        sys.exit(f"{keep} contains results of another plan. Choose another folder with --keep.")


def describe_machine() -> dict[str, object]:
    """Return the machine and the versions that results depend on."""
    packages = ("visnec-studio", "torch", "transformers", "numpy", "scikit-learn")
    versions = {"Python": platform.python_version()}
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": versions | {name: version(name) for name in packages},
    }


def read_raw(keep: Path | None, raw: Path) -> list[Result]:
    """Return the results of a folder, or those of a raw file."""
    if keep is None:
        return [json.loads(line) for line in raw.read_text("utf-8").splitlines()]
    paths = sorted((keep / "results").glob("*.json"))
    return [json.loads(path.read_text("utf-8")) for path in paths]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("command", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--keep", type=Path, help="folder of the results, to resume a stopped run")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread")
    parser.add_argument("--quick", action="store_true", help="four arms, two seeds")
    parser.add_argument("--raw", type=Path, default=RESULTS / "proof.jsonl")
    parser.add_argument("--write", action="store_true", help="write proof.md and the raw results")
    options = parser.parse_args(arguments)
    stages = QUICK_STAGES if options.quick else STAGES
    with tempfile.TemporaryDirectory() as temporary:
        if options.command == "run":
            options.keep = options.keep or Path(temporary)
            run(options.keep, Plan(stages), options.workers)
        raw = read_raw(options.keep, options.raw)
    report = write_report(raw, stages)
    print(report)
    if options.write:
        options.raw.with_suffix(".md").write_text(report, encoding="utf-8")
        lines = (json.dumps(result) + "\n" for result in raw)
        options.raw.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
