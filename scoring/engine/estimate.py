"""Estimates the cost of a run: tokens from encoded samples, time from batches that were run.

Nothing is assumed about model or device. A few ranges of the plan, spread over the samples still to
be scored, are processed by the same code that will score the rest, and the results are discarded.
Ranges rather than single rows, because samples that share an image are adjacent.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import build_run_record, open_shuffled_images, scoring_phase
from scoring.engine.plan import Plan
from scoring.engine.predictions import Predictor
from scoring.engine.prefetch import default_threads
from scoring.engine.preparation import BlindPass, Prepared
from scoring.engine.run_counts import RunCounts
from scoring.engine.scorer import Scorer
from scoring.models.base import VisionLanguageModel
from scoring.predictions.records import DEFAULT_MAX_NEW_TOKENS
from scoring.runs.record import begin_run
from scoring.samples import Sample, Status
from scoring.workspace import Workspace, open_workspace

DEFAULT_SAMPLES = 64
_RANGE_ROWS = 16
_PREDICTED = 32  # generation is slow; fewer would not fill a batch


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Tokens per sample that would be scored: mean and maximum over the samples tried."""

    mean: float
    most: int


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """The expected cost of a run on this machine.

    ``seconds`` is (least, most): preparation completely hidden behind the model's work, and not at
    all. Times per sample are means over the samples tried, including those that get a status
    instead of a score. ``device_bytes`` is the peak GPU memory meanwhile, of
    ``device_total_bytes``; None on a CPU. ``statuses`` are those of the samples tried.
    """

    run_id: str
    n_samples: int
    n_done: int
    n_left: int
    n_tried: int
    statuses: dict[str, int]
    tokens_multimodal: TokenStats | None
    tokens_text: TokenStats | None
    answer_tokens: TokenStats | None
    prepare_seconds: float
    score_seconds: float
    predict_seconds: float | None
    samples_per_second: float
    seconds: tuple[float, float]
    process_bytes: int
    device_bytes: int | None
    device_total_bytes: int | None


def estimate_run(
    workspace: Workspace,
    model: VisionLanguageModel,
    options: ScoreOptions | None = None,
    *,
    predict: bool = False,
    max_new_tokens: int | None = None,
    n_samples: int = DEFAULT_SAMPLES,
) -> RunEstimate:
    """Try ``n_samples`` of the samples that are left; write no part and start no run.

    Raises RunConflictError if the run was started with other settings.
    """
    options = options or ScoreOptions()
    workspace = open_workspace(workspace.root)  # an import may have added image folders since
    record = build_run_record(workspace, model, options)
    if (workspace.run_dir(record.run_id) / "run.json").exists():
        begin_run(workspace, record)  # only compares: the record is there
    phase = scoring_phase(workspace, record, options.limit)
    counts = phase.count_rows()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.arrow"
        scorer = Scorer(
            model,
            workspace.image_roots,
            baselines=options.baselines,
            shuffled=open_shuffled_images(workspace, path, options.baselines),
            truncate=options.truncate,
            tokens=options.tokens,
        )
        ranges = _read_ranges(phase.plan, counts, n_samples)
        timing = _time_scoring(scorer, ranges)
    limit_tokens = max_new_tokens or DEFAULT_MAX_NEW_TOKENS
    predictor = Predictor(model, workspace.image_roots, max_new_tokens=limit_tokens)
    predict_seconds = _time_prediction(predictor, ranges) if predict and ranges else None
    n_left = counts.total - counts.counts.done
    device_bytes, device_total = _device_memory(model.info.device)
    busy = timing.score_seconds + (predict_seconds or 0.0)
    least = max(busy, timing.prepare_seconds / default_threads())
    most = busy + timing.prepare_seconds
    multimodal = [sample.multimodal for sample in timing.prepared if sample.multimodal is not None]
    firsts = [sample.blind[0] for sample in timing.prepared]
    text = [blind.encoded for blind in firsts if isinstance(blind, BlindPass)]
    return RunEstimate(
        run_id=record.run_id,
        n_samples=counts.total,
        n_done=counts.counts.done,
        n_left=n_left,
        n_tried=sum(map(len, ranges)),
        statuses=timing.statuses,
        tokens_multimodal=_token_stats([len(encoded.input_ids) for encoded in multimodal]),
        tokens_text=_token_stats([len(encoded.input_ids) for encoded in text]),
        answer_tokens=_token_stats([len(encoded.answer_ids) for encoded in text]),
        prepare_seconds=timing.prepare_seconds,
        score_seconds=timing.score_seconds,
        predict_seconds=predict_seconds,
        samples_per_second=1 / least if least else 0.0,
        seconds=(n_left * least, n_left * most),
        process_bytes=_process_bytes(),
        device_bytes=device_bytes,
        device_total_bytes=device_total,
    )


def _read_ranges(plan: Plan, counts: RunCounts, n_samples: int) -> list[list[Sample]]:
    """Return open samples in ranges of the plan, spread evenly over the open chunks."""
    chunks = np.flatnonzero(counts.open_rows)
    if not len(chunks):
        return []
    n = max(-(-n_samples // _RANGE_ROWS), 1)
    selected = np.unique(np.linspace(0, len(chunks) - 1, n).round().astype(np.int64))
    size = -(-n_samples // len(selected))
    return [
        plan.read_samples(counts.open_positions(chunk)[:size])
        for chunk in chunks[selected].tolist()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Timing:
    """Prepared samples, and the seconds per sample of both halves of the work."""

    prepared: list[Prepared]
    statuses: dict[str, int]
    prepare_seconds: float
    score_seconds: float


def _time_scoring(scorer: Scorer, ranges: Sequence[Sequence[Sample]]) -> _Timing:
    """Measure preparation and scoring; the first range runs once before, as a warm-up."""
    if not ranges:
        return _Timing([], {}, 0.0, 0.0)
    scorer.score(scorer.prepare(ranges[0]))
    started = time.perf_counter()
    prepared = [item for samples in ranges for item in scorer.prepare(samples)]
    ready = time.perf_counter()
    # All at once, as in a run: batches are formed from all available samples.
    scores = scorer.score(prepared)[: len(prepared)]
    done = time.perf_counter()
    n = len(prepared)
    statuses = dict(Counter(score.status.value for score in scores))
    return _Timing(prepared, statuses, (ready - started) / n, (done - ready) / n)


def _time_prediction(predictor: Predictor, ranges: Sequence[Sequence[Sample]]) -> float:
    """Return the seconds per sample of predicting answers."""
    samples = [
        sample for samples in ranges for sample in samples if sample.status is Status.PENDING
    ]
    if not samples:
        return 0.0
    subset = samples[:: -(-len(samples) // _PREDICTED)]
    predictor.predict(predictor.prepare(subset[:1]))
    started = time.perf_counter()
    predictor.predict(predictor.prepare(subset))
    seconds = (time.perf_counter() - started) / len(subset)
    return seconds * len(samples) / sum(map(len, ranges))


def _token_stats(lengths: Sequence[int]) -> TokenStats | None:
    return TokenStats(sum(lengths) / len(lengths), max(lengths)) if lengths else None


def _process_bytes() -> int:
    """Return the peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _device_memory(device: str) -> tuple[int | None, int | None]:
    """Return (peak, total) memory of a GPU in bytes."""
    if not device.startswith("cuda"):
        return None, None
    import torch

    return torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
