"""People's decisions in a workspace: writing them, and reading all logs.

There is one append-only log per reviewer and machine under ``reviews/``. See ``decision_log`` for
the file, ``resolution`` for which decision is current, ``reviewer_state`` for all logs in memory.
An event is on disk (fsync) before :meth:`ReviewLog.append` returns; an undo is one more event.
Inside a log the sequence number gives the order of events, never the clock; the clock only decides
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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from scoring.errors import InputError
from scoring.reviews.decision_log import (
    BULK,
    GROUP,
    Decision,
    DecisionDraft,
    DecisionEvent,
    LogTail,
    new_event,
)
from scoring.reviews.edit_resolution import SampleEdit
from scoring.reviews.edits import Edit
from scoring.reviews.resolution import LatestDecision
from scoring.reviews.reviewer_state import DecisionState
from scoring.unicode_text import replace_surrogates
from scoring.workspace import Workspace

_SUFFIX = ".jsonl"
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
T = TypeVar("T")


class ReviewLog:
    """The log of one reviewer on one machine; may be shared by threads and by processes."""

    def __init__(self, path: Path, reviewer: str, machine: str, feed: DecisionFeed) -> None:
        self.path = path
        self.reviewer = reviewer
        self.machine = machine
        self._feed = feed
        self._tail = feed.open_tail(path)

    def append(self, drafts: Sequence[DecisionDraft]) -> list[DecisionEvent]:
        """Write the drafts and return their events, in order, once they are on disk.

        A draft whose ``event_id`` is in the log is not written again; its stored event is
        returned. Raises VisnecError while another process keeps the log locked.
        """
        return self._append(lambda: drafts)

    def append_bulk(
        self, rows: Sequence[int], decision: Decision, kept: Sequence[int] = ()
    ) -> list[DecisionEvent]:
        """Write one decision on many samples at once, under a queue of its own.

        ``kept`` are samples that it keeps, such as the best of a group whose others it drops.
        :meth:`undo_bulk` reverts all of it, as does :meth:`undo_latest` while it is the latest.
        """
        name = f"{BULK}{uuid.uuid4().hex[:12]}"
        decisions = dict.fromkeys(rows, decision) | dict.fromkeys(kept, Decision.KEEP)
        return self.append(
            [DecisionDraft(row, each, queue=name) for row, each in decisions.items()]
        )

    def append_group(self, draft: DecisionDraft, others: Sequence[int]) -> list[DecisionEvent]:
        """Write a decision on a sample, and the same on its near-duplicates, as one.

        Of ``others`` those that the reviewer has decided before keep their decision. The event of
        ``draft``, which needs an ``event_id``, is written last: while it is missing, repeating the
        call writes what is missing too, and afterwards nothing. Returns the events in this order.
        """
        shown = replace(draft, queue=f"{GROUP}{draft.event_id}:{draft.queue or ''}")

        def make_drafts() -> list[DecisionDraft]:
            known = self._tail.by_id
            names = {row: f"{draft.event_id}-{row}" for row in others if row != draft.row_idx}
            decided = self._feed.query_state(lambda state: state.list_decided(self.reviewer, names))
            is_complete = draft.event_id in known
            open_rows = [
                DecisionDraft(
                    row, draft.decision, name, queue=shown.queue, decided_at=draft.decided_at
                )
                for row, name in names.items()
                if name in known or not (is_complete or row in decided)
            ]
            return [*open_rows, shown]

        return self._append(make_drafts)

    def append_undo(self, draft: DecisionDraft) -> list[DecisionEvent]:
        """Write an undo; that of a decision on a group reverts all of it that is current.

        ``draft`` needs an ``event_id``; repeating the call writes nothing.
        """

        def make_drafts() -> list[DecisionDraft]:
            if draft.event_id in self._tail.by_id:
                return [draft]
            events = self._feed.query_state(
                lambda state: state.list_group_events(
                    self.reviewer, draft.row_idx, str(draft.undoes)
                )
            )
            others = [
                DecisionDraft(
                    event.row_idx,
                    None,
                    f"{draft.event_id}-{event.row_idx}",
                    undoes=event.event_id,
                    decided_at=draft.decided_at,
                )
                for event in events
                if event.event_id != draft.undoes
            ]
            return [*others, draft]

        return self._append(make_drafts)

    def undo_latest(self) -> list[DecisionEvent]:
        """Revert the latest current decision; returns one undo event, all of a bulk, or none."""
        return self._revert(lambda state: state.find_undo_target(self.reviewer))

    def undo_bulk(self, name: str) -> list[DecisionEvent]:
        """Revert what is still current of the bulk decision of that queue; returns the undos."""
        return self._revert(lambda state: state.list_bulk_events(self.reviewer, name))

    def append_edit(self, row_idx: int, edit: Edit, event_id: str | None = None) -> DecisionEvent:
        """Write an edit of a sample; it replaces the reviewer's earlier one."""
        return self.append([DecisionDraft(row_idx, None, event_id, edit=str(edit))])[0]

    def undo_edit(self, row_idx: int) -> list[DecisionEvent]:
        """Revert the reviewer's edit of a sample; an earlier one is current again."""

        def find_event(state: DecisionState) -> list[DecisionEvent]:
            event = state.find_edit(row_idx, self.reviewer)
            return [] if event is None else [event]

        return self._revert(find_event)

    def _revert(
        self, find_events: Callable[[DecisionState], list[DecisionEvent]]
    ) -> list[DecisionEvent]:
        return self._append(
            lambda: [
                DecisionDraft(event.row_idx, None, undoes=event.event_id)
                for event in self._feed.query_state(find_events)
            ]
        )

    def _append(self, make_drafts: Callable[[], Sequence[DecisionDraft]]) -> list[DecisionEvent]:
        with self._tail.lock():
            new = dict[str, DecisionEvent]()
            events: list[DecisionEvent] = []
            for draft in make_drafts():
                event_id = replace_surrogates(draft.event_id or uuid.uuid4().hex)
                event = self._tail.by_id.get(event_id) or new.get(event_id)
                if event is None:
                    seq = self._tail.last_seq + len(new) + 1
                    event = new_event(draft, event_id, seq, self.reviewer, self.machine)
                    new[event_id] = event
                events.append(event)
            self._tail.write(list(new.values()))
        return events


