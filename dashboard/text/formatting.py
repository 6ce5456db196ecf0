"""How values and names are written on the screen.

One place, so that the same figure looks the same on every page: thousands separated by commas,
shares with one decimal, scores in nats with three decimals and a sign, a dash for a missing value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from scoring.database.values import Scope
from scoring.necessity import Category
from scoring.runs.progress import RunProgress
from scoring.samples import Status

ABSENT = "–"
UNKNOWN = "unknown: these scores were computed elsewhere"

STATUS_NAMES: dict[Status, str] = {status: status.replace("_", " ") for status in Status} | {
    Status.NON_FINITE: "non-finite loss"
}

STATUS_MEANINGS: dict[Status, str] = {
    Status.SCORED: "Both losses were computed.",
    Status.PENDING: "Not scored yet.",
    Status.TEXT_ONLY: "The record has no image, so there is nothing to compare.",
    Status.VIDEO: "The record contains a video.",
    Status.MISSING_IMAGE: "The image was not found or not downloaded.",
    Status.BAD_IMAGE: "The image file cannot be decoded.",
    Status.REFUSED_PATH: "The image path points outside the image folders and was not opened.",
    Status.BAD_RECORD: "The record could not be read, or the model could not process it.",
    Status.PLACEHOLDER_MISMATCH: "The numbers of image placeholders and images differ.",
    Status.NO_ANSWER: "The conversation has no answer to score.",
    Status.TOO_LONG: "Longer than the model or the run allows.",
    Status.TOKEN_MISMATCH: "The two passes did not see the same answer tokens.",
    Status.NON_FINITE: "A loss was not a finite number.",
    Status.OUT_OF_MEMORY: "The sample alone did not fit into memory.",
}

CATEGORY_MEANINGS: dict[Category, str] = {
    Category.MISALIGNED: "the image makes the answer less likely",
    Category.REDUNDANT: "the answer is about as likely without the image",
    Category.VISION_CRITICAL: "the image is needed for the answer",
}

_PHASES = {
    "score": "scoring",
    "predict": "writing predictions",
    "predict_turns": "writing predictions of later answers",
    "leave_one_out": "scoring without each of several images",
}

DECISION_MARKS: dict[str, str] = {"keep": "✓", "drop": "✕", "unsure": "?"}

DUPLICATE_KINDS: dict[str, str] = {
    "samples": "same images, similar text",
    "images": "similar images",
    "questions": "similar questions",
}
"""How the samples of a group of near-duplicates are alike, by what was compared."""

BASELINE_NAMES: dict[str, str] = {
    "none": "no image",
    "reference": "masked placeholder",
    "gray": "grey image",
    "blur": "blurred image",
    "shuffled": "another sample's image",
}

SIGHT_NAMES: dict[str, str] = {
    "seen": "with the image",
    "blind": "without the image",
    "text_model": "text-only model",
}


def count(value: float | None) -> str:
    """Return ``665298`` as ``665,298``."""
    return ABSENT if value is None or math.isnan(value) else f"{int(value):,}"


def share(part: float, whole: float, digits: int = 1) -> str:
    """Return ``part`` as a percentage of ``whole``; a dash if ``whole`` is 0."""
    return ABSENT if not whole else f"{100 * part / whole:.{digits}f} %"


def interval(low: float, high: float) -> str:
    """Return two shares of 1 as ``81 to 94 %``."""
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def score(value: float | None, digits: int = 3) -> str:
    """Return a VisNec score in nats per answer token with its sign; none if it rounds to 0."""
    if value is None or math.isnan(value):
        return ABSENT
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def loss(value: float | None, digits: int = 3) -> str:
    """Return a loss in nats per answer token."""
    return ABSENT if value is None or math.isnan(value) else f"{value:.{digits}f}"


def typeset_minus(text: str) -> str:
    """Return a text with a minus sign instead of the hyphen before a number."""
    return re.sub(r"(?<!\w)-(?=\d)", "−", text)


def limit(value: float, digits: int = 4) -> str:
    """Return a threshold or limit without trailing zeros."""
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if digits else text
    return text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """Return seconds in a unit that suits their size."""
    if seconds is None or math.isnan(seconds) or seconds < 0:
        return ABSENT
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def size(n_bytes: float) -> str:
    """Return bytes in a unit that suits their size."""
    for unit in ("B", "KB", "MB", "GB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TB"


def moment(iso: str | None) -> str:
    """Return an ISO time as ``2026-01-02 03:04 UTC``, and any other text unchanged."""
    if not iso:
        return ABSENT
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return iso


def seconds_since(iso: str) -> float | None:
    """Return the seconds from an ISO time until now; None if it is not a time."""
    try:
        then = datetime.fromisoformat(iso)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return (datetime.now(UTC) - then).total_seconds()


def plural(n: int, singular: str, many: str | None = None) -> str:
    """Return ``1 sample``, ``2 samples``."""
    return f"{n:,} {singular if n == 1 else many or singular + 's'}"


def scope_name(scope: Scope) -> str:
    """Return a run and its blind baseline."""
    return f"{scope.run_id} · {BASELINE_NAMES.get(scope.baseline, scope.baseline)}"


def status_name(status: str) -> str:
    """Return a status in words; one unknown to this version is unchanged."""
    return STATUS_NAMES[Status(status)] if status in list(Status) else status


def status_meaning(status: str) -> str:
    """Return what a status means; empty for one unknown to this version."""
    return STATUS_MEANINGS[Status(status)] if status in list(Status) else ""


def turn_numbers(turns: Sequence[int], n_turns: int) -> str | None:
    """Return which of a sample's answers are meant, such as turns 1 to 3 of 3; None for one answer.

    ``turns`` are 0-based positions among the answers, ascending.
    """
    if n_turns < 2:
        return None
    numbers = [str(turn + 1) for turn in turns]
    if len(turns) > 2 and turns[-1] - turns[0] == len(turns) - 1:
        numbers = [f"{numbers[0]} to {numbers[-1]}"]
    return f"turn{'s' if len(turns) > 1 else ''} {', '.join(numbers)} of {n_turns}"


def describe_progress(progress: RunProgress, age: float | None) -> str:
    """Return a run's progress in a sentence; ``age`` is the seconds since its last report."""
    phase = _PHASES.get(progress.phase, progress.phase)
    done = f"{count(progress.done)} of {count(progress.total)} samples"
    so_far = share(progress.done, progress.total)
    if progress.state == "finished":
        return f"Finished {moment(progress.updated_at)}."
    if progress.state == "stopped":
        return (
            f"Stopped while {phase} at {done} ({so_far}), {moment(progress.updated_at)}. "
            "Run the same command to resume."
        )
    if progress.state == "silent":
        return (
            f"No report for {duration(age)} while {phase} at {done} ({so_far}): process "
            f"{progress.pid} on {progress.host} may have been killed. Run the same command to "
            "resume."
        )
    left = "" if progress.seconds_left is None else f", {duration(progress.seconds_left)} left"
    several = f", {progress.n_processes} processes" if progress.n_processes > 1 else ""
    lost = f", {plural(progress.n_silent, 'process', 'processes')} lost"
    return (
        f"{phase.capitalize()}: {done} ({so_far}), {progress.rate:,.1f} per second{left}{several}"
        + (lost if progress.n_silent else "")
    )


def describe_error(error: Exception) -> str:
    """Return an error's message; for a disk error, the file and what to do."""
    if not isinstance(error, OSError):
        return str(error)
    return (
        f"{error.filename or 'a file'} cannot be written: {error.strerror or error}; free some "
        "space, or check the permissions, and try again"
    )
