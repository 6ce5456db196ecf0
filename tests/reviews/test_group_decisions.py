"""One decision on a sample and its near-duplicates, as it is in the logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import decision_feed, open_review_log, read_events
from scoring.reviews.resolution import latest_decisions
from scoring.reviews.reviewer_state import UndoableDecision
from scoring.workspace import Workspace, create_workspace

KEEP, DROP, UNSURE = Decision.KEEP, Decision.DROP, Decision.UNSURE


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "ws")


def decisions_of(workspace: Workspace, reviewer: str) -> dict[int, Decision]:
    """A reviewer's decisions, from the logs on disk."""
    latest = latest_decisions(read_events(workspace))
    return {
        each.row_idx: each.decision
        for each in latest
        if each.reviewer == reviewer and each.decision
    }


def test_a_decision_on_a_group_leaves_earlier_decisions_alone(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    open_review_log(workspace, "ben", "desk").append([DecisionDraft(3, DROP)])
    log.append([DecisionDraft(2, DROP)])
    shown = DecisionDraft(1, KEEP, "group-a", queue="random", sampling_probability=0.5)
    events = log.append_group(shown, [1, 2, 3, 4])
    assert [(event.row_idx, event.event_id) for event in events] == [
        *((3, "group-a-3"), (4, "group-a-4"), (1, "group-a"))
    ]
    assert {event.queue for event in events} == {"bulk:group:group-a:random"}
    assert [event.sampling_probability for event in events] == [None, None, 0.5]
    latest = latest_decisions(read_events(workspace))
    assert {(each.reviewer, each.row_idx): each.decision for each in latest} == {
        ("ada", 1): KEEP,
        ("ada", 2): DROP,
        ("ada", 3): KEEP,
        ("ada", 4): KEEP,
        ("ben", 3): DROP,
    }
    # The sample on show may have been decided: a person looks at it and decides again.
    log.append_group(DecisionDraft(2, UNSURE, "group-b"), [1])
    assert decisions_of(workspace, "ada") == {1: KEEP, 2: UNSURE, 3: KEEP, 4: KEEP}


def test_a_repeated_decision_on_a_group_writes_only_what_is_missing(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    draft, others = DecisionDraft(1, KEEP, "group-a"), [2, 3]
    log.append([DecisionDraft(3, DROP, "c")])
    events = log.append_group(draft, others)
    log.append([DecisionDraft(3, None, undoes="c")])
    assert log.append_group(draft, others) == events  # not row 3, which was decided back then
    assert decisions_of(workspace, "ada") == {1: KEEP, 2: KEEP}
    # A kill while the lines were written: the event of the draft, which is the last, is missing.
    lines = log.path.read_bytes().splitlines(keepends=True)
    position = next(i for i, line in enumerate(lines) if b'"group-a"' in line)
    log.path.write_bytes(b"".join(lines[:position]) + lines[position][:40])
    log = open_review_log(workspace, "ada", "desk")
    assert [event.row_idx for event in log.append_group(draft, others)] == [2, 1]
    assert decisions_of(workspace, "ada") == {1: KEEP, 2: KEEP, 3: DROP}


def test_an_undo_takes_a_whole_group_back(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, DROP, "a")])
    log.append_group(DecisionDraft(1, KEEP, "group-a"), [2, 3])
    log.append([DecisionDraft(3, UNSURE, "b")])
    undo = DecisionDraft(1, None, "undo-a", undoes="group-a")
    laptop = open_review_log(workspace, "ada", "laptop")
    assert [event.row_idx for event in laptop.append_undo(undo)] == [2, 3, 1]
    assert decisions_of(workspace, "ada") == {1: DROP, 3: UNSURE}
    assert len(laptop.append_undo(undo)) == 1
    laptop.append_undo(DecisionDraft(3, None, "undo-b", undoes="b"))  # about one sample
    assert decisions_of(workspace, "ada") == {1: DROP}
    assert len(list(read_events(workspace))) == 9


def test_the_history_lists_a_group_as_one_decision(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, DROP, "a")])
    log.append_group(DecisionDraft(1, KEEP, "group-a"), [2, 3])
    log.append_bulk([7, 8], DROP)  # on another page
    log.append([DecisionDraft(2, DROP, "b")])
    feed = decision_feed(workspace)
    assert feed.query_state(lambda state: state.list_undoable("ada", 9)) == [
        UndoableDecision("a", 1, "drop", None),
        UndoableDecision("group-a", 1, "keep", "drop", {2: None, 3: None}),
        UndoableDecision("b", 2, "drop", "keep"),
    ]
    assert [event.row_idx for event in log.undo_latest()] == [2]
    assert [event.row_idx for event in log.undo_latest()] == [7, 8]
    assert [event.row_idx for event in log.undo_latest()] == [2, 3, 1]
    assert decisions_of(workspace, "ada") == {1: DROP}
