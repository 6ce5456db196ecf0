"""Review without a browser: its queue, its plain buttons, and what it does with a sent outbox."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from dashboard.data.activity import WorkspaceState
from dashboard.data.context import Context
from dashboard.data.reviews import read_own_decisions, read_review_state
from dashboard.pages.explore import bulk
from dashboard.pages.review import review_deck
from dashboard.view.state import Key
from dashboard.widgets import page_frame, reviewer, run_watcher
from dashboard.widgets.gallery import StatusMessage
from scoring.reviews.decision_log import Decision, DecisionEvent, parse_draw
from scoring.reviews.decisions import open_review_log, read_events
from scoring.reviews.resolution import latest_decisions
from scoring.workspace import open_workspace
from tests.dashboard.conftest import Draw, data_of, written

ANN = {Key.REVIEWER: "Ann"}
PLAIN = {"buttons": "1", "queue": "row_idx"}


def events_of(root: Path, name: str = "Ann") -> list[DecisionEvent]:
    """The events of one reviewer, from the log on disk."""
    return [one for one in read_events(open_workspace(root)) if one.reviewer == name]


def test_without_a_name_there_is_nothing_to_decide(root: Path, draw: Draw) -> None:
    app = draw("review", PLAIN)
    assert not app.exception
    assert [one.label for one in app.button] == []
    assert events_of(root) == []


def test_plain_buttons_save_about_the_row_they_were_drawn_with(root: Path, draw: Draw) -> None:
    app = draw("review", PLAIN, ANN)
    assert not app.exception
    app.button(key="decide-keep-0").click().run()
    app.button(key="decide-drop-1").click().run()
    assert [(one.row_idx, str(one.decision)) for one in events_of(root)] == [
        (0, "keep"),
        (1, "drop"),
    ]
    app.button(key="decide-undo").click().run()
    latest = latest_decisions(events_of(root))
    assert [(one.row_idx, str(one.decision)) for one in latest] == [(0, "keep")]
    assert app.query_params["row"] in ("1", ["1"])
    assert not app.exception


def test_an_undo_reports_its_number_of_samples(root: Path, draw: Draw) -> None:
    open_review_log(open_workspace(root), "Ann").append_bulk([4, 5, 6], Decision.KEEP)
    app = draw("review", PLAIN, ANN)
    app.button(key="decide-undo").click().run()
    assert "the decision on 3 samples" in written(app)
    assert [one.decision for one in latest_decisions(events_of(root))] == []


def test_the_last_bulk_decision_is_read_from_the_log(
    root: Path, context: Context, session: dict[str, Any]
) -> None:
    session[Key.REVIEWER] = "Ann"
    assert bulk.read_status() is None
    bulk.decide_samples((1, 2, 3), Decision.KEEP)
    bulk.decide_samples((3, 4), Decision.DROP)
    said = bulk.read_status()
    assert said is not None
    assert said.can_undo
    assert said.text == (
        "Saved: drop on 1 sample. Skipped 1 sample that already had your decision."
    )

    session.clear()  # the page was reloaded
    session[Key.REVIEWER] = "Ann"
    said = bulk.read_status()
    assert said is not None
    assert said.text.startswith("Last bulk decision: drop on 1 sample, ")
    bulk.undo_decision()
    said = bulk.read_status()
    assert said is not None
    assert said.can_undo
    assert said.text.startswith(
        "Undid the decision on 1 sample. Last bulk decision: keep on 3 samples, "
    )
    bulk.undo_decision()
    assert bulk.read_status() == StatusMessage("Undid the decision on 3 samples.")
    assert [one.decision for one in latest_decisions(events_of(root))] == []


def test_a_bulk_decision_on_missing_rows_saves_nothing(
    root: Path, context: Context, session: dict[str, Any]
) -> None:
    session[Key.REVIEWER] = "Ann"
    bulk.decide_samples((1, 120), Decision.KEEP)
    said = bulk.read_status()
    assert said is not None
    assert said.failed
    assert "the dataset has no row 120" in said.text
    assert events_of(root) == []


def test_plain_buttons_hide_a_sample_until_it_is_revealed(root: Path, draw: Draw) -> None:
    app = draw("review", PLAIN | {"blind": "1"}, ANN)
    assert "Image and reference are hidden" in written(app)
    assert "decide-keep-0" not in [one.key for one in app.button]
    assert app.get("imgs") == []
    next(one for one in app.button if one.label == "Reveal").click().run()
    assert "Image and reference are hidden" not in written(app)
    app.button(key="decide-keep-0").click().run()
    assert "Image and reference are hidden" in written(app)
    assert [one.row_idx for one in events_of(root)] == [0]
    assert not app.exception


def test_a_random_queue_records_what_it_drew_from(root: Path, draw: Draw) -> None:
    app = draw("review", {"buttons": "1", "queue": "random", "filter": "source:scenes"}, ANN)
    assert "Sample 1 of" in written(app)
    keep = next(one for one in app.button if one.key and one.key.startswith("decide-keep-"))
    keep.click().run()
    [event] = events_of(root)
    assert event.draw is not None
    drawn = parse_draw(event.draw)
    assert (drawn.filter, drawn.stratified) == ("source:scenes", False)
    assert drawn.run_id is not None


def test_conflicts_and_reviewers_are_shown(root: Path, draw: Draw) -> None:
    said = written(draw("review", PLAIN, ANN))
    assert "with a tie, which the rule decides" in said
    assert '<td class="">ada</td>' in said
    assert '<td class="">ben</td>' in said


def test_damaged_lines_of_a_log_are_reported(root: Path, draw: Draw) -> None:
    with next((root / "reviews").glob("*.jsonl")).open("a") as log:
        log.write("{torn\n")
    assert "Unreadable lines in decision logs" in written(draw("review", PLAIN, ANN))


def test_an_empty_queue_says_so(root: Path, draw: Draw) -> None:
    said = written(draw("review", PLAIN | {"filter": "text:nothinglikethis"}, ANN))
    assert "This queue is empty" in said


# ---- what the browser sends ----------------------------------------------------------------------


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A session in the place of Streamlit's, and no URL to change."""
    state: dict[str, Any] = {}
    monkeypatch.setattr(st, "session_state", state)
    monkeypatch.setattr(review_deck, "change_view", lambda **changes: state.update(changes))
    return state


