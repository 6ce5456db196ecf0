"""What pages write: decisions of the browser, band limits and the derived database.

A decision counts as saved only after :func:`record_decisions` has returned: by then it is on disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from dashboard.data.cache import APP_CACHE
from scoring.database.build.build import build_database
from scoring.database.build.refresh import build_if_outdated
from scoring.database.values import BuildReport
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError, StorageError, VisnecError
from scoring.necessity import Bands
from scoring.reviews.decision_log import Decision, DecisionDraft, DecisionEvent
from scoring.reviews.decisions import ReviewLog, open_review_log
from scoring.workspace import Workspace, open_workspace, save_settings

MAX_NOTE = 2000
_MIN_PAUSE_SECONDS = 5.0

_SentDraft = tuple[DecisionDraft, tuple[int, ...]]
"""A draft, and the near-duplicates that it is about too."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What happened to the drafts that a page sent, by event id.

    ``refused`` drafts are invalid and can never be saved; the page drops them and shows
    ``problem``. ``skipped`` is the number of near-duplicates that a saved decision on a group left
    alone because the reviewer had decided them.
    """

    saved: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)


def record_decisions(
    workspace: Workspace, reviewer: str, drafts: Sequence[Mapping[str, Any]]
) -> Receipt:
    """Save the decisions that a browser sent, in order; sending them again changes nothing.

    Each draft is validated on its own, because one damaged draft must not block the others.

    Raises:
        VisnecError, OSError: If the log cannot be written. Then nothing is saved and the browser
            keeps all of them.
    """
    n_samples = read_dataset_info(workspace).n_samples
    valid: list[_SentDraft] = []
    refused: list[str] = []
    problem = None
    for raw in drafts:
        try:
            valid.append((_parse_draft(raw, n_samples), _parse_others(raw, n_samples)))
        except (InputError, TypeError, ValueError) as error:
            refused.append(str(raw.get("event_id", "")))
            problem = f"a decision was invalid and not saved ({error})"
    skipped = _save_drafts(open_review_log(workspace, reviewer), valid)
    saved = tuple(str(draft.event_id) for draft, _ in valid)
    return Receipt(saved, tuple(refused), problem, skipped)


def _save_drafts(log: ReviewLog, drafts: Sequence[_SentDraft]) -> dict[str, int]:
    """Save drafts in order, and return how many samples each decision on a group left alone."""
    skipped: dict[str, int] = {}
    for is_single, sent in groupby(drafts, lambda each: not each[1] and each[0].undoes is None):
        if is_single:
            log.append([draft for draft, _ in sent])
            continue
        for draft, others in sent:
            if draft.undoes is not None:
                log.append_undo(draft)
            elif n_skipped := len(others) + 1 - len(log.append_group(draft, others)):
                skipped[str(draft.event_id)] = n_skipped
    return skipped


def _parse_others(raw: Mapping[str, Any], n_samples: int) -> tuple[int, ...]:
    """Return the near-duplicates that a decision is about too, without its own sample."""
    others, decision = raw.get("others") or [], raw.get("decision")
    if not isinstance(others, list) or (others and decision is None):
        raise InputError("only a decision can be about several samples")
    for row in others:
        _check_row(row, n_samples)
    return tuple(dict.fromkeys(row for row in others if row != raw.get("row_idx")))


def _parse_draft(raw: Mapping[str, Any], n_samples: int) -> DecisionDraft:
    decision, note = raw.get("decision"), raw.get("note")
    event_id, undoes = raw.get("event_id"), raw.get("undoes")
    row_idx = _check_row(raw.get("row_idx"), n_samples)
    if not isinstance(event_id, str) or not 8 <= len(event_id) <= 64:
        raise InputError(f"{event_id!r} is not an event id")
    if undoes is not None and not isinstance(undoes, str):
        raise InputError(f"{undoes!r} is not an event id")
    return DecisionDraft(
        row_idx=row_idx,
        decision=None if decision is None else Decision(decision),
        event_id=event_id,
        note=None if note is None else str(note)[:MAX_NOTE],
        queue=None if raw.get("queue") is None else str(raw["queue"])[:200],
        sampling_probability=raw.get("sampling_probability"),
        decided_at=raw.get("decided_at"),
        undoes=undoes,
        draw=None if raw.get("draw") is None else str(raw["draw"]),
    )


def _check_row(row: object, n_samples: int) -> int:
    if not isinstance(row, int) or not 0 <= row < n_samples:
        raise InputError(f"the dataset has no row {row!r}")
    return row


def record_bulk(
    workspace: Workspace,
    reviewer: str,
    rows: Sequence[int],
    decision: Decision,
    kept: Sequence[int] = (),
) -> list[DecisionEvent]:
    """Save one decision on many samples; ``undo_bulk`` of the log undoes all of it.

    ``kept`` are samples that it keeps, such as the best of a group whose others it drops.

    Raises:
        InputError: If the dataset lacks one of the rows; then none is saved.
    """
    n_samples = read_dataset_info(workspace).n_samples
    missing = next((row for row in (*rows, *kept) if not 0 <= row < n_samples), None)
    if missing is not None:
        raise InputError(f"the dataset has no row {missing!r}; reload the page")
    return open_review_log(workspace, reviewer).append_bulk(rows, decision, kept)


def save_bands(workspace: Workspace, bands: Bands) -> Workspace:
    """Make these band limits the workspace's defaults; other settings stay as they are on disk."""
    current = open_workspace(workspace.root)
    changed = replace(current, settings=replace(current.settings, bands=bands))
    save_settings(changed)
    return changed


def build_workspace_database(workspace: Workspace) -> BuildReport:
    """Build the derived database from the parts.

    Raises:
        StorageError: If it cannot be written.
        WorkspaceError: If the parts cannot be read.
    """
    try:
        return build_database(workspace)
    except OSError as error:
        raise StorageError(
            f"Cannot build the database of {workspace.root}: {error.strerror or error}. Free some "
            "space, or ask someone with write access to run visnec build."
        ) from error


@dataclass
class _BackgroundBuilds:
    """Keeps the builds of one workspace to one at a time, with pauses."""

    is_building: threading.Lock = field(default_factory=threading.Lock)
    pause_until: float = 0.0


def build_in_background(workspace: Workspace) -> None:
    """Add new parts to the database in a background thread, but not too often.

    A build takes longer the larger the workspace is, so the pause grows with the last build's time.
    """
    builds = APP_CACHE.background_builds.get(workspace.root, _BackgroundBuilds)

    def build() -> None:
        started = time.monotonic()
        try:
            build_if_outdated(workspace, wait=False)
        except (VisnecError, OSError):
            pass  # the page reports the problem when it opens the database itself
        finally:
            ended = time.monotonic()
            builds.pause_until = ended + max(_MIN_PAUSE_SECONDS, 10 * (ended - started))
            builds.is_building.release()

    if time.monotonic() >= builds.pause_until and builds.is_building.acquire(blocking=False):
        threading.Thread(target=build, daemon=True).start()
