"""Measure time and peak memory of exports and their verification.

    python -m benchmarks.exports [N] [--keep FOLDER]
    python -m benchmarks.exports --large [N]

Writes N conversations of three answers (about 1.3 KB each, one in sixteen without an image, 2,000
pictures shared by the others), imports them, gives them scores, and exports nearly all of them in
each format, each in its own process; then each export is verified, rebuilding the database.
``--large`` does the same with N records (160 if not given) that contain an image of 4 MB each: as
base64 in JSON lines, and as bytes in a Parquet file with a single row group.
Prints a Markdown table. Results: benchmarks/results/exports.md.
"""

from __future__ import annotations

import argparse
import base64
import io
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
from scoring.database.build.build import build_database
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info
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
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.rules import TopShare, Weights
from scoring.database.connection import Store
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import open_workspace

def peak():
    # Of this process alone: getrusage starts with the value of the parent.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

workspace, folder = open_workspace(Path(sys.argv[1])), Path(sys.argv[2])
choice = json.loads(sys.argv[3])
rule = Weights() if "weights" in choice else TopShare(choice.pop("share", 1.0))
options = ExportOptions(**choice)
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
    "llava, answers under 0 removed": {"format": "llava", "turns": "drop", "turn_min": 0.0},
    "llava with images linked": {"format": "llava", "images": "link"},
    "parquet": {"format": "parquet"},
    "huggingface": {"format": "huggingface"},
    "webdataset, top 5 %": {"format": "webdataset", "share": 0.05},
    "ids": {"format": "ids"},
    "dropped, of top 15 %": {"format": "dropped", "share": 0.15},
}
LARGE_CASES: dict[str, dict[str, object]] = {
    "jsonl": {"format": "jsonl"},
    "parquet": {"format": "parquet", "columns": "understood"},
    "parquet, images embedded": {"format": "parquet", "images": "embed"},
    "huggingface": {"format": "huggingface"},
    "huggingface, images embedded": {"format": "huggingface", "images": "embed"},
    "webdataset": {"format": "webdataset"},
}
TABLE_CASES = {
    "parquet, rows unchanged": {"format": "parquet"},
    "parquet, images embedded": {"format": "parquet", "images": "embed"},
    "webdataset": {"format": "webdataset"},
}
IMPORT = """
import json, re, sys, time
from pathlib import Path
from scoring.dataset.importing import import_dataset
from scoring.workspace import create_workspace
begun = time.perf_counter()
data = Path(sys.argv[1])
info = import_dataset(create_workspace(Path(sys.argv[2])), [data], [data.parent])
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"n": info.n_samples, "s": time.perf_counter() - begun, "peak": peak}))
"""


def make(root: Path, n: int) -> Workspace:
    """Create a workspace of ``n`` samples with real records, pictures and scores."""
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
    import_dataset(create_workspace(root / "ws"), [source], [images])
    return score(root / "ws", n)


def score(root: Path, n: int) -> Workspace:
    """Add scores of all samples except every sixteenth, and the database; return the workspace."""
    workspace = open_workspace(root)
    fingerprint = read_dataset_info(workspace).fingerprint
    write_json(
        workspace.run_dir(RUN_ID) / "run.json",
        run_record(RUN_ID, "tiny-vlm", fingerprint, ("none",)),
    )
    (workspace.run_dir(RUN_ID) / "scores").mkdir()
    for part, start in enumerate(range(0, n, 100_000)):
        path = workspace.run_dir(RUN_ID) / "scores" / f"part-{part:05d}.parquet"
        pq.write_table(_scores(np.arange(start, min(start + 100_000, n))), path)
    build_database(workspace)
    return workspace


def write_large(folder: Path, n: int, kind: str) -> Path:
    """Write records that contain a 4 MB image: ``jsonl`` base64, ``parquet`` in one row group."""
    path = folder / f"records.{kind}"
    rows: list[dict[str, object]] = []
    with path.open("w") as file:
        for row in range(n):
            noise = np.random.default_rng(row).integers(0, 256, (1160, 1160, 3), np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noise).save(buffer, "PNG", compress_level=0)
            content = buffer.getvalue()
            if kind == "parquet":
                rows.append({"image": {"bytes": content}, "question": "what?", "answer": "noise"})
                continue
            turns = [
                {"from": "human", "value": "<image>\nwhat?"},
                {"from": "gpt", "value": "noise"},
            ]
            encoded = base64.b64encode(content).decode()
            file.write(json.dumps({"image": encoded, "conversations": turns}) + "\n")
    if rows:
        table = pa.Table.from_pylist(rows)
        # Pages of one value each, as from writers that limit pages by bytes.
        choices = {"compression": "none", "use_dictionary": False, "write_batch_size": 1}
        pq.write_table(table, path, row_group_size=n, **choices)
    return path


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


def run(program: str, arguments: list[str]) -> dict[str, float]:
    """Run a program in its own process; return the JSON that it prints."""
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def cells(found: dict[str, float]) -> str:
    """Return table cells: samples, seconds, and the peak of resident memory in MB."""
    return f"{found['n']:,} | {found['s']:,.1f} | {found['peak']:,.0f}"


def print_cases(workspace: Workspace, cases: dict[str, dict[str, object]], temporary: Path) -> None:
    """Print a row for each export and its verification."""
    for name, choice in cases.items():
        folder = temporary / "out" / name.replace(" ", "-").replace("%", "")
        arguments = [str(workspace.root), str(folder), json.dumps(choice)]
        measured = [cells(run(EXPORT, [*arguments, what])) for what in ("export", "verify")]
        size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
        print(f"| {name} | {' | '.join(measured)} | {size:,} |", flush=True)
        shutil.rmtree(folder)


def measure_large(n: int, temporary: Path) -> None:
    """Import, export and verify large records."""
    for kind, cases in (("jsonl", LARGE_CASES), ("parquet", TABLE_CASES)):
        folder = temporary / kind
        folder.mkdir()
        path = write_large(folder, n, kind)
        imported = cells(run(IMPORT, [str(path), str(folder / "ws")]))
        print(f"| import of {path.stat().st_size / n:,.0f} bytes a record, {kind} | {imported} |")
        print_cases(score(folder / "ws", n), cases, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("n", nargs="?", type=int)
    parser.add_argument(
        "--keep", type=Path, help="create the workspace there, or use it if it exists"
    )
    parser.add_argument("--large", action="store_true", help="records that hold large images")
    given = parser.parse_args()
    n = given.n or (160 if given.large else 665_000)
    with tempfile.TemporaryDirectory(prefix="visnec-exports-") as temporary:
        print(f"{n:,} samples; {os.cpu_count()} cores, Python {platform.python_version()}\n")
        print("| export | samples | s | peak MB | samples | verify s | peak MB | bytes |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        if given.large:
            measure_large(n, Path(temporary))
            return
        root = given.keep or Path(temporary)
        made = (root / "ws" / "visnec.duckdb").exists()
        workspace = open_workspace(root / "ws") if made else make(root, n)
        print_cases(workspace, CASES, Path(temporary))


if __name__ == "__main__":
    main()
