"""Read results of trainings done elsewhere: our table, and files of lmms-eval and VLMEvalKit.

Our table (CSV, JSON lines or a JSON array) has a row per value: ``arm``, ``seed``, ``benchmark``,
``value`` and, where known, ``measure``, ``manifest_digest`` and ``n_samples``. A file of an
evaluation program is about one training. Only what it surely means is read: a benchmark with
several metrics of which none is clearly its accuracy is left out by name, or refused.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from scoring.errors import InputError
from scoring.trials.options import Unit
from scoring.trials.plan import Measure

_Cell = TypeVar("_Cell")
_REQUIRED = ("benchmark", "value")
_COLUMNS = ("arm", "seed", "benchmark", "value", "measure", "manifest_digest", "n_samples")
_ACCURACY_NAMES = ("exact_match", "accuracy", "acc")
_NOT_METRICS = (
    "_stderr", "_stderr_clt", "_stderr_clustered", "_expected_accuracy", "_consensus_accuracy",
    "_internal_variance", "_consistency_rate",
)  # fmt: skip
_VLMEVALKIT_ENDINGS = ("_acc", "_score")
_OVERALL = ("Overall", "overall", "acc", "accuracy", "Final Score Norm")


@dataclass(frozen=True, slots=True)
class RecordedValue:
    """One value of a file. What the file does not name is None."""

    benchmark: str
    value: float
    measure: Measure = "accuracy"
    metric: str | None = None
    arm: str | None = None
    seed: int | None = None
    n_samples: int | None = None
    manifest_digest: str | None = None


@dataclass(frozen=True, slots=True)
class ResultFile:
    """The values of a file. ``program`` wrote it; None: our own table."""

    path: Path
    sha256: str
    values: tuple[RecordedValue, ...]
    program: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_result_file(
    path: Path,
    *,
    benchmark: str | None = None,
    metrics: Mapping[str, str] | None = None,
    unit: Unit = "auto",
    known_sets: Sequence[str] = (),
) -> ResultFile:
    """Read a file of results. Raises InputError if it is none, or not clear.

    Args:
        path: The file.
        benchmark: Name of the benchmark of a VLMEvalKit file, whose name is that of the model,
            the benchmark and the kind of file in one.
        metrics: The metric to read, by benchmark.
        unit: Of the accuracies.
        known_sets: Evaluation sets, to find the benchmark in the name of a VLMEvalKit file.
    """
    content = _read_content(path)
    metrics = metrics or {}
    is_from_kit = path.stem.endswith(_VLMEVALKIT_ENDINGS)
    if isinstance(content, Mapping) and isinstance(content.get("results"), Mapping):
        result = _read_lmms_eval(path, content, metrics)
    elif isinstance(content, list) and all(_is_table_row(row) for row in content):
        result = _read_table(path, content)
    elif is_from_kit and content and _is_from_kit(content):
        name = benchmark or _benchmark_of(path, known_sets)
        result = _read_vlmevalkit(path, content, name, metrics.get(name), unit)
    else:
        raise InputError(
            f"{path.name} {_describe_lack(content)}. Results are read from a table with the "
            "columns arm, seed, benchmark and value, a results file of lmms-eval, or an _acc or "
            "_score file of VLMEvalKit"
        )
    if not result.values:
        raise InputError(f"{path.name} has no value to record. {' '.join(result.notes)}".strip())
    return _scale(replace(result, sha256=hashlib.sha256(path.read_bytes()).hexdigest()), unit)


def _read_content(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json", ".jsonl"):
        raise InputError(f"{path.name}: results are read from .csv, .json and .jsonl files")
    try:
        text = path.read_text("utf-8-sig")
        if suffix == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        if suffix == ".jsonl":
            return list(_read_lines(path, text))
        return json.loads(text)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error


def _read_lines(path: Path, text: str) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.strip():
                yield json.loads(line)
        except ValueError as error:
            raise InputError(f"{path.name}, line {number} is not JSON: {error}") from error


def _is_table_row(row: object) -> bool:
    return isinstance(row, Mapping) and all(name in row for name in _REQUIRED)


def _describe_lack(content: object) -> str:
    """Return what keeps a content from being our table, to follow the name of its file."""
    rows = content if isinstance(content, list) else []
    for number, row in enumerate(rows, 1):
        if not _is_table_row(row):
            names = row.keys() if isinstance(row, Mapping) else ()
            lacking = " and ".join(name for name in _REQUIRED if name not in names)
            return f"has no {lacking} in row {number}"
    return "is not a table of results"


def _read_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> ResultFile:
    values = [_read_row(f"{path.name}, row {n}", row) for n, row in enumerate(rows, 1)]
    ignored = sorted({str(name) for row in rows for name in row if name not in _COLUMNS})
    notes = (f"{path.name}: columns that are not read: {', '.join(ignored)}",) if ignored else ()
    return ResultFile(path, "", tuple(values), notes=notes)


def _read_row(origin: str, row: Mapping[str, Any]) -> RecordedValue:
    cells = {name: row[name] for name in _COLUMNS if row.get(name) not in (None, "")}
    measure = cells.get("measure", "accuracy")
    if measure not in get_args(Measure):
        raise InputError(f"{origin}: unknown measure {measure!r}. Use accuracy or loss")
    return RecordedValue(
        benchmark=_read_cell(origin, cells, "benchmark", str),
        value=_read_cell(origin, cells, "value", float),
        measure=cast(Measure, measure),
        arm=str(cells["arm"]) if "arm" in cells else None,
        seed=_read_cell(origin, cells, "seed", _whole_number) if "seed" in cells else None,
        n_samples=(
            _read_cell(origin, cells, "n_samples", _whole_number) if "n_samples" in cells else None
        ),
        manifest_digest=str(cells["manifest_digest"]) if "manifest_digest" in cells else None,
    )


def _read_cell(
    origin: str, cells: Mapping[str, Any], name: str, convert: Callable[[Any], _Cell]
) -> _Cell:
    """Return a cell of our table in its type. Raises InputError."""
    if name not in cells:
        raise InputError(f"{origin} has no {name}")
    try:
        return convert(cells[name])
    except (ValueError, TypeError):
        kind = "a number" if convert is float else "a whole number"
        raise InputError(f"{origin}: its {name} {cells[name]!r} is not {kind}") from None


def _whole_number(value: Any) -> int:
    return int(str(value))


def _read_lmms_eval(
    path: Path, content: Mapping[str, Any], metrics: Mapping[str, str]
) -> ResultFile:
    values, notes = [], []
    for task in content["results"]:
        entries = _get_mapping(content, "results", task)
        numbers = {
            key: float(value)
            for key, value in entries.items()
            if "," in key and _is_number(value) and not _is_not_metric(key)
        }
        if not any("," in key for key in entries):  # a group without a value of its own
            continue
        higher = _get_mapping(content, "higher_is_better", task)
        rising = {
            key: v for key, v in numbers.items() if higher.get(key.split(",")[0]) is not False
        }
        metric = _choose_lmms_metric(rising, metrics.get(task), path.name, task)
        if metric is None:
            notes.append(
                f"{path.name}: {task} is left out, its accuracy is not clear. Choose with --metric "
                f"{task}=NAME, NAME one of: {', '.join(numbers) or 'none is a number'}"
            )
            continue
        if numbers[metric] > 100:
            notes.append(f"{path.name}: {task} is left out, {metric} is not in per cent")
            continue
        counts = _get_mapping(content, "n-samples", task)
        n_samples = counts.get("effective")
        if n_samples != counts.get("original"):
            limit = f"{n_samples} of {counts.get('original')} questions"
            notes.append(f"{path.name}: {task} was evaluated on {limit}")
        values.append(RecordedValue(task, numbers[metric], metric=metric, n_samples=n_samples))
    versions = {"lmms-eval": str(content["git_hash"])} if content.get("git_hash") else {}
    return ResultFile(path, "", tuple(values), "lmms-eval", versions, tuple(notes))


def _get_mapping(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return the object at a path of keys, an empty one if there is none."""
    value: Any = content
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _choose_lmms_metric(
    numbers: Mapping[str, float], wanted: str | None, file: str, task: str
) -> str | None:
    """Return the key of the metric to read, such as ``exact_match,none``; None: not clear."""
    if wanted is not None:
        keys = [key for key in numbers if wanted in (key, key.split(",")[0])]
        if len(keys) != 1:
            raise InputError(
                f"{file}: {task} has {'several' if keys else 'no'} {wanted!r}. Choose one of: "
                f"{', '.join(numbers)}"
            )
        return keys[0]
    named = [key for key in numbers if key.split(",")[0].lower().endswith(_ACCURACY_NAMES)]
    candidates = named or list(numbers)
    return candidates[0] if len(candidates) == 1 else None


