"""Readers: a dataset file in, samples out, one at a time."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from scoring.errors import RecordError
from scoring.readers.json_stream import RawRecord, read_json_array, read_json_lines

Container = Literal["array", "lines"]
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a file was taken for: how its records are cut, and how they are understood."""

    container: Container
    family: str = "llava"


def detect_format(path: Path) -> FileFormat:
    """Looks at the first bytes of ``path``: ``[`` begins a JSON array, ``{`` JSON lines.

    Raises RecordError for anything else, naming what stands there.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from error
    if head.startswith(b"["):
        return FileFormat("array")
    if head.startswith(b"{"):
        return FileFormat("lines")
    found = f"begins with {head[:20]!r}" if head else "is empty"
    raise RecordError(f"{path} {found}; supported are LLaVA JSON (an array of records) and JSONL")


def read_records(file: IO[bytes], name: str, container: Container) -> Iterator[RawRecord]:
    """The records of an open file, in order."""
    return read_json_array(file, name) if container == "array" else read_json_lines(file, name)


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
