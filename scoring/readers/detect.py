"""Detection of file formats: how a file is split into records, and the evidence for it.

A file is judged by its first bytes, never by its name alone. The result is reported to the user,
and ambiguous files are an error.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa

from scoring.errors import RecordError
from scoring.readers.encodings import PieceReader, open_transcoded
from scoring.readers.json_stream import TURN_KEYS, read_json_object
from scoring.readers.records import KNOWN_KEYS, guess_family
from scoring.readers.tsv import find_unquoted_line, split_header
from scoring.readers.values import is_image_like
from scoring.unicode_text import replace_surrogates

Container = Literal[
    "array", "lines", "object", "values", "parquet", "arrow", "webdataset", "tsv", "csv"
]
Compression = Literal["", "gzip", "zstd"]
JSON = ("array", "lines", "object", "values")
TABLES: Mapping[str, str] = {"tsv": "\t", "csv": ","}
"""Text tables with their delimiter."""
_MAX_NAME = 100  # of a column
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_UNSUPPORTED: Mapping[tuple[bytes, ...], str] = {
    _PICKLE: "is a pickle. Loading one can run arbitrary code, so pickles are never read.",
    (b"PK\x03\x04",): (
        "is a ZIP archive (or a PyTorch or Excel file). Unpack it and import the files inside."
    ),
    (b"\x93NUMPY",): "is a NumPy array, not a file of records.",
    (b"version https://git-lfs",): (
        "is a Git LFS pointer, not the file itself. Fetch it with: git lfs pull"
    ),
    _UTF16: (
        "is UTF-16 text. Pass --encoding utf-16, or convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"
    ),
}
"""Why files with these signatures are not read."""
_HEAD_BYTES = 1 << 20
_STEP_BYTES = 1 << 14  # at most this much is lost before the damage in a compressed file
_WITHIN = ("data", "annotations", "records", "samples", "items", "rows")
_WITHIN_BEGINS = re.compile(rb'\{\s*"(' + "|".join(_WITHIN).encode() + rb')"\s*:\s*[\[{]\s*["{]')
_MEMBER_BEGINS = re.compile(rb'\{\s*"(?:[^"\\]|\\.){0,1000}"\s*:\s*\{')
SUPPORTED = (
    "JSON (an array or an object of records), JSONL, Parquet, Arrow (Hugging Face datasets), "
    "WebDataset tar, TSV and CSV; the JSON formats also as .gz or .zst"
)


@dataclass(frozen=True, slots=True)
class FileFormat:
    """The detected format of a file: how it is split into records, and their family."""

    container: Container
    family: str = "llava"
    why: str = ""  # the evidence, for the user
    compression: Compression = ""
    within: str | None = None  # the key of the object that holds the records
    encoding: str = ""  # of its text, "" for UTF-8
    quoted: bool = True  # quotation marks around table fields are syntax instead of text


def detect_format(path: Path, encoding: str = "") -> FileFormat:
    """Detect the format of ``path`` by its first bytes; the record family is not examined here.

    ``encoding`` is that of text files, "" for UTF-8. Raises RecordError for an unsupported format.
    """
    try:
        with path.open("rb") as file:
            head = file.read(600)
    except OSError as error:
        raise RecordError(f"Cannot read {path}: {error.strerror}") from error
    reasons = (reason for signs, reason in _UNSUPPORTED.items() if head.startswith(signs))
    problem = next(reasons, None if head else "is empty")
    if problem and not (encoding and head.startswith(_UTF16)):
        raise RecordError(f"{path} {problem}")
    if head.startswith(b"PAR1"):
        return FileFormat("parquet", why="it starts with the Parquet signature")
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return FileFormat("arrow", why="it starts with the Arrow signature")
    compression: Compression = "gzip" if head.startswith(b"\x1f\x8b") else ""
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        compression = "zstd"
    start = _read_start(path, compression, encoding)
    detected = _detect_text_format(path, start)
    if compression and detected.container not in JSON:
        raise RecordError(
            f"{path} is a compressed {detected.container} file. Images are read from their "
            "position inside the file, which compression prevents. Decompress it first."
        )
    detected = replace(detected, compression=compression, encoding=encoding)
    return _detect_quoting(path, detected, start) if detected.container in TABLES else detected


def _read_start(path: Path, compression: Compression, encoding: str) -> bytes:
    """Return the first text of a file; damage after its first byte is reported by later reads."""
    start = b""
    with path.open("rb") as raw, open_text(raw, compression, encoding, str(path)) as file:
        try:
            while piece := file.read(min(_HEAD_BYTES - len(start), _STEP_BYTES)):
                start += piece
        except RecordError:
            if not start:
                raise
    return start.removeprefix(b"\xef\xbb\xbf")


def _detect_quoting(path: Path, table: FileFormat, start: bytes) -> FileFormat:
    """Check the header of a text table and detect whether its fields are quoted.

    Raises RecordError if the header is missing or rows cannot be addressed by byte offset.
    """
    if table.encoding and "\t\n".encode(table.encoding) != b"\t\n":
        raise RecordError(
            f"{path} is a table in {table.encoding}, an encoding in which rows cannot be located. "
            f"Convert it: iconv -f {table.encoding.upper()} -t UTF-8 FILE > NEW"
        )
    line = start.lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    names = split_header(line, TABLES[table.container])
    is_numbered = names == [str(number) for number in range(len(names))]
    unlikely = (is_image_like(name) or name.isdigit() or len(name) > _MAX_NAME for name in names)
    if KNOWN_KEYS.isdisjoint(names) and not is_numbered and any(unlikely):
        shown = ", ".join(repr(replace_surrogates(name)[:40]) for name in names[:4])
        raise RecordError(
            f"{path}: the first line looks like a record, not like column names ({shown}). "
            "Insert a line with the column names, such as image, question, answer."
        )
    if table.container != "tsv":
        return table
    with path.open("rb") as file:
        unquoted = find_unquoted_line(file, path.name, table.encoding)
    if unquoted is None:
        return table
    return replace(table, quoted=False, why=f"{table.why}; line {unquoted} has unquoted fields")


def _detect_text_format(path: Path, start: bytes) -> FileFormat:
    """Detect tar, JSON, TSV and CSV."""
    if start[257:262] == b"ustar" or (path.name.endswith(".tar") and start[:1] not in b"[{"):
        return FileFormat("webdataset", why="it is a tar archive")
    text = start.lstrip()
    if text.startswith(b"["):
        return _detect_array(text)
    if text.startswith(b"{"):
        return _detect_object(text)
    line = text.split(b"\n", 1)[0]
    suffix = path.name.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    if line.count(b"\t") >= 1 and b"\0" not in line:
        return FileFormat("tsv", why="its first line has column names separated by tabs")
    if suffix == "csv" and line.count(b";") > line.count(b","):
        raise RecordError(
            f"{path} separates its columns with semicolons. "
            "Save it with commas (CSV) or tabs (TSV)."
        )
    if suffix == "csv" and line.count(b",") >= 1 and b"\0" not in line:
        return FileFormat("csv", why="its first line has column names separated by commas")
    what = f"starts with {start[:20]!r}, which is not a known format" if text else "is empty"
    raise RecordError(f"{path} {what}. Supported formats: {SUPPORTED}")


def _detect_object(text: bytes) -> FileFormat:
    """Detect JSON lines, an object of records by key, or an object with the records in a key."""
    value, layout, following = _parse_first_value(text)
    if layout and following == "{" and layout.container == "lines":
        return layout
    if layout and len(guess_family(value)) == 1:
        return layout
    for key in _WITHIN:
        if f'"{key}"'.encode() in text[:_HEAD_BYTES] and _has_records(text, key):
            return FileFormat("object", why=f"its records are under the key {key!r}", within=key)
    if _has_records(text):
        return FileFormat("object", why="it is an object whose members are the records")
    if layout:
        is_line = layout.container == "lines"
        return FileFormat("lines", why="it is one object") if is_line else layout
    # The first record is damaged, or longer than what was read.
    line, newline, rest = text.partition(b"\n")
    if rest.lstrip()[:1] != b"{" or not line.rstrip().endswith(b"}"):
        if match := _WITHIN_BEGINS.match(text):
            key = match[1].decode()
            return FileFormat("object", why=f"its records are under the key {key!r}", within=key)
        if _MEMBER_BEGINS.match(text) and (newline or len(text) < _HEAD_BYTES // 2):
            return FileFormat("object", why="it starts with a key and its record")
        if rest.strip():
            return FileFormat("values", why="its first record spans several lines")
    return FileFormat("lines", why="it starts with {, one object per line")


def _detect_array(text: bytes) -> FileFormat:
    """Detect one array of records, or a list of turns or packed records per line."""
    value, layout, following = _parse_first_value(text)
    turns = value if isinstance(value, list) else []
    is_conversation = bool(turns) and all(
        isinstance(turn, dict) and any(keys <= turn.keys() for keys in TURN_KEYS) for turn in turns
    )
    if layout and (following == "[" or (not following and is_conversation)):
        return layout
    return FileFormat("array", why="it starts with [, an array of records")


def _parse_first_value(text: bytes) -> tuple[object, FileFormat | None, str]:
    """Return the first JSON value, the format if all records are like it, and what follows it.

    There is no format if the value is damaged or longer than what was read.
    """
    decoded = text.decode("utf-8", "surrogateescape")
    try:
        value, end = json.JSONDecoder().raw_decode(decoded)
    except (ValueError, RecursionError):
        return None, None, ""
    what = "an object" if isinstance(value, dict) else "a list"
    layout = FileFormat("lines", why=f"each line is {what}")
    if "\n" in decoded[:end]:
        layout = FileFormat("values", why=f"each record is {what} over several lines")
    return value, layout, decoded[end:].lstrip()[:1]


def _has_records(text: bytes, within: str | None = None) -> bool:
    """Return whether the first members of an object are records, and not parts of a record."""
    is_record = False
    with suppress(RecordError):  # the end of what was read of the file
        for member in islice(read_json_object(io.BytesIO(text), "", within=within), 4):
            value = member.value
            is_record = isinstance(value, dict) and (len(value) >= 2 or bool(guess_family(value)))
            if not is_record:
                break
    return is_record


def open_text(raw: IO[bytes], compression: Compression, encoding: str, name: str) -> IO[bytes]:
    """Open the content of a file, decompressed and in UTF-8."""
    file = open_decompressed(raw, compression, name)
    return open_transcoded(file, encoding, name) if encoding else file


def open_decompressed(raw: IO[bytes], compression: Compression, name: str) -> IO[bytes]:
    """Open the content of a file, decompressed; reading raises RecordError where it is damaged."""
    if not compression:
        return raw
    read: Callable[[int], bytes] = (
        gzip.GzipFile(fileobj=raw).read1
        if compression == "gzip"
        else pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd").read
    )

    def read_piece(size: int) -> bytes:
        try:
            return read(min(size, _STEP_BYTES))
        except (OSError, EOFError, zlib.error) as error:
            raise RecordError(f"{name}: the compressed data is damaged: {error}") from error

    return io.BufferedReader(PieceReader(read_piece))