def sent(context: Context, name: str, *drafts: dict[str, Any]) -> dict[str, Any]:
    """An outbox as the deck of ``name`` sends it."""
    deck = review_deck.name_deck(context.workspace, context.edition, name)
    return {"deck": deck, "reviewer": name, "drafts": list(drafts), "row": 5, "n": 1}


def draft(event: str, row: int, decision: str | None = "keep", **more: Any) -> dict[str, Any]:
    return {"event_id": f"a-long-event-{event}", "row_idx": row, "decision": decision} | more


def test_an_outbox_is_on_disk_before_its_receipt(
    root: Path, context: Context, session: dict[str, Any]
) -> None:
    outbox = sent(context, "Ann", draft("a", 3), draft("b", 4, "drop"), draft("c", 10**9))
    session[review_deck.KEY] = {"outbox": outbox}
    review_deck.save_outbox()
    review_deck.save_outbox()  # the browser repeats what it has no receipt for
    answered, receipt = session[Key.REVIEW_RECEIPT]
    assert answered == 1
    assert receipt.saved == ("a-long-event-a", "a-long-event-b")
    assert receipt.refused == ("a-long-event-c",)
    assert [(one.row_idx, str(one.decision)) for one in events_of(root)] == [
        (3, "keep"),
        (4, "drop"),
    ]
    assert session["row"] == 5


def test_an_outbox_counts_for_the_reviewer_who_decided(
    root: Path, context: Context, session: dict[str, Any]
) -> None:
    session[Key.REVIEWER] = "Somebody Else"
    session[review_deck.KEY] = {"outbox": sent(context, "Ann", draft("a", 3))}
    review_deck.save_outbox()
    assert [one.reviewer for one in events_of(root)] == ["Ann"]
    assert events_of(root, "Somebody Else") == []


def test_with_a_login_no_one_decides_in_anothers_name(
    root: Path, context: Context, session: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviewer, "is_login_configured", lambda: True)
    monkeypatch.setattr(st, "user", Person(email="ben@example.org"))
    for name, saved in (("Ann", 0), ("ben@example.org", 1)):
        session[review_deck.KEY] = {"outbox": sent(context, name, draft("a", 3))}
        review_deck.save_outbox()
        _, receipt = session[Key.REVIEW_RECEIPT]
        assert len(receipt.saved) == saved
        assert (receipt.problem is None) == bool(saved)
        assert len(events_of(root, name)) == saved
    monkeypatch.setattr(st, "user", Person(is_logged_in=False))
    session[review_deck.KEY] = {"outbox": sent(context, "ben@example.org", draft("b", 4))}
    review_deck.save_outbox()
    assert "who is not signed in here" in session[Key.REVIEW_RECEIPT][1].problem


