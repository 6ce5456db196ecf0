"""How values are written on the screen: counts, shares, scores, times and the names of things.

One place, so that the same figure looks the same on every page: thousands separated by commas,
shares with one decimal, scores in nats with three decimals and a sign, a dash for what is absent.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from scoring.necessity import Category
from scoring.runs.progress import RunProgress
from scoring.samples import Status

ABSENT = "–"
UNKNOWN = "unknown: these scores were computed elsewhere"

STATUS_NAMES: dict[Status, str] = {
    Status.SCORED: "scored",
    Status.PENDING: "pending",
    Status.TEXT_ONLY: "text only",
    Status.VIDEO: "video",
    Status.MISSING_IMAGE: "missing image",
    Status.BAD_IMAGE: "bad image",
    Status.REFUSED_PATH: "refused path",
    Status.BAD_RECORD: "bad record",
    Status.PLACEHOLDER_MISMATCH: "placeholder mismatch",
    Status.NO_ANSWER: "no answer",
    Status.TOO_LONG: "too long",
    Status.TOKEN_MISMATCH: "token mismatch",
    Status.NON_FINITE: "non-finite loss",
    Status.OUT_OF_MEMORY: "out of memory",
}

STATUS_MEANINGS: dict[Status, str] = {
    Status.SCORED: "Both losses are there.",
    Status.PENDING: "Not scored yet; the run has not come to it.",
    Status.TEXT_ONLY: "The record names no image, so there is nothing to compare.",
    Status.VIDEO: "The record names a video.",
    Status.MISSING_IMAGE: "The image file is in none of the image folders.",
    Status.BAD_IMAGE: "The image file cannot be decoded.",
    Status.REFUSED_PATH: "The image path leads out of the image folders and was not opened.",
    Status.BAD_RECORD: "The record could not be understood.",
    Status.PLACEHOLDER_MISMATCH: "Image placeholders and images differ in number.",
    Status.NO_ANSWER: "The conversation holds no answer to score.",
    Status.TOO_LONG: "Longer than the run allows; --truncate scores what fits.",
    Status.TOKEN_MISMATCH: "The two passes did not see the same answer tokens.",
    Status.NON_FINITE: "A loss was not a finite number.",
    Status.OUT_OF_MEMORY: "The sample alone did not fit into memory.",
}

CATEGORY_MEANINGS: dict[Category, str] = {
    Category.MISALIGNED: "the image makes the answer less likely",
    Category.REDUNDANT: "the answer is about as likely without the image",
    Category.VISION_CRITICAL: "the image is needed for the answer",
}

_PHASES = {"score": "scoring", "predict": "writing predictions"}

CHOICES = ("keep", "drop", "unsure")
DECISION_MARKS: dict[str, str] = {"keep": "✓", "drop": "✕", "unsure": "?"}

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
    """``665298`` as ``665,298``."""
    return ABSENT if value is None or math.isnan(value) else f"{int(value):,}"


def share(part: float, whole: float) -> str:
    """``part`` of ``whole`` in per cent, one decimal; a dash where there is no whole."""
    return ABSENT if not whole else f"{100 * part / whole:.1f} %"


def score(value: float | None, digits: int = 3) -> str:
    """A VisNec score in nats per answer token with its sign; what rounds to 0 has none."""
    if value is None or math.isnan(value):
        return ABSENT
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def loss(value: float | None, digits: int = 3) -> str:
    """A loss in nats per answer token."""
    return ABSENT if value is None or math.isnan(value) else f"{value:.{digits}f}"


def limit(value: float) -> str:
    """A threshold, as short as it can be said."""
    return f"{value:.4f}".rstrip("0").rstrip(".").replace("-", "−")


def duration(seconds: float | None) -> str:
    """Seconds in words that a person plans by."""
    if seconds is None or math.isnan(seconds) or seconds < 0:
        return ABSENT
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def size(n_bytes: float) -> str:
    """Bytes in the unit that reads best."""
    for unit in ("B", "KB", "MB", "GB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TB"


def moment(iso: str | None) -> str:
    """An ISO time as ``2026-01-02 03:04 UTC``; what is no time is shown as it is."""
    if not iso:
        return ABSENT
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return iso


def seconds_since(iso: str) -> float | None:
    """Seconds between an ISO time and now, or None where it is no time."""
    try:
        then = datetime.fromisoformat(iso)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return (datetime.now(UTC) - then).total_seconds()


def plural(n: int, one: str, many: str | None = None) -> str:
    """``1 sample``, ``2 samples``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def status_name(status: str) -> str:
    """A status in words; one this version does not know is shown as it is."""
    return STATUS_NAMES[Status(status)] if status in list(Status) else status


def describe_progress(progress: RunProgress, age: float | None) -> str:
    """A run's progress in a sentence; ``age`` is the seconds since it was reported."""
    phase = _PHASES.get(progress.phase, progress.phase)
    done = f"{count(progress.done)} of {count(progress.total)} samples"
    so_far = share(progress.done, progress.total)
    if progress.state == "finished":
        return f"Finished {moment(progress.updated_at)}."
    if progress.state == "stopped":
        return (
            f"Stopped while {phase} at {done} ({so_far}), {moment(progress.updated_at)}. "
            "The same command goes on from there."
        )
    if progress.state == "silent":
        return (
            f"Silent for {duration(age)} while {phase} at {done} ({so_far}): process "
            f"{progress.pid} on {progress.host} may have been killed. The same command goes on "
            "from there."
        )
    left = "" if progress.seconds_left is None else f", {duration(progress.seconds_left)} left"
    several = f", {progress.n_processes} processes" if progress.n_processes > 1 else ""
    lost = f", {plural(progress.n_silent, 'process', 'processes')} lost"
    return (
        f"{phase.capitalize()}: {done} ({so_far}), {progress.rate:,.1f} per second{left}{several}"
        + (lost if progress.n_silent else "")
    )


def describe_error(error: Exception) -> str:
    """An explained error in its own words; one of the disk with the file and what to do."""
    if not isinstance(error, OSError):
        return str(error)
    return (
        f"{error.filename or 'a file'} cannot be written: {error.strerror or error}; make room, or "
        "see to who may write there, and try again"
    )
