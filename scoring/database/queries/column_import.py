"""Match the rows of a file to samples and read its columns, in a DuckDB file of its own.

The type of a column is that of all its values. In CSV and JSON a column whose values have several
types is refused; integers with other numbers are numbers. DuckDB moves to disk what exceeds its
memory limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from scoring.columns.parts import BOOLEAN, INTEGER, NUMBER, TEXT
from scoring.database.build.build import literal_paths
from scoring.database.queries.column_matching import IS_OTHER, MATCH, PREPARE, REPEATED
from scoring.errors import InputError
from scoring.issues import ImportIssues

_CONFIG: dict[str, Any] = {"memory_limit": "400MB", "threads": 4}
_JSON = ("json", "cells")
_READERS = {"parquet": "read_parquet", "csv": "read_csv"}
_READERS |= dict.fromkeys(_JSON, "read_json_objects")
_EXAMPLES = 5
_BLOCK_ROWS = 1 << 16
_PARQUET_TYPES = {
    BOOLEAN: ("BOOLEAN",),
    INTEGER: (
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    ),
    NUMBER: ("FLOAT", "DOUBLE"),
    TEXT: ("VARCHAR",),
}
_FINITE = {  # of a number and of a list: whether one is not finite, and the value without these
    False: ("NOT isfinite(value)", "CASE WHEN isfinite(value) THEN value END"),
    True: (
        "len([v FOR v IN value IF NOT isfinite(v)]) > 0",
        "[CASE WHEN isfinite(v) THEN v END FOR v IN value]",
    ),
}
_SQL_TYPES = {INTEGER: "BIGINT", NUMBER: "DOUBLE", TEXT: "VARCHAR", BOOLEAN: "BOOLEAN"}


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column of a file that can be read: its key, type, whether it has lists, and its values.

    ``values`` is an expression over ``file_rows f``.
    """

    key: str
    type: str
    is_list: bool
    values: str


