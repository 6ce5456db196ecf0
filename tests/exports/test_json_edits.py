"""Edits of record bytes: removed turns, moved images, added keys, and nothing else changes."""

from __future__ import annotations

import json

import pytest

from scoring.exports.json_edits import (
    EditError,
    add_key,
    mask_record_turns,
    remove_record_turns,
)
from scoring.readers.json_stream import RawRecord
from scoring.readers.records import to_sample
from scoring.readers.turn_removal import remove_turns
from scoring.samples import Role, Sample, Turn

# Odd spacing, escapes that no printer makes again, an unknown key in a turn, numbers as they came.
THREE = (
    b'{ "z":1e-7, "image" : "a\\/1.png","conversations":[ '
    b'{"from":"human","value":"<image>\\nna\\u00efve one?"} ,\n'
    b'  {"from":"gpt","value":"A","why":[1.50]},'
    b'{"value":"two \\ud83d\\ude00?","from":"human"},   {"from":"gpt","value":"B"},\t'
    b'{"from":"human","value":"three?"},{"from":"gpt","value":"C" } ] ,"id":7}'
)
CHAT = (
    b'{"messages":[{"role":"system","content":"S"},{"role":"user","content":"one"},'
    b'{"role":"assistant","content":"A"},{"role":"user","content":"<image>two"},'
    b'{"role":"assistant","content":"B"}],"images":["x.png"]}'
)


def sample_of(record: bytes) -> Sample:
    return to_sample(0, RawRecord(record, json.loads(record)), "file")


def cut(record: bytes, *answers: int) -> bytes:
    return remove_record_turns(record, sample_of(record).turns, answers)


def test_the_image_of_a_removed_first_turn_moves_to_the_next_question() -> None:
    assert cut(THREE, 0) == (
        b'{ "z":1e-7, "image" : "a\\/1.png","conversations":[ '
        b'{"value":"<image>\\ntwo \\ud83d\\ude00?","from":"human"},   {"from":"gpt","value":"B"},\t'
        b'{"from":"human","value":"three?"},{"from":"gpt","value":"C" } ] ,"id":7}'
    )


def test_a_removed_turn_in_the_middle_moves_nothing() -> None:
    assert cut(THREE, 1) == (
        b'{ "z":1e-7, "image" : "a\\/1.png","conversations":[ '
        b'{"from":"human","value":"<image>\\nna\\u00efve one?"} ,\n'
        b'  {"from":"gpt","value":"A","why":[1.50]},\t'
        b'{"from":"human","value":"three?"},{"from":"gpt","value":"C" } ] ,"id":7}'
    )


def test_several_turns_are_removed_at_once() -> None:
    assert cut(THREE, 0, 1) == (
        b'{ "z":1e-7, "image" : "a\\/1.png","conversations":[ '
        b'{"from":"human","value":"<image>\\nthree?"},{"from":"gpt","value":"C" } ] ,"id":7}'
    )
    assert cut(THREE, 1, 2) == (
        b'{ "z":1e-7, "image" : "a\\/1.png","conversations":[ '
        b'{"from":"human","value":"<image>\\nna\\u00efve one?"} ,\n'
        b'  {"from":"gpt","value":"A","why":[1.50]} ] ,"id":7}'
    )


def test_after_the_last_question_an_image_moves_to_the_one_before() -> None:
    assert cut(CHAT, 1) == (
        b'{"messages":[{"role":"system","content":"S"},{"role":"user","content":"one\\n<image>"},'
        b'{"role":"assistant","content":"A"}],"images":["x.png"]}'
    )


def test_the_edited_record_parses_as_the_remaining_turns() -> None:
    for record, answers in (
        (THREE, (0,)),
        (THREE, (1,)),
        (THREE, (0, 1)),
        (CHAT, (0,)),
        (CHAT, (1,)),
    ):
        again = sample_of(cut(record, *answers))
        assert list(again.turns) == remove_turns(sample_of(record).turns, answers)
        assert again.images == sample_of(record).images


def test_a_null_list_does_not_count() -> None:
    record = CHAT.replace(b'"images"', b'"conversations":null,"images"')
    assert cut(record, 1) == cut(CHAT, 1).replace(b'"images"', b'"conversations":null,"images"')


