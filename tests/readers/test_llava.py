"""Samples of LLaVA records."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.readers import records
from scoring.readers.families import parse_plain_record
from scoring.readers.json_stream import RawRecord
from scoring.readers.records import to_sample
from scoring.samples import Role, Sample, Status, Turn


def understood(**record: Any) -> Sample:
    return to_sample(7, RawRecord(json.dumps(record).encode(), record), "file")


def talk(*texts: str) -> list[dict[str, str]]:
    roles = ("human", "gpt")
    return [{"from": roles[i % 2], "value": text} for i, text in enumerate(texts)]


def test_a_single_image_with_the_placeholder_first() -> None:
    sample = understood(id="a", image="coco/1.jpg", conversations=talk("<image>\nWhat?", "A cat"))
    assert sample.turns == (Turn(Role.HUMAN, "\nWhat?", (0,)), Turn(Role.ASSISTANT, "A cat"))
    assert (sample.row_idx, sample.id, sample.source) == (7, "a", "coco")
    assert (sample.question, sample.answer, sample.n_turns) == ("What?", "A cat", 1)
    assert sample.status is Status.PENDING


def test_the_placeholder_may_be_last_or_in_the_middle() -> None:
    sample = understood(image=["1.jpg", "2.jpg"], conversations=talk("a<image>b\n<image>", "x"))
    assert sample.turns[0] == Turn(Role.HUMAN, "ab\n", (1, 3))


def test_an_image_without_placeholder_comes_first() -> None:
    sample = understood(image="1.jpg", conversations=talk("What?", "x"))
    assert sample.turns[0] == Turn(Role.HUMAN, "\nWhat?", (0,))


def test_a_literal_placeholder_without_image_stays_text() -> None:
    sample = understood(conversations=talk("What does <image> mean?", "A tag"))
    assert sample.status is Status.TEXT_ONLY
    assert sample.turns[0].text == "What does <image> mean?"


def test_source_is_the_record_key_then_the_folder_then_the_file() -> None:
    turns = talk("q", "a")
    assert understood(source="own", image="x/1.jpg", conversations=turns).source == "own"
    assert understood(image="./x/y/1.jpg", conversations=turns).source == "x"
    assert understood(image="1.jpg", conversations=turns).source == "file"


@pytest.mark.parametrize(
    ("record", "status", "reason"),
    [
        ({"image": "1.jpg", "conversations": talk("<image><image>q", "a")},
         Status.PLACEHOLDER_MISMATCH, "2 placeholder(s) <image> for 1 image(s)"),
        ({"image": "1.jpg", "conversations": talk("<image>q", " \n")},
         Status.NO_ANSWER, "no assistant turn contains text"),
        ({"image": "1.jpg", "conversations": talk("<image>q")},
         Status.NO_ANSWER, "no assistant turn contains text"),
        ({"image": "", "conversations": talk("q", "a")},
         Status.TEXT_ONLY, "the record has no image"),
        ({"video": "1.mp4", "conversations": talk("<video>q", "a")},
         Status.VIDEO, "video records are not scored"),
        ({"image": "1.jpg"},
         Status.BAD_RECORD, "'conversations' must be a list of turns, not None"),
        ({"image": 3, "conversations": talk("q", "a")},
         Status.BAD_RECORD, "'image' must be a path or a list of paths, not 3"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "human", "value": "q"}]},
         Status.BAD_RECORD, "turn 2 is from human, expected assistant"),
        ({"conversations": [{"from": "martian", "value": "q"}]},
         Status.BAD_RECORD,
         "turn 1 has the unknown role 'martian'; known roles: system, human, user, gpt, "
         "assistant, bot, model, chatgpt, evaluator, pretrain, "
         "context, tool, tool_response, observation, function_response, tool_call, function_call, "
         "function"),
        ({"conversations": [{"from": "human", "value": None}]},
         Status.BAD_RECORD, "the value of turn 1 is None, not text"),
    ],
)  # fmt: skip
def test_unscorable_records_have_a_status_and_a_reason(
    record: dict[str, Any], status: Status, reason: str
) -> None:
    sample = understood(**record)
    assert (sample.status, sample.reason) == (status, reason)


@pytest.mark.parametrize("value", [None, 3, "text", [1]])
def test_a_record_that_is_not_an_object_keeps_its_row(value: object) -> None:
    sample = to_sample(3, RawRecord(b"x", value), "file")
    assert (sample.row_idx, sample.status, sample.original) == (3, Status.BAD_RECORD, b"x")


def test_lone_surrogates_are_replaced() -> None:
    sample = understood(id="\ud800", conversations=talk("a\ud800b", "c"))
    assert sample.turns[0].text == "a?b"
    assert sample.id == "?"


PLAIN_TEXTS = st.sampled_from(
    ["q", "", " \n", "<image>", "<image>\nq", "q <image> r", "<image><image>",
     "<ImageHere> <image>", "<img>a.png</img>", "é <image> 図", "\ud800<image>\ud83d",
     "<image", "a <IMG_CONTEXT>"]
)  # fmt: skip
PLAIN_TURNS = st.lists(
    st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "GPT"]), "value": PLAIN_TEXTS}),
    max_size=5,
)
ALTERNATING = st.lists(PLAIN_TEXTS, max_size=6).map(lambda texts: talk(*texts))


@settings(max_examples=600, deadline=None)
@given(
    ALTERNATING | PLAIN_TURNS,
    st.sampled_from([None, "", "1.png", "x/1.png", "[1.png", "['a.png']", "é\ud800.png", ["1.p"]]),
    st.sampled_from([{}, {"video": ""}, {"video": "v"}, {"id": 3}, {"file_name": "f.png"},
                     {"messages": []}, {"image_bytes": []}, {"texts": []}, {"source": "s"}]),
)  # fmt: skip
def test_the_fast_parser_agrees_with_the_general_one(
    turns: list[dict[str, str]], image: object, more: dict[str, object]
) -> None:
    value = {"image": image, "conversations": turns, **more}
    raw = RawRecord(repr(value).encode("utf-8", "replace"), value)
    found = to_sample(0, raw, "file")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "parse_plain_record", lambda _: None)
        assert to_sample(0, raw, "file") == found


def test_the_common_shape_uses_the_fast_parser() -> None:
    turns = talk("<image>\nq", "a", "r", "b")
    assert parse_plain_record({"id": "1", "image": "1.png", "conversations": turns}) is not None
    assert parse_plain_record({"id": "1", "model": "", "conversations": talk("q", "a")}) is not None
