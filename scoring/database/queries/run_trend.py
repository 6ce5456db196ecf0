"""Several sets of scores, such as those of checkpoints, in a chosen order on the same samples.

All points of a trend are about the same samples: medians about those with a score in every set,
accuracies about those of them that every run with predictions was judged on. Samples that became
vision-critical or stopped are those that the filters of :func:`flip_filter` select.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.conditions import check_scope, compile_query
from scoring.database.connection import Selection, Snapshot
from scoring.database.filters import Filter
from scoring.database.queries.browse import score_column
from scoring.database.queries.compare import other_name
from scoring.database.queries.prediction_correctness import correctness_query, list_models
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.evaluation.accuracy import DEFAULT_MEASURE, RIGHT, UNJUDGED, Correctness
from scoring.necessity import Bands, Category
from scoring.predictions.files import Sight

ALL_SOURCES: Final = "all sources"
CHANGES: Final = ("became", "stopped")  # vision-critical
_ROWS = "SELECT row_idx, source_no::INTEGER AS source FROM matching ORDER BY row_idx"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RunTrend:
    """Scores and accuracies of several ``scopes`` in their order, under a filter.

    ``n_samples`` have a score in all of them. ``by_source`` has a row per source and scope, after
    those of all sources: source, position (of the scope), n (samples), median (of their scores),
    n_seen, seen (accuracy with the image), n_blind, blind (without it). ``n_changes`` samples
    became vision-critical between the first and the last scope, or stopped. ``changes``: those of
    them with the largest differences, the largest first: row_idx, source, change and a score per
    scope (``score_0`` ...), NaN without one.
    """

    scopes: tuple[Scope, ...]
    n_samples: int
    by_source: pd.DataFrame
    n_changes: Mapping[str, int]
    changes: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return the trend as JSON values, without the changed samples."""
        records = self.by_source.astype(object).where(self.by_source.notna(), None)
        return {
            "runs": [other_name(scope) for scope in self.scopes],
            "n_samples": self.n_samples,
            "by_source": records.to_dict("records"),
            **{f"n_{change}": n for change, n in self.n_changes.items()},
        }


def compare_runs(
    selection: Selection, others: Sequence[Scope], max_changes: int | None = None
) -> RunTrend:
    """Compare the scores of a selection with those of other scopes, in this order.

    At most ``max_changes`` samples of each change are listed, by default all of them.
    Raises InputError for a missing scope, for one that is named twice, and without others.
    """
    scopes = (selection.scope, *others)
    names = [other_name(scope) for scope in scopes]
    if len(set(names)) < max(len(names), 2):
        raise InputError(f"Name two or more different runs to compare, got {', '.join(names)}.")
    query = compile_query(selection)
    for scope in others:
        check_scope(query.snapshot, scope)
    key = ("trend", selection.scope, *others, query.key, selection.where.measure, selection.bands)
    key = (*key, max_changes)
    return query.snapshot.cache.get_or_compute(
        key,
        lambda: _compare_scopes(selection, scopes, max_changes),
        lambda trend: int(
            trend.by_source.memory_usage().sum() + trend.changes.memory_usage().sum()
        ),
    )


def change_filter(where: Filter, last: Scope, change: str) -> Filter:
    """Return the filter, on the first scope, for the samples that ``became`` vision-critical in
    the last one, or ``stopped``."""
    critical = (Category.VISION_CRITICAL,)
    others = tuple(category for category in Category if category not in critical)
    before, after = (others, critical) if change == "became" else (critical, others)
    if where.category:
        before = tuple(category for category in before if category in where.category)
    return replace(where, category=before, other=other_name(last), other_category=after)


def _compare_scopes(
    selection: Selection, scopes: tuple[Scope, ...], max_changes: int | None
) -> RunTrend:
    columns = compile_query(selection).fetch_arrays(_ROWS)
    rows, source = columns["row_idx"].astype(np.int64), columns["source"].astype(np.int64)
    scores = [score_column(selection.store, scope)[rows] for scope in scopes]
    snapshot = selection.store.snapshot()
    sources = snapshot.source_names()
    in_all = ~np.isnan(scores).any(axis=0)
    groups = _group_rows(source[in_all], len(sources))
    measured = {
        "median": [_measure(column[in_all], groups, np.median) for column in scores],
        **_measure_accuracies(snapshot, scopes, selection.where.measure, rows[in_all], groups),
    }
    changed = _find_changes(selection.bands, rows, scores[0], scores[-1])
    listed = np.concatenate([positions[:max_changes] for positions in changed.values()])
    changes = pd.DataFrame(
        {
            "row_idx": rows[listed],
            "source": np.array(sources, object)[source[listed]],
            "change": np.repeat(CHANGES, [len(each[:max_changes]) for each in changed.values()]),
            **{f"score_{i}": column[listed] for i, column in enumerate(scores)},
        }
    )
    return RunTrend(
        scopes,
        int(in_all.sum()),
        _list_by_source(sources, groups, measured, len(scopes)),
        {change: len(positions) for change, positions in changed.items()},
        changes,
    )


