"""Does memory stay bounded whatever the dataset's size? And what does reading cost?

    python -m benchmarks.memory [N ...]

Writes N records whose images are shared at random distances, imports them and scores them with a
model that computes nothing, each in a process of its own, and prints a Markdown table. Images are
not opened: the figures are those of everything around the model. Results:
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
from pathlib import Path

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
    imports="from scoring.importing import import_dataset\n"
    "from scoring.workspace import create_workspace",
    work="import_dataset(create_workspace(Path(sys.argv[2])), [Path(sys.argv[1])])",
)
PLAN = MEASURED.format(
    imports="from scoring.engine.plan import open_plan\n"
    "from scoring.workspace import open_workspace",
    work="open_plan(open_workspace(Path(sys.argv[2])))",
)
SCORE = MEASURED.format(
    imports="from benchmarks.memory import score_for_nothing\n"
    "from scoring.workspace import open_workspace",
    work="score_for_nothing(open_workspace(Path(sys.argv[2])))",
)
BUILD = MEASURED.format(
    imports="from scoring.store import build_database\n"
    "from scoring.workspace import open_workspace",
    work="build_database(open_workspace(Path(sys.argv[2])))",
)
READ = MEASURED.format(
    imports="from benchmarks.memory import read_in_plan_order\n"
    "from scoring.workspace import open_workspace",
    work="read_in_plan_order(open_workspace(Path(sys.argv[2])))",
)
STEPS = {"import": IMPORT, "write the plan": PLAN, "read in its order": READ, "score": SCORE}
STEPS["build the database"] = BUILD


def score_for_nothing(workspace: object) -> None:
    """Every sample gets made-up losses: reading, claims, counts and parts are what is measured."""
    from scoring.engine.baselines import BaselineSettings
    from scoring.engine.pipeline import run_record, scoring_task
    from scoring.engine.prefetch import Work
    from scoring.engine.runner import Runner
    from scoring.runs import begin_run
    from scoring.samples import Sample
    from tests.fakes import FakeModel

    def compute(samples: list[Sample]) -> list[dict[str, object]]:
        turn = {"loss_text_sum": 3.0, "loss_multimodal_sum": 2.0, "n_answer_tokens": 4}
        return [
            {
                "row_idx": sample.row_idx,
                "baseline": "none",
                "status": "scored" if sample.images else "text_only",
                "truncated": False,
                "turns": [
                    {**turn, "turn": n, "delta_sq_sum": 0.5}
                    for n in range(sample.n_turns if sample.images else 0)
                ],
            }
            for sample in samples
        ]

    wanted = run_record(workspace, FakeModel(), "run", BaselineSettings(), False, False)  # type: ignore[arg-type]
    record = begin_run(workspace, wanted)  # type: ignore[arg-type]
    task = scoring_task(workspace, record)  # type: ignore[arg-type]
    Runner(task, Work(list, compute), build=False).run()


def read_in_plan_order(workspace: object) -> None:
    import numpy as np

    from scoring.engine.plan import CHUNK_ROWS, open_plan

    plan = open_plan(workspace)  # type: ignore[arg-type]
    for start in range(0, len(plan.rows), CHUNK_ROWS):
        plan.read(np.arange(start, min(start + CHUNK_ROWS, len(plan.rows))))


def write_records(path: Path, n: int) -> None:
    """Conversations of one to eight turns; one record in sixteen has no image."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("n", type=int, nargs="*", default=[100_000, 1_000_000])
    sizes = parser.parse_args().n
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
                print(
                    f"| {n:,} | {step} | {found['seconds']:.1f} | "
                    f"{1000 * found['seconds'] / n:.3f} | {found['peak']:,.0f} MB | "
                    f"{found['before']:,.0f} MB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
