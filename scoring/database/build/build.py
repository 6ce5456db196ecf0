"""Builds ``visnec.duckdb`` from the parts of a workspace.

The one decision behind it: a build never touches the file that others read. It writes a new file
beside it and swaps that in whole, so a kill at any moment leaves the old database, and what the
killed build left behind is removed by the next one.
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
"""Called with what is being done in words, steps done so far, steps in all."""

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

    def listed(self, workspace: Workspace) -> list[tuple[str, str]]:
        """(path inside the workspace, kind) of every part."""
        kinds = [("dataset", path) for path in self.dataset]
        kinds += [("scores", path) for paths in self.scores.values() for path in paths]
        kinds += [("predictions", path) for paths in self.predictions.values() for path in paths]
        kinds += [("clusters", path) for path in self.clusters]
        kinds += [("evaluations", path) for path in self.evaluations]
        return [(path.relative_to(workspace.root).as_posix(), kind) for kind, path in kinds]


def list_parts(workspace: Workspace) -> Parts:
    """The parts that lie in the workspace now; unfinished files are not among them."""
    runs = sorted(path.parent for path in workspace.runs_dir.glob("*/run.json"))
    return Parts(
        dataset=tuple(dataset_parts(workspace)),
        scores={run.name: _part_files(run / "scores") for run in runs},
        predictions={run.name: _part_files(run / "predictions") for run in runs},
        clusters=tuple(sorted(workspace.clusters_dir.glob("[!.]*/clusters.parquet"))),
        evaluations=list_prediction_files(workspace),
    )


def build_database(workspace: Workspace, progress: Progress | None = None) -> BuildReport:
    """Builds the database anew from all finished parts and puts it in place of the old one.

    Safe while others read the old file, score, or decide; a second build waits for the first.
    Memory stays bounded, what does not fit is sorted on disk beside the file. Raises
    WorkspaceError when nothing was imported yet, or naming a part that cannot be read.
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
                f"the database of {workspace.root} cannot be built: {error}; the parts are "
                "untouched, run visnec build again once this is put right"
            ) from error
        finally:
            _remove_leftovers(workspace)
    return BuildReport(**counts, seconds=time.perf_counter() - begun)


def decisions_table(latest: Sequence[LatestDecision]) -> pa.Table:
    """The latest decisions as the columns of the table ``decisions``."""
    columns = {name: [getattr(one, name) for one in latest] for name in _DECISIONS.names}
    return pa.table(columns, _DECISIONS)


def _build(workspace: Workspace, path: Path, progress: Progress) -> dict[str, int]:
    dataset = read_dataset_info(workspace)
    parts = list_parts(workspace)
    with _writable(path) as place, closing(_connect(place)) as con:
        for statement in schema.CREATE_TABLES:
            con.execute(statement)
        steps = list(_steps(con, workspace, parts))
        for done, (what, step) in enumerate(steps):
            progress(what, done, len(steps))
            step()
        progress("finish", len(steps), len(steps))
        con.executemany("INSERT INTO parts VALUES (?, ?)", parts.listed(workspace))
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
        return _counts(con)


def _steps(
    con: duckdb.DuckDBPyConnection, workspace: Workspace, parts: Parts
) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "samples", partial(_insert_samples, con, workspace, parts.dataset)
    clusterings = _clusterings(parts)
    for clustering in clusterings:
        name = clustering.info["clustering_id"]
        newest = clustering is clusterings[-1]
        yield f"clustering {name}", partial(_insert_clustering, con, clustering, newest)
    for run in list_runs(workspace):
        name = run.run_id
        scores = _literal(parts.scores.get(name, ()))
        yield f"scores of run {name}", partial(_insert_run, con, run, scores)
        predictions = _literal(parts.predictions.get(name, ()))
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
        con.execute(derive.INSERT_SAMPLES, {"files": _literal(files)})
        con.execute(derive.INSERT_SOURCES)
        con.execute(derive.INSERT_CONVERSATIONS, {"files": _literal(files)})
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
    names = [(name, one["cluster_id"], one["name"]) for one in info.get("clusters", ())]
    if names:
        con.executemany("INSERT INTO cluster_names VALUES (?, ?, ?)", names)
    files = _literal([clustering.folder / "clusters.parquet"])
    con.execute(derive.INSERT_CLUSTERS, {"clustering_id": name, "files": files})


def _insert_run(con: duckdb.DuckDBPyConnection, run: RunRecord, files: list[str]) -> None:
    repeated = files and _first(con, derive.HAS_REPEATED_SCORES, {"files": files})
    first_part_wins = derive.FIRST_PART_WINS if repeated else ""
    for position, baseline in enumerate(_baselines(con, run, files)):
        which = {"run_id": run.run_id, "baseline": baseline}
        values = {"files": files, "baseline": baseline}
        if files:
            part_scores = derive.PART_IMPORTED_SCORES if run.imported_from else derive.PART_SCORES
            con.execute("\n".join((part_scores, first_part_wins)), values)
        else:
            con.execute(derive.NO_PART_SCORES)
        con.execute(derive.INSERT_SCORES, which | {"kinds": list(schema.ANSWER_KINDS)})
        con.execute("DROP TABLE part_scores")
        if files and not run.imported_from:
            turns = (derive.TURNS_OF_PARTS, first_part_wins, derive.TURNS_INSERTED)
            con.execute("\n".join(turns), values | which)
        con.execute(derive.INSERT_RUN, _run_values(run) | which | {"position": position})
    if run.tokens and files:
        con.execute(derive.CREATE_TOKEN_PARTS)
        con.execute(derive.INSERT_TOKEN_PARTS, {"run_id": run.run_id, "files": files})
    con.execute(derive.INSERT_BASELINE_SPANS, {"run_id": run.run_id})
    _check_statuses(con, run.run_id)