def test_several_images_keep_their_order() -> None:
    turns = [
        Turn(Role.HUMAN, "one", (0, 3)),
        Turn(Role.ASSISTANT, "A"),
        Turn(Role.HUMAN, "two", (3,)),
        Turn(Role.ASSISTANT, "B"),
        Turn(Role.HUMAN, "three", (5,)),
        Turn(Role.ASSISTANT, "C"),
    ]
    assert remove_turns(turns, [0, 1])[0] == Turn(Role.HUMAN, "\n\nthree", (0, 0, 1, 7))
    assert remove_turns(turns, [1, 2])[0] == Turn(Role.HUMAN, "one\n\n", (0, 3, 4, 5))


def test_images_of_several_questions_have_the_same_order_in_record_and_turns() -> None:
    record = (
        b'{"image":["1.png","2.png","3.png"],"conversations":['
        b'{"from":"human","value":"<image><image>one"},{"from":"gpt","value":"A"},'
        b'{"from":"human","value":"<image>two"},{"from":"gpt","value":"B"},'
        b'{"from":"human","value":"three"},{"from":"gpt","value":"C"}]}'
    )
    turns = sample_of(record).turns
    after = cut(record, 0, 1)
    assert b'"<image><image>\\n<image>\\nthree"' in after
    assert list(sample_of(after).turns) == remove_turns(turns, [0, 1])


def test_a_mask_is_a_key_of_the_answer_only() -> None:
    assert mask_record_turns(THREE, sample_of(THREE).turns, [0, 2], "loss") == THREE.replace(
        b'"why":[1.50]}', b'"why":[1.50], "loss": false}'
    ).replace(b'"value":"C" }', b'"value":"C", "loss": false }')


def test_a_key_is_added_at_the_end_of_the_record() -> None:
    assert add_key(THREE, "weight", "1.5") == THREE[:-1] + b', "weight": 1.5}'
    assert add_key(b"{ }", "w", "1") == b'{"w": 1 }'
    assert add_key(b'{"a":"\xff}"\n}', "w", "1") == b'{"a":"\xff}", "w": 1\n}'
    with pytest.raises(EditError, match="a key 'z' of its own"):
        add_key(THREE, "z", "1")
    with pytest.raises(EditError, match="not an object"):
        add_key(b"[1]", "w", "1")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        # A part of type image has no place in a plain text.
        (
            b'{"messages":[{"role":"user","content":[{"type":"image"},{"type":"text","text":"1"}]},'
            b'{"role":"assistant","content":"A"},{"role":"user","content":"2"},'
            b'{"role":"assistant","content":"B"}],"images":["x.png"]}',
            "not a plain text",
        ),
        # The turn of a tool was merged with its neighbour.
        (
            b'{"conversations":[{"from":"human","value":"<image>1"},{"from":"observation","value":'
            b'"t"},{"from":"gpt","value":"A"},{"from":"human","value":"2"},'
            b'{"from":"gpt","value":"B"}],"image":"x.png"}',
            "not correspond to its turns",
        ),
        (
            b'{"conversations":[{"from":"human","value":"<img>a/x.png</img>1"},{"from":"gpt",'
            b'"value":"A"},{"from":"human","value":"2"},{"from":"gpt","value":"B"}]}',
            "cannot be moved",
        ),
        # Which of two lists the readers took is not for an edit to guess.
        (
            b'{"messages":[{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"human",'
            b'"value":"c"},{"from":"gpt","value":"d"}],"conversations":[{"from":"human","value":'
            b'"1"},{"from":"gpt","value":"A"},{"from":"human","value":"2"},{"from":"gpt","value":'
            b'"B"}]}',
            "both 'messages' and 'conversations'",
        ),
    ],
)
def test_records_that_cannot_be_edited_give_a_reason(record: bytes, why: str) -> None:
    with pytest.raises(EditError, match=why):
        cut(record, 0)


def test_an_image_without_a_placeholder_is_not_moved() -> None:
    record = (
        b'{"image":"x.png","conversations":[{"from":"human","value":"1"},{"from":"gpt","value":'
        b'"A"},{"from":"human","value":"2"},{"from":"gpt","value":"B"}]}'
    )
    assert cut(record, 0) == record.replace(
        b'{"from":"human","value":"1"},{"from":"gpt","value":"A"},', b""
    )
