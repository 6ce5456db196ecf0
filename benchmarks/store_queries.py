"""How long does the database take to build and to answer, at a given number of samples?

    python -m benchmarks.store_queries [N] [--repeat 15]

Writes a synthetic workspace into a temporary folder and prints a Markdown table: the median and
the slowest of the answers, in milliseconds, each question under four filters. Results:
benchmarks/results/store_queries.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scoring.store import Cursor, Filter, Scope, Store, build_database, parse_filter, queries
from tests.synthetic import CLUSTERING_ID, RUN_ID
from tests.synthetic_large import make_large_workspace

SCOPE = Scope(RUN_ID, "none", CLUSTERING_ID)
FILTERS = ("", "source:scenes,digits tokens:3..20", "cluster:3,4", "text:colour77")
Question = Callable[[Store, Filter], object]
QUESTIONS: dict[str, Question] = {
    "sample_count": lambda store, f: queries.sample_count(store, SCOPE, f),
    "score_summary": lambda store, f: queries.score_summary(store, SCOPE, f),
    "histogram": lambda store, f: queries.histogram(
        store, SCOPE, f, queries.histogram_edges(store, SCOPE)
    ),
    "cut_counts": lambda store, f: queries.cut_counts(store, SCOPE, f, 0.25, None),
    "threshold_for_share": lambda store, f: queries.threshold_for_share(store, SCOPE, f, 0.15),
    "loss_plane": lambda store, f: queries.loss_plane(store, SCOPE, f),
    "by_source": lambda store, f: queries.by_source(store, SCOPE, f),
    "by_cluster": lambda store, f: queries.by_cluster(store, SCOPE, f),
    "by_turn": lambda store, f: queries.by_turn(store, SCOPE, f),
    "page, first": lambda store, f: queries.page(store, SCOPE, f),
    "page, at a threshold": lambda store, f: queries.page(
        store, SCOPE, f, after=Cursor(0.25, -1), total=0
    ),
    "page, by text-only loss": lambda store, f: queries.page(store, SCOPE, f, "-loss_text"),
    "queue, nearest": lambda store, f: queries.queue_rows(store, SCOPE, f, "threshold:0.25", 200),
    "queue, random": lambda store, f: queries.queue_rows(store, SCOPE, f, "random", 200),
    "sample_detail": lambda store, _: queries.sample_detail(store, SCOPE, 4711),
    "candidates": lambda store, _: queries.candidates(store, SCOPE),
}


def measure(question: Question, store: Store, which: Filter, repeat: int) -> str:
    """Median / slowest in milliseconds, after one answer that does not count."""
    question(store, which)
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        question(store, which)
        times.append((time.perf_counter() - begun) * 1000)
    return f"{statistics.median(times):.0f} / {max(times):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=665_000)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_large_workspace(Path(folder) / "ws", options.n)
        report = build_database(workspace)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        size = workspace.database.stat().st_size >> 20
        print(f"## {options.n:,} samples\n")
        print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.")
        print(f"Build: {report.seconds:.1f} s, peak memory {peak} MB, file {size} MB.\n")
        store = Store(workspace)
        print(
            "| median / slowest, ms |", " | ".join(f"`{f}`" if f else "all" for f in FILTERS), "|"
        )
        print("|---|" + "---|" * len(FILTERS))
        for name, question in QUESTIONS.items():
            cells = [measure(question, store, parse_filter(f), options.repeat) for f in FILTERS]
            print(f"| {name} |", " | ".join(cells), "|", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"\nPeak memory after all questions: {peak} MB.")


if __name__ == "__main__":
    main()
