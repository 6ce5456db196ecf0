"""One decision log on disk: the form of an event, and reading and appending to its file.

An event is a decision, a note, an edit of the record or an undo of an earlier event. Versions that
do not know edits read one as an event without effect.

A random draw is recorded with everything that its population depends on (filter, scores, band
limits), so later readers of a decision know which samples it represents. Older logs record only
the queue; such a draw counts as one from all samples.

A log is a file of JSON lines that is never rewritten. An event counts once its line ends in a
newline. A kill in the middle of a write leaves an unfinished last line: readers skip it, and the
next writer ends it before writing. So complete lines count, a torn line counts as damaged, and it
never hides another decision.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from scoring.errors import InputError, VisnecError
from scoring.reviews.edits import parse_edit
from scoring.unicode_text import replace_surrogates

LOCK_SECONDS = 30.0
_TAIL_BYTES = 512  # the end of what was read, compared before reading further

STRATIFIED = "stratified"
BULK = "bulk:"  # prefix of a bulk decision's queue; the rest identifies the bulk decision
GROUP = f"{BULK}group:"  # prefix for a decision on a sample and its near-duplicates


@dataclass(frozen=True, slots=True)
class Draw:
    """What a random queue drew from: the samples under ``filter``, in its written form.

    ``stratified`` draws sample each stratum of source and category separately, by the scores of
    ``run_id`` and ``baseline`` and the limits ``low`` and ``high`` in nats per answer token.
    Without a ``run_id`` the scores are unknown, and those in view are used.
    """

    stratified: bool = False
    filter: str = ""
    run_id: str | None = None
    baseline: str | None = None
    clustering_id: str | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        given = {
            name: value for name, value in asdict(self).items() if value not in (None, False, "")
        }
        limits = {"low": self.low, "high": self.high}  # a limit of 0 is recorded too
        given |= {name: limit for name, limit in limits.items() if limit is not None}
        return json.dumps(given, ensure_ascii=False, allow_nan=False)


class Decision(StrEnum):
    """A person's decision on a sample."""

    KEEP = "keep"
    DROP = "drop"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class DecisionDraft:
    """A decision, note, edit or undo to be written. Raises InputError for an invalid draft.

    ``event_id`` comes from the browser if it may send the draft again. ``decision`` None with
    ``undoes`` is an undo; ``decision`` None alone only sets the note. ``note`` None keeps an
    earlier note, an empty one removes it. ``queue`` and ``sampling_probability`` record how the
    sample was shown to the reviewer, so shares among the decisions can be generalised to the
    dataset. ``decided_at`` is ISO 8601 with a time zone, by default now. ``draw`` is the written
    form of the :class:`Draw` that selected the sample, None if none did. ``edit`` is the written
    form of an :class:`~scoring.reviews.edits.Edit`, which has a note of its own.
    """

    row_idx: int
    decision: Decision | None
    event_id: str | None = None
    note: str | None = None
    queue: str | None = None
    sampling_probability: float | None = None
    decided_at: str | None = None
    undoes: str | None = None
    draw: str | None = None
    edit: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.row_idx, bool) or operator.index(self.row_idx) < 0:
            raise InputError(f"A decision needs a row_idx of 0 or more, got {self.row_idx!r}")
        if self.decision is not None and self.decision not in list(Decision):
            raise InputError(f"Invalid decision {self.decision!r}. Use keep, drop or unsure")
        if self.decision is not None and self.undoes is not None:
            raise InputError("An event either decides or undoes. Use two drafts")
        if self.edit is not None:
            parse_edit(self.edit)
            if any(other is not None for other in (self.decision, self.undoes, self.note)):
                raise InputError("An edit is an event of its own. Use two drafts")
        elif self.decision is None and self.undoes is None and self.note is None:
            raise InputError(f"The draft for row {self.row_idx} has no decision, note or undo")
        chance = self.sampling_probability
        if chance is not None and not 0 < chance <= 1:
            raise InputError(f"A sampling probability must be in (0, 1], got {chance!r}")
        if self.draw is not None:
            parse_draw(self.draw)
        _to_utc(self.decided_at)


