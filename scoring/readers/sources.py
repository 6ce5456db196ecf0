"""Dataset files as sources of samples: each is opened in its detected format and read once."""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO

from cachetools import LRUCache

from scoring.errors import InputError, RecordError
from scoring.hub.repository import HubFile, HubRepository, download_file
from scoring.readers import json_stream
from scoring.readers.detect import (
    JSON,
    TABLES,
    FileFormat,
    detect_format,
    open_decompressed,
    open_text,
)
from scoring.readers.encodings import NOT_UTF8, PieceReader, advise_encoding
from scoring.readers.first_records import copy_first_records
from scoring.readers.inputs import InputFile, find_inputs
from scoring.readers.json_stream import RawRecord
from scoring.readers.options import FAMILIES, ReadOptions
from scoring.readers.records import (
    FamilyGuess,
    apply_columns,
    guess_family,
    to_sample,
    unread_columns,
)
from scoring.readers.restored_records import restore_record
from scoring.readers.tables import read_arrow, read_parquet
from scoring.readers.tars import REFUSED, read_webdataset
from scoring.readers.tsv import read_table
from scoring.readers.values import SHARED_IMAGE, InlineReference, parse_list
from scoring.samples import Sample, Status

_DEFAULTS = ReadOptions()
_MAX_GUESSES = 50  # records to examine before the family must be known
_HASH_BYTES = 4 << 20
MAX_SHARED_IMAGES = 200_000
_MIN_IMAGE_LENGTH = 64  # a shorter text in the image column is the index of another row
_MAX_UNREAD = 100  # counted keys that may contain unread images
_JSON_READERS = {
    "array": json_stream.read_json_array,
    "lines": json_stream.read_json_lines,
    "values": json_stream.read_json_values,
}
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
    """Return the input files with their formats, up to the last one that ``limit`` needs.

    Files on the hub are downloaded one after another, with ``limit`` only as far as they are
    needed. Raises InputError for an ambiguous family.
    """
    sources, n_left = list[SourceFile](), options.limit
    for file in find_inputs(inputs, options):
        if n_left is not None and n_left <= 0:
            break
        if file.hub is not None:
            file = _download(file, file.hub, options, n_left)
        detected = detect_format(file.data_path, options.encoding)
        guess = _detect_family(
            SourceFile(file, detected), options.with_defaults(file.listed_options)
        )
        why = "; ".join(filter(None, (detected.why, guess.why, file.note)))
        sources.append(SourceFile(file, replace(detected, family=guess.family, why=why)))
        if n_left is not None:
            with SourceReader(sources[-1], options) as reader:
                n_left -= sum(1 for _ in islice(reader.records(), n_left))
    _download_images(sources, options)
    return sources


def _download(
    file: InputFile, origin: HubFile, options: ReadOptions, n_records: int | None
) -> InputFile:
    """Return a file on the hub as downloaded, or with a copy of the records that are needed."""

    def has_records(path: Path) -> bool:
        copy, n_needed = replace(file, first_records=path), max(n_records or 0, _MAX_GUESSES) + 1
        with suppress(RecordError):
            source = SourceFile(copy, detect_format(path, options.encoding))
            with SourceReader(source, options) as reader:
                return sum(1 for _ in islice(reader.records(), n_needed)) == n_needed
        return False

    if n_records and (copy := copy_first_records(origin, n_records, has_records)):
        return replace(file, first_records=copy)
    download_file(origin)
    return file


def _download_images(sources: Sequence[SourceFile], options: ReadOptions) -> None:
    """Download images that are files on the hub, because records may name any of them.

    With a limit these are the images that the records name.
    """
    named: dict[HubRepository, set[str]] = {}
    for source in sources:
        repository = source.file.repository
        if repository is None or not repository.images or source.format.container == "webdataset":
            continue
        references = named.setdefault(repository, set())
        if options.limit is not None:
            with SourceReader(source, options) as reader:
                for sample in islice(reader.samples(0), options.limit):
                    references.update(sample.images)
    for repository, references in named.items():
        if options.limit is None:
            repository.download_alike(repository.images)
        else:
            repository.download_each(_match_images(repository.images, references))


