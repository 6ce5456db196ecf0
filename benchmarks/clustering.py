"""Measures time and memory of clusters and of a map, from the instructions to the finished files.

    python -m benchmarks.clustering [N] [--map-only] [--embedder NAME] [--texts 2000]

Writes a dataset of N samples with distinct instructions into a temporary folder and clusters it
with vectors that take almost no time (384 dimensions, as from all-MiniLM-L6-v2). The measurement
therefore covers reading, the parts, the matrix and k-means. It then clusters again with another K,
from the parts, and makes a map of principal components from the parts and filters by an area of it.
With --embedder, it also measures the rate of a real embedder. Results:
benchmarks/results/clustering.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scoring.clustering.clusters import cluster_dataset
from scoring.clustering.embedders import load_embedder
from scoring.database.areas import Area
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.queries.overview import sample_count
from scoring.database.score_index.index import open_score_index
from scoring.database.values import Scope
from scoring.maps.make import make_map
from scoring.workspace import Workspace
from tests.synthetic import CLUSTERING_ID, RUN_ID
from tests.synthetic_large import make_large_workspace

SCOPE = Scope(RUN_ID, "none", CLUSTERING_ID)


class FreeEmbedder:
    """Unit vectors from a text's hash, without a model."""

    name = "free"
    weights = "its code"

    def prepare(self, texts: Sequence[str]) -> None:
        """Do nothing: there is nothing to learn."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        seeds = np.array([1 + (hash(text) & 0xFFFF) for text in texts])
        vectors = np.sin(seeds[:, None] * np.arange(1.0, 385.0)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Watch:
    """The peak of this process's private memory, sampled twenty times a second."""

    def __init__(self) -> None:
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, private_memory())

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def private_memory() -> int:
    """Return private memory in bytes, without mapped files, which the system may drop."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def measure_map(workspace: Workspace, n: int) -> None:
    """Make a map, and count the samples inside two polygons with 64 corners."""
    ends: list[tuple[str, float, int]] = []
    with Watch() as watch:
        make_map(
            workspace,
            FreeEmbedder(),
            on_phase=lambda phase: ends.append((phase, time.perf_counter(), watch.peak)),
        )
    for (phase, start, _), (_, end, peak) in pairwise(
        [*ends, ("", time.perf_counter(), watch.peak)]
    ):
        print(f"| {n:,} samples, map: {phase} | {end - start:.1f} | {peak >> 20} |")
    store = Store(workspace)
    open_score_index(store.selection(SCOPE))
    for radius, step in ((300, "first area, 64 corners"), (301, "next area")):
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        corners = zip(500 + radius * np.cos(angles), 500 + radius * np.sin(angles), strict=True)
        where = Filter(area=(Area("map", tuple(corners)),))
        begun = time.perf_counter()
        count = sample_count(store.selection(SCOPE, where))
        seconds = time.perf_counter() - begun
        print(f"| {step}: {count:,} samples | {seconds:.3f} | {private_memory() >> 20} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=665_000)
    parser.add_argument("--embedder")
    parser.add_argument("--map-only", action="store_true", help="no clusters: embed for the map")
    parser.add_argument("--texts", type=int, default=2000)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, ")
    print(f"load average {os.getloadavg()[0]:.1f}.\n")
    print("| step | seconds | peak private memory, MB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_large_workspace(Path(folder) / "ws", options.n, distinct_questions=True)
        steps = {20: "first clustering, K = 20", 30: "second clustering, K = 30, from the parts"}
        for k, step in () if options.map_only else steps.items():
            begun = time.perf_counter()
            with Watch() as watch:
                cluster_dataset(workspace, FreeEmbedder(), k=k)
            seconds = time.perf_counter() - begun
            print(f"| {options.n:,} samples: {step} | {seconds:.1f} | {watch.peak >> 20} |")
        measure_map(workspace, options.n)
    if options.embedder:
        embedder = load_embedder(options.embedder)
        texts = [
            f"What colour is thing number {n} on the left, and why?" for n in range(options.texts)
        ]
        embedder.prepare(texts)
        begun = time.perf_counter()
        with Watch() as watch:
            embedder.embed(texts)
        rate = len(texts) / (time.perf_counter() - begun)
        print(f"\n{embedder.name}: {rate:,.0f} instructions/s ({watch.peak >> 20} MB).")


if __name__ == "__main__":
    main()