@dataclass(frozen=True, slots=True)
class DecisionEvent:
    """One line of a log. ``reviewer`` and ``machine`` together name the log."""

    event_id: str
    seq: int
    reviewer: str
    machine: str
    row_idx: int
    decision: Decision | None
    note: str | None
    queue: str | None
    sampling_probability: float | None
    decided_at: str
    undoes: str | None
    draw: str | None = None
    edit: str | None = None

    @property
    def in_bulk(self) -> bool:
        """Whether the decision was made on many samples at once."""
        return (self.queue or "").startswith(BULK)

    @property
    def in_group(self) -> bool:
        """Whether the decision was made on a sample together with its near-duplicates."""
        return (self.queue or "").startswith(GROUP)


@lru_cache(maxsize=1024)  # a log repeats the few draws that its decisions came from
def parse_draw(text: str) -> Draw:
    """Parse the written form of a draw; names of a newer version are ignored.

    Raises InputError for any other text.
    """
    try:
        raw: dict[str, Any] = dict(json.loads(text))
        known: dict[str, Any] = {name: raw[name] for name in asdict(Draw()) if name in raw}
        known |= {name: float(known[name]) for name in ("low", "high") if name in known}
        names = [known.get(name) for name in ("filter", "run_id", "baseline", "clustering_id")]
        if not all(name is None or isinstance(name, str) for name in names):
            raise TypeError
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"Invalid record of a random draw: {text[:80]!r}") from None
    known["stratified"] = bool(known.get("stratified"))
    return Draw(**known)


def unrecorded_draw(queue: str | None) -> str:
    """Return the written draw of a decision that has a probability but no record of its draw."""
    return _UNRECORDED[(queue or "").startswith(STRATIFIED)]


_UNRECORDED = {stratified: str(Draw(stratified)) for stratified in (False, True)}


class LogTail:
    """One log file in memory; each refresh reads what was added since the last one.

    ``refresh`` costs an ``open`` and a ``stat`` if nothing was added. A file that was replaced or
    shortened is read again from the beginning, unless it begins with exactly what was read:
    programs that sync folders replace a log by a longer copy. ``events`` only ever grows; if the
    events that were read no longer count, a new list replaces it. ``ends`` are the offsets after
    each event's newline; ``damaged`` counts finished lines that are not events.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self.events: list[DecisionEvent] = []
        self.ends: list[int] = []
        self.by_id: dict[str, DecisionEvent] = {}
        self.damaged = 0
        self._offset = 0
        self._is_torn = False
        self._tail = b""
        self._digest = hashlib.sha256()
        self._file_id: tuple[int, int] | None = None

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event, 0 for an empty log."""
        return self.events[-1].seq if self.events else 0

    def refresh(self) -> None:
        """Read the lines finished since the last call."""
        with self._reading:
            try:
                with self.path.open("rb") as file:
                    self._reset_if_replaced(file.fileno())
                    file.seek(self._offset)
                    self._add_lines(file.read())
            except FileNotFoundError:
                if self._file_id is not None:
                    self._reset()

    def _reset_if_replaced(self, descriptor: int) -> None:
        stat = os.fstat(descriptor)
        file_id = (stat.st_dev, stat.st_ino)
        if file_id == self._file_id:
            tail = os.pread(descriptor, len(self._tail), self._offset - len(self._tail))
            is_known = tail == self._tail
        else:
            start = hashlib.sha256(os.pread(descriptor, self._offset, 0))
            is_known = start.digest() == self._digest.digest()
        if not is_known:
            self._reset()
        self._file_id = file_id

    def _add_lines(self, data: bytes) -> None:
        finished = data[: data.rfind(b"\n") + 1]
        self._is_torn = len(finished) < len(data)
        for line in finished.splitlines(keepends=True):
            self._offset += len(line)
            event = parse_event(line, machine=self.path.stem.rpartition("@")[2])
            if event is None:
                self.damaged += bool(line.strip())
                continue
            self.events.append(event)
            self.ends.append(self._offset)
            self.by_id.setdefault(event.event_id, event)
        self._tail = (self._tail + finished)[-_TAIL_BYTES:]
        self._digest.update(finished)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer of the log, having read all of it; a torn last line is ended."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        others = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        with self._writing:
            try:
                held = others.acquire(timeout=LOCK_SECONDS, poll_interval=0.002)
            except Timeout:
                raise VisnecError(
                    f"The decision log {self.path.name} has been locked by another process for "
                    f"{LOCK_SECONDS:g} s, so nothing was written. Try again, or end that process"
                ) from None
            with held:
                self.refresh()
                if self._is_torn:
                    self._append_durably(b"\n")
                yield

    def write(self, events: list[DecisionEvent]) -> None:
        """Append the events, with the log locked; returns when they are on disk."""
        if events:
            encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
            lines = [f"{encode(_to_values(event))}\n" for event in events]
            self._append_durably("".join(lines).encode())

    def _append_durably(self, data: bytes) -> None:
        """Append the bytes and read them; returns when they, and a new file's name, are on disk."""
        created = not self.path.exists()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if created:
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self.refresh()


