"""Rules that select fewer samples than asked for, or leave some to reviewers."""

from __future__ import annotations

from dataclasses import replace

from scoring.rules.base import Rule
from scoring.rules.candidates import Candidates
from scoring.rules.groups import BestOfGroup
from scoring.rules.limits import Band, Budget
from scoring.rules.shares import TopCount, TopTokens


def describe_shortfall(rule: Rule, candidates: Candidates) -> str | None:
    """Return how far a rule stays below the size that it asks for; None if it reaches it.

    Of a rule that leaves groups to reviewers, return how many.
    """
    if isinstance(rule, BestOfGroup) and rule.best == "manual":
        _, number, size = rule.find_groups(candidates)
        n_left = int((size[number] > 1).sum())
        return (
            f"{int((size > 1).sum()):,} groups of {rule.group} are left to reviewers: of their "
            f"{n_left:,} samples only those are in the subset that a decision keeps"
        )
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
