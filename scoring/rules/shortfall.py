"""Rules of a set size that cannot select that many samples."""

from __future__ import annotations

from dataclasses import replace

from scoring.rules.base import Rule
from scoring.rules.candidates import Candidates
from scoring.rules.limits import Band, Budget
from scoring.rules.shares import TopCount, TopTokens


def describe_shortfall(rule: Rule, candidates: Candidates) -> str | None:
    """Return how far a rule stays below the size that it asks for; None if it reaches it."""
    if isinstance(rule, Band | TopTokens) and rule.tokens is not None:
        if isinstance(rule, Band):
            every = replace(rule, tokens=None, count=len(candidates) + 1)
            eligible = every.select_mask(candidates)
        else:
            eligible = rule.rank(candidates).eligible
        n, asked = int(candidates.n_answer_tokens[eligible].sum()), rule.tokens
        option, unit = f"--tokens {rule.tokens}", "answer tokens"
    elif isinstance(rule, Band | TopCount | Budget) and rule.count is not None:
        n, asked = int(rule.select_mask(candidates).sum()), rule.count
        option, unit = f"--count {rule.count}", "samples"
    elif isinstance(rule, Band) and rule.share is not None:
        n = int(rule.select_mask(candidates).sum())
        asked = int(rule.share * candidates.eligible.sum())
        option, unit = f"--share {rule.share:g}", "samples"
    else:
        return None
    if n >= asked:
        return None
    return f"{option} asks for {asked:,} {unit}; the rule can select only {n:,}"
