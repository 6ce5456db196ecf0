"""The reading side of the database: one shared ``Store``, safe for threads, never in the way.

A connection in memory has the database file attached read-only; the decision logs lie beside it as
tables in memory, so pages see every decision at once. The one decision behind it: each query gets
a cursor of its own, because a DuckDB connection shared between threads returns wrong rows without
a word. Whoever holds a ``Reading`` goes on seeing the file it was opened on.
"""

from __future__ import annotations

import copy
import os
import secrets
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.database.build import schema
from scoring.database.build.build import decisions_table, list_parts
from scoring.database.cache import QueryCache
from scoring.database.frames import nan_to_none
from scoring.database.values import BuildState, Record
from scoring.errors import OutdatedError
from scoring.necessity import Bands
from scoring.precision import noise_of
from scoring.reviews.decisions import DecisionFeed, decision_feed, logs_generation
from scoring.reviews.resolution import LatestDecision, majority_decisions
from scoring.workspace import Workspace

_MEMORY_LIMIT = "600MB"  # what does not fit is sorted on disk
_CACHE_BYTES = 480 << 20
_MATCH_ROW_BYTES = 16
_THREADS = 8
# Nothing that arrives in a query may reach the disk or the network.
_CLOSE_DOORS = ("SET enable_external_access = false", "SET lock_configuration = true")
_VERDICTS = pa.schema([("row_idx", pa.int64()), ("decision", pa.string())])


class Match:
    """A list of rows in memory, as a table of one column; gone when nobody holds it any more."""

    def __init__(self, con: duckdb.DuckDBPyConnection, query: str, values: object) -> None:
        self.table = f"match_{secrets.token_hex(8)}"
        with closing(con.cursor()) as cursor:
            cursor.execute(" ".join(("CREATE TABLE", self.table, "AS", query)), values)
            counting = " ".join(("SELECT count(*) FROM", self.table))
            self.n_rows = int(cursor.execute(counting).fetchall()[0][0])
        weakref.finalize(self, _drop, con, self.table)


def _match_key(query: str, values: Mapping[str, Any]) -> tuple[object, ...]:
    return "match", query, tuple(sorted(values.items()))


def _drop(con: duckdb.DuckDBPyConnection, table: str) -> None:
    with suppress(duckdb.Error), closing(con.cursor()) as cursor:
        cursor.execute(" ".join(("DROP TABLE IF EXISTS", table)))


