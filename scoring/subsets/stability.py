"""Stability of a subset: would the rule select the same samples with other available scores?

The mean over an answer's tokens is exact, so it has no sampling error. What makes a score
uncertain is the choice of model, run and blind baseline, and the rounding of its dtype. So the rule
is applied to every available set of scores (replicates), each many times with the measured noise of
its dtype, and a sample's inclusion probability is the mean over the replicates that score it.
Random numbers depend on the row, the draw and the seed alone, so the figures can be reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from scoring.database.connection import Store
from scoring.database.queries.browse import score_column
from scoring.database.values import Scope
from scoring.errors import RuleError
from scoring.precision import UNKNOWN, Noise, noise_of
from scoring.rules import (
    Ablation,
    AnswerThresholds,
    Band,
    ClusterShare,
    Conditions,
    Control,
    DropMisaligned,
    PaperCodeTopShare,
    PaperTopShare,
    RandomShare,
    RankingRule,
    RelativeShare,
    Rule,
    SourceShare,
    Threshold,
    TopCount,
    TopShare,
    TopTokens,
    Weights,
)
from scoring.rules.base import check_count, check_seed
from scoring.rules.candidates import ANSWER_KINDS, STATUSES, Candidates, Floats, Mask
from scoring.rules.ranking import random_numbers
from scoring.samples import Status
from scoring.subsets.comparison import jaccard_index

DEFAULT_DRAWS = 200
CERTAIN = 0.95
MIN_COVERAGE = 0.9  # of the samples scored here; rules by rank mean something else on fewer
_BY_LIMITS = (Threshold, AnswerThresholds, Band)
_BY_CLUSTER = (ClusterShare, PaperTopShare, PaperCodeTopShare)
_BY_RANK = (TopShare, TopCount, TopTokens, SourceShare, *_BY_CLUSTER)

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Replicate:
    """Other scores of the same samples, from another run (model, template) or blind baseline.

    ``read`` returns them in the order of the candidates, shape (n,), NaN where missing. ``dtype``
    is None if unknown.
    """

    run_id: str
    baseline: str
    dtype: str | None
    read: Callable[[], Floats]


@dataclass(frozen=True, slots=True)
class ReplicateResult:
    """How a replicate's subset relates to the subset by the scores in use, without noise.

    ``coverage``: share of the scored samples that the replicate scores too. ``overlap``: Jaccard
    index of the two subsets among the samples scored in both; None if the replicate was left out
    because its coverage is too low.
    """

    run_id: str
    baseline: str
    dtype: str | None
    coverage: float
    overlap: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Stability:
    """Inclusion probabilities of all candidates over the replicates and the noise of their dtypes.

    ``inclusion`` (n,) is NaN without a score; ``selected`` (n,) is what the rule selects by the
    scores in use, which have ``dtype``. ``replicates`` are the other scores, including those left
    out.
    """

    candidates: Candidates
    selected: Mask
    inclusion: Floats
    n_draws: int
    dtype: str | None = None
    replicates: tuple[ReplicateResult, ...] = ()

    @property
    def n_used(self) -> int:
        """Number of replicates used in addition to the scores in use."""
        return sum(result.overlap is not None for result in self.replicates)

    @property
    def n_firm(self) -> int:
        """Number of samples with an inclusion probability of at least 95 %."""
        return int((self.inclusion >= CERTAIN).sum())

    @property
    def n_open(self) -> int:
        """Number of samples with an inclusion probability between 5 % and 95 %."""
        return int(self._is_open().sum())

    @property
    def overlap(self) -> float:
        """Expected samples in both the subset and that of a draw, over those in either."""
        kept = float(self.inclusion[self.selected].sum())
        entered = float(np.nansum(self.inclusion[~self.selected]))
        either = int(self.selected.sum()) + entered
        return kept / either if either else 1.0

    def by_source(self) -> pd.DataFrame:
        """Count per source: scored, taken, expected (mean size over the draws), firm and open."""
        candidates = self.candidates
        columns = {
            "scored": candidates.eligible.astype(np.int64),
            "taken": self.selected.astype(np.int64),
            "expected": np.nan_to_num(self.inclusion),
            "firm": (self.inclusion >= CERTAIN).astype(np.int64),
            "open": self._is_open().astype(np.int64),
        }
        n = len(candidates.sources)
        sums = {
            name: np.bincount(candidates.source, values, n).astype(values.dtype)
            for name, values in columns.items()
        }
        return pd.DataFrame(sums, index=pd.Index(candidates.sources, name="source"))

    def by_score(self, n_bins: int = 60) -> pd.DataFrame:
        """Return inclusion by score, in bins of equal width from the 1st to the 99th percentile.

        The outermost bins include everything beyond them; empty bins are left out. Columns: visnec
        (middle of the bin, nats per answer token), samples, inclusion (mean), low and high (10th
        and 90th percentile of the inclusion).
        """
        scored = np.flatnonzero(self.candidates.eligible)
        columns = ["visnec", "samples", "inclusion", "low", "high"]
        if not len(scored):
            return pd.DataFrame({name: np.empty(0) for name in columns})
        score, inclusion = self.candidates.visnec[scored], self.inclusion[scored]
        first = float(np.quantile(score, 0.01, method="lower"))
        last = float(np.quantile(score, 0.99, method="higher"))
        edges = np.linspace(first, last, n_bins + 1)
        code = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, n_bins - 1)
        order = np.lexsort((inclusion, code))
        code, inclusion = code[order], inclusion[order]
        bins, starts, sizes = np.unique(code, return_index=True, return_counts=True)
        values = {
            "visnec": ((edges[:-1] + edges[1:]) / 2)[bins],
            "samples": sizes,
            "inclusion": np.add.reduceat(inclusion, starts) / sizes,
            "low": inclusion[starts + (0.1 * (sizes - 1)).astype(np.int64)],
            "high": inclusion[starts + np.ceil(0.9 * (sizes - 1)).astype(np.int64)],
        }
        return pd.DataFrame(values, columns=columns)

    def most_open(self, n: int) -> list[int]:
        """Return the rows of up to ``n`` open samples whose inclusion is closest to 50 %."""
        positions = np.flatnonzero(self._is_open())
        distance = np.abs(self.inclusion[positions] - 0.5)
        nearest = positions[np.argsort(distance, kind="stable")][:n]
        return [int(row) for row in self.candidates.row_idx[nearest]]

    def _is_open(self) -> Mask:
        return (self.inclusion > 1 - CERTAIN) & (self.inclusion < CERTAIN)


def inclusion_probabilities(
    rule: Rule,
    candidates: Candidates,
    dtype: str | None = None,
    replicates: Sequence[Replicate] = (),
    n_draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Stability:
    """Apply the rule to all scores of the candidates, with the noise of their dtypes.

    Decisions and the treatments of samples without a score are left out: they do not depend on
    scores. ``n_draws`` are divided evenly among the scores in use and the replicates; scores
    without a known dtype are used once each, without noise.

    Raises RuleError for rules that do not select by the score alone, and if there is neither a
    replicate nor a known dtype.
    """
    check_count(n_draws, what="The number of draws")
    check_seed(seed)
    if isinstance(rule, (Ablation, Conditions, Control, RandomShare, RelativeShare, Weights)):
        raise RuleError(
            f"Stability needs a rule that selects samples by the score alone, got: {rule}"
        )
    selected = rule.select_mask(candidates)
    in_use = Replicate("", "", dtype, lambda: candidates.visnec)
    draws_each = -(-n_draws // (1 + len(replicates)))
    total = draws_each * (1 + len(replicates))
    report = on_progress or (lambda *_: None)
    summed, n_sets = np.zeros(len(candidates)), np.zeros(len(candidates), np.int64)
    results = []
    for number, replicate in enumerate([in_use, *replicates]):
        scores = replicate.read()
        missing = candidates.scored & ~np.isfinite(scores)
        other = replace(
            candidates,
            visnec=np.where(candidates.scored, scores, np.nan),
            status=np.where(missing, STATUSES.index(Status.PENDING), candidates.status).astype(
                np.int8
            ),
        )
        coverage = float(other.eligible.sum() / max(candidates.eligible.sum(), 1))
        used = coverage >= MIN_COVERAGE
        if used:
            draws = range(draws_each * number, draws_each * (number + 1))
            summed += _inclusion_over_draws(
                rule, other, replicate.dtype, draws, seed, lambda n: report(n, total)
            )
            n_sets += other.eligible
        if number:
            same = selected & other.eligible
            overlap = jaccard_index(same, rule.select_mask(other)) if used else None
            run_id, baseline = replicate.run_id, replicate.baseline
            results.append(ReplicateResult(run_id, baseline, replicate.dtype, coverage, overlap))
    report(total, total)
    stability = Stability(
        candidates=candidates,
        selected=selected,
        inclusion=np.where(candidates.eligible, summed / np.maximum(n_sets, 1), np.nan),
        n_draws=n_draws,
        dtype=dtype,
        replicates=tuple(results),
    )
    if not stability.n_used and noise_of(dtype) is None:
        raise RuleError(
            "Cannot estimate stability: these scores have no known dtype, and no other run or "
            "blind baseline scores the same samples. Score them with another --baseline or model"
        )
    return stability


def format_basis(stability: Stability) -> str:
    """Return in words what the figures are based on."""
    noise = noise_of(stability.dtype)
    rounding = f"the noise of the dtype ({noise})" if noise else "no noise, as the dtype is unknown"
    if not stability.n_used:
        return f"{rounding} only: no other run or baseline here scores the same samples"
    sets = "1 other set" if stability.n_used == 1 else f"{stability.n_used} other sets"
    return f"{sets} of scores and {rounding}"


def read_replicates(store: Store, scope: Scope) -> tuple[str | None, list[Replicate]]:
    """Return the dtype of a scope, and the other scores in the workspace, oldest run first."""
    dtypes = {key: noise.dtype if noise else None for key, noise in store.snapshot().noises.items()}
    others = [
        Replicate(run_id, baseline, dtype, partial(score_column, store, Scope(run_id, baseline)))
        for (run_id, baseline), dtype in dtypes.items()
        if (run_id, baseline) != (scope.run_id, scope.baseline)
    ]
    return dtypes.get((scope.run_id, scope.baseline)), others


def _inclusion_over_draws(
    rule: Rule,
    candidates: Candidates,
    dtype: str | None,
    draws: Sequence[int],
    seed: int,
    report: Callable[[int], None],
) -> Floats:
    """Return how often the rule selects each candidate, shape (n,), under the noise of a dtype."""
    noise = noise_of(dtype)
    report(draws[0])
    if noise is None:
        return rule.select_mask(candidates).astype(np.float64)
    from scipy.special import ndtri

    counts = np.zeros(len(candidates), np.int64)
    for number in draws:
        report(number)
        draw_seed = int(random_numbers(np.array([number]), seed)[0] >> np.uint64(1))
        numbers = random_numbers(candidates.row_idx, draw_seed) >> np.uint64(11)
        normal = ndtri((numbers.astype(np.float64) + 0.5) * 2.0**-53)  # one per row
        visnec = candidates.visnec + noise.rms * normal
        counts += rule.select_mask(replace(candidates, visnec=visnec))
    return counts / len(draws)


def format_near_threshold(rule: Rule, candidates: Candidates, noise: Noise | None) -> str | None:
    """Return the count in words; None if it is 0, and for rules without a threshold."""
    if isinstance(rule, RankingRule) and rule.rank_by is not None:
        return None
    if noise is None:
        has_threshold = isinstance(rule, (DropMisaligned, *_BY_LIMITS, *_BY_RANK))
        return f"Noise of the scores: {UNKNOWN}" if has_threshold else None
    n = count_near_threshold(rule, candidates, noise)
    if not n:
        return None
    scores = "1 score is" if n == 1 else f"{n:,} scores are"
    return f"{scores} within the noise of the threshold ({noise})"


def count_near_threshold(rule: Rule, candidates: Candidates, noise: Noise) -> int | None:
    """Count the scores within the noise of the rule's threshold, or of any of its limits.

    The threshold of a rule by rank is the lowest score that it selects, in each cluster or source
    if it ranks inside these. None for rules without a threshold.
    """
    if isinstance(rule, DropMisaligned):
        rule = Threshold(min=rule.below)
    if isinstance(rule, _BY_LIMITS):
        own = rule.limits if isinstance(rule, AnswerThresholds) else ()
        by_kind = {kind: (low, high) for kind, low, high in own}
        limits = [by_kind.get(kind, (rule.min, rule.max)) for kind in ANSWER_KINDS]
        ends = np.array(limits, np.float64)[candidates.answer_kind]  # (n, 2), NaN without a limit
        distance = np.fmin.reduce(np.abs(candidates.visnec[:, None] - ends), axis=1)
    elif isinstance(rule, _BY_RANK):
        group = np.zeros(len(candidates), np.int64)
        if isinstance(rule, _BY_CLUSTER):
            group = candidates.cluster_id.astype(np.int64) + 1
        elif isinstance(rule, SourceShare):
            group = candidates.source.astype(np.int64)
        selected = rule.select_mask(candidates)
        lowest = np.full(int(group.max(initial=0)) + 1, math.inf)
        np.minimum.at(lowest, group[selected], candidates.visnec[selected])
        distance = np.abs(candidates.visnec - lowest[group])
    else:
        return None
    return int((candidates.eligible & (distance <= noise.band)).sum())
