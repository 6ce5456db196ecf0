"""Reads about subsets: what a definition selects now, and how sure and how similar subsets are.

The columns that rules use are read once per set of scores, so that changing the rule costs only
the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.data.cache import APP_CACHE
from dashboard.data.context import Context, cached_read
from dashboard.data.reviews import read_latest_decisions
from scoring.database.queries.browse import read_candidates
from scoring.database.queries.column_rows import list_group_columns
from scoring.database.queries.overview import score_noise
from scoring.database.values import Scope
from scoring.exports.manifest import Manifest
from scoring.exports.manifest_differences import diff_manifests
from scoring.exports.verify import resolve_manifest
from scoring.necessity import Bands
from scoring.reviews.resolution import majority_decisions
from scoring.rules.candidates import ANSWER_KINDS, STATUSES, Candidates, Ints
from scoring.rules.mixture import NO_VALUE, Mixture, group_mixture
from scoring.samples import Status
from scoring.subsets.comparison import SubsetDiff, compare_subsets
from scoring.subsets.definitions import (
    ResolvedSubset,
    SubsetDefinition,
    apply_definition,
    read_overlaps,
    read_rule_inputs,
)
from scoring.subsets.rule_inputs import apply_filter, read_rule_columns
from scoring.subsets.selection import effective_share, repeat_counts
from scoring.subsets.stability import (
    ReplicateResult,
    format_basis,
    format_near_threshold,
    inclusion_probabilities,
    read_replicates,
)

_MAX_REPEATS: Final = 5
_N_UNSURE: Final = 21

T = TypeVar("T")
OnProgress = Callable[[int, int], None]


def read_scope_candidates(context: Context, scope: Scope) -> Candidates:
    """Return the columns of all samples with the scores of a scope."""
    store = context.store
    key = (context.workspace.root, store.generation, scope)
    return APP_CACHE.candidates.get(key, lambda: read_candidates(store, scope))


def read_inputs(context: Context, definition: SubsetDefinition) -> Candidates:
    """Return what a definition selects from. Raises InputError for a filter without an answer."""
    scored = read_scope_candidates(context, definition.scope)
    return read_rule_inputs(context.store, definition, scored)


def _drop_view(context: Context) -> Context:
    return replace(context.without_filter(), scope=Scope("", ""), bands=context.workspace.bands)


def _make_key(value: object) -> object:
    """Return what a result depends on; the name of a definition and its time are left out."""
    definition = value.definition if isinstance(value, ResolvedSubset) else value
    if not isinstance(definition, SubsetDefinition):
        return value
    options = sorted((name, repr(option)) for name, option in definition.rule.to_dict().items())
    treatment = definition.text_only, definition.unscored, definition.hand_wins, definition.where
    return tuple(options), treatment, definition.scope


# Results that depend on definitions or their outcomes, not on the rest of the view.
_cached_by_definition = partial(cached_read, reduce=_drop_view, make_key=_make_key)


@_cached_by_definition(cache=APP_CACHE.subset_outcomes)
def read_subset_outcome(context: Context, definition: SubsetDefinition) -> ResolvedSubset:
    """Return what a definition selects now.

    Raises:
        RuleError: If the rule does not apply to these scores.
        InputError: If the scores do not exist.
    """
    candidates = read_inputs(context, definition)
    return apply_definition(definition, candidates, read_latest_decisions(context.workspace))


@_cached_by_definition()
def read_subset_size(context: Context, definition: SubsetDefinition) -> tuple[int, int]:
    """Return the number of selected samples and of candidates; cached far longer than outcomes."""
    outcome = read_subset_outcome(context, definition)
    return len(outcome.subset.selected), len(outcome.candidates)


@_cached_by_definition()
def describe_near_threshold(context: Context, outcome: ResolvedSubset) -> str | None:
    """Return in words how many scores are within the noise of the rule's threshold."""
    noise = score_noise(context.store, outcome.definition.scope)
    return format_near_threshold(outcome.definition.rule, outcome.candidates, noise)