def _insert_evaluation(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    record = read_prediction_set(path.parent)
    insert_imported(con, record.model, record.sight, _literal([path]))


def _baselines(con: duckdb.DuckDBPyConnection, run: RunRecord, files: list[str]) -> list[str]:
    """The run's baselines in its order; what only its parts name stands last, never left out."""
    found = con.execute(derive.PART_BASELINES, {"files": files}).fetchall() if files else []
    return list(dict.fromkeys([*run.baselines, *(baseline for (baseline,) in found)]))


def _run_values(run: RunRecord) -> dict[str, Any]:
    names = (
        "model",
        "created_at",
        "model_fingerprint",
        "model_family",
        "dataset_fingerprint",
        "template",
        "dtype",
        "device",
        "score_eos",
        "max_length",
        "truncate",
        "notice",
    )
    return {name: getattr(run, name) for name in names} | {"versions": json.dumps(run.versions)}


def _insert_decisions(con: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    latest = latest_decisions(read_events(workspace))
    con.register("logged_decisions", decisions_table(latest))
    con.execute(derive.INSERT_DECISIONS)
    con.unregister("logged_decisions")


def _check_dataset(con: duckdb.DuckDBPyConnection, workspace: Workspace) -> None:
    """Counts in are counts out: every position once, from 0 on."""
    expected = read_dataset_info(workspace).n_samples
    found = con.execute("SELECT count(*), min(row_idx), max(row_idx) FROM samples").fetchall()[0]
    if found != ((expected, 0, expected - 1) if expected else (0, None, None)):
        raise WorkspaceError(
            f"the dataset parts in {workspace.dataset_dir} do not hold the {expected} samples that "
            f"dataset.json names (count, first and last row_idx: {found}); import the dataset again"
        )


def _check_statuses(con: duckdb.DuckDBPyConnection, run_id: str) -> None:
    known = [str(status) for status in Status]
    odd = con.execute(derive.UNKNOWN_STATUSES, {"run_id": run_id, "known": known}).fetchall()
    if odd:
        raise WorkspaceError(
            f"run {run_id!r} holds the status {odd[0][0]!r}, which this version does not know; "
            "upgrade visnec-studio to the version that scored it"
        )


def _counts(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return {
        "n_samples": _first(con, "SELECT count(*) FROM samples"),
        "n_runs": _first(con, "SELECT count(DISTINCT run_id) FROM runs"),
        "n_scores": _first(con, "SELECT count(visnec) FROM scores"),
        "n_predictions": _first(con, "SELECT count(*) FROM predictions"),
        "n_clusterings": _first(con, "SELECT count(*) FROM clusterings"),
        "n_decisions": _first(con, "SELECT count(decision) FROM decisions"),
        "n_parts": _first(con, "SELECT count(*) FROM parts"),
    }


def _first(con: duckdb.DuckDBPyConnection, query: str, values: object = None) -> Any:
    return con.execute(query, values).fetchall()[0][0]


def _clusterings(parts: Parts) -> list[_Clustering]:
    """Clusterings whose assignments and description are both there, oldest first."""
    found = []
    for path in parts.clusters:
        description = path.with_name("clustering.json")
        if description.exists():
            found.append(_Clustering(path.parent, json.loads(description.read_text("utf-8"))))
    return sorted(found, key=lambda one: (one.info["created_at"], one.info["clustering_id"]))


def _part_files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("part-*.parquet")))


def _literal(paths: Sequence[Path]) -> list[str]:
    """File names for DuckDB, which would read ``*``, ``?`` and ``[`` in them as patterns.

    Every snapshot says ``hive_partitioning = false`` too: a folder ``a=b`` above would be a column.
    """
    return [re.sub(r"[*?[]", r"[\g<0>]", str(path)) for path in paths]


@contextmanager
def _writable(path: Path) -> Iterator[Path]:
    """Where DuckDB can build what is to lie at ``path``: it writes beside no path with a ``?``."""
    if "?" not in str(path.resolve()):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="visnec-") as folder:
        place = Path(folder) / path.name
        yield place
        shutil.move(place, path)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    memory = min(pages * size // 2, _MEMORY_CAP)
    con = duckdb.connect(
        str(path), config={"memory_limit": f"{memory}B", "temp_directory": f"{path}.sort"}
    )
    con.execute("SET enable_progress_bar = false")  # it draws on stdout, which is for data
    return con


def _remove_leftovers(workspace: Workspace) -> None:
    """Removes what builds left beside the database; only the holder of the lock may."""
    for path in workspace.root.glob(".visnec.duckdb.*.tmp*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
