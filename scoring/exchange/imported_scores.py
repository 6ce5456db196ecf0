"""Import scores computed elsewhere as a run: the paper's CSV, joined to the dataset by ``row_idx``.

Every sample of the dataset gets a row with a status, with or without a row in the file. Unknown
values stay unknown: no token count and no per-turn value is made up. The run appears whole or not
at all.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from scoring.database.build.build import build_database
from scoring.database.queries.score_import import ScoreMatcher
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.engine.baselines import BASELINES
from scoring.errors import InputError, RunConflictError, WorkspaceError
from scoring.exchange.score_export import PAPER_COLUMNS
from scoring.issues import ImportIssues
from scoring.runs.record import RunRecord, read_run, settings_digest, utc_now
from scoring.workspace import Workspace, check_name, write_json

_PART_ROWS = 100_000
_MOST_PARTS = 256
_REQUIRED = ("row_idx", "loss_multimodal", "loss_text")
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_BLOCK_BYTES = 8 << 20

OnBytes = Callable[[int, int], None]
"""Called with bytes read so far, bytes in all."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The outcome of importing a score file.

    ``statuses`` counts all samples of the dataset. ``findings`` (what, n, examples) lists the rows
    of the file that were not used as they are, and why. ``already``: the file was imported before.
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
    model: str = "unknown",
    run_id: str | None = None,
    baseline: str = "none",
    check: bool = True,
    on_bytes: OnBytes | None = None,
) -> ImportReport:
    """Import the scores of a file as a run of its own and build the database.

    Importing the same file again changes nothing.

    Args:
        workspace: A workspace with a dataset.
        path: A CSV file with the columns of the paper's script; .gz, .bz2 and .zst are read too.
        model: The model that computed the scores, for the record.
        run_id: Name of the run; by default a digest of the file.
        baseline: What replaced the image: ``reference`` for files of the paper's own script.
        check: Use only rows whose id and image path, where given, are those of the sample.
        on_bytes: Called with bytes read so far and bytes in all.

    Raises:
        InputError: The file is not a score file, or none of its rows fits the dataset.
        RunConflictError: The name of the run is in use.
    """
    if baseline not in BASELINES:
        raise InputError(f"Unknown baseline {baseline!r}. Choose one of: {', '.join(BASELINES)}.")
    n_samples = read_dataset_info(workspace).n_samples
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    record = _build_record(workspace, path, model, run_id, baseline, check)
    run_dir = workspace.run_dir(record.run_id)
    if (run_dir / "run.json").exists():
        return _read_earlier_report(workspace, record)
    with tempfile.TemporaryDirectory(prefix=".import-scores.", dir=workspace.root) as name:
        folder = Path(name) / "run"
        issues = ImportIssues()
        with ScoreMatcher(Path(name)) as matcher:
            n_rows = matcher.add_rows(read_score_cells(path, issues, on_bytes))
            n_rows += issues.counts.get("row with the wrong number of cells", 0)
            samples = read_columns(workspace, ["row_idx", "id", "images", "status", "reason"])
            if not matcher.match_samples(samples, issues, check=check):
                raise _no_row_fits(path, n_samples, issues)
            statuses: Counter[str] = Counter()
            (folder / "scores").mkdir(parents=True)
            part_rows = max(_PART_ROWS, -(-n_samples // _MOST_PARTS))
            for number, part in enumerate(matcher.read_scores(path.name, baseline, part_rows)):
                statuses.update(part.column("status").to_pylist())
                part_path = folder / "scores" / f"part-{number:06d}-imported.parquet"
                pq.write_table(part, part_path, compression="zstd")
        report = ImportReport(
            record.run_id, path.name, n_rows, n_samples, dict(statuses), issues.as_rows()
        )
        write_json(folder / "run.json", asdict(record))
        write_json(folder / "import.json", asdict(report))
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(run_dir)
        except OSError as error:
            raise RunConflictError(
                f"Cannot move the run to {run_dir} ({error.strerror}). Another command may have "
                "created it. Give these scores another name with --run."
            ) from error
    build_database(workspace)
    return report


def read_import_report(workspace: Workspace, run_id: str) -> ImportReport:
    """Return the report that the import of a run wrote. Raises WorkspaceError."""
    path = workspace.run_dir(run_id) / "import.json"
    try:
        return ImportReport(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"Cannot read {path} ({error}). Remove {path.parent} and import the scores again."
        ) from error


def _build_record(
    workspace: Workspace, path: Path, model: str, run_id: str | None, baseline: str, check: bool
) -> RunRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    dataset = read_dataset_info(workspace).fingerprint
    name = run_id or settings_digest(
        imported_from=digest, dataset=dataset, model=model, baseline=baseline, check=check
    )
    return RunRecord(
        run_id=check_name(name, "run"),
        model=model,
        dataset_fingerprint=dataset,
        baselines=(baseline,),
        created_at=utc_now(),
        model_fingerprint="",
        model_family="",
        template="",
        dtype="",
        device="",
        score_eos=None,
        max_length=None,
        truncate=None,
        notice=f"Scores computed elsewhere, imported from {path.name}.",
        imported_from=f"{path.name} sha256:{digest}" + ("" if check else " unchecked"),
    )


def _read_earlier_report(workspace: Workspace, record: RunRecord) -> ImportReport:
    """Return the report of the first import. Raise RunConflictError if it was of other scores."""
    present = read_run(workspace, record.run_id)
    for name in ("imported_from", "dataset_fingerprint", "model", "baselines"):
        before, now = getattr(present, name), getattr(record, name)
        if before != now:
            raise RunConflictError(
                f"Run {record.run_id!r} exists with another {name} ({before!r} before, {now!r} "
                "now). Give these scores another name with --run."
            )
    return replace(read_import_report(workspace, record.run_id), already=True)


def _no_row_fits(path: Path, n_samples: int, issues: ImportIssues) -> InputError:
    reasons = "; ".join(
        f"{issue['what']}: {issue['n']:,}"
        + (f" (such as {issue['examples'][0]})" if issue["examples"] else "")
        for issue in issues.as_rows()
    )
    return InputError(
        f"No row of {path} fits this dataset of {n_samples:,} samples"
        f"{': ' + reasons if reasons else ''}. Was it scored on other data? If only the ids or "
        "paths are written differently, --no-check uses the rows by row_idx alone."
    )


def read_score_cells(
    path: Path, issues: ImportIssues, on_bytes: OnBytes | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of a score file in blocks, plain or compressed (.gz, .bz2, .zst).

    Columns may come in any order. Other columns, and rows that are not as wide as the header, are
    counted as issues and left out.

    The tables have ``line`` (1-based position among the rows) and the raw bytes of each of
    ``PAPER_COLUMNS``, null where the file lacks the column. Raises InputError if the file cannot be
    read or its header lacks a required column.
    """

    def skip_row(row: pa.csv.InvalidRow) -> str:
        example = f"{row.actual_columns} cells instead of {row.expected_columns}: {row.text[:80]!r}"
        issues.add("row with the wrong number of cells", 1, [example])
        return "skip"

    total, n_lines, codec = path.stat().st_size, 0, _CODECS.get(path.suffix)
    try:
        with pa.OSFile(str(path)) as file:
            reader = pa.csv.open_csv(
                pa.CompressedInputStream(file, codec) if codec else file,
                pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
                pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip_row),
                # Bytes first: a cell that is not a number or not UTF-8 must not stop the import.
                pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(PAPER_COLUMNS, pa.binary()), check_utf8=False
                ),
            )
            names = reader.schema.names
            _check_header(path, names, issues)
            for batch in reader:
                lines = np.arange(n_lines + 1, n_lines + 1 + len(batch), dtype=np.int64)
                n_lines += len(batch)
                absent = pa.nulls(len(batch), pa.binary())
                cells = {
                    name: batch.column(name) if name in names else absent for name in PAPER_COLUMNS
                }
                yield pa.table({"line": lines, **cells})
                if on_bytes:
                    on_bytes(min(file.tell(), total), total)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error


def _check_header(path: Path, names: Sequence[str], issues: ImportIssues) -> None:
    problem = ""
    if missing := [name for name in _REQUIRED if name not in names]:
        problem = f"lacks {', '.join(missing)}"
    elif duplicates := [name for name in PAPER_COLUMNS if names.count(name) > 1]:
        problem = f"has more than one column named {', '.join(duplicates)}"
    if problem:
        raise InputError(
            f"The header of {path} {problem}. Found: {', '.join(names)[:300]!r}. Scores are "
            f"read from {','.join(PAPER_COLUMNS)} (id, image_path and visnec are optional)."
        )
    others = [name for name in names if name not in PAPER_COLUMNS]
    issues.add("column ignored", len(others), others)
