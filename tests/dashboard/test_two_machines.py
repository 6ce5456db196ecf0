"""One reviewer on two machines with a synced folder of logs: pages and library agree."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dashboard.data.reviews import read_own_decisions
from scoring.reviews.decision_log import Decision, DecisionEvent
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import latest_decisions, majority_decisions
from scoring.workspace import Workspace, create_workspace

KEEP, DROP = Decision.KEEP, Decision.DROP


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    created = create_workspace(tmp_path / "ws")
    created.reviews_dir.mkdir(exist_ok=True)
    return created


def event(
    event_id: str, seq: int, decision: Decision | None, clock: str, undoes: str | None = None
) -> DecisionEvent:
    """An event on row 7 at ``clock`` (HH:MM); its machine is added by :func:`write_log`."""
    moment = f"2026-01-02T{clock}:00.000+00:00"
    return DecisionEvent(event_id, seq, "ada", "", 7, decision, None, None, None, moment, undoes)


def write_log(workspace: Workspace, machine: str, *events: DecisionEvent) -> Path:
    """Put a complete log in place by rename, as programs do that sync folders."""
    path = workspace.reviews_dir / f"ada@{machine}.jsonl"
    lines = (json.dumps(asdict(one) | {"machine": machine}) + "\n" for one in events)
    arriving = path.with_name(f".{path.name}.arriving")
    arriving.write_text("".join(lines))
    return arriving.replace(path)


def shown(workspace: Workspace) -> tuple[str | None, int, list[str]]:
    """Return the deck's decision on row 7, its count, and what undo reverts, the last first."""
    own = read_own_decisions(workspace, "ada", [7], 9)
    return own.decided.get(7), own.n_decided, [one.event_id for one in reversed(own.history)]


def exported(workspace: Workspace) -> Decision | None:
    return majority_decisions(latest_decisions(read_events(workspace))).get(7)


def test_an_older_decision_that_arrives_later_does_not_replace_a_newer_one(
    workspace: Workspace,
) -> None:
    write_log(workspace, "desk", event("at-desk", 1, KEEP, "12:05"))
    assert shown(workspace) == ("keep", 1, ["at-desk"])
    write_log(workspace, "laptop", event("at-laptop", 1, DROP, "12:00"))
    assert exported(workspace) is KEEP
    assert shown(workspace) == ("keep", 1, ["at-desk", "at-laptop"])


def test_an_undo_of_an_undo_counts_with_skewed_clocks(workspace: Workspace) -> None:
    first = event("first", 1, KEEP, "12:00")
    redo = event("redo", 2, None, "12:01", undoes="undo")
    write_log(workspace, "desk", first, redo)
    # The laptop's clock is an hour fast.
    write_log(workspace, "laptop", event("undo", 1, None, "13:00", undoes="first"))
    assert exported(workspace) is KEEP
    assert shown(workspace) == ("keep", 1, ["first"])


def test_a_redo_that_arrives_before_its_undo_counts(workspace: Workspace) -> None:
    write_log(
        workspace,
        "desk",
        event("first", 1, KEEP, "12:00"),
        event("redo", 2, None, "12:01", undoes="undo"),
    )
    assert shown(workspace)[0] == "keep"
    write_log(workspace, "laptop", event("undo", 1, None, "13:00", undoes="first"))
    assert exported(workspace) is KEEP
    assert shown(workspace) == ("keep", 1, ["first"])


def test_a_log_that_was_replaced_or_removed_counts_as_it_is_now(workspace: Workspace) -> None:
    first = event("first", 1, KEEP, "12:00")
    path = write_log(workspace, "desk", first, event("second", 2, DROP, "12:01"))
    assert shown(workspace) == ("drop", 1, ["second", "first"])
    write_log(workspace, "desk", first)
    assert exported(workspace) is KEEP
    assert shown(workspace) == ("keep", 1, ["first"])
    path.unlink()
    assert exported(workspace) is None
    assert shown(workspace) == (None, 0, [])


def test_removing_a_log_removes_its_undo(workspace: Workspace) -> None:
    write_log(workspace, "desk", event("first", 1, KEEP, "12:00"))
    path = write_log(workspace, "laptop", event("undo", 1, None, "12:01", undoes="first"))
    assert shown(workspace) == (None, 0, [])
    path.unlink()
    assert exported(workspace) is KEEP
    assert shown(workspace) == ("keep", 1, ["first"])
