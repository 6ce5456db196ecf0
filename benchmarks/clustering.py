"""What do clusters cost: time and memory from the instructions to the finished clustering?

    python -m benchmarks.clustering [N] [--embedder NAME] [--texts 2000]

Writes a dataset of N samples with distinct instructions into a temporary folder and clusters it
with vectors that cost nothing (384 dimensions, as all-MiniLM-L6-v2 gives), so that what remains
is the reading, the parts, the matrix and the k-means; then clusters again with another K, from
the parts. With --embedder, also the rate of a real embedder. Results:
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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scoring.clustering.clusters import cluster_dataset
from scoring.clustering.embedders import load_embedder
from tests.synthetic_large import make_large_workspace


class FreeEmbedder:
    """Unit vectors from a text's own bytes, without a model."""

    name = "free"
    weights = "its code"

    def prepare(self, texts: Sequence[str]) -> None:
        """Nothing to learn."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        seeds = np.array([1 + (hash(text) & 0xFFFF) for text in texts])
        vectors = np.sin(seeds[:, None] * np.arange(1.0, 385.0)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Watch:
    """The highest private memory of this process, looked at twenty times a second."""

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
    """Bytes that only this process holds; mapped files are left out, the system may drop them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=665_000)
    parser.add_argument("--embedder")
    parser.add_argument("--texts", type=int, default=2000)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, ")
    print(f"load average {os.getloadavg()[0]:.1f}.\n")
    print("| what | seconds | private memory at most, MB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_large_workspace(Path(folder) / "ws", options.n, distinct_questions=True)
        for k, what in ((20, "first clustering, K = 20"), (30, "another, K = 30, from the parts")):
            begun = time.perf_counter()
            with Watch() as watch:
                cluster_dataset(workspace, FreeEmbedder(), k=k)
            seconds = time.perf_counter() - begun
            print(f"| {options.n:,} samples: {what} | {seconds:.1f} | {watch.peak >> 20} |")
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
