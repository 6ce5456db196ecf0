"""Compares the engine with one plain pass per sample for every family of models, on any device.

    python -m benchmarks.families [--device cpu|cuda] [--dtype float32|bfloat16] [NAME ...]

Builds a tiny model with random weights of each family, in the given dtype, and scores the same
conversations twice: with the product's Scorer, which batches and shares work, and with the model's
own loss, one sample and one full pass at a time. Prints a Markdown table with the differences of
losses in nats per answer token. Exits with an error if the root mean square of a family exceeds the
limit of the dtype, or if a sample has no score. Results on a GPU: benchmarks/results/gpu.md.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks._scoring_setup import make_samples
from benchmarks.scoring import Bench, score_engine, score_reference
from scoring.models import load_model
from tests.engine.test_families import LOADABLE, ROUTED
from tests.families import family_folder

LIMITS = {"float32": 1e-5, "bfloat16": 2e-3}
"""Of the root mean square, in nats: the reference rounds its logits to the dtype, ours does not."""
N_SAMPLES, N_IMAGES = 12, 4


def compare_family(name: str, device: str, dtype: str, folder: Path) -> tuple[float, float]:
    """Return (root mean square, largest) of the differences of losses, in nats."""
    model = load_model(str(family_folder(name)), device=device, dtype=dtype)
    bench = Bench(model, folder, repeat=1, as_a_run=False)
    samples = make_samples(folder, N_SAMPLES, N_IMAGES)
    gaps = [
        abs(left - right)
        for plain, ours in zip(
            score_reference(bench, samples), score_engine(bench, samples), strict=True
        )
        for left, right in zip(plain, ours, strict=True)
    ]
    return math.sqrt(sum(gap**2 for gap in gaps) / len(gaps)), max(gaps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="families; default: all")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=sorted(LIMITS), default="float32")
    options = parser.parse_args()
    limit, failed = LIMITS[options.dtype], []
    where = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"## Families on {where}, {options.dtype}\n")
    print(f"| family | rms, nats | largest, nats | rms at most {limit:g} |\n|---|---|---|---|")
    for name in options.names or LOADABLE:
        with tempfile.TemporaryDirectory() as folder:
            rms, largest = compare_family(name, options.device, options.dtype, Path(folder))
        # Rounding may send a token to another expert, which changes its loss by any amount.
        outcome = "yes" if rms <= limit else "routed" if name in ROUTED else "no"
        failed += [name] if outcome == "no" else []
        print(f"| {name} | {rms:.1e} | {largest:.1e} | {outcome} |", flush=True)
    if failed:
        sys.exit(f"Not within the limit: {', '.join(failed)}")


if __name__ == "__main__":
    main()
