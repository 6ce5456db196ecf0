"""The controls of a subset: samples drawn at random, as a fair comparison needs them.

A control replaces the scored samples of a subset. It keeps the text-only and unscored samples that
the subset keeps, and never draws a sample that a person dropped from the subset, so a control
differs from its subset in what the rule chose and in nothing else.

A win over ``random`` may be due to the filter of a rule or to its ranking. ``band`` separates the
two: it draws inside the filter, without the ranking. Rules that rank have one; a rule that takes
all samples between limits, or draws among them at random, ranks nothing and has no such control.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from scoring.errors import InputError
from scoring.necessity import Bands
from scoring.reviews.decision_log import Decision
from scoring.rules import RankingRule, Rule
from scoring.rules.candidates import STATUSES, Candidates, Floats, Ints, Mask
from scoring.rules.ranking import random_numbers, rank_within_groups
from scoring.samples import Status
from scoring.subsets.definitions import ResolvedSubset
from scoring.trials.plan import ControlKind

TRAINABLE = (Status.SCORED, Status.TEXT_ONLY, Status.PENDING)
"""Statuses of samples that a training can use; the others have a fault."""

_RANKED_IN_BAND = (
    *("top-share", "top-count", "top-tokens", "per-cluster", "per-source"),
    *("paper-code", "length-corrected", "budget", "relative"),
)
_BETWEEN_LIMITS = ("threshold", "answer-threshold", "drop-misaligned", "filter")


@dataclass(frozen=True, slots=True, eq=False)
class ArmRows:
    """The samples of an arm by ascending ``row_idx``, with how often each counts (mean 1)."""

    row_idx: Ints
    weights: Floats


def is_trainable(candidates: Candidates) -> Mask:
    """Return which candidates can be trained on, by their status."""
    return np.isin(candidates.status, [STATUSES.index(status) for status in TRAINABLE])


def select_all(candidates: Candidates) -> ArmRows:
    """Return every sample that can be trained on, also those without a score."""
    rows = candidates.row_idx[is_trainable(candidates)]
    return ArmRows(rows, np.ones(len(rows)))


def subset_rows(resolved: ResolvedSubset) -> ArmRows:
    """Return the samples of a subset that can be trained on, with its weights."""
    positions, weights = _kept_positions(resolved)
    return ArmRows(resolved.candidates.row_idx[positions], weights)


def count_untrainable(resolved: ResolvedSubset) -> int:
    """Return how many samples a subset keeps that cannot be trained on."""
    return int((resolved.subset.kept & ~is_trainable(resolved.candidates)).sum())


def draw_control(resolved: ResolvedSubset, kind: ControlKind, bands: Bands, seed: int) -> ArmRows:
    """Draw the control of a subset for one seed. Raises InputError if it has none of that kind.

    The samples of a weighted subset get its weights in random order.
    """
    if kind == "all":
        return select_all(resolved.candidates)
    if (obstacle := find_obstacle(resolved, kind, bands)) is not None:
        raise InputError(obstacle)
    candidates = resolved.candidates
    positions, weights = _kept_positions(resolved)
    is_scored = candidates.scored[positions]
    replaced, carried = positions[is_scored], positions[~is_scored]
    pool = np.flatnonzero(_drawable(resolved, kind, bands))
    salt = hashlib.sha256(f"{resolved.definition.name}\0{kind}\0{seed}".encode()).digest()
    numbers = random_numbers(candidates.row_idx[pool], int.from_bytes(salt[:7]))
    order = pool[np.argsort(numbers, kind="stable")]
    weights_of_drawn = weights[is_scored]
    if kind == "cluster":
        drawn, weights_of_drawn = _match_clusters(candidates, order, replaced, weights_of_drawn)
    elif kind == "tokens":
        drawn = order[: _count_for_tokens(candidates, order, replaced)]
        weights_of_drawn = np.ones(len(drawn))
    else:
        drawn = order[: len(replaced)]
    rows = candidates.row_idx[np.concatenate([drawn, carried])]
    counts = np.concatenate([weights_of_drawn, weights[~is_scored]])
    ascending = np.argsort(rows)
    return ArmRows(rows[ascending], counts[ascending])


def find_obstacle(resolved: ResolvedSubset, kind: ControlKind, bands: Bands) -> str | None:
    """Return why a subset has no control of this kind, None if it has one."""
    name, rule = resolved.definition.name, resolved.definition.rule
    candidates, is_weighted = resolved.candidates, resolved.subset.weights is not None
    if kind == "all":
        return None
    if kind == "band" and _own_filter(rule, candidates, bands) is None:
        return (
            f"Subset {name!r} ({rule.name}) has no control 'band': its rule has no ranking inside "
            "a filter that a random draw could replace"
        )
    if kind == "tokens" and is_weighted:
        return f"Subset {name!r} has no control 'tokens': it weights samples. Use random"
    kept, _ = _kept_positions(resolved)
    scored = kept[candidates.scored[kept]]
    if kind == "cluster" and (candidates.cluster_id[candidates.scored] < 0).any():
        return (
            f"Subset {name!r} has no control 'cluster': scored samples have no cluster. Create "
            "clusters with: visnec cluster"
        )
    if kind == "tokens" and (candidates.n_answer_tokens[candidates.scored] <= 0).any():
        return f"Subset {name!r} has no control 'tokens': imported scores have no answer lengths"
    n_drawable = int(_drawable(resolved, kind, bands).sum())
    if len(scored) > n_drawable or (len(scored) == n_drawable and not is_weighted):
        return (
            f"Subset {name!r} has no control {kind!r}: it keeps {len(scored):,} scored samples, "
            f"and only {n_drawable:,} could be drawn instead"
        )
    return None


def _kept_positions(resolved: ResolvedSubset) -> tuple[Ints, Floats]:
    """Return the positions of the trainable samples of a subset, and their weights of mean 1."""
    subset = resolved.subset
    positions = np.flatnonzero(subset.kept & is_trainable(resolved.candidates))
    if subset.weights is None or not len(positions):
        return positions, np.ones(len(positions))
    weights = subset.weights[positions]
    return positions, weights / weights.mean()


def _drawable(resolved: ResolvedSubset, kind: ControlKind, bands: Bands) -> Mask:
    """Return which samples a control may draw: scored, not dropped by a person, in the filter."""
    candidates = resolved.candidates
    dropped = [row for row, made in resolved.decisions.items() if made is Decision.DROP]
    allowed = candidates.scored & ~np.isin(candidates.row_idx, np.array(dropped, np.int64))
    if kind != "band":
        return allowed
    inside = _own_filter(resolved.definition.rule, candidates, bands)
    return allowed if inside is None else allowed & inside & candidates.eligible


def _own_filter(rule: Rule, candidates: Candidates, bands: Bands) -> Mask | None:
    """Return the samples inside which a rule ranks, None for a rule that has no such filter.

    ``paper`` drops scores of at most 0. Other rankings by score have no filter in their definition;
    a small share of them is taken from the vision-critical band, so that is theirs. A combined
    ranking has the samples that it ranks. Where the
    subset has a filter of its own, ``band`` draws inside both.
    """
    if isinstance(rule, RankingRule) and rule.rank_by is not None:
        ranked = rule.rank(candidates).eligible
        return None if np.array_equal(ranked, candidates.scored) else ranked
    if rule.name == "paper":
        return np.asarray(candidates.visnec > 0)
    if rule.name in _RANKED_IN_BAND:
        return np.asarray(candidates.visnec >= bands.high)
    return rule.select_mask(candidates) if rule.name in _BETWEEN_LIMITS else None


def _match_clusters(
    candidates: Candidates, order: Ints, replaced: Ints, weights: Floats
) -> tuple[Ints, Floats]:
    """Return the first of ``order`` with the clusters of ``replaced``, with weights by cluster."""
    wanted = np.bincount(
        candidates.cluster_id[replaced], minlength=int(candidates.cluster_id.max()) + 1
    )
    cluster = candidates.cluster_id[order]
    rank, _ = rank_within_groups(cluster)
    drawn = order[rank < wanted[cluster]]
    drawn = drawn[np.argsort(candidates.cluster_id[drawn], kind="stable")]
    return drawn, weights[np.argsort(candidates.cluster_id[replaced], kind="stable")]


def _count_for_tokens(candidates: Candidates, order: Ints, replaced: Ints) -> int:
    """Return how many of ``order`` come closest to the answer tokens of ``replaced``."""
    tokens = np.cumsum(candidates.n_answer_tokens[order])
    wanted = int(candidates.n_answer_tokens[replaced].sum())
    return int(np.abs(tokens - wanted).argmin()) + 1
