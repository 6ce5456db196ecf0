"""How the records of a JSON file are laid out, damaged files included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.errors import RecordError
from scoring.readers.detect import detect_format
from scoring.readers.json_stream import CHUNK_BYTES
from scoring.readers.options import ReadOptions
from scoring.samples import Sample, Status
from scoring.workspace import create_workspace, open_workspace

TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
TURN_RECORD = {"id": "1", "conversations": TURNS}


def imported(tmp_path: Path, text: str, *, keep_going: bool = False) -> list[Sample]:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "d.json").write_text(text, "utf-8")
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [tmp_path / "d.json"], options=ReadOptions(keep_going=keep_going))
    return list(read_samples(open_workspace(workspace.root)))


def pretty(*records: object) -> str:
    return "\n".join(json.dumps(record, indent=2) for record in records)


def packed(*names: str) -> list[dict[str, Any]]:
    return [{"id": name, "conversations": TURNS} for name in names]


META = {"version": "0.0.1", "time": "2023-06", "author": "ntu", "license": ["a", "b"]}
KEYED = {
    f"D3_INS_{number:06d}": {
        "instruction": "q", "answer": "a", "image_ids": ["D3_0"], "rel_ins_ids": [],
    }
    for number in range(3)
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "container", "answers"),
    [
        (json.dumps({"meta": META, "data": KEYED}), "object", 3),
        (json.dumps({"meta": META, "data": KEYED}, indent=1), "object", 3),
        (json.dumps({"data": KEYED, "meta": META}), "object", 3),
        ("\n".join(json.dumps(TURNS) for _ in range(2)), "lines", 2),
        (json.dumps(CHAT), "lines", 1),
        (pretty(TURNS), "values", 1),
        (pretty(TURNS, CHAT), "values", 2),
        ("\n".join(json.dumps(packed(*names)) for names in ("ab", "c")), "lines", 3),
        (pretty(TURN_RECORD), "values", 1),
        (pretty(TURN_RECORD, TURN_RECORD), "values", 2),
        (pretty({"messages": CHAT, "data": {"a": 1, "b": 2}}), "values", 1),
        (json.dumps({**TURN_RECORD, "data": [{"x": 1, "y": 2}]}), "lines", 1),
        (json.dumps({"items": [{"x": 1, "y": 2}], "question": "q", "answer": "a"}), "lines", 1),
        (json.dumps({"rows": packed("a", "b"), "n": 2}), "object", 2),
        (json.dumps([TURN_RECORD]), "array", 1),
        (json.dumps([{"from": "x@y.z", "question": "q", "answer": "a"}]), "array", 1),
    ],
)
def test_a_layout_is_detected_from_the_content(
    tmp_path: Path, text: str, container: str, answers: int
) -> None:
    samples = imported(tmp_path, text)
    assert detect_format(tmp_path / "d.json").container == container
    assert [sample.answer for sample in samples] == ["a"] * answers
    assert all(sample.original.decode() in text for sample in samples)


RECORDS: dict[str, dict[str, Any]] = {
    "llava": {"id": "1", "conversations": TURNS},
    "messages": {"messages": CHAT, "images": []},
    "typed parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]},
                                 {"role": "assistant", "content": "a"}]},
    "qa": {"instruction": "q", "output": "a"},
    "math": {"problem": "q", "solution": "a"},
    "pair": {"prompt": "q", "response": "a"},
    "caption": {"image": "1.png", "caption": "a"},
    "data-juicer": {"images": ["1.png"], "text": "<__dj__image> a"},
    "history": {"query": "q", "response": "a", "history": []},
}  # fmt: skip


@pytest.mark.parametrize("family", RECORDS)
@pytest.mark.parametrize("layout", ["array", "object", "values"])
def test_a_damaged_first_record_does_not_affect_others(
    tmp_path: Path, family: str, layout: str
) -> None:
    whole = json.dumps(RECORDS[family])
    broken = whole.replace('": ', '" ', 1)
    if layout == "array":
        text = f"[{broken}, {whole}, {whole}]"
    elif layout == "object":
        text = f'{{"a": {broken}, "b": {whole}, "c": {whole}}}'
    else:
        text = "\n".join(pretty(json.loads(whole)) for _ in range(3)).replace('": ', '" ', 1)
    with pytest.raises(RecordError):
        imported(tmp_path, text)
    samples = imported(tmp_path, text, keep_going=True)
    assert [sample.status is Status.BAD_RECORD for sample in samples] == [True, False, False]
    assert [json.loads(sample.original) for sample in samples[1:]] == [RECORDS[family]] * 2


@pytest.mark.parametrize(
    "text",
    [
        "[{0} {0}, {0}]",
        "[{0}, {0} {0}]",
        '{{"a": {0} "b": {0}, "c": {0}}}',
        '{{"a": {0}, "b": {0} "c": {0}}}',
    ],
)
def test_a_missing_comma_loses_no_record(tmp_path: Path, text: str) -> None:
    samples = imported(tmp_path, text.format(json.dumps(TURN_RECORD)), keep_going=True)
    assert [sample.answer for sample in samples] == ["a", "a", "a"]


def test_records_under_a_key_are_detected_with_a_damaged_first_record(tmp_path: Path) -> None:
    one = json.dumps(TURN_RECORD)
    samples = imported(tmp_path, f'{{"data": [\n{{x,\n{one},\n{one}]}}', keep_going=True)
    assert [sample.answer for sample in samples] == ["", "a", "a"]
    lines = f'{{"data": [{{x}}]}}\n{one}\n'
    assert [one.answer for one in imported(tmp_path / "b", lines, keep_going=True)] == ["", "a"]


def test_a_missing_colon_after_a_key_does_not_loop_forever(tmp_path: Path) -> None:
    one = json.dumps(TURN_RECORD)
    samples = imported(tmp_path, f'{{"a": {one}, "b" {one}, "c": {one}}}', keep_going=True)
    assert [sample.answer for sample in samples] == ["a", "", "a"]


def test_one_record_may_be_longer_than_the_detection_window(tmp_path: Path) -> None:
    long = {"id": "1", "conversations": [TURNS[0], {"from": "gpt", "value": "a" * CHUNK_BYTES * 2}]}
    assert [len(one.answer) for one in imported(tmp_path, pretty(long))] == [CHUNK_BYTES * 2]


def test_the_column_of_an_error_counts_the_indent(tmp_path: Path) -> None:
    one = json.dumps(TURN_RECORD)
    for indent in ("", "   ", "\t"):
        column = len(indent) + 2
        with pytest.raises(RecordError, match=rf"line 2, column {column}: Expecting property"):
            imported(tmp_path, f"{one}\n{indent}{{x\n")
