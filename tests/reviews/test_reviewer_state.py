"""The current decisions: updated event by event, they equal those from all logs at once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.reviews.decision_log import BULK, GROUP, Decision, DecisionEvent
from scoring.reviews.resolution import latest_decisions, reviewer_progress
from scoring.reviews.reviewer_state import BulkDecision, DecisionState

KEEP, DROP, UNSURE = Decision.KEEP, Decision.DROP, Decision.UNSURE
ROWS, REVIEWERS = range(3), ("ada", "ben")
Logs = dict[str, list[DecisionEvent]]


def event(
    event_id: str,
    row_idx: int,
    decision: Decision | None,
    minute: int,
    undoes: str | None = None,
    reviewer: str = "ada",
    machine: str = "desk",
    queue: str | None = None,
) -> DecisionEvent:
    moment = f"2026-01-01T00:{minute:02d}:00.000+00:00"
    note = f"note {event_id}" if decision is None and undoes is None else None
    return DecisionEvent(
        event_id, 0, reviewer, machine, row_idx, decision, note, queue, None, moment, undoes
    )


def state_of(logs: Logs) -> DecisionState:
    state = DecisionState()
    for name, events in logs.items():
        state.extend_log(name, events)
    return state


def undoable(state: DecisionState, n: int = 99) -> list[tuple[str, str | None]]:
    return [(one.event_id, one.then) for one in state.list_undoable("ada", n)]


def test_the_latest_decision_is_current_and_an_undo_restores_the_earlier_one() -> None:
    state = DecisionState()
    log = [event("a", 7, KEEP, 1), event("b", 7, DROP, 2), event("c", 9, UNSURE, 3)]
    assert state.extend_log("ada@desk", log) == {7, 9}
    assert state.list_decided("ada", [7, 8, 9]) == {7: DROP, 9: UNSURE}
    assert undoable(state) == [("a", None), ("b", KEEP), ("c", None)]
    assert state.extend_log("ada@desk", [event("d", 7, None, 4, undoes="b")]) == {7}
    assert state.list_decided("ada", [7]) == {7: KEEP}
    assert (state.count_decided("ada"), state.count_decided("ben")) == (2, 0)
    more = [event("e", 7, None, 5, undoes="a"), event("f", 9, None, 6, undoes="c")]
    state.extend_log("ada@desk", more)
    assert (state.count_decided("ada"), undoable(state), state.find_undo_target("ada")) == (
        0,
        [],
        [],
    )


def test_events_that_change_nothing_change_no_row() -> None:
    state = state_of({"ada@desk": [event("a", 7, KEEP, 1)]})
    assert state.extend_log("ada@laptop", [event("a", 7, KEEP, 1)]) == set()  # a copied file
    lost = event("b", 7, None, 9, undoes="another", machine="laptop")
    assert state.extend_log("ada@laptop", [lost]) == set()
    assert undoable(state) == [("a", None)]


def test_undoable_decisions_show_the_decision_after_undo_with_skewed_clocks() -> None:
    """The clock of "desk" was set back after noon, so the laptop's decision is current at first."""
    desk = [event("a", 7, KEEP, 10), event("b", 7, DROP, 5)]
    laptop = [event("c", 7, UNSURE, 7, machine="laptop")]
    state = state_of({"ada@desk": desk, "ada@laptop": laptop})
    assert state.list_decided("ada", [7]) == {7: UNSURE}
    # Each log keeps its own order: b was made after a.
    assert undoable(state) == [("c", None), ("a", UNSURE), ("b", KEEP)]
    state.extend_log("ada@desk", [event("d", 7, None, 6, undoes="b")])
    assert state.list_decided("ada", [7]) == {7: KEEP}


def test_a_bulk_decision_can_keep_some_and_drop_others() -> None:
    decisions = enumerate((DROP, KEEP))
    log = [event(f"b{row}", row, each, 2, queue=f"{BULK}x") for row, each in decisions]
    last = state_of({"ada@desk": log}).find_last_bulk("ada")
    assert last is not None
    assert (last.decision, last.n) == ("drop and keep", 2)


def test_a_bulk_decision_counts_as_one_at_the_time_it_was_made() -> None:
    bulk = [event(f"b{row}", row, DROP, 2, queue=f"{BULK}x") for row in (1, 2, 3)]
    log = [event("a", 1, KEEP, 1), *bulk, event("c", 4, KEEP, 3)]
    state = state_of({"ada@desk": log})
    moment = bulk[0].decided_at
    assert state.find_last_bulk("ada") == BulkDecision(f"{BULK}x", "drop", 3, moment)
    assert undoable(state) == [("a", "drop"), ("c", None)]
    assert state.find_undo_target("ada") == [log[-1]]
    state.extend_log(
        "ada@desk",
        [event("d", 4, None, 4, undoes="c"), event("e", 2, None, 5, undoes="b2")],
    )
    assert state.find_undo_target("ada") == [bulk[0], bulk[2]]
    assert state.list_bulk_events("ada", f"{BULK}x") == [bulk[0], bulk[2]]
    assert state.find_last_bulk("ada") == BulkDecision(f"{BULK}x", "drop", 2, moment)
    assert state.list_bulk_events("ben", f"{BULK}x") == []


