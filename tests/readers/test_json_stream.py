"""Cutting JSON into records: every byte kept, every place named."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.errors import RecordError
from scoring.readers import json_stream
from scoring.readers.json_stream import read_json_array, read_json_lines, read_json_object

RECORDS = [
    r'{"a": 1e-7,  "b":"\ud800 é <image>", "c":[1,2,{"x":"]},"}]}',
    '{"z" : "日本", "z":2}',
    "{}",
    '{"big": ' + "9" * 5000 + "}",
]


def cut_array(data: bytes) -> list[bytes]:
    return [record.original for record in read_json_array(io.BytesIO(data), "d.json")]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
def test_array_records_keep_their_bytes(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", chunk)
    data = ("\ufeff [ " + " ,\n".join(RECORDS) + " ]\n").encode()
    assert cut_array(data) == [record.encode() for record in RECORDS]


def test_bytes_that_are_not_utf8_are_kept_in_a_record_with_a_problem() -> None:
    (found,) = read_json_array(io.BytesIO(b'[{"a":"\xff\xfe"}]'), "d.json", keep_going=True)
    assert found.original == b'{"a":"\xff\xfe"}'
    assert found.problem == "line 1, column 8: byte 0xFF is not UTF-8"


def test_an_empty_array_has_no_records() -> None:
    assert cut_array(b" [ ] ") == []


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b'[{"a":1},\n {"b" 2}]', "line 2, column 7: Expecting ':' delimiter"),
        (b'[{"a":1} {"b":2}]', "line 1, column 10: expected ',' or ']', found '{'"),
        (b'[{"a":1}', "line 1, column 9: expected ',' or ']', found the end of the file"),
        (b'[{"a":1}]x', "line 1, column 10: 'x' after the end of the array"),
        (b'[{"a":"cut off', "line 1, column 7: Unterminated string"),
        (b"", "line 1, column 1: expected '[', found the end of the file"),
    ],
)
def test_an_error_names_line_and_column(data: bytes, place: str) -> None:
    with pytest.raises(RecordError) as error:
        cut_array(data)
    assert str(error.value).startswith(f"d.json: {place}")


def test_line_and_column_are_right_after_the_window_has_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", 4)
    data = b'[{"a":1},\n{"a":2},\n{"a":3},\n{"a" 4}]'
    with pytest.raises(RecordError, match="line 4, column 6"):
        cut_array(data)


@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ).map(lambda value: {"v": value}),
        max_size=6,
    ),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
)
def test_any_json_is_split_at_its_records(
    values: list[object], indent: int | None, ascii_only: bool
) -> None:
    records = [json.dumps(value, indent=indent, ensure_ascii=ascii_only) for value in values]
    data = ("[" + ",".join(records) + "]").encode("utf-8", "surrogatepass")
    expected = [record.encode("utf-8", "surrogatepass") for record in records]
    assert cut_array(data) == expected


def test_lines_keep_their_bytes_and_bad_lines_their_row() -> None:
    data = b'\xef\xbb\xbf{"a": 1}\r\n\n{"a" 2}\n  {"a": 3} x\n{"a":4}'
    with pytest.raises(RecordError, match=r"d\.jsonl: line 3, column 6: Expecting ':' delimiter"):
        list(read_json_lines(io.BytesIO(data), "d.jsonl"))
    records = list(read_json_lines(io.BytesIO(data), "d.jsonl", keep_going=True))
    assert [record.original for record in records] == [
        b'{"a": 1}',
        b'{"a" 2}',
        b'{"a": 3} x',
        b'{"a":4}',
    ]
    assert [record.problem is None for record in records] == [True, False, False, True]


def test_an_invalid_key_is_damage_up_to_the_next_member() -> None:
    data = rb'{"a": {"x": 1, "y": 2}, "\u9": {"x": 3, "y": 4}, "c": {"x": 5, "y": 6}}'
    records = list(read_json_object(io.BytesIO(data), "d.json", keep_going=True))
    assert [record.key for record in records] == ["a", None, "c"]
    assert records[1].original == rb'"\u9": {"x": 3, "y": 4}'