def _is_not_metric(key: str) -> bool:
    return key.split(",")[0].endswith(_NOT_METRICS)


def _is_from_kit(content: object) -> bool:
    if isinstance(content, list):
        return all(isinstance(row, Mapping) for row in content)
    return isinstance(content, Mapping)


def _benchmark_of(path: Path, known_sets: Sequence[str]) -> str:
    """Return the benchmark in a name such as ``MODEL_MMBench_DEV_EN_acc.csv``."""
    ending = next(each for each in _VLMEVALKIT_ENDINGS if path.stem.endswith(each))
    stem = path.stem.removesuffix(ending)
    named = [name for name in known_sets if stem == name or stem.endswith(f"_{name}")]
    models = [
        folder.name for folder in path.resolve().parents if stem.startswith(f"{folder.name}_")
    ]
    if named:
        return max(named, key=len)
    if models:
        return stem.removeprefix(f"{max(models, key=len)}_")
    raise InputError(
        f"{path.name}: the name of the benchmark is not clear, because the file is not in the "
        "folder of its model. Pass it with --benchmark"
    )


def _read_vlmevalkit(
    path: Path, content: Any, benchmark: str, wanted: str | None, unit: Unit
) -> ResultFile:
    """Read the overall value; ``wanted`` is a column, or a row and a column: split=dev|Overall."""
    cells = _flatten(path, content)
    numbers = {key: float(v) for key, v in cells.items() if _is_number(v)}
    if wanted is not None and wanted not in numbers:
        raise InputError(f"{path.name} has no {wanted!r}. Choose one of: {', '.join(numbers)}")
    candidates = [wanted] if wanted is not None else _overall_keys(numbers)
    if len(candidates) != 1:
        raise InputError(
            f"{path.name}: its overall value is not clear. Choose with --metric {benchmark}=NAME, "
            f"NAME one of: {', '.join(numbers)}"
        )
    value = numbers[candidates[0]]
    column = candidates[0].rpartition("|")[2]
    in_column = [number for key, number in numbers.items() if key.rpartition("|")[2] == column]
    if unit == "auto" and 0 < max(in_column) <= 1 < max(numbers.values()):
        raise InputError(
            f"{path.name}: {value:g} may be a share or per cent. Pass --unit share or percent"
        )
    recorded = RecordedValue(benchmark, value, metric=candidates[0])
    return ResultFile(path, "", (recorded,), "VLMEvalKit")


