"""Reading the database: one ``Store`` per workspace, shared by all threads.

An in-memory connection attaches the database file read-only and adds the decision logs as tables,
so that pages see every decision at once. Each query runs on its own cursor: a DuckDB connection
shared between threads silently returns wrong rows.
"""

from __future__ import annotations

import copy
import os
import secrets
import tempfile
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.database.build import schema
from scoring.database.build.build import decisions_table, list_parts
from scoring.database.cache import QueryCache
from scoring.database.filters import EVERYTHING, Filter
from scoring.database.reader import Reader, select_values
from scoring.database.values import BuildState, Scope
from scoring.errors import OutdatedError
from scoring.necessity import Bands
from scoring.precision import noise_of
from scoring.reviews.decisions import DecisionFeed, decision_feed, logs_generation
from scoring.reviews.edit_resolution import SampleEdit
from scoring.reviews.resolution import LatestDecision, majority_decisions
from scoring.workspace import Workspace, require_dataset

_MEMORY_LIMIT = "600MB"  # larger sorts spill to disk
_CACHE_BYTES = 480 << 20
_MATCH_ROW_BYTES = 16
_MAX_THREADS = 8
# No query may reach the disk or the network, no matter which values it gets.
_RESTRICT_ACCESS = ("SET enable_external_access = false", "SET lock_configuration = true")
_FINAL_DECISIONS = pa.schema([("row_idx", pa.int64()), ("decision", pa.string())])


