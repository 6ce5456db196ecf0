"""Compares the speed and the exactness of the engine with the paper's way of scoring.

    python -m benchmarks.scoring [--device cpu|cuda] [--shape mid|7b|tiny] [--per-image 1 2.67 8]

Both run on one LLaVA with random weights and the same JPEG files, in one process and in turns.
The reference processes one sample at a time, with two full forward passes, all logits and the
model's own loss; the engine is the product's Scorer, or with --as-a-run (on a GPU always) a whole
run over an imported dataset, with --embedded over records with a copy of their image each. Opening,
resizing and tokenising count in both. Prints a Markdown report with the bars for operations, wall
time and CPU time, each judged separately, and exits with an error if the two disagree on a score.
On a GPU the default is the shape of LLaVA-1.5-7B in bfloat16; without a GPU one line reports that.
Results: benchmarks/results/scoring.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._scoring_setup import SHAPES, build_model, make_samples, run_scores
from scoring.engine.plan import CHUNK_ROWS
from scoring.engine.preparation import Preparer
from scoring.engine.scorer import Scorer
from scoring.models.base import EncodedSample
from scoring.models.batching import TokenBudget
from scoring.models.forward import LossEngine
from scoring.models.hf import HfModel
from scoring.samples import Sample

Scores = list[tuple[float, float]]
"""(multimodal loss, text-only loss) of each sample, in nats per answer token."""

BARS = {1.0: 1.3, 2.67: 3.0, 8.0: 5.0}  # samples per image: ratio, for the shape mid on a CPU
RATE_BARS = {1.0: 27.0, 2.0: 40.0}  # samples per image: samples/s, for the shape 7b on a GPU
MATRIX_BAR = 0.6  # share of the matrix rate, there
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.05, "float16": 0.02}


@dataclass(frozen=True, slots=True)
class Bench:
    """A model and how it is measured."""

    model: HfModel
    folder: Path
    repeat: int
    as_a_run: bool  # as in a run: samples are prepared ahead in threads, results written to parts
    embedded: bool = False  # such a run, over records with their images inside a Parquet file

    @property
    def network(self) -> Any:
        """The transformers model."""
        return self.model.network

    @property
    def device(self) -> torch.device:
        """The device that it runs on."""
        return torch.device(self.network.device)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one repetition: wall time and CPU time."""

    wall: float
    cpu: float


def score_reference(bench: Bench, samples: Sequence[Sample]) -> Scores:
    """Score the paper's way: one sample at a time, all logits, the model's own mean loss."""
    scores = []
    for sample in samples:
        with Image.open(bench.folder / sample.images[0]) as opened:
            image = opened.convert("RGB")
        multimodal = bench.model.encode(sample.turns, [image])
        text = bench.model.encode(sample.turns, ())
        scores.append((_model_loss(bench, multimodal), _model_loss(bench, text)))
    return scores


def _model_loss(bench: Bench, sample: EncodedSample) -> float:
    ids = torch.tensor([sample.input_ids])  # (1, length)
    turns = torch.tensor([sample.turn_ids])  # (1, length)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **sample.inputs}
    inputs["labels"] = torch.where(turns >= 0, ids, -100)
    dtype = bench.network.dtype
    moved = {
        key: value.to(bench.device, dtype if value.is_floating_point() else value.dtype)
        for key, value in inputs.items()
    }
    with torch.inference_mode():
        return float(bench.network(**moved, use_cache=False).loss)


def score_engine(bench: Bench, samples: Sequence[Sample]) -> Scores:
    """Score the product's way: a run over an imported dataset, or the engine in one thread."""
    if bench.as_a_run:
        return run_scores(bench.model, bench.folder, samples, embedded=bench.embedded)
    scorer = Scorer(Preparer(bench.model, [bench.folder]))
    windows = [samples[start : start + CHUNK_ROWS] for start in range(0, len(samples), CHUNK_ROWS)]
    outcomes = [score for window in windows for score in scorer.score(scorer.prepare(window))]
    return [(_or_nan(score.loss_multimodal), _or_nan(score.loss_text)) for score in outcomes]


def _or_nan(loss: float | None) -> float:
    return float("nan") if loss is None else loss


def measure_time(bench: Bench, work: Callable[[], Scores]) -> tuple[Scores, Timing]:
    """Return the result of ``work`` and how long it took."""
    _synchronize(bench)
    wall, cpu = time.perf_counter(), time.process_time()
    scores = work()
    _synchronize(bench)
    return scores, Timing(time.perf_counter() - wall, time.process_time() - cpu)


