"""Predictions of other models in the workspace: imported, listed, removed.

``evaluations/<name>/`` holds the answers of one model with one sight: ``evaluation.json`` records
their origin and the issues of the import, ``predictions.parquet`` the answers. Matches with the
reference are computed on import, so building the database is fast; the texts are kept for later
versions of the measures.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.dataset.records import read_columns, read_dataset_info
from scoring.errors import InputError, WorkspaceError
from scoring.issues import ImportIssues
from scoring.predictions.answer_match import MATCH_VERSION, match_answer
from scoring.predictions.files import (
    TURN_KEY,
    PredictionLine,
    Sight,
    check_model_name,
    read_prediction_lines,
)
from scoring.runs.record import list_runs, utc_now
from scoring.samples import Role
from scoring.schemas import EVALUATION
from scoring.workspace import Workspace, open_atomic, write_json

_RECORD = "evaluation.json"
_PREDICTIONS = "predictions.parquet"

SetKey = tuple[str, Sight]
"""A model and what its predictions were made from."""

Answers = dict[tuple[int, int], str]
"""Predictions by row_idx and turn, the 0-based position among the sample's answers."""


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """The answers of one model with one sight, as recorded in ``evaluation.json``.

    ``n_taken`` of the ``n_samples`` in the dataset have a prediction; ``n_later`` predictions are
    about answers after the first. ``n_records`` were in the file, including those of other models;
    ``findings`` (what, n, examples) cover the whole file.
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
    n_later: int = 0

    @property
    def n_missing(self) -> int:
        """Samples of the dataset without a prediction."""
        return self.n_samples - self.n_taken


@dataclass(frozen=True, slots=True)
class PredictionImport:
    """The result for one file; ``already``: it was imported before, and nothing was changed."""

    file: str
    sets: tuple[PredictionSet, ...]
    already: bool = False


def list_prediction_files(workspace: Workspace) -> tuple[Path, ...]:
    """Return the finished files of predictions, ascending by name."""
    return tuple(sorted((workspace.root / "evaluations").glob(f"[!.]*/{_PREDICTIONS}")))


def read_prediction_set(folder: Path) -> PredictionSet:
    """Read the record of one set. Raises WorkspaceError."""
    path = folder / _RECORD
    try:
        return PredictionSet(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"Cannot read {path} ({error}). Remove {folder} and import the predictions again"
        ) from error


def list_predictions(workspace: Workspace) -> list[PredictionSet]:
    """Return all sets of the workspace by model, then sight."""
    sets = [read_prediction_set(path.parent) for path in list_prediction_files(workspace)]
    order = list(Sight)
    return sorted(sets, key=lambda saved: (saved.model, order.index(Sight(saved.sight))))


def remove_predictions(workspace: Workspace, model: str) -> int:
    """Remove a model's imported predictions; return the number of sets. Raises InputError."""
    models = {
        path.parent: read_prediction_set(path.parent).model
        for path in list_prediction_files(workspace)
    }
    folders = [folder for folder, name in models.items() if name == model]
    if not folders:
        known = ", ".join(sorted(set(models.values()))) or "none"
        raise InputError(f"No imported predictions of {model!r}. Imported models: {known}")
    for folder in folders:
        (folder / _PREDICTIONS).unlink(missing_ok=True)  # first: a set without it does not count
        shutil.rmtree(folder)
    return len(folders)


