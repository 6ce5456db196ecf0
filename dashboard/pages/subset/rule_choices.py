"""Between the view and a subset's definition: which rule the chosen numbers make, and back.

Pure; the rules themselves, and what they refuse, live in scoring. The one decision behind it: a
saved rule is shown again only where the view makes the very same rule of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dashboard.data.context import Context
from dashboard.view.state import ACCOMPANIED, RuleKind, View
from scoring.errors import RuleError
from scoring.rules import (
    Ablation,
    ClusterShare,
    Control,
    PaperCodeTopShare,
    PaperTopShare,
    Rule,
    rule_from_dict,
    rule_options,
)
from scoring.subsets.definitions import SubsetDefinition
from scoring.subsets.selection import Reason, Treatment

UNSAVED: Final = "unsaved"


@dataclass(frozen=True, slots=True)
class Family:
    """Rules that answer one question; the first is what the family begins with."""

    name: str
    meaning: str
    rules: tuple[RuleKind, ...]


FAMILIES: Final = (
    Family(
        "Limits of the score",
        "Each sample is looked at alone: it stays if its score lies between two limits.",
        (RuleKind.THRESHOLD, RuleKind.ANSWER_THRESHOLD),
    ),
    Family(
        "The highest scores",
        "The best of the whole dataset, as many as are wanted.",
        (
            RuleKind.TOP_SHARE,
            RuleKind.TOP_COUNT,
            RuleKind.TOP_TOKENS,
            RuleKind.LENGTH_CORRECTED,
        ),
    ),
    Family(
        "The highest of each group",
        "Clusters or sources each give their best, so that no kind of question is lost.",
        (
            RuleKind.PAPER,
            RuleKind.PAPER_CODE,
            RuleKind.PER_CLUSTER,
            RuleKind.PER_SOURCE,
            RuleKind.BUDGET,
        ),
    ),
    Family(
        "Weights instead of a cut",
        "Every scored sample stays, and counts in training as often as its score says.",
        (RuleKind.WEIGHTS,),
    ),
    Family(
        "Something to compare with",
        "Arms of an experiment: subsets that the scores did not choose, or only one loss did.",
        (RuleKind.RANDOM, RuleKind.ABLATION, RuleKind.CONTROL),
    ),
)
RULE_NAMES: Final = {
    RuleKind.THRESHOLD: "One pair of limits",
    RuleKind.ANSWER_THRESHOLD: "By type of answer",
    RuleKind.TOP_SHARE: "Share",
    RuleKind.TOP_COUNT: "Number",
    RuleKind.TOP_TOKENS: "Answer tokens",
    RuleKind.LENGTH_CORRECTED: "Length-corrected",
    RuleKind.PAPER: "Paper",
    RuleKind.PAPER_CODE: "Paper's code",
    RuleKind.PER_CLUSTER: "Per cluster",
    RuleKind.PER_SOURCE: "Per source",
    RuleKind.BUDGET: "Budget",
    RuleKind.WEIGHTS: "Weights",
    RuleKind.RANDOM: "Random",
    RuleKind.ABLATION: "One loss alone",
    RuleKind.CONTROL: "Same size",
}
RULE_MEANINGS: Final = {
    RuleKind.THRESHOLD: "Scores from the lower limit up to, but not including, the upper one.",
    RuleKind.ANSWER_THRESHOLD: "Limits by type of answer: yes/no and A/B/C/D answers reach lower "
    "scores than free ones. Types without limits of their own follow the common ones.",
    RuleKind.TOP_SHARE: "The highest scores of the whole dataset, as a share of the scored.",
    RuleKind.TOP_COUNT: "The highest scores of the whole dataset, by number.",
    RuleKind.TOP_TOKENS: "The highest scores, as long as their answer tokens together fit the "
    "budget: what training costs.",
    RuleKind.LENGTH_CORRECTED: "The best by their rank among answers of like length: means over "
    "few tokens scatter more, so short answers crowd both ends of the scores.",
    RuleKind.PAPER: "As the paper writes it: drop scores of 0 and less, then keep the highest of "
    "each cluster, up to this share of the cluster's scored samples.",
    RuleKind.PAPER_CODE: "As the paper's script does it: the highest scores of each cluster, at "
    "least one of each, negative ones not left out.",
    RuleKind.PER_CLUSTER: "The highest scores of each cluster, whatever their sign.",
    RuleKind.PER_SOURCE: "The highest scores of each source, whatever their sign.",
    RuleKind.BUDGET: "The highest scores up to a number, with a floor and a ceiling for each "
    "source: first the floors, then the best of all until the number is reached.",
    RuleKind.WEIGHTS: "Weights have mean 1 over the scored samples: a sample of weight 2 counts "
    "twice as often as before.",
    RuleKind.RANDOM: "A random part of the scored samples: the control to compare with. The same "
    "seed takes the same samples.",
    RuleKind.ABLATION: "The best by one of the two losses: what the score adds shows beside it.",
    RuleKind.CONTROL: "As many samples as another rule takes, by another order: the fair arm of a "
    "comparison. The numbers of that other rule are set here too.",
}
REASON_NAMES: Final = {
    Reason.RULE: "the rule",
    Reason.NOT_POSITIVE: "score of 0 or less (the paper's rule)",
    Reason.REVIEWER: "a decision by hand turned the rule's outcome round",
    Reason.TEXT_ONLY: "text only: the choice for samples without an image",
    Reason.STATUS: "no score: the choice for such samples",
    Reason.BAD_RECORD: "the record could not be understood",
    Reason.NO_TURN: "an export by turns left none of its answers",
}
BY_SHARE: Final = tuple(kind for kind in RuleKind if "share" in rule_options(kind))
AT_LEAST: Final = tuple(kind for kind in RuleKind if "at_least" in rule_options(kind))
_BY_FIELD: Final = {
    RuleKind.ABLATION: "loss",
    RuleKind.CONTROL: "arm",
    RuleKind.WEIGHTS: "weigh",
}
_FIELDS: Final = {"min": "minimum", "max": "maximum"}  # options whose field has another name


def family_of(kind: RuleKind) -> Family:
    """The family that a rule belongs to."""
    return next(family for family in FAMILIES if kind in family.rules)


def limits(view: View, cut: float) -> tuple[float | None, float | None]:
    """The limits of a threshold; with none chosen it stands at the cut."""
    if view.minimum is None and view.maximum is None:
        return cut, None
    return view.minimum, view.maximum


def read_rule(view: View, cut: float) -> Rule:
    """The rule that the view describes. Raises RuleError with what does not fit together."""
    kind = view.rule
    values: dict[str, Any] = {"rule": str(kind)}
    for option in rule_options(kind):
        values[option] = getattr(view, _field(kind, option), None)
    if kind in (RuleKind.THRESHOLD, RuleKind.ANSWER_THRESHOLD):
        values["min"], values["max"] = limits(view, cut)
    if kind is RuleKind.RANDOM:
        values["share" if view.by_count else "count"] = None
    if kind is RuleKind.WEIGHTS and view.max_weight == 0:
        values["max_weight"] = None
    if kind is RuleKind.CONTROL:
        values["of"] = read_rule(replace(view, rule=view.of), cut).to_dict()
    if values.get("per", "") is None:
        del values["per"]
    return rule_from_dict(values)


def _field(kind: RuleKind, option: str) -> str:
    """The field of the view that holds an option of a rule."""
    if option == "by":
        return _BY_FIELD[kind]
    if option == "limits":
        return "answer_limits" if kind is RuleKind.ANSWER_THRESHOLD else "source_limits"
    return _FIELDS.get(option, option)


def uses_clusters(rule: Rule) -> bool:
    """Whether what a rule takes depends on the clustering."""
    if isinstance(rule, Control):
        return rule.per == "cluster" or uses_clusters(rule.of)
    if isinstance(rule, Ablation):
        return rule.per == "cluster"
    return isinstance(rule, ClusterShare | PaperTopShare | PaperCodeTopShare)


def read_definition(context: Context, view: View, name: str = UNSAVED) -> SubsetDefinition:
    """The subset that the view describes. Raises RuleError, and InputError for a bad name."""
    scope = context.scope
    return SubsetDefinition(
        name=name,
        rule=read_rule(view, view.threshold(context.workspace.bands)),
        run_id=scope.run_id,
        baseline=scope.baseline,
        clustering_id=scope.clustering_id,
        text_only=_treatment(view.text_only),
        unscored=_treatment(view.unscored),
        hand_wins=view.hand,
    )


def _treatment(kept: bool) -> Treatment:
    return "keep" if kept else "drop"


def view_changes(definition: SubsetDefinition) -> dict[str, Any] | None:
    """The changes of the view that show a saved subset again; None where this page has no
    controls for its rule."""
    changes = _rule_changes(definition.rule.to_dict())
    if changes is None:
        return None
    try:
        again = read_rule(replace(View(), **changes), cut=0.0)
    except RuleError:
        return None
    if again != definition.rule:
        return None
    return changes | {
        "run": definition.run_id,
        "baseline": definition.baseline,
        "clustering": definition.clustering_id,
        "text_only": definition.text_only == "keep",
        "unscored": definition.unscored == "keep",
        "hand": definition.hand_wins,
    }


def _rule_changes(rule: Mapping[str, Any]) -> dict[str, Any] | None:
    """The changes for the rule alone; a control brings those of the rule that it accompanies."""
    if rule["rule"] not in list(RuleKind):
        return None
    kind = RuleKind(rule["rule"])
    changes: dict[str, Any] = {}
    if kind is RuleKind.CONTROL:
        inner = _rule_changes(rule["of"])
        if inner is None or inner["rule"] not in ACCOMPANIED:
            return None
        changes = inner | {"of": inner["rule"]}
    for option, value in rule.items():
        if option in ("rule", "of"):
            continue
        if option == "limits":
            value = tuple(tuple(one) for one in value)
        if value is not None or option in ("min", "max", "ceiling"):
            changes[_field(kind, option)] = value
    if kind is RuleKind.RANDOM:
        changes["by_count"] = rule["share"] is None
    if kind is RuleKind.WEIGHTS:
        changes["max_weight"] = rule["max_weight"] or 0.0
    return changes | {"rule": kind}
