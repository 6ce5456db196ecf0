"""How fast does a LLaVA JSON array import, and in how much memory, whatever its size?

    python -m benchmarks.import_records [MEGABYTES ...]

Writes an array of records of about 900 bytes into a temporary folder, imports it in a process of
its own and prints a Markdown table. Results: benchmarks/results/import_records.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

IMPORT = """
import json, resource, sys, time
from pathlib import Path
from scoring.dataset import import_dataset
from scoring.workspace import create_workspace
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
info = import_dataset(create_workspace(Path(sys.argv[2])), [Path(sys.argv[1])])
seconds = time.perf_counter() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"n": info.n_samples, "seconds": seconds, "before": before, "peak": peak}))
"""


SENTENCE = "a man rides a red bicycle past two parked cars near the old station"


def write_array(path: Path, megabytes: int) -> None:
    """An array of single- and two-turn records until the file has that size."""
    words = SENTENCE.split()
    row = 0
    with path.open("w") as file:
        file.write("[\n")
        while file.tell() < megabytes * 1_000_000:
            answer = " ".join(words[(row * 7 + i) % len(words)] for i in range(100))
            turns = [
                {"from": "human", "value": f"<image>\nWhat happens in picture {row}?"},
                {"from": "gpt", "value": answer},
            ] * (1 + row % 2)
            turns[2:] = [
                {**turn, "value": turn["value"].replace("<image>\n", "")} for turn in turns[2:]
            ]
            record = {
                "id": f"{row:09d}",
                "image": f"coco/{row // 3:012d}.jpg",
                "conversations": turns,
            }
            file.write((",\n" if row else "") + json.dumps(record))
            row += 1
        file.write("\n]\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("megabytes", type=int, nargs="*", default=[100, 1000])
    sizes = parser.parse_args().megabytes
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}\n")
    print("| file | samples | seconds | MB/s | samples/s | peak memory | of which before |")
    print("|---|---|---|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "records.json"
            write_array(path, size)
            command = [sys.executable, "-c", IMPORT, str(path), f"{folder}/workspace"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
            found = json.loads(done.stdout)
        rate, samples = size / found["seconds"], found["n"] / found["seconds"]
        print(
            f"| {size:,} MB | {found['n']:,} | {found['seconds']:.1f} | {rate:.0f} | "
            f"{samples:,.0f} | {found['peak'] / 1024:.0f} MB | {found['before'] / 1024:.0f} MB |"
        )


if __name__ == "__main__":
    main()
