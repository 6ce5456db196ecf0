"""Values of the records' own keys, collected while an import reads the records.

They are written as JSON lines, one file per dataset file, next to the staged parts, so that an
interrupted import resumes with those of the files that it has finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path

from scoring.readers.detect import TABLES
from scoring.readers.sources import SourceFile
from scoring.unicode_text import replace_surrogates

FOLDER = "values"
ROW_KEY = "/row"
"""The key of the row in a line of values; a record's own key of this name is not collected."""
_MAX_KEYS = 200

OnRecord = Callable[[int, object], None]
"""Called with row_idx and the value of each record."""


@dataclass(slots=True)
class RecordValues:
    """The values of the keys that match ``patterns``, and what is done with them once all are read.

    ``check`` is called before the dataset is published and may refuse it. The values are those of
    ``n_rows`` records; the first is row ``first_row`` of the dataset, and row ``first_read`` in the
    files. ``are_cells``: all are texts of TSV or CSV. ``keys`` are some keys of the records.
    """

    patterns: Sequence[str]
    check: Callable[[RecordValues], None]
    first_row: int = 0
    first_read: int = 0
    n_rows: int = 0
    are_cells: bool = True
    paths: list[Path] = field(default_factory=list)
    keys: dict[str, bool] = field(default_factory=dict)

    @contextmanager
    def collect_file(self, folder: Path, first_row: int, end_row: int | None) -> Iterator[OnRecord]:
        """Yield a function that writes the values of a file's records before ``end_row``."""
        path = folder / FOLDER / f"{first_row:012d}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", encoding="ascii") as file:

            def add_record(row_idx: int, value: object) -> None:
                if isinstance(value, Mapping) and (end_row is None or row_idx < end_row):
                    values = {key: _plain(inner) for key, inner in self._select(value)}
                    if values:
                        file.write(json.dumps({ROW_KEY: row_idx, **values}) + "\n")

            yield add_record

    def finish(
        self, folder: Path, sources: Sequence[SourceFile], first_row: int, first_read: int, n: int
    ) -> None:
        """Record which rows the values are about, and check them."""
        self.first_row, self.first_read, self.n_rows = first_row, first_read, n
        self.are_cells = all(source.format.container in TABLES for source in sources)
        self.paths = sorted((folder / FOLDER).glob("*.jsonl"))
        self.check(self)

    def _select(self, record: Mapping[str, object]) -> Iterator[tuple[str, object]]:
        """Yield the keys of a record that are wanted; a dot leads into an object."""
        for key, value in record.items():
            if self._is_wanted(key):
                yield key, value
            if isinstance(value, Mapping):
                for inner, nested in value.items():
                    if self._is_wanted(f"{key}.{inner}"):
                        yield f"{key}.{inner}", nested

    def _is_wanted(self, key: str) -> bool:
        wanted = self.keys.get(key)
        if wanted is None:
            wanted = key != ROW_KEY and any(fnmatchcase(key, each) for each in self.patterns)
            if len(self.keys) < _MAX_KEYS:
                self.keys[key] = wanted
        return wanted


def _plain(value: object) -> object:
    """Return a value or a list of values as JSON has them; an empty object for anything else."""
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return {} if any(isinstance(item, dict | list) for item in items) else items
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, bool | int | float) else {}
