"""Rank by a weighted sum of the score, the losses and imported columns, each on a common scale.

    visnec + 0.5*col:clip - col:length

A term is normalised over the samples that have a value for every term: to a mean of 0 and a
standard deviation of 1 (``z``), or to its rank from 0 to 1 (``rank``). Sums are exactly rounded, so
that a ranking is the same on every machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal, get_args

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import Rule, check_choice
from scoring.rules.candidates import Candidates, Floats, Mask
from scoring.rules.ranking import rank_fractions

Normalise = Literal["z", "rank"]
EXAMPLE = "visnec + 0.5*col:clip - col:length"
_SCORES = ("visnec", "loss_text", "loss_multimodal")
_TERM = re.compile(
    r"\s*([+-]?)\s*(?:((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*)?"
    rf"({'|'.join(_SCORES)}|col:[A-Za-z0-9][A-Za-z0-9._-]*)(?=\s|$)"
)
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Term:
    """A weight and what it multiplies: a score or loss, or ``col:`` and the name of a column."""

    weight: float
    name: str


def parse_combination(text: str) -> tuple[Term, ...]:
    """Parse a weighted sum such as ``visnec + 0.5*col:clip - col:length``. Raises RuleError."""
    terms: dict[str, Term] = {}
    rest = text.rstrip()
    while rest.strip() or not terms:
        match = _TERM.match(rest)
        if match is None or (terms and not match[1]):
            raise RuleError(
                f"Invalid ranking {text!r} at {rest.strip()!r}. Write a sum of "
                f"{', '.join(_SCORES)} and col:NAME with spaces around + and -: {EXAMPLE}"
            )
        sign, weight, name = match.groups()
        value = float(weight or 1)
        if not math.isfinite(value) or value == 0:
            raise RuleError(f"The weight of {name} in {text!r} must not be 0 or infinite")
        if name in terms:
            raise RuleError(f"The ranking {text!r} has {name} twice. Add up its weights")
        terms[name] = Term(-value if sign == "-" else value, name)
        rest = rest[match.end() :]
    return tuple(terms.values())


def format_combination(terms: tuple[Term, ...]) -> str:
    """Return the one written form of a sum; it parses to the same terms."""
    words = []
    for number, term in enumerate(terms):
        sign = "-" if term.weight < 0 else "+" if number else ""
        weight = "" if abs(term.weight) == 1 else f"{abs(term.weight)!r}*".replace(".0*", "*")
        space = " " if number else ""
        words.append(f"{sign}{space}{weight}{term.name}")
    return " ".join(words)


@dataclass(frozen=True, slots=True)
class RankingRule(Rule):
    """A rule that ranks samples by their score, or with ``rank_by`` by a combination.

    A sample without a value for one of its terms is not ranked: the rule drops it, and shares are
    of the ranked samples. ``normalise`` is ``z`` by default.
    """

    rank_by: str | None = field(default=None, kw_only=True)
    normalise: Normalise | None = field(default=None, kw_only=True)

    def list_columns(self) -> tuple[str, ...]:
        """Return the names of the columns that the rule ranks by."""
        names = [term.name for term in parse_combination(self.rank_by)] if self.rank_by else []
        return tuple(name.removeprefix("col:") for name in names if name not in _SCORES)

    def rank(self, candidates: Candidates) -> Candidates:
        """Return the candidates with the combination, if any, in place of the score.

        Samples that are not ranked are not eligible. Raises RuleError where a column was not read.
        """
        if self.rank_by is None:
            return candidates
        terms = parse_combination(self.rank_by)
        values = [_read_term(candidates, term.name) for term in terms]
        ranked = _find_ranked(candidates, values)
        scale = rank_fractions if self.normalise == "rank" else _z_scores
        combined = np.zeros(int(ranked.sum()))
        for term, column in zip(terms, values, strict=True):
            combined += term.weight * scale(column[ranked])
        visnec = candidates.visnec.copy()
        visnec[ranked] = combined
        return replace(candidates, visnec=visnec, inside=ranked)

    def find_unranked(self, candidates: Candidates) -> Mask | None:
        """Return the scored samples that are not ranked; None where all are."""
        if self.rank_by is None:
            return None
        terms = parse_combination(self.rank_by)
        values = [_read_term(candidates, term.name) for term in terms]
        return candidates.eligible & ~_find_ranked(candidates, values)


def check_ranking(rule: RankingRule) -> None:
    """Check the combination of a rule and bring it into its written form. Raises RuleError."""
    if rule.rank_by is None:
        if rule.normalise is not None:
            raise RuleError("--normalise needs --rank-by, the sum whose terms it normalises")
        return
    terms = parse_combination(rule.rank_by)
    object.__setattr__(rule, "rank_by", format_combination(terms))
    object.__setattr__(rule, "normalise", rule.normalise or "z")
    check_choice(rule.normalise, get_args(Normalise), "--normalise")


def _read_term(candidates: Candidates, name: str) -> Floats:
    """Return the values of a term, shape (n,), NaN where missing."""
    if name in _SCORES:
        values: Floats = getattr(candidates, name)
        return values
    column = name.removeprefix("col:")
    if column not in candidates.columns:
        raise RuleError(f"The column {column!r} was not read for this ranking")
    return candidates.columns[column]


def _find_ranked(candidates: Candidates, values: Iterable[Floats]) -> Mask:
    """Return the scored samples that have a value for every term."""
    mask = candidates.eligible
    for column in values:
        mask = mask & np.isfinite(column)
    return mask


def _z_scores(values: Floats) -> Floats:
    """Return values with a mean of 0 and a standard deviation of 1; 0 where all are equal."""
    deviations = values - _sum_exactly(values) / max(len(values), 1)
    spread = math.sqrt(_sum_exactly(np.square(deviations)) / max(len(values), 1))
    is_constant = len(values) == 0 or values.min() == values.max()
    return np.zeros(len(values)) if is_constant or spread == 0 else deviations / spread


def _sum_exactly(values: Floats) -> float:
    """Return the sum, rounded once; the order and the processor do not matter."""
    chunks = (values[start : start + _CHUNK].tolist() for start in range(0, len(values), _CHUNK))
    return math.fsum(chain.from_iterable(chunks))
