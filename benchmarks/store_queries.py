"""Measures the time to build and to query the database, at a given number of samples.

    python -m benchmarks.store_queries [N] [--repeat 15] [--workspace DIR]

Writes a synthetic workspace into a temporary folder (or uses the one in DIR), builds its database
in a separate process, and prints a Markdown table: for each query under each filter the first time,
then median / slowest of the next ones, in milliseconds, and in brackets the median processor time
over all threads, which depends little on other load. Every query has another threshold, so no
result comes from a page's cache. Memory is that of the reading process.
Results: benchmarks/results/store_queries.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import fetch_page, read_candidates
from scoring.database.queries.compare import compare_scopes
from scoring.database.queries.detail import sample_detail
from scoring.database.queries.overview import (
    histogram_edges,
    loss_plane,
    sample_count,
    score_health,
    score_histogram,
    score_summary,
    status_counts,
)
from scoring.database.queries.review_queues import review_queue
from scoring.database.score_index.groups import (
    by_answer_kind,
    by_answer_length,
    by_cluster,
    by_source,
    by_turn,
)
from scoring.database.score_index.thresholds import (
    count_kept,
    score_ecdf,
    threshold_for_share,
    threshold_for_tokens,
)
from scoring.database.values import Cursor, Scope
from scoring.necessity import Bands
from scoring.workspace import open_workspace
from tests.synthetic import CLUSTERING_ID, RUN_ID
from tests.synthetic_large import make_large_workspace

SCOPE = Scope(RUN_ID, "none", CLUSTERING_ID)
FILTERS = ("", "source:scenes,digits tokens:3..20", "cluster:3,4", "text:colour77")
SLOW = {"candidates", "comparison with itself", "queue, stratified"}
Question = Callable[[Store, Filter, float], object]
QUESTIONS: dict[str, Question] = {
    "sample_count": lambda store, f, _: sample_count(store.selection(SCOPE, f)),
    "histogram": lambda store, f, _: score_histogram(
        store.selection(SCOPE, f), histogram_edges(store, SCOPE)
    ),
    "count_kept": lambda store, f, t: count_kept(store.selection(SCOPE, f), t, None),
    "score_summary": lambda store, f, t: score_summary(store.selection(SCOPE, f, Bands(0.0, t))),
    "by_source": lambda store, f, t: by_source(store.selection(SCOPE, f, Bands(0.0, t))),
    "by_cluster": lambda store, f, t: by_cluster(store.selection(SCOPE, f, Bands(0.0, t))),
    "by_answer_kind": lambda store, f, t: by_answer_kind(store.selection(SCOPE, f, Bands(0.0, t))),
    "by_answer_length": lambda store, f, t: by_answer_length(
        store.selection(SCOPE, f, Bands(0.0, t))
    ),
    "threshold_for_share": lambda store, f, t: threshold_for_share(store.selection(SCOPE, f), t),
    "threshold_for_tokens": lambda store, f, t: threshold_for_tokens(
        store.selection(SCOPE, f), int(t * 1_000_000)
    ),
    "ecdf": lambda store, f, _: score_ecdf(store.selection(SCOPE, f)),
    "loss_plane": lambda store, f, _: loss_plane(store.selection(SCOPE, f)),
    "status_counts": lambda store, f, _: status_counts(store.selection(SCOPE, f)),
    "by_turn": lambda store, f, _: by_turn(store.selection(SCOPE, f)),
    "score_health": lambda store, f, t: score_health(store.selection(SCOPE, f, Bands(0.0, t))),
    "page, first": lambda store, f, _: fetch_page(store.selection(SCOPE, f)),
    "page, at a threshold": lambda store, f, t: fetch_page(
        store.selection(SCOPE, f), after=Cursor(t, -1), total=0
    ),
    "page, by text-only loss": lambda store, f, _: fetch_page(
        store.selection(SCOPE, f), "-loss_text"
    ),
    "queue, nearest": lambda store, f, t: review_queue(
        store.selection(SCOPE, f), f"threshold:{t}", 200
    ),
    "queue, random": lambda store, f, _: review_queue(store.selection(SCOPE, f), "random", 200),
    "queue, stratified": lambda store, f, _: review_queue(
        store.selection(SCOPE, f), "stratified", 200
    ),
    "sample_detail": lambda store, _, t: sample_detail(store, SCOPE, int(t * 100_000)),
    "comparison with itself": lambda store, f, t: compare_scopes(
        store.selection(SCOPE, f), SCOPE, share=min(t, 1.0)
    ),
    "candidates": lambda store, _, __: read_candidates(store, SCOPE),
}


def measure(question: Question, store: Store, which: Filter, repeat: int) -> str:
    """Return the first time, then median / slowest of the next ones, in ms; CPU in brackets."""
    times, busy = [], []
    for place in range(repeat + 1):
        threshold = 0.05 + 0.9 * place / repeat
        begun, worked = time.perf_counter(), time.process_time()
        question(store, which, threshold)
        times.append((time.perf_counter() - begun) * 1000)
        busy.append((time.process_time() - worked) * 1000)
    median, cpu = statistics.median(times[1:]), statistics.median(busy[1:])
    return f"{times[0]:.0f}, then {median:.1f} / {max(times[1:]):.1f} ({busy[0]:.0f}, {cpu:.1f})"


def threshold_moves(store: Store, which: Filter, repeat: int) -> str:
    """Time all figures of a page after the threshold moves: median / 95th percentile, CPU."""
    names = ("count_kept", "score_summary", "by_source", "by_cluster", "page, at a threshold")
    times, busy = [], []
    for place in range(4 * repeat):
        threshold = 0.05 + 0.9 * place / (4 * repeat)
        begun, worked = time.perf_counter(), time.process_time()
        for name in names:
            QUESTIONS[name](store, which, threshold)
        times.append((time.perf_counter() - begun) * 1000)
        busy.append((time.process_time() - worked) * 1000)
    p95 = sorted(times)[int(0.95 * (len(times) - 1))]
    return f"{statistics.median(times):.0f} / {p95:.0f} ({statistics.median(busy):.0f})"


def resident() -> int:
    """Return the current memory of this process in MB, or the peak so far if that is unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def build(root: Path) -> None:
    """Build the database and print the time, peak memory and file size."""
    report = build_database(open_workspace(root))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    size = open_workspace(root).database.stat().st_size >> 20
    print(f"Build: {report.seconds:.1f} s, peak memory {peak} MB, file {size} MB.\n")


