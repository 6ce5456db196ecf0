"""How sure a subset is: would a sample still be taken, had its answer other tokens like these?

A score is a mean over few answer tokens, so it is known up to a standard error. Redrawing all
scores many times and applying the rule to each gives every sample an inclusion probability. The
one decision behind it: where a run kept its token values they are drawn anew with replacement,
elsewhere a score is drawn from the normal distribution that its sum, count and sum of squares
give. Random numbers come from the row, the draw and the seed, so that the figures replay.

Tokens of one answer differ by more than chance (a word against the end of the turn), and two
tokens tell little of a variance: for short answers the figures err on the side of doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scoring.curation.token_values import TokenDeltas
from scoring.errors import RuleError
from scoring.rules import Ablation, Control, RandomShare, Rule, Weighing
from scoring.rules.base import check_count, check_seed
from scoring.rules.candidates import Candidates, Floats, Mask
from scoring.rules.ranking import random_numbers

DEFAULT_DRAWS = 200
CERTAIN = 0.95
_TOKENS_AT_A_TIME = 4_000_000

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Stability:
    """Inclusion probabilities of all candidates under redrawn scores.

    ``inclusion`` (n,) is NaN without a score; ``taken`` (n,) is what the rule takes as things
    are. ``n_from_tokens`` of the scored samples were redrawn from their token values, the others
    from a normal distribution.
    """

    candidates: Candidates
    taken: Mask
    inclusion: Floats
    n_draws: int
    n_from_tokens: int

    @property
    def n_firm(self) -> int:
        """Samples taken in at least 95 % of the draws."""
        return int((self.inclusion >= CERTAIN).sum())

    @property
    def n_open(self) -> int:
        """Samples that more than 5 % of the draws take and more than 5 % leave."""
        return int(((self.inclusion > 1 - CERTAIN) & (self.inclusion < CERTAIN)).sum())

    @property
    def overlap(self) -> float:
        """Expected samples in both the subset and a redrawn one, over those in either."""
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
    tokens: TokenDeltas | None = None,
    n_draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Stability:
    """Applies the rule to ``n_draws`` redrawn sets of scores and counts who is taken.

    Verdicts and the choices for samples without a score are left out: they do not depend on
    scores. Raises RuleError for rules that go by something else than the score, and for scores
    without standard errors.
    """
    check_count(n_draws, what="a number of draws")
    check_seed(seed)
    if isinstance(rule, (Ablation, Control, RandomShare, Weighing)):
        raise RuleError(
            f"stability is about rules that take samples by their scores; {rule} does not"
        )
    stderr = standard_errors(candidates)
    places, pool = _with_tokens(candidates, tokens)
    counts = np.zeros(len(candidates), np.int64)
    for number in range(n_draws):
        if on_progress:
            on_progress(number, n_draws)
        drawn_by = int(random_numbers(np.array([number]), seed)[0] >> np.uint64(1))
        visnec = candidates.visnec + stderr * _normal(candidates, drawn_by)
        if pool is not None:
            visnec[places] = _redrawn_means(pool, drawn_by)
        counts += rule.take(replace(candidates, visnec=visnec))
    if on_progress:
        on_progress(n_draws, n_draws)
    return Stability(
        candidates=candidates,
        taken=rule.take(candidates),
        inclusion=np.where(candidates.scored, counts / n_draws, np.nan),
        n_draws=n_draws,
        n_from_tokens=len(places),
    )


def standard_errors(candidates: Candidates) -> Floats:
    """Standard errors of the scores, shape (n,), NaN without a score.

    A single token tells nothing of its variance: such a score gets the variance per token that
    all samples with more tokens have together. Raises RuleError where no score tells its own.
    """
    scored, tokens = candidates.scored, candidates.n_answer_tokens
    known = scored & np.isfinite(candidates.visnec_stderr) & (tokens > 1)
    if scored.any() and not known.any():
        raise RuleError(
            "no score of this run has a standard error: they come from elsewhere, or every "
            "answer has one token; stability needs scores of visnec score"
        )
    spread = (candidates.visnec_stderr[known] ** 2 * tokens[known] * (tokens[known] - 1)).sum()
    pooled = spread / max((tokens[known] - 1).sum(), 1)
    missing = np.sqrt(pooled / np.maximum(tokens, 1))
    found = np.where(known, candidates.visnec_stderr, missing)
    return np.where(scored, found, np.nan)


def _normal(candidates: Candidates, seed: int) -> Floats:
    """A standard normal number for each row: the quantile of an evenly spread one."""
    from scipy.special import ndtri

    numbers = random_numbers(candidates.row_idx, seed) >> np.uint64(11)
    return np.asarray(ndtri((numbers.astype(np.float64) + 0.5) * 2.0**-53), np.float64)


def _with_tokens(
    candidates: Candidates, tokens: TokenDeltas | None
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], TokenDeltas | None]:
    """Places of the scored samples whose token values are all there, and these values."""
    nothing = np.empty(0, np.intp)
    if tokens is None or not len(tokens.row_idx):
        return nothing, None
    sizes = np.diff(tokens.offsets)
    place = np.searchsorted(candidates.row_idx, tokens.row_idx)
    place = np.minimum(place, len(candidates) - 1)
    fits = candidates.row_idx[place] == tokens.row_idx
    # One token drawn anew is the same token: such samples stay with the normal distribution.
    fits &= candidates.scored[place] & (sizes == candidates.n_answer_tokens[place]) & (sizes > 1)
    kept = np.repeat(fits, sizes)
    offsets = np.concatenate([[0], np.cumsum(sizes[fits])]).astype(np.int64)
    pool = TokenDeltas(tokens.row_idx[fits], offsets, tokens.values[kept])
    return place[fits], pool if fits.any() else None


def _redrawn_means(pool: TokenDeltas, seed: int) -> Floats:
    """Means over as many tokens as each sample has, drawn with replacement from its own."""
    sizes = np.diff(pool.offsets)
    means = np.empty(len(sizes))
    start = 0
    while start < len(sizes):
        limit = pool.offsets[start] + _TOKENS_AT_A_TIME
        end = max(start + 1, int(np.searchsorted(pool.offsets, limit, side="right")) - 1)
        first, last = int(pool.offsets[start]), int(pool.offsets[end])
        numbers = random_numbers(np.arange(first, last), seed) >> np.uint64(11)
        within = np.repeat(sizes[start:end], sizes[start:end])
        chosen = (numbers.astype(np.float64) * 2.0**-53 * within).astype(np.int64)
        chosen += np.repeat(pool.offsets[start:end], sizes[start:end])
        sums = np.add.reduceat(
            pool.values[chosen].astype(np.float64), pool.offsets[start:end] - first
        )
        means[start:end] = sums / sizes[start:end]
        start = end
    return means
