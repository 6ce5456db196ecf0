"""Decisions of people: who writes them where, and how they are read.

One append-only log per reviewer and machine lies under ``reviews/`` (see ``decision_log`` for
the file itself, ``verdicts`` for which decision holds, ``reviewer_state`` for all of them in
memory). An event is on disk (fsync) before
:meth:`ReviewLog.append` returns; an undo is one more event. The one decision behind it: the
sequence number inside a log is the order of events, never the clock; the clock only decides
between two machines of the same reviewer.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import socket
import threading
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from scoring.errors import InputError
from scoring.reviews.decision_log import (
    BULK,
    Decision,
    DecisionDraft,
    DecisionEvent,
    LogTail,
    LogWriter,
    new_event,
)
from scoring.reviews.resolution import LatestDecision
from scoring.reviews.reviewer_state import DecisionState
from scoring.unicode_text import replace_surrogates
from scoring.workspace import Workspace

_SUFFIX = ".jsonl"
T = TypeVar("T")

_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class ReviewLog:
    """The log of one reviewer on one machine; may be shared by threads and by processes."""

    def __init__(self, path: Path, reviewer: str, machine: str, feed: DecisionFeed) -> None:
        self.path = path
        self.reviewer = reviewer
        self.machine = machine
        self._feed = feed
        self._tail = feed.open_tail(path)
        self._writer = LogWriter(self._tail)

    def append(self, drafts: Sequence[DecisionDraft]) -> list[DecisionEvent]:
        """Writes the drafts and returns their events, in order, once they are on disk.

        A draft whose ``event_id`` the log already holds is not written again; its stored event
        is returned. Raises VisnecError when another process keeps the log locked.
        """
        with self._writer:
            return self._append(drafts)

    def append_bulk(self, rows: Sequence[int], decision: Decision) -> list[DecisionEvent]:
        """One verdict on many samples, written at once under a queue of its own.

        :meth:`undo_bulk` takes all of it back, as does :meth:`undo` while it is the latest.
        """
        name = f"{BULK}{uuid.uuid4().hex[:12]}"
        return self.append([DecisionDraft(row, decision, queue=name) for row in rows])

    def undo(
        self, event_id: str | None = None, new_event_id: str | None = None
    ) -> DecisionEvent | None:
        """Takes back one event, or the reviewer's latest verdict that still holds.

        The latest verdict takes the whole bulk decision with it that it is part of. Returns the
        (last) undo event, or None when there is nothing to take back. Undoing an event twice
        gives the same undo event; undoing an undo brings the verdict back. Raises InputError for
        an event that no log of this reviewer holds.
        """
        with self._writer:
            if new_event_id is not None and new_event_id in self._tail.by_id:
                return self._tail.by_id[new_event_id]
            if event_id is None:
                return next(reversed(self._undo_latest(new_event_id)), None)
            event = self._event(event_id)
            undo_id = self._feed.query_state(lambda state: state.find_undo(event))
            if undo_id is not None:
                return self._event(undo_id)
            return self._take_back([event], new_event_id)[0]

    def undo_latest(self) -> list[DecisionEvent]:
        """As :meth:`undo` of the latest verdict; every undo event, several for a bulk decision."""
        with self._writer:
            return self._undo_latest()

    def _undo_latest(self, new_event_id: str | None = None) -> list[DecisionEvent]:
        events = self._feed.query_state(lambda state: state.find_undo_target(self.reviewer))
        return self._take_back(events, new_event_id)

    def undo_bulk(self, name: str) -> list[DecisionEvent]:
        """Takes back what still holds of the bulk decision of that queue; the undo events."""
        with self._writer:
            events = self._feed.query_state(
                lambda state: state.list_bulk_events(self.reviewer, name)
            )
            return self._take_back(events)

    def _take_back(
        self, events: Sequence[DecisionEvent], new_event_id: str | None = None
    ) -> list[DecisionEvent]:
        """Writes an undo of each; ``new_event_id`` is the undo's where there is only one."""
        undo_id = new_event_id if len(events) == 1 else None
        return self._append(
            [DecisionDraft(one.row_idx, None, undo_id, undoes=one.event_id) for one in events]
        )

    def events(self) -> list[DecisionEvent]:
        """All events of this log, in order."""
        self._tail.refresh()
        return list(self._tail.events)

    def _event(self, event_id: str) -> DecisionEvent:
        """An event of this reviewer on any machine: a host may change its name between two keys."""
        event = self._feed.find_event(self.reviewer, event_id)
        if event is None:
            raise InputError(
                f"no event {event_id!r} in the decision logs of {self.reviewer!r}; "
                "a decision can only be undone by the one who made it"
            )
        return event

    def _append(self, drafts: Sequence[DecisionDraft]) -> list[DecisionEvent]:
        known = dict[str, DecisionEvent]()
        answers: list[DecisionEvent] = []
        seq = self._tail.last_seq
        for draft in drafts:
            event_id = replace_surrogates(draft.event_id or uuid.uuid4().hex)
            event = self._tail.by_id.get(event_id) or known.get(event_id)
            if event is None:
                seq += 1
                event = new_event(draft, event_id, seq, self.reviewer, self.machine)
                known[event_id] = event
            answers.append(event)
        self._writer.write(list(known.values()))
        return answers


