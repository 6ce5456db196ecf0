"""Reads files of predictions that were made elsewhere: JSON lines, a JSON array, CSV or TSV.

The one decision behind it: every record of the file comes out, as a prediction or with what is
wrong with it; nothing that a file holds is passed over in silence.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, cast

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

ROW_KEY = "row_idx"
ID_KEYS = ("id", "question_id")
PREDICTION_KEYS = ("prediction", "text", "response", "output")
MODEL_KEYS = ("model", "model_id")
SIGHT_KEY = "sight"
_RECORD_KEYS = frozenset((ROW_KEY, *ID_KEYS, *PREDICTION_KEYS, *MODEL_KEYS, SIGHT_KEY))
MAX_NAME = 200
_HEAD_BYTES = 1 << 20
_MEMBER_BEGINS = re.compile(r'\s*\{\s*"((?:[^"\\]|\\.){0,1000})"\s*:')
_MAX_ROW = 2**62
_TABLES = {".csv": ",", ".tsv": "\t"}


class Sight(StrEnum):
    """What a prediction was made from."""

    SEEN = "seen"  # question and image
    BLIND = "blind"  # the question alone, by the same model
    TEXT_MODEL = "text_model"  # the question alone, by the text-only model that it is built on


@dataclass(frozen=True, slots=True)
class PredictionLine:
    """One record of a file, by its 1-based place; ``problem`` says why it is no prediction.

    ``model`` and ``sight`` are None where the record does not name them.
    """

    line: int
    row_idx: int | None = None
    id: str | None = None
    prediction: str = ""
    model: str | None = None
    sight: Sight | None = None
    problem: str | None = None
    example: str = ""


def read_prediction_lines(path: Path) -> Iterator[PredictionLine]:
    """The records of ``path`` in their order; ``.gz`` is read too.

    A record names its sample by ``row_idx`` or ``id`` (also ``question_id``) and says a
    ``prediction`` (also ``text``, ``response``, ``output``); a JSON object of answers names them by
    their keys, which are ids. Raises InputError for a file that is not there, that is no such file
    or that is not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        with _open(path) as file:
            for line, record in enumerate(_records(path, file), 1):
                if record.problem and NOT_UTF8 in record.problem:
                    advice = advise_encoding(_chunks(path), has_option=False)
                    raise InputError(f"{path}: {record.problem}. {advice}")
                yield _line(line, record)
    except (OSError, EOFError, csv.Error, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> IO[bytes]:
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    return cast(IO[bytes], opened)


def _chunks(path: Path) -> Iterator[bytes]:
    with _open(path) as file:
        while chunk := file.read(_HEAD_BYTES):
            yield chunk


def _records(path: Path, file: IO[bytes]) -> Iterable[RawRecord]:
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if kind.lower() in _TABLES:
        return _table_rows(path, file, _TABLES[kind.lower()])
    start = (
        file.read(_HEAD_BYTES).decode("utf-8", "surrogateescape").removeprefix("\ufeff").lstrip()
    )
    file.seek(0)
    if start.startswith("["):
        return read_json_array(file, path.name, keep_going=True)
    if _is_by_id(start):
        return map(_by_id, read_json_object(file, path.name, keep_going=True))
    several_lines = "\n" in _first_value(start)[1]
    read = read_json_values if several_lines else read_json_lines
    return read(file, path.name, keep_going=True)


def _is_by_id(start: str) -> bool:
    """Whether a file is one JSON object that holds the predictions by the ids of their samples."""
    begun = _MEMBER_BEGINS.match(start)
    if begun is None or begun[1] in _RECORD_KEYS:
        return False
    value, text = _first_value(start)
    if value is None:  # longer than what was read, or damaged
        return not start.partition("\n")[0].rstrip().endswith("}")
    return not start[len(text) :].strip() and not _RECORD_KEYS & value.keys()


def _first_value(start: str) -> tuple[dict[str, object] | None, str]:
    """The first object of a text and how it is written; (None, "") where it does not end."""
    try:
        value, end = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return None, ""
    return (value, start[:end]) if isinstance(value, dict) else (None, "")


def _by_id(record: RawRecord) -> RawRecord:
    """A member of an object as a record: an answer alone, or what else is said under an id."""
    if record.problem:
        return record
    said = record.value if isinstance(record.value, Mapping) else {PREDICTION_KEYS[0]: record.value}
    return replace(record, value={ID_KEYS[0]: record.key, **said})


def _table_rows(path: Path, file: IO[bytes], delimiter: str) -> Iterator[RawRecord]:
    first = file.readline(_HEAD_BYTES).decode("utf-8-sig", "replace")
    names = split_header(first, delimiter)
    if not set(names) & set(PREDICTION_KEYS) or not set(names) & {ROW_KEY, *ID_KEYS}:
        apart = ", apart by semicolons instead of commas" if first.count(";") else ""
        raise InputError(
            f"the header of {path} is {', '.join(names)[:300]!r}{apart}; predictions are read from "
            f"a column {PREDICTION_KEYS[0]} beside {ROW_KEY} or {ID_KEYS[0]}"
        )
    file.seek(0)
    quoted = delimiter != "\t" or find_unquoted_line(file, path.name) is None
    file.seek(0)
    rows = read_table(file, path.name, delimiter, quoted=quoted, keep_going=True)
    yield from (record for _, record in rows)


def _line(line: int, record: RawRecord) -> PredictionLine:
    value = record.value
    if record.problem or not isinstance(value, Mapping):
        said = record.problem or f"line {line} holds no object"
        return PredictionLine(line, problem="no record", example=said)
    row, identifier = _row(value.get(ROW_KEY)), _text(_first(value, ID_KEYS)) or None
    prediction = _text(_first(value, PREDICTION_KEYS))
    found = PredictionLine(
        line, row, identifier, prediction or "", _text(_first(value, MODEL_KEYS)), _sight(value)
    )
    if value.get(ROW_KEY) not in (None, "") and row is None:
        return _refused(found, "row_idx is no number", repr(value[ROW_KEY])[:80])
    if row is None and identifier is None:
        return _refused(found, "neither row_idx nor id", f"record {line}")
    if prediction is None:
        return _refused(found, "no prediction", f"record {line}")
    if value.get(SIGHT_KEY) and found.sight is None:
        return _refused(found, "unknown sight", repr(value[SIGHT_KEY])[:80])
    return found


def _refused(line: PredictionLine, problem: str, example: str) -> PredictionLine:
    return PredictionLine(line.line, problem=problem, example=example)


def _first(value: Mapping[str, object], keys: Iterable[str]) -> object:
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _text(value: object) -> str | None:
    """Text and numbers as text that can be stored; None for what is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return replace_surrogates(str(value))


def _row(value: object) -> int | None:
    try:
        row = int(str(value)) if isinstance(value, str | int) and value is not True else -1
    except ValueError:
        return None
    return row if 0 <= row < _MAX_ROW else None


def _sight(value: Mapping[str, object]) -> Sight | None:
    named = value.get(SIGHT_KEY)
    return Sight(named) if isinstance(named, str) and named in list(Sight) else None


def check_model_name(name: str) -> str:
    """``name`` if it can stand in a filter and in a link. Raises InputError."""
    plain = name.strip()
    if not plain or len(plain) > MAX_NAME or not plain.isprintable():
        raise InputError(
            f"{name[:80]!r} is no name for a model: use 1 to {MAX_NAME} printable characters; "
            "give one as NAME=FILE"
        )
    return plain
