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
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from filelock import FileLock

from scoring.columns.parts import ColumnRecord, list_columns, part_path
from scoring.database.build import derive, schema
from scoring.database.build.prediction_matching import (
    insert_imported,
    insert_predictions,
    insert_turn_predictions,
)
from scoring.database.values import BuildReport
from scoring.dataset.records import DatasetInfo, dataset_parts, read_dataset_info
from scoring.errors import WorkspaceError
from scoring.images.digests import digest_parts
from scoring.predictions.imported import list_prediction_files, read_prediction_set
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import LatestDecision, latest_decisions
from scoring.runs.record import RunRecord, list_runs
from scoring.samples import Status
from scoring.workspace import Workspace

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, steps done so far, steps in all."""

_MEMORY_CAP = 1 << 30
_NUMBERS = {"row_idx": pa.int64(), "sampling_probability": pa.float64()}
_DECISIONS = pa.schema(
    [(item.name, _NUMBERS.get(item.name, pa.string())) for item in fields(LatestDecision)]
)
_COUNTS = """
    SELECT
        (SELECT count(*) FROM samples) AS n_samples,
        (SELECT count(DISTINCT run_id) FROM runs) AS n_runs,
        (SELECT count(visnec) FROM scores) AS n_scores,
        (SELECT count(*) FROM predictions) AS n_predictions,
        (SELECT count(*) FROM clusterings) AS n_clusterings,
        (SELECT count(decision) FROM decisions) AS n_decisions,
        (SELECT count(*) FROM parts) AS n_parts
"""


def list_parts(workspace: Workspace) -> dict[str, str]:
    """Return the finished parts of the workspace at this moment, by path inside it, with kinds."""
    runs = sorted(path.parent for path in workspace.runs_dir.glob("*/run.json"))
    parts = {
        "dataset": dataset_parts(workspace),
        "digests": digest_parts(workspace),
        "scores": [part for run in runs for part in sorted(run.glob("scores/part-*.parquet"))],
        "predictions": [
            part for run in runs for part in sorted(run.glob("predictions/part-*.parquet"))
        ],
        "turn_predictions": [
            part for run in runs for part in sorted(run.glob("turn_predictions/part-*.parquet"))
        ],
        "image_losses": [
            part for run in runs for part in sorted(run.glob("image_losses/part-*.parquet"))
        ],
        "clusters": sorted(workspace.clusters_dir.glob("[!.]*/clusters.parquet")),
        "evaluations": list_prediction_files(workspace),
        "columns": [part_path(workspace, column) for column in list_columns(workspace)],
    }
    return {
        path.relative_to(workspace.root).as_posix(): kind
        for kind, paths in parts.items()
        for path in paths
    }


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
    memory = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2, _MEMORY_CAP)
    with _writable_path(path) as target:
        config: dict[str, Any] = {"memory_limit": f"{memory}B", "temp_directory": f"{target}.sort"}
        with closing(duckdb.connect(str(target), config=config)) as con:
            con.execute("SET enable_progress_bar = false")  # it prints to stdout, which is for data
            for name, columns in schema.TABLES.items():
                con.execute(f"CREATE TABLE {name} ({columns})")
            steps = list(_list_steps(con, workspace, parts, dataset))
            for done, (name, step) in enumerate(steps):
                progress(name, done, len(steps))
                step()
            progress("finish", len(steps), len(steps))
            con.executemany("INSERT INTO parts VALUES (?, ?)", list(parts.items()))
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
            counts = con.execute(_COUNTS)
            names = [column[0] for column in counts.description or ()]
            return dict(zip(names, counts.fetchall()[0], strict=True))


def _list_steps(
    con: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    parts: dict[str, str],
    dataset: DatasetInfo,
) -> Iterator[tuple[str, Callable[[], None]]]:
    def list_files(kind: str, folder: Path) -> list[str]:
        prefix = f"{folder.relative_to(workspace.root).as_posix()}/"
        names = [name for name in parts if parts[name] == kind and name.startswith(prefix)]
        return literal_paths([workspace.root / name for name in names])

    dataset_files = list_files("dataset", workspace.dataset_dir)
    digests = list_files("digests", workspace.dataset_dir)
    yield (
        "samples",
        partial(_insert_samples, con, workspace, dataset_files, digests, dataset.n_samples),
    )
    infos = []
    for part in (part for part, kind in parts.items() if kind == "clusters"):
        description = (workspace.root / part).with_name("clustering.json")
        if description.exists():
            infos.append(json.loads(description.read_text("utf-8")) | {"part": part})
    infos.sort(key=lambda info: (info["created_at"], info["clustering_id"]))
    for info in infos:
        files = literal_paths([workspace.root / info["part"]])
        insert = partial(_insert_clustering, con, info, files, info is infos[-1])
        yield f"clustering {info['clustering_id']}", insert
    for run in list_runs(workspace):
        folder = workspace.run_dir(run.run_id)
        kinds = ("scores", "predictions", "image_losses", "turn_predictions")
        of_run = {kind: list_files(kind, folder) for kind in kinds}
        yield from _list_run_steps(con, run, of_run, dataset_files)
    for path in (workspace.root / part for part, kind in parts.items() if kind == "evaluations"):
        imported = read_prediction_set(path.parent)
        insert = partial(
            insert_imported,
            con,
            imported.model,
            imported.sight,
            literal_paths([path]),
            dataset_files,
        )
        yield f"predictions of {path.parent.name}", insert
    for column in list_columns(workspace):
        path = part_path(workspace, column)
        if path.relative_to(workspace.root).as_posix() in parts:
            insert = partial(_insert_column, con, column, literal_paths([path]))
            yield f"column {column.name}", insert
    yield "decisions", partial(_insert_decisions, con, workspace)


def _list_run_steps(
    con: duckdb.DuckDBPyConnection,
    run: RunRecord,
    files: dict[str, list[str]],
    dataset_files: list[str],
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the steps for the parts of a run, which are given by kind."""
    name, scores = run.run_id, files["scores"]
    if run.edits:
        yield f"scores of the run of edits {name}", partial(_insert_edited_scores, con, run, scores)
        return
    yield f"scores of run {name}", partial(_insert_run, con, run, scores)
    if predictions := files["predictions"]:
        insert = partial(insert_predictions, con, name, predictions)
        yield f"predictions of run {name}", insert
    if of_images := files["image_losses"]:
        insert = partial(_insert_image_losses, con, name, of_images)
        yield f"losses without each image of run {name}", insert
    if of_turns := files["turn_predictions"]:
        insert = partial(insert_turn_predictions, con, name, of_turns, dataset_files)
        yield f"predictions of later answers of run {name}", insert


