"""Predictions of other models, kept in the workspace: taken in, listed, removed.

``evaluations/<name>/`` holds what one model answered with one sight: ``evaluation.json`` says
where it came from and what of its file did not fit, ``predictions.parquet`` the answers. The one
decision behind it: how an answer matches its reference is derived here, once, so that building the
database costs nothing; the texts stay, for measures of another version.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.dataset.records import read_columns, read_dataset_info
from scoring.errors import InputError, WorkspaceError
from scoring.issues import ImportIssues
from scoring.predictions.answer_match import MATCH_VERSION, match_answer
from scoring.predictions.files import (
    PredictionLine,
    Sight,
    check_model_name,
    read_prediction_lines,
)
from scoring.runs.record import list_runs, utc_now
from scoring.schemas import EVALUATION
from scoring.workspace import Workspace, open_atomic, write_json

_RECORD = "evaluation.json"
_PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """What one model answered with one sight, as ``evaluation.json`` has it.

    ``n_samples`` are in the dataset, ``n_taken`` of them have a prediction. ``n_records`` were in
    the file, with those of other models; ``findings`` (what, n, examples) are about all of it.
    """

    model: str
    sight: str
    file: str
    sha256: str
    imported_at: str
    dataset_fingerprint: str
    n_samples: int
    n_records: int
    n_taken: int
    findings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def n_missing(self) -> int:
        """Samples of the dataset without a prediction."""
        return self.n_samples - self.n_taken


@dataclass(frozen=True, slots=True)
class PredictionImport:
    """What became of one file; ``already``: all of it was there, nothing was changed."""

    file: str
    sets: tuple[PredictionSet, ...]
    already: bool = False


def evaluations_dir(workspace: Workspace) -> Path:
    """One folder per model and sight."""
    return workspace.root / "evaluations"


def prediction_parts(workspace: Workspace) -> tuple[Path, ...]:
    """The finished files of predictions, ascending by name."""
    return tuple(sorted(evaluations_dir(workspace).glob(f"[!.]*/{_PREDICTIONS}")))


def read_prediction_set(folder: Path) -> PredictionSet:
    """The record of one set. Raises WorkspaceError with the remedy."""
    path = folder / _RECORD
    try:
        return PredictionSet(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"{path} cannot be read ({error}); remove {folder} and take the predictions in again"
        ) from error


def list_predictions(workspace: Workspace) -> list[PredictionSet]:
    """All sets of the workspace by model, then sight."""
    found = [read_prediction_set(path.parent) for path in prediction_parts(workspace)]
    order = list(Sight)
    return sorted(found, key=lambda one: (one.model, order.index(Sight(one.sight))))


def remove_predictions(workspace: Workspace, model: str) -> int:
    """Removes what a model answered; the number of sets. Raises InputError for an unknown one."""
    folders = [path.parent for path in prediction_parts(workspace)]
    mine = [folder for folder in folders if read_prediction_set(folder).model == model]
    if not mine:
        known = sorted({read_prediction_set(folder).model for folder in folders})
        raise InputError(
            f"there are no imported predictions of {model!r}; there are those of: "
            f"{', '.join(known) or 'nobody'}"
        )
    for folder in mine:
        (folder / _PREDICTIONS).unlink(missing_ok=True)  # first: without it the set is gone
        shutil.rmtree(folder)
    return len(mine)


def import_predictions(
    workspace: Workspace,
    path: Path,
    *,
    model: str | None = None,
    sight: Sight = Sight.SEEN,
    replace: bool = False,
) -> PredictionImport:
    """Takes a file of predictions in; the database is left to the next build.

    ``model`` and ``sight`` hold for records that name none; without a name it is the file's.
    Samples are found by ``row_idx``, else by an ``id`` that just one sample has. Raises InputError
    where nothing of the file fits, or where other predictions have the same name and ``replace``
    is not given.
    """
    findings = ImportIssues()
    n_records, sets = _joined(workspace, path, model, sight, findings)
    if not sets:
        raise InputError(f"no record of {path} fits this dataset{_why(findings)}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    dataset = read_dataset_info(workspace)
    records = {
        key: PredictionSet(
            model=check_model_name(key[0]),
            sight=str(key[1]),
            file=path.name,
            sha256=digest,
            imported_at=utc_now(),
            dataset_fingerprint=dataset.fingerprint,
            n_samples=dataset.n_samples,
            n_records=n_records,
            n_taken=len(rows),
            findings=findings.as_rows(),
        )
        for key, rows in sets.items()
    }
    _check_names(workspace, records.values())
    new = [key for key, record in records.items() if not _is_there(workspace, record, replace)]
    for key in new:
        _write(workspace, records[key], sets[key])
    return PredictionImport(path.name, tuple(records.values()), already=not new)


def _why(findings: ImportIssues) -> str:
    said = [
        f"{kind}: {n:,}"
        + (f" (such as {findings.examples[kind][0]})" if findings.examples[kind] else "")
        for kind, n in findings.counts.items()
    ]
    return f": {'; '.join(said)}" if said else "; it holds none"


def _check_names(workspace: Workspace, records: Iterable[PredictionSet]) -> None:
    runs = {run.run_id for run in list_runs(workspace)}
    for record in records:
        if record.model in runs:
            raise InputError(
                f"{record.model!r} is the name of a run, whose own predictions are evaluated "
                f"anyway; give these another name: NAME={record.file}"
            )


def _is_there(workspace: Workspace, record: PredictionSet, replace: bool) -> bool:
    """Whether the very same is kept already. Raises InputError where something else is."""
    folder = _folder(workspace, record)
    if not (folder / _PREDICTIONS).exists():
        return False
    present = read_prediction_set(folder)
    same = ("sha256", "dataset_fingerprint", "n_taken")
    if all(getattr(present, name) == getattr(record, name) for name in same):
        return True
    if not replace:
        raise InputError(
            f"{record.sight} predictions of {record.model!r} were taken in from {present.file} "
            f"on {present.imported_at}; name these otherwise ({record.model}-2={record.file}), or "
            "put them in the place of those with --replace"
        )
    return False


def _folder(workspace: Workspace, record: PredictionSet) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", record.model).strip("-.")[:60] or "model"
    digest = hashlib.sha256(record.model.encode()).hexdigest()[:8]
    return evaluations_dir(workspace) / f"{plain}-{digest}-{record.sight}"


Row = tuple[int, str]
"""A sample and what was predicted for it."""


def _joined(
    workspace: Workspace, path: Path, model: str | None, sight: Sight, findings: ImportIssues
) -> tuple[int, dict[tuple[str, Sight], list[Row]]]:
    """Records read, and by model and sight the predictions that fit a sample."""
    lines = list(read_prediction_lines(path))
    for line in lines:
        if line.problem:
            findings.add(line.problem, 1, [line.example])
    good = [line for line in lines if not line.problem]
    rows = _rows_of(workspace, good, findings)
    taken: dict[tuple[str, Sight], dict[int, str]] = defaultdict(dict)
    for line, row in zip(good, rows, strict=True):
        if row is None:
            continue
        one = taken[line.model or model or path.name.partition(".")[0], line.sight or sight]
        if row in one:
            what = "sample predicted again" if one[row] == line.prediction else _TWICE
            findings.add(what, 1, [f"row {row}"])
        else:
            one[row] = line.prediction
    return len(lines), {key: sorted(one.items()) for key, one in taken.items()}


_TWICE = "sample predicted again, otherwise (the first one is taken)"


def _rows_of(
    workspace: Workspace, lines: Sequence[PredictionLine], findings: ImportIssues
) -> list[int | None]:
    """The sample of each line, or None where there is no one such sample."""
    n_samples = read_dataset_info(workspace).n_samples
    by_id, ids = _look_up(workspace, lines)
    rows: list[int | None] = []
    for line in lines:
        row, problem = line.row_idx, None
        if row is not None:
            if row >= n_samples:
                problem = ("row_idx outside of the dataset", str(row))
            elif line.id is not None and ids.get(row) != line.id:
                problem = ("id is that of another sample", f"row {row}: {line.id[:80]}")
        else:
            found = by_id.get(line.id or "", [])
            if not found:
                problem = ("unknown id", (line.id or "")[:80])
            elif len(found) > 1:
                said = f"{(line.id or '')[:80]}: rows {found[0]} and {found[1]}"
                problem = ("id that several samples have; give row_idx", said)
            else:
                row = found[0]
        if problem:
            findings.add(problem[0], 1, [problem[1]])
        rows.append(None if problem else row)
    return rows


def _look_up(
    workspace: Workspace, lines: Sequence[PredictionLine]
) -> tuple[dict[str, list[int]], dict[int, str | None]]:
    """Rows by id and ids by row, of what the lines name; one pass over the dataset."""
    wanted = {line.id for line in lines if line.id is not None and line.row_idx is None}
    checked = {line.row_idx for line in lines if line.id is not None and line.row_idx is not None}
    by_id: dict[str, list[int]] = defaultdict(list)
    ids: dict[int, str | None] = {}
    if not wanted and not checked:
        return by_id, ids
    for table in read_columns(workspace, ["row_idx", "id"]):
        pairs = zip(table["row_idx"].to_pylist(), table["id"].to_pylist(), strict=True)
        for row, one in pairs:
            if one in wanted:
                by_id[one].append(row)
            if row in checked:
                ids[row] = one
    return by_id, ids


def _write(workspace: Workspace, record: PredictionSet, rows: Sequence[Row]) -> None:
    """The record first: without the predictions beside it a set is not there."""
    folder = _folder(workspace, record)
    table = pa.Table.from_pylist(list(_matched(workspace, rows)), EVALUATION)
    (folder / _PREDICTIONS).unlink(missing_ok=True)
    write_json(folder / _RECORD, asdict(record))
    with open_atomic(folder / _PREDICTIONS) as file:
        pq.write_table(table, file, compression="zstd")


def _matched(workspace: Workspace, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    predictions = dict(rows)
    wanted = np.fromiter(predictions, np.int64, len(predictions))
    for table in read_columns(workspace, ["row_idx", "question", "answer"], wanted):
        for sample in table.to_pylist():
            prediction = predictions[sample["row_idx"]]
            yield evaluation_row(
                sample["row_idx"], prediction, sample["answer"] or "", sample["question"] or ""
            )


def evaluation_row(row_idx: int, prediction: str, answer: str, question: str) -> dict[str, Any]:
    """A row of ``schemas.EVALUATION``."""
    match = match_answer(prediction, answer, question)
    return {
        "row_idx": row_idx,
        "prediction": prediction,
        "exact": match.exact,
        "letter": match.letter,
        "f1": match.f1,
        "matched_by": MATCH_VERSION,
    }