def _match_images(names: Sequence[str], references: Iterable[str]) -> list[str]:
    """Return the names that end with one of the paths in ``references``."""
    ends: dict[str, set[str]] = {}
    for reference in references:
        path = posixpath.normpath(reference.partition("###")[0]).lstrip("./")
        ends.setdefault(PurePosixPath(path).name, set()).add(f"/{path}")
    return [
        name
        for name in names
        if any(f"/{name}".endswith(end) for end in ends.get(PurePosixPath(name).name, ()))
    ]


def _detect_family(source: SourceFile, options: ReadOptions) -> FamilyGuess:
    """Return the family of the first records, and the evidence."""
    if options.family:
        return FamilyGuess(options.family, "the record format was given")
    candidates: list[str] = []
    first: object = None
    with SourceReader(source, options) as reader:
        for record, _ in islice(reader.records(), _MAX_GUESSES):
            value = apply_columns(record.value, options)
            first = value if first is None else first
            guesses = guess_family(value)
            if len(guesses) == 1:
                return guesses[0]
            candidates += [guess.family for guess in guesses]
    if first is None:
        return FamilyGuess(source.format.family, "")
    what = f"is {str(first)[:40]!r}"
    if isinstance(first, dict) and first:
        what = f"has the keys {', '.join(map(str, list(first)[:12]))}"
    families = list(dict.fromkeys(candidates)) or list(FAMILIES)
    described = "; ".join(f"{family}: {FAMILIES[family]}" for family in families)
    raise InputError(
        f"{source.file.data_path}: could not detect the record format. The first record {what}. "
        f"Pass --format ({described}), or name the columns with --column question=... "
        "--column answer=... --column image=..."
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
        self._size = source.file.data_path.stat().st_size
        self._raw = source.file.data_path.open("rb")
        self._hash = hashlib.sha256()
        self.n_bytes = 0
        """Bytes of the file read so far."""
        self._advice = ""  # about the encoding of a file that is not UTF-8
        self.unread: Counter[str] = Counter()
        """Number of records by the key that seems to contain an unread image."""
        self.on_record: Callable[[int, object], None] | None = None
        """Called with row_idx and value of each record, before its sample."""

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def _read_piece(self, size: int) -> bytes:
        """Read on and hash what was read, so one pass over the file does both."""
        piece = self._raw.read(size)
        self._hash.update(piece)
        self.n_bytes += len(piece)
        return piece

    def samples(self, first_row: int) -> Iterator[Sample]:
        """Yield the samples of the file; the first one gets the row_idx ``first_row``."""
        file, prefix = self._source.file, self._source.file.image_prefix
        for row_idx, (record, container) in enumerate(self.records(), start=first_row):
            if self.on_record is not None:
                self.on_record(row_idx, record.value)
            sample = to_sample(
                row_idx,
                record,
                file.source,
                self._options,
                container=container,
                default_family=self._source.format.family,
            )
            if prefix:
                images = tuple(_add_prefix(prefix, image) for image in sample.images)
                sample = replace(sample, images=images)
            if isinstance(record.value, Mapping) and REFUSED in record.value:
                reason = str(record.value[REFUSED])
                sample = replace(sample, status=Status.REFUSED_PATH, reason=reason)
            if container is not None and self._options == _DEFAULTS:
                sample = restore_record(sample, record.value)
            unread = unread_columns(record.value, sample, self._options)
            for key in unread:
                if key in self.unread or len(self.unread) < _MAX_UNREAD:
                    self.unread[key] += 1
            if unread and sample.status is Status.TEXT_ONLY:
                hint = f"{unread[0]!r} may contain it: --column image={unread[0]}"
                sample = replace(sample, reason=f"{sample.reason}; {hint}")
            if self._images:
                images = tuple(self._images.get(image, image) for image in sample.images)
                sample = replace(sample, images=images)
            for image in sample.images:
                if isinstance(image, InlineReference):
                    image.read_digest()
            yield sample

    def sha256(self) -> str:
        """Return the digest of the whole file, including anything after the last record."""
        while self._read_piece(_HASH_BYTES):
            pass
        self.n_bytes = self._size
        return self._hash.hexdigest()

    def records(self) -> Iterator[tuple[RawRecord, str | None]]:
        """Yield raw records, each with the prefix of references to images inside it."""
        layout, file, keep_going = self._source.format, self._source.file, self._options.keep_going
        records: Iterable[tuple[RawRecord, str | None]]
        if layout.container in JSON:
            records = ((record, None) for record in _unpack_lists(self._read_json()))
        elif layout.container in TABLES:
            records = self._read_text_table(TABLES[layout.container])
        else:
            if layout.container == "webdataset":
                rows = read_webdataset(
                    self._open_stream(), file.name, self._options.encoding, keep_going
                )
            elif layout.container == "parquet":
                rows = read_parquet(file.data_path, file.name, keep_going, self._report_share)
            else:
                rows = read_arrow(file.data_path, file.name, keep_going)
            records = ((record, record.origin) for record in rows)
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
        if not self._advice:
            name, compression = self._source.file.name, self._source.format.compression
            with self._source.file.data_path.open("rb") as raw:  # a second time, from the start
                file = open_decompressed(raw, compression, name)
                self._advice = advise_encoding(iter(partial(file.read, _HASH_BYTES), b""))
        return f"{problem}. {self._advice}"

    def _open_stream(self, encoding: str = "") -> IO[bytes]:
        raw = io.BufferedReader(PieceReader(self._read_piece), 1 << 18)
        name, compression = str(self._source.file.data_path), self._source.format.compression
        return open_text(raw, compression, encoding, name)

    def _read_json(self) -> Iterator[RawRecord]:
        name, keep_going = str(self._source.file.data_path), self._options.keep_going
        layout = self._source.format
        file = self._open_stream(layout.encoding)
        try:
            if layout.container == "object":
                yield from json_stream.read_json_object(file, name, keep_going, layout.within)
            else:
                yield from _JSON_READERS[layout.container](file, name, keep_going)
        except RecordError as error:
            if not keep_going:
                raise RecordError(f"{error}. {_KEEP_GOING}") from None
            # A compressed file that is truncated or damaged.
            yield RawRecord(b"", problem=str(error).removeprefix(f"{name}: "))

    def _read_text_table(self, delimiter: str) -> Iterator[tuple[RawRecord, str]]:
        name, layout = self._source.file.name, self._source.format
        quoting = "" if layout.quoted else "&quoting=none"
        shared = LRUCache[str, int](MAX_SHARED_IMAGES)  # offset of the row by its index
        file, keep_going = self._open_stream(), self._options.keep_going
        rows = read_table(file, name, delimiter, layout.quoted, layout.encoding, keep_going)
        for offset, record in rows:
            value, image_offset = record.value, offset
            if isinstance(value, dict):
                image, index = str(value.get("image", "")), value.get("index")
                if image.startswith("["):
                    value = {**value, "image": parse_list(image)}
                if len(image) >= _MIN_IMAGE_LENGTH and index is not None:
                    shared[str(index)] = offset
                elif index is not None and image in shared:  # the index of another row
                    image_offset, value = shared[image], {**value, "image": SHARED_IMAGE}
            record = replace(record, value=value, origin=f"{name}#offset={offset}")
            yield record, f"{name}#offset={image_offset}{quoting}"

    def _report_share(self, row: int, n_rows: int) -> None:
        self.n_bytes = self._size * row // max(n_rows, 1)


def _unpack_lists(records: Iterable[RawRecord]) -> Iterator[RawRecord]:
    """Yield the elements of lists of records (packed for training); a list of turns is a record."""
    for record in records:
        value = record.value
        listed = value if isinstance(value, list) and not guess_family(value) else []
        if listed and all(isinstance(element, dict) for element in listed):
            yield from json_stream.read_json_array(io.BytesIO(record.original), "packed record")
        else:
            yield record


def _add_prefix(prefix: str, image: str) -> str:
    is_complete = isinstance(image, InlineReference) or "://" in image
    return image if is_complete or PurePosixPath(image).is_absolute() else prefix + image
