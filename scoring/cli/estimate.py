"""What ``visnec score --estimate`` says."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scoring.cli.console import print_json, say, table, talk
from scoring.engine.estimate import RunEstimate, TokenStats, estimate_run
from scoring.models.base import VisionLanguageModel
from scoring.workspace import Workspace

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def tell_estimate(
    place: Workspace, model: VisionLanguageModel, *, json: bool, **options: Any
) -> None:
    """Tries a few samples and says what the run will cost."""
    found = estimate_run(place, model, **options)
    rows = [
        ("samples to score", f"{found.n_left:,} ({found.n_done:,} are done)"),
        ("tokens with the image", _tokens(found.tokens_multimodal)),
        ("tokens without it", _tokens(found.tokens_text)),
        ("answer tokens", _tokens(found.answer_tokens)),
        ("preparing a sample", f"{found.prepare_seconds * 1000:,.1f} ms of one core"),
        ("scoring a sample", f"{found.score_seconds * 1000:,.1f} ms"),
    ]
    if found.predict_seconds is not None:
        rows.append(("predicting a sample", f"{found.predict_seconds * 1000:,.1f} ms"))
    rows += [("expected time", _time(found)), ("memory", _memory(found))]
    title = f"Estimate for run {found.run_id}, from {found.n_tried:,} samples tried"
    if found.n_left:
        talk.print(table(title, ["", ""], rows))
    else:
        say(f"Nothing is left to score: all {found.n_samples:,} samples of the run are done.")
    if found.n_tried and not found.statuses.get("scored"):
        counted = ", ".join(f"{status} {n:,}" for status, n in found.statuses.items())
        say(f"None of the samples tried got a score ({counted}); see to that first.")
    if json:
        print_json(asdict(found))


def _tokens(tokens: TokenStats | None) -> str:
    return "-" if tokens is None else f"{tokens.mean:,.0f} a sample, {tokens.most:,} at most"


def _time(found: RunEstimate) -> str:
    least, most = (_duration(seconds) for seconds in found.seconds)
    spent = least if least == most else f"{least} to {most}"
    return f"{spent}, up to {found.samples_per_second:,.1f} samples/s, on one process"


def _duration(seconds: float) -> str:
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.0f} s"


def _memory(found: RunEstimate) -> str:
    said = f"{_gigabytes(found.process_bytes)} of the process"
    if found.device_bytes is None or found.device_total_bytes is None:
        return said
    device = f"{_gigabytes(found.device_bytes)} of {_gigabytes(found.device_total_bytes)}"
    return f"{device} on the GPU, {said}"


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB"