def _insert_samples(
    con: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    files: list[str],
    digests: list[str],
    n_samples: int,
) -> None:
    if files:
        con.execute(derive.INSERT_SAMPLES, {"files": files})
        con.execute(derive.INSERT_SOURCES)
        con.execute(derive.INSERT_CONVERSATIONS, {"files": files})
        if digests:
            con.execute(derive.INSERT_IMAGE_COPIES, {"files": digests})
        con.execute(derive.INSERT_SAMPLE_IMAGES)
    # Every position must be there once, from 0 on: counts in = counts out.
    actual = con.execute("SELECT count(*), min(row_idx), max(row_idx) FROM samples").fetchall()[0]
    if actual != ((n_samples, 0, n_samples - 1) if n_samples else (0, None, None)):
        raise WorkspaceError(
            f"The dataset parts in {workspace.dataset_dir} do not have the {n_samples} samples of "
            f"dataset.json (count, first and last row_idx: {actual}). Import the dataset again."
        )


def _insert_clustering(
    con: duckdb.DuckDBPyConnection, info: dict[str, Any], files: list[str], newest: bool
) -> None:
    name = info["clustering_id"]
    con.execute(
        "INSERT INTO clusterings VALUES (?, ?, ?, ?, ?, ?)",
        [name, *(info.get(key) for key in ("embedder", "k", "seed", "created_at")), newest],
    )
    names = [(name, cluster["cluster_id"], cluster["name"]) for cluster in info.get("clusters", ())]
    if names:
        con.executemany("INSERT INTO cluster_names VALUES (?, ?, ?)", names)
    con.execute(derive.INSERT_CLUSTERS, {"clustering_id": name, "files": files})


