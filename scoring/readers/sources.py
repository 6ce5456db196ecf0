"""Dataset files as sources of samples: each is opened in its detected format and read once."""

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
from scoring.readers.options import FAMILIES, ReadOptions
from scoring.readers.records import apply_columns, guess_family, to_sample, unread_columns
from scoring.readers.tables import read_arrow, read_parquet
from scoring.readers.tars import REFUSED, read_webdataset
from scoring.readers.tsv import SharedImages, read_table
from scoring.readers.values import SHARED_IMAGE, InlineReference, parse_list
from scoring.samples import Sample, Status

_MAX_GUESSES = 50  # records to examine before the family must be known
_HASH_BYTES = 4 << 20
_MAX_UNREAD = 100  # counted keys that may contain unread images
_KEEP_GOING = "Pass --keep-going to import what can be read and count the rest with its position"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file with its detected format."""

    file: InputFile
    format: FileFormat

    @property
    def contains_images(self) -> bool:
        """Whether the file itself may contain images (those inside JSON belong to its records)."""
        return self.format.container not in JSON


def open_sources(inputs: Sequence[Path | str], options: ReadOptions) -> list[SourceFile]:
    """Return the input files with their formats. Raises InputError for an ambiguous family."""
    sources = []
    for file in find_inputs(inputs):
        source = _open_source(file, options)
        if file.note:
            why = f"{source.format.why}; {file.note}"
            source = replace(source, format=replace(source.format, why=why))
        sources.append(source)
    return sources


def _open_source(file: InputFile, options: ReadOptions) -> SourceFile:
    detected = detect_format(file.path, options.encoding)
    source = SourceFile(file, detected)
    options = options.with_defaults(file.listed_options)
    if options.family:
        why = f"{detected.why}; the record format was given"
        return SourceFile(file, replace(detected, family=options.family, why=why))
    candidates: list[str] = []
    first: object = None
    with SourceReader(source, options) as reader:
        for record, _ in islice(reader.records(), _MAX_GUESSES):
            value = apply_columns(record.value, options)
            first = value if first is None else first
            guesses = guess_family(value)
            if len(guesses) == 1:
                family, why = guesses[0].family, f"{detected.why}; {guesses[0].why}"
                return SourceFile(file, replace(detected, family=family, why=why))
            candidates += [guess.family for guess in guesses]
    if first is None:
        return source
    keys = ", ".join(map(str, list(first)[:12])) if isinstance(first, dict) else ""
    what = (
        f"The first record has the keys {keys}"
        if keys
        else f"The first record is {str(first)[:40]!r}"
    )
    families = list(dict.fromkeys(candidates)) or list(FAMILIES)
    described = "; ".join(f"{family}: {FAMILIES[family]}" for family in families)
    raise InputError(
        f"{file.path}: could not detect the record format. {what}. Pass --format ({described}), "
        "or name the columns with --column question=... --column answer=... --column image=..."
    )


class SourceReader:
    """Reads one file from start to end: its samples, the bytes read so far, and its digest."""

    def __init__(
        self,
        source: SourceFile,
        options: ReadOptions,
        images: Mapping[str, InlineReference] | None = None,
    ) -> None:
        """Open the file; ``images`` are references by the key that records use for them."""
        self._source = source
        self._options = options.with_defaults(source.file.listed_options)
        self._images = images or {}
        self._size = source.file.path.stat().st_size
        self._position = 0
        self._raw: HashingReader | None = None
        self._buffered: IO[bytes] | None = None  # would close the file below when dropped
        self._advice = ""  # about the encoding of a file that is not UTF-8
        self.unread: Counter[str] = Counter()
        """Number of records by the key that seems to contain an unread image."""
        if source.format.container in STREAMED:
            self._raw = HashingReader(source.file.path)

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._raw is not None:
            self._raw.close()

    @property
    def n_bytes(self) -> int:
        """Bytes of the file read so far."""
        return self._position if self._raw is None else self._raw.n_bytes

    def samples(self, first_row: int) -> Iterator[Sample]:
        """Yield the samples of the file; the first one gets the row_idx ``first_row``."""
        file = self._source.file
        for row_idx, (record, container) in enumerate(self.records(), start=first_row):
            sample = to_sample(
                row_idx,
                record,
                file.source,
                self._options,
                container=container,
                default_family=self._source.format.family,
            )
            if file.image_prefix:
                images = tuple(_add_prefix(file.image_prefix, image) for image in sample.images)
                sample = replace(sample, images=images)
            if isinstance(record.value, Mapping) and REFUSED in record.value:
                reason = str(record.value[REFUSED])
                sample = replace(sample, status=Status.REFUSED_PATH, reason=reason)
            sample = self._count_unread(sample, record.value)
            if self._images:
                images = tuple(self._images.get(image, image) for image in sample.images)
                sample = replace(sample, images=images)
            yield sample

    def _count_unread(self, sample: Sample, value: object) -> Sample:
        """Count keys with unread images; the reason of a sample without images names the first."""
        unread = unread_columns(value, sample, self._options)
        for key in unread:
            if key in self.unread or len(self.unread) < _MAX_UNREAD:
                self.unread[key] += 1
        if unread and sample.status is Status.TEXT_ONLY:
            reason = f"{sample.reason}; {unread[0]!r} may contain it: --column image={unread[0]}"
            return replace(sample, reason=reason)
        return sample

    def sha256(self) -> str:
        """Return the digest of the whole file, including anything after the last record."""
        if self._raw is None:
            with self._source.file.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._position = self._size
            return digest
        while self._raw.read(_HASH_BYTES):
            pass
        return self._raw.sha256()

    def records(self) -> Iterator[tuple[RawRecord, str | None]]:
        """Yield raw records, each with the prefix of references to images inside it."""
        container = self._source.format.container
        records: Iterable[tuple[RawRecord, str | None]]
        if container in JSON:
            records = ((record, None) for record in _unpack_lists(self._read_json()))
        elif container == "webdataset":
            tar = read_webdataset(
                self._open_stream(),
                self._source.file.name,
                encoding=self._options.encoding,
                keep_going=self._options.keep_going,
            )
            records = ((record, record.origin) for record in tar)
        elif container in TABLES:
            records = self._read_text_table(TABLES[container])
        else:
            records = ((record, record.origin) for record in self._read_columns())
        try:
            for record, prefix in records:
                if record.problem:
                    record = replace(record, problem=self._add_advice(record.problem))
                yield record, prefix
        except RecordError as error:
            raise RecordError(self._add_advice(str(error))) from error

    def _add_advice(self, problem: str) -> str:
        """Return the problem; for one of the text's encoding add a remedy."""
        if NOT_UTF8 not in problem:
            return problem
        if self._options.encoding:
            return problem.replace(NOT_UTF8, f"is not {self._options.encoding}")
        self._advice = self._advice or advise_encoding(self._read_chunks())
        return f"{problem}. {self._advice}"

    def _read_chunks(self) -> Iterator[bytes]:
        """Yield the content of the file from its start, opening it a second time."""
        name, compression = self._source.file.name, self._source.format.compression
        with self._source.file.path.open("rb") as raw:
            file = open_decompressed(raw, compression, name)
            while chunk := file.read(_HASH_BYTES):
                yield chunk

    def _open_stream(self, encoding: str = "") -> IO[bytes]:
        if self._raw is None:
            raise ValueError(f"{self._source.file.path} is not a streamed format")
        raw = io.BufferedReader(self._raw, 1 << 18)
        name, compression = str(self._source.file.path), self._source.format.compression
        self._buffered = open_text(raw, compression, encoding, name)
        return self._buffered

    def _read_json(self) -> Iterator[RawRecord]:
        name, keep_going = str(self._source.file.path), self._options.keep_going
        layout = self._source.format
        file = self._open_stream(layout.encoding)
        if layout.container == "array":
            records = read_json_array(file, name, keep_going)
        elif layout.container == "lines":
            records = read_json_lines(file, name, keep_going)
        elif layout.container == "values":
            records = read_json_values(file, name, keep_going)
        else:
            records = read_json_object(file, name, keep_going, layout.within)
        try:
            yield from records
        except RecordError as error:
            if not keep_going:
                raise RecordError(f"{error}. {_KEEP_GOING}") from None
            # A compressed file that is truncated or damaged.
            yield RawRecord(b"", problem=str(error).removeprefix(f"{name}: "))

    def _read_text_table(self, delimiter: str) -> Iterator[tuple[RawRecord, str]]:
        name, layout = self._source.file.name, self._source.format
        shared, quoting = SharedImages(), "" if layout.quoted else "&quoting=none"
        rows = read_table(
            self._open_stream(),
            name,
            delimiter,
            quoted=layout.quoted,
            encoding=layout.encoding,
            keep_going=self._options.keep_going,
        )
        for offset, record in rows:
            value, image_offset = record.value, offset
            if isinstance(value, dict):
                image_offset = shared.find_offset(offset, value)
                if str(value.get("image", "")).startswith("["):
                    value = {**value, "image": parse_list(value["image"])}
                if image_offset != offset:
                    value = {**value, "image": SHARED_IMAGE}
            record = replace(record, value=value, origin=f"{name}#offset={offset}")
            yield record, f"{name}#offset={image_offset}{quoting}"

    def _read_columns(self) -> Iterator[RawRecord]:
        file, keep_going = self._source.file, self._options.keep_going
        if self._source.format.container == "parquet":
            for row, n_rows, record in read_parquet(file.path, file.name, keep_going=keep_going):
                self._position = self._size * row // max(n_rows, 1)
                yield record
        else:
            yield from read_arrow(file.path, file.name, keep_going=keep_going)


def _unpack_lists(records: Iterable[RawRecord]) -> Iterator[RawRecord]:
    """Yield the elements of lists of records (packed for training); a list of turns is a record."""
    for record in records:
        value = record.value
        listed = value if isinstance(value, list) and not guess_family(value) else []
        if listed and all(isinstance(element, dict) for element in listed):
            yield from read_json_array(io.BytesIO(record.original), "packed record")
        else:
            yield record


def _add_prefix(prefix: str, image: str) -> str:
    """Return ``image`` below the image folder that its dataset names."""
    is_complete = isinstance(image, InlineReference) or "://" in image
    return image if is_complete or PurePosixPath(image).is_absolute() else prefix + image


class HashingReader(io.RawIOBase):
    """A file that hashes what is read from it, so one pass does both."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._hash = hashlib.sha256()
        self.n_bytes = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into ``buffer`` and hash what was read."""
        count = self._file.readinto(buffer)
        self._hash.update(buffer[:count])
        self.n_bytes += count
        return count

    def close(self) -> None:
        """Close the file below."""
        self._file.close()
        super().close()

    def sha256(self) -> str:
        """Return the digest of everything read so far."""
        return self._hash.hexdigest()
