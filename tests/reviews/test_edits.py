"""Edits as events: which one is current, undo, conflicts, older logs, and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import scoring
from scoring.dataset.importing import import_dataset
from scoring.errors import InputError
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import decision_feed, open_review_log, read_edits, read_events
from scoring.reviews.edits import DropTurn, Edit, SetText, SwapAnswers, parse_edit
from scoring.reviews.resolution import latest_decisions
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.test_cli import visnec

EARLY, NOON, LATER = (f"2026-01-02T{hour}:00:00Z" for hour in (11, 12, 13))
RECORDS = [
    {
        "id": "a",
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWho?"},
            {"from": "gpt", "value": "Ada"},
            {"from": "human", "value": "Where?"},
            {"from": "gpt", "value": "Here"},
        ],
    },
    {"question": "How many?", "answer": 2, "image": "b.png"},
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    source = tmp_path / "records.json"
    source.write_text(json.dumps(RECORDS))
    made = create_workspace(tmp_path / "ws")
    import_dataset(made, [source], [tmp_path])
    return made


def draft(text: str, decided_at: str | None = None) -> DecisionDraft:
    edit = str(Edit((SetText(1, text),), "other", "0" * 64))
    return DecisionDraft(0, None, edit=edit, decided_at=decided_at)


def current(workspace: Workspace) -> list[tuple[str, str, bool]]:
    """Reviewer, text and whether it is a conflict, of each edited sample."""
    return [
        (each.event.reviewer, each.edit.operations[0].text, each.is_conflict)  # type: ignore[union-attr]
        for each in read_edits(workspace)
    ]


def test_the_newest_edit_is_current_and_undo_returns_to_the_one_before(
    workspace: Workspace,
) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([draft("one", LATER), draft("two", NOON)])  # in a log its order decides
    assert current(workspace) == [("ada", "two", False)]
    log.undo_edit(0)
    assert current(workspace) == [("ada", "one", False)]
    log.undo_edit(0)
    assert log.undo_edit(0) == []
    assert current(workspace) == []
    assert len(list(read_events(workspace))) == 4


def test_the_newest_of_several_reviewers_is_current_and_a_conflict_is_reported(
    workspace: Workspace,
) -> None:
    open_review_log(workspace, "ben", "desk").append([draft("two", LATER)])
    open_review_log(workspace, "ada", "desk").append([draft("one", NOON)])
    assert current(workspace) == [("ben", "two", True)]
    open_review_log(workspace, "ada", "laptop").append([draft("two", EARLY)])
    open_review_log(workspace, "ada", "desk").undo_edit(0)
    assert current(workspace) == [("ben", "two", False)]


def test_an_edit_touches_no_decision_and_a_decision_no_edit(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(0, Decision.KEEP, note="sharp"), draft("one")])
    [latest] = latest_decisions(read_events(workspace))
    assert (latest.decision, latest.note) == (Decision.KEEP, "sharp")
    log.undo_latest()
    assert current(workspace) == [("ada", "one", False)]
    changes = decision_feed(workspace).read_changes(0)
    assert (changes.rows, [each.row_idx for each in changes.edits]) == ({0}, [0])


def test_logs_have_the_key_of_edits_only_where_there_is_one(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(0, Decision.KEEP), draft("one")])
    decided, edited = map(json.loads, log.path.read_bytes().splitlines())
    assert "edit" not in decided
    assert [edited[name] for name in ("decision", "note", "undoes")] == [None] * 3
    older = {name: value for name, value in edited.items() if name != "edit"}
    assert set(older) == set(decided)  # what an earlier version reads of it


def test_an_edit_of_a_newer_version_is_kept_and_never_applied(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([draft("one")])
    line = json.loads(log.path.read_bytes()) | {"event_id": "x", "seq": 2}
    line["edit"] = '{"operations": [{"op": "rotate_image"}], "reason": "other", "digest": ""}'
    with log.path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    [newest] = read_edits(workspace)
    assert newest.changes_record
    with pytest.raises(InputError, match="Unknown operation 'rotate_image'"):
        assert newest.edit


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", "Invalid edit"),
        ('{"operations": []}', "Invalid edit"),
        ('{"operations": [], "reason": 1, "digest": ""}', "must be a text"),
        ('{"operations": [], "reason": "", "digest": "", "more": 1}', "Unknown key 'more'"),
        ('{"operations": [{"op": "drop_turn"}], "reason": "", "digest": ""}', "needs position"),
        (
            '{"operations": [{"op": "drop_turn", "position": -1}], "reason": "", "digest": ""}',
            "Invalid position",
        ),
        (
            '{"operations": [{"op": "drop_turn", "position": 1, "x": 1}], "reason": "", '
            '"digest": ""}',
            "has no 'x'",
        ),
    ],
)
def test_invalid_edits_are_refused_before_they_are_written(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        DecisionDraft(0, None, edit=text)
    with pytest.raises(InputError, match="event of its own"):
        DecisionDraft(0, Decision.KEEP, edit=str(draft("one").edit))


def test_edits_are_checked_against_the_record(workspace: Workspace) -> None:
    saved = scoring.save_edit(workspace, 0, [SwapAnswers(1, 3), DropTurn(3)], reviewer="ada")
    assert saved.after.answer == "Here"
    assert saved.warning is None
    with pytest.raises(InputError, match="Row 0 cannot be edited so: it has no answer"):
        scoring.save_edit(workspace, 0, [DropTurn(0)], reviewer="ada")
    with pytest.raises(InputError, match="Unknown reason 'bored'"):
        scoring.save_edit(workspace, 0, [DropTurn(1)], reviewer="ada", reason="bored")
    with pytest.raises(InputError, match="no sample 9"):
        scoring.save_edit(workspace, 9, [DropTurn(1)], reviewer="ada")
    number = scoring.save_edit(workspace, 1, [SetText(1, "Three")], reviewer="ada")
    assert str(number.warning).startswith("Exports that keep the bytes of row 1 will refuse")
    with pytest.raises(InputError, match="ben has no edit of row 0"):
        scoring.undo_edit(workspace, 0, reviewer="ben")


def test_reasons_may_be_configured(workspace: Workspace) -> None:
    path = workspace.root / "workspace.json"
    assert "edit_reasons" not in json.loads(path.read_text())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"edit_reasons": ["blurred"]}))
    opened = open_workspace(workspace.root)
    scoring.save_edit(opened, 0, [DropTurn(1)], reviewer="ada", reason="blurred")
    with pytest.raises(InputError, match="Choose one of: blurred"):
        scoring.save_edit(opened, 0, [DropTurn(1)], reviewer="ada", reason="other")


def test_the_commands_edit_list_and_undo(workspace: Workspace) -> None:
    root = str(workspace.root)
    call = ("edit", "0", "-w", root, "--reviewer", "ada", "--json")
    visnec(*call, "--answer", "Ben", "--reason", "wrong_answer", "--note", "see the sign")
    visnec(*call, "--question", "Who is this? <image>", "--turn", "1")
    done = visnec(*call, "--swap", "1,2", "--drop", "2")
    edit = parse_edit(json.dumps(json.loads(done.stdout)["operations"] and _edit_of(done.stdout)))
    assert [operation.op for operation in edit.operations] == [
        "set_text",
        "set_text",
        "swap_answers",
        "drop_turn",
    ]
    [sample] = read_edits(workspace)
    assert sample.edit.operations == edit.operations
    listed = json.loads(visnec("edits", "-w", root, "--history", "--json").stdout)
    assert [each["state"] for each in listed] == ["replaced", "replaced", "current"]
    assert listed[0]["note"] == "see the sign"
    visnec(*call, "--undo")
    visnec("edit", "0", "-w", root, "--reviewer", "ben", "--restore")
    listed = json.loads(visnec("edits", "-w", root, "--conflicts", "--json").stdout)
    assert [(each["reviewer"], each["state"]) for each in listed] == [
        ("ada", "older"),
        ("ben", "current"),
    ]
    [restored] = read_edits(workspace)
    assert not restored.changes_record


def _edit_of(stdout: str) -> dict[str, object]:
    values = json.loads(stdout)
    return {name: values[name] for name in ("operations", "reason", "digest")}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "Name a change"),
        (("--answer", "x", "--turn", "3"), "has 2 answer(s), and no answer 3"),
        (("--question", "no mark"), "1 image placeholder(s), and its text 0"),
        (("--swap", "1"), "needs two numbers, such as 1,2"),
        (("--operations", "{"), "is not a JSON list"),
    ],
)
def test_wrong_usage_of_edit_is_explained(
    workspace: Workspace, options: tuple[str, ...], problem: str
) -> None:
    call = ("edit", "0", "-w", str(workspace.root), "--reviewer", "ada", *options)
    failed = visnec(*call)
    assert failed.returncode == 2
    assert problem in " ".join(failed.stderr.split())
