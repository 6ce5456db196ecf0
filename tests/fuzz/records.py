"""Properties of parsing any bytes as records.

A file is either read or refused with a RecordError. Every record becomes a sample that can be
stored. The bytes of a JSON record are a slice of the file that parses to the record again, and
exports can edit it. The first byte of the input selects the reader, so one corpus serves all
readers; its upper half is for whole files (see ``files``).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO

from scoring.errors import RecordError
from scoring.exports.json_edits import remove_line_breaks
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
from scoring.samples import Sample
from tests.fuzz.files import FIRST, MAX_RECORDS, check_file
from tests.fuzz.samples import assert_editable, assert_writable, plain

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


def tagged(
    reader: str, content: bytes, *, keep_going: bool = False, family: str | None = None
) -> bytes:
    """Return an input whose first byte selects ``reader`` and its options."""
    choice = _FAMILIES.index(family) * 2 * len(_NAMES) + keep_going * len(_NAMES)
    return bytes([choice + _NAMES.index(reader)]) + content


def check(data: bytes) -> list[Sample]:
    """Read ``data`` and check every property; return the samples."""
    if not data:
        return []
    if data[0] >= FIRST:
        return check_file(data)
    rest, reader_number = divmod(data[0], len(_NAMES))
    family, go_on = divmod(rest, 2)
    reader, content = _NAMES[reader_number], data[1:]
    options = ReadOptions(_FAMILIES[family % len(_FAMILIES)], keep_going=bool(go_on))
    records: list[RawRecord] = []
    try:
        for record in READERS[reader](io.BytesIO(content), bool(go_on)):
            records.append(record)
            if len(records) > MAX_RECORDS:
                break
    except RecordError as error:
        assert str(error), "a refusal gives a reason"
    container = None if reader in JSON_READERS or reader == "gzip" else f"{NAME}#row=0"
    samples = []
    for row_idx, record in enumerate(records):
        if reader in JSON_READERS:
            _assert_slice(record, content)
        sample = to_sample(row_idx, record, NAME, options, container=container)
        assert_writable(sample)
        if reader in JSON_READERS and record.problem is None and record.original:
            keyless = to_sample(0, replace(record, key=None), NAME, options)
            assert_editable(keyless, lambda original: _reread(original, options))
        samples.append(sample)
    return samples


def _assert_slice(record: RawRecord, content: bytes) -> None:
    """Check that the record's bytes are in the file and parse to its value."""
    if record.problem is not None:
        return
    assert record.original in content, "the bytes of a record are a slice of its file"
    text = record.original.decode("utf-8", "surrogateescape")
    assert plain(json.loads(text)) == plain(record.value)


def _reread(original: bytes, options: ReadOptions) -> Sample:
    """Read the record that an export changed."""
    (record,) = read_json_lines(io.BytesIO(remove_line_breaks(original)), NAME)
    return to_sample(0, record, NAME, options)
