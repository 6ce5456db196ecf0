"""Decisions of people: who writes them where, and how they are read.

One append-only log per reviewer and machine lies under ``reviews/`` (see ``decision_log`` for
the file itself, ``verdicts`` for what holds in the end). An event is on disk (fsync) before
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from scoring.errors import InputError
from scoring.reviews.decision_log import (
    BULK,
    Decision,
    DecisionDraft,
    DecisionEvent,
    LogTail,
    LogWriter,
    clean_text,
    new_event,
)
from scoring.reviews.verdicts import (
    LatestDecision,
    ReviewerProgress,
    conflicts,
    hand_outcome,
    latest_decisions,
    latest_of_sample,
    reviewer_progress,
    undone_events,
)
from scoring.workspace import Workspace

_SUFFIX = ".jsonl"

__all__ = [
    "Decision",
    "DecisionDraft",
    "DecisionEvent",
    "DecisionFeed",
    "LatestDecision",
    "ReviewLog",
    "ReviewerProgress",
    "conflicts",
    "hand_outcome",
    "latest_decisions",
    "log_digests",
    "log_offsets",
    "logs_generation",
    "open_review_log",
    "read_events",
    "reviewer_progress",
]

_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class ReviewLog:
    """The log of one reviewer on one machine; may be shared by threads and by processes."""

    def __init__(self, path: Path, reviewer: str, machine: str) -> None:
        self.path = path
        self.reviewer = reviewer
        self.machine = machine
        self._tail = LogTail(path)
        self._writer = LogWriter(self._tail)
        self._elsewhere: dict[Path, LogTail] = {}  # logs of this reviewer on other machines

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
        """Takes back one event, or the latest verdict of this log that still holds.

        The latest verdict takes the whole bulk decision with it that it is part of. Returns the
        (last) undo event, or None when there is nothing to take back. Undoing an event twice
        gives the same undo event; undoing an undo brings the verdict back. Raises InputError for
        an event that no log of this reviewer holds.
        """
        with self._writer:
            if new_event_id is not None and new_event_id in self._tail.by_id:
                return self._tail.by_id[new_event_id]
            events = {event.event_id: event for event in self._events_of_reviewer()}
            undone = undone_events(events.values())
            target = self._undo_target(event_id, events, undone)
            if target is None:
                return None
            if target.event_id in undone:
                return events[undone[target.event_id]]
            return self._take_back(target, undone, event_id is None, new_event_id)[-1]

    def undo_latest(self) -> list[DecisionEvent]:
        """As :meth:`undo` of the latest verdict; every undo event, several for a bulk decision."""
        with self._writer:
            events = {event.event_id: event for event in self._events_of_reviewer()}
            undone = undone_events(events.values())
            target = self._undo_target(None, events, undone)
            return [] if target is None else self._take_back(target, undone, True, None)

    def _take_back(
        self,
        target: DecisionEvent,
        undone: Mapping[str, str],
        whole_bulk: bool,
        new_event_id: str | None,
    ) -> list[DecisionEvent]:
        if whole_bulk and target.queue is not None and target.in_bulk:
            return self._append(self._undo_drafts(target.queue, undone))
        draft = DecisionDraft(target.row_idx, None, new_event_id, undoes=target.event_id)
        return self._append([draft])

    def undo_bulk(self, name: str) -> list[DecisionEvent]:
        """Takes back what still holds of the bulk decision of that queue; the undo events."""
        with self._writer:
            undone = undone_events(self._events_of_reviewer())
            return self._append(self._undo_drafts(name, undone))

    def _undo_drafts(self, bulk: str, undone: Mapping[str, str]) -> list[DecisionDraft]:
        """Undos of what still holds of a bulk decision."""
        return [
            DecisionDraft(event.row_idx, None, undoes=event.event_id)
            for event in self._events_of_reviewer()
            if event.queue == bulk and event.decision and event.event_id not in undone
        ]

    def events(self) -> list[DecisionEvent]:
        """All events of this log, in order."""
        self._tail.refresh()
        return list(self._tail.events)

    def _undo_target(
        self,
        event_id: str | None,
        events: Mapping[str, DecisionEvent],
        undone: Mapping[str, str],
    ) -> DecisionEvent | None:
        if event_id is None:
            verdicts = (event for event in reversed(self._tail.events) if event.decision)
            return next((event for event in verdicts if event.event_id not in undone), None)
        if event_id not in events:
            raise InputError(
                f"no event {event_id!r} in the decision logs of {self.reviewer!r}; "
                "a decision can only be undone by the one who made it"
            )
        return events[event_id]

    def _events_of_reviewer(self) -> Iterator[DecisionEvent]:
        """Events of this reviewer on all machines: a host may change its name between two keys."""
        yield from self._tail.events
        for path in sorted(self.path.parent.glob(f"{_file_word(self.reviewer)}@*{_SUFFIX}")):
            if path != self.path:
                tail = self._elsewhere.setdefault(path, LogTail(path))
                tail.refresh()
                yield from tail.events

    def _append(self, drafts: Sequence[DecisionDraft]) -> list[DecisionEvent]:
        known = dict[str, DecisionEvent]()
        answers: list[DecisionEvent] = []
        seq = self._tail.last_seq
        for draft in drafts:
            event_id = clean_text(draft.event_id or uuid.uuid4().hex)
            event = self._tail.by_id.get(event_id) or known.get(event_id)
            if event is None:
                seq += 1
                event = new_event(draft, event_id, seq, self.reviewer, self.machine)
                known[event_id] = event
            answers.append(event)
        self._writer.write(list(known.values()))
        return answers


class DecisionFeed:
    """All logs of a workspace, kept in memory and read on by what was added.

    One per process is enough: a page that looks after each decision reads only the new lines, and
    what holds is worked out anew only for the samples they are about.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._tails: dict[str, LogTail] = {}
        self._by_row: dict[int, list[DecisionEvent]] = {}
        self._latest: dict[int, list[LatestDecision]] = {}
        self._changed: set[int] | None = None  # None: all of them

    def refresh(self) -> list[DecisionEvent]:
        """Events added to any log since the last call; all of them on the first."""
        with self._lock:
            paths = _log_paths(self._workspace)
            known = {name: tail.restarts for name, tail in self._tails.items()}
            self._tails = {
                name: self._tails.get(name) or LogTail(path) for name, path in paths.items()
            }
            fresh = [event for tail in self._tails.values() for event in tail.refresh()]
            kept = {name: tail.restarts for name, tail in self._tails.items() if name in known}
            if kept == known:
                self._take(fresh)
            else:  # a log was replaced or is gone: what was read from it no longer counts
                self._by_row, self._latest, self._changed = {}, {}, None
                self._take([event for tail in self._tails.values() for event in tail.events])
            return fresh

    def _take(self, events: Iterable[DecisionEvent]) -> None:
        rows = set()
        for event in events:
            self._by_row.setdefault(event.row_idx, []).append(event)
            rows.add(event.row_idx)
        for row_idx in rows:
            self._latest[row_idx] = latest_of_sample(self._by_row[row_idx])
        if self._changed is not None:
            self._changed |= rows

    def events(self) -> list[DecisionEvent]:
        """Every event, log by log in the order of their names."""
        self.refresh()
        return [event for tail in self._tails.values() for event in tail.events]

    def history(self, row_idx: int) -> list[DecisionEvent]:
        """Every event about a sample, undone ones and undos included, as they were given."""
        self.refresh()
        found = self._by_row.get(row_idx, ())
        return sorted(found, key=lambda event: (event.decided_at, event.machine, event.seq))

    def latest(self) -> list[LatestDecision]:
        """What holds now, see :func:`latest_decisions`."""
        self.refresh()
        with self._lock:
            return [one for row_idx in sorted(self._latest) for one in self._latest[row_idx]]

    def changes(self) -> tuple[set[int] | None, list[LatestDecision]]:
        """The samples with new events since the last call, and what holds for them now.

        None in place of the samples means all of them: the first time, and after a log was
        replaced. For one asker only, who keeps what it was told.
        """
        self.refresh()
        with self._lock:
            changed, self._changed = self._changed, set()
            rows = self._latest if changed is None else changed
            return changed, [one for row_idx in sorted(rows) for one in self._latest[row_idx]]

    def damaged_lines(self) -> dict[str, int]:
        """Logs with lines that are no events (torn by a kill, or damaged), and how many."""
        self.refresh()
        return {name: tail.damaged for name, tail in self._tails.items() if tail.damaged}