def ask_everything(root: Path, repeat: int) -> None:
    """Print the table of a workspace whose database exists."""
    store = Store(open_workspace(root))
    print("| first, then median / slowest, ms |", end="")
    print("", " | ".join(f"`{f}`" if f else "all" for f in FILTERS), "|")
    print("|---|" + "---|" * len(FILTERS))
    for name, question in QUESTIONS.items():
        times = min(repeat, 3) if name in SLOW else repeat
        cells = [measure(question, store, parse_filter(f), times) for f in FILTERS]
        print(f"| {name} |", " | ".join(cells), "|", flush=True)
        if name == "by_turn":
            moves = [threshold_moves(store, parse_filter(f), repeat) for f in FILTERS]
            print("| **threshold moved: median / p95** |", " | ".join(moves), "|", flush=True)
            everyday = resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"\nMemory of the reading process: {everyday} MB after the figures of four filters,")
    print(f"{resident()} MB after all queries, {peak} MB at the peak (comparison, candidates).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=665_000)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--built", action="store_true", help="the workspace has its database")
    parser.add_argument("--only-build", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_build:
        build(options.workspace)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = options.workspace or Path(folder) / "ws"
        if not root.exists():
            make_large_workspace(root, options.n)

        print(f"## {options.n:,} samples\n")
        load = os.getloadavg()[0]
        print(f"{os.cpu_count()} cores, load {load:.1f}, {platform.machine()}, ", end="")
        print(f"Python {platform.python_version()}.", flush=True)
        if options.built:
            ask_everything(root, options.repeat)
            return
        command = [sys.executable, "-m", "benchmarks.store_queries", "--only-build"]
        subprocess.run([*command, "--workspace", str(root)], check=True)  # noqa: S603 - our own
        ask_everything(root, options.repeat)


if __name__ == "__main__":
    main()