class ColumnMatcher:
    """The rows of one file and the samples that they are about. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        config = _CONFIG | {"temp_directory": str(folder / "sort")}
        self._con = duckdb.connect(str(folder / "columns.duckdb"), config=config)
        self._con.execute("SET enable_progress_bar = false")  # it prints to stdout
        for statement in PREPARE:
            self._con.execute(statement)
        self.n_rows = 0
        self._columns: dict[str, tuple[str, str]] = {}  # key -> (name in file_rows, its type)
        self._name, self._source = "", ""

    def __enter__(self) -> ColumnMatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._con.close()

    @property
    def keys(self) -> list[str]:
        """The keys of the file that are columns."""
        return list(self._columns)

    def add_samples(self, tables: Iterable[pa.Table]) -> None:
        """Add the dataset: row_idx, id, images and n_turns."""
        for table in tables:
            self._con.register("batch", table)
            self._con.execute("INSERT INTO samples BY NAME FROM batch")
            self._con.unregister("batch")

    def add_file(
        self,
        name: str,
        paths: Sequence[Path],
        source: str,
        parameters: dict[str, Any],
        accepted: Sequence[str],
        wanted: Sequence[str],
        ignored: Sequence[str],
    ) -> None:
        """Load the key and the columns of a file.

        Args:
            name: What errors call the file.
            paths: The file, or the files that it is split into.
            source: ``parquet``, ``csv``, ``json``, or ``cells`` for JSON with cells of CSV.
            parameters: Options of DuckDB's reader.
            accepted: Names of the key, of which the file must have one.
            wanted: Keys of the columns; none: all but the ``ignored`` ones.
            ignored: Names that are not columns unless they are wanted.

        Raises InputError if the file cannot be read or lacks the key or a wanted column.
        """
        self._name, self._source = name, source
        options = "".join(f", {option} = ${option}" for option in parameters)
        relation = f"{_READERS[source]}($paths{options})"
        values = {"paths": literal_paths(paths), **parameters}
        try:
            types = self._read_types(source, relation, values)
            key = next((known for known in accepted if known in types), None)
            if key is None:
                raise InputError(
                    f"{name} has no column {' or '.join(accepted)} to match samples by. Found: "
                    f"{', '.join(types)[:300] or 'nothing'}. Choose another with --on."
                )
            keys = list(wanted) or [known for known in types if known not in ignored]
            nested = source in _JSON
            if missing := [k for k in keys if k not in types and not (nested and "." in k)]:
                raise InputError(
                    f"{name} has no column {', '.join(map(repr, missing))}. Found: "
                    f"{', '.join(types)[:300]}."
                )
            id_key = "id" if "id" in types and key == "row_idx" else None
            selected = [
                _select_text(source, key, "key_text"),
                _select_text(source, id_key, "id_text"),
            ]
            for position, known in enumerate(keys):
                selected.append(f"{_select_value(source, known, types)} AS c{position}")
                self._columns[known] = (f"c{position}", types.get(known, "JSON"))
            self._con.execute(
                "CREATE TABLE file_rows AS SELECT row_number() OVER () AS line, "
                f"{', '.join(selected)} FROM {relation}",
                values,
            )
        except duckdb.Error as error:
            raise InputError(f"{name} cannot be read as {source}: {error}") from error
        self.n_rows = int(self._con.execute("SELECT count(*) FROM file_rows").fetchall()[0][0])

    def _read_types(self, source: str, relation: str, values: dict[str, Any]) -> dict[str, str]:
        if source in _JSON:
            keys = self._con.execute(
                f"SELECT key FROM (SELECT unnest(json_keys(json)) AS key FROM {relation}) "
                "GROUP BY key ORDER BY key",
                values,
            )
            return {str(key): "JSON" for (key,) in keys.fetchall()}
        description = self._con.execute(f"SELECT * FROM {relation} LIMIT 0", values).description
        return {str(column[0]): str(column[1]) for column in description or ()}

    def shift_rows(self, n: int) -> None:
        """Add ``n`` to the row_idx that the rows are matched by."""
        self._con.execute("UPDATE file_rows SET key_text = key_text::BIGINT + $n", {"n": n})

    def match_rows(self, on: str, issues: ImportIssues) -> int:
        """Match the rows of the file to samples; return the number of samples.

        Rows without a sample are added to ``issues``. Raises InputError if two rows are about the
        same one.
        """
        self._con.execute(MATCH[on])
        unknown = "FROM file_rows WHERE line NOT IN (SELECT line FROM named)"
        label = f"unknown {on}"
        self._add_issue(issues, label, unknown, "coalesce(key_text, 'empty')")
        other = "FROM named JOIN file_rows USING (line) WHERE is_other"
        self._add_issue(issues, IS_OTHER[on], other, "'row ' || row_idx || ': ' || key_text")
        self._con.execute(
            "CREATE TABLE matched AS SELECT line, row_idx FROM named WHERE NOT is_other"
        )
        n, example = self._con.execute(REPEATED[on]).fetchall()[0]
        if n:
            what = "images" if on == "image" else "samples"
            raise InputError(
                f"{self._name} has several rows for {n:,} {what} (such as {example}). Which value "
                "counts is not guessed; write one row for each."
            )
        return int(self._con.execute("SELECT count(*) FROM matched").fetchall()[0][0])

    def read_column(self, key: str, issues: ImportIssues) -> FileColumn | None:
        """Return how a column is read; None, with an issue, if it has no values of a known type.

        Raises InputError if its values have several types, with the first of each.
        """
        name, source_type = self._columns[key]
        if self._source == "parquet":
            return _typed_column(key, name, source_type, issues)
        is_json = self._source == "json"
        kind = "json_kind" if is_json else "cell_kind"
        kinds = self._count_kinds(f"SELECT line, {name} AS value FROM file_rows", kind)
        is_list = set(kinds) == {"list"}
        as_json = name if is_json else f"{name}::JSON"
        if is_list:
            kinds = self._count_kinds(
                f"SELECT line, unnest(json_extract({as_json}, '$[*]')) AS value FROM file_rows "
                f"WHERE {kind}({name}) = 'list'",
                "json_kind",
            )
        value_type = self._resolve_kind(key, kinds)
        if value_type is None:
            what = (
                "column of objects or lists ignored" if kinds else "column without values ignored"
            )
            issues.add(what, 1, [key])
            return None
        target = _SQL_TYPES[value_type]
        if is_list:
            items = f"json_extract(f.{as_json}, '$[*]')"
            values = f"[try_cast(v->>'$' AS {target}) FOR v IN {items}]"
        elif is_json:
            values = f"try_cast(f.{name}->>'$' AS {target})"
        else:
            values = f"try_cast(nullif(f.{name}, '') AS {target})"
        return FileColumn(key, value_type, is_list, values)

    def _count_kinds(self, values: str, kind: str) -> dict[str, tuple[int, str]]:
        """Return the first row and value by kind, in the order of the file."""
        rows = self._con.execute(
            f"SELECT kind, min(line), arg_min(value, line)::VARCHAR FROM "
            f"(SELECT line, value, {kind}(value) AS kind FROM ({values})) "
            "WHERE kind IS NOT NULL GROUP BY kind ORDER BY 2"
        ).fetchall()
        return {kind: (line, str(value)) for kind, line, value in rows}

    def _resolve_kind(self, key: str, kinds: dict[str, tuple[int, str]]) -> str | None:
        if set(kinds) <= {"integer", "number"}:
            return NUMBER if "number" in kinds else INTEGER if kinds else None
        if len(kinds) > 1:
            texts = (
                f"{kind} {value[:60]} in row {line:,}" for kind, (line, value) in kinds.items()
            )
            raise InputError(
                f"Column {key!r} of {self._name} has values of several types: "
                f"{', '.join(texts)}. Write one type, or choose other columns with --columns."
            )
        (kind,) = kinds
        return kind if kind in _SQL_TYPES else None

    def read_values(self, column: FileColumn, issues: ImportIssues) -> Iterator[pa.RecordBatch]:
        """Yield row_idx and value of the samples that have one, ascending by row_idx.

        A list must have one value per answer; others are issues. So are numbers that are not
        finite, which count as missing.
        """
        self._con.execute(
            f"CREATE OR REPLACE TABLE typed AS SELECT m.row_idx, {column.values} AS value "
            "FROM matched m JOIN file_rows f USING (line)"
        )
        rows = "SELECT row_idx, value FROM typed WHERE value IS NOT NULL"
        if column.type == NUMBER:
            is_bad, finite = _FINITE[column.is_list]
            what = f"{column.key}: not a finite number, left empty"
            self._add_issue(issues, what, f"FROM typed WHERE {is_bad}", "'row ' || row_idx")
            rows = f"SELECT row_idx, {finite} AS value FROM typed WHERE {finite} IS NOT NULL"
        if column.is_list:
            what = f"{column.key}: number of values is not the number of answers"
            joined = "FROM typed JOIN samples USING (row_idx) WHERE len(value) <> n_turns"
            example = "'row ' || row_idx || ': ' || len(value) || ' instead of ' || n_turns"
            self._add_issue(issues, what, joined, example)
            rows = (
                f"SELECT t.* FROM ({rows}) t JOIN samples s USING (row_idx) "
                "WHERE len(value) = n_turns"
            )
        yield from self._con.sql(f"{rows} ORDER BY row_idx").to_arrow_reader(_BLOCK_ROWS)

    def refuse_large_integers(self, column: FileColumn) -> None:
        """Raise InputError if an integer of a column is not exact as a double."""
        if column.type != INTEGER:
            return
        items = "value" if column.is_list else "[value]"
        large = self._con.execute(
            f"SELECT line, value::VARCHAR FROM (SELECT line, {column.values} AS value "
            "FROM file_rows f) "
            f"WHERE list_max([abs(v::HUGEINT) FOR v IN {items}]) > {2**53} LIMIT 1"
        ).fetchall()
        if large:
            raise InputError(
                f"Column {column.key!r} of {self._name} has an integer above 2**53 "
                f"({large[0][1]} in row {large[0][0]:,}), which is not stored exactly. Write it "
                "as text."
            )

    def _add_issue(self, issues: ImportIssues, what: str, rows: str, example: str) -> None:
        n = int(self._con.execute(f"SELECT count(*) {rows}").fetchall()[0][0])
        if n:
            shown = self._con.execute(f"SELECT {example} {rows} LIMIT {_EXAMPLES}").fetchall()
            issues.add(what, n, [str(text)[:80] for (text,) in shown])


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _pointer(key: str, types: dict[str, str]) -> str:
    """Return the JSON pointer of a key; a dot leads into an object unless a key contains it."""
    names = [key] if key in types else key.split(".")
    return _literal("".join("/" + n.replace("~", "~0").replace("/", "~1") for n in names))


def _select_text(source: str, key: str | None, alias: str) -> str:
    if key is None:
        return f"NULL::VARCHAR AS {alias}"
    if source in _JSON:
        return f"json_extract_string(json, {_pointer(key, {key: ''})}) AS {alias}"
    return f"nullif({_quote(key)}::VARCHAR, '') AS {alias}"


def _select_value(source: str, key: str, types: dict[str, str]) -> str:
    if source in _JSON:
        extract = "json_extract" if source == "json" else "json_extract_string"
        return f"{extract}(json, {_pointer(key, types)})"
    return _quote(key)


def _typed_column(key: str, name: str, source_type: str, issues: ImportIssues) -> FileColumn | None:
    is_list = source_type.endswith("[]")
    item = source_type.removesuffix("[]")
    item = "DOUBLE" if item.startswith("DECIMAL") else item
    value_type = next((kind for kind, names in _PARQUET_TYPES.items() if item in names), None)
    if value_type is None:
        issues.add("column of another type ignored", 1, [f"{key} ({source_type[:40]})"])
        return None
    target = _SQL_TYPES[value_type] + ("[]" if is_list else "")
    return FileColumn(key, value_type, is_list, f"f.{name}::{target}")
