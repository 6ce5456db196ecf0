"""Index of images by key: JSON objects or Parquet tables that the records of other files refer to.

Each file is scanned once for the positions of its images; the bytes stay in the file. Only the
keys are held in memory, for the duration of the import.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.errors import InputError, RecordError
from scoring.readers.tables import is_parquet
from scoring.readers.values import BYTES_KEYS, IMAGE_KEYS, InlineReference

_KEY_COLUMNS = ("id", "key", "image_id", "index", "name", "__key__", "__index_level_0__")
_MEMBER = re.compile(rb'"((?:[^"\\]|\\.){1,1024})"\s*:\s*("(?:[^"\\]|\\/)*")')
_START = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:[^"\\]|\\.){1,1024}"\s*:\s*"')


def index_keyed_images(files: Sequence[Path]) -> Mapping[str, InlineReference]:
    """Return the image references of ``files`` by key.

    Raises:
        InputError: a file contains no images indexed by a key, or two files have the same name.
        RecordError: a file is damaged.
    """
    names = [path.name for path in files]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"Two image files are named {min(duplicates)!r}, but images are looked up by file "
            "name. Rename one of them."
        )
    references: dict[str, InlineReference] = {}
    for path in files:
        n_before = len(references)
        references.update(_index_table(path) if is_parquet(path) else _index_object(path))
        if len(references) == n_before:
            raise InputError(
                f"{path} contains no images indexed by a key. --images accepts folders, JSON files "
                "with one object (key: base64), and Parquet files with a key column and an image "
                "column."
            )
    return references


def _index_object(path: Path) -> Iterator[tuple[str, InlineReference]]:
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if not _START.match(content):
            return
        for member in _MEMBER.finditer(content):
            key = member[1].decode("utf-8", "surrogateescape")
            if "\\" in key:
                with suppress(ValueError):
                    key = str(json.loads(f'"{key}"'))
            position = f"offset={member.start(2)}&bytes={member.end(2) - member.start(2)}"
            quoted = quote(key, errors="replace")
            yield key, InlineReference(f"{path.name}#{position}&key={quoted}")


def _index_table(path: Path) -> Iterator[tuple[str, InlineReference]]:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            keys = [name for name in _KEY_COLUMNS if name in schema.names]
            images = [name for name in (*BYTES_KEYS, *IMAGE_KEYS) if name in schema.names]
            if not keys or not images:
                raise InputError(
                    f"{path} has the columns {', '.join(schema.names)}. A table of images needs "
                    f"a key column ({', '.join(_KEY_COLUMNS)}) and an image column "
                    f"({', '.join((*BYTES_KEYS, 'image'))})."
                )
            is_nested = pa.types.is_struct(schema.field(images[0]).type)
            at = quote(images[0], safe="") + ("/bytes" if is_nested else "")
            row = 0
            for batch in file.iter_batches(10_000, columns=keys[:1]):
                for value in batch.column(0).to_pylist():
                    yield str(value), InlineReference(f"{path.name}#row={row}&at=/{at}")
                    row += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"{path} is not a readable Parquet file: {error}") from error
