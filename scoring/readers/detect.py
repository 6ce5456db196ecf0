"""What a file is: how its records are cut, how they are understood, and what says so.

A file is judged by its first bytes, never by its name alone; what it was taken for is told, and
where two readings are as likely the user is asked.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa

from scoring.errors import RecordError
from scoring.readers.encodings import Transcoded
from scoring.readers.json_stream import TURN_KEYS, RawRecord, read_json_object
from scoring.readers.records import KNOWN_KEYS, guess_family
from scoring.readers.tsv import find_unquoted_line, split_header
from scoring.readers.values import seems_image
from scoring.unicode_text import replace_surrogates

Container = Literal[
    "array", "lines", "object", "values", "parquet", "arrow", "webdataset", "tsv", "csv"
]
Compression = Literal["", "gzip", "zstd"]
JSON = ("array", "lines", "object", "values")
TABLES: Mapping[str, str] = {"tsv": "\t", "csv": ","}
"""Tables of text with what separates their columns."""
STREAMED = (*JSON, "webdataset", *TABLES)
_LONGEST_NAME = 100  # of a column
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_HEAD_BYTES = 1 << 20
_STEP_BYTES = 1 << 14  # what is lost at most before a place where a compressed file is damaged
_WITHIN = ("data", "annotations", "records", "samples", "items", "rows")
_WITHIN_BEGINS = re.compile(rb'\{\s*"(' + "|".join(_WITHIN).encode() + rb')"\s*:\s*[\[{]\s*["{]')
_MEMBER_BEGINS = re.compile(rb'\{\s*"(?:[^"\\]|\\.){0,1000}"\s*:\s*\{')
SUPPORTED = (
    "JSON (an array or an object of records), JSONL, Parquet, Arrow (Hugging Face datasets), "
    "WebDataset tar, TSV and CSV, the JSON kinds also as .gz or .zst"
)


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a file was taken for. ``within``: the key of the object that holds the records.

    ``encoding``: that of its text, "" for UTF-8; ``quoted``: whether quotation marks around the
    fields of a table are not part of them.
    """

    container: Container
    family: str = "llava"
    why: str = ""
    compression: Compression = ""
    within: str | None = None
    encoding: str = ""
    quoted: bool = True


