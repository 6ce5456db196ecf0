"""Measures the time of each selection rule, and its memory in addition to the samples.

    python -m benchmarks.selection [N ...] [--repeat 3]

Creates columns of N samples in memory (19 of 20 scored, six sources, twenty clusters) and prints a
Markdown table: the median time in seconds of a complete ``select`` with 10,000 decisions, and the
peak of the memory that numpy allocated beyond the columns.
Results: benchmarks/results/selection.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from scoring.reviews.decision_log import Decision
from scoring.rules import (
    Ablation,
    AnswerThresholds,
    Band,
    Budget,
    ClusterShare,
    Control,
    DropMisaligned,
    LengthCorrected,
    PaperCodeTopShare,
    PaperTopShare,
    RandomShare,
    RelativeShare,
    Rule,
    SourceShare,
    Threshold,
    TopCount,
    TopShare,
    TopTokens,
    Weights,
)
from scoring.rules.candidates import ANSWER_KINDS, STATUSES, Candidates
from scoring.samples import Status
from scoring.subsets.comparison import compare_subsets
from scoring.subsets.selection import repeat_counts, select
from scoring.subsets.stability import inclusion_probabilities

SOURCES = ("charts", "chat", "digits", "documents", "scenes", "words")
N_CLUSTERS = 20
N_DECISIONS = 10_000


def make_candidates(n: int, seed: int = 7) -> Candidates:
    """Return random columns like those of a scored dataset of this size."""
    draw = np.random.default_rng(seed)
    row_idx = np.arange(n)
    scored = row_idx % 20 != 0
    tokens = np.where(scored, draw.integers(2, 60, n), 0)
    multimodal = np.where(scored, draw.gamma(2.0, 0.4, n), np.nan)
    visnec = np.where(scored, np.round(draw.normal(0.35, 0.5, n), 4), np.nan)
    status = np.where(scored, STATUSES.index(Status.SCORED), STATUSES.index(Status.TEXT_ONLY))
    return Candidates(
        row_idx=row_idx,
        status=status.astype(np.int8),
        source=draw.integers(len(SOURCES), size=n).astype(np.int32),
        sources=SOURCES,
        visnec=visnec,
        loss_text=visnec + multimodal,
        loss_multimodal=multimodal,
        n_answer_tokens=tokens,
        cluster_id=draw.integers(N_CLUSTERS, size=n).astype(np.int32),
        answer_kind=draw.integers(len(ANSWER_KINDS), size=n).astype(np.int8),
    )


def rules(n: int) -> list[Rule]:
    """Return one rule of each kind, selecting about 15 %."""
    count = 15 * n // 100
    return [
        DropMisaligned(),
        Band(0.25, count=count, per="cluster"),
        RelativeShare(0.15),
        Threshold(min=0.25),
        AnswerThresholds(0.25, limits=(("choice", 0.1, None), ("yes/no", 0.1, None))),
        TopShare(0.15),
        TopCount(count),
        TopTokens(30 * count),
        ClusterShare(0.15),
        SourceShare(0.15),
        PaperTopShare(0.15),
        PaperCodeTopShare(0.15),
        LengthCorrected(0.15),
        Budget(count, floor=count // 20, ceiling=count // 4),
        RandomShare(0.15),
        Ablation("text-loss"),
        Control(PaperTopShare(0.15), per="cluster"),
        Weights("softmax", 0.5),
        Weights("rank", 0.5),
    ]


def measure(work: Callable[[], object], repeat: int) -> str:
    """Return median seconds and peak memory in MB, as two table cells."""
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return f"{statistics.median(times):.2f} | {peak / 2**20:,.0f}"


def report(n: int, repeat: int) -> None:
    found = make_candidates(n)
    draw = np.random.default_rng(1)
    decided_rows = draw.choice(n, N_DECISIONS, replace=False).tolist()
    hand = {row: (Decision.KEEP, Decision.DROP)[row % 2] for row in decided_rows}
    size = sum(getattr(found, name).nbytes for name in found.__slots__ if name != "sources")
    print(f"## {n:,} samples\n\nTheir columns take {size / 2**20:,.0f} MB.\n")
    print("| rule | seconds | MB beyond the columns |\n|---|---|---|")
    for rule in rules(n):
        cells = measure(lambda rule=rule: select(rule, found, hand), repeat)  # type: ignore[misc]
        print(f"| `{rule}` | {cells} |", flush=True)
    a, b = select(PaperTopShare(0.15), found), select(TopShare(0.15), found)
    weights = select(Weights("softmax", 0.5), found).weights
    assert weights is not None  # noqa: S101
    others: dict[str, Callable[[], object]] = {
        "difference of two subsets": lambda: compare_subsets(a, b, found),
        "repeat counts of weights": lambda: repeat_counts(found.row_idx, weights),
        "stability of `paper`, each draw": lambda: inclusion_probabilities(
            PaperTopShare(0.15), found, "bfloat16", n_draws=1
        ),
    }
    for name, work in others.items():
        print(f"| {name} | {measure(work, repeat)} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="*", default=[665_000, 5_000_000])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, ")
    print(f"numpy {np.__version__}, load average {os.getloadavg()[0]:.1f}.\n")
    for n in options.n:
        report(n, options.repeat)


if __name__ == "__main__":
    main()
