"""Checks that memory stays bounded for any size of dataset, and measures the cost of reading.

    python -m benchmarks.memory [N ...]

Writes N records whose images are shared at random distances, imports them, scores all of them with
a model that computes nothing (and the first few thousand with the bundled model), and builds the
database of the same workspace, each step in its own process; prints a Markdown table. Only the
bundled model opens images: the other figures are for everything around a model. The memory before a
step (for the bundled model: after loading it) is printed next to its peak. Results:
benchmarks/results/memory.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoring.models.base import EncodedSample
    from scoring.samples import Sample

SAMPLES_PER_IMAGE = 2.67
SENTENCE = "a man rides red bicycle past two parked cars near the old station what colour is"
WORDS = tuple(SENTENCE.split())
MEASURED = """
import json, resource, sys, time
from pathlib import Path
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
{imports}
before, begun = peak(), time.perf_counter()
{work}
print(json.dumps({{"seconds": time.perf_counter() - begun, "before": before, "peak": peak()}}))
"""
IMPORT = MEASURED.format(
    imports="from scoring.dataset.importing import import_dataset\n"
    "from scoring.workspace import create_workspace",
    work="data = Path(sys.argv[1])\n"
    "import_dataset(create_workspace(Path(sys.argv[2])), [data], [data.parent])",
)
PLAN = MEASURED.format(
    imports="from scoring.engine.plan import open_plan\n"
    "from scoring.workspace import open_workspace",
    work="open_plan(open_workspace(Path(sys.argv[2])))",
)
SCORE = MEASURED.format(
    imports="from benchmarks.memory import score_without_model\n"
    "from scoring.workspace import open_workspace",
    work="score_without_model(open_workspace(Path(sys.argv[2])))",
)
SCORE_WITH_MODEL = MEASURED.format(
    imports="from benchmarks.memory import MODEL_SAMPLES, write_first_images\n"
    "from scoring.engine.pipeline import score_dataset\n"
    "from scoring.models import load_model\n"
    "from scoring.workspace import open_workspace\n"
    "workspace = open_workspace(Path(sys.argv[2]))\n"
    "write_first_images(workspace, Path(sys.argv[1]).parent)\n"
    "model = load_model('tiny-vlm', device='cpu')",
    work="run = score_dataset(workspace, model, run_id='model', limit=MODEL_SAMPLES, build=False)\n"
    "assert run.statuses.get('scored')",
)
BUILD = MEASURED.format(
    imports="from scoring.database.build.build import build_database\n"
    "from scoring.workspace import open_workspace",
    work="build_database(open_workspace(Path(sys.argv[2])))",
)
READ = MEASURED.format(
    imports="from benchmarks.memory import read_in_plan_order\n"
    "from scoring.workspace import open_workspace",
    work="read_in_plan_order(open_workspace(Path(sys.argv[2])))",
)
MODEL_SAMPLES = 5000  # scored by the bundled model, of any number of samples
WITH_MODEL = f"score {MODEL_SAMPLES:,} with the bundled model"
STEPS = {
    "import": IMPORT,
    "write the plan": PLAN,
    "read in its order": READ,
    "score": SCORE,
    WITH_MODEL: SCORE_WITH_MODEL,
    "build the database": BUILD,
}


class MadeUpScores:
    """A task that gives every sample made-up losses."""

    def prepare(self, samples: Sequence[Sample]) -> list[Sample]:
        return list(samples)

    def compute_rows(self, items: list[Sample]) -> list[dict[str, Any]]:
        turn = {"loss_text_sum": 3.0, "loss_multimodal_sum": 2.0, "n_answer_tokens": 4}
        return [
            {
                "row_idx": sample.row_idx,
                "baseline": "none",
                "status": "scored" if sample.images else "text_only",
                "truncated": False,
                "turns": [
                    {**turn, "turn": n} for n in range(sample.n_turns if sample.images else 0)
                ],
            }
            for sample in items
        ]

    def encoded_samples(self, _: Sample) -> Iterable[EncodedSample]:
        return ()


def score_without_model(workspace: object) -> None:
    """Measure everything about scoring except the model: reading, leases, counts and parts."""
    from scoring.engine.options import ScoreOptions
    from scoring.engine.pipeline import build_run_record, scoring_phase
    from scoring.engine.runner import Runner
    from scoring.runs.record import begin_run
    from tests.fakes import FakeModel

    wanted = build_run_record(workspace, FakeModel(), ScoreOptions("run"))  # type: ignore[arg-type]
    record = begin_run(workspace, wanted)  # type: ignore[arg-type]
    phase = scoring_phase(workspace, record)  # type: ignore[arg-type]
    Runner(phase, MadeUpScores(), build=False).run()


def write_first_images(workspace: object, root: Path) -> None:
    """Write small images for the samples that the bundled model will score."""
    import numpy as np
    from PIL import Image

    from scoring.engine.plan import open_plan

    plan = open_plan(workspace)  # type: ignore[arg-type]
    first = plan.read_samples(np.arange(min(MODEL_SAMPLES, len(plan.rows))))
    for number, name in enumerate(dict.fromkeys(name for one in first for name in one.images)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        colour = (number % 256, number // 256 % 256, 90)
        Image.new("RGB", (640, 480), colour).save(root / name)


def read_in_plan_order(workspace: object) -> None:
    import numpy as np

    from scoring.engine.plan import CHUNK_ROWS, open_plan

    plan = open_plan(workspace)  # type: ignore[arg-type]
    for start in range(0, len(plan.rows), CHUNK_ROWS):
        plan.read_samples(np.arange(start, min(start + CHUNK_ROWS, len(plan.rows))))


def write_records(path: Path, n: int) -> None:
    """Write conversations of one to eight turns; one record in sixteen has no image."""
    draw = random.Random(1)  # noqa: S311 - the same records every time
    with path.open("w") as file:
        for row in range(n):
            turns = []
            for turn in range(draw.choice([1, 1, 2, 3, 5, 8])):
                placeholder = "<image>\n" if turn == 0 and row % 16 else ""
                question = " ".join(draw.choices(WORDS, k=10))
                answer = " ".join(draw.choices(WORDS, k=draw.choice([1, 3, 20, 80])))
                turns.append({"from": "human", "value": f"{placeholder}{question}?"})
                turns.append({"from": "gpt", "value": answer})
            image = f"coco/{draw.randrange(int(n / SAMPLES_PER_IMAGE) + 1):012d}.jpg"
            record = {"id": f"{row:09d}", "conversations": turns}
            file.write(json.dumps(record | ({"image": image} if row % 16 else {})) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("n", type=int, nargs="*", default=[100_000, 1_000_000])
    sizes = parser.parse_args(arguments).n
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}\n")
    print("| samples | step | seconds | ms per sample | peak memory | of which before |")
    print("|---|---|---|---|---|---|")
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "records.jsonl"
            write_records(path, n)
            for step, code in STEPS.items():
                command = [sys.executable, "-c", code, str(path), f"{folder}/workspace"]
                done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
                found = json.loads(done.stdout)
                n_done = min(n, MODEL_SAMPLES) if step == WITH_MODEL else n
                print(
                    f"| {n:,} | {step} | {found['seconds']:.1f} | "
                    f"{1000 * found['seconds'] / n_done:.3f} | {found['peak']:,.0f} MB | "
                    f"{found['before']:,.0f} MB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
