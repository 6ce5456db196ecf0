"""Edits of records: the bytes that change, what refuses, and that the rest stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info
from scoring.exports.editing import save_edit
from scoring.exports.record_edits import RecordReading, edit_sample, reading_of
from scoring.readers.json_stream import RawRecord
from scoring.readers.options import ReadOptions, described_options
from scoring.readers.records import to_sample
from scoring.readers.turn_removal import EditError
from scoring.reviews.edits import (
    DropTurn,
    Edit,
    MoveImage,
    Operation,
    RemoveImage,
    SetText,
    SwapAnswers,
    apply_operations,
    digest_conversation,
    map_answers,
    parse_edit,
)
from scoring.samples import Role, Sample, Status
from scoring.workspace import create_workspace, open_workspace

LLAVA = (
    b'{ "z":1e-7, "image" : "a\\/1.png","conversations":[ '
    b'{"from":"human","value":"<image>\\nna\\u00efve one?"} ,\n'
    b'  {"from":"gpt","value":"caf\\u00e9 \\/","why":[1.50]},'
    b'{"value":"two \\ud83d\\ude00?","from":"human"},   {"from":"gpt","value":"B"} ] ,"id":7}'
)
TYPED = (
    b'{"messages":[{"role":"user","content":[{"type":"image"},{"type":"text","text":"Who?"}]},'
    b'{"role":"assistant","content":[{"type":"text", "text":"A"}]}],"images":["x.png"]}'
)
QA = b'{"image":"q.png", "question":"How many?", "answer":"Two", "note":"Three"}'
SURPLUS = (
    b'{"image":"a.png","conversations":[{"from":"human","value":"<image> or <image>?"},'
    b'{"from":"gpt","value":"Yes"}]}'
)
SEVERAL = (
    b'{"image":["1.png", "2.png"],"conversations":[{"from":"human","value":"<image><image>?"},'
    b'{"from":"gpt","value":"Yes"}]}'
)
BARE = (
    b'{"image":"a.png","conversations":[{"from":"human","value":"Who?"},'
    b'{"from":"gpt","value":"Me"}]}'
)


def sample_of(record: bytes) -> Sample:
    return to_sample(3, RawRecord(record, json.loads(record)), "file")


def edit(record: bytes, *operations: Operation) -> bytes:
    sample = sample_of(record)
    made = Edit(operations, "wrong_answer", digest_conversation(sample))
    assert parse_edit(str(made)) == made
    return edit_sample(sample, made, RecordReading("llava")).original


@pytest.mark.parametrize(
    ("record", "operation", "before", "after"),
    [
        (LLAVA, SetText(1, "né"), b'"caf\\u00e9 \\/"', b'"n\\u00e9"'),
        (LLAVA, SetText(0, "\nWho?", (0,)), b"na\\u00efve one?", b"Who?"),
        (LLAVA, SetText(0, "Who \n", (4,)), b"<image>\\nna\\u00efve one?", b"Who <image>\\n"),
        (LLAVA, MoveImage(0, 2, 0), b'"two ', b'"<image>two '),
        (TYPED, SetText(1, "B"), b'"A"', b'"B"'),
        (TYPED, SetText(0, "What?", (0,)), b'"Who?"', b'"What?"'),
        (QA, SetText(1, "Three"), b'"Two"', b'"Three"'),
        (SURPLUS, RemoveImage(1), b"or <image>?", b"or ?"),
        (SEVERAL, RemoveImage(0), b'"1.png", ', b""),
        (BARE, SetText(0, "\nWhen?", (0,)), b'"Who?"', b'"When?"'),
        (BARE, SetText(1, "日本"), b'"Me"', b'"\\u65e5\\u672c"'),
        (QA.replace(b"Two", "é".encode()), SetText(1, "日"), "é".encode(), "日".encode()),
    ],
)
def test_only_the_edited_value_changes(
    record: bytes, operation: Operation, before: bytes, after: bytes
) -> None:
    expected = record.replace(before, after, 1)
    if isinstance(operation, MoveImage):
        expected = expected.replace(b'"<image>\\nna', b'"\\nna')
    if record is SEVERAL:
        expected = expected.replace(b"<image><image>", b"<image>")
    assert edit(record, operation) == expected


def test_swapped_answers_keep_their_spelling() -> None:
    swapped = edit(LLAVA, SwapAnswers(1, 3))
    assert b'"value":"B","why":[1.50]' in swapped
    assert swapped.endswith(b'{"from":"gpt","value":"caf\\u00e9 \\/"} ] ,"id":7}')
    assert edit(LLAVA, SwapAnswers(1, 3), SwapAnswers(3, 1)) == LLAVA


def test_a_dropped_turn_takes_its_question_and_leaves_its_image() -> None:
    assert edit(LLAVA, DropTurn(1)) == (
        b'{ "z":1e-7, "image" : "a\\/1.png","conversations":[ '
        b'{"value":"<image>\\ntwo \\ud83d\\ude00?","from":"human"},   {"from":"gpt","value":"B"} '
        b'] ,"id":7}'
    )


def test_removing_the_only_image_removes_its_key() -> None:
    sample = sample_of(LLAVA)
    made = Edit((RemoveImage(0),), "wrong_image", digest_conversation(sample))
    changed = edit_sample(sample, made, RecordReading("llava"))
    assert changed.status is Status.TEXT_ONLY
    assert changed.images == ()
    assert json.loads(changed.original) == {
        **{key: value for key, value in json.loads(LLAVA).items() if key != "image"},
        "conversations": [
            {"from": "human", "value": "\nnaïve one?"},
            *json.loads(LLAVA)["conversations"][1:],
        ],
    }


def test_a_surplus_placeholder_is_repaired() -> None:
    sample = sample_of(SURPLUS)
    assert sample.status is Status.PLACEHOLDER_MISMATCH
    made = Edit((RemoveImage(1),), "formatting", digest_conversation(sample))
    assert edit_sample(sample, made, RecordReading("llava")).status is Status.PENDING


@pytest.mark.parametrize(
    ("record", "operations", "problem"),
    [
        (LLAVA, (SetText(1, " "),), "cannot be empty"),
        (LLAVA, (SetText(0, "no image"),), "1 image placeholder"),
        (LLAVA, (SetText(0, "an <image> more", (0,)),), "would not be read as"),
        (LLAVA, (SetText(9, "x"),), "no turn at position 9"),
        (LLAVA, (SwapAnswers(0, 1),), "no answer at position 0"),
        (LLAVA, (DropTurn(1), DropTurn(3)), "no answer would remain"),
        (LLAVA, (RemoveImage(1),), "no number 2"),
        (LLAVA, (MoveImage(0, 1, 0),), "no question at position 1"),
        (QA.replace(b"Two", b"2").replace(b'"2"', b"2"), (SetText(1, "3"),), "list of turns"),
        (QA, (SetText(1, "Two"), DropTurn(1)), "no answer would remain"),
        (TYPED, (MoveImage(0, 0, 2),), "would not be read as"),
    ],
)
def test_what_does_not_fit_is_refused(
    record: bytes, operations: tuple[Operation, ...], problem: str
) -> None:
    with pytest.raises(EditError, match=problem):
        edit(record, *operations)


def test_an_edit_applies_to_no_other_text() -> None:
    made = Edit((SetText(1, "x"),), "other", digest_conversation(sample_of(LLAVA)))
    other = sample_of(LLAVA.replace(b"one?", b"One?"))
    with pytest.raises(EditError, match="another text"):
        edit_sample(other, made, RecordReading("llava"))


def test_a_record_that_was_read_with_other_options_is_refused() -> None:
    sample = sample_of(QA.replace(b'"answer"', b'"why"').replace(b'"note"', b'"answer"'))
    read = to_sample(3, RawRecord(QA, json.loads(QA)), "file")
    mixed = Sample(3, None, "file", read.images, read.turns, sample.original)
    made = Edit((SetText(1, "x"),), "other", digest_conversation(mixed))
    with pytest.raises(EditError, match="options that are not stored"):
        edit_sample(mixed, made, RecordReading("llava"))
    assert edit_sample(mixed, made, RecordReading("llava"), with_record=False).answer == "x"


FIELDS = ReadOptions(columns={"image": "img", "question": "q", "answer": "meta.a"})
CHAT = ReadOptions(
    columns={"image": "img", "conversations": "meta.chat"},
    roles={"customer": Role.HUMAN, "clerk": Role.ASSISTANT},
)
TAGGED = ReadOptions(turn_keys=("who", "what"), roles={"user": Role.HUMAN})
OWN_QA = b'{"img":["a.png"],"answer":"No","q":"<image>Who?", "note":"Yes","meta":{"a":"Yes" }}'
OWN_CHAT = (
    b'{"messages":"unrelated","img":"a.png","meta":{"chat":['
    b'{"role":"customer","content":"<image>Hi?"},'
    b'{"role":"clerk","content":"Yes"}, {"role":"customer","content":"More?"},'
    b'{"role":"clerk","content":"Yes"}]}}'
)
OWN_TURNS = (
    b'{"image":"a.png","conversations":[{"who":"user","what":"<image>Hi?"},'
    b'{"who":"assistant","what":"Yes","value":"Yes"}]}'
)


@pytest.mark.parametrize(
    ("record", "options", "operation", "before", "after"),
    [
        (OWN_QA, FIELDS, SetText(1, "No"), b'"a":"Yes" ', b'"a":"No" '),
        (OWN_QA, FIELDS, SetText(0, "When?", (0,)), b"Who?", b"When?"),
        (OWN_CHAT, CHAT, SetText(3, "No"), b'"Yes"}]}', b'"No"}]}'),
        (
            OWN_CHAT,
            CHAT,
            DropTurn(3),
            b', {"role":"customer","content":"More?"},{"role":"clerk","content":"Yes"}',
            b"",
        ),
        (OWN_TURNS, TAGGED, SetText(1, "No"), b'"what":"Yes"', b'"what":"No"'),
    ],
)
def test_the_edit_is_written_into_the_fields_that_the_import_named(
    record: bytes, options: ReadOptions, operation: Operation, before: bytes, after: bytes
) -> None:
    sample = to_sample(3, RawRecord(record, json.loads(record)), "file", options)
    assert sample.status is Status.PENDING
    made = Edit((operation,), "other", digest_conversation(sample))
    changed = edit_sample(sample, made, RecordReading("llava", options))
    assert changed.original == record.replace(before, after)
    with pytest.raises(EditError):
        edit_sample(sample, made, RecordReading("llava"))


def test_an_image_is_removed_from_the_field_that_the_import_named() -> None:
    sample = to_sample(3, RawRecord(OWN_QA, json.loads(OWN_QA)), "file", FIELDS)
    made = Edit((RemoveImage(0),), "wrong_image", digest_conversation(sample))
    changed = edit_sample(sample, made, RecordReading("qa", FIELDS))
    expected = OWN_QA.replace(b'["a.png"]', b"[]").replace(b"<image>", b"")
    assert (changed.original, changed.status) == (expected, Status.TEXT_ONLY)


def test_an_import_stores_the_options_that_edits_need(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "data.jsonl").write_bytes(OWN_QA + b"\n")
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [tmp_path / "data.jsonl"], options=FIELDS)
    workspace = open_workspace(workspace.root)
    assert reading_of(read_dataset_info(workspace), 0).options == FIELDS
    saved = save_edit(workspace, 0, [SetText(1, "No")], reviewer="ada")
    assert saved.warning is None
    assert saved.after.original == OWN_QA.replace(b'"a":"Yes"', b'"a":"No"')


@pytest.mark.parametrize("options", [ReadOptions(), FIELDS, CHAT, TAGGED])
def test_stored_options_are_read_again(options: ReadOptions) -> None:
    stored = json.loads(json.dumps(options.describe_records()))
    assert described_options(stored) == options
    assert bool(stored) == (options != ReadOptions())


def test_answers_are_traced_through_operations() -> None:
    sample = sample_of(LLAVA)
    assert map_answers(sample, (SwapAnswers(1, 3),)) == [1, 0]
    assert map_answers(sample, (SwapAnswers(1, 3), SetText(1, "x"))) == [None, 0]
    assert map_answers(sample, (DropTurn(1),)) == [1]
    assert apply_operations(sample, ()).images == (0,)