def _to_values(event: DecisionEvent) -> dict[str, Any]:
    """Return the values of a line; only those of edits have the key ``edit``."""
    values = asdict(event)
    if event.edit is None:
        del values["edit"]
    return values


def new_event(
    draft: DecisionDraft, event_id: str, seq: int, reviewer: str, machine: str
) -> DecisionEvent:
    """Return the event of a draft."""
    log = {"event_id": event_id, "seq": seq, "reviewer": reviewer, "machine": machine}
    return _build_event(asdict(draft) | log | {"decided_at": _to_utc(draft.decided_at)})


def parse_event(line: bytes, machine: str = "") -> DecisionEvent | None:
    """Parse a finished line; None if it is not an event.

    ``machine`` is used if the line does not name one.
    """
    try:
        return _build_event({"machine": machine} | json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError, InputError):
        return None


def _build_event(raw: Mapping[str, Any]) -> DecisionEvent:
    def read_text(name: str) -> str | None:
        return None if raw.get(name) is None else replace_surrogates(str(raw[name]))

    decision, chance, draw = raw["decision"], raw.get("sampling_probability"), None
    with suppress(InputError):  # an unreadable draw costs the decision only its weight
        draw = None if raw.get("draw") is None else str(parse_draw(str(raw["draw"])))
    return DecisionEvent(
        event_id=replace_surrogates(str(raw["event_id"])),
        seq=int(raw["seq"]),
        reviewer=replace_surrogates(str(raw["reviewer"])),
        machine=replace_surrogates(str(raw["machine"])),
        row_idx=int(raw["row_idx"]),
        decision=None if decision is None else Decision(decision),
        note=read_text("note"),
        queue=read_text("queue"),
        sampling_probability=None if chance is None else float(chance),
        decided_at=_to_utc(str(raw["decided_at"])),
        undoes=read_text("undoes"),
        draw=draw,
        edit=_read_edit(raw.get("edit")),
    )


def _read_edit(raw: object) -> str | None:
    """Return the written form of an edit; one that cannot be parsed is refused when applied."""
    if raw is None:
        return None
    return replace_surrogates(raw if isinstance(raw, str) else json.dumps(raw))


def _to_utc(moment: str | None) -> str:
    """Return the moment (default now) in UTC to the millisecond: text order is time order."""
    if moment is None:
        return datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise InputError(f"decided_at must be ISO 8601 with a time zone, got {moment!r}")
    return parsed.astimezone(UTC).isoformat(timespec="milliseconds")