class Match:
    """Rows that a query returned, kept in a table of one column; dropped when unreferenced.

    ``rows`` are what the query can read as ``given_rows``.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        query: str,
        values: Mapping[str, Any],
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.table = f"match_{secrets.token_hex(8)}"
        with closing(con.cursor()) as cursor:
            if rows is not None:
                cursor.register("given_rows", pa.table({"row_idx": rows}))
            cursor.execute(f"CREATE TABLE {self.table} AS {query}", select_values(query, values))
            counted = cursor.execute(f"SELECT count(*) FROM {self.table}").fetchall()
        self.n_rows = int(counted[0][0])
        weakref.finalize(self, self._drop, con, self.table)

    @staticmethod
    def _drop(con: duckdb.DuckDBPyConnection, table: str) -> None:
        with suppress(duckdb.Error), closing(con.cursor()) as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")


class Snapshot(Reader):
    """One version of the database file, open for reading; queries never see a later version.

    Decisions are the exception: ``load_decisions`` replaces them and ``decisions_version`` counts.
    ``cache`` keeps results. ``scopes`` are (run_id, baseline), oldest run first, ``noises`` the
    noise of their dtype. ``edit_runs`` are the runs of edits, which have no scope.
    """

    def __init__(self, workspace: Workspace, generation: str = "") -> None:
        self.generation = generation
        self.decisions_generation = ""
        self.decisions_version = 0
        self._feed_version: int | None = None
        self.cache = QueryCache(_CACHE_BYTES)
        config: dict[str, Any] = {
            "memory_limit": _MEMORY_LIMIT,
            "threads": min(os.cpu_count() or 1, _MAX_THREADS),
            # A separate folder: queries can reach into it even without external access.
            "temp_directory": str(Path(tempfile.gettempdir()) / "visnec-spill"),
        }
        super().__init__(duckdb.connect(":memory:", config=config))
        try:
            self._attach(workspace)
        except BaseException:
            self.connection.close()
            raise
        runs = self.fetch_rows(
            "SELECT run_id, baseline, dtype FROM runs ORDER BY created_at, run_id, position"
        )
        self.scopes = [(str(run_id), str(baseline)) for run_id, baseline, _ in runs]
        edit_runs = self.fetch_rows("SELECT DISTINCT run_id FROM edited_scores ORDER BY run_id")
        self.edit_runs = [str(run_id) for (run_id,) in edit_runs]
        self.noises = {(run_id, baseline): noise_of(dtype) for run_id, baseline, dtype in runs}
        clusterings = self.fetch_rows(
            "SELECT clustering_id, in_scores FROM clusterings ORDER BY created_at, clustering_id"
        )
        self.clusterings = [str(name) for name, _ in clusterings]
        self.clustering_in_scores = next((name for name, inside in clusterings if inside), None)

    def _attach(self, workspace: Workspace) -> None:
        """Attach the file and show each of its tables as a view; add what an older build lacks."""
        remedy = f"Rebuild it with: visnec build -w {workspace.root}"
        try:
            self.connection.execute("ATTACH ? AS built (READ_ONLY)", [str(workspace.database)])
            versions = self.fetch_rows("SELECT database_version FROM built.build_info")
        except duckdb.Error as error:
            require_dataset(workspace)
            raise OutdatedError(f"Cannot read {workspace.database} ({error}). {remedy}") from error
        if versions != [(schema.DATABASE_VERSION,)]:
            raise OutdatedError(
                f"{workspace.database} was built by another version of VisNec Studio. {remedy}"
            )
        present: dict[str, set[str]] = {}
        for table, column in self.fetch_rows(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'built'"
        ):
            present.setdefault(table, set()).add(column)
        for name, columns in schema.TABLES.items():
            if name in schema.LATER_TABLES and name not in present:
                self.connection.execute(f"CREATE TABLE {name} ({columns})")
            elif name != "decisions":
                later = schema.LATER_COLUMNS.get(name, {})
                missing = [
                    f", NULL::{kind} AS {column}"
                    for column, kind in later.items()
                    if column not in present[name]
                ]
                self.connection.execute(
                    f"CREATE VIEW {name} AS SELECT *{''.join(missing)} FROM built.main.{name}"
                )
        for statement in (schema.CREATE_CATEGORY_CODE, *_RESTRICT_ACCESS):
            self.connection.execute(statement)

    def source_names(self) -> list[str]:
        """Return the sources of the dataset by number."""
        rows = self.fetch_rows("SELECT source FROM sources ORDER BY source_no")
        return [str(source) for (source,) in rows]

    def match_rows(self, query: str, values: Mapping[str, Any]) -> Match:
        """Return the rows of a query of one column, looked up once and kept while they fit."""
        return self.cache.get_or_compute(
            _match_key(query, values),
            lambda: Match(self.connection, query, values),
            lambda match: match.n_rows * _MATCH_ROW_BYTES,
        )

    def keep_rows(self, key: Hashable, find_rows: Callable[[], NDArray[np.int64]]) -> Match:
        """As :meth:`match_rows`, for the rows that a function finds."""
        return self.cache.get_or_compute(
            ("match", key),
            lambda: Match(self.connection, "FROM given_rows", {}, find_rows()),
            lambda match: match.n_rows * _MATCH_ROW_BYTES,
        )

    def has_match(self, query: str, values: Mapping[str, Any]) -> bool:
        """Return whether :meth:`match_rows` has these rows already."""
        return _match_key(query, values) in self.cache

    def follow_decisions(self, feed: DecisionFeed, generation: str) -> None:
        """Load what was added to the decision logs, if their ``generation`` has changed."""
        if generation != self.decisions_generation:
            changes = feed.read_changes(self._feed_version)
            self.load_decisions(changes.latest, changes.edits, changes.rows)
            self._feed_version, self.decisions_generation = changes.version, generation

    def load_decisions(
        self,
        latest: list[LatestDecision],
        edits: list[SampleEdit],
        rows: set[int] | None = None,
    ) -> None:
        """Replace ``decisions``, ``final_decisions`` and ``edited_samples`` in one transaction.

        ``final_decisions`` has one decision per decided sample: the majority's, or unsure where
        there is none. ``edited_samples`` are those whose record a reviewer's edit changes. With
        ``rows``, only these samples are replaced, so that one more event does not cost as much as
        all of them.
        """
        majority = majority_decisions(latest)
        decided = sorted({entry.row_idx for entry in latest if entry.decision is not None})
        final = {
            "row_idx": decided,
            "decision": [str(majority.get(row_idx, "unsure")) for row_idx in decided],
        }
        tables = {
            "new_decisions": decisions_table(latest),
            "new_final": pa.Table.from_pydict(final, _FINAL_DECISIONS),
            "new_edited": pa.table(
                {"row_idx": pa.array([e.row_idx for e in edits if e.changes_record], pa.int64())}
            ),
            "new_rows": pa.table({"row_idx": pa.array(rows or (), pa.int64())}),
        }
        with closing(self.connection.cursor()) as cursor:
            for name, table in tables.items():
                cursor.register(name, table)
            cursor.execute("BEGIN")
            for statement in _REPLACE_ALL if rows is None else _REPLACE_SOME:
                cursor.execute(statement)
            cursor.execute("COMMIT")
            self.decisions_version += 1
            for name in tables:
                cursor.unregister(name)


_REPLACE_ALL = (
    "CREATE OR REPLACE TABLE decisions AS FROM new_decisions",
    "CREATE OR REPLACE TABLE final_decisions AS FROM new_final",
    "CREATE OR REPLACE TABLE edited_samples AS FROM new_edited",
)
_REPLACE_SOME = (
    "DELETE FROM decisions WHERE row_idx IN (FROM new_rows)",
    "DELETE FROM final_decisions WHERE row_idx IN (FROM new_rows)",
    "DELETE FROM edited_samples WHERE row_idx IN (FROM new_rows)",
    "INSERT INTO decisions BY NAME FROM new_decisions",
    "INSERT INTO final_decisions BY NAME FROM new_final",
    "INSERT INTO edited_samples BY NAME FROM new_edited",
)


def _match_key(query: str, values: Mapping[str, Any]) -> tuple[object, ...]:
    return "match", query, tuple(sorted(select_values(query, values).items()))


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples that a query is about: those with the scores of a scope under a filter.

    ``bands`` are the limits of the categories.
    """

    store: Store
    scope: Scope
    where: Filter
    bands: Bands


