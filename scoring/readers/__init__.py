"""Readers: dataset files in, samples out, one at a time.

One module per family of records (llava, messages, pairs) and per kind of file (json_stream, tables,
tars, tsv). Here they meet: a file is opened as what it was taken for and read from front to back.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO

from scoring.errors import InputError, RecordError
from scoring.readers.detect import (
    JSON,
    STREAMED,
    TABLES,
    FileFormat,
    detect_format,
    open_decompressed,
    open_text,
)
from scoring.readers.encodings import NOT_UTF8, advise_encoding
from scoring.readers.inputs import InputFile, find_inputs
from scoring.readers.json_stream import (
    RawRecord,
    read_json_array,
    read_json_lines,
    read_json_object,
    read_json_values,
)
from scoring.readers.members import add_origins
from scoring.readers.options import FAMILIES, ReadOptions, read_options
from scoring.readers.records import apply_columns, guess_family, to_sample, unread_columns
from scoring.readers.tables import read_arrow, read_parquet
from scoring.readers.tars import REFUSED, read_webdataset
from scoring.readers.tsv import SharedImages, read_table
from scoring.readers.values import SHARED_IMAGE, InlineReference, parse_list
from scoring.samples import Sample, Status

__all__ = [
    "FileFormat",
    "HashingReader",
    "InputFile",
    "ReadOptions",
    "SourceFile",
    "SourceReader",
    "detect_format",
    "open_sources",
    "read_options",
]

_TRIALS = 50  # records that may pass before one tells its family
_HASH_BYTES = 4 << 20
_MOST_UNREAD = 100  # keys that may hold images and are counted
_KEEP_GOING = "--keep-going imports what can be read and counts the rest with its place"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file with what it was taken for."""

    file: InputFile
    format: FileFormat

    @property
    def holds_images(self) -> bool:
        """Whether images may lie inside the file itself (those inside JSON go with its record)."""
        return self.format.container not in JSON


def open_sources(given: Sequence[Path | str], options: ReadOptions) -> list[SourceFile]:
    """What each file that is meant was taken for.

    Raises InputError where a file's records may be meant in several ways, naming them.
    """
    return [_noted(_open_source(file, options)) for file in find_inputs(given)]


def _noted(source: SourceFile) -> SourceFile:
    """With what is not done of what was said about the file."""
    if not source.file.note:
        return source
    why = f"{source.format.why}; {source.file.note}"
    return replace(source, format=replace(source.format, why=why))


def _open_source(file: InputFile, options: ReadOptions) -> SourceFile:
    found = detect_format(file.path, options.encoding)
    source = SourceFile(file, found)
    options = options.or_said(file.said)
    if options.family:
        why = f"{found.why}; the family was named"
        return SourceFile(file, replace(found, family=options.family, why=why))
    candidates: list[str] = []
    first: object = None
    with SourceReader(source, options) as reading:
        for record, _ in islice(reading.records(), _TRIALS):
            value = apply_columns(record.value, options)
            first = value if first is None else first
            guesses = guess_family(value)
            if len(guesses) == 1:
                guess = guesses[0]
                why = f"{found.why}; {guess.why}"
                return SourceFile(file, replace(found, family=guess.family, why=why))
            candidates += [guess.family for guess in guesses]
    if first is None:
        return source
    raise InputError(_which(file.path, first, list(dict.fromkeys(candidates)) or list(FAMILIES)))


def _which(path: Path, first: object, candidates: list[str]) -> str:
    keys = ", ".join(map(str, list(first)[:12])) if isinstance(first, dict) else ""
    what = f"the first has the keys {keys}" if keys else f"the first is {str(first)[:40]!r}"
    named = "; ".join(f"{name}: {FAMILIES[name]}" for name in candidates)
    return (
        f"{path}: it cannot be told how its records are meant ({what}); say it with --format "
        f"({named}), or name the columns with --column question=... --column answer=... "
        "--column image=..."
    )


