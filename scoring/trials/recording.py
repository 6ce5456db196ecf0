"""Record results of trainings done elsewhere, so that the same statistics apply to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from filelock import FileLock

from scoring.errors import InputError
from scoring.trials.arms import Arms, read_arms
from scoring.trials.options import RecordOptions
from scoring.trials.plan import TrialPlan, read_plan, trial_folder
from scoring.trials.recorded_exports import match_export, read_export
from scoring.trials.result_files import RecordedValue, ResultFile, read_result_file
from scoring.trials.results import SetResult, UnitResult, list_result_files, read_result
from scoring.workspace import Workspace, write_json


@dataclass(frozen=True, slots=True)
class RecordReport:
    """What was recorded: the units, and what a person should know about the files."""

    trial: str
    units: tuple[UnitResult, ...]
    notes: tuple[str, ...]


_Key = tuple[str, int, str, str]
"""Arm, seed, evaluation set and measure of a value."""


def record_results(
    workspace: Workspace,
    name: str,
    files: Sequence[Path],
    options: RecordOptions | None = None,
) -> RecordReport:
    """Record the results in files as results of a trial, all of them or none.

    Raises InputError for a file that is not clear, an arm or seed that is not planned, a value
    that is already there, or an export that does not contain the samples of its arm.
    """
    options = options or RecordOptions()
    plan = read_plan(workspace, name)
    folder = trial_folder(workspace, name) / "recorded"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        existing = {path: read_result(path, plan) for path in list_result_files(workspace, plan)}
        units, notes = _collect_units(workspace, plan, files, options, existing)
        _refuse_other_metrics([*existing.values(), *units.values()])
        keys = {key for unit in units.values() for key in _keys(unit)}
        _check_replaced(existing, keys, options.replace)
        for file_name, unit in units.items():
            write_json(folder / file_name, asdict(unit))
        others = {path: unit for path, unit in existing.items() if path.name not in units}
        _remove_values(others, keys)
    notes += _describe_undeclared(plan, units.values())
    return RecordReport(name, tuple(units.values()), tuple(dict.fromkeys(notes)))


def _collect_units(
    workspace: Workspace,
    plan: TrialPlan,
    files: Sequence[Path],
    options: RecordOptions,
    existing: Mapping[Path, UnitResult],
) -> tuple[dict[str, UnitResult], list[str]]:
    """Return the units in files, by the name of the file to write, and notes about them."""
    exports = [read_export(workspace, text) for text in options.exports]
    units: dict[str, UnitResult] = {}
    notes: list[str] = []

    @cache
    def get_arms() -> Arms:
        return read_arms(workspace, plan)

    for path in files:
        file = _read_file(path, plan, options)
        notes += file.notes
        _refuse_known_file(file, existing)
        for (arm, seed), values in _group_by_unit(file.values).items():
            stated = {value.manifest_digest for value in values if value.manifest_digest}
            digest, remarks = match_export(workspace, plan, get_arms, arm, seed, stated, exports)
            notes += remarks
            unit = _make_unit(plan, file, arm, seed, values, digest)
            _refuse_duplicates(unit, units.values())
            units[f"{seed}-{arm}-{file.sha256[:12]}.json"] = unit
    return units, notes


def _read_file(path: Path, plan: TrialPlan, options: RecordOptions) -> ResultFile:
    """Return a file with the arm and the seed of every value. Raises InputError."""
    file = read_result_file(
        path,
        benchmark=options.benchmark,
        metrics=options.metrics,
        unit=options.unit,
        known_sets=[each.name for each in plan.evaluation],
    )
    values = []
    for value in file.values:
        for what, stated, given in (
            ("arm", value.arm, options.arm),
            ("seed", value.seed, options.seed),
        ):
            if stated is None and given is None:
                raise InputError(f"{path.name} does not name the {what}. Pass it with --{what}")
            if None not in (stated, given) and stated != given:
                raise InputError(
                    f"{path.name} names the {what} {stated!r}, but --{what} is {given!r}"
                )
        arm, seed = value.arm or options.arm, options.seed if value.seed is None else value.seed
        plan.arm(str(arm))
        if seed not in plan.seeds:
            seeds = ", ".join(map(str, plan.seeds))
            raise InputError(
                f"{path.name}: seed {seed} is not planned. Seeds of {plan.name}: {seeds}"
            )
        values.append(replace(value, arm=arm, seed=seed))
    return replace(file, values=tuple(values))


def _refuse_known_file(file: ResultFile, existing: Mapping[Path, UnitResult]) -> None:
    """Refuse the file of one training as that of another one."""
    if file.program is None:
        return
    value = file.values[0]
    for path, unit in existing.items():
        is_same = (unit.arm, unit.seed) == (value.arm, value.seed)
        if not is_same and unit.recorded_from and file.sha256 in unit.recorded_from:
            raise InputError(
                f"{file.path.name} is already recorded as {unit.arm} seed {unit.seed}. If that was "
                f"wrong, delete {path}"
            )


def _group_by_unit(
    values: Sequence[RecordedValue],
) -> dict[tuple[str, int], list[RecordedValue]]:
    groups: defaultdict[tuple[str, int], list[RecordedValue]] = defaultdict(list)
    for value in values:
        groups[str(value.arm), int(value.seed or 0)].append(value)
    return dict(groups)


def _make_unit(
    plan: TrialPlan,
    file: ResultFile,
    arm: str,
    seed: int,
    values: Sequence[RecordedValue],
    digest: str | None,
) -> UnitResult:
    sets: dict[str, SetResult] = {}
    for value in values:
        known = sets.get(value.benchmark, SetResult(value.n_samples, {}, metric=value.metric))
        if value.measure in known.values:
            raise InputError(
                f"{file.path.name} has two values of {value.measure} of {arm} seed {seed} on "
                f"{value.benchmark}"
            )
        measures = dict(known.values) | {value.measure: value.value}
        sets[value.benchmark] = replace(known, values=measures)
    return UnitResult(
        plan_digest=plan.digest,
        arm=arm,
        seed=seed,
        sets=sets,
        versions=file.versions,
        recorded_from=f"{file.path.name} sha256:{file.sha256}",
        manifest_digest=digest,
    )


def _keys(unit: UnitResult) -> set[_Key]:
    return {
        (unit.arm, unit.seed, name, measure)
        for name, each in unit.sets.items()
        for measure in each.values
    }


def _describe_keys(keys: set[_Key]) -> str:
    texts = [f"{arm} seed {seed} on {name} ({measure})" for arm, seed, name, measure in keys]
    return ", ".join(sorted(texts)[:5]) + (", ..." if len(texts) > 5 else "")


def _refuse_duplicates(unit: UnitResult, units: Iterable[UnitResult]) -> None:
    for other in units:
        if shared := _keys(unit) & _keys(other):
            raise InputError(
                f"{other.recorded_from} and {unit.recorded_from} both have {_describe_keys(shared)}"
            )


def _refuse_other_metrics(units: Sequence[UnitResult]) -> None:
    """Refuse values of one evaluation set that other programs measured in different ways."""
    metrics: dict[str, str] = {}
    for unit in units:
        for name, each in unit.sets.items():
            if each.metric and metrics.setdefault(name, each.metric) != each.metric:
                raise InputError(
                    f"Values on {name} are of different metrics: {metrics[name]} and {each.metric} "
                    f"({unit.recorded_from})"
                )


def _check_replaced(
    existing: Mapping[Path, UnitResult], keys: set[_Key], is_replacing: bool
) -> None:
    """Refuse values that are already there, unless they were recorded and are to be replaced."""
    trained = {key for unit in existing.values() if not unit.recorded_from for key in _keys(unit)}
    if trained & keys:
        raise InputError(f"Trained here, and not replaced: {_describe_keys(trained & keys)}")
    known = {key for unit in existing.values() for key in _keys(unit)} & keys
    if known and not is_replacing:
        raise InputError(
            f"{_describe_keys(known)}: already recorded. Pass --replace to record these again"
        )


def _remove_values(existing: Mapping[Path, UnitResult], keys: set[_Key]) -> None:
    """Remove values from the files that have them; a file without values is deleted."""
    for path, unit in existing.items():
        if not _keys(unit) & keys:
            continue
        sets = {}
        for name, each in unit.sets.items():
            values = {
                measure: value
                for measure, value in each.values.items()
                if (unit.arm, unit.seed, name, measure) not in keys
            }
            if values:
                sets[name] = replace(each, values=values)
        if sets:
            write_json(path, asdict(replace(unit, sets=sets)))
        else:
            path.unlink()


def _describe_undeclared(plan: TrialPlan, units: Iterable[UnitResult]) -> list[str]:
    declared = {each.name for each in plan.evaluation}
    extra = sorted({name for unit in units for name in unit.sets} - declared)
    if not extra:
        return []
    return [
        f"Not declared in the plan, so without a conclusion: {', '.join(extra)} (declared: "
        f"{', '.join(sorted(declared))})"
    ]