class Store:
    """The database of a workspace, open for reading in any number of threads.

    It follows new database files and growing decision logs by itself. Raises WorkspaceError where
    there is no database yet, naming the command that builds it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._feed = decision_feed(workspace)
        self._snapshot: Snapshot | None = None
        self._is_pinned = False
        self._part_rows: dict[str, int] = {}
        self.snapshot()

    def selection(
        self, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
    ) -> Selection:
        """Return the samples of a scope under a filter, with the workspace's limits by default."""
        return Selection(self, scope, where, bands or self.workspace.bands)

    @property
    def generation(self) -> str:
        """A key for cached results: changes with the database file."""
        return self.snapshot().generation

    @property
    def decisions_generation(self) -> str:
        """A key for cached results: changes with the decision logs."""
        return self.snapshot().decisions_generation

    def snapshot(self) -> Snapshot:
        """Return the current version of the database, with all decisions made so far."""
        with self._lock:
            current = self._snapshot
            generation = current.generation if current else ""
            if not self._is_pinned:
                generation = _file_generation(self.workspace) or generation
            if current is None or generation != current.generation:
                current = self._snapshot = Snapshot(self.workspace, generation)
            current.follow_decisions(self._feed, logs_generation(self.workspace))
            return current

    def pin(self) -> Store:
        """Return a store that stays on the current database file; decisions remain current."""
        self.snapshot()
        with self._lock:
            pinned = copy.copy(self)
            pinned._is_pinned = True
            return pinned

    def part_names(self) -> list[str]:
        """Return the parts that the database was built from, as paths inside the workspace."""
        return [path for (path,) in self.snapshot().fetch_rows("SELECT path FROM parts ORDER BY 1")]

    def build_state(self) -> BuildState:
        """Return when the database was built, and how many finished parts it lacks."""
        snapshot = self.snapshot()
        known = {path for (path,) in snapshot.fetch_rows("SELECT path FROM parts")}
        kinds = list_parts(self.workspace)
        new = sorted(kinds.keys() - known)
        for part in new:
            if kinds[part] == "scores" and part not in self._part_rows:
                with suppress(OSError, pa.ArrowInvalid):  # by its footer, once: parts never change
                    self._part_rows[part] = pq.read_metadata(self.workspace.root / part).num_rows
        return BuildState(
            snapshot.fetch_value("SELECT built_at FROM build_info"),
            n_parts=len(known),
            n_new_parts=len(new),
            n_new_scores=sum(self._part_rows.get(part, 0) for part in new),
        )


def _file_generation(workspace: Workspace) -> str | None:
    """Identify the database file; None while there is none."""
    try:
        stat = workspace.database.stat()
    except FileNotFoundError:
        return None
    return f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"
