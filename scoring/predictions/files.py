"""Reads files of predictions that were made elsewhere: JSON lines, a JSON array, CSV or TSV.

Every record of a file is returned, as a prediction or with the reason why it is not one.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, Any

from scoring.errors import InputError
from scoring.readers.encodings import NOT_UTF8, advise_encoding
from scoring.readers.json_stream import (
    RawRecord,
    read_json_array,
    read_json_lines,
    read_json_object,
    read_json_values,
)
from scoring.readers.tsv import find_unquoted_line, read_table, split_header
from scoring.unicode_text import replace_surrogates

ID_KEYS = ("id", "question_id")
PREDICTION_KEYS = ("prediction", "text", "response", "output")
MODEL_KEYS = ("model", "model_id")
TURN_KEY = "turn_number"  # from 1, as on a card; the turn of other files is from 0
_RECORD_KEYS = frozenset(("row_idx", *ID_KEYS, *PREDICTION_KEYS, *MODEL_KEYS, TURN_KEY, "sight"))
MAX_NAME = 200
_HEAD_BYTES = 1 << 20
_FIRST_MEMBER = re.compile(r'\s*\{\s*"((?:[^"\\]|\\.){0,1000})"\s*:')
_MAX_ROW = 2**62
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Sight(StrEnum):
    """What a prediction was made from."""

    SEEN = "seen"  # question and image
    BLIND = "blind"  # the question alone, by the same model
    TEXT_MODEL = "text_model"  # the question alone, by the text-only model that it is built on


@dataclass(frozen=True, slots=True)
class PredictionLine:
    """One record of a file, by its 1-based number; ``problem``: why it is not a prediction.

    ``model`` and ``sight`` are None if the record does not name them. ``turn`` is the 0-based
    position among the sample's answers.
    """

    line: int
    row_idx: int | None = None
    id: str | None = None
    prediction: str = ""
    model: str | None = None
    sight: Sight | None = None
    problem: str | None = None
    example: str = ""
    turn: int = 0


def read_prediction_lines(path: Path) -> Iterator[PredictionLine]:
    """Read the records of ``path`` in order; ``.gz`` is decompressed.

    A record names its sample by ``row_idx`` or ``id`` (or ``question_id``) and has a
    ``prediction`` (or ``text``, ``response``, ``output``) and, unless it is about the first answer
    of its sample, a ``turn_number``: 1 for the first answer, 2 for the second. A JSON object of
    answers names samples by its keys, which are ids. Raises InputError for a file that does not
    exist, has another format, or is not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        open_file: Any = gzip.open if path.suffix == ".gz" else open
        with open_file(path, "rb") as file:
            for line, record in enumerate(_read_records(path, file), 1):
                if record.problem and NOT_UTF8 in record.problem:
                    file.seek(0)
                    chunks = iter(partial(file.read, _HEAD_BYTES), b"")
                    advice = advise_encoding(chunks, has_option=False)
                    raise InputError(f"{path}: {record.problem}. {advice}")
                yield _parse_record(line, record)
    except (OSError, EOFError, csv.Error, UnicodeError) as error:
        raise InputError(f"Cannot read {path}: {error}") from error


def _read_records(path: Path, file: IO[bytes]) -> Iterable[RawRecord]:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix.lower() in _DELIMITERS:
        return _read_table_rows(path, file, _DELIMITERS[suffix.lower()])
    head = file.read(_HEAD_BYTES).decode("utf-8", "surrogateescape")
    head = head.removeprefix("\ufeff").lstrip()
    file.seek(0)
    if head.startswith("["):
        return read_json_array(file, path.name, keep_going=True)
    try:
        value, end = json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError):
        value, end = None, 0
    text = head[:end] if isinstance(value, dict) else ""  # else longer than the head, or damaged
    first = _FIRST_MEMBER.match(head)
    is_keyed = first is not None and first[1] not in _RECORD_KEYS  # by the ids of the samples
    if is_keyed and text:
        is_keyed = not head[end:].strip() and not _RECORD_KEYS & value.keys()
    elif is_keyed:
        is_keyed = not head.partition("\n")[0].rstrip().endswith("}")
    if is_keyed:
        return map(_add_id, read_json_object(file, path.name, keep_going=True))
    read = read_json_values if "\n" in text else read_json_lines
    return read(file, path.name, keep_going=True)


