"""Selection rules: values that take some of the scored samples, print, save and replay.

The one decision behind it: a share is a share of the *scored* samples, and the number of samples
it gives is ``int(share * n)`` in double precision, as the paper's code computes it. Ties go to
the higher score, then to the lower ``row_idx``. Nothing here depends on the random stream of a
library, so a rule replays on another machine and with another version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, cast

from scoring.errors import RuleError
from scoring.rules.arms import LOSSES, RANKINGS, Ablation, Control, RandomShare, ablation_arms
from scoring.rules.base import Rule, WeightingRule, parse_ranges
from scoring.rules.budget import Budget
from scoring.rules.ranking import Per
from scoring.rules.shares import (
    ClusterShare,
    LengthCorrected,
    PaperCodeTopShare,
    PaperTopShare,
    SourceShare,
    TopCount,
    TopShare,
    TopTokens,
    length_rank,
)
from scoring.rules.thresholds import AnswerThresholds, Threshold
from scoring.rules.weighting import WeightBy, Weights

__all__ = [
    "LOSSES",
    "PAPER_RULES",
    "RANKINGS",
    "RULE_NAMES",
    "Ablation",
    "AnswerThresholds",
    "Budget",
    "ClusterShare",
    "Control",
    "LengthCorrected",
    "PaperCodeTopShare",
    "PaperTopShare",
    "Per",
    "RandomShare",
    "Rule",
    "SourceShare",
    "Threshold",
    "TopCount",
    "TopShare",
    "TopTokens",
    "WeightBy",
    "WeightingRule",
    "Weights",
    "ablation_arms",
    "length_rank",
    "parse_ranges",
    "rule_from_dict",
    "rule_options",
]

_RULES: dict[str, Callable[..., Rule]] = {
    "threshold": Threshold,
    "answer-threshold": AnswerThresholds,
    "top-share": TopShare,
    "top-count": TopCount,
    "top-tokens": TopTokens,
    "per-cluster": ClusterShare,
    "per-source": SourceShare,
    "paper": PaperTopShare,
    "paper-code": PaperCodeTopShare,
    "length-corrected": LengthCorrected,
    "budget": Budget,
    "random": RandomShare,
    "ablation": Ablation,
    "control": Control,
    "weights": Weights,
}
RULE_NAMES: tuple[str, ...] = tuple(_RULES)
PAPER_RULES = (PaperTopShare, PaperCodeTopShare)
"""The paper's selection, as written and as its code does it; over the paper's embeddings only."""


def rule_options(name: str) -> tuple[str, ...]:
    """The options of a rule, in its order. Raises RuleError naming the rules there are."""
    if name not in _RULES:
        raise RuleError(f"no rule {name!r}; there are: {', '.join(RULE_NAMES)}")
    return tuple(field.name for field in fields(cast(Any, _RULES[name])))


def rule_from_dict(value: Mapping[str, Any]) -> Rule:
    """The rule that ``to_dict`` gave; also builds one from a name and some of its options.

    Raises RuleError naming an unknown rule, an option that it does not have, or one it needs.
    """
    name = cast(str, value.get("rule"))
    known = rule_options(name)
    make = cast(Any, _RULES[name])
    options = {key: option for key, option in value.items() if key != "rule"}
    unknown = [key for key in options if key not in known]
    if unknown:
        raise RuleError(
            f"the rule {name} has no {_as_options(unknown)}; it has: {_as_options(known)}"
        )
    missing = [
        field.name
        for field in fields(make)
        if field.default is MISSING and field.name not in options
    ]
    if missing:
        raise RuleError(f"the rule {name} needs {_as_options(missing)}")
    return cast(Rule, make(**options))


def _as_options(names: Iterable[str]) -> str:
    """Fields of a rule as the command's options."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