def _synchronize(bench: Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.synchronize(bench.device)


def compare_scores(
    bench: Bench, samples: Sequence[Sample]
) -> tuple[list[tuple[Timing, Timing]], float]:
    """Return timings of (reference, engine) in turns, and their largest loss difference in nats."""
    pairs, worst = [], 0.0
    for _ in range(bench.repeat):
        expected, slow = measure_time(bench, lambda: score_reference(bench, samples))
        scores, fast = measure_time(bench, lambda: score_engine(bench, samples))
        pairs.append((slow, fast))
        worst = max(worst, largest_difference(expected, scores))
    return pairs, worst


def largest_difference(expected: Scores, actual: Scores) -> float:
    """Return the largest loss difference in nats; infinite if a score is missing."""
    gaps = [
        abs(left - right) if right == right else float("inf")
        for pair in zip(expected, actual, strict=True)
        for left, right in zip(*pair, strict=True)
    ]
    return max(gaps)


def count_flops(work: Callable[[], object]) -> float:
    """Return the floating-point operations of ``work`` in matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def least_flops(bench: Bench, samples: Sequence[Sample]) -> float:
    """Return the minimum for any exact method: each image and each prefix of a text, once.

    The vision tower runs once per image; the language model once for each distinct prefix of a
    token sequence (with the same image); the head, and all of the last layer except its keys and
    values, at the answer tokens of both passes.
    """
    images: dict[str, EncodedSample] = {}
    multimodal: dict[str, list[tuple[int, ...]]] = {}
    text: list[tuple[int, ...]] = []
    answers = 0
    for sample in samples:
        name = sample.images[0]
        with Image.open(bench.folder / name) as opened:
            encoded = bench.model.encode(sample.turns, [opened.convert("RGB")])
        images[name] = encoded
        multimodal.setdefault(name, []).append(encoded.input_ids)
        text.append(bench.model.encode(sample.turns, ()).input_ids)
        answers += 2 * len(encoded.answer_ids)
    tokens = sum(map(_distinct_beginnings, multimodal.values())) + _distinct_beginnings(text)
    layers = bench.network.model.language_model.layers
    last_attention = layers[-1].self_attn
    everywhere = _count_weights(*layers[:-1], last_attention.k_proj, last_attention.v_proj)
    at_answers = _count_weights(*layers, bench.network.get_output_embeddings()) - everywhere
    pixels = next(iter(images.values())).inputs["pixel_values"]
    pixels = pixels.to(bench.device, bench.network.dtype)
    with torch.inference_mode():
        vision = count_flops(lambda: bench.network.model.get_image_features(pixel_values=pixels))
    return vision * len(images) + 2 * everywhere * tokens + 2 * at_answers * answers


def _count_weights(*modules: torch.nn.Module) -> int:
    """Return the number of weights in matrix products."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.ndim == 2)


def _distinct_beginnings(sequences: Sequence[tuple[int, ...]]) -> int:
    """Return the number of nodes in the prefix tree of the sequences."""
    total, before = 0, ()
    for sequence in sorted(sequences):
        pairs = enumerate(zip(before, sequence, strict=False))
        shared = min(len(before), len(sequence))
        total += len(sequence) - next((at for at, (a, b) in pairs if a != b), shared)
        before = sequence
    return total


def matrix_rate(bench: Bench) -> float:
    """Return the floating-point operations per second of a large matrix product: best of several.

    On a CPU these are seconds of CPU time, which other processes do not lengthen.
    """
    clock = time.perf_counter if bench.device.type == "cuda" else time.process_time
    side = 8192 if bench.device.type == "cuda" else 1024
    left = torch.randn(side, side, device=bench.device).to(bench.network.dtype)
    best = 0.0
    for _ in range(20):
        _synchronize(bench)
        started = clock()
        left @ left
        _synchronize(bench)
        best = max(best, 2 * side**3 / (clock() - started))
    return best


def overhead_ms(bench: Bench, samples: Sequence[Sample]) -> float:
    """Return the engine's own milliseconds per sample: both passes, with a free network."""
    kept = bench.model.answer_losses
    bench.model.answer_losses = LossEngine(
        _FreeNetwork(bench.network), 0, bench.model.capabilities, TokenBudget(1 << 14)
    ).answer_losses
    try:
        scorer = Scorer(Preparer(bench.model, [bench.folder]))
        prepared = scorer.prepare(samples)
        times = []
        for _ in range(7):
            started = time.process_time()
            scorer.score(prepared)
            times.append(time.process_time() - started)
    finally:
        bench.model.answer_losses = kept
    return statistics.median(times) / len(samples) * 1000


class _FreeNetwork:
    """Returns zeros of the right shape at once, which leaves only the engine's own work."""

    device = torch.device("cpu")
    dtype = torch.float32
    training = False

    def __init__(self, network: Any) -> None:
        text = SimpleNamespace(hidden_size=512, vocab_size=32000, _attn_implementation="sdpa")
        self.config = SimpleNamespace(
            image_token_id=network.config.image_token_id, get_text_config=lambda: text
        )
        self.base_model = self
        self._tokens = network.config.image_seq_length
        self._layers = [SimpleNamespace(mlp=torch.nn.Identity())]

    def get_decoder(self) -> Any:
        """Return one layer, which is never called."""
        return SimpleNamespace(layers=self._layers)

    def get_image_features(self, pixel_values: torch.Tensor, return_dict: bool = True) -> Any:
        """Return zeros for each image token."""
        del return_dict
        return _Pooled([torch.zeros(self._tokens, 8) for _ in pixel_values])

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        return (torch.zeros(*input_ids.shape, 8),)

    def get_output_embeddings(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a head with equal logits for the tokenizer's 1500 tokens."""
        return lambda hidden: torch.zeros(len(hidden), 1500)


class _Pooled(SimpleNamespace):
    def __init__(self, pooler_output: Any) -> None:
        super().__init__(pooler_output=pooler_output)


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report."""

    per_image: float
    n_samples: int
    n_images: int
    pairs: list[tuple[Timing, Timing]]
    worst: float
    reference_flops: float
    engine_flops: float
    least: float

    @property
    def wall_ratio(self) -> float:
        """Median of the paired ratios of wall time."""
        return statistics.median(slow.wall / fast.wall for slow, fast in self.pairs)

    @property
    def cpu_ratio(self) -> float:
        """Median of the paired ratios of CPU time."""
        return statistics.median(slow.cpu / fast.cpu for slow, fast in self.pairs)

    @property
    def flop_ratio(self) -> float:
        """Operations of the reference divided by those of the engine."""
        return self.reference_flops / self.engine_flops

    def samples_per_second(self, side: int) -> float:
        """Return the samples per second: 0 for the reference, 1 for the engine."""
        return self.n_samples / statistics.median(pair[side].wall for pair in self.pairs)

    def flops_per_second(self, on_gpu: bool) -> float:
        """Return the engine's operations per second, with the clock of ``matrix_rate``."""
        seconds = [fast.wall if on_gpu else fast.cpu for _, fast in self.pairs]
        return self.engine_flops / statistics.median(seconds)


def measure(bench: Bench, per_image: float, n_samples: int) -> Result:
    """Measure all figures at ``per_image`` samples per image."""
    n_images = max(1, round(n_samples / per_image))
    samples = make_samples(bench.folder, n_samples, n_images)
    score_engine(bench, samples)  # warm-up
    score_reference(bench, samples[:2])
    pairs, worst = compare_scores(bench, samples)
    return Result(
        per_image=per_image,
        n_samples=n_samples,
        n_images=n_images,
        pairs=pairs,
        worst=worst,
        reference_flops=count_flops(lambda: score_reference(bench, samples)),
        engine_flops=count_flops(lambda: score_engine(bench, samples)),
        least=least_flops(bench, samples),
    )


_COLUMNS = (
    "samples per image",
    "FLOP ratio",
    "time ratio, median (all)",
    "CPU time ratio",
    "samples/s, reference",
    "samples/s, engine",
    "TFLOP per sample: reference, engine, least",
    "engine at share of matrix rate",
    "largest difference, nats",
    "bars",
)


def format_row(result: Result, bench: Bench, peak: float, shape: str) -> str:
    """Return a row of the table."""
    ratios = ", ".join(f"{slow.wall / fast.wall:.2f}" for slow, fast in result.pairs)
    per_sample = [
        f"{value / result.n_samples / 1e12:.4f}"
        for value in (result.reference_flops, result.engine_flops, result.least)
    ]
    cells = (
        f"{result.per_image:g} ({result.n_samples} on {result.n_images})",
        f"{result.flop_ratio:.2f}",
        f"**{result.wall_ratio:.2f}** ({ratios})",
        f"{result.cpu_ratio:.2f}",
        f"{result.samples_per_second(0):.2f}",
        f"{result.samples_per_second(1):.2f}",
        ", ".join(per_sample),
        f"{result.flops_per_second(bench.device.type == 'cuda') / peak:.0%}",
        f"{result.worst:.1e}",
        judge_bars(result, shape)
        if bench.device.type == "cpu"
        else judge_rate(result, peak, shape),
    )
    return "| " + " | ".join(cells) + " |"


def judge_bars(result: Result, shape: str) -> str:
    """Return which bars for these samples per image are reached; they apply to one shape."""
    if shape != "mid" or result.per_image not in BARS:
        return "none set"
    bar = BARS[result.per_image]
    judged = {"FLOP": result.flop_ratio, "clock": result.wall_ratio, "CPU": result.cpu_ratio}
    return f"{bar:g}: " + ", ".join(
        f"{name} {'reached' if ratio >= bar else 'MISSED'}" for name, ratio in judged.items()
    )


def judge_rate(result: Result, peak: float, shape: str) -> str:
    """Return which bars of a GPU are reached; they apply to one shape."""
    if shape != "7b":
        return "none set"
    share = result.flops_per_second(on_gpu=True) / peak
    judged = [f"matrix rate {'reached' if share >= MATRIX_BAR else 'MISSED'}"]
    if result.per_image in RATE_BARS:
        bar, rate = RATE_BARS[result.per_image], result.samples_per_second(1)
        judged.append(f"{bar:g}/s {'reached' if rate >= bar else 'MISSED'}")
    return ", ".join(judged)


def describe_gpu_use(bench: Bench, samples: Sequence[Sample]) -> str:
    """Return the memory of the device, and how much of a run it waits for decoding and writing."""
    scorer = Scorer(Preparer(bench.model, [bench.folder]))
    windows = [samples[start : start + CHUNK_ROWS] for start in range(0, len(samples), CHUNK_ROWS)]
    prepared = [scorer.prepare(window) for window in windows]
    torch.cuda.reset_peak_memory_stats(bench.device)
    _, alone = measure_time(bench, lambda: [scorer.score(each) for each in prepared] and [])
    _, run = measure_time(bench, lambda: score_engine(bench, samples))
    peak = torch.cuda.max_memory_allocated(bench.device) / 2**30
    return (
        f"At most {peak:.1f} GiB of the device's memory. A run took {run.wall:.2f} s and scoring "
        f"what was already decoded {alone.wall:.2f} s: the device waited for decoding, tokenising "
        f"and writing in at most {max(0.0, 1 - alone.wall / run.wall):.0%} of the run."
    )


def describe_machine(bench: Bench, peak: float) -> str:
    """Return a description of the machine."""
    device = bench.device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{os.cpu_count()} cores, {torch.get_num_threads()} thread(s) used"
    dtype = str(bench.network.dtype).removeprefix("torch.")
    return (
        f"{name}, {platform.machine()}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, {dtype}; a matrix product reaches {peak / 1e12:.3f} TFLOP/s."
    )


def print_report(options: argparse.Namespace, folder: Path) -> None:
    """Measure and print; exit with an error if the scores differ."""
    dtype = options.dtype or ("bfloat16" if options.device == "cuda" else "float32")
    model = build_model(SHAPES[options.shape], options.device, dtype)
    bench = Bench(model, folder, options.repeat, options.as_a_run, options.embedded)
    peak = matrix_rate(bench)
    images = ", embedded images" if options.embedded else ""
    print(f"## LLaVA of shape `{options.shape}`, {dtype}{images}\n")
    print(describe_machine(bench, peak))
    print(f"Shortcuts used by the engine: {', '.join(model.capabilities.names)}.\n")
    print("| " + " | ".join(_COLUMNS) + " |")
    print("|" + "---|" * len(_COLUMNS), flush=True)
    for per_image in options.per_image:
        result = measure(bench, per_image, options.samples)
        if result.worst > TOLERANCE[dtype]:
            limit = TOLERANCE[dtype]
            sys.exit(f"The scores differ by {result.worst:.2e} nats; {limit} is allowed.")
        print(format_row(result, bench, max(peak, matrix_rate(bench)), options.shape), flush=True)
    if bench.device.type == "cpu":
        samples = make_samples(folder, 64, 24)
        overhead = overhead_ms(bench, samples)
        print(f"\nThe engine alone, without decoding and tokenising: {overhead:.2f} ms per sample.")
    else:
        print(
            "\n" + describe_gpu_use(bench, make_samples(folder, options.samples, options.samples))
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=sorted(SHAPES))
    parser.add_argument("--dtype", choices=sorted(TOLERANCE))
    parser.add_argument("--per-image", type=float, nargs="+", default=None)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--as-a-run",
        action="store_true",
        help="measure a whole run, with threads and parts (always on a GPU)",
    )
    parser.add_argument(
        "--embedded",
        action="store_true",
        help="as --as-a-run, over a Parquet file with a copy of its image in each record",
    )
    options = parser.parse_args(arguments)
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("No CUDA device here: nothing was measured.")
        return
    options.as_a_run |= on_gpu or options.embedded
    options.shape = options.shape or ("7b" if on_gpu else "mid")
    options.samples = options.samples or (192 if on_gpu else 16)
    options.per_image = options.per_image or ([1, 2, 2.67, 4, 8] if on_gpu else [1, 2.67, 8])
    if not on_gpu:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        print_report(options, Path(folder))


if __name__ == "__main__":
    main()