# ---- any interleaving of any logs ----------------------------------------------------------------


@st.composite
def logs_of_any_kind(draw: st.DrawFn) -> Logs:
    """Two reviewers on two machines each, with skewed clocks and undos of anything by anyone."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(REVIEWERS),
                st.sampled_from(["desk", "laptop"]),
                st.sampled_from(
                    ["keep", "drop", "unsure", "note", "bulk", "group", "undo", "undo", "copy"]
                ),
                st.sampled_from(list(ROWS)),
                st.integers(0, 59),
                st.integers(0, 99),
            ),
            max_size=24,
        )
    )
    given: list[DecisionEvent] = []
    logs: Logs = {}
    for n, (reviewer, machine, what, row, minute, pick) in enumerate(steps):
        about = (minute, None, reviewer, machine)
        target = given[pick % len(given)] if given else None
        if what == "undo" and target is not None:
            row = target.row_idx if pick < 90 else row  # seldom about another sample
            new = [event(f"e{n}", row, None, minute, target.event_id, reviewer, machine)]
        elif what == "copy" and target is not None:
            new = [target]
        elif what in ("bulk", "group"):
            queue = f"{BULK if what == 'bulk' else GROUP}{n}"
            new = [event(f"e{n}-{one}", one, DROP, *about, queue) for one in ROWS[row:]]
        else:
            decision = Decision(what) if what in list(Decision) else None
            new = [event(f"e{n}", row, decision, *about)]
        given += new
        logs.setdefault(f"{reviewer}@{machine}", []).extend(new)
    return logs


def answers(state: DecisionState) -> dict[str, object]:
    """Every answer that pages and commands use."""
    return {
        "latest": state.list_latest(),
        "rows": [state.list_latest([row]) for row in ROWS],
        "history": [Counter(state.list_history(row)) for row in ROWS],
    } | {
        reviewer: (
            state.list_decided(reviewer, ROWS),
            state.count_decided(reviewer),
            state.list_undoable(reviewer, 99),
            state.list_undoable(reviewer, 2),
            state.find_undo_target(reviewer),
            state.find_last_bulk(reviewer),
        )
        for reviewer in REVIEWERS
    }


@settings(max_examples=150, deadline=None)
@given(logs_of_any_kind(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_event_by_event_in_any_order_equals_all_logs_at_once(
    logs: Logs, chance: object, size: int
) -> None:
    state = DecisionState()
    arrivals = [name for name, events in logs.items() for _ in range(0, len(events), size)]
    chance.shuffle(arrivals)  # type: ignore[attr-defined]
    n_read = dict.fromkeys(logs, 0)
    before = state.list_latest()
    for name in arrivals:
        start = n_read[name]
        n_read[name] = start + size
        rows = state.extend_log(name, logs[name][start : start + size])
        after = state.list_latest()
        assert rows == {
            one.row_idx for one in [*before, *after] if (one in before) != (one in after)
        }
        before = after
    assert answers(state) == answers(state_of(logs))
    exported = latest_decisions([one for name in sorted(logs) for one in logs[name]])
    assert state.list_latest() == exported
    progress = {one.reviewer: one.decided for one in reviewer_progress(exported)}
    assert {one: state.count_decided(one) for one in REVIEWERS} == dict.fromkeys(
        REVIEWERS, 0
    ) | progress


@settings(max_examples=100, deadline=None)
@given(logs_of_any_kind(), logs_of_any_kind())
def test_logs_that_are_replaced_or_removed_leave_nothing_behind(first: Logs, second: Logs) -> None:
    state = state_of(first)
    for name in first.keys() | second.keys():
        state.replace_log(name, second.get(name, []))
    assert answers(state) == answers(state_of(second))


@settings(max_examples=100, deadline=None)
@given(logs_of_any_kind())
def test_repeated_undo_restores_what_was_shown_until_nothing_is_left(logs: Logs) -> None:
    state = state_of(logs)
    name, promised = "ada@desk", state.list_undoable("ada", 99)
    for n, one in enumerate(reversed(promised)):
        assert state.list_undoable("ada", 1) == [one]
        events = state.list_group_events("ada", one.row_idx, one.event_id)
        undos = [event(f"undo{n}", one.row_idx, None, 0, undoes=one.event_id)]
        if events:
            undos = [
                event(f"undo{n}-{each.row_idx}", each.row_idx, None, 0, undoes=each.event_id)
                for each in events
            ]
        state.extend_log(name, undos)
        expected = one.others | {one.row_idx: one.then}
        decided = state.list_decided("ada", expected)
        assert {row: decided.get(row) for row in expected} == expected
    assert state.list_undoable("ada", 1) == []
