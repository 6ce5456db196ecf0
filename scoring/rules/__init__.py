"""Selection rules: immutable values that select scored samples, and that print, save and replay.

A share is a share of the *scored* samples, and it gives ``int(share * n)`` samples in double
precision, as in the paper's code. Ties go to the higher score, then to the lower ``row_idx``. No
rule depends on a library's random stream, so a rule replays on another machine and version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, cast

from scoring.errors import RuleError
from scoring.rules.arms import LOSSES, RANKINGS, Ablation, Control, RandomShare, ablation_arms
from scoring.rules.base import Rule, option_fields, parse_ranges
from scoring.rules.combination import RankingRule, parse_combination
from scoring.rules.conditions import Conditions
from scoring.rules.evidence import EVIDENCE_MEANING, EVIDENCE_SECTION, FINDINGS
from scoring.rules.groups import BestOfGroup
from scoring.rules.limits import AnswerThresholds, Band, Budget, DropMisaligned, Threshold
from scoring.rules.mixture import Mixture
from scoring.rules.ranking import Per
from scoring.rules.shares import (
    ClusterShare,
    LengthCorrected,
    PaperCodeTopShare,
    PaperTopShare,
    RelativeShare,
    SourceShare,
    TopCount,
    TopShare,
    TopTokens,
)
from scoring.rules.targets import parse_targets
from scoring.rules.weighting import WeightBy, Weights

__all__ = [
    "LOSSES",
    "PAPER_RULES",
    "RANKINGS",
    "RULE_NAMES",
    "Ablation",
    "AnswerThresholds",
    "Band",
    "BestOfGroup",
    "Budget",
    "ClusterShare",
    "Conditions",
    "Control",
    "DropMisaligned",
    "LengthCorrected",
    "Mixture",
    "PaperCodeTopShare",
    "PaperTopShare",
    "Per",
    "RandomShare",
    "RankingRule",
    "RelativeShare",
    "Rule",
    "SourceShare",
    "Threshold",
    "TopCount",
    "TopShare",
    "TopTokens",
    "WeightBy",
    "Weights",
    "ablation_arms",
    "describe_rules",
    "parse_combination",
    "parse_ranges",
    "parse_targets",
    "rule_from_dict",
    "rule_options",
]

_RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        DropMisaligned,
        Weights,
        Band,
        Threshold,
        AnswerThresholds,
        Conditions,
        BestOfGroup,
        RelativeShare,
        LengthCorrected,
        TopShare,
        TopCount,
        TopTokens,
        Mixture,
        Budget,
        ClusterShare,
        SourceShare,
        PaperTopShare,
        PaperCodeTopShare,
        RandomShare,
        Ablation,
        Control,
    )
}
RULE_NAMES: tuple[str, ...] = tuple(_RULES)
PAPER_RULES = (PaperTopShare, PaperCodeTopShare)
"""The paper's selection as described and as implemented; only over the paper's embeddings."""


def rule_options(name: str) -> tuple[str, ...]:
    """Return the option names of a rule, in order. Raises RuleError listing the known rules."""
    if name not in _RULES:
        raise RuleError(f"Unknown rule {name!r}. Choose one of: {', '.join(RULE_NAMES)}")
    return tuple(field.name for field in option_fields(_RULES[name]))


def rule_from_dict(value: Mapping[str, Any]) -> Rule:
    """Build a rule from the output of ``to_dict``, or from its name and some of its options.

    Raises RuleError for an unknown rule, an unknown option, or a missing one.
    """
    name = cast(str, value.get("rule"))
    known = rule_options(name)
    make = cast(Any, _RULES[name])
    options = {key: option for key, option in value.items() if key != "rule"}
    unknown = [key for key in options if key not in known]
    if unknown:
        raise RuleError(
            f"Rule {name} has no option {_to_flags(unknown)}. Its options: {_to_flags(known)}"
        )
    missing = [
        field.name
        for field in fields(make)
        if field.default is MISSING and field.name not in options
    ]
    if missing:
        raise RuleError(f"Rule {name} needs {_to_flags(missing)}")
    return cast(Rule, make(**options))


def describe_rules() -> str:
    """Return the rules with their options and what was measured, one paragraph per finding."""
    paragraphs = [f"The rule, in the order of the evidence. {EVIDENCE_MEANING}"]
    for finding in FINDINGS:
        names = [f"{name} ({_to_flags(rule_options(name))})" for name in finding.rules]
        paragraphs.append(f"- {', '.join(names)}: {finding.measured}")
    return "\n\n".join([*paragraphs, f"See {EVIDENCE_SECTION}."])


def _to_flags(names: Iterable[str]) -> str:
    """Return field names as command-line options."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