def open_review_log(workspace: Workspace, reviewer: str, machine: str | None = None) -> ReviewLog:
    """The log of a reviewer on this machine; the file appears with the first event.

    A reviewer may have any name; outer white space is removed. Raises InputError without a name.
    """
    reviewer = unicodedata.normalize("NFC", clean_text(reviewer)).strip()
    machine = unicodedata.normalize("NFC", clean_text(machine or socket.gethostname())).strip()
    if not reviewer or not machine:
        raise InputError("a decision needs the name of its reviewer; give one that is not blank")
    name = f"{_file_word(reviewer)}@{_file_word(machine)}"
    return ReviewLog(workspace.reviews_dir / f"{name}{_SUFFIX}", reviewer, machine)


def read_events(
    workspace: Workspace, until: Mapping[str, int] | None = None
) -> Iterator[DecisionEvent]:
    """Events of all logs, log by log in the order of their names, each in sequence.

    With ``until`` (log name -> last sequence number, as :func:`log_offsets` gives it) the logs
    are read as they stood then; a log it does not name did not exist.
    """
    for name, path in _log_paths(workspace).items():
        last = math.inf if until is None else until.get(name, 0)
        yield from (event for event in _read_log(path).events if event.seq <= last)


def log_offsets(workspace: Workspace) -> dict[str, int]:
    """Log name -> sequence number of its last finished event; logs without any are left out."""
    logs = {name: _read_log(path) for name, path in _log_paths(workspace).items()}
    return {name: log.last_seq for name, log in logs.items() if log.events}


def log_digests(workspace: Workspace, offsets: Mapping[str, int]) -> dict[str, str]:
    """SHA-256 of each log's bytes up to and with the event of the given sequence number.

    A log that is missing, or that lacks this number, is left out.
    """
    digests: dict[str, str] = {}
    for name, path in _log_paths(workspace).items():
        log = _read_log(path)
        ends = {event.seq: end for event, end in zip(log.events, log.ends, strict=True)}
        end = ends.get(offsets.get(name, 0))
        if end is not None:
            with path.open("rb") as file:
                digests[name] = hashlib.sha256(file.read(end)).hexdigest()
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


def _log_paths(workspace: Workspace) -> dict[str, Path]:
    """Log name -> file, ascending by name."""
    return {
        path.stem: path
        for path in sorted(workspace.reviews_dir.glob(f"*{_SUFFIX}"))
        if not path.name.startswith(".")
    }


def _file_word(name: str) -> str:
    """A file name's part for any text: plain lower-case names as they are, others with a digest.

    Upper-case letters count as others, because some file systems do not tell them apart.
    """
    if _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24]
    return f"{slug}~{digest}"