@dataclass(frozen=True, slots=True)
class DecisionChanges:
    """The current decisions of the samples that changed since an earlier ``version``.

    ``rows`` None means all samples; ``latest`` are their current decisions, ``edits`` their edits.
    """

    version: int
    rows: set[int] | None
    latest: list[LatestDecision]
    edits: list[SampleEdit]


class DecisionFeed:
    """All logs of a workspace in memory, updated with what was added; see :func:`decision_feed`.

    Decisions are resolved again only for the samples of new events.
    """

    def __init__(self, reviews_dir: Path) -> None:
        self._reviews_dir = reviews_dir
        self._lock = threading.Lock()
        self._tails: dict[str, LogTail] = {}
        self._read: dict[str, tuple[list[DecisionEvent], int]] = {}  # a tail's list, and how far
        self._state = DecisionState()
        self._version = 0
        self._changed: dict[int, int] = {}  # row -> version of its last change, the latest last

    def query_state(self, question: Callable[[DecisionState], T]) -> T:
        """Return the answer to ``question`` about the logs as they are now."""
        with self._lock:
            self._refresh()
            return question(self._state)

    def read_changes(self, since: int | None = None) -> DecisionChanges:
        """Return what changed since an earlier answer's ``version``; everything without one."""
        with self._lock:
            self._refresh()
            rows = None
            if since is not None:
                latest_first = reversed(self._changed.items())
                rows = {row for row, _ in takewhile(lambda change: change[1] > since, latest_first)}
            latest, edits = self._state.list_latest(rows), self._state.list_edits(rows)
            return DecisionChanges(self._version, rows, latest, edits)

    def damaged_lines(self) -> dict[str, int]:
        """Return the number of lines that are not events, torn or damaged, by name of the log."""
        with self._lock:
            self._refresh()
            return {tail.path.stem: tail.damaged for tail in self._tails.values() if tail.damaged}

    def open_tail(self, path: Path) -> LogTail:
        """Return the log at ``path`` in memory, for its writer."""
        with self._lock:
            return self._tails.setdefault(path.name, LogTail(path))

    def _refresh(self) -> None:
        for path in _log_paths(self._reviews_dir):
            self._tails.setdefault(path.name, LogTail(path))
        for name, tail in self._tails.items():
            tail.refresh()
            events = tail.events
            known, n_known = self._read.get(name, (events, 0))
            is_replaced = known is not events
            start = 0 if is_replaced else n_known
            new = events[start:]
            self._read[name] = events, start + len(new)
            update = self._state.replace_log if is_replaced else self._state.extend_log
            changed = update(name, new) if new or is_replaced else set()
            self._version += bool(changed)
            for row_idx in changed:
                self._changed.pop(row_idx, None)
                self._changed[row_idx] = self._version