def detect_format(path: Path, encoding: str = "") -> FileFormat:
    """Judges the first bytes of ``path``; the family of its records is not looked at here.

    ``encoding``: that of text files, "" for UTF-8. Raises RecordError for what is not supported,
    naming what stands there.
    """
    try:
        with path.open("rb") as file:
            head = file.read(600)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from error
    refused = _refused(head)
    if refused and not (encoding and head.startswith(_UTF16)):
        raise RecordError(f"{path} {refused}")
    if head.startswith(b"PAR1"):
        return FileFormat("parquet", why="it begins with the mark of Parquet")
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return FileFormat("arrow", why="it begins with the mark of Arrow")
    compression: Compression = ""
    if head.startswith(b"\x1f\x8b"):
        compression = "gzip"
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        compression = "zstd"
    with path.open("rb") as raw, open_text(raw, compression, encoding, str(path)) as file:
        start = _read(file, _HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    found = _of_text(path, start)
    if compression and found.container not in JSON:
        raise RecordError(
            f"{path} is a compressed {found.container} file: images are read from their place "
            "inside it, which a compressed file does not allow; decompress it first"
        )
    found = replace(found, compression=compression, encoding=encoding)
    return _of_table(path, found, start) if found.container in TABLES else found


def _of_table(path: Path, found: FileFormat, start: bytes) -> FileFormat:
    """The format of a table of text once its first line and its quotation marks are looked at.

    Raises RecordError where that line is a record, or no line can be found by its place.
    """
    if found.encoding and "\t\n".encode(found.encoding) != b"\t\n":
        raise RecordError(
            f"{path} is a table in {found.encoding}, whose rows are not found by their place; "
            f"convert it: iconv -f {found.encoding.upper()} -t UTF-8 FILE > NEW"
        )
    line = start.lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").rstrip("\r")
    names = split_header(line, TABLES[found.container])
    if _is_record_line(names):
        shown = ", ".join(repr(replace_surrogates(name)[:40]) for name in names[:4])
        raise RecordError(
            f"{path}: its first line looks like a record, not like names of columns ({shown}); "
            "put a line with the names above it, such as image, question, answer"
        )
    if found.container != "tsv":
        return found
    with path.open("rb") as file:
        unquoted = find_unquoted_line(file, path.name, found.encoding)
    if unquoted is None:
        return found
    why = f"{found.why}; its fields are not quoted, as line {unquoted} shows"
    return replace(found, quoted=False, why=why)


def _is_record_line(names: Sequence[str]) -> bool:
    """Whether the first line of a table is a record: no name is known, and one is no name."""
    if not KNOWN_KEYS.isdisjoint(names) or names == [str(n) for n in range(len(names))]:
        return False
    return any(seems_image(name) or name.isdigit() or len(name) > _LONGEST_NAME for name in names)


def _refused(head: bytes) -> str | None:
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "is a pickle: loading one runs whatever it says, so it is never read"
    if head.startswith(b"PK\x03\x04"):
        return "is a ZIP archive (or a file of PyTorch or Excel); unpack it and import its records"
    if head.startswith(b"\x93NUMPY"):
        return "is a NumPy array, not a file of records"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file; fetch it with: git lfs pull"
    if head.startswith(_UTF16):
        return (
            "is text in UTF-16; read it with --encoding utf-16, or convert it: "
            "iconv -f UTF-16 -t UTF-8 FILE > NEW"
        )
    if not head:
        return "is empty"
    return None


def _of_text(path: Path, start: bytes) -> FileFormat:
    """The kind of a file that is no binary kind of columns."""
    if start[257:262] == b"ustar" or (path.name.endswith(".tar") and start[:1] not in b"[{"):
        return FileFormat("webdataset", why="it is a tar archive")
    text = start.lstrip()
    if text.startswith(b"["):
        return _of_array(text)
    if text.startswith(b"{"):
        return _of_object(text)
    line = text.split(b"\n", 1)[0]
    suffix = path.name.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    if line.count(b"\t") >= 1 and b"\0" not in line:
        return FileFormat("tsv", why="its first line names columns, apart by tabs")
    if suffix == "csv" and line.count(b";") > line.count(b","):
        raise RecordError(
            f"{path} separates its columns by semicolons; write it with commas (CSV) or tabs (TSV)"
        )
    if suffix == "csv" and line.count(b",") >= 1 and b"\0" not in line:
        return FileFormat("csv", why="its first line names columns, apart by commas")
    found = f"begins with {start[:20]!r}" if text else "is empty"
    raise RecordError(f"{path} {found}; supported are {SUPPORTED}")


def _of_object(text: bytes) -> FileFormat:
    """JSON lines, one object of records by their key, or one that holds them under a key."""
    first = _first_value(text)
    if first is not None and first.more == "{" and not first.lines:
        return FileFormat("lines", why="each line is an object")
    if first is not None and len(guess_family(first.value)) == 1:
        return _one_by_one(first)
    for key in _WITHIN:
        if f'"{key}"'.encode() in text[:_HEAD_BYTES] and _holds_records(text, key):
            return FileFormat("object", why=f"its records stand under {key!r}", within=key)
    members = list(_members(text))
    records = [record for record in members if _is_record(record.value)]
    if members and len(records) == len(members):
        return FileFormat("object", why="it is an object whose members are the records")
    if first is not None and first.lines:
        return _one_by_one(first)
    return _of_damaged(text) if first is None else FileFormat("lines", why="it is one object")


def _of_damaged(text: bytes) -> FileFormat:
    """By how an object begins whose first record is damaged, or longer than what was read."""
    line, several, rest = text.partition(b"\n")
    if rest.lstrip()[:1] != b"{" or not line.rstrip().endswith(b"}"):
        if begun := _WITHIN_BEGINS.match(text):
            key = begun[1].decode()
            return FileFormat("object", why=f"its records stand under {key!r}", within=key)
        if _MEMBER_BEGINS.match(text) and (several or len(text) < _HEAD_BYTES // 2):
            return FileFormat("object", why="it begins with a key and an object, its record")
        if rest.strip():
            return FileFormat("values", why="its first record stands over several lines")
    return FileFormat("lines", why="it begins with {, an object a line")


def _of_array(text: bytes) -> FileFormat:
    """One array of records, or a list of turns or of packed records a line."""
    first = _first_value(text)
    if first is not None and (first.more == "[" or (not first.more and _is_turns(first.value))):
        return _one_by_one(first)
    return FileFormat("array", why="it begins with [, an array of records")


def _is_turns(listed: object) -> bool:
    """Whether a list is one conversation."""
    turns = listed if isinstance(listed, list) else []
    return bool(turns) and all(
        isinstance(one, dict) and any(keys <= one.keys() for keys in TURN_KEYS) for one in turns
    )


def _one_by_one(first: _First) -> FileFormat:
    """Records one after the other, on a line each or over several."""
    what = "an object" if isinstance(first.value, dict) else "a list"
    if first.lines:
        return FileFormat("values", why=f"each record is {what} over several lines")
    return FileFormat("lines", why=f"each line is {what}")


@dataclass(frozen=True, slots=True)
class _First:
    """The first JSON value of a file: whether it stands over several ``lines``, what follows it."""

    value: object
    lines: bool
    more: str


def _first_value(text: bytes) -> _First | None:
    """None where it is damaged or longer than what was read."""
    decoded = text.decode("utf-8", "surrogateescape")
    try:
        value, end = json.JSONDecoder().raw_decode(decoded)
    except (ValueError, RecursionError):
        return None
    return _First(value, "\n" in decoded[:end], decoded[end:].lstrip()[:1])


def _members(text: bytes, within: str | None = None) -> Iterator[RawRecord]:
    """The first members of the object that ``text`` begins."""
    try:
        for count, record in enumerate(read_json_object(io.BytesIO(text), "", within=within)):
            yield record
            if count == 3:
                return
    except RecordError:  # the end of what was read of the file
        return


def _is_record(value: object) -> bool:
    """Whether a member of an object is a record, and not a part of one."""
    return isinstance(value, dict) and (len(value) >= 2 or bool(guess_family(value)))


def _holds_records(text: bytes, key: str) -> bool:
    found = list(_members(text, key))
    return bool(found) and all(_is_record(record.value) for record in found)


class Decompressed(io.RawIOBase):
    """The content of a compressed file; damage to it raises RecordError."""

    def __init__(self, raw: IO[bytes], compression: Compression, name: str) -> None:
        super().__init__()
        self._name = name
        self._read: Callable[[int], bytes] = (
            gzip.GzipFile(fileobj=raw).read1
            if compression == "gzip"
            else pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd").read
        )

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads into ``buffer``."""
        try:
            content = self._read(min(len(buffer), _STEP_BYTES))
        except (OSError, EOFError, zlib.error) as error:
            raise RecordError(f"{self._name}: its compression is damaged: {error}") from error
        buffer[: len(content)] = content
        return len(content)


def open_text(raw: IO[bytes], compression: Compression, encoding: str, name: str) -> IO[bytes]:
    """What a file holds, decompressed and in UTF-8."""
    file = open_decompressed(raw, compression, name)
    return io.BufferedReader(Transcoded(file, encoding, name), 1 << 18) if encoding else file


def open_decompressed(raw: IO[bytes], compression: Compression, name: str) -> IO[bytes]:
    """``raw`` itself, or what it holds in compressed form."""
    return io.BufferedReader(Decompressed(raw, compression, name)) if compression else raw


def _read(file: IO[bytes], size: int) -> bytes:
    """Up to ``size`` bytes; damage behind the first of them is left to whoever reads on."""
    content = b""
    try:
        while len(content) < size and (piece := file.read(min(size - len(content), _STEP_BYTES))):
            content += piece
    except RecordError:
        if not content:
            raise
    return content
