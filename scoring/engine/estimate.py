"""What a run will cost, told before it: tokens from samples really encoded, time from batches run.

The one decision behind it: nothing is assumed about model or device. A few stretches of the plan,
spread over what is still to be scored, go through the very code that will score the rest, and
nothing is kept. Stretches, not single rows: samples that share an image lie side by side.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scoring.engine.baselines import SHUFFLED, BaselineSettings
from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import build_run_record, iter_first_images, scoring_phase
from scoring.engine.plan import Plan
from scoring.engine.predictions import Predictor
from scoring.engine.prefetch import default_threads
from scoring.engine.preparation import Blind, Prepared
from scoring.engine.run_counts import RunCounts
from scoring.engine.scorer import Scorer
from scoring.engine.shuffled_images import ShuffledImages, write_shuffled_images
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.predictions.records import DEFAULT_MAX_NEW_TOKENS
from scoring.runs.record import begin_run
from scoring.samples import Sample, Status
from scoring.workspace import Workspace

DEFAULT_SAMPLES = 64
_STRETCH = 16
_PREDICTED = 32  # generation is slow; fewer would not fill a batch


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Tokens per sample that would be scored: mean and most, over the samples tried."""

    mean: float
    most: int


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """The expected cost of a run on this machine.

    ``seconds`` is (least, most): preparation fully hidden behind the model's work, and not at
    all. Times per sample are means over the samples tried, those included that get a status
    instead of a score. ``device_bytes`` is the most that a GPU held meanwhile, of
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
    record = build_run_record(workspace, model, options)
    if (workspace.run_dir(record.run_id) / "run.json").exists():
        begin_run(workspace, record)  # only compares: the record is there
    task = scoring_phase(workspace, record, options.limit)
    tally = RunCounts(task.plan, task.journal, task.wanted, task.baselines)
    chunks = np.flatnonzero(tally.left)
    with tempfile.TemporaryDirectory() as folder:
        cycle = _cycle(workspace, options.baselines, Path(folder))
        scorer = Scorer(
            model,
            workspace.image_roots,
            baselines=options.baselines,
            cycle=cycle,
            truncate=options.truncate,
            tokens=options.tokens,
        )
        stretches = list(_stretches(task.plan, tally, chunks, n_samples))
        tried = _tried(scorer, stretches)
    limit_tokens = max_new_tokens or DEFAULT_MAX_NEW_TOKENS
    predictor = Predictor(model, workspace.image_roots, max_new_tokens=limit_tokens)
    predicted = _predict_seconds(predictor, stretches) if predict and stretches else None
    n_left = tally.total - tally.counts.done
    device_bytes, device_total = _device_memory(model.info.device)
    busy = tried.score_seconds + (predicted or 0.0)
    least = max(busy, tried.prepare_seconds / default_threads())
    most = busy + tried.prepare_seconds
    return RunEstimate(
        run_id=record.run_id,
        n_samples=tally.total,
        n_done=tally.counts.done,
        n_left=n_left,
        n_tried=sum(map(len, stretches)),
        statuses=tried.statuses,
        tokens_multimodal=_tokens([one.multimodal for one in tried.prepared]),
        tokens_text=_tokens([_text(one) for one in tried.prepared]),
        answer_tokens=_answer_tokens([_text(one) for one in tried.prepared]),
        prepare_seconds=tried.prepare_seconds,
        score_seconds=tried.score_seconds,
        predict_seconds=predicted,
        samples_per_second=1 / least if least else 0.0,
        seconds=(n_left * least, n_left * most),
        process_bytes=_process_bytes(),
        device_bytes=device_bytes,
        device_total_bytes=device_total,
    )


def _cycle(workspace: Workspace, blind: BaselineSettings, folder: Path) -> ShuffledImages | None:
    if SHUFFLED not in blind.names:
        return None
    path = folder / "images.arrow"
    write_shuffled_images(path, lambda: iter_first_images(workspace), blind.shuffle_seed)
    return ShuffledImages(path, blind.shuffle_seed)


def _stretches(
    plan: Plan, tally: RunCounts, chunks: NDArray[np.int64], n_samples: int
) -> list[list[Sample]]:
    """Open samples in stretches of the plan, spread evenly over the chunks that have any."""
    if not len(chunks):
        return []
    n = max(-(-n_samples // _STRETCH), 1)
    wanted = np.unique(np.linspace(0, len(chunks) - 1, n).round().astype(np.int64))
    size = -(-n_samples // len(wanted))
    some = [tally.open_positions(chunk)[:size] for chunk in chunks[wanted].tolist()]
    return [plan.read(positions) for positions in some]


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    prepared: list[Prepared]
    statuses: dict[str, int]
    prepare_seconds: float
    score_seconds: float


def _tried(scorer: Scorer, stretches: Sequence[Sequence[Sample]]) -> _Tried:
    """Seconds per sample of both halves; the first stretch goes through once to warm up."""
    if not stretches:
        return _Tried([], {}, 0.0, 0.0)
    scorer.score(scorer.prepare(stretches[0]))
    begun = time.perf_counter()
    prepared = [scorer.prepare(samples) for samples in stretches]
    ready = time.perf_counter()
    statuses: dict[str, int] = {}
    # All at once, as in a run: batches are cut from as many samples as there are.
    together = [one for part in prepared for one in part]
    for score in scorer.score(together)[: len(together)]:
        statuses[score.status.value] = statuses.get(score.status.value, 0) + 1
    done = time.perf_counter()
    n = len(together)
    return _Tried(together, statuses, (ready - begun) / n, (done - ready) / n)


def _predict_seconds(predictor: Predictor, stretches: Sequence[Sequence[Sample]]) -> float:
    samples = [one for part in stretches for one in part if one.status is Status.PENDING]
    n = sum(map(len, stretches))
    if not samples:
        return 0.0
    some = samples[:: -(-len(samples) // _PREDICTED)]
    predictor.predict(predictor.prepare(some[:1]))
    begun = time.perf_counter()
    predictor.predict(predictor.prepare(some))
    return (time.perf_counter() - begun) / len(some) * len(samples) / n


def _text(prepared: Prepared) -> EncodedSample | None:
    blind = prepared.blind[0]
    return blind.encoded if isinstance(blind, Blind) else None


def _tokens(encoded: Sequence[EncodedSample | None]) -> TokenStats | None:
    return _summed([len(one.input_ids) for one in encoded if one is not None])


def _answer_tokens(encoded: Sequence[EncodedSample | None]) -> TokenStats | None:
    return _summed([len(one.answer_ids) for one in encoded if one is not None])


def _summed(lengths: Sequence[int]) -> TokenStats | None:
    return TokenStats(sum(lengths) / len(lengths), max(lengths)) if lengths else None


def _process_bytes() -> int:
    """The most memory that this process held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _device_memory(device: str) -> tuple[int | None, int | None]:
    """(most held so far, all there is) of a GPU, in bytes."""
    if not device.startswith("cuda"):
        return None, None
    import torch

    return torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