@dataclass(frozen=True, slots=True)
class DecisionChanges:
    """What holds now for the samples that changed since ``version`` was another.

    ``rows`` None means all samples; ``latest`` is what holds for them.
    """

    version: int
    rows: set[int] | None
    latest: list[LatestDecision]


class DecisionFeed:
    """All logs of a workspace in memory, read on by what was added; see :func:`decision_feed`.

    What holds is worked out again only for the samples that new events are about.
    """

    def __init__(self, reviews_dir: Path) -> None:
        self._reviews_dir = reviews_dir
        self._lock = threading.Lock()
        self._tails: dict[str, LogTail] = {}
        self._taken: dict[str, tuple[list[DecisionEvent], int]] = {}  # a tail's list, and how far
        self._state = DecisionState()
        self._version = 0
        self._changed: dict[int, int] = {}  # row -> version of its last change, the latest last

    def query_state(self, question: Callable[[DecisionState], T]) -> T:
        """What ``question`` answers about the logs as they are now."""
        with self._lock:
            self._refresh()
            return question(self._state)

    def read_changes(self, since: int | None = None) -> DecisionChanges:
        """What changed since an earlier answer's ``version``; everything without one."""
        with self._lock:
            self._refresh()
            rows = None if since is None else self._changed_since(since)
            return DecisionChanges(self._version, rows, self._state.list_latest(rows))

    def _changed_since(self, version: int) -> set[int]:
        latest_first = reversed(self._changed.items())
        return {row for row, _ in takewhile(lambda change: change[1] > version, latest_first)}

    def find_event(self, reviewer: str, event_id: str) -> DecisionEvent | None:
        """An event by its id, None where the reviewer's logs do not hold it."""
        with self._lock:
            self._refresh()
            found = (tail.by_id.get(event_id) for tail in self._tails.values())
            return next((event for event in found if event and event.reviewer == reviewer), None)

    def damaged_lines(self) -> dict[str, int]:
        """Logs with lines that are no events (torn by a kill, or damaged), and how many."""
        with self._lock:
            self._refresh()
            return {tail.path.stem: tail.damaged for tail in self._tails.values() if tail.damaged}

    def open_tail(self, path: Path) -> LogTail:
        """The log at ``path`` in memory, for its writer."""
        with self._lock:
            return self._tails.setdefault(path.name, LogTail(path))

    def _refresh(self) -> None:
        for path in _log_paths(self._reviews_dir):
            self._tails.setdefault(path.name, LogTail(path))
        for name, tail in self._tails.items():
            tail.refresh()
            self._note(self._take(name, tail.events))

    def _note(self, rows: set[int]) -> None:
        """Remembers that these rows changed, for those who ask :meth:`changes` later."""
        self._version += bool(rows)
        for row_idx in rows:
            self._changed.pop(row_idx, None)
            self._changed[row_idx] = self._version

    def _take(self, name: str, events: list[DecisionEvent]) -> set[int]:
        """Adds what a log has grown by, or all of it where it was replaced."""
        known, n_known = self._taken.get(name, (events, 0))
        if known is events:
            fresh = events[n_known:]
            self._taken[name] = events, n_known + len(fresh)
            return self._state.extend_log(name, fresh) if fresh else set()
        fresh = events[:]
        self._taken[name] = events, len(fresh)
        return self._state.replace_log(name, fresh)


