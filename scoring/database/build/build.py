"""Builds ``visnec.duckdb`` from the parts of a workspace.

A build never touches the file that others read: it writes a new file and swaps it in whole. A kill
at any moment leaves the old database, and the next build removes what the killed one left.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from filelock import FileLock

from scoring.database.build import derive, schema
from scoring.database.build.prediction_matching import insert_imported, insert_predictions
from scoring.database.values import BuildReport
from scoring.dataset.records import dataset_parts, read_dataset_info
from scoring.errors import WorkspaceError
from scoring.predictions.imported import list_prediction_files, read_prediction_set
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import LatestDecision, latest_decisions
from scoring.runs.record import RunRecord, list_runs
from scoring.samples import Status
from scoring.workspace import Workspace

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, steps done so far, steps in all."""

_MEMORY_CAP = 1 << 30
_DECISIONS = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("reviewer", pa.string()),
        ("decision", pa.string()),
        ("note", pa.string()),
        ("decided_at", pa.string()),
        ("event_id", pa.string()),
        ("queue", pa.string()),
        ("sampling_probability", pa.float64()),
        ("draw", pa.string()),
        ("drawn_at", pa.string()),
        ("first_decided_at", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Clustering:
    folder: Path
    info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """The finished parts of a workspace at one moment, each list ascending by name."""

    dataset: tuple[Path, ...]
    scores: dict[str, tuple[Path, ...]]
    predictions: dict[str, tuple[Path, ...]]
    clusters: tuple[Path, ...]
    evaluations: tuple[Path, ...] = ()

    def list_kinds(self, workspace: Workspace) -> list[tuple[str, str]]:
        """Return (path inside the workspace, kind) of every part."""
        kinds = [("dataset", path) for path in self.dataset]
        kinds += [("scores", path) for paths in self.scores.values() for path in paths]
        kinds += [("predictions", path) for paths in self.predictions.values() for path in paths]
        kinds += [("clusters", path) for path in self.clusters]
        kinds += [("evaluations", path) for path in self.evaluations]
        return [(path.relative_to(workspace.root).as_posix(), kind) for kind, path in kinds]


def list_parts(workspace: Workspace) -> Parts:
    """Return the parts that are in the workspace now, without unfinished files."""
    runs = sorted(path.parent for path in workspace.runs_dir.glob("*/run.json"))
    return Parts(
        dataset=tuple(dataset_parts(workspace)),
        scores={run.name: _part_files(run / "scores") for run in runs},
        predictions={run.name: _part_files(run / "predictions") for run in runs},
        clusters=tuple(sorted(workspace.clusters_dir.glob("[!.]*/clusters.parquet"))),
        evaluations=list_prediction_files(workspace),
    )


def build_database(workspace: Workspace, progress: Progress | None = None) -> BuildReport:
    """Build the database from all finished parts and replace the old one.

    Safe while others read the old file, score, or decide; a second build waits for the first.
    Memory is bounded: larger sorts use the disk next to the file. Raises WorkspaceError when
    nothing was imported yet, or naming a part that cannot be read.
    """
    begun = time.perf_counter()
    with FileLock(workspace.root / ".visnec.duckdb.lock"):
        _remove_leftovers(workspace)
        temporary = workspace.root / f".visnec.duckdb.{secrets.token_hex(6)}.tmp"
        try:
            counts = _build(workspace, temporary, progress or (lambda *_: None))
            os.replace(temporary, workspace.database)  # noqa: PTH105 - the one atomic step
        except duckdb.Error as error:
            raise WorkspaceError(
                f"Cannot build the database of {workspace.root}: {error}. The parts are untouched; "
                "fix this and run visnec build again."
            ) from error
        finally:
            _remove_leftovers(workspace)
    return BuildReport(**counts, seconds=time.perf_counter() - begun)


def decisions_table(latest: Sequence[LatestDecision]) -> pa.Table:
    """Return the latest decisions as the columns of the table ``decisions``."""
    columns = {name: [getattr(decision, name) for decision in latest] for name in _DECISIONS.names}
    return pa.table(columns, _DECISIONS)


def _build(workspace: Workspace, path: Path, progress: Progress) -> dict[str, int]:
    dataset = read_dataset_info(workspace)
    parts = list_parts(workspace)
    with _writable_path(path) as target, closing(_connect_writable(target)) as con:
        for statement in schema.CREATE_TABLES:
            con.execute(statement)
        steps = list(_list_steps(con, workspace, parts))
        for done, (name, step) in enumerate(steps):
            progress(name, done, len(steps))
            step()
        progress("finish", len(steps), len(steps))
        con.executemany("INSERT INTO parts VALUES (?, ?)", parts.list_kinds(workspace))
        con.execute(
            "INSERT INTO build_info VALUES (?, ?, ?, ?, ?)",
            [
                schema.DATABASE_VERSION,
                datetime.now(UTC).isoformat(timespec="seconds"),
                workspace.settings.workspace_id,
                dataset.fingerprint,
                dataset.n_samples,
            ],
        )
        return _count_rows(con)


def _list_steps(
    con: duckdb.DuckDBPyConnection, workspace: Workspace, parts: Parts
) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "samples", partial(_insert_samples, con, workspace, parts.dataset)
    clusterings = _read_clusterings(parts)
    for clustering in clusterings:
        name = clustering.info["clustering_id"]
        newest = clustering is clusterings[-1]
        yield f"clustering {name}", partial(_insert_clustering, con, clustering, newest)
    for run in list_runs(workspace):
        name = run.run_id
        scores = literal_paths(parts.scores.get(name, ()))
        yield f"scores of run {name}", partial(_insert_run, con, run, scores)
        predictions = literal_paths(parts.predictions.get(name, ()))
        if predictions:
            insert = partial(insert_predictions, con, name, predictions)
            yield f"predictions of run {name}", insert
    for path in parts.evaluations:
        yield f"predictions of {path.parent.name}", partial(_insert_evaluation, con, path)
    yield "decisions", partial(_insert_decisions, con, workspace)


def _insert_samples(
    con: duckdb.DuckDBPyConnection, workspace: Workspace, files: Sequence[Path]
) -> None:
    if files:
        con.execute(derive.INSERT_SAMPLES, {"files": literal_paths(files)})
        con.execute(derive.INSERT_SOURCES)
        con.execute(derive.INSERT_CONVERSATIONS, {"files": literal_paths(files)})
        con.execute(derive.INSERT_SAMPLE_IMAGES)
    _check_dataset(con, workspace)


def _insert_clustering(
    con: duckdb.DuckDBPyConnection, clustering: _Clustering, newest: bool
) -> None:
    info = clustering.info
    name = info["clustering_id"]
    con.execute(
        "INSERT INTO clusterings VALUES (?, ?, ?, ?, ?, ?)",
        [name, *(info.get(key) for key in ("embedder", "k", "seed", "created_at")), newest],
    )
    names = [(name, cluster["cluster_id"], cluster["name"]) for cluster in info.get("clusters", ())]
    if names:
        con.executemany("INSERT INTO cluster_names VALUES (?, ?, ?)", names)
    files = literal_paths([clustering.folder / "clusters.parquet"])
    con.execute(derive.INSERT_CLUSTERS, {"clustering_id": name, "files": files})


def _insert_run(con: duckdb.DuckDBPyConnection, run: RunRecord, files: list[str]) -> None:
    repeated = bool(files) and _fetch_value(con, derive.HAS_REPEATED_SCORES, {"files": files})
    first_part_wins = derive.FIRST_PART_WINS if repeated else ""
    of_run = {name: getattr(run, name) for name in derive.RUN_COLUMNS}
    of_run["versions"] = json.dumps(run.versions)
    for position, baseline in enumerate(_list_baselines(con, run, files)):
        scope = {"run_id": run.run_id, "baseline": baseline}
        values = {"files": files, "baseline": baseline}
        if not files:
            con.execute(derive.NO_PART_SCORES)
        elif run.imported_from:
            con.execute(derive.PART_IMPORTED_SCORES.format(first_part_wins=first_part_wins), values)
        else:
            con.execute(derive.PART_SCORES.format(first_part_wins=first_part_wins), values)
        con.execute(derive.INSERT_SCORES, scope | {"kinds": list(schema.ANSWER_KINDS)})
        con.execute("DROP TABLE part_scores")
        if files and not run.imported_from:
            con.execute(
                derive.INSERT_TURN_SCORES.format(first_part_wins=first_part_wins), values | scope
            )
        con.execute(derive.INSERT_RUN, of_run | scope | {"position": position})
    if run.tokens and files:
        con.execute(derive.CREATE_TOKEN_PARTS)
        con.execute(derive.INSERT_TOKEN_PARTS, {"run_id": run.run_id, "files": files})
    con.execute(derive.INSERT_BASELINE_SPANS, {"run_id": run.run_id})
    known = [str(status) for status in Status]
    unknown = con.execute(
        derive.UNKNOWN_STATUSES, {"run_id": run.run_id, "known": known}
    ).fetchall()
    if unknown:
        raise WorkspaceError(
            f"Run {run.run_id!r} has samples with the status {unknown[0][0]!r}, which this version "
            "does not know. Upgrade visnec-studio to the version that scored it."
        )


def _insert_evaluation(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    record = read_prediction_set(path.parent)
    insert_imported(con, record.model, record.sight, literal_paths([path]))


def _list_baselines(con: duckdb.DuckDBPyConnection, run: RunRecord, files: list[str]) -> list[str]:
    """The run's baselines in its order, then those that only its parts name."""
    in_parts = con.execute(derive.PART_BASELINES, {"files": files}).fetchall() if files else []
    return list(dict.fromkeys([*run.baselines, *(baseline for (baseline,) in in_parts)]))


def _insert_decisions(con: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    latest = latest_decisions(read_events(workspace))
    con.register("logged_decisions", decisions_table(latest))
    con.execute(derive.INSERT_DECISIONS)
    con.unregister("logged_decisions")


def _check_dataset(con: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Every position must be there once, from 0 on: counts in = counts out."""
    expected = read_dataset_info(workspace).n_samples
    actual = con.execute("SELECT count(*), min(row_idx), max(row_idx) FROM samples").fetchall()[0]
    if actual != ((expected, 0, expected - 1) if expected else (0, None, None)):
        raise WorkspaceError(
            f"The dataset parts in {workspace.dataset_dir} do not have the {expected} samples of "
            f"dataset.json (count, first and last row_idx: {actual}). Import the dataset again."
        )


def _count_rows(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    counts = con.execute("""
        SELECT
            (SELECT count(*) FROM samples) AS n_samples,
            (SELECT count(DISTINCT run_id) FROM runs) AS n_runs,
            (SELECT count(visnec) FROM scores) AS n_scores,
            (SELECT count(*) FROM predictions) AS n_predictions,
            (SELECT count(*) FROM clusterings) AS n_clusterings,
            (SELECT count(decision) FROM decisions) AS n_decisions,
            (SELECT count(*) FROM parts) AS n_parts
    """)
    names = [column[0] for column in counts.description or ()]
    return dict(zip(names, counts.fetchall()[0], strict=True))


def _fetch_value(con: duckdb.DuckDBPyConnection, query: str, values: object = None) -> Any:
    return con.execute(query, values).fetchall()[0][0]


def _read_clusterings(parts: Parts) -> list[_Clustering]:
    """Clusterings whose assignments and description both exist, oldest first."""
    clusterings = []
    for path in parts.clusters:
        description = path.with_name("clustering.json")
        if description.exists():
            clusterings.append(_Clustering(path.parent, json.loads(description.read_text("utf-8"))))
    return sorted(
        clusterings, key=lambda item: (item.info["created_at"], item.info["clustering_id"])
    )


def _part_files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("part-*.parquet")))


def literal_paths(paths: Sequence[Path]) -> list[str]:
    """Return file names for DuckDB, in which ``*``, ``?`` and ``[`` would be patterns.

    Statements also set ``hive_partitioning = false``: a parent folder ``a=b`` would be a column.
    """
    return [re.sub(r"[*?[]", r"[\g<0>]", str(path)) for path in paths]


@contextmanager
def _writable_path(path: Path) -> Iterator[Path]:
    """A path to build ``path`` at: DuckDB cannot write where the path contains a ``?``."""
    if "?" not in str(path.resolve()):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="visnec-") as folder:
        target = Path(folder) / path.name
        yield target
        shutil.move(target, path)


def _connect_writable(path: Path) -> duckdb.DuckDBPyConnection:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    memory = min(pages * size // 2, _MEMORY_CAP)
    con = duckdb.connect(
        str(path), config={"memory_limit": f"{memory}B", "temp_directory": f"{path}.sort"}
    )
    con.execute("SET enable_progress_bar = false")  # it prints to stdout, which is for data
    return con


def _remove_leftovers(workspace: Workspace) -> None:
    """Remove what earlier builds left next to the database; only the holder of the lock may."""
    for path in workspace.root.glob(".visnec.duckdb.*.tmp*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
