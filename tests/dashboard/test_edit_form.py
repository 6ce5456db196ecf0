"""The form that edits a record: its operations, what a card shows, and the filter of the edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.data.edits import (
    edits_version,
    list_changes,
    list_image_choices,
    plan_image_changes,
    plan_operations,
    read_card_edits,
)
from dashboard.view.state import Key
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.values import Scope
from scoring.dataset.records import read_samples
from scoring.errors import FilterError, InputError
from scoring.exports.editing import save_edit, turns_now, undo_edit
from scoring.readers.conversation import insert_placeholders
from scoring.reviews.decisions import read_edits
from scoring.reviews.edits import (
    DropTurn,
    MoveImage,
    RemoveImage,
    SetText,
    SwapAnswers,
    apply_operations,
)
from scoring.rules import Threshold
from scoring.samples import Role, Sample, Turn
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import open_workspace
from tests.dashboard.conftest import Draw
from tests.synthetic import RUN_ID, make_workspace

TURNS = (
    Turn(Role.HUMAN, "\nWho?", (0,)),
    Turn(Role.ASSISTANT, "Ada"),
    Turn(Role.HUMAN, "Where?"),
    Turn(Role.ASSISTANT, "Here"),
)
SAMPLE = Sample(0, "a", "file", ("a.png",), TURNS, b"")
TEXTS = {position: insert_placeholders(turn) for position, turn in enumerate(TURNS)}


def test_a_form_that_was_not_changed_has_no_operations() -> None:
    assert plan_operations(SAMPLE, (), TEXTS) == []
    base = (SetText(1, "Ben"),)
    assert plan_operations(SAMPLE, base, TEXTS | {1: "Ben"}) == [*base]


def test_a_form_becomes_operations() -> None:
    texts = TEXTS | {0: "Who <image>?", 1: "Here", 3: "Ada"}
    assert plan_operations(SAMPLE, (), texts, [3], {0: 2}) == [
        SwapAnswers(1, 3),
        SetText(0, "Who ?", (4,)),
        MoveImage(0, 2),
        DropTurn(3),
    ]
    with pytest.raises(InputError, match="has 1 image placeholder"):
        plan_operations(SAMPLE, (), TEXTS | {0: "Who?"})
    with pytest.raises(InputError, match="no answer would remain"):
        plan_operations(SAMPLE, (), TEXTS, [1, 3])


def test_placeholders_may_be_removed_or_moved_to_another_question() -> None:
    assert list_image_choices(SAMPLE, ()) == [{"Remove it": None, "Move it to question 2": 2}]


def test_several_placeholders_are_changed_at_once() -> None:
    turns = (
        Turn(Role.HUMAN, "abc", (0, 1, 2)),
        Turn(Role.ASSISTANT, "Ada"),
        Turn(Role.HUMAN, "Where?", (6,)),
        Turn(Role.ASSISTANT, "Here"),
    )
    sample = Sample(0, "a", "file", ("1.png", "2.png", "3.png", "4.png"), turns, b"")
    changes = {0: None, 1: 2, 2: None, 3: 0}
    operations = plan_image_changes(sample, (), changes)
    assert operations == [RemoveImage(2), RemoveImage(0), MoveImage(0, 2), MoveImage(1, 0)]
    after = apply_operations(sample, operations)
    assert {position: turn.image_offsets for position, turn in after.turns.items()} == {
        0: (0,),
        1: (),
        2: (0,),
        3: (),
    }
    assert after.images == (1, 3)
    texts = {position: insert_placeholders(turn) for position, turn in enumerate(turns)}
    assert plan_operations(sample, (), texts, [], changes) == operations


def test_changes_are_shown_turn_by_turn() -> None:
    after = turns_now(SAMPLE, (SetText(1, "Ada B."), DropTurn(3)))
    first, *dropped = list_changes(SAMPLE, after)
    assert first == {
        "turn": "answer 1",
        "before": [["Ada", False]],
        "after": [["Ada", False], [" B.", True]],
    }
    assert [(change["turn"], change["after"]) for change in dropped] == [
        ("question 2", None),
        ("answer 2", None),
    ]


def test_cards_and_filters_know_edited_samples(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, 0.25, 1.0], with_images=False)
    build_database(workspace)
    store = Store(workspace)

    def edited(value: str) -> list[int]:
        where = parse_filter(f"edited:{value}")
        return sorted(matching_rows(store.selection(Scope(RUN_ID, "none"), where)).tolist())

    assert (edited("yes"), edited("no"), edits_version(workspace)) == ([], [0, 1, 2], "")
    save_edit(workspace, 1, [SetText(1, "Blue")], reviewer="ada", reason="unsafe", note="why")
    assert (edited("yes"), edited("no")) == ([1], [0, 2])
    shown = read_card_edits(store, Scope(RUN_ID, "none"), list(read_samples(workspace)))
    assert list(shown) == [1]
    assert (shown[1]["reviewer"], shown[1]["reason"], shown[1]["note"]) == ("ada", "unsafe", "why")
    assert shown[1]["changes"][0]["after"] == [["Blue", True]]
    assert shown[1]["score"].startswith("The edited text is not scored.")
    version = edits_version(workspace)
    save_edit(workspace, 1, [], reviewer="ben")  # restored
    assert edited("yes") == []
    undo_edit(workspace, 1, reviewer="ben")
    assert (edited("yes"), edits_version(workspace)) == ([1], version)
    with pytest.raises(FilterError, match="cannot have edited: edits change"):
        SubsetDefinition("s", Threshold(0.0), RUN_ID, where="edited:yes")


def test_the_form_opens_with_the_texts_of_the_record(root: Path, draw: Draw) -> None:
    app = draw("review", {"buttons": "1", "queue": "row_idx"}, {Key.REVIEWER: "Ann"})
    app.button(key="edit-0").click().run()
    assert not app.exception
    [sample, *_] = read_samples(open_workspace(root), [0])
    shown = {area.key: area.value for area in app.text_area}
    assert shown == {f"edit-0-{i}": insert_placeholders(t) for i, t in enumerate(sample.turns)}
    assert app.button(key="edit-save").disabled
    assert list(read_edits(open_workspace(root))) == []
