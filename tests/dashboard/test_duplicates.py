"""Near-duplicates in Explore and Review: shown, decided as a group, undone as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboard.data.actions import record_decisions
from dashboard.data.context import Context
from dashboard.data.samples import read_card
from dashboard.view.state import Key
from scoring.database.connection import Store
from scoring.duplicates import members
from scoring.exchange.imported_columns import import_columns
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import decision_feed, open_review_log, read_events
from scoring.workspace import open_workspace
from tests.dashboard.conftest import Draw, written

ADA = {str(Key.REVIEWER): "ada"}


def decided(root: Path) -> dict[int, str]:
    feed = decision_feed(open_workspace(root))
    values = feed.query_state(lambda state: state.list_decided("ada", range(10)))
    return {row: str(decision) for row, decision in values.items()}


def add_groups(root: Path) -> None:
    path = root / "groups.csv"
    path.write_text("row_idx,image_group\n" + "".join(f"{row},5\n" for row in (1, 2, 3, 4)))
    import_columns(open_workspace(root), path)


def test_one_decision_for_a_group(root: Path, draw: Draw) -> None:
    add_groups(root)
    log = open_review_log(open_workspace(root), "ada", "desk")
    log.append([DecisionDraft(4, Decision.KEEP)])
    before = decided(root)
    app = draw("explore", {"sample": "2"}, session=ADA)
    assert not app.exception, app.exception
    assert "4 samples (col:image_group=5)" in written(app) + str(app.caption)
    button = app.button("keep-images")
    assert button.label == "Keep this, drop 3 others"
    button.click().run()
    assert decided(root) == before | {1: "drop", 2: "keep", 3: "drop", 4: "keep"}
    shown = written(app) + str(app.caption)
    assert "Kept 1 and dropped 2 samples. Skipped 1 sample" in shown
    app.button("undo-group").click().run()
    assert decided(root) == before
    again = draw("explore", {"sample": "2"}, session=ADA)
    again.button("group-images").click().run()
    assert again.query_params["filter"] == "col:image_group=5"


def test_without_groups_and_without_a_name(root: Path, draw: Draw) -> None:
    def has_groups(row: int) -> bool:
        app = draw("explore", {"sample": str(row)})
        assert not [each for each in app.button if str(each.key).startswith("keep-")]
        return "Near-duplicates" in [each.value for each in app.subheader]

    assert not has_groups(2)
    add_groups(root)
    assert has_groups(2)
    assert not has_groups(7)


# ---- Review --------------------------------------------------------------------------------------

PLAIN = {"buttons": "1", "queue": "row_idx"}


def test_the_plain_page_decides_a_group(root: Path, draw: Draw) -> None:
    add_groups(root)
    log = open_review_log(open_workspace(root), "ada", "desk")
    log.append([DecisionDraft(4, Decision.DROP)])
    before = decided(root)
    app = draw("review", PLAIN | {"row": "1"}, session=ADA)
    assert not app.exception, app.exception
    assert "3 near-duplicates: similar images" in written(app) + str(app.caption)
    app.button("group-keep-images-1").click().run()
    assert decided(root) == before | {1: "keep", 2: "keep", 3: "keep"}
    assert "Saved: keep on 3 samples. 1 sample had your decision" in written(app)
    assert app.query_params["row"] in ("5", ["5"])
    app.button("decide-undo").click().run()
    assert decided(root) == before
    hidden = draw("review", PLAIN | {"row": "1", "blind": "1"}, session=ADA)
    assert not [each for each in hidden.button if str(each.key).startswith("group-")]


def test_a_card_lists_the_groups_of_its_sample(
    root: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "groups.csv"
    rows = [f"{row},{row // 60},{5 if 0 < row < 5 else row + 10}\n" for row in range(120)]
    path.write_text("row_idx,question_group,image_group\n" + "".join(rows))
    import_columns(open_workspace(root), path)
    store = Store(open_workspace(root))
    found = members.read_groups(store, [2, 60, 2])
    assert {row: [group.kind for group in groups] for row, groups in found.items()} == {
        2: ["images", "questions"],
        60: ["questions"],
    }
    images, questions = found[2]
    assert (images.column, images.number, images.rows) == ("image_group", 5, (1, 2, 3, 4))
    assert (questions.number, questions.n_samples, len(questions.rows)) == (0, 60, 60)
    monkeypatch.setattr(members, "MOST_MEMBERS", 3)
    [images, _] = members.read_groups(store, [4])[4]
    assert (images.n_samples, images.rows) == (4, (1, 2, 3))
    card = read_card(replace(context, store=store), 2)
    assert [group["name"] for group in card["duplicates"]] == [
        "similar images",
        "similar questions",
    ]
    assert [tile["row_idx"] for tile in card["duplicates"][0]["tiles"]] == [1, 3]


def draft(event: str, row: int, decision: str | None = "keep", **more: Any) -> dict[str, Any]:
    return {"event_id": f"a-long-event-{event}", "row_idx": row, "decision": decision} | more


def test_a_sent_decision_on_a_group_is_saved_and_undone_as_a_whole(root: Path) -> None:
    workspace, before = open_workspace(root), decided(root)
    sent = [
        draft("a", 2, "drop"),
        draft("b", 1, "keep", others=[2, 3, 1, 3], queue="random", sampling_probability=0.5),
        draft("c", 5, others=[10**9]),
        draft("d", 6, None, note="a note", others=[7]),
    ]
    receipt = record_decisions(workspace, "ada", sent)
    assert receipt.saved == ("a-long-event-a", "a-long-event-b")
    assert receipt.refused == ("a-long-event-c", "a-long-event-d")
    assert receipt.skipped == {"a-long-event-b": 1}
    assert decided(root) == before | {1: "keep", 2: "drop", 3: "keep"}
    n_events = len(list(read_events(workspace)))
    undo = draft("e", 1, None, undoes="a-long-event-b")
    # The browser repeats what it has no receipt for, with what was done since.
    receipt = record_decisions(workspace, "ada", [*sent, undo])
    assert receipt.skipped == {"a-long-event-b": 1}
    record_decisions(workspace, "ada", [undo])
    assert decided(root) == before | {2: "drop"}
    assert len(list(read_events(workspace))) == n_events + 2
