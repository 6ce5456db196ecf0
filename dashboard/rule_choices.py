"""Between the view and a subset's definition: which rule the chosen numbers make, and back.

Pure; the rules themselves, and what they refuse, live in scoring.
"""

from __future__ import annotations

from typing import Any, Final

from dashboard.loaders import Context
from dashboard.state import RuleKind, View
from scoring.selection import Reason, Rule, Treatment, rule_from_dict
from scoring.subsets import SubsetDefinition

UNSAVED: Final = "unsaved"

RULE_NAMES: Final = {
    RuleKind.THRESHOLD: "Threshold",
    RuleKind.TOP_SHARE: "Top share",
    RuleKind.TOP_COUNT: "Top count",
    RuleKind.PAPER: "Paper: top share of each cluster, positive scores only",
    RuleKind.PAPER_CODE: "Paper's code: top share of each cluster",
    RuleKind.RANDOM: "Random share",
}
RULE_MEANINGS: Final = {
    RuleKind.THRESHOLD: "Scores from the lower limit up to, but not including, the upper one.",
    RuleKind.TOP_SHARE: "The highest scores of the whole dataset, as a share of the scored.",
    RuleKind.TOP_COUNT: "The highest scores of the whole dataset, by number.",
    RuleKind.PAPER: "As the paper writes it: drop scores of 0 and less, then keep the highest of "
    "each cluster, up to this share of the cluster's scored samples.",
    RuleKind.PAPER_CODE: "As the paper's script does it: the highest scores of each cluster, at "
    "least one of each, negative ones not left out.",
    RuleKind.RANDOM: "A random part of the scored samples: the control to compare with. The same "
    "seed takes the same samples.",
}
REASON_NAMES: Final = {
    Reason.RULE: "the rule",
    Reason.NOT_POSITIVE: "score of 0 or less (the paper's rule)",
    Reason.REVIEWER: "a decision by hand turned the rule's outcome round",
    Reason.TEXT_ONLY: "text only: the choice for samples without an image",
    Reason.STATUS: "no score: the choice for such samples",
    Reason.BAD_RECORD: "the record could not be understood",
}
PER_CLUSTER: Final = (RuleKind.PAPER, RuleKind.PAPER_CODE)
BY_SHARE: Final = (RuleKind.TOP_SHARE, *PER_CLUSTER, RuleKind.RANDOM)


def limits(view: View, cut: float) -> tuple[float | None, float | None]:
    """The limits of a threshold; with none chosen it stands at the cut."""
    if view.minimum is None and view.maximum is None:
        return cut, None
    return view.minimum, view.maximum


def read_rule(view: View, cut: float) -> Rule:
    """The rule that the view describes. Raises RuleError with what does not fit together."""
    values: dict[str, Any] = {"rule": str(view.rule)}
    if view.rule is RuleKind.THRESHOLD:
        low, high = limits(view, cut)
        values |= {"min": low, "max": high}
    elif view.rule is RuleKind.TOP_COUNT:
        values["count"] = view.count
    else:
        values["share"] = view.share
    if view.rule is RuleKind.RANDOM:
        values["seed"] = view.seed
    return rule_from_dict(values)


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
    rule = definition.rule.to_dict()
    kind = rule.get("rule")
    if kind not in list(RuleKind) or (kind == RuleKind.RANDOM and rule.get("share") is None):
        return None
    changes: dict[str, Any] = {
        "rule": RuleKind(kind),
        "minimum": rule.get("min"),
        "maximum": rule.get("max"),
        "run": definition.run_id,
        "baseline": definition.baseline,
        "clustering": definition.clustering_id,
        "text_only": definition.text_only == "keep",
        "unscored": definition.unscored == "keep",
        "hand": definition.hand_wins,
    }
    for name in ("share", "count", "seed"):
        if rule.get(name) is not None:
            changes[name] = rule[name]
    return changes
