"""Saved subsets and what a definition comes to now.

The columns that rules look at are read once per set of scores and kept, so that a change of the
rule costs only the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.data.cache import Answers
from dashboard.data.context import Context, cached_query
from dashboard.data.facts import read_current_clusterings
from dashboard.data.reviews import read_latest_decisions
from scoring.database.queries.browse import read_candidates
from scoring.database.queries.overview import score_noise
from scoring.database.values import Scope
from scoring.exports.manifest import Manifest
from scoring.exports.manifest_diff import diff_manifests, resolve_manifest
from scoring.reviews.resolution import majority_decisions
from scoring.rules.candidates import ANSWER_KINDS, STATUSES, Candidates, Ints
from scoring.samples import Status
from scoring.subsets.comparison import SubsetDiff, compare_subsets
from scoring.subsets.definitions import (
    ResolvedSubset,
    SubsetDefinition,
    apply_definition,
    read_overlaps,
)
from scoring.subsets.near_threshold import format_near_threshold
from scoring.subsets.stability import (
    ReplicateResult,
    format_basis,
    inclusion_probabilities,
    read_replicates,
)
from scoring.subsets.weights import effective_share, repeat_counts

_CANDIDATES: Final = Answers(2)  # each holds columns of the whole dataset
_OUTCOMES: Final = Answers(2)
_DIFFS: Final = Answers(2)
_STABILITIES: Final = Answers(16)
_OVERLAPS: Final = Answers(16)
_MAX_REPEATS: Final = 5
_N_DOUBTFUL: Final = 21

T = TypeVar("T")
OnProgress = Callable[[int, int], None]


def read_subset_outcome(context: Context, definition: SubsetDefinition) -> ResolvedSubset:
    """What a definition comes to now. Raises RuleError, and InputError for scores not there."""

    def read() -> ResolvedSubset:
        found = _candidates(context, definition.scope)
        return apply_definition(definition, found, read_latest_decisions(context.workspace))

    return cached_query(
        _of_definition(context), "outcome", read, *_deciding(definition), answers=_OUTCOMES
    )


def describe_near_threshold(context: Context, outcome: ResolvedSubset) -> str | None:
    """How many scores are within the noise of the rule's threshold, in words."""
    definition = outcome.definition
    noise = score_noise(context.store, definition.scope)
    return cached_query(
        _of_definition(context),
        "near",
        lambda: format_near_threshold(definition.rule, outcome.candidates, noise),
        *_deciding(definition),
    )


def read_subset_size(context: Context, definition: SubsetDefinition) -> tuple[int, int]:
    """How many samples a definition takes now, and of how many; kept far longer than outcomes."""

    def read() -> tuple[int, int]:
        outcome = read_subset_outcome(context, definition)
        return len(outcome.subset.selected), len(outcome.candidates)

    return cached_query(_of_definition(context), "size", read, *_deciding(definition))


def _candidates(context: Context, scope: Scope) -> Candidates:
    store = context.store
    key = (context.workspace.root, store.generation, scope)
    return _CANDIDATES.get(key, lambda: read_candidates(store, scope))


def _of_definition(context: Context) -> Context:
    """The same, whatever else the view shows: a definition says itself what it is about."""
    return replace(context.everything(), scope=Scope("", ""), bands=context.workspace.bands)


def _deciding(definition: SubsetDefinition) -> tuple[object, ...]:
    """All of a definition that decides its outcome, as a key."""
    rule = tuple(sorted((key, repr(value)) for key, value in definition.rule.to_dict().items()))
    choices = (definition.text_only, definition.unscored, definition.hand_wins)
    return rule, choices, definition.scope


# ---- what there is to choose from ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CandidateCounts:
    """Samples by status, scored ones by source and by type of answer, and verdicts."""

    by_status: Mapping[Status, int]
    by_source: Mapping[str, int]
    by_kind: Mapping[str, int]
    n_verdicts: int


def read_candidate_counts(context: Context) -> CandidateCounts:
    """How many samples of each sort a rule can choose from."""

    def read() -> CandidateCounts:
        found = _candidates(context, context.scope)
        scored = found.scored
        return CandidateCounts(
            _counted(found.status, list(STATUSES)),
            _counted(found.source[scored], list(found.sources)),
            _counted(found.answer_kind[scored], list(ANSWER_KINDS)),
            len(majority_decisions(read_latest_decisions(context.workspace))),
        )

    return cached_query(context, "candidate counts", read)


def _counted(codes: NDArray[Any], names: Sequence[T]) -> dict[T, int]:
    counts = np.bincount(codes, minlength=len(names)).tolist()
    return dict(zip(names, counts, strict=True))


