"""Scores computed elsewhere become a run: the paper's CSV, joined to the dataset by ``row_idx``.

The one decision behind it: every sample of the dataset ends as a row with a status, whatever the
file holds, and what is unknown stays unknown: no token count, no per-turn value is made up. The
file is first dealt into buckets by row number, so memory stays bounded in any order of rows, and
the run appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scoring.database.build.build import build_database
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.engine.baselines import BASELINES
from scoring.errors import InputError, RunConflictError, WorkspaceError
from scoring.exchange.score_csv import OnBytes, ScoreBlock, read_score_blocks
from scoring.exchange.score_join import Join
from scoring.issues import ImportIssues
from scoring.runs.record import RunRecord, read_run, settings_digest, utc_now
from scoring.workspace import Workspace, check_name, write_json

UNKNOWN_MODEL = "unknown"
_BUCKET_ROWS = 100_000
_MOST_BUCKETS = 256  # files open at a time
_BUCKET = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("line", pa.int64()),
        ("id", pa.binary()),
        ("image_path", pa.binary()),
        ("loss_multimodal", pa.float64()),
        ("loss_text", pa.float64()),
        ("visnec", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a score file.

    ``statuses`` counts all samples of the dataset, ``findings`` (what, n, examples) the rows of
    the file that were not taken as they stand, and why. ``already``: nothing was left to do.
    """

    run_id: str
    file: str
    n_rows: int
    n_samples: int
    statuses: dict[str, int]
    findings: list[dict[str, Any]]
    already: bool = False


def import_scores(
    workspace: Workspace,
    path: Path,
    *,
    model: str = UNKNOWN_MODEL,
    run_id: str | None = None,
    baseline: str = "none",
    check: bool = True,
    on_bytes: OnBytes | None = None,
) -> ImportReport:
    """Takes the scores of ``path`` in as a run of its own and builds the database.

    ``check``: a row whose id or image path is not that of the sample is not taken. ``baseline``
    says what stood in for the image: ``reference`` for files of the paper's own script. The same
    file again changes nothing. Raises InputError where the file is no score file or none of its
    rows fits the dataset, RunConflictError where the run's name is taken.
    """
    if baseline not in BASELINES:
        raise InputError(f"unknown baseline {baseline!r}; known are {', '.join(BASELINES)}")
    n_samples = read_dataset_info(workspace).n_samples
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    record = _record(workspace, path, model, run_id, baseline, check)
    if (workspace.run_dir(record.run_id) / "run.json").exists():
        return _already(workspace, record)
    with tempfile.TemporaryDirectory(prefix=".import-scores.", dir=workspace.root) as name:
        folder = Path(name)
        findings = ImportIssues()
        blocks = read_score_blocks(path, findings, on_bytes)
        buckets = _Buckets(folder, n_samples)
        n_rows = buckets.deal(blocks, findings)
        join = Join(path.name, baseline, check, findings)
        statuses = _write_run(workspace, folder / "run", record, buckets, join)
        report = ImportReport(
            record.run_id,
            path.name,
            n_rows,
            n_samples,
            statuses,
            findings.as_rows(),
        )
        _refuse_nothing(path, report, join.n_taken)
        write_json(folder / "run" / "import.json", asdict(report))
        _publish(workspace, folder / "run", record.run_id)
    build_database(workspace)
    return report


def _record(
    workspace: Workspace,
    path: Path,
    model: str,
    run_id: str | None,
    baseline: str,
    check: bool,
) -> RunRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    dataset = read_dataset_info(workspace).fingerprint
    source = f"{path.name} sha256:{digest}" + ("" if check else " unchecked")
    name = run_id or settings_digest(
        imported_from=digest, dataset=dataset, model=model, baseline=baseline, check=check
    )
    return RunRecord(
        run_id=check_name(name, "run"),
        model=model,
        model_fingerprint="",
        model_family="",
        dataset_fingerprint=dataset,
        baselines=(baseline,),
        template="",
        dtype="",
        device="",
        score_eos=None,
        max_length=None,
        truncate=None,
        created_at=utc_now(),
        notice=f"Scores computed elsewhere, imported from {path.name}.",
        imported_from=source,
    )


def _already(workspace: Workspace, record: RunRecord) -> ImportReport:
    """What the first import of the same file reported. Raises RunConflictError for another run."""
    present = read_run(workspace, record.run_id)
    for name in ("imported_from", "dataset_fingerprint", "model", "baselines"):
        then, now_ = getattr(present, name), getattr(record, name)
        if then != now_:
            raise RunConflictError(
                f"run {record.run_id!r} is there with another {name} ({then!r} then, {now_!r} "
                "now); give these scores another name with --run"
            )
    return replace(read_import_report(workspace, record.run_id), already=True)