def read_best_rows(context: Context, scope: Scope, rows: Ints, n: int) -> list[int]:
    """Return the ``n`` of these rows with the highest scores; rows without a score come last."""
    scores = read_scope_candidates(context, scope).visnec[rows]
    scores = np.where(np.isnan(scores), -np.inf, scores)
    if len(rows) > n:
        limit = -np.partition(-scores, n - 1)[n - 1]
        high = scores >= limit
        rows, scores = rows[high], scores[high]
    return [int(row) for row in rows[np.argsort(-scores, kind="stable")][:n]]


# ---- candidates ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CandidateCounts:
    """Samples by status, scored samples by source and type of answer, and decided samples."""

    by_status: Mapping[Status, int]
    by_source: Mapping[str, int]
    by_kind: Mapping[str, int]
    n_decided: int


@cached_read()
def read_candidate_counts(context: Context) -> CandidateCounts:
    """Return how many samples of each kind a rule can choose from."""

    def count(codes: NDArray[Any], names: Iterable[T]) -> dict[T, int]:
        listed = list(names)
        return dict(zip(listed, np.bincount(codes, minlength=len(listed)).tolist(), strict=True))

    candidates = read_scope_candidates(context, context.scope)
    scored = candidates.scored
    return CandidateCounts(
        count(candidates.status, STATUSES),
        count(candidates.source[scored], candidates.sources),
        count(candidates.answer_kind[scored], ANSWER_KINDS),
        len(majority_decisions(read_latest_decisions(context.workspace))),
    )


@dataclass(frozen=True, slots=True)
class GroupSize:
    """Scored samples of a group, and their answer tokens."""

    samples: int
    tokens: int


@cached_read(decisions=False)
def read_group_columns(context: Context) -> list[str]:
    """Return the names of the columns that a mixture can group by."""
    return list_group_columns(context.store.snapshot())


@cached_read(decisions=False)
def read_mixture_groups(
    context: Context, per: str, bands: Bands, where: str
) -> dict[str, GroupSize]:
    """Return the groups of a mixture that have scored samples inside the filter, by name.

    ``NO_VALUE`` are the samples without a value in its column. Raises InputError for a column that
    samples cannot be grouped by.
    """
    candidates = read_scope_candidates(context, context.scope)
    rule = Mixture((("", 0.0),), per, count=1)  # of which only the columns are used
    candidates = read_rule_columns(context.store, context.scope, rule, candidates)
    candidates = apply_filter(context.store, context.scope, where, candidates)
    codes, names = group_mixture(candidates, per, bands)
    names = [*names, NO_VALUE]
    codes = codes % len(names)  # -1 is the last
    samples = np.bincount(codes, minlength=len(names))
    tokens = np.bincount(codes, candidates.n_answer_tokens[candidates.eligible], len(names))
    return {
        name: GroupSize(int(samples[i]), int(tokens[i]))
        for i, name in enumerate(names)
        if samples[i]
    }


# ---- weights -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WeightStats:
    """Statistics of a subset's weights.

    ``repeats[n]`` is the number of samples that occur n times in an epoch whose length is the sum
    of the weights; the last entry counts those that occur at least that often.
    """

    effective_share: float
    lowest: float
    highest: float
    repeats: tuple[int, ...]
    epoch: int


@_cached_by_definition()
def read_weight_stats(_: Context, outcome: ResolvedSubset) -> WeightStats | None:
    """Return how uneven a subset's weights are; None without any weight above 0."""
    subset = outcome.subset
    if subset.weights is None or not subset.kept.any():
        return None
    weights = subset.weights[subset.kept]
    counts = repeat_counts(subset.row_idx, subset.weights)[subset.kept]
    repeats = np.bincount(np.minimum(counts, _MAX_REPEATS), minlength=_MAX_REPEATS + 1)
    return WeightStats(
        effective_share(subset.weights),
        float(weights.min()),
        float(weights.max()),
        tuple(repeats.tolist()),
        int(counts.sum()),
    )