# ---- weights -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """What weights come to; ``repeats[n]`` are the samples that an epoch as long as the weights
    together shows n times, the last one those shown as often or more often."""

    effective_share: float
    lowest: float
    highest: float
    repeats: tuple[int, ...]
    epoch: int


def read_weight_facts(context: Context, outcome: ResolvedSubset) -> WeightFacts | None:
    """How uneven the weights of a subset are; None where it has none, or nothing above 0."""

    def read() -> WeightFacts | None:
        subset = outcome.subset
        if subset.weights is None or not subset.kept.any():
            return None
        some = subset.weights[subset.kept]
        counts = repeat_counts(subset.row_idx, subset.weights)[subset.kept]
        repeats = np.bincount(np.minimum(counts, _MAX_REPEATS), minlength=_MAX_REPEATS + 1)
        return WeightFacts(
            effective_share(subset.weights),
            float(some.min()),
            float(some.max()),
            tuple(int(n) for n in repeats),
            int(counts.sum()),
        )

    return cached_query(_of_definition(context), "weights", read, *_deciding(outcome.definition))


# ---- two subsets, several clusterings ------------------------------------------------------------


def read_subset_diff(context: Context, a: SubsetDefinition, b: SubsetDefinition) -> SubsetDiff:
    """What two subsets have in common. Raises RuleError and InputError as the outcomes do."""

    def read() -> SubsetDiff:
        one, other = read_subset_outcome(context, a), read_subset_outcome(context, b)
        return compare_subsets(one.subset, other.subset, one.candidates)

    return cached_query(
        _of_definition(context), "diff", read, *_deciding(a), *_deciding(b), answers=_DIFFS
    )


@dataclass(frozen=True, slots=True, eq=False)
class ExportDiff:
    """What two exports differ in: facts of their manifests (name, in a, in b), and samples."""

    facts: tuple[tuple[str, Any, Any], ...]
    samples: SubsetDiff


def read_export_diff(context: Context, a: Manifest, b: Manifest) -> ExportDiff:
    """Chooses the samples of both again; takes a while where the database is newer than they are.

    Raises InputError where the workspace cannot give them any more.
    """
    one, other = (resolve_manifest(context.workspace, context.store, each) for each in (a, b))
    samples = compare_subsets(one.subset, other.subset, one.candidates)
    return ExportDiff(tuple(diff_manifests(a, b)), samples)


def read_best_rows(context: Context, scope: Scope, rows: Ints, n: int) -> list[int]:
    """The rows with the highest scores among some, at most ``n``; those without a score last."""
    score = _candidates(context, scope).visnec[rows]
    score = np.where(np.isnan(score), -np.inf, score)
    if len(rows) > n:
        limit = -np.partition(-score, n - 1)[n - 1]
        some = score >= limit
        rows, score = rows[some], score[some]
    return [int(row) for row in rows[np.argsort(-score, kind="stable")][:n]]


def read_clustering_overlaps(context: Context, definition: SubsetDefinition) -> pd.DataFrame:
    """How much a subset depends on the clustering: columns a, b, n_a, n_b, both, jaccard."""
    names = tuple(read_current_clusterings(context.store)["clustering_id"])
    return cached_query(
        _of_definition(context),
        "overlaps",
        lambda: read_overlaps(context.workspace, context.store, definition, names),
        names,
        *_deciding(definition),
        answers=_OVERLAPS,
    )


# ---- stability -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StabilityFacts:
    """How sure a subset is, made small enough to be kept.

    ``by_score`` has the columns visnec, inclusion, low, high and samples of
    :meth:`scoring.subsets.stability.Stability.by_score`; ``basis`` is what the figures are based
    on, in words; ``doubtful`` are rows that are as often
    in as out.
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
    doubtful: tuple[int, ...]


def read_known_stability(
    context: Context, definition: SubsetDefinition, n_draws: int
) -> StabilityFacts | None:
    """What was worked out before, or None."""
    found = _STABILITIES.known(_stability_key(context, definition, n_draws))
    return found if isinstance(found, StabilityFacts) else None


def read_stability(
    context: Context,
    definition: SubsetDefinition,
    n_draws: int,
    on_progress: OnProgress | None = None,
) -> StabilityFacts:
    """How sure the rule's part of a subset is; takes a while. Raises RuleError."""

    def read() -> StabilityFacts:
        found = _candidates(context, definition.scope)
        dtype, others = read_replicates(context.store, definition.scope)
        one = inclusion_probabilities(
            definition.rule, found, dtype, others, n_draws, on_progress=on_progress
        )
        return StabilityFacts(
            n_taken=int(one.selected.sum()),
            n_firm=one.n_firm,
            n_open=one.n_open,
            overlap=one.overlap,
            n_draws=n_draws,
            n_used=one.n_used,
            basis=format_basis(one),
            replicates=one.replicates,
            by_score=one.by_score(),
            by_source=one.by_source(),
            doubtful=tuple(one.most_open(_N_DOUBTFUL)),
        )

    return _STABILITIES.get(_stability_key(context, definition, n_draws), read)


def _stability_key(
    context: Context, definition: SubsetDefinition, n_draws: int
) -> tuple[object, ...]:
    where = (context.workspace.root, context.store.generation)
    return (*where, str(definition.rule), definition.scope, n_draws)