def _group_rows(source: NDArray[np.int64], n_sources: int) -> list[NDArray[np.int64]]:
    """Return the positions of all rows, then those of each source."""
    order = np.argsort(source, kind="stable")
    ends = np.searchsorted(source[order], np.arange(n_sources + 1))
    return [np.arange(len(source)), *(order[a:b] for a, b in itertools.pairwise(ends))]


def _measure_accuracies(
    snapshot: Snapshot,
    scopes: Sequence[Scope],
    measure: str | None,
    rows: NDArray[np.int64],
    groups: list[NDArray[np.int64]],
) -> dict[str, list[Floats]]:
    """Return the accuracy of each scope by group, with the image and without it, and the number of
    samples that all runs with predictions were judged on."""
    models = {model.name: model for model in list_models(snapshot) if model.own}
    measured: dict[str, list[Floats]] = {}
    for sight in (Sight.SEEN, Sight.BLIND):
        predicting = [
            run_id
            for run_id in dict.fromkeys(scope.run_id for scope in scopes)
            if run_id in models and models[run_id].has_sight(sight)
        ]
        correctness = {
            run_id: _read_correctness(snapshot, run_id, sight, measure or DEFAULT_MEASURE)[rows]
            for run_id in predicting
        }
        in_all = np.ones(len(rows), np.bool_)
        for of_run in correctness.values():
            in_all &= of_run != UNJUDGED
        judged = [group[in_all[group]] for group in groups]
        nothing = np.full(len(groups), np.nan)
        measured[str(sight)] = [
            _measure(correctness[scope.run_id] == RIGHT, judged, np.mean)
            if scope.run_id in correctness
            else nothing
            for scope in scopes
        ]
        counts = np.array([len(group) if correctness else 0 for group in judged], np.float64)
        measured[f"n_{sight}"] = [counts] * len(scopes)
    return measured


def _read_correctness(snapshot: Snapshot, run_id: str, sight: Sight, measure: str) -> Correctness:
    """Return whether a run's predictions are right, by row_idx."""
    n_samples = snapshot.fetch_value("SELECT n_samples FROM build_info")
    column = np.full(n_samples, UNJUDGED, np.int8)
    predicted = snapshot.fetch_arrays(*correctness_query(snapshot, run_id, sight, measure))
    column[predicted["row_idx"].astype(np.int64)] = predicted["is_right"].astype(np.int8)
    return column


def _measure(
    values: NDArray[Any], groups: list[NDArray[np.int64]], measure: Callable[[NDArray[Any]], Any]
) -> Floats:
    """Return a measure of the values of each group, NaN for an empty one."""
    return np.array([measure(values[group]) if len(group) else np.nan for group in groups])


def _list_by_source(
    sources: Sequence[str],
    groups: list[NDArray[np.int64]],
    measured: dict[str, list[Floats]],
    n_scopes: int,
) -> pd.DataFrame:
    """Return a row per group and scope; sources without a sample are left out."""
    counts = [len(group) for group in groups]
    frame = pd.DataFrame(
        {
            "source": np.repeat(np.array([ALL_SOURCES, *sources], object), n_scopes),
            "position": np.tile(np.arange(n_scopes), len(groups)),
            "n": np.repeat(counts, n_scopes),
            **{name: np.stack(columns, axis=1).ravel() for name, columns in measured.items()},
        }
    )
    frame[["n_seen", "n_blind"]] = frame[["n_seen", "n_blind"]].astype(np.int64)
    return frame[(frame["n"] > 0) | (frame["source"] == ALL_SOURCES)].reset_index(drop=True)


def _find_changes(
    bands: Bands, rows: NDArray[np.int64], first: Floats, last: Floats
) -> dict[str, NDArray[np.int64]]:
    """Return the positions of the samples that are vision-critical only in the last scope, or only
    in the first one, the largest difference first."""
    both = ~np.isnan(first) & ~np.isnan(last)
    before, after = first >= bands.high, last >= bands.high
    changed: dict[str, NDArray[np.int64]] = {}
    for change, is_changed in zip(CHANGES, (after & ~before, before & ~after), strict=True):
        positions = np.flatnonzero(both & is_changed)
        difference = np.abs(last[positions] - first[positions])
        changed[change] = positions[np.lexsort((rows[positions], -difference))]
    return changed
