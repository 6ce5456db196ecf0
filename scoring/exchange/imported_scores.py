"""Import scores computed elsewhere as a run, joined to the dataset by ``row_idx`` or by ``id``.

Every sample of the dataset gets a row with a status, with or without a row in the file. Unknown
values stay unknown: no token count and no per-turn value is made up. The run appears whole or not
at all.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from scoring.database.build.build import build_database
from scoring.database.queries.score_import import ScoreMatcher
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.engine.baselines import BASELINES
from scoring.errors import InputError, RunConflictError, WorkspaceError
from scoring.exchange.score_files import LOSSES, OnBytes, count_unread, read_score_cells
from scoring.issues import ImportIssues
from scoring.runs.record import RunRecord, read_run, settings_digest, utc_now
from scoring.workspace import Workspace, check_name, write_json

_PART_ROWS = 100_000
_MOST_PARTS = 256


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The outcome of importing a score file.

    ``statuses`` counts all samples of the dataset. ``findings`` (what, n, examples) lists the rows
    of the file that were not used as they are, and why. ``already``: the file was imported before.
    ``probe``: how far the losses are from those of the model, where that was checked.
    """

    run_id: str
    file: str
    n_rows: int
    n_samples: int
    statuses: dict[str, int]
    findings: list[dict[str, Any]]
    already: bool = False
    probe: dict[str, Any] | None = None


def import_scores(
    workspace: Workspace,
    path: Path,
    *,
    model: str = "unknown",
    run_id: str | None = None,
    baseline: str = "none",
    check: bool = True,
    blind: Path | None = None,
    on_bytes: OnBytes | None = None,
) -> ImportReport:
    """Import the scores of a file as a run of its own and build the database.

    Importing the same file again changes nothing.

    Args:
        workspace: A workspace with a dataset.
        path: CSV, JSON lines or Parquet with columns of ``score_files.COLUMNS``, one row per
            sample; .gz, .bz2 and .zst are read too.
        model: The model that computed the scores, for the record.
        run_id: Name of the run; by default a digest of the file.
        baseline: What replaced the image: ``reference`` for files of the paper's own script.
        check: Use only rows whose id and image path, where given, are those of the sample.
        blind: A second file with the losses without the image, if ``path`` has only those with it.
        on_bytes: Called with bytes read so far and bytes in all.

    Raises:
        InputError: The file is not a score file, or none of its rows fits the dataset.
        RunConflictError: The name of the run is in use.
    """
    if baseline not in BASELINES:
        raise InputError(f"Unknown baseline {baseline!r}. Choose one of: {', '.join(BASELINES)}.")
    n_samples = read_dataset_info(workspace).n_samples
    files = [path] if blind is None else [path, blind]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} {'is a folder' if file.is_dir() else 'does not exist'}")
    record = _build_record(workspace, files, model, run_id, baseline, check)
    if (workspace.run_dir(record.run_id) / "run.json").exists():
        return read_earlier_report(workspace, record)
    with tempfile.TemporaryDirectory(prefix=".import-scores.", dir=workspace.root) as name:
        folder = Path(name) / "run"
        issues = ImportIssues()
        with ScoreMatcher(Path(name)) as matcher:
            losses = LOSSES if blind is None else LOSSES[:1]
            n_rows = matcher.add_rows(read_score_cells(path, issues, on_bytes, losses))
            if blind is not None:
                cells = read_score_cells(blind, issues, losses=LOSSES[1:])
                n_rows += matcher.add_rows(cells, is_blind=True)
            n_rows += count_unread(issues)
            samples = read_columns(workspace, ["row_idx", "id", "images", "status", "reason"])
            if not matcher.match_samples(samples, issues, check=check):
                raise InputError(
                    f"No row of {path} fits this dataset of {n_samples:,} samples"
                    f"{issues.in_words()}. Was it scored on other data? If only the ids or paths "
                    "are written differently, --no-check uses the rows by row_idx alone."
                )
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
        publish_run(workspace, folder, record, report)
    build_database(workspace)
    return report


def publish_run(
    workspace: Workspace, folder: Path, record: RunRecord, report: ImportReport
) -> None:
    """Move the folder of an imported run to its place, with its record and report."""
    run_dir = workspace.run_dir(record.run_id)
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
    workspace: Workspace,
    files: Sequence[Path],
    model: str,
    run_id: str | None,
    baseline: str,
    check: bool,
) -> RunRecord:
    names, digest = describe_files(files)
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
        notice=f"Scores computed elsewhere, imported from {names}.",
        imported_from=f"{names} sha256:{digest}" + ("" if check else " unchecked"),
    )


def describe_files(files: Sequence[Path]) -> tuple[str, str]:
    """Return the names of files, shortened, and one digest of their contents."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(files) == 1:
        return files[0].name, digests[0]
    whole = hashlib.sha256("".join(digests).encode()).hexdigest()
    return f"{files[0].name} and {len(files) - 1} more", whole


def read_earlier_report(workspace: Workspace, record: RunRecord) -> ImportReport:
    """Return the report of the first import. Raise RunConflictError if it was of other scores."""
    present = read_run(workspace, record.run_id)
    for name in ("imported_from", "dataset_fingerprint", "model", "baselines", "tokens"):
        before, now = getattr(present, name), getattr(record, name)
        if before != now:
            if name == "imported_from":
                origin = f"was imported from {before}" if before else "was scored here"
                difference = f"{origin}, and these scores come from {now}"
            else:
                difference = f"has another {name} ({before!r} before, {now!r} now)"
            raise RunConflictError(
                f"There is already a run {record.run_id!r}: it {difference}. Give these scores "
                "another name with --run."
            )
    return replace(read_import_report(workspace, record.run_id), already=True)