def _add_id(record: RawRecord) -> RawRecord:
    """Return a member of an object as a record with the key as its id."""
    if record.problem:
        return record
    value = record.value
    given = value if isinstance(value, Mapping) else {PREDICTION_KEYS[0]: value}
    return replace(record, value={ID_KEYS[0]: record.key, **given})


def _read_table_rows(path: Path, file: IO[bytes], delimiter: str) -> Iterator[RawRecord]:
    header = file.readline(_HEAD_BYTES).decode("utf-8-sig", "replace")
    names = split_header(header, delimiter)
    if not set(names) & set(PREDICTION_KEYS) or not set(names) & {"row_idx", *ID_KEYS}:
        hint = " (separated by semicolons instead of commas)" if header.count(";") else ""
        raise InputError(
            f"The header of {path} is {', '.join(names)[:300]!r}{hint}. Predictions need a column "
            f"{PREDICTION_KEYS[0]} and a column row_idx or {ID_KEYS[0]}"
        )
    file.seek(0)
    quoted = delimiter != "\t" or find_unquoted_line(file, path.name) is None
    file.seek(0)
    rows = read_table(file, path.name, delimiter, quoted=quoted, keep_going=True)
    yield from (record for _, record in rows)


def _parse_record(line: int, record: RawRecord) -> PredictionLine:
    value = record.value
    if record.problem or not isinstance(value, Mapping):
        example = record.problem or f"line {line} is not an object"
        return PredictionLine(line, problem="not a record", example=example)
    row, sample_id = _parse_row(value.get("row_idx")), _read_text(value, ID_KEYS) or None
    prediction, named_sight = _read_text(value, PREDICTION_KEYS), value.get("sight")
    is_sight = isinstance(named_sight, str) and named_sight in list(Sight)
    sight = Sight(str(named_sight)) if is_sight else None
    turn, is_numbered = _parse_turn(value.get(TURN_KEY)), value.get(TURN_KEY) not in (None, "")
    problem, example = None, f"record {line}"
    if value.get("row_idx") not in (None, "") and row is None:
        problem, example = "row_idx is not a number", repr(value["row_idx"])[:80]
    elif row is None and sample_id is None:
        problem = "neither row_idx nor id"
    elif prediction is None:
        problem = "no prediction"
    elif named_sight and sight is None:
        problem, example = "unknown sight", repr(named_sight)[:80]
    elif is_numbered and turn is None:
        problem, example = f"{TURN_KEY} is not 1, 2, ...", repr(value[TURN_KEY])[:80]
    elif "turn" in value and not is_numbered:
        problem = f"turn without {TURN_KEY}, which counts from 1"
    if problem:
        return PredictionLine(line, problem=problem, example=example)
    model = _read_text(value, MODEL_KEYS)
    return PredictionLine(line, row, sample_id, prediction or "", model, sight, turn=turn or 0)


def _read_text(value: Mapping[str, object], keys: Iterable[str]) -> str | None:
    """Return the first value that is set under one of ``keys``; None unless text or a number."""
    first = next((value[key] for key in keys if value.get(key) is not None), None)
    if isinstance(first, bool) or not isinstance(first, str | int | float):
        return None
    return replace_surrogates(str(first))


def _parse_turn(value: object) -> int | None:
    """Return the 0-based position of an answer from its number."""
    number = _parse_row(value)
    return number - 1 if number else None


def _parse_row(value: object) -> int | None:
    try:
        row = int(str(value)) if isinstance(value, str | int) and value is not True else -1
    except ValueError:
        return None
    return row if 0 <= row < _MAX_ROW else None


def check_model_name(name: str) -> str:
    """Return ``name`` without outer white space. Raises InputError for an unusable name."""
    plain = name.strip()
    if not plain or len(plain) > MAX_NAME or not plain.isprintable():
        raise InputError(
            f"Invalid model name {name[:80]!r}. Use 1 to {MAX_NAME} printable characters, "
            "as NAME=FILE"
        )
    return plain