class SourceReader:
    """One way through a file, from front to back: its samples, its bytes so far, its digest."""

    def __init__(
        self,
        source: SourceFile,
        options: ReadOptions,
        images: Mapping[str, InlineReference] | None = None,
    ) -> None:
        """``images``: references by the key under which records name them."""
        self._source, self._options = source, options.or_said(source.file.said)
        self._images = images or {}
        self._size = source.file.path.stat().st_size
        self._position = 0
        self._raw: HashingReader | None = None
        self._buffered: IO[bytes] | None = None  # closes the file below when it is let go
        self._advice = ""  # about the encoding of a file that is not UTF-8
        self.unread: Counter[str] = Counter()
        """Records by the key that seems to hold an image which was not read."""
        if source.format.container in STREAMED:
            self._raw = HashingReader(source.file.path)

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._raw is not None:
            self._raw.close()

    @property
    def n_bytes(self) -> int:
        """Of the file, read so far."""
        return self._position if self._raw is None else self._raw.n_bytes

    def samples(self, first_row: int) -> Iterator[Sample]:
        """The samples of the file; the first one has the row_idx ``first_row``."""
        family, file = self._source.format.family, self._source.file
        for row_idx, (record, container) in enumerate(self.records(), start=first_row):
            sample = to_sample(
                row_idx,
                record,
                file.source,
                self._options,
                container=container,
                default_family=family,
            )
            sample = self._counted(_finished(sample, record, file.image_prefix), record.value)
            yield _keyed(sample, self._images) if self._images else sample

    def _counted(self, sample: Sample, value: object) -> Sample:
        """``sample``, whose reason names what seems to be its image and was not read."""
        unread = unread_columns(value, sample, self._options)
        for key in unread:
            if key in self.unread or len(self.unread) < _MOST_UNREAD:
                self.unread[key] += 1
        if unread and sample.status is Status.TEXT_ONLY:
            reason = f"{sample.reason}; {unread[0]!r} may hold one: --column image={unread[0]}"
            return replace(sample, reason=reason)
        return sample

    def sha256(self) -> str:
        """Of the whole file, what follows its last record included."""
        if self._raw is None:
            with self._source.file.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._position = self._size
            return digest
        while self._raw.read(_HASH_BYTES):
            pass
        return self._raw.sha256()

    def records(self) -> Iterator[tuple[RawRecord, str | None]]:
        """Raw records, each with the prefix of references to what lies inside it."""
        container = self._source.format.container
        records: Iterable[tuple[RawRecord, str | None]]
        if container in JSON:
            records = ((record, None) for record in _unpacked(self._json()))
        elif container == "webdataset":
            records = ((record, record.origin) for record in self._tar())
        elif container in TABLES:
            records = self._table(TABLES[container])
        else:
            records = self._columns()
        try:
            for record, prefix in records:
                if record.problem:
                    record = replace(record, problem=self._explained(record.problem))
                yield record, prefix
        except RecordError as error:
            raise RecordError(self._explained(str(error))) from error

    def _explained(self, problem: str) -> str:
        """A problem of the text's encoding with what can be done about it."""
        if NOT_UTF8 not in problem:
            return problem
        if self._options.encoding:
            return problem.replace(NOT_UTF8, f"is not {self._options.encoding}")
        self._advice = self._advice or advise_encoding(self._chunks())
        return f"{problem}. {self._advice}"

    def _chunks(self) -> Iterator[bytes]:
        """The content of the file from its beginning, on a way of its own."""
        name, compression = self._source.file.name, self._source.format.compression
        with self._source.file.path.open("rb") as raw:
            file = open_decompressed(raw, compression, name)
            while chunk := file.read(_HASH_BYTES):
                yield chunk

    def _stream(self, encoding: str = "") -> IO[bytes]:
        if self._raw is None:
            raise ValueError(f"{self._source.file.path} is not read as a stream")
        raw = io.BufferedReader(self._raw, 1 << 18)
        name, compression = str(self._source.file.path), self._source.format.compression
        self._buffered = open_text(raw, compression, encoding, name)
        return self._buffered

    def _tar(self) -> Iterator[RawRecord]:
        name, options = self._source.file.name, self._options
        return read_webdataset(
            self._stream(), name, encoding=options.encoding, keep_going=options.keep_going
        )

    def _json(self) -> Iterator[RawRecord]:
        name, keep_going = str(self._source.file.path), self._options.keep_going
        found = self._source.format
        file = self._stream(found.encoding)
        if found.container == "array":
            records = read_json_array(file, name, keep_going)
        elif found.container == "lines":
            records = read_json_lines(file, name, keep_going)
        elif found.container == "values":
            records = read_json_values(file, name, keep_going)
        else:
            records = add_origins(
                read_json_object(file, name, keep_going, found.within), found.within
            )
        try:
            yield from records
        except RecordError as error:
            if not keep_going:
                raise RecordError(f"{error}; {_KEEP_GOING}") from None
            # A compressed file that is cut off or damaged.
            yield RawRecord(b"", problem=str(error).removeprefix(f"{name}: "))

    def _table(self, delimiter: str) -> Iterator[tuple[RawRecord, str]]:
        name, found = self._source.file.name, self._source.format
        shared, quoting = SharedImages(), "" if found.quoted else "&quoting=none"
        rows = read_table(
            self._stream(),
            name,
            delimiter,
            quoted=found.quoted,
            encoding=found.encoding,
            keep_going=self._options.keep_going,
        )
        for offset, record in rows:
            row = record.value if isinstance(record.value, dict) else {}
            place = shared.resolve(offset, row)
            if str(row.get("image", "")).startswith("["):
                row = {**row, "image": parse_list(row["image"])}
            if place != offset:
                row = {**row, "image": SHARED_IMAGE}
            value: object = row if isinstance(record.value, dict) else record.value
            origin = f"{name}#offset={offset}"
            yield replace(record, value=value, origin=origin), f"{name}#offset={place}{quoting}"

    def _columns(self) -> Iterator[tuple[RawRecord, str | None]]:
        file, keep_going = self._source.file, self._options.keep_going
        if self._source.format.container == "parquet":
            for row, n_rows, record in read_parquet(file.path, file.name, keep_going=keep_going):
                self._position = self._size * row // max(n_rows, 1)
                yield record, record.origin
        else:
            for _, record in read_arrow(file.path, file.name, keep_going=keep_going):
                yield record, record.origin