def import_predictions(
    workspace: Workspace,
    path: Path,
    *,
    model: str | None = None,
    sight: Sight = Sight.SEEN,
    replace: bool = False,
) -> PredictionImport:
    """Import a file of predictions; the next build adds them to the database.

    ``model`` and ``sight`` apply to records that name none; the default model is the file's name.
    Samples are found by ``row_idx``, else by an ``id`` that only one sample has; ``turn_number``
    (from 1) is the answer of the sample, by default the first. Raises InputError
    if no record matches a sample, or if the model has other predictions and ``replace`` is False.
    """
    issues = ImportIssues()
    lines = list(read_prediction_lines(path))
    default = (model or path.name.partition(".")[0], sight)
    answers = _assign_to_samples(workspace, lines, default, issues)
    if not answers:
        problems = "; ".join(
            f"{each['what']}: {each['n']:,}"
            + (f" (such as {each['examples'][0]})" if each["examples"] else "")
            for each in issues.as_rows()
        )
        reasons = f": {problems}" if problems else "; it has none"
        raise InputError(f"No record of {path} matches this dataset{reasons}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    dataset = read_dataset_info(workspace)
    runs = {run.run_id for run in list_runs(workspace)}
    sets = []
    for (name, seen), predictions in answers.items():
        record = PredictionSet(
            model=check_model_name(name),
            sight=str(seen),
            file=path.name,
            sha256=digest,
            imported_at=utc_now(),
            dataset_fingerprint=dataset.fingerprint,
            n_samples=dataset.n_samples,
            n_records=len(lines),
            n_taken=len({row for row, _ in predictions}),
            findings=issues.as_rows(),
            n_later=sum(turn > 0 for _, turn in predictions),
        )
        if record.model in runs:
            raise InputError(
                f"{record.model!r} is the name of a run, whose own predictions are evaluated "
                f"anyway. Give these another name: NAME={record.file}"
            )
        sets.append((record, predictions))
    new = [item for item in sets if not _is_imported(workspace, item[0], replace)]
    for record, predictions in new:
        _write_set(workspace, record, predictions)
    return PredictionImport(path.name, tuple(record for record, _ in sets), already=not new)


def import_prediction_files(
    workspace: Workspace, files: Mapping[Sight, Sequence[str]], *, replace: bool = False
) -> Iterator[PredictionImport]:
    """Import files named ``[NAME=]FILE``, by sight; yield each when it is imported.

    A file without the image that names no model belongs to the one model of the files with the
    image. Raises InputError if there is not exactly one such model.
    """
    seen = [_split_model(text) for text in files.get(Sight.SEEN, ())]
    seen_models = [model or path.name.partition(".")[0] for model, path in seen]
    for sight, texts in files.items():
        for text in texts:
            model, path = _split_model(text)
            if model is None and sight is not Sight.SEEN and len(seen_models) == 1:
                model = seen_models[0]
            elif model is None and sight is not Sight.SEEN:
                valid = (line for line in read_prediction_lines(path) if line.problem is None)
                first = next(valid, None)
                if first is None or first.model is None:
                    option = "--blind" if sight is Sight.BLIND else "--text-model"
                    raise InputError(
                        f"Which model do the predictions in {text} belong to? Write {option} "
                        f"NAME={text}"
                    )
            yield import_predictions(workspace, path, model=model, sight=sight, replace=replace)


def _split_model(text: str) -> tuple[str | None, Path]:
    """Split ``NAME=FILE``; a file whose own name contains a ``=`` needs no model name."""
    model, equals, path = text.partition("=")
    is_named = equals and not Path(text).exists()
    return (model, Path(path)) if is_named else (None, Path(text))


def _assign_to_samples(
    workspace: Workspace, lines: Sequence[PredictionLine], default: SetKey, issues: ImportIssues
) -> dict[SetKey, Answers]:
    """Return the first prediction of each answer, by model and sight; the rest become issues."""
    n_samples = read_dataset_info(workspace).n_samples
    rows_by_id, ids = _look_up_ids(workspace, lines)
    n_turns = _count_turns(workspace, lines)
    answers: dict[SetKey, Answers] = defaultdict(dict)
    for line in lines:
        row, line_id = line.row_idx, line.id or ""
        problem, example = line.problem, line.example
        if not problem and row is not None:
            if row >= n_samples:
                problem, example = "row_idx outside of the dataset", str(row)
            elif line.id is not None and ids.get(row) != line.id:
                problem, example = "id of another sample", f"row {row}: {line_id[:80]}"
        elif not problem:
            rows = rows_by_id.get(line_id, [])
            row = rows[0] if rows else None
            if not rows:
                problem, example = "unknown id", line_id[:80]
            elif len(rows) > 1:
                problem = "id of several samples; give row_idx"
                example = f"{line_id[:80]}: rows {rows[0]} and {rows[1]}"
        if not problem and row is not None and line.turn and line.turn >= n_turns[row]:
            problem = f"{TURN_KEY} above the answers of the sample"
            example = f"row {row}: {line.turn + 1} of {n_turns[row]}"
        if problem or row is None:
            issues.add(str(problem), 1, [example])
            continue
        predictions = answers[line.model or default[0], line.sight or default[1]]
        key, example = (
            (row, line.turn),
            f"row {row}" + (f", turn {line.turn + 1}" * (line.turn > 0)),
        )
        if key not in predictions:
            predictions[key] = line.prediction
        elif predictions[key] == line.prediction:
            issues.add("repeated prediction", 1, [example])
        else:
            issues.add("second, different prediction (the first is kept)", 1, [example])
    return {key: dict(sorted(predictions.items())) for key, predictions in answers.items()}


def _count_turns(workspace: Workspace, lines: Sequence[PredictionLine]) -> list[int]:
    """Return the number of answers by row_idx if any line is about an answer after the first."""
    if not any(line.turn for line in lines):
        return []
    tables = read_columns(workspace, ["n_turns"])
    return [n for table in tables for n in table["n_turns"].to_pylist()]


def _look_up_ids(
    workspace: Workspace, lines: Sequence[PredictionLine]
) -> tuple[dict[str, list[int]], dict[int, str | None]]:
    """Return rows by id and ids by row for everything the lines name, in one pass."""
    wanted = {line.id for line in lines if line.id is not None and line.row_idx is None}
    checked = {line.row_idx for line in lines if line.id is not None and line.row_idx is not None}
    rows_by_id: dict[str, list[int]] = defaultdict(list)
    ids: dict[int, str | None] = {}
    if not wanted and not checked:
        return rows_by_id, ids
    for table in read_columns(workspace, ["row_idx", "id"]):
        pairs = zip(table["row_idx"].to_pylist(), table["id"].to_pylist(), strict=True)
        for row, sample_id in pairs:
            if sample_id in wanted:
                rows_by_id[sample_id].append(row)
            if row in checked:
                ids[row] = sample_id
    return rows_by_id, ids


def _is_imported(workspace: Workspace, record: PredictionSet, replace: bool) -> bool:
    """Return whether the same set was imported before. Raises InputError for a different one."""
    folder = _set_folder(workspace, record)
    if not (folder / _PREDICTIONS).exists():
        return False
    saved = read_prediction_set(folder)
    same = ("sha256", "dataset_fingerprint", "n_taken")
    if all(getattr(saved, name) == getattr(record, name) for name in same):
        return True
    if not replace:
        raise InputError(
            f"{record.sight} predictions of {record.model!r} were imported from {saved.file} "
            f"on {saved.imported_at}. Give these another name ({record.model}-2={record.file}), "
            "or replace the earlier ones with --replace"
        )
    return False


def _set_folder(workspace: Workspace, record: PredictionSet) -> Path:
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", record.model).strip("-.")[:60] or "model"
    digest = hashlib.sha256(record.model.encode()).hexdigest()[:8]
    return workspace.root / "evaluations" / f"{slug}-{digest}-{record.sight}"


def _write_set(workspace: Workspace, record: PredictionSet, predictions: Answers) -> None:
    """Write the record first: a set counts only once its predictions are there."""
    folder = _set_folder(workspace, record)
    by_row: dict[int, dict[int, str]] = defaultdict(dict)
    for (row_idx, turn), prediction in predictions.items():
        by_row[row_idx][turn] = prediction
    columns = ["row_idx", "question", "answer"] + (["turns"] if record.n_later else [])
    rows = [
        to_evaluation_row(sample["row_idx"], prediction, *_read_exchange(sample, turn), turn)
        for table in read_columns(workspace, columns, list(by_row))
        for sample in table.to_pylist()
        for turn, prediction in by_row[sample["row_idx"]].items()
    ]
    (folder / _PREDICTIONS).unlink(missing_ok=True)
    write_json(folder / _RECORD, asdict(record))
    with open_atomic(folder / _PREDICTIONS) as file:
        pq.write_table(pa.Table.from_pylist(rows, EVALUATION), file, compression="zstd")


def _read_exchange(sample: Mapping[str, Any], turn: int) -> tuple[str, str]:
    """Return the reference answer of a turn and what is before it, its question."""
    if turn == 0:
        return sample["answer"] or "", sample["question"] or ""
    turns = sample["turns"]
    answers = [at for at, each in enumerate(turns) if each["role"] == Role.ASSISTANT]
    position = answers[turn]
    return turns[position]["text"].strip(), turns[position - 1]["text"].strip()


def to_evaluation_row(
    row_idx: int, prediction: str, answer: str, question: str, turn: int = 0
) -> dict[str, Any]:
    """Return a row of ``schemas.EVALUATION``."""
    match = asdict(match_answer(prediction, answer, question))
    row = {"row_idx": row_idx, "prediction": prediction, **match, "matched_by": MATCH_VERSION}
    return row | {"turn": turn}