@lru_cache(maxsize=8)
def decision_feed(workspace: Workspace) -> DecisionFeed:
    """Return the workspace's logs in memory, shared by all callers in this process."""
    return DecisionFeed(workspace.reviews_dir)


def open_review_log(workspace: Workspace, reviewer: str, machine: str | None = None) -> ReviewLog:
    """Open the log of a reviewer on this machine; the file is created with the first event.

    A reviewer may have any name; outer white space is removed. Raises InputError without a name.
    """
    reviewer = unicodedata.normalize("NFC", replace_surrogates(reviewer)).strip()
    machine = replace_surrogates(machine or socket.gethostname())
    machine = unicodedata.normalize("NFC", machine).strip()
    if not reviewer or not machine:
        raise InputError("A decision needs the name of its reviewer. Enter one that is not blank")
    name = f"{_to_file_name(reviewer)}@{_to_file_name(machine)}"
    path = workspace.reviews_dir / f"{name}{_SUFFIX}"
    return ReviewLog(path, reviewer, machine, decision_feed(workspace))


def read_events(
    workspace: Workspace, until: Mapping[str, int] | None = None
) -> Iterator[DecisionEvent]:
    """Read the events of all logs, log by log in the order of their names, each in sequence.

    With ``until`` (log name -> last sequence number, from :func:`log_offsets`) the logs are read
    as they were then; a log that is not in it did not exist.
    """
    for log in _read_logs(workspace):
        last = math.inf if until is None else until.get(log.path.stem, 0)
        yield from (event for event in log.events if event.seq <= last)


def read_edits(workspace: Workspace, rows: Iterable[int] | None = None) -> list[SampleEdit]:
    """Return the current edit of each edited sample, ascending by row_idx; of all or these rows."""
    return decision_feed(workspace).query_state(lambda state: state.list_edits(rows))


def find_events(workspace: Workspace, event_ids: Collection[str]) -> dict[str, DecisionEvent]:
    """Return the events with these ids, undone or not; ids that no log has are absent."""
    wanted = set(event_ids)
    events = read_events(workspace) if wanted else ()
    return {event.event_id: event for event in events if event.event_id in wanted}


def log_offsets(workspace: Workspace) -> dict[str, int]:
    """Return log name -> sequence number of its last finished event, for logs with events."""
    return {log.path.stem: log.last_seq for log in _read_logs(workspace) if log.events}


def log_digests(workspace: Workspace, offsets: Mapping[str, int]) -> dict[str, str]:
    """Return the SHA-256 of each log's bytes up to and including the event of the given number.

    A log that is missing, or has no such event, is left out.
    """
    digests: dict[str, str] = {}
    for log in _read_logs(workspace):
        ends = {event.seq: end for event, end in zip(log.events, log.ends, strict=True)}
        end = ends.get(offsets.get(log.path.stem, 0))
        if end is not None:
            with log.path.open("rb") as file:
                digests[log.path.stem] = hashlib.sha256(file.read(end)).hexdigest()
    return digests


def logs_generation(workspace: Workspace) -> str:
    """Return a key that changes whenever a log changes or appears; costs one ``stat`` per log."""
    states = []
    with suppress(FileNotFoundError), os.scandir(workspace.reviews_dir) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                with suppress(FileNotFoundError):  # removed meanwhile
                    stat = entry.stat()
                    states.append(f"{entry.name}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(states)).encode()).hexdigest()[:16]


def _read_logs(workspace: Workspace) -> Iterator[LogTail]:
    for path in _log_paths(workspace.reviews_dir):
        log = LogTail(path)
        log.refresh()
        yield log


def _log_paths(reviews_dir: Path) -> list[Path]:
    """Return the logs of a workspace, ascending by file name."""
    paths = reviews_dir.glob(f"*{_SUFFIX}")
    return sorted(path for path in paths if not path.name.startswith("."))


def _to_file_name(name: str) -> str:
    """Return part of a file name for any text: plain lower-case names unchanged, others hashed.

    Upper-case letters are not plain, because some file systems ignore case.
    """
    if _PLAIN_NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24]
    return f"{slug}~{digest}"
