"""Decision logs: nothing a person did is lost, written twice, or moved to another sample."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from scoring.errors import InputError, VisnecError
from scoring.reviews import decision_log
from scoring.reviews.decision_log import Decision, DecisionDraft, DecisionEvent, Draw, parse_draw
from scoring.reviews.decisions import (
    ReviewLog,
    decision_feed,
    log_digests,
    log_offsets,
    logs_generation,
    open_review_log,
    read_events,
)
from scoring.reviews.resolution import (
    LatestDecision,
    find_conflicts,
    latest_decisions,
    majority_decisions,
    reviewer_progress,
)
from scoring.workspace import Workspace, create_workspace, open_workspace

KEEP, DROP, UNSURE = Decision.KEEP, Decision.DROP, Decision.UNSURE
NOON = "2026-01-02T12:00:00+00:00"
LATER = "2026-01-02T13:00:00+00:00"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "ws")


def current(workspace: Workspace) -> dict[int, Decision | None]:
    return {one.row_idx: one.decision for one in latest_decisions(read_events(workspace))}


def latest_now(workspace: Workspace) -> list[LatestDecision]:
    return decision_feed(workspace).query_state(lambda state: state.list_latest())


def undo_event(log: ReviewLog, event: DecisionEvent, undo_id: str | None = None) -> DecisionEvent:
    """Undo one event, as the browser does."""
    return log.append([DecisionDraft(event.row_idx, None, undo_id, undoes=event.event_id)])[0]


def test_a_decision_is_a_line_on_disk_when_append_returns(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    draft = DecisionDraft(7, KEEP, "e1", "naïve 図", "lowest", 0.25, "2026-01-02T13:00:00+01:00")
    [event] = log.append([draft])
    assert log.path == workspace.reviews_dir / "ada@desk.jsonl"
    assert log.path.read_bytes().endswith(b"\n")
    assert json.loads(log.path.read_bytes()) == {
        "event_id": "e1",
        "seq": 1,
        "reviewer": "ada",
        "machine": "desk",
        "row_idx": 7,
        "decision": "keep",
        "note": "naïve 図",
        "queue": "lowest",
        "sampling_probability": 0.25,
        "decided_at": "2026-01-02T12:00:00.000+00:00",
        "undoes": None,
        "draw": None,
    }
    assert list(read_events(workspace)) == [event]


def test_append_flushes_file_and_folder_before_it_returns(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    real = os.fsync

    def remember(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    log = open_review_log(workspace, "ada", "desk")
    monkeypatch.setattr(os, "fsync", remember)
    log.append([DecisionDraft(0, KEEP)])
    assert flushed == ["ada@desk.jsonl", "reviews"]
    log.append([DecisionDraft(1, KEEP)])
    assert flushed == ["ada@desk.jsonl", "reviews", "ada@desk.jsonl"]


def test_an_outbox_may_repeat_its_drafts(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    first = log.append([DecisionDraft(1, KEEP, "a"), DecisionDraft(2, DROP, "b")])
    again = open_review_log(workspace, "ada", "desk")
    second = again.append([DecisionDraft(2, DROP, "b"), DecisionDraft(3, UNSURE, "c")])
    assert second[0] == first[1]
    assert [event.seq for event in read_events(workspace)] == [1, 2, 3]
    repeated = log.append([DecisionDraft(9, DROP, "a"), DecisionDraft(4, KEEP, "d")] * 2)
    assert [event.row_idx for event in repeated] == [1, 4, 1, 4]
    assert [event.event_id for event in read_events(workspace)] == ["a", "b", "c", "d"]


def test_undo_appends_and_restores_the_earlier_decision(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    drafts = [DecisionDraft(5, KEEP, "a"), DecisionDraft(5, DROP, "b"), DecisionDraft(6, KEEP)]
    _, event, _ = log.append(drafts)
    undo = undo_event(log, event, "u1")
    assert (undo.seq, undo.undoes, undo.row_idx, undo.decision) == (4, "b", 5, None)
    assert current(workspace) == {5: KEEP, 6: KEEP}
    assert undo_event(log, event, "u1") == undo  # the outbox sends it again
    undo_event(log, undo)
    assert current(workspace) == {5: DROP, 6: KEEP}
    assert len(list(read_events(workspace))) == 5


def test_undo_latest_reverts_decision_by_decision(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP, "a"), DecisionDraft(2, DROP, "b")])
    log.append([DecisionDraft(2, None, "n", note="look again")])
    undone = [[event.undoes for event in log.undo_latest()] for _ in range(3)]
    assert undone == [["b"], ["a"], []]
    [left] = latest_decisions(read_events(workspace))
    assert (left.row_idx, left.decision, left.note, left.event_id) == (2, None, "look again", "n")


def test_a_bulk_decision_is_undone_completely_without_single_ones(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP, "a")])
    events = log.append_bulk([2, 3, 4], DROP)
    assert len({event.queue for event in events}) == 1
    assert all(event.in_bulk for event in events)
    undo_event(log, events[1])  # one of them alone: that works too
    assert current(workspace) == {1: KEEP, 2: DROP, 4: DROP}
    log.undo_latest()
    assert current(workspace) == {1: KEEP}
    [bulk] = {event.queue for event in log.append_bulk([5, 6], UNSURE)}
    log.append([DecisionDraft(7, KEEP)])
    assert [event.row_idx for event in log.undo_bulk(str(bulk))] == [5, 6]
    assert log.undo_bulk(str(bulk)) == []
    [far] = {
        event.queue for event in open_review_log(workspace, "ada", "laptop").append_bulk([8], KEEP)
    }
    assert [event.row_idx for event in log.undo_bulk(str(far))] == [8]
    assert current(workspace) == {1: KEEP, 7: KEEP}
    log.undo_latest()
    log.undo_latest()
    assert current(workspace) == {}
    assert log.undo_latest() == []


def test_undo_reaches_the_same_reviewer_on_another_machine(workspace: Workspace) -> None:
    [event] = open_review_log(workspace, "Ada L.", "desk").append([DecisionDraft(1, KEEP, "a")])
    undo_event(open_review_log(workspace, "Ada L.", "laptop"), event)
    assert current(workspace) == {}
    assert len(list(workspace.reviews_dir.glob("*.jsonl"))) == 2


def test_order_is_the_sequence_number_not_the_clock(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP, decided_at=LATER), DecisionDraft(1, DROP, decided_at=NOON)])
    assert current(workspace) == {1: DROP}


def test_between_machines_of_a_reviewer_the_later_clock_wins(workspace: Workspace) -> None:
    late = DecisionDraft(1, KEEP, decided_at=LATER, note="sure")
    open_review_log(workspace, "ada", "a").append([late])
    open_review_log(workspace, "ada", "b").append([DecisionDraft(1, DROP, decided_at=NOON)])
    [latest] = latest_decisions(read_events(workspace))
    assert (latest.decision, latest.note) == (KEEP, "sure")


def test_looking_at_a_sample_again_does_not_undo_its_draw(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    draw = str(Draw(filter="source:scenes", run_id="r", baseline="none", low=0.0, high=0.25))
    log.append(
        [
            DecisionDraft(1, DROP, queue="lowest", decided_at="2026-01-02T11:00:00Z"),
            DecisionDraft(1, KEEP, None, None, "random seed 1", 0.25, NOON, draw=draw),
            DecisionDraft(1, DROP, queue="threshold:0.25", decided_at=LATER),
            DecisionDraft(1, KEEP, None, None, "random seed 2", 0.5, LATER),
        ]
    )

    def came() -> tuple[object, ...]:
        [one] = latest_decisions(read_events(workspace))
        return one.decision, one.queue, one.sampling_probability, one.draw, one.drawn_at

    noon = "2026-01-02T12:00:00.000+00:00"
    assert came() == (KEEP, "random seed 1", 0.25, draw, noon)
    [one] = latest_decisions(read_events(workspace))
    assert one.first_decided_at == "2026-01-02T11:00:00.000+00:00"
    open_review_log(workspace, "ada", "laptop").append(
        [DecisionDraft(1, UNSURE, queue="lowest", decided_at="2026-01-02T14:00:00Z")]
    )
    assert came() == (UNSURE, "random seed 1", 0.25, draw, noon)
    undo_event(
        log, list(read_events(workspace))[1]
    )  # the draw is undone with its decision; another remains
    assert came()[1:3] == ("random seed 2", 0.5)


def test_a_draw_that_was_not_recorded_is_one_of_all_samples(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP, queue="stratified seed 1", sampling_probability=0.1)])
    log.append([DecisionDraft(2, KEEP, queue="random seed 1", sampling_probability=0.1)])
    log.append([DecisionDraft(3, KEEP, queue="lowest")])
    latest = latest_decisions(read_events(workspace))
    found = [None if one.draw is None else parse_draw(one.draw) for one in latest]
    assert found == [Draw(stratified=True), Draw(), None]


@pytest.mark.parametrize("text", ["", "x", "[1]", '{"filter": 1}', '{"low": "x"}', "[" * 9000])
def test_an_invalid_draw_is_refused_in_a_draft_and_ignored_in_a_log(
    workspace: Workspace, text: str
) -> None:
    with pytest.raises(InputError, match="Invalid record of a random draw"):
        DecisionDraft(1, KEEP, draw=text)
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP)])
    line = json.loads(log.path.read_bytes()) | {"draw": text, "event_id": "x", "seq": 2}
    with log.path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert [event.draw for event in read_events(workspace)] == [None, None]


def test_notes_stay_until_they_are_replaced_or_removed(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")

    def note() -> str | None:
        return latest_decisions(read_events(workspace))[0].note

    log.append([DecisionDraft(1, KEEP, note="blurred")])
    log.append([DecisionDraft(1, DROP)])
    assert note() == "blurred"
    [event] = log.append([DecisionDraft(1, None, "n", note="too dark")])
    assert note() == "too dark"
    undo_event(log, event)
    assert note() == "blurred"
    log.append([DecisionDraft(1, None, note="")])
    assert note() is None
    assert current(workspace) == {1: DROP}


@pytest.mark.parametrize("end", [1, 5, 40, -2, -1])
def test_a_torn_last_line_hides_nothing_and_is_ended(workspace: Workspace, end: int) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP, "a"), DecisionDraft(2, DROP, "b")])
    whole, torn = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(whole + torn[:end])
    assert current(workspace) == {1: KEEP}
    assert log_offsets(workspace) == {"ada@desk": 1}
    reopened = open_review_log(workspace, "ada", "desk")
    [repeated, fresh] = reopened.append([DecisionDraft(2, DROP, "b"), DecisionDraft(3, KEEP, "c")])
    assert [event.seq for event in read_events(workspace)] == [1, 2, 3]
    assert (repeated.seq, fresh.seq) == (2, 3)
    assert current(workspace) == {1: KEEP, 2: DROP, 3: KEEP}
    # Without its newline (end -1) the line was whole, so it counts and is not damaged.
    damaged = decision_feed(workspace).damaged_lines()
    assert damaged == ({} if end == -1 else {"ada@desk": 1})


def test_damaged_lines_are_counted_and_hide_nothing(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP)])
    bad = [b"\xff\xfe", b"{}", b"[1]", b"null", b'{"event_id": "x", "seq": "y"}', b"[" * 9000]
    with log.path.open("ab") as file:
        file.write(b"\n".join(bad) + b"\n\n")
    log.append([DecisionDraft(2, DROP)])
    assert current(workspace) == {1: KEEP, 2: DROP}
    assert [event.seq for event in read_events(workspace)] == [1, 2]
    assert decision_feed(workspace).damaged_lines() == {"ada@desk": len(bad)}


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a/b\\c",
        "Zoë Müller",
        "图",
        "CON",
        "x" * 5000,
        "a\nb\0c",
        "@",
        ".",
        "🙂",
    ],
)
def test_a_reviewer_may_have_any_name(workspace: Workspace, name: str) -> None:
    log = open_review_log(workspace, name, "host/../x")
    log.append([DecisionDraft(1, KEEP)])
    assert log.path.parent == workspace.reviews_dir
    assert len(log.path.name) < 100
    assert log.path.name.isascii()
    [latest] = latest_decisions(read_events(workspace))
    assert latest.reviewer == name


def test_similar_names_have_separate_logs(workspace: Workspace) -> None:
    names = ["ada", "Ada", "ADA", "a da", "a-da", "a/da", "ádá"]
    for row, name in enumerate(names):
        open_review_log(workspace, f" {name} ", "desk").append([DecisionDraft(row, KEEP)])
    files = [path.name.lower() for path in workspace.reviews_dir.glob("*.jsonl")]
    assert len(set(files)) == len(names)
    assert {event.reviewer for event in read_events(workspace)} == set(names)


def test_one_name_in_two_unicode_forms_is_one_reviewer(workspace: Workspace) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    paths = {open_review_log(workspace, name, "desk").path for name in (composed, decomposed)}
    assert len(paths) == 1


def test_lone_surrogates_never_reach_the_disk(workspace: Workspace) -> None:
    log = open_review_log(workspace, "a\ud800", "desk")
    log.append([DecisionDraft(1, KEEP, "e\udfff", note="x\ud800y")])
    [event] = read_events(workspace)
    assert (event.reviewer, event.event_id, event.note) == ("a?", "e?", "x?y")
    assert log.append([DecisionDraft(1, KEEP, "e\udfff")]) == [event]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row_idx": -1}, "row_idx of 0 or more, got -1"),
        ({"row_idx": True}, "row_idx of 0 or more, got True"),
        ({"decision": "maybe"}, "Invalid decision 'maybe'. Use keep, drop or unsure"),
        ({"undoes": "x"}, "either decides or undoes"),
        ({"decision": None}, "The draft for row 3 has no decision, note or undo"),
        ({"sampling_probability": 0.0}, "must be in .0, 1., got 0.0"),
        ({"sampling_probability": float("nan")}, "got nan"),
        ({"decided_at": "2026-01-02T12:00:00"}, "ISO 8601 with a time zone"),
        ({"decided_at": "yesterday"}, "got 'yesterday'"),
    ],
)
def test_invalid_drafts_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DecisionDraft(**{"row_idx": 3, "decision": KEEP, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "  ", "\n"])
def test_a_decision_needs_a_name(workspace: Workspace, name: str) -> None:
    with pytest.raises(InputError, match="needs the name of its reviewer"):
        open_review_log(workspace, name)


def test_lines_with_fewer_and_with_unknown_keys_are_read(workspace: Workspace) -> None:
    line = {"event_id": "a", "seq": 4, "reviewer": "ada", "row_idx": 2, "decision": "drop"}
    workspace.reviews_dir.mkdir()
    path = workspace.reviews_dir / "ada@desk.jsonl"
    path.write_text(json.dumps(line | {"decided_at": "2026-01-02T12:00:00Z", "mood": 1}) + "\n")
    [event] = read_events(workspace)
    expected = DecisionEvent(
        "a", 4, "ada", "desk", 2, DROP, None, None, None, "2026-01-02T12:00:00.000+00:00", None
    )
    assert event == expected


def held(row: int, reviewer: str, decision: Decision | None) -> LatestDecision:
    return LatestDecision(row, reviewer, decision, None, NOON, f"{row}{reviewer}")


def test_the_majority_decides_and_a_tie_or_unsure_leaves_it_to_the_rule() -> None:
    table: dict[int, list[Decision | None]] = {
        0: [KEEP],
        1: [DROP],
        2: [UNSURE],
        3: [KEEP, DROP],
        4: [KEEP, DROP, KEEP],
        5: [DROP, UNSURE],
        6: [KEEP, DROP, UNSURE],
        7: [None],
        8: [DROP, None, DROP, KEEP],
    }
    latest = [
        held(row, f"r{i}", one) for row, given in table.items() for i, one in enumerate(given)
    ]
    assert majority_decisions(latest) == {0: KEEP, 1: DROP, 4: KEEP, 5: DROP, 8: DROP}
    assert find_conflicts(latest) == [2, 3, 5, 6]


def test_progress_counts_samples_not_events(workspace: Workspace) -> None:
    ada = open_review_log(workspace, "ada", "desk")
    ada.append([DecisionDraft(1, KEEP), DecisionDraft(1, DROP), DecisionDraft(2, UNSURE)])
    ada.append([DecisionDraft(3, KEEP), DecisionDraft(4, None, note="?")])
    ada.undo_latest()
    open_review_log(workspace, "ben", "desk").append([DecisionDraft(9, KEEP, decided_at=NOON)])
    progress = reviewer_progress(latest_now(workspace))
    counts = [(one.reviewer, one.keep, one.drop, one.unsure, one.decided) for one in progress]
    assert counts == [("ada", 0, 1, 1, 2), ("ben", 1, 0, 0, 1)]
    assert progress[1].last_decided_at == "2026-01-02T12:00:00.000+00:00"


def test_all_callers_in_a_process_share_one_view_of_the_logs(
    workspace: Workspace,
) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP)])
    assert decision_feed(workspace) is decision_feed(open_workspace(workspace.root))
    assert decision_feed(workspace).open_tail(log.path).events is log._tail.events


def test_the_feed_reads_what_was_added(workspace: Workspace) -> None:
    assert latest_now(workspace) == []
    before = logs_generation(workspace)
    log = open_review_log(workspace, "ada", "desk")
    event, _ = log.append([DecisionDraft(1, KEEP, "a"), DecisionDraft(2, KEEP, "b")])
    assert logs_generation(workspace) != before
    assert [one.event_id for one in latest_now(workspace)] == ["a", "b"]
    open_review_log(workspace, "ben", "desk").append([DecisionDraft(1, DROP, "c")])
    undo_event(log, event, "u")
    history = decision_feed(workspace).query_state(lambda state: state.list_history(1))
    assert [(event.event_id, is_undone) for event, is_undone in history] == [
        ("a", True),
        ("c", False),
        ("u", False),
    ]
    assert [(one.row_idx, one.decision) for one in latest_now(workspace)] == [(1, DROP), (2, KEEP)]


def test_an_undone_undo_reverts_nothing_in_the_history(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    [event] = log.append([DecisionDraft(1, KEEP, "a")])
    undo_event(log, undo_event(log, event, "u"), "v")
    history = decision_feed(workspace).query_state(lambda state: state.list_history(1))
    assert {event.event_id: is_undone for event, is_undone in history} == {
        "a": False,
        "u": True,
        "v": False,
    }
    assert [(one.row_idx, one.decision) for one in latest_now(workspace)] == [(1, KEEP)]


def test_the_feed_reports_changes_to_each_caller_since_its_last_call(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    event, _ = log.append([DecisionDraft(1, KEEP, "a"), DecisionDraft(2, KEEP, "b")])
    feed = decision_feed(workspace)
    first = feed.read_changes()
    assert (first.rows, [one.row_idx for one in first.latest]) == (None, [1, 2])
    assert (feed.read_changes(first.version).rows, feed.read_changes(first.version).latest) == (
        set(),
        [],
    )
    log.append([DecisionDraft(2, DROP, "c"), DecisionDraft(3, DROP, "d")])
    second = feed.read_changes(first.version)
    assert (second.rows, [one.event_id for one in second.latest]) == ({2, 3}, ["c", "d"])
    undo_event(log, event)
    assert feed.read_changes(second.version).rows == {1}
    third = feed.read_changes(first.version)  # another caller, whose last call was before both
    assert third.rows == {1, 2, 3}
    assert [(one.row_idx, one.decision) for one in third.latest] == [(2, DROP), (3, DROP)]
    log.path.unlink()
    gone = feed.read_changes(third.version)
    assert (gone.rows, gone.latest) == ({2, 3}, [])


def test_a_longer_copy_is_continued_and_another_log_is_read_again(
    workspace: Workspace,
) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP, "a"), DecisionDraft(2, KEEP, "b")])
    before = log._tail.events
    line = log.path.read_bytes().splitlines(keepends=True)[1].replace(b'"b"', b'"c"')
    for content, ids in (
        (log.path.read_bytes() + line, ["a", "b", "c"]),
        (log.path.read_bytes().replace(b'"keep"', b'"drop"', 1) + line, ["a", "b", "c"]),
    ):
        copy = log.path.with_name(".arriving")
        copy.write_bytes(content)
        copy.replace(log.path)
        log._tail.refresh()
        assert [event.event_id for event in log._tail.events] == ids
    assert [event.decision for event in before] == [KEEP, KEEP, KEEP]  # continued, then replaced
    assert [event.decision for event in log._tail.events] == [DROP, KEEP, KEEP]


def test_a_log_that_cannot_be_read_hides_no_change_of_another(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP)])
    first = decision_feed(workspace).read_changes()
    log.append([DecisionDraft(2, DROP)])
    unreadable = workspace.reviews_dir / "zoe@desk.jsonl"
    unreadable.mkdir()
    with pytest.raises(IsADirectoryError):
        decision_feed(workspace).read_changes(first.version)
    unreadable.rmdir()
    assert decision_feed(workspace).read_changes(first.version).rows == {2}


def test_the_feed_notices_a_log_that_was_replaced(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(row, KEEP, f"e{row}") for row in range(3)])
    assert [one.event_id for one in latest_now(workspace)] == ["e0", "e1", "e2"]
    shorter = b"".join(log.path.read_bytes().splitlines(keepends=True)[1:])
    log.path.write_bytes(shorter.replace(b': "e', b': "f'))  # same file, other content
    assert [one.event_id for one in latest_now(workspace)] == ["f1", "f2"]
    log.path.unlink()
    assert latest_now(workspace) == []
    [event] = log.append([DecisionDraft(0, DROP, "g0")])
    assert (event.seq, [one.event_id for one in latest_now(workspace)]) == (1, ["g0"])


def test_an_undo_reverts_only_events_on_its_own_sample(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP, "a"), DecisionDraft(2, None, undoes="a")])
    assert current(workspace) == {1: KEEP}
    log.append([DecisionDraft(1, None, undoes="a")])
    assert current(workspace) == {}


def test_undo_reverts_the_reviewers_latest_on_any_machine(workspace: Workspace) -> None:
    desk, laptop = (open_review_log(workspace, "ada", name) for name in ("desk", "laptop"))
    desk.append([DecisionDraft(1, KEEP, "a", decided_at=NOON)])
    laptop.append([DecisionDraft(2, DROP, "b", decided_at=LATER)])
    undone = [[event.undoes for event in desk.undo_latest()] for _ in range(3)]
    assert undone == [["b"], ["a"], []]


def test_an_undo_of_another_reviewers_decision_has_no_effect(workspace: Workspace) -> None:
    open_review_log(workspace, "ada", "desk").append([DecisionDraft(1, KEEP, "a")])
    open_review_log(workspace, "ben", "desk").append([DecisionDraft(1, None, undoes="a")])
    assert current(workspace) == {1: KEEP}
    assert [one.decision for one in latest_now(workspace)] == [KEEP]


def test_offsets_replay_the_logs_as_they_were(workspace: Workspace) -> None:
    ada = open_review_log(workspace, "ada", "desk")
    ada.append([DecisionDraft(1, KEEP), DecisionDraft(2, KEEP)])
    offsets = log_offsets(workspace)
    digests = log_digests(workspace, offsets)
    then = latest_decisions(read_events(workspace))
    ada.append([DecisionDraft(1, DROP)])
    ada.undo_latest()
    open_review_log(workspace, "ben", "desk").append([DecisionDraft(1, DROP)])
    assert offsets == {"ada@desk": 2}
    assert latest_decisions(read_events(workspace, offsets)) == then
    assert log_digests(workspace, offsets) == digests
    assert log_offsets(workspace) == {"ada@desk": 4, "ben@desk": 1}
    assert log_digests(workspace, {"ada@desk": 5, "gone@desk": 1}) == {}
    ada.path.write_bytes(ada.path.read_bytes().replace(b'"keep"', b'"drop"', 1))
    assert log_digests(workspace, offsets) != digests


def test_threads_share_a_log(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")

    def decide(start: int) -> None:
        for row in range(start, start + 20):
            log.append([DecisionDraft(row, KEEP)])

    threads = [threading.Thread(target=decide, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = list(read_events(workspace))
    assert [event.seq for event in events] == list(range(1, 81))
    assert {event.row_idx for event in events} == {100 * i + j for i in range(4) for j in range(20)}


def test_a_log_locked_by_another_process_is_an_error_after_a_wait(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(1, KEEP)])
    monkeypatch.setattr(decision_log, "LOCK_SECONDS", 0.05)
    with FileLock(workspace.reviews_dir / ".ada@desk.jsonl.lock"):
        with pytest.raises(VisnecError, match="locked by another process"):
            log.append([DecisionDraft(2, KEEP)])
        assert current(workspace) == {1: KEEP}
    log.append([DecisionDraft(3, DROP)])
    assert current(workspace) == {1: KEEP, 3: DROP}


# Appends decisions one by one and prints each once append has returned.
WRITER = """
import sys
from pathlib import Path
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.workspace import open_workspace

