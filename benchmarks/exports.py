"""How long do exports and their checks take, and does their memory stay bounded?

    python -m benchmarks.exports [N] [--keep FOLDER]

Writes N conversations of three answers (about 1.3 KB each, one in sixteen without an image, 2,000
pictures shared by the others), imports them, gives them scores, and exports nearly all of them in
each format, each in a process of its own; then each export is verified, rebuilding the database.
Prints a Markdown table. Results: benchmarks/results/exports.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scoring import schemas
from scoring.importing import import_dataset
from scoring.store import build_database
from scoring.workspace import Workspace, create_workspace, open_workspace, write_json
from tests.synthetic import RUN_ID, run_record

N_IMAGES = 2_000
N_TURNS = 3
SENTENCE = "a man rides red bicycle past two parked cars near the old station café 図"
WORDS = tuple(SENTENCE.split())
EXPORT = """
import json, re, sys, time
from pathlib import Path
from scoring.exports.export import export_subset
from scoring.exports import options_from_dict
from scoring.exports.provenance import verify_manifest
from scoring.curation.selection import TopShare, Weights
from scoring.store import Store
from scoring.curation.subsets import SubsetDefinition
from scoring.workspace import open_workspace

def peak():
    # Of this process alone: what getrusage tells begins with the parent's.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

workspace, folder = open_workspace(Path(sys.argv[1])), Path(sys.argv[2])
choice = json.loads(sys.argv[3])
rule = Weights() if "weights" in choice else TopShare(choice.pop("share", 1.0))
options = options_from_dict(choice)
before, begun = peak(), time.perf_counter()
if sys.argv[4] == "export":
    definition = SubsetDefinition("it", rule, "tiny-run", text_only="keep")
    n = export_subset(workspace, Store(workspace), definition, folder, options).n_samples
else:
    n = verify_manifest(folder, workspace).n_samples
print(json.dumps({"n": n, "s": time.perf_counter() - begun, "before": before, "peak": peak()}))
"""
CASES: dict[str, dict[str, object]] = {
    "llava": {"format": "llava"},
    "llava with card": {"format": "llava", "card": True},
    "llava, top 15 %": {"format": "llava", "share": 0.15},
    "jsonl": {"format": "jsonl"},
    "jsonl, weights as a column": {"format": "jsonl", "weights": "column"},
    "jsonl, repeated by weights": {"format": "jsonl", "weights": "repeat"},
    "llava, answers under 0 taken out": {"format": "llava", "turns": "drop", "turn_min": 0.0},
    "llava with images linked": {"format": "llava", "images": "link"},
    "parquet": {"format": "parquet"},
    "huggingface": {"format": "huggingface"},
    "webdataset, top 5 %": {"format": "webdataset", "share": 0.05},
    "ids": {"format": "ids"},
    "dropped, of top 15 %": {"format": "dropped", "share": 0.15},
}


def make(root: Path, n: int) -> Workspace:
    """A workspace of ``n`` samples with real records, pictures and scores."""
    images = root / "images"
    images.mkdir(parents=True)
    draw = random.Random(7)  # noqa: S311 - repeatable on purpose
    for number in range(N_IMAGES):
        noise = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
        picture = Image.fromarray(noise).resize((224, 224))
        picture.save(images / f"{number:05d}.jpg", quality=80)
    source = root / "records.json"
    with source.open("w", encoding="utf-8") as file:
        for row in range(n):
            file.write("[\n" if row == 0 else ",\n")
            file.write(json.dumps(_record(row, draw), ensure_ascii=row % 2 == 0))
        file.write("\n]\n")
    workspace = create_workspace(root / "ws")
    info = import_dataset(workspace, [source], [images])
    workspace = open_workspace(workspace.root)
    write_json(
        workspace.run_dir(RUN_ID) / "run.json",
        run_record(RUN_ID, "tiny-vlm", info.fingerprint, ("none",)),
    )
    (workspace.run_dir(RUN_ID) / "scores").mkdir()
    for part, start in enumerate(range(0, n, 100_000)):
        path = workspace.run_dir(RUN_ID) / "scores" / f"part-{part:05d}.parquet"
        pq.write_table(_scores(np.arange(start, min(start + 100_000, n))), path)
    build_database(workspace)
    return workspace


def _record(row: int, draw: random.Random) -> dict[str, object]:
    turns = []
    for turn in range(N_TURNS):
        question = " ".join(draw.choices(WORDS, k=12)) + "?"
        mark = "<image>\n" if turn == 0 and row % 16 else ""
        turns.append({"from": "human", "value": mark + question})
        turns.append({"from": "gpt", "value": " ".join(draw.choices(WORDS, k=45))})
    record: dict[str, object] = {"id": f"{row:012d}"}
    if row % 16:
        record["image"] = f"{draw.randrange(N_IMAGES):05d}.jpg"
    return record | {"conversations": turns, "scale": 1e-7}


def _scores(rows: np.ndarray) -> pa.Table:  # type: ignore[type-arg]
    draw = np.random.default_rng(int(rows[0]) + 1)
    scored = rows % 16 != 0
    n = len(rows) * N_TURNS
    tokens = draw.integers(20, 60, n)
    multimodal = draw.gamma(2.0, 0.4, n)
    text = np.abs(multimodal + draw.normal(0.35, 0.5, n))
    turns = pa.StructArray.from_arrays(
        [
            pa.array(np.tile(np.arange(N_TURNS), len(rows)), pa.int32()),
            pa.array(text * tokens),
            pa.array(multimodal * tokens),
            pa.array(tokens, pa.int32()),
            pa.array((text - multimodal) ** 2 * tokens * 1.5),
        ],
        fields=list(schemas.TURN_SCORE),
    )
    offsets = np.concatenate([[0], np.cumsum(scored * N_TURNS)])
    lists = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), turns.filter(pa.array(np.repeat(scored, N_TURNS)))
    )
    columns = {
        "row_idx": pa.array(rows),
        "baseline": pa.array(["none"] * len(rows)),
        "status": pa.array(np.where(scored, "scored", "text_only").tolist()),
        "reason": pa.nulls(len(rows), pa.string()),
        "truncated": pa.array(np.zeros(len(rows), bool)),
        "turns": lists,
    }
    arrays = [
        columns[field.name] if field.name in columns else pa.nulls(len(rows), field.type)
        for field in schemas.SCORES
    ]
    return pa.Table.from_arrays(arrays, schema=schemas.SCORES)


def measure(workspace: Workspace, folder: Path, choice: dict[str, object], what: str) -> str:
    """Cells of a table: seconds, and the peak of resident memory in MB."""
    arguments = [str(workspace.root), str(folder), json.dumps(choice), what]
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", EXPORT, *arguments], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    return f"{found['n']:,} | {found['s']:,.1f} | {found['peak']:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", nargs="?", type=int, default=665_000)
    parser.add_argument("--keep", type=Path, help="make the workspace there, or use what is there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="visnec-exports-") as temporary:
        root = given.keep or Path(temporary)
        made = (root / "ws" / "visnec.duckdb").exists()
        workspace = open_workspace(root / "ws") if made else make(root, given.n)
        print(f"{given.n:,} samples; {os.cpu_count()} cores, Python {platform.python_version()}\n")
        print("| export | samples | s | peak MB | samples | verify s | peak MB | bytes |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for name, choice in CASES.items():
            folder = Path(temporary) / "out" / name.replace(" ", "-").replace("%", "")
            cells = [measure(workspace, folder, choice, what) for what in ("export", "verify")]
            size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
            print(f"| {name} | {' | '.join(cells)} | {size:,} |", flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
