"""Images by key: a JSON object or a Parquet table that other files' records refer to.

The file is read through once for the places of its images; their bytes stay where they are. Only
the keys are kept in memory while an import lasts.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.errors import InputError, RecordError
from scoring.readers.values import BYTES_KEYS, IMAGE_KEYS, InlineReference

_KEY_COLUMNS = ("id", "key", "image_id", "index", "name", "__key__", "__index_level_0__")
_MEMBER = re.compile(rb'"((?:[^"\\]|\\.){1,1024})"\s*:\s*("(?:[^"\\]|\\/)*")')
_START = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:[^"\\]|\\.){1,1024}"\s*:\s*"')


def index_keyed_images(files: Sequence[Path]) -> Mapping[str, InlineReference]:
    """key -> reference to the image that a file holds under it.

    Raises InputError for a file that holds none, and for two of one name; RecordError for a
    damaged one.
    """
    names = [path.name for path in files]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"two files of images are called {min(twice)!r}; rename one, they are told apart by it"
        )
    found: dict[str, InlineReference] = {}
    for path in files:
        before = len(found)
        found.update(_places(path))
        if len(found) == before:
            raise InputError(
                f"{path} holds no images by key: --images takes folders, JSON files of one object "
                "(key: base64) and Parquet files with a column of keys and one of images"
            )
    return found


def _places(path: Path) -> Iterator[tuple[str, InlineReference]]:
    with path.open("rb") as file:
        head = file.read(4)
    return _of_table(path) if head == b"PAR1" else _of_object(path)


def _of_object(path: Path) -> Iterator[tuple[str, InlineReference]]:
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if not _START.match(content):
            return
        for member in _MEMBER.finditer(content):
            key = _text(member[1])
            place = f"offset={member.start(2)}&bytes={member.end(2) - member.start(2)}"
            yield key, InlineReference(f"{path.name}#{place}&key={quote(key, errors='replace')}")


def _text(escaped: bytes) -> str:
    text = escaped.decode("utf-8", "surrogateescape")
    try:
        return str(json.loads(f'"{text}"')) if "\\" in text else text
    except ValueError:
        return text


def _of_table(path: Path) -> Iterator[tuple[str, InlineReference]]:
    try:
        with pq.ParquetFile(path) as file:
            key, image = _columns(path, file.schema_arrow)
            row = 0
            for batch in file.iter_batches(10_000, columns=[key]):
                for value in batch.column(0).to_pylist():
                    yield str(value), InlineReference(f"{path.name}#row={row}&at=/{image}")
                    row += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"{path} is no readable Parquet file: {error}") from error


def _columns(path: Path, schema: pa.Schema) -> tuple[str, str]:
    """The column of keys, and the steps to the image in its own column."""
    keys = [name for name in _KEY_COLUMNS if name in schema.names]
    images = [name for name in (*BYTES_KEYS, *IMAGE_KEYS) if name in schema.names]
    if not keys or not images:
        raise InputError(
            f"{path} has the columns {', '.join(schema.names)}; images by key need one of "
            f"{', '.join(_KEY_COLUMNS)} and one of {', '.join((*BYTES_KEYS, 'image'))}"
        )
    image = images[0]
    nested = pa.types.is_struct(schema.field(image).type)
    return keys[0], f"{quote(image, safe='')}/bytes" if nested else quote(image, safe="")