@lru_cache(maxsize=8)
def _feed(reviews_dir: Path) -> DecisionFeed:
    return DecisionFeed(reviews_dir)


def decision_feed(workspace: Workspace) -> DecisionFeed:
    """The workspace's logs in memory, one for all that asks in this process."""
    return _feed(workspace.reviews_dir)


def open_review_log(workspace: Workspace, reviewer: str, machine: str | None = None) -> ReviewLog:
    """The log of a reviewer on this machine; the file appears with the first event.

    A reviewer may have any name; outer white space is removed. Raises InputError without a name.
    """
    reviewer = unicodedata.normalize("NFC", replace_surrogates(reviewer)).strip()
    machine = unicodedata.normalize(
        "NFC", replace_surrogates(machine or socket.gethostname())
    ).strip()
    if not reviewer or not machine:
        raise InputError("a decision needs the name of its reviewer; give one that is not blank")
    name = f"{_file_word(reviewer)}@{_file_word(machine)}"
    path = workspace.reviews_dir / f"{name}{_SUFFIX}"
    return ReviewLog(path, reviewer, machine, decision_feed(workspace))


def read_events(
    workspace: Workspace, until: Mapping[str, int] | None = None
) -> Iterator[DecisionEvent]:
    """Events of all logs, log by log in the order of their names, each in sequence.

    With ``until`` (log name -> last sequence number, as :func:`log_offsets` gives it) the logs
    are read as they stood then; a log it does not name did not exist.
    """
    for path in _log_paths(workspace.reviews_dir):
        last = math.inf if until is None else until.get(path.stem, 0)
        yield from (event for event in _read_log(path).events if event.seq <= last)


def log_offsets(workspace: Workspace) -> dict[str, int]:
    """Log name -> sequence number of its last finished event; logs without any are left out."""
    logs = {path.stem: _read_log(path) for path in _log_paths(workspace.reviews_dir)}
    return {name: log.last_seq for name, log in logs.items() if log.events}


def log_digests(workspace: Workspace, offsets: Mapping[str, int]) -> dict[str, str]:
    """SHA-256 of each log's bytes up to and with the event of the given sequence number.

    A log that is missing, or that lacks this number, is left out.
    """
    digests: dict[str, str] = {}
    for path in _log_paths(workspace.reviews_dir):
        log = _read_log(path)
        ends = {event.seq: end for event, end in zip(log.events, log.ends, strict=True)}
        end = ends.get(offsets.get(path.stem, 0))
        if end is not None:
            with path.open("rb") as file:
                digests[path.stem] = hashlib.sha256(file.read(end)).hexdigest()
    return digests


def logs_generation(workspace: Workspace) -> str:
    """Changes whenever a log grew, appeared or was replaced; costs one ``stat`` per log."""
    state = []
    with suppress(FileNotFoundError), os.scandir(workspace.reviews_dir) as entries:
        logs = [one for one in entries if one.name.endswith(_SUFFIX) and one.name[0] != "."]
        for entry in logs:
            with suppress(FileNotFoundError):  # gone meanwhile: no more than not there
                stat = entry.stat()
                state.append(f"{entry.name}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(state)).encode()).hexdigest()[:16]


def _read_log(path: Path) -> LogTail:
    log = LogTail(path)
    log.refresh()
    return log


def _log_paths(reviews_dir: Path) -> list[Path]:
    """The logs of a workspace, ascending by file name."""
    paths = reviews_dir.glob(f"*{_SUFFIX}")
    return sorted(path for path in paths if not path.name.startswith("."))


def _file_word(name: str) -> str:
    """A file name's part for any text: plain lower-case names as they are, others with a digest.

    Upper-case letters count as others, because some file systems do not tell them apart.
    """
    if _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24]
    return f"{slug}~{digest}"