class Person:
    """What Streamlit knows of a user who has signed in, or has not."""

    def __init__(self, is_logged_in: bool = True, **claims: str) -> None:
        self.is_logged_in = is_logged_in
        self.get = claims.get


@pytest.mark.parametrize(
    ("person", "name"),
    [
        (Person(email="ada@example.org", name="Ada"), "ada@example.org"),
        (Person(name=" Ada "), "Ada"),
        (Person(), None),
        (Person(is_logged_in=False), None),
    ],
)
def test_the_signed_in_name_is_the_address_or_the_name(
    monkeypatch: pytest.MonkeyPatch, person: Person, name: str | None
) -> None:
    monkeypatch.setattr(st, "user", person)
    assert reviewer.read_login_name() == name


def test_with_a_login_review_asks_to_sign_in_and_takes_no_other_name(
    root: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviewer, "is_login_configured", lambda: True)
    monkeypatch.setattr(st, "user", Person(is_logged_in=False))
    app = draw("review", PLAIN | {"reviewer": "Ann"}, ANN)
    assert [one.label for one in app.button] == ["Sign in to review"]
    monkeypatch.setattr(st, "user", Person(email="ada@example.org"))
    app = draw("review", PLAIN | {"reviewer": "Ann"}, ANN)
    app.button(key="decide-keep-0").click().run()
    assert [one.row_idx for one in events_of(root, "ada@example.org")] == [0]
    assert events_of(root) == []


def test_an_outbox_of_another_dataset_is_neither_saved_nor_forgotten(
    root: Path, context: Context, session: dict[str, Any]
) -> None:
    outbox = sent(context, "Ann", draft("a", 3)) | {"deck": "of another workspace"}
    session[review_deck.KEY] = {"outbox": outbox}
    review_deck.save_outbox()
    _, receipt = session[Key.REVIEW_RECEIPT]
    assert (receipt.saved, receipt.refused) == ((), ())
    assert "another dataset" in receipt.problem
    assert events_of(root) == []


def test_nothing_counts_as_saved_if_the_log_cannot_be_written(
    root: Path, context: Context, session: dict[str, Any]
) -> None:
    for log in (root / "reviews").iterdir():
        log.unlink()
    (root / "reviews").rmdir()
    (root / "reviews").write_text("a file where the folder should be")
    session[review_deck.KEY] = {"outbox": sent(context, "Zed", draft("a", 3))}
    review_deck.save_outbox()
    _, receipt = session[Key.REVIEW_RECEIPT]
    assert receipt.saved == ()
    assert receipt.problem


@pytest.mark.parametrize("value", [None, 3, "x", {}, {"deck": 1}, {"deck": "a", "drafts": "b"}])
def test_an_outbox_that_makes_no_sense_is_none(value: object) -> None:
    assert review_deck.read_outbox(value) is None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("  Ann ", "Ann"),
        ("e\u0301", "\u00e9"),
        ("a\u202eb\n", "ab"),
        ("x" * 200, "x" * 80),
        (" \t", None),
        (None, None),
        (7, None),
    ],
)
def test_a_reviewers_name_is_what_the_log_writes(given: object, name: str | None) -> None:
    assert reviewer.read_name(given) == name


def test_the_review_state_and_the_deck_each_read_all_decisions(root: Path) -> None:
    workspace = open_workspace(root)
    before = read_own_decisions(workspace, "ada", range(120), 5).n_decided
    figures = {one.reviewer: one.decided for one in read_review_state(workspace).reviewers}
    assert figures["ada"] == before == 11


def test_a_page_is_drawn_to_its_end_though_the_workspace_changes_meanwhile(
    root: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To begin again would lose what the reader did: a name that was given, a button pressed."""
    states = (WorkspaceState(str(n), None, (), ()) for n in count())
    for module in (page_frame, run_watcher):
        monkeypatch.setattr(module, "read_state", lambda _: next(states))
    app = draw("review", session={str(Key.REVIEWER): "ada"})
    assert not app.exception
    assert data_of(app, "review_deck")["reviewer"] == "ada"
    assert data_of(app, "pulse")["state"] == ""  # so that the next beat looks again