def read_import_report(workspace: Workspace, run_id: str) -> ImportReport:
    """What the import of a run reported. Raises WorkspaceError where its file cannot be read."""
    path = workspace.run_dir(run_id) / "import.json"
    try:
        return ImportReport(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"{path} cannot be read ({error}); remove {path.parent} and import the scores again"
        ) from error


def _refuse_nothing(path: Path, report: ImportReport, n_taken: int) -> None:
    if n_taken:
        return
    why = "; ".join(
        f"{one['what']}: {one['n']:,}"
        + (f" (such as {one['examples'][0]})" if one["examples"] else "")
        for one in report.findings
    )
    raise InputError(
        f"no row of {path} fits this dataset of {report.n_samples:,} samples"
        f"{': ' + why if why else ''}; was it scored on other data? Where only the ids or paths "
        "are written differently, --no-check takes the rows by row_idx alone"
    )


def _publish(workspace: Workspace, folder: Path, run_id: str) -> None:
    target = workspace.run_dir(run_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError as error:
        raise RunConflictError(
            f"{target} cannot be put in place ({error.strerror}); another command may have made "
            "it, give these scores another name with --run"
        ) from error


class _Buckets:
    """Rows of the file by stretches of the dataset, on disk, in the order of the file."""

    def __init__(self, folder: Path, n_samples: int) -> None:
        self._folder, self._n_samples = folder, n_samples
        self.size = max(_BUCKET_ROWS, -(-n_samples // _MOST_BUCKETS))
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}

    def deal(self, blocks: Iterator[ScoreBlock], findings: ImportIssues) -> int:
        """Writes every row to its bucket; returns how many rows there were."""
        n_rows = 0
        try:
            for block in blocks:
                n_rows += len(block.row_idx)
                self._deal(block, findings)
        finally:
            for writer in self._writers.values():
                writer.close()
        odd = ("row of another width", "row_idx is no number")
        return n_rows + sum(findings.counts.get(kind, 0) for kind in odd)

    def _deal(self, block: ScoreBlock, findings: ImportIssues) -> None:
        table = pa.table([getattr(block, name) for name in _BUCKET.names], _BUCKET)
        inside = (block.row_idx >= 0) & (block.row_idx < self._n_samples)
        outside = np.flatnonzero(~inside)
        findings.add(
            "row_idx outside of the dataset",
            len(outside),
            (str(block.row_idx[at]) for at in outside),
        )
        bucket = np.where(inside, block.row_idx // self.size, -1)
        for number in np.unique(bucket[inside]).tolist():
            mine = table.filter(pa.array(bucket == number))
            self._writer(number).write_table(mine)

    def _writer(self, number: int) -> pa.RecordBatchStreamWriter:
        if number not in self._writers:
            self._writers[number] = pa.ipc.new_stream(str(self._path(number)), _BUCKET)
        return self._writers[number]

    def _path(self, number: int) -> Path:
        return self._folder / f"bucket-{number:05d}.arrow"

    def read(self, number: int) -> pa.Table:
        """The rows of one bucket, in the order of the file."""
        if not self._path(number).exists():
            return _BUCKET.empty_table()
        with pa.OSFile(str(self._path(number))) as file:
            return pa.ipc.open_stream(file).read_all()


def _write_run(
    workspace: Workspace, folder: Path, record: RunRecord, buckets: _Buckets, join: Join
) -> dict[str, int]:
    """Writes the run's parts and its record; returns the samples by status."""
    statuses: Counter[str] = Counter()
    (folder / "scores").mkdir(parents=True)
    for number, samples in enumerate(_stretches(workspace, buckets.size)):
        part = join.part(samples, buckets.read(number))
        counted = pc.value_counts(part.column("status")).to_pylist()
        statuses.update({one["values"]: one["counts"] for one in counted})
        path = folder / "scores" / f"part-{number:06d}-imported.parquet"
        pq.write_table(part, path, compression="zstd")
    write_json(folder / "run.json", asdict(record))
    return dict(statuses)


def _stretches(workspace: Workspace, size: int) -> Iterator[pa.Table]:
    """The dataset in tables of ``size`` rows, the last one shorter."""
    waiting: list[pa.Table] = []
    n_waiting = 0
    for table in read_columns(workspace, ["row_idx", "id", "images", "status", "reason"]):
        waiting.append(table)
        n_waiting += len(table)
        while n_waiting >= size:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, size).combine_chunks()
            waiting, n_waiting = [whole.slice(size)], n_waiting - size
    if n_waiting:
        yield pa.concat_tables(waiting).combine_chunks()
