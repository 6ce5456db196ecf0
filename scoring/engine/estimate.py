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

from scoring.engine.leave_one_out import LeaveOneOutScorer
from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import (
    build_run_record,
    build_scorer,
    left_out_phase,
    scoring_phase,
)
from scoring.engine.plan import Plan
from scoring.engine.predictions import Predictor
from scoring.engine.prefetch import default_threads
from scoring.engine.preparation import Prepared
from scoring.engine.run_counts import RunCounts
from scoring.engine.runner import RunPhase
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.predictions.records import DEFAULT_MAX_NEW_TOKENS, LaterTurns, TurnChoice
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
    """The expected cost of a run on this machine; times are means over all samples tried.

    ``n_left_out`` includes samples that are not scored yet; those that get no score are not scored
    without an image either.
    """

    run_id: str
    n_samples: int
    n_done: int
    n_left: int
    n_tried: int
    n_left_out: int | None  # samples to score without each image; None: not requested
    statuses: dict[str, int]  # of the samples tried
    tokens_multimodal: TokenStats | None
    tokens_text: TokenStats | None
    answer_tokens: TokenStats | None
    prepare_seconds: float
    score_seconds: float
    predict_seconds: float | None
    leave_one_out_seconds: float | None  # preparation included
    samples_per_second: float
    # least and most: preparation completely hidden behind the model's work, and not at all
    seconds: tuple[float, float]
    process_bytes: int
    device_bytes: int | None  # peak GPU memory meanwhile; None on a CPU
    device_total_bytes: int | None


def estimate_run(
    workspace: Workspace,
    model: VisionLanguageModel,
    options: ScoreOptions | None = None,
    *,
    predict: TurnChoice | None = None,
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
        record = begin_run(workspace, record)  # only compares: the record is there
    phase = scoring_phase(workspace, record, options.limit)
    counts = phase.count_rows()
    ranges = _read_ranges(phase.plan, counts, n_samples)
    n_tried = sum(map(len, ranges))
    prepared: list[Prepared] = []
    statuses: Counter[str] = Counter()
    prepare_seconds = score_seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        scorer = build_scorer(workspace, record, model, Path(folder))
        if ranges:
            scorer.score(scorer.prepare(ranges[0]))  # a warm-up
            started = time.perf_counter()
            prepared = [item for samples in ranges for item in scorer.prepare(samples)]
            ready = time.perf_counter()
            # All at once, as in a run: batches are formed from all available samples.
            scores = scorer.score(prepared)[:n_tried]
            score_seconds = (time.perf_counter() - ready) / n_tried
            prepare_seconds = (ready - started) / n_tried
            statuses = Counter(score.status.value for score in scores)
    limit_tokens = max_new_tokens or DEFAULT_MAX_NEW_TOKENS
    predict_seconds = None
    if predict and ranges:
        seconds = _time_predictions(workspace, model, ranges, predict, limit_tokens)
        predict_seconds = seconds / n_tried
    busy = score_seconds + (predict_seconds or 0.0)
    least = max(busy, prepare_seconds / default_threads())
    n_left = counts.total - counts.counts.done
    n_left_out, left_out_prepare, left_out_score = None, 0.0, 0.0
    if options.leave_one_out:
        left_out = left_out_phase(workspace, record, options.limit)
        n_left_out, left_out_prepare, left_out_score = _time_left_out(left_out, model, n_samples)
    hidden = max(left_out_score, left_out_prepare / default_threads())
    left_out_seconds = left_out_prepare + left_out_score
    device_bytes = device_total = None
    if model.info.device.startswith("cuda"):
        import torch

        device_bytes = torch.cuda.max_memory_allocated(model.info.device)
        device_total = torch.cuda.mem_get_info(model.info.device)[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    multimodal = [item.multimodal for item in prepared if item.multimodal is not None]
    text = [item.blind[0] for item in prepared if isinstance(item.blind[0], EncodedSample)]
    return RunEstimate(
        run_id=record.run_id,
        n_samples=counts.total,
        n_done=counts.counts.done,
        n_left=n_left,
        n_tried=n_tried,
        n_left_out=n_left_out,
        statuses=dict(statuses),
        tokens_multimodal=_token_stats([len(encoded.input_ids) for encoded in multimodal]),
        tokens_text=_token_stats([len(encoded.input_ids) for encoded in text]),
        answer_tokens=_token_stats([len(encoded.answer_ids) for encoded in text]),
        prepare_seconds=prepare_seconds,
        score_seconds=score_seconds,
        predict_seconds=predict_seconds,
        leave_one_out_seconds=left_out_seconds if n_left_out else None,
        samples_per_second=1 / least if least else 0.0,
        seconds=(
            n_left * least + (n_left_out or 0) * hidden,
            n_left * (busy + prepare_seconds) + (n_left_out or 0) * left_out_seconds,
        ),
        process_bytes=peak if sys.platform == "darwin" else peak * 1024,
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


def _time_left_out(
    phase: RunPhase, model: VisionLanguageModel, n_samples: int
) -> tuple[int, float, float]:
    """Return how many samples are left to score without each image, and the seconds of preparing
    and of scoring one of them."""
    counts = phase.count_rows()
    samples = [sample for each in _read_ranges(phase.plan, counts, n_samples) for sample in each]
    if not samples:
        return 0, 0.0, 0.0
    scorer = LeaveOneOutScorer(model, phase.workspace.image_roots)
    scorer.compute_rows(scorer.prepare(samples[:1]))  # a warm-up
    started = time.perf_counter()
    items = scorer.prepare(samples)
    ready = time.perf_counter()
    scorer.compute_rows(items)
    n_left = counts.total - counts.counts.done
    return (
        n_left,
        (ready - started) / len(samples),
        (time.perf_counter() - ready) / len(samples),
    )


def _time_predictions(
    workspace: Workspace,
    model: VisionLanguageModel,
    ranges: Sequence[Sequence[Sample]],
    turns: TurnChoice,
    max_new_tokens: int,
) -> float:
    """Return the seconds of predicting all samples, from some of them."""
    pending = [s for samples in ranges for s in samples if s.status is Status.PENDING]
    tasks: list[tuple[LaterTurns | None, list[Sample]]] = [
        (None, [sample for sample in pending if turns != "last" or sample.n_turns == 1])
    ]
    if turns != "first":
        tasks.append((turns, [sample for sample in pending if sample.n_turns > 1]))
    total = 0.0
    for later, samples in tasks:
        subset = samples[:: max(-(-len(samples) // _PREDICTED), 1)]
        predictor = Predictor(
            model, workspace.image_roots, max_new_tokens=max_new_tokens, later=later
        )
        predictor.predict(predictor.prepare(subset[:1]))
        started = time.perf_counter()
        predictor.predict(predictor.prepare(subset))
        if subset:
            total += (time.perf_counter() - started) * len(samples) / len(subset)
    return total


def _token_stats(lengths: Sequence[int]) -> TokenStats | None:
    return TokenStats(sum(lengths) / len(lengths), max(lengths)) if lengths else None