def _unpacked(records: Iterable[RawRecord]) -> Iterator[RawRecord]:
    """Lists of records, packed for training, one by one; a list of turns is one record."""
    for record in records:
        value = record.value
        listed = value if isinstance(value, list) and not guess_family(value) else []
        if listed and all(isinstance(one, dict) for one in listed):
            yield from read_json_array(io.BytesIO(record.original), "packed record")
        else:
            yield record


def _finished(sample: Sample, record: RawRecord, image_prefix: str) -> Sample:
    """``sample`` with the image folder its dataset names, refused where a reader said so."""
    if image_prefix:
        images = tuple(_joined(image_prefix, image) for image in sample.images)
        sample = replace(sample, images=images)
    if isinstance(record.value, Mapping) and REFUSED in record.value:
        reason = str(record.value[REFUSED])
        sample = replace(sample, status=Status.REFUSED_PATH, reason=reason)
    return sample


def _keyed(sample: Sample, by_key: Mapping[str, InlineReference]) -> Sample:
    """``sample`` with the places of those images that it names by their keys."""
    return replace(sample, images=tuple(by_key.get(image, image) for image in sample.images))


def _joined(prefix: str, image: str) -> str:
    if isinstance(image, InlineReference) or "://" in image or PurePosixPath(image).is_absolute():
        return image
    return prefix + image


class HashingReader(io.RawIOBase):
    """Passes a file through and keeps its sha256 and position: one read serves both."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._hash = hashlib.sha256()
        self.n_bytes = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads into ``buffer`` and hashes what was read."""
        count = self._file.readinto(buffer)
        self._hash.update(buffer[:count])
        self.n_bytes += count
        return count

    def close(self) -> None:
        """Closes the file below."""
        self._file.close()
        super().close()

    def sha256(self) -> str:
        """Of everything read so far."""
        return self._hash.hexdigest()
