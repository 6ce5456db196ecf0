"""In what the trainings of a trial differ apart from their arm and seed, as notes of its report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from scoring.trials.results import SetResult, UnitResult


def describe_questions(used: Mapping[str, Mapping[str, SetResult]]) -> Iterator[str]:
    """Yield a note for each evaluation set of which questions were left out."""
    for name, by_training in used.items():
        trainings: defaultdict[int, list[str]] = defaultdict(list)
        for training, each in by_training.items():
            if each.n_samples is not None:
                trainings[each.n_samples].append(training)
        n_skipped = max(each.n_skipped for each in by_training.values())
        if len(trainings) > 1:
            counts = _list_groups({f"{n:,}": trainings[n] for n in sorted(trainings)})
            yield f"Trainings are compared on different questions of {name}: {counts}"
        elif n_skipped:
            yield f"The model cannot read {n_skipped:,} questions of {name}; they are left out"


def describe_versions(results: Sequence[UnitResult]) -> Iterator[str]:
    """Yield a note for each package, or other part, that differs between the trainings here."""
    trainings: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for result in results:
        for name, version in result.versions.items() if not result.recorded_from else ():
            training = f"{result.arm} seed {result.seed}"
            trainings[name].setdefault(version, []).append(training)
    for name, by_version in sorted(trainings.items()):
        if len(by_version) > 1:
            groups = _list_groups(dict(sorted(by_version.items())))
            yield f"Trainings had different versions of {name}: {groups}"


def _list_groups(trainings: Mapping[str, Sequence[str]]) -> str:
    """Return values with the trainings that have them, or their number."""
    return ", ".join(
        f"{value} ({', '.join(names) if len(names) <= 3 else f'{len(names):,} trainings'})"
        for value, names in trainings.items()
    )
