"""What must hold for any bytes that are handed to the record parsers.

A file is read or refused with a RecordError, nothing else; whatever a record holds, it becomes a
sample that can be written down; and a JSON record's bytes are a slice of the file that parses to
the record again. The first byte of the input chooses the reader, so that one corpus serves all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import IO

from scoring.errors import RecordError
from scoring.readers.detect import open_decompressed
from scoring.readers.json_stream import (
    RawRecord,
    read_json_array,
    read_json_lines,
    read_json_object,
    read_json_values,
)
from scoring.readers.options import FAMILIES, ReadOptions
from scoring.readers.records import to_sample
from scoring.readers.tars import read_webdataset
from scoring.readers.tsv import read_table
from scoring.samples import Sample, Status

Read = Callable[[IO[bytes], bool], Iterator[RawRecord]]
NAME = "fuzzed"
JSON_READERS: dict[str, Read] = {
    "array": lambda file, go_on: read_json_array(file, NAME, go_on),
    "lines": lambda file, go_on: read_json_lines(file, NAME, go_on),
    "object": lambda file, go_on: read_json_object(file, NAME, go_on),
    "values": lambda file, go_on: read_json_values(file, NAME, go_on),
    "within": lambda file, go_on: read_json_object(file, NAME, go_on, "data"),
}
READERS: dict[str, Read] = {
    **JSON_READERS,
    "tar": lambda file, go_on: read_webdataset(file, NAME, keep_going=go_on),
    "tsv": lambda file, go_on: (r for _, r in read_table(file, NAME, "\t", keep_going=go_on)),
    "csv": lambda file, go_on: (r for _, r in read_table(file, NAME, ",", keep_going=go_on)),
    "gzip": lambda file, go_on: read_json_lines(open_decompressed(file, "gzip", NAME), NAME, go_on),
}
_NAMES = list(READERS)
_FAMILIES = (None, *FAMILIES)
_MAX_RECORDS = 2000


def tagged(
    reader: str, content: bytes, *, keep_going: bool = False, family: str | None = None
) -> bytes:
    """An input whose first byte chooses ``reader`` and how it is to read."""
    choice = _FAMILIES.index(family) * 2 * len(_NAMES) + keep_going * len(_NAMES)
    return bytes([choice + _NAMES.index(reader)]) + content


def check(data: bytes) -> list[Sample]:
    """Reads ``data`` and asserts all of it; the samples that came of it."""
    if not data:
        return []
    rest, which = divmod(data[0], len(_NAMES))
    family, go_on = divmod(rest, 2)
    reader, content = _NAMES[which], data[1:]
    options = ReadOptions(_FAMILIES[family % len(_FAMILIES)], keep_going=bool(go_on))
    records: list[RawRecord] = []
    try:
        for record in READERS[reader](io.BytesIO(content), bool(go_on)):
            records.append(record)
            if len(records) > _MAX_RECORDS:
                break
    except RecordError as error:
        assert str(error), "a refusal says why"
    container = None if reader in JSON_READERS or reader == "gzip" else f"{NAME}#row=0"
    samples = []
    for row_idx, record in enumerate(records):
        if reader in JSON_READERS:
            _assert_slice(record, content)
        sample = to_sample(row_idx, record, NAME, options, container=container)
        _assert_writable(sample)
        samples.append(sample)
    return samples


def _assert_slice(record: RawRecord, content: bytes) -> None:
    """The record's bytes stand in the file, and say what was understood."""
    if record.problem is not None:
        return
    assert record.original in content, "the bytes of a record are a slice of its file"
    text = record.original.decode("utf-8", "surrogateescape")
    assert json.dumps(_plain(json.loads(text))) == json.dumps(_plain(record.value))


def _plain(value: object) -> object:
    """``value`` with integers as text: those of a hundred digits and more are kept so."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _assert_writable(sample: Sample) -> None:
    """The sample fits into a part: text that is UTF-8, places that lie in their text."""
    texts = [sample.id, sample.source, sample.reason, sample.origin, *sample.images]
    texts += [turn.text for turn in sample.turns]
    for text in texts:
        if text is not None:
            text.encode("utf-8")
    for turn in sample.turns:
        assert list(turn.image_offsets) == sorted(turn.image_offsets)
        assert all(0 <= at <= len(turn.text) for at in turn.image_offsets)
    if sample.status is not Status.PENDING and sample.status is not Status.TEXT_ONLY:
        assert sample.reason, f"{sample.status} without a reason"
