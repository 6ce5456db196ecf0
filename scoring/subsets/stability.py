"""How sure a subset is: would the rule take a sample by the other scores there are?

The mean over an answer's tokens is exact, so there is no error to draw from it. What makes a score
uncertain is the choice of model, run and blind baseline, and the rounding of its dtype. So the rule
is applied to every set of scores at hand (replicates), each many times with the measured noise of
its dtype, and a sample's inclusion probability is the mean over the replicates that score it.
Random numbers come from the row, the draw and the seed, so that the figures replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from scoring.database.connection import Store
from scoring.database.queries.browse import score_column
from scoring.database.values import Scope
from scoring.errors import RuleError
from scoring.precision import noise_of
from scoring.rules import Ablation, Control, RandomShare, Rule, WeightingRule
from scoring.rules.base import check_count, check_seed
from scoring.rules.candidates import STATUSES, Candidates, Floats, Mask
from scoring.rules.ranking import random_numbers
from scoring.samples import Status

DEFAULT_DRAWS = 200
CERTAIN = 0.95
LEAST_COVERAGE = 0.9  # of the samples scored here; rules by rank mean something else on fewer

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Replicate:
    """Other scores of the same samples: of another run (model, template) or blind baseline.

    ``read`` returns them in the order of the candidates, shape (n,), NaN where there is none.
    ``dtype`` is None where it is not known.
    """

    run_id: str
    baseline: str
    dtype: str | None
    read: Callable[[], Floats]


@dataclass(frozen=True, slots=True)
class ReplicateResult:
    """How the subset by a replicate relates to the one by the scores in use, without noise.

    ``coverage``: share of the samples scored here that it scores too. ``overlap``: Jaccard index
    of the two subsets among the samples scored in both; None where it was left out, because it
    scores too few of them.
    """

    run_id: str
    baseline: str
    dtype: str | None
    coverage: float
    overlap: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Stability:
    """Inclusion probabilities of all candidates over the replicates and the noise of their dtypes.

    ``inclusion`` (n,) is NaN without a score; ``taken`` (n,) is what the rule takes as things
    are. ``replicates`` are the other scores, those left out included; ``dtype`` is that of the
    scores in use.
    """

    candidates: Candidates
    taken: Mask
    inclusion: Floats
    n_draws: int
    dtype: str | None = None
    replicates: tuple[ReplicateResult, ...] = ()

    @property
    def n_used(self) -> int:
        """Replicates that were used besides the scores in use."""
        return sum(one.overlap is not None for one in self.replicates)

    @property
    def n_firm(self) -> int:
        """Samples with an inclusion probability of at least 95 %."""
        return int((self.inclusion >= CERTAIN).sum())

    @property
    def n_open(self) -> int:
        """Samples with an inclusion probability between 5 % and 95 %."""
        return int(((self.inclusion > 1 - CERTAIN) & (self.inclusion < CERTAIN)).sum())

    @property
    def overlap(self) -> float:
        """Expected samples in both the subset and that of a draw, over those in either."""
        kept = float(self.inclusion[self.taken].sum())
        entered = float(np.nansum(self.inclusion[~self.taken]))
        either = int(self.taken.sum()) + entered
        return kept / either if either else 1.0

    def by_source(self) -> pd.DataFrame:
        """Index source; columns scored, taken, expected (mean size over the draws), firm, open."""
        found, p = self.candidates, self.inclusion
        open_ones = (p > 1 - CERTAIN) & (p < CERTAIN)

        def count(weights: Floats | Mask) -> Floats:
            n = len(found.sources)
            return np.bincount(found.source, weights, n).astype(np.float64)

        columns = {
            "scored": count(found.scored).astype(np.int64),
            "taken": count(self.taken).astype(np.int64),
            "expected": count(np.nan_to_num(p)),
            "firm": count(p >= CERTAIN).astype(np.int64),
            "open": count(open_ones).astype(np.int64),
        }
        return pd.DataFrame(columns, index=pd.Index(found.sources, name="source"))

    def by_score(self, n_bins: int = 60) -> pd.DataFrame:
        """Inclusion by score, in bins of equal width from the 1st to the 99th percentile.

        The outermost bins also hold what lies beyond. Columns visnec (middle of the bin, nats per
        answer token), samples, inclusion (mean) and low and high (10 % and 90 % of the samples lie
        below), of the bins that hold any.
        """
        scored = np.flatnonzero(self.candidates.scored)
        columns = ["visnec", "samples", "inclusion", "low", "high"]
        if not len(scored):
            return pd.DataFrame({name: np.empty(0) for name in columns})
        score, p = self.candidates.visnec[scored], self.inclusion[scored]
        first = float(np.quantile(score, 0.01, method="lower"))
        last = float(np.quantile(score, 0.99, method="higher"))
        edges = np.linspace(first, last, n_bins + 1)
        code = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, n_bins - 1)
        order = np.lexsort((p, code))
        code, p = code[order], p[order]
        held, starts, sizes = np.unique(code, return_index=True, return_counts=True)
        found = {
            "visnec": ((edges[:-1] + edges[1:]) / 2)[held],
            "samples": sizes,
            "inclusion": np.add.reduceat(p, starts) / sizes,
            "low": p[starts + (0.1 * (sizes - 1)).astype(np.int64)],
            "high": p[starts + np.ceil(0.9 * (sizes - 1)).astype(np.int64)],
        }
        return pd.DataFrame(found, columns=columns)

    def most_open(self, n: int) -> list[int]:
        """Rows of the open samples that are nearest to being as often in as out, at most ``n``."""
        p = self.inclusion
        places = np.flatnonzero((p > 1 - CERTAIN) & (p < CERTAIN))
        nearest = places[np.argsort(np.abs(p[places] - 0.5), kind="stable")][:n]
        return [int(row) for row in self.candidates.row_idx[nearest]]


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

    Decisions and the choices for samples without a score are left out: they do not depend on
    scores. ``n_draws`` are shared out evenly among the scores in use and the replicates; scores
    without a known dtype are used once each, as they are.

    Raises:
        RuleError: For rules that go by something else than the score, and where there is neither
            a replicate nor a known dtype.
    """
    check_count(n_draws, what="The number of draws")
    check_seed(seed)
    if isinstance(rule, (Ablation, Control, RandomShare, WeightingRule)):
        raise RuleError(
            f"stability is about rules that take samples by their scores; {rule} does not"
        )
    taken = rule.select_mask(candidates)
    own = Replicate("", "", dtype, lambda: candidates.visnec)
    each = -(-n_draws // (1 + len(replicates)))
    tell = on_progress or (lambda *_: None)
    total = each * (1 + len(replicates))
    summed, n_sets = np.zeros(len(candidates)), np.zeros(len(candidates), np.int64)
    results = []
    for number, one in enumerate([own, *replicates]):
        other = _scored_by(candidates, one.read())
        coverage = float(other.scored.sum() / max(candidates.scored.sum(), 1))
        used = coverage >= LEAST_COVERAGE
        if used:
            draws = range(each * number, each * (number + 1))
            summed += _share_of_draws(rule, other, one.dtype, draws, seed, lambda n: tell(n, total))
            n_sets += other.scored
        if number:
            overlap = _overlap(taken & other.scored, rule.select_mask(other)) if used else None
            results.append(ReplicateResult(one.run_id, one.baseline, one.dtype, coverage, overlap))
    tell(total, total)
    found = Stability(
        candidates=candidates,
        taken=taken,
        inclusion=np.where(candidates.scored, summed / np.maximum(n_sets, 1), np.nan),
        n_draws=n_draws,
        dtype=dtype,
        replicates=tuple(results),
    )
    if not found.n_used and noise_of(dtype) is None:
        raise RuleError(
            "there is nothing to judge the stability by: these scores came without their dtype, "
            "and no other run or blind baseline scores the same samples; score them with another "
            "--baseline or model"
        )
    return found


def format_basis(found: Stability) -> str:
    """Return what the figures are based on, in words."""
    noise = noise_of(found.dtype)
    rounding = f"the noise of the dtype ({noise})" if noise else "no noise, as the dtype is unknown"
    if not found.n_used:
        return f"{rounding} only: no other run or baseline here scores the same samples"
    sets = "1 other set" if found.n_used == 1 else f"{found.n_used} other sets"
    return f"{sets} of scores and {rounding}"


def read_replicates(store: Store, scope: Scope) -> tuple[str | None, list[Replicate]]:
    """Return the dtype of a scope, and the other scores in the workspace, oldest run first."""
    snapshot = store.snapshot()
    dtypes = {one: noise.dtype if noise else None for one, noise in snapshot.noises.items()}
    others = [
        Replicate(run_id, baseline, dtype, partial(score_column, store, Scope(run_id, baseline)))
        for (run_id, baseline), dtype in dtypes.items()
        if (run_id, baseline) != (scope.run_id, scope.baseline)
    ]
    return dtypes.get((scope.run_id, scope.baseline)), others


def _scored_by(candidates: Candidates, visnec: Floats) -> Candidates:
    """The candidates with other scores; what has none of these counts as pending."""
    lacking = candidates.scored & ~np.isfinite(visnec)
    pending = STATUSES.index(Status.PENDING)
    return replace(
        candidates,
        visnec=np.where(candidates.scored, visnec, np.nan),
        status=np.where(lacking, pending, candidates.status).astype(np.int8),
    )


def _share_of_draws(
    rule: Rule,
    candidates: Candidates,
    dtype: str | None,
    draws: Sequence[int],
    seed: int,
    tell: Callable[[int], None],
) -> Floats:
    """How often the rule takes each candidate, shape (n,), under the noise of a dtype."""
    noise = noise_of(dtype)
    tell(draws[0])
    if noise is None:
        return rule.select_mask(candidates).astype(np.float64)
    counts = np.zeros(len(candidates), np.int64)
    for number in draws:
        tell(number)
        drawn_by = int(random_numbers(np.array([number]), seed)[0] >> np.uint64(1))
        visnec = candidates.visnec + noise.rms * _normal(candidates, drawn_by)
        counts += rule.select_mask(replace(candidates, visnec=visnec))
    return counts / len(draws)


def _overlap(one: Mask, other: Mask) -> float:
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0


def _normal(candidates: Candidates, seed: int) -> Floats:
    """A standard normal number for each row: the quantile of an evenly spread one."""
    from scipy.special import ndtri

    numbers = random_numbers(candidates.row_idx, seed) >> np.uint64(11)
    return np.asarray(ndtri((numbers.astype(np.float64) + 0.5) * 2.0**-53), np.float64)