def _insert_run(con: duckdb.DuckDBPyConnection, run: RunRecord, files: list[str]) -> None:
    of_run = {name: getattr(run, name) for name in derive.RUN_COLUMNS}
    of_run["versions"] = json.dumps(run.versions)
    baselines, first_part_wins = list(run.baselines), ""
    if files:  # the run's baselines in its order, then those that only its parts name
        in_parts = con.execute(derive.PART_BASELINES, {"files": files}).fetchall()
        baselines = list(dict.fromkeys([*baselines, *(baseline for (baseline,) in in_parts)]))
        if con.execute(derive.HAS_REPEATED_SCORES, {"files": files}).fetchall()[0][0]:
            first_part_wins = derive.FIRST_PART_WINS
    has_turns = not run.imported_from  # imported means have none, imported losses of tokens do
    if files and not has_turns:
        has_turns = con.execute(derive.HAS_TURNS, {"file": files[0]}).fetchall()[0][0]
    for position, baseline in enumerate(baselines):
        scope = {"run_id": run.run_id, "baseline": baseline}
        values = {"files": files, "baseline": baseline}
        con.execute(derive.CREATE_PART_SCORES)
        if files:
            insert = derive.PART_SCORES if has_turns else derive.PART_IMPORTED_SCORES
            con.execute(insert.format(first_part_wins=first_part_wins), values)
        con.execute(derive.INSERT_SCORES, scope | {"kinds": list(schema.ANSWER_KINDS)})
        con.execute("DROP TABLE part_scores")
        if files and has_turns:
            insert = derive.INSERT_TURN_SCORES.format(first_part_wins=first_part_wins)
            con.execute(insert, values | scope)
        con.execute(derive.INSERT_RUN, of_run | scope | {"position": position})
    if run.tokens and files:
        con.execute(derive.CREATE_TOKEN_PARTS)
        con.execute(derive.INSERT_TOKEN_PARTS, {"run_id": run.run_id, "files": files})
    con.execute(derive.INSERT_BASELINE_SPANS, {"run_id": run.run_id})
    known = {"run_id": run.run_id, "known": [str(status) for status in Status]}
    if unknown := con.execute(derive.UNKNOWN_STATUSES, known).fetchall():
        raise WorkspaceError(
            f"Run {run.run_id!r} has samples with the status {unknown[0][0]!r}, which this version "
            "does not know. Upgrade visnec-studio to the version that scored it."
        )


def _insert_edited_scores(con: duckdb.DuckDBPyConnection, run: RunRecord, files: list[str]) -> None:
    pins = {
        "row_idx": [edit.row_idx for edit in run.edits],
        "event_id": [edit.event_id for edit in run.edits],
    }
    con.register("pinned_edits", pa.table(pins))
    for baseline in run.baselines:
        con.execute(derive.CREATE_PART_SCORES)
        if files:
            insert = derive.PART_SCORES.format(first_part_wins=derive.FIRST_PART_WINS)
            con.execute(insert, {"files": files, "baseline": baseline})
        scope = {"run_id": run.run_id, "baseline": baseline}
        con.execute(derive.INSERT_EDITED_SCORES, scope)
        con.execute("DROP TABLE part_scores")
    con.unregister("pinned_edits")


def _insert_image_losses(con: duckdb.DuckDBPyConnection, run_id: str, files: list[str]) -> None:
    repeated = con.execute(derive.HAS_REPEATED_IMAGES, {"files": files}).fetchall()[0][0]
    first_part_wins = derive.IMAGE_OF_FIRST_PART if repeated else ""
    insert = derive.INSERT_IMAGE_LOSSES.format(first_part_wins=first_part_wins)
    con.execute(insert, {"run_id": run_id, "files": files})


def _insert_column(con: duckdb.DuckDBPyConnection, column: ColumnRecord, files: list[str]) -> None:
    insert = derive.INSERT_TURN_VALUES if column.per == "turn" else derive.INSERT_SAMPLE_VALUES
    of_type = derive.VALUE_COLUMNS[column.type]
    con.execute(insert.format(column=of_type), {"name": column.name, "files": files})
    con.execute(
        "INSERT INTO columns VALUES (?, ?, ?, ?, ?, ?)",
        [
            *(column.name, column.type, column.per, column.n_values, column.file),
            column.imported_at,
        ],
    )


def _insert_decisions(con: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    con.register("logged_decisions", decisions_table(latest_decisions(read_events(workspace))))
    con.execute("INSERT INTO decisions BY NAME FROM logged_decisions")
    con.unregister("logged_decisions")


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


def _remove_leftovers(workspace: Workspace) -> None:
    """Remove what earlier builds left next to the database; only the holder of the lock may."""
    for path in workspace.root.glob(".visnec.duckdb.*.tmp*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