def _flatten(path: Path, content: Any) -> dict[str, Any]:
    """Return the cells of a table or object; of several rows as ``first column=its value|name``."""
    if isinstance(content, Mapping):
        return {
            f"{key}|{name}" if name else str(key): value
            for key, values in content.items()
            for name, value in (values if isinstance(values, Mapping) else {"": values}).items()
        }
    if len(content) == 1:
        return dict(content[0])
    first = next(iter(content[0]), None)
    if len({str(row.get(first)) for row in content if first in row}) < len(content):
        raise InputError(
            f"{path.name} has rows that do not differ in their first column {first!r}. Record its "
            "value in a table with the columns arm, seed, benchmark and value"
        )
    return {
        f"{first}={row[first]}|{name}": value
        for row in content
        for name, value in row.items()
        if name != first
    }


def _overall_keys(numbers: Mapping[str, float]) -> list[str]:
    """Return the keys of the overall value: of the first column that is named for it."""
    for name in _OVERALL:
        keys = [key for key in numbers if key.rpartition("|")[2] == name]
        overall = [key for key in keys if key.rpartition("|")[0].endswith("=Overall")]
        if keys:
            return overall or keys
    return list(numbers) if len(numbers) == 1 else []


def _scale(result: ResultFile, unit: Unit) -> ResultFile:
    """Return the file with accuracies in per cent. Raises InputError for impossible values."""
    accuracies = [each.value for each in result.values if each.measure == "accuracy"]
    # The tasks of lmms-eval have units of their own; elsewhere, a file has one.
    by_value = result.program == "lmms-eval" and unit == "auto"
    n_low = sum(0 < value <= 1 for value in accuracies)
    if unit == "auto" and not by_value and n_low and max(accuracies) > 1:
        raise InputError(
            f"{result.path.name}: {n_low:,} of {len(accuracies):,} values are at most 1, the "
            f"largest is {max(accuracies):g}: state the unit with --unit percent or --unit share"
        )
    is_share = unit == "share" or (unit == "auto" and bool(accuracies) and 0 < max(accuracies) <= 1)
    values, n_shares = [], 0
    for each in result.values:
        if each.measure == "accuracy" and (0 < each.value <= 1 if by_value else is_share):
            each = replace(each, value=each.value * 100)
            n_shares += 1
        limit = 100.0 if each.measure == "accuracy" else math.inf
        if not (math.isfinite(each.value) and 0 <= each.value <= limit):
            raise InputError(
                f"{result.path.name}: {each.value:g} on {each.benchmark} is not "
                + ("an accuracy in per cent" if each.measure == "accuracy" else "a loss")
            )
        values.append(each)
    notes = result.notes
    if n_shares and unit == "auto":
        count = "1 value is" if n_shares == 1 else f"{n_shares} values are"
        notes += (f"{result.path.name}: {count} at most 1 and read as a share, so times 100",)
    return replace(result, values=tuple(values), notes=notes)


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(cast(Any, value)))
    except (TypeError, ValueError):
        return False