# ---- comparisons ---------------------------------------------------------------------------------


@_cached_by_definition(cache=APP_CACHE.subset_diffs)
def read_subset_diff(context: Context, a: SubsetDefinition, b: SubsetDefinition) -> SubsetDiff:
    """Return what two subsets have in common. Raises like :func:`read_subset_outcome`."""
    first, second = read_subset_outcome(context, a), read_subset_outcome(context, b)
    return compare_subsets(first.subset, second.subset, first.candidates)


def read_export_diff(
    context: Context, a: Manifest, b: Manifest
) -> tuple[list[tuple[str, Any, Any]], SubsetDiff]:
    """Return the facts of two manifests that differ (name, in a, in b), and compare the samples.

    They are selected again, which takes a while if the database is newer than the exports.

    Raises:
        InputError: If the workspace can no longer reproduce one of them.
    """
    first, second = (resolve_manifest(context.workspace, context.store, each) for each in (a, b))
    samples = compare_subsets(first.subset, second.subset, first.candidates)
    return diff_manifests(a, b), samples


@_cached_by_definition(cache=APP_CACHE.clustering_overlaps)
def read_clustering_overlaps(
    context: Context, definition: SubsetDefinition, clusterings: tuple[str, ...]
) -> pd.DataFrame:
    """Return how much a subset depends on the clustering: a, b, n_a, n_b, both, jaccard."""
    return read_overlaps(context.workspace, context.store, definition, clusterings)


# ---- stability -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StabilityStats:
    """How sure a subset is, in small tables.

    ``by_score`` has the columns visnec, inclusion, low, high and samples of
    :meth:`scoring.subsets.stability.Stability.by_score`. ``basis`` describes what the figures are
    based on. ``unsure`` are rows that are in about as often as out.
    """

    n_taken: int
    n_firm: int
    n_open: int
    overlap: float
    n_draws: int
    n_used: int
    basis: str
    replicates: tuple[ReplicateResult, ...]
    by_score: pd.DataFrame
    by_source: pd.DataFrame
    unsure: tuple[int, ...]


def read_known_stability(
    context: Context, definition: SubsetDefinition, n_draws: int
) -> StabilityStats | None:
    """Return the stability if it was computed before, or None."""
    stats = APP_CACHE.stabilities.peek(_stability_key(context, definition, n_draws))
    return stats if isinstance(stats, StabilityStats) else None


def read_stability(
    context: Context,
    definition: SubsetDefinition,
    n_draws: int,
    on_progress: OnProgress | None = None,
) -> StabilityStats:
    """Return how sure the rule's part of a subset is; takes a while. Raises RuleError."""

    def compute() -> StabilityStats:
        candidates = read_inputs(context, definition)
        dtype, others = read_replicates(context.store, definition.scope)
        stability = inclusion_probabilities(
            definition.rule, candidates, dtype, others, n_draws, on_progress=on_progress
        )
        return StabilityStats(
            n_taken=int(stability.selected.sum()),
            n_firm=stability.n_firm,
            n_open=stability.n_open,
            overlap=stability.overlap,
            n_draws=n_draws,
            n_used=stability.n_used,
            basis=format_basis(stability),
            replicates=stability.replicates,
            by_score=stability.by_score(),
            by_source=stability.by_source(),
            unsure=tuple(stability.most_open(_N_UNSURE)),
        )

    return APP_CACHE.stabilities.get(_stability_key(context, definition, n_draws), compute)


def _stability_key(
    context: Context, definition: SubsetDefinition, n_draws: int
) -> tuple[object, ...]:
    root, generation = context.workspace.root, context.store.generation
    return root, generation, definition.describe_rule(), definition.scope, n_draws