root, name, start, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log = open_review_log(open_workspace(Path(root)), name, "desk")
print("ready", flush=True)
sys.stdin.readline()
for row in range(start, start + count):
    log.append([DecisionDraft(row, Decision.KEEP, f"{name}-{row}", note="x" * (row % 300))])
    print(row, flush=True)
"""


def writer(workspace: Workspace, name: str, start: int, count: int) -> subprocess.Popen[str]:
    arguments = [str(workspace.root), name, str(start), str(count)]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_two_processes_append_to_one_log(workspace: Workspace) -> None:
    processes = [writer(workspace, "ada", start, 200) for start in (0, 1000)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        begin(process)
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    events = list(read_events(workspace))
    assert [event.seq for event in events] == list(range(1, 401))
    rows = [event.row_idx for event in events]
    assert set(rows) == set(range(200)) | set(range(1000, 1200))
    assert decision_feed(workspace).damaged_lines() == {}


@pytest.mark.parametrize("acknowledged", [1, 7, 23])
def test_a_killed_writer_loses_nothing_it_acknowledged(
    workspace: Workspace, acknowledged: int
) -> None:
    process = writer(workspace, "ada", 0, 100_000)
    assert process.stdout is not None
    begin(process)
    lines = [process.stdout.readline() for _ in range(acknowledged + 1)][1:]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    rows = [int(line) for line in lines if line.endswith("\n")]
    stored = [event.row_idx for event in read_events(workspace)]
    assert stored[: len(rows)] == rows
    assert len(stored) <= len(rows) + 1
    # The next writer can write at once: the lock was released with its owner.
    log = open_review_log(workspace, "ada", "desk")
    [event] = log.append([DecisionDraft(5, DROP, "next")])
    assert event.seq == len(stored) + 1
    assert current(workspace)[5] is DROP
