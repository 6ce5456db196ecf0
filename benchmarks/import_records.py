"""Measures the speed and memory of imports, and the time of each step.

    python -m benchmarks.import_records [MEGABYTES ...] [--only KIND]

Writes a JSON array and a JSONL file of records of about 900 bytes, and one Parquet file and one
tar with images inside, into a temporary folder; imports each in its own process and prints a
Markdown table. JSON is also imported without the fast path for common records, and images without
the digests of their contents. Then it measures each step of a JSON import alone, over the first
megabytes, to show the bottleneck. Results: benchmarks/results/import_records.md.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMPORT = """
import json, resource, sys, time
from pathlib import Path
from scoring.dataset.importing import import_dataset
from scoring.workspace import create_workspace
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun, worked = time.perf_counter(), time.process_time()
info = import_dataset(create_workspace(Path(sys.argv[2])), [Path(sys.argv[1])])
seconds, worked = time.perf_counter() - begun, time.process_time() - worked
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {"n": info.n_samples, "seconds": seconds, "worked": worked}
print(json.dumps({**found, "before": before, "peak": peak}))
"""

NO_FAST_PATH = (
    "import scoring.readers.records as records; records.parse_plain_record = lambda _: None\n"
)

NO_DIGESTS = """
from scoring.readers import tars, values
tars._MAX_DIGESTED_BYTES = -1
values.InlineReference.read_digest = lambda self: setattr(self, "_content", b"")
"""

SENTENCE = "a man rides a red bicycle past two parked cars near the old station"
STEP_MEGABYTES = 50


def records(megabytes: int) -> Iterator[str]:
    """Yield single- and two-turn records as JSON, up to that total size."""
    words = SENTENCE.split()
    row = size = 0
    while size < megabytes * 1_000_000:
        answer = " ".join(words[(row * 7 + i) % len(words)] for i in range(100))
        turns = [
            {"from": "human", "value": f"<image>\nWhat happens in picture {row}?"},
            {"from": "gpt", "value": answer},
        ] * (1 + row % 2)
        turns[2:] = [
            {**turn, "value": turn["value"].replace("<image>\n", "")} for turn in turns[2:]
        ]
        record = {"id": f"{row:09d}", "image": f"coco/{row // 3:012d}.jpg", "conversations": turns}
        text = json.dumps(record)
        size += len(text) + 2
        row += 1
        yield text


def write_array(path: Path, megabytes: int) -> None:
    with path.open("w") as file:
        file.write("[\n")
        for row, text in enumerate(records(megabytes)):
            file.write((",\n" if row else "") + text)
        file.write("\n]\n")


def write_lines(path: Path, megabytes: int) -> None:
    with path.open("w") as file:
        file.writelines(text + "\n" for text in records(megabytes))


def jpegs() -> Iterator[bytes]:
    """Yield JPEGs of noise of about 100 KB, repeating eight images."""
    draw = random.Random(7)  # noqa: S311 - repeatable on purpose
    made = []
    for _ in range(8):
        buffer = io.BytesIO()
        noise = Image.frombytes("RGB", (300, 200), draw.randbytes(300 * 200 * 3))
        noise.save(buffer, "JPEG", quality=85)
        made.append(buffer.getvalue())
    while True:
        yield from made


def write_parquet(path: Path, megabytes: int) -> None:
    rows, images, size = [], jpegs(), 0
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("question", pa.string()),
            ("answer", pa.string()),
        ]
    )
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        while size < megabytes * 1_000_000:
            image = next(images)
            size += len(image)
            rows.append({"image": {"bytes": image, "path": None}, "question": "q", "answer": "a"})
            if len(rows) == 100:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def write_tar(path: Path, megabytes: int) -> None:
    images, size, row = jpegs(), 0, 0
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    with tarfile.open(path, "w") as archive:
        while size < megabytes * 1_000_000:
            for suffix, content in (("jpg", next(images)), ("json", json.dumps(turns).encode())):
                member = tarfile.TarInfo(f"{row:09d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
                size += len(content)
            row += 1


def steps(path: Path) -> Iterator[tuple[str, float]]:
    """Yield the CPU seconds of each step of a JSON import, run alone over the whole file."""
    from scoring.dataset.records import GROUP_ROWS, PartWriter, dataset_table
    from scoring.readers import records as records_module
    from scoring.readers.json_stream import read_json_array
    from scoring.readers.records import to_sample

    def reading() -> None:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    def splitting() -> None:
        with path.open("rb") as file:
            found.extend(read_json_array(file, "x"))

    def interpreting() -> None:
        samples.extend(to_sample(i, record, "x") for i, record in enumerate(found))

    def interpreting_without_fast_path() -> None:
        fast_path = records_module.parse_plain_record
        records_module.parse_plain_record = lambda _: None
        try:
            kept.extend(to_sample(i, record, "x") for i, record in enumerate(found))
        finally:
            records_module.parse_plain_record = fast_path

    def building() -> None:
        for start in range(0, len(samples), GROUP_ROWS):
            dataset_table(samples[start : start + GROUP_ROWS])

    def building_and_writing() -> None:
        writer = PartWriter(path.parent)
        for sample in samples:
            writer.write(sample)
        writer.close()

    found: list = []  # type: ignore[type-arg]
    samples: list = []  # type: ignore[type-arg]
    kept: list = []  # type: ignore[type-arg]
    named: list[tuple[str, Callable[[], None]]] = [
        ("reading and hashing", reading),
        ("splitting and parsing", splitting),
        ("interpreting records", interpreting),
        ("interpreting records without the fast path", interpreting_without_fast_path),
        ("building columns", building),
        ("building and writing columns", building_and_writing),
    ]
    for name, step in named:
        begun = time.process_time()
        step()
        yield name, time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("megabytes", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--only", help="one kind of file, such as records.json; no steps")
    options = parser.parse_args()
    sizes = options.megabytes
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}\n")
    print("| file | samples | seconds | CPU s | MB/CPU s | samples/CPU s | peak memory | before |")
    print("|---|---|---|---|---|---|---|---|")
    kinds = {
        "records.json": write_array,
        "records.json (without the fast path)": write_array,
        "records.jsonl": write_lines,
        "records.jsonl (without the fast path)": write_lines,
        "images.parquet": write_parquet,
        "images.parquet (without digests)": write_parquet,
        "images.tar": write_tar,
        "images.tar (without digests)": write_tar,
    }
    for name, write in kinds.items():
        for size in sizes if options.only in (None, name) else ():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name.partition(" ")[0]
                write(path, size)
                program = IMPORT
                if "without" in name:
                    program = (NO_DIGESTS if "digests" in name else NO_FAST_PATH) + IMPORT
                command = [sys.executable, "-c", program, str(path), f"{folder}/workspace"]
                done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
                found = json.loads(done.stdout)
            rate, samples = size / found["worked"], found["n"] / found["worked"]
            print(
                f"| {name}, {size:,} MB | {found['n']:,} | {found['seconds']:.1f} | "
                f"{found['worked']:.1f} | {rate:.0f} | "
                f"{samples:,.0f} | {found['peak'] / 1024:.0f} MB | "
                f"{found['before'] / 1024:.0f} MB |",
                flush=True,
            )
    if options.only:
        return
    print(f"\n| step, {STEP_MEGABYTES} MB of JSON | MB/CPU s |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.json"
        write_array(path, STEP_MEGABYTES)
        for name, seconds in steps(path):
            print(f"| {name} | {STEP_MEGABYTES / seconds:.0f} |")


if __name__ == "__main__":
    main()