class Snapshot:
    """One database file, opened for reading; every query runs on a cursor of its own.

    ``cache`` keeps what was worked out from it; ``decisions_version`` changes with the decisions.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._con = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": _MEMORY_LIMIT,
                "threads": min(os.cpu_count() or 1, _THREADS),
                # A folder of its own: queries may reach into it even without external access.
                "temp_directory": str(Path(tempfile.gettempdir()) / "visnec-spill"),
            },
        )
        try:
            self._open(workspace)
        except BaseException:
            self._con.close()
            raise
        self.cache = QueryCache(_CACHE_BYTES)
        self.decisions_version = 0
        self.decisions_generation = ""
        self._feed_version: int | None = None
        scopes = self.rows(
            "SELECT run_id, baseline, dtype FROM runs ORDER BY created_at, run_id, position"
        )
        self.scopes = [(str(run_id), str(baseline)) for run_id, baseline, _ in scopes]
        self.noises = {(run_id, baseline): noise_of(dtype) for run_id, baseline, dtype in scopes}
        clusterings = self.rows(_CLUSTERING_IDS)
        self.clusterings = [str(name) for name, _ in clusterings]
        self.clustering_in_scores = next((name for name, inside in clusterings if inside), None)

    def _open(self, workspace: Workspace) -> None:
        try:
            self._con.execute("ATTACH ? AS built (READ_ONLY)", [str(workspace.database)])
            found = self.rows("SELECT database_version FROM built.build_info")
        except duckdb.Error as error:
            raise OutdatedError(
                f"{workspace.database} cannot be read ({error}); it is derived from the parts, "
                f"make it anew with: visnec build -w {workspace.root}"
            ) from error
        if found != [(schema.DATABASE_VERSION,)]:
            raise OutdatedError(
                f"{workspace.database} was built by another version of VisNec Studio; "
                f"make it anew with: visnec build -w {workspace.root}"
            )
        there = {name for (name,) in self.rows(_BUILT_TABLES)}
        for name, columns in schema.TABLES.items():
            if name in schema.LATER_TABLES and name not in there:
                self._con.execute("\n".join(("CREATE TABLE", name, "(", columns, ")")))
            elif name != "decisions":
                self._con.execute(" ".join(self._view(name)))
        for statement in (*schema.CREATE_MACROS, *_CLOSE_DOORS):
            self._con.execute(statement)

    def _view(self, name: str) -> tuple[str, ...]:
        """The statement that shows a table of the file, with columns that it may lack as NULL."""
        later = schema.LATER_COLUMNS.get(name, {})
        there = (
            {column for (column,) in self.rows(_BUILT_COLUMNS, {"table": name})} if later else ()
        )
        lacking = [
            f", NULL::{kind} AS {column}" for column, kind in later.items() if column not in there
        ]
        return ("CREATE VIEW", name, "AS SELECT *", *lacking, "FROM built.main.", name)

    def rows(self, query: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of the answer as tuples."""
        with closing(self._con.cursor()) as cursor:
            return cursor.execute(query, dict(values or {})).fetchall()

    def records(self, query: str, values: Mapping[str, Any] | None = None) -> list[Record]:
        """All rows of the answer by column name."""
        with closing(self._con.cursor()) as cursor:
            found = cursor.execute(query, dict(values or {})).fetchall()
            names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found]

    def frame(self, query: str, values: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The answer as a frame; NULL is NaN among floats and None everywhere else."""
        with closing(self._con.cursor()) as cursor:
            return nan_to_none(cursor.execute(query, dict(values or {})).df())

    def arrays(
        self, query: str, values: Mapping[str, Any] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The answer column by column; the query must leave no NULL outside float columns."""
        with closing(self._con.cursor()) as cursor:
            columns = cursor.execute(query, dict(values or {})).fetchnumpy()
        return {name: _without_mask(column) for name, column in columns.items()}

    def batches(
        self, query: str, values: Mapping[str, Any], size: int = 1 << 18
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """As ``arrays``, ``size`` rows at a time: for answers of which one copy is enough."""
        with closing(self._con.cursor()) as cursor:
            relation = cursor.sql(query, params=dict(values))
            for batch in relation.to_arrow_reader(size):
                yield {
                    name: column.to_numpy(zero_copy_only=False)
                    for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }

    def match(self, query: str, values: Mapping[str, Any]) -> Match:
        """The rows that a query gives, looked up once and kept while there is room."""
        return self.cache.get_or_compute(
            _match_key(query, values),
            lambda: Match(self._con, query, dict(values)),
            lambda match: match.n_rows * _MATCH_ROW_BYTES,
        )

    def has_match(self, query: str, values: Mapping[str, Any]) -> bool:
        """Whether these rows were looked up already."""
        return _match_key(query, values) in self.cache

    def follow_decisions(self, feed: DecisionFeed, generation: str) -> None:
        """Load what the decision logs gained, if their ``generation`` is another one by now."""
        if generation != self.decisions_generation:
            changes = feed.read_changes(self._feed_version)
            self.load_decisions(changes.latest, changes.rows)
            self._feed_version, self.decisions_generation = changes.version, generation

    def load_decisions(self, latest: list[LatestDecision], rows: set[int] | None = None) -> None:
        """Replaces the tables ``decisions`` and ``verdicts`` in one step, or only what they hold
        about ``rows``: one more decision must not cost what all of them do."""
        statements = _ALL_DECISIONS if rows is None else _SOME_DECISIONS
        with closing(self._con.cursor()) as cursor:
            cursor.register("new_decisions", decisions_table(latest))
            cursor.register("new_verdicts", _verdicts_table(latest))
            cursor.register("new_rows", pa.table({"row_idx": pa.array(rows or (), pa.int64())}))
            cursor.execute("BEGIN")
            for statement in statements:
                cursor.execute(statement)
            cursor.execute("COMMIT")
            self.decisions_version += 1
            for name in ("new_decisions", "new_verdicts", "new_rows"):
                cursor.unregister(name)


class Store:
    """The database of a workspace, open for reading in any number of threads.

    It follows by itself when a build puts a new file in place and when a decision log grows.
    Raises WorkspaceError where there is no database yet, naming the command that makes it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._feed = decision_feed(workspace)
        self._snapshot: Snapshot | None = None
        self._generation = ""
        self._part_rows: dict[str, int] = {}
        self._is_pinned = False
        self.snapshot()

    def pin(self) -> Store:
        """Return a store that stays on the current database file; decisions remain current."""
        self.snapshot()
        with self._lock:
            pinned = copy.copy(self)
            pinned._is_pinned = True
            return pinned

    @property
    def bands(self) -> Bands:
        """The category limits of the workspace, for questions that bring none."""
        return self.workspace.bands

    @property
    def generation(self) -> str:
        """Changes with the database file: a key for what pages keep of its answers."""
        self.snapshot()
        return self._generation

    @property
    def decisions_generation(self) -> str:
        """Changes with the decision logs."""
        return self.snapshot().decisions_generation

    def snapshot(self) -> Snapshot:
        """The database as it is now; figures that must agree come from one snapshot."""
        with self._lock:
            generation = self._generation
            if not self._is_pinned:
                generation = _file_generation(self.workspace) or generation
            if self._snapshot is None or generation != self._generation:
                self._snapshot, self._generation = Snapshot(self.workspace), generation
            self._snapshot.follow_decisions(self._feed, logs_generation(self.workspace))
            return self._snapshot

    def part_names(self) -> list[str]:
        """The parts that the database was built from, by their names inside the workspace."""
        return [path for (path,) in self.snapshot().rows("SELECT path FROM parts ORDER BY path")]

    def build_state(self) -> BuildState:
        """When the database was built, and how many finished parts it does not hold yet."""
        snapshot = self.snapshot()
        known = {path for (path,) in snapshot.rows("SELECT path FROM parts")}
        built_at = snapshot.rows("SELECT built_at FROM build_info")[0][0]
        found = dict(list_parts(self.workspace).listed(self.workspace))
        new = sorted(found.keys() - known)
        return BuildState(
            built_at,
            n_parts=len(known),
            n_new_parts=len(new),
            n_new_scores=sum(self._rows_of(path) for path in new if found[path] == "scores"),
        )

    def _rows_of(self, part: str) -> int:
        """Rows of a part by its footer; parts never change, so each is looked into once."""
        if part not in self._part_rows:
            try:
                self._part_rows[part] = pq.read_metadata(self.workspace.root / part).num_rows
            except (OSError, pa.ArrowInvalid):
                return 0
        return self._part_rows[part]


_ALL_DECISIONS = (
    "CREATE OR REPLACE TABLE decisions AS FROM new_decisions",
    "CREATE OR REPLACE TABLE verdicts AS FROM new_verdicts",
)
_SOME_DECISIONS = (
    "DELETE FROM decisions WHERE row_idx IN (FROM new_rows)",
    "DELETE FROM verdicts WHERE row_idx IN (FROM new_rows)",
    "INSERT INTO decisions BY NAME FROM new_decisions",
    "INSERT INTO verdicts BY NAME FROM new_verdicts",
)
_BUILT_TABLES = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'built'"
_BUILT_COLUMNS = """
    SELECT column_name FROM duckdb_columns()
    WHERE database_name = 'built' AND table_name = $table
"""
_CLUSTERING_IDS = (
    "SELECT clustering_id, in_scores FROM clusterings ORDER BY created_at, clustering_id"
)


def _file_generation(workspace: Workspace) -> str | None:
    """Tells one database file from the next; None while there is none."""
    try:
        stat = workspace.database.stat()
    except FileNotFoundError:
        return None
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"


def _verdicts_table(latest: list[LatestDecision]) -> pa.Table:
    """One verdict per decided sample: the majority's, or unsure where there is none."""
    outcome = majority_decisions(latest)
    decided = sorted({one.row_idx for one in latest if one.decision is not None})
    verdicts = [str(outcome.get(row_idx, "unsure")) for row_idx in decided]
    return pa.Table.from_pydict({"row_idx": decided, "decision": verdicts}, _VERDICTS)


def _without_mask(column: Any) -> NDArray[Any]:
    return column.filled(np.nan) if isinstance(column, np.ma.MaskedArray) else np.asarray(column)
