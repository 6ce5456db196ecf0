"""Measures how much scores vary with the dtype and with the other samples of a batch.

    python -m benchmarks.precision [--samples 300] [--mid-samples 12]

Scores samples of the bundled dataset with the bundled model, and random conversations with a LLaVA
with random weights (the shape ``mid`` of ``benchmarks.scoring``), in float32, bfloat16 and float16:
one by one, in batches, and in batches in another order. Prints a Markdown table of the differences
from float32 one by one, and between batches of the same samples. The rows "logits rounded" show the
dtypes without the float32 output embeddings that scoring uses. Results:
benchmarks/results/precision.md.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._scoring_setup import SHAPES, build_model, make_samples
from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.engine.preparation import Preparer
from scoring.engine.scorer import Scorer
from scoring.models import forward, load_model
from scoring.models.hf import HfModel
from scoring.samples import Sample
from scoring.workspace import create_workspace

WINDOW = 64  # samples passed to the engine at a time, as in a run
SEED = 5
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Setting:
    """A dtype, with or without float32 output embeddings."""

    dtype: str
    rounded: bool = False

    @property
    def name(self) -> str:
        return f"{self.dtype}, logits rounded" if self.rounded else self.dtype


SETTINGS = (
    Setting("float32"),
    Setting("bfloat16", rounded=True),
    Setting("bfloat16"),
    Setting("float16", rounded=True),
    Setting("float16"),
)


@contextmanager
def use_output_embeddings(setting: Setting) -> Iterator[None]:
    """Make the engine compute logits by the setting within the context."""
    before = forward.head_in_float32
    if setting.rounded:
        forward.head_in_float32 = lambda _: nullcontext()  # type: ignore[assignment,arg-type]
    try:
        yield
    finally:
        forward.head_in_float32 = before


def score_samples(
    scorer: Scorer, samples: Sequence[Sample], window: int, order: Sequence[int]
) -> Scores:
    """Return scores in nats per answer token, by index in ``samples``, which run in ``order``."""
    scores = np.full(len(samples), np.nan)
    for start in range(0, len(order), window):
        indices = order[start : start + window]
        outcomes = scorer.score(scorer.prepare([samples[index] for index in indices]))
        for index, outcome in zip(indices, outcomes, strict=True):
            if outcome.visnec is not None:
                scores[index] = outcome.visnec
    return scores


def score_in_batches(scorer: Scorer, samples: Sequence[Sample]) -> tuple[Scores, Scores, Scores]:
    """Return scores one by one, in batches, and in batches in another order."""
    order = list(range(len(samples)))
    shuffled = random.Random(SEED).sample(order, len(order))  # noqa: S311 - not for secrets
    return (
        score_samples(scorer, samples, 1, order),
        score_samples(scorer, samples, WINDOW, order),
        score_samples(scorer, samples, max(2, WINDOW // 5), shuffled),
    )


def format_table(
    title: str, load: Callable[[str], HfModel], roots: list[Path], samples: Sequence[Sample]
) -> list[str]:
    """Return the lines of one model's table."""
    lines = [
        f"### {title}",
        "",
        "| format | rms from float32 | max | rms between batches | max |",
        "|---|---|---|---|---|",
    ]
    exact: Scores | None = None
    for setting in SETTINGS:
        with use_output_embeddings(setting):
            scorer = Scorer(Preparer(load(setting.dtype), roots))
            alone, batched, shuffled = score_in_batches(scorer, samples)
        exact = alone if exact is None else exact
        from_exact = np.concatenate([batched - exact, shuffled - exact])
        between = np.concatenate([batched - alone, shuffled - alone, shuffled - batched])
        cells = [
            f"{figure:.2g}"
            for gap in (from_exact, between)
            for figure in (np.sqrt(np.nanmean(gap**2)), np.nanmax(np.abs(gap)))
        ]
        lines.append(f"| {setting.name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    n_scored = 0 if exact is None else int(np.isfinite(exact).sum())
    return [*lines, "", f"{n_scored} samples with a score; nats per answer token.", ""]


def bundled_samples(folder: Path, count: int) -> tuple[list[Sample], list[Path]]:
    """Return evenly spaced samples of the bundled dataset whose images exist."""
    data = bundled_folder("demo")
    roots = [data / "images"]
    workspace = create_workspace(folder / "workspace")
    import_dataset(workspace, [data / "records.json"], roots)
    present = [
        sample
        for sample in read_samples(workspace)
        if sample.images and all((roots[0] / image).exists() for image in sample.images)
    ]
    return present[:: max(1, len(present) // count)][:count], roots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--mid-samples", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples, roots = bundled_samples(folder, arguments.samples)
        lines = format_table(
            "The bundled model",
            lambda dtype: load_model(BUNDLED_MODEL, device="cpu", dtype=dtype),
            roots,
            samples,
        )
        samples = make_samples(folder, arguments.mid_samples, arguments.mid_samples // 2)
        build = partial(build_model, SHAPES["mid"], "cpu")
        lines += format_table("A LLaVA of random weights, Llama 8 x 512", build, [folder], samples)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
