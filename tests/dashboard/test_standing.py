"""What holds of a reviewer's decisions, against the library's own answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dashboard.standing import Standing, in_time
from scoring.reviews.decisions import Decision, DecisionEvent, latest_decisions


def event(seq: int, row: int, decision: str | None, undoes: int | None = None) -> DecisionEvent:
    return DecisionEvent(
        event_id=f"event-{seq:04d}",
        seq=seq,
        reviewer="ada",
        machine="desk",
        row_idx=row,
        decision=None if decision is None else Decision(decision),
        note="a note" if decision is None and undoes is None else None,
        queue=None,
        sampling_probability=None,
        decided_at=f"2026-01-01T00:00:{seq % 60:02d}+00:00",
        undoes=None if undoes is None else f"event-{undoes:04d}",
    )


def test_the_latest_verdict_holds_and_undo_brings_the_earlier_one_back() -> None:
    standing = Standing()
    standing.add([event(1, 7, "keep"), event(2, 7, "drop"), event(3, 9, "unsure")])
    assert standing.decided([7, 8, 9]) == {7: "drop", 9: "unsure"}
    assert [one["row_idx"] for one in standing.history(2)] == [7, 9]
    standing.add([event(4, 7, None, undoes=2)])
    assert standing.decided([7]) == {7: "keep"}
    assert standing.n_decided == 2
    standing.add([event(5, 7, None, undoes=1), event(6, 9, None, undoes=3)])
    assert (standing.n_decided, standing.history(9)) == (0, [])


def test_an_undo_that_was_undone_takes_nothing_back() -> None:
    standing = Standing()
    standing.add([event(1, 7, "keep"), event(2, 7, None, undoes=1)])
    assert standing.decision(7) is None
    standing.add([event(3, 7, None, undoes=2)])
    assert standing.decision(7) == "keep"


def test_events_seen_twice_and_notes_change_nothing() -> None:
    standing = Standing()
    standing.add([event(1, 7, "keep"), event(2, 7, None)])
    standing.add([event(1, 7, "keep")])
    assert standing.history(9) == [
        {"event_id": "event-0001", "row_idx": 7, "decision": "keep"},
    ]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["keep", "drop", "undo"]))))
def test_agrees_with_the_library_however_events_arrive(keys: list[tuple[int, str]]) -> None:
    events: list[DecisionEvent] = []
    for seq, (row, key) in enumerate(keys, 1):
        if key != "undo":
            events.append(event(seq, row, key))
        elif events:
            target = events[row % len(events)]
            undone = {one.undoes for one in events}
            if target.undoes is None and target.event_id not in undone:
                events.append(event(seq, target.row_idx, None, undoes=target.seq))
    standing = Standing()
    for one in events:
        standing.add([one])
    expected = {one.row_idx: str(one.decision) for one in latest_decisions(events)}
    assert standing.decided(range(4)) == expected
    assert standing.n_decided == len(expected)


def test_logs_keep_their_own_order_whatever_their_clocks_say() -> None:
    early, late = event(2, 1, "keep"), event(1, 2, "drop")  # the clock went back
    assert in_time([early, late]) == [early, late]
