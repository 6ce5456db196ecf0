"""Converts the choices of the view to a rule and a subset definition, and back.

A saved rule can be opened only if the view converts to exactly that rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dashboard.data.context import Context
from dashboard.data.subsets import GroupSize, read_mixture_groups
from dashboard.view.state import (
    ACCOMPANIED,
    AMOUNTS,
    RuleKind,
    View,
    read_view,
    write_view,
)
from scoring.database.filters import parse_filter
from scoring.errors import RuleError
from scoring.necessity import DEFAULT_BANDS, Bands
from scoring.rules import (
    Ablation,
    Band,
    ClusterShare,
    Control,
    Mixture,
    PaperCodeTopShare,
    PaperTopShare,
    Rule,
    rule_from_dict,
    rule_options,
)
from scoring.rules.mixture import NO_VALUE
from scoring.rules.targets import Targets, spread_targets
from scoring.subsets.definitions import SubsetDefinition
from scoring.subsets.selection import Reason

UNSAVED: Final = "unsaved"
MAX_TARGETS: Final = 300
"""Groups that get a target of their own; all smaller ones share the rest."""


@dataclass(frozen=True, slots=True)
class Family:
    """Rules of one kind; the first is the default."""

    name: str
    meaning: str
    rules: tuple[RuleKind, ...]


FAMILIES: Final = (  # in the order of the evidence, as in scoring.rules.evidence
    Family(
        "Drop misaligned samples",
        "Drop what the image contradicts and keep everything else.",
        (RuleKind.DROP_MISALIGNED,),
    ),
    Family(
        "Weights instead of a threshold",
        "Keep every scored sample and weight it by its score.",
        (RuleKind.WEIGHTS,),
    ),
    Family(
        "Random draw from a band",
        "Keep a random part of the samples whose score is between two limits.",
        (RuleKind.BAND,),
    ),
    Family(
        "Score limits",
        "Keep every sample whose score is between two limits.",
        (RuleKind.THRESHOLD, RuleKind.ANSWER_THRESHOLD),
    ),
    Family(
        "Conditions",
        "Keep every sample that meets conditions on scores, columns and texts.",
        (RuleKind.FILTER,),
    ),
    Family(
        "Best of each group",
        "Keep one of each group of near-duplicates.",
        (RuleKind.BEST_OF_GROUP,),
    ),
    Family(
        "Highest scores",
        "Keep the highest scores of the whole dataset.",
        (
            RuleKind.RELATIVE,
            RuleKind.LENGTH_CORRECTED,
            RuleKind.TOP_SHARE,
            RuleKind.TOP_COUNT,
            RuleKind.TOP_TOKENS,
        ),
    ),
    Family(
        "Mixture of groups",
        "Give each group a share of a budget, with repeats for small groups.",
        (RuleKind.MIXTURE,),
    ),
    Family(
        "Highest scores per group",
        "Keep the highest scores of each cluster or source.",
        (
            RuleKind.BUDGET,
            RuleKind.PER_CLUSTER,
            RuleKind.PER_SOURCE,
            RuleKind.PAPER,
            RuleKind.PAPER_CODE,
        ),
    ),
    Family(
        "Controls",
        "Subsets to compare with, chosen at random or by one loss alone.",
        (RuleKind.RANDOM, RuleKind.ABLATION, RuleKind.CONTROL),
    ),
)
RULE_NAMES: Final = {
    RuleKind.DROP_MISALIGNED: "Drop misaligned",
    RuleKind.WEIGHTS: "Weights",
    RuleKind.BAND: "Random draw",
    RuleKind.THRESHOLD: "Common limits",
    RuleKind.ANSWER_THRESHOLD: "By answer type",
    RuleKind.FILTER: "Conditions",
    RuleKind.BEST_OF_GROUP: "Best of group",
    RuleKind.RELATIVE: "Relative",
    RuleKind.LENGTH_CORRECTED: "Length-corrected",
    RuleKind.TOP_SHARE: "Share",
    RuleKind.TOP_COUNT: "Number",
    RuleKind.TOP_TOKENS: "Answer tokens",
    RuleKind.MIXTURE: "Mixture",
    RuleKind.BUDGET: "Budget",
    RuleKind.PER_CLUSTER: "Per cluster",
    RuleKind.PER_SOURCE: "Per source",
    RuleKind.PAPER: "Paper",
    RuleKind.PAPER_CODE: "Paper's code",
    RuleKind.RANDOM: "Random",
    RuleKind.ABLATION: "One loss",
    RuleKind.CONTROL: "Same size",
}
RULE_MEANINGS: Final = {
    RuleKind.DROP_MISALIGNED: "Every scored sample from this score on. Scores just below 0 often "
    "belong to good samples that do not need the image, hence the default below 0.",
    RuleKind.WEIGHTS: "Weights have mean 1 over the scored samples: a sample of weight 2 counts "
    "twice as often as before.",
    RuleKind.BAND: "A random draw from the scores between the limits. The same seed draws the same "
    "samples, and a larger draw contains a smaller one.",
    RuleKind.THRESHOLD: "Scores from the lower limit up to, but not including, the upper limit.",
    RuleKind.ANSWER_THRESHOLD: "Limits by answer type: yes/no and A/B/C/D answers reach lower "
    "scores than free-form ones. Types without their own limits use the common ones.",
    RuleKind.FILTER: "Each line is a filter, such as visnec>=0.25 col:clip>=0.3. A scored sample "
    "has to match all lines of the first field and at least one of the second.",
    RuleKind.BEST_OF_GROUP: "One scored sample of each group, and all that are in no group. Ties "
    "go to the higher score, then to the first sample.",
    RuleKind.RELATIVE: "The highest score / text-only loss, the part of that loss that the image "
    "removes, as a share of all scored samples.",
    RuleKind.LENGTH_CORRECTED: "The highest ranks among answers of similar length. Means over few "
    "tokens vary more, so short answers crowd both ends of the scores.",
    RuleKind.TOP_SHARE: "The highest scores of the whole dataset, as a share of all scored ones.",
    RuleKind.TOP_COUNT: "The highest scores of the whole dataset, by number of samples.",
    RuleKind.TOP_TOKENS: "The highest scores whose answer tokens together fit the budget: training "
    "cost grows with tokens.",
    RuleKind.MIXTURE: "Repeats count toward the budget. A group that has too few samples is "
    "repeated as a whole, up to the limit, and then stays below its target.",
    RuleKind.BUDGET: "The highest scores up to a number of samples, with a floor and a ceiling per "
    "source. Floors are filled first.",
    RuleKind.PER_CLUSTER: "The highest scores of each cluster, including negative ones.",
    RuleKind.PER_SOURCE: "The highest scores of each source, including negative ones.",
    RuleKind.PAPER: "As in the paper: drop scores of 0 or less, then keep the highest of each "
    "cluster, up to this share of the cluster's scored samples.",
    RuleKind.PAPER_CODE: "As in the paper's code: the highest scores of each cluster, at least one "
    "each, including negative ones.",
    RuleKind.RANDOM: "A random part of the scored samples. The same seed draws the same samples.",
    RuleKind.ABLATION: "The best samples by one of the two losses, to show what the score adds.",
    RuleKind.CONTROL: "The same number of samples as another rule, in another order. The options "
    "of that rule are set here too.",
}
REASON_NAMES: Final = {
    Reason.RULE: "rule",
    Reason.NOT_POSITIVE: "score of 0 or less (paper's rule)",
    Reason.REVIEWER: "manual decision against the rule",
    Reason.TEXT_ONLY: "text only (chosen above)",
    Reason.STATUS: "no score (chosen above)",
    Reason.BAD_RECORD: "bad record",
    Reason.NO_TURN: "no answer left by an export by turns",
    Reason.FILTER: "does not match the filter",
    Reason.NOT_RANKED: "no value to rank by",
    Reason.NOT_EDITED: "not edited (export of the edited only)",
}
BY_SHARE: Final = tuple(kind for kind in RuleKind if "share" in rule_options(kind))
AT_LEAST: Final = tuple(kind for kind in RuleKind if "at_least" in rule_options(kind))
BY_LIMITS: Final = (
    RuleKind.THRESHOLD,
    RuleKind.ANSWER_THRESHOLD,
    RuleKind.BAND,
    RuleKind.MIXTURE,
)
BY_AMOUNT: Final = (RuleKind.BAND, RuleKind.MIXTURE)
_FIELDS: Final = {  # options whose field has another name
    "min": "minimum",
    "max": "maximum",
    "all": "all_of",
    "any": "any_of",
}
_RULE_FIELDS: Final = {  # the same for single rules
    (RuleKind.BEST_OF_GROUP, "group"): "group_column",
    (RuleKind.ABLATION, "by"): "loss",
    (RuleKind.CONTROL, "by"): "arm",
    (RuleKind.WEIGHTS, "by"): "weigh",
    (RuleKind.MIXTURE, "by"): "draw_by",
    (RuleKind.MIXTURE, "per"): "mix_per",
    (RuleKind.ANSWER_THRESHOLD, "limits"): "answer_limits",
    (RuleKind.BUDGET, "limits"): "source_limits",
}


def describe_missing_choice(view: View) -> str | None:
    """Return what still has to be chosen or typed before the rule selects anything."""
    if view.rule is RuleKind.FILTER and not (view.all_of or view.any_of):
        return "Type a filter into one of the fields above."
    if view.rule is RuleKind.BEST_OF_GROUP and view.group_column is None:
        return "Choose the groups above."
    return None


def family_of(kind: RuleKind) -> Family:
    """Return the family of a rule."""
    return next(family for family in FAMILIES if kind in family.rules)


def read_limits(view: View, threshold: float) -> tuple[float | None, float | None]:
    """Return the score limits of the view.

    Without any, the threshold is the lower limit, except for a mixture, which draws from all.
    """
    if view.minimum is None and view.maximum is None and view.rule is not RuleKind.MIXTURE:
        return threshold, None
    return view.minimum, view.maximum


def read_rule(view: View, bands: Bands) -> Rule:
    """Return the rule that the view describes; ``bands`` are the workspace's band limits.

    Raises:
        RuleError: The options do not fit together.
    """
    kind = view.rule
    options = rule_options(kind)
    values = {option: getattr(view, _field_of(kind, option), None) for option in options}
    values["rule"] = str(kind)
    if kind in BY_LIMITS:
        values["min"], values["max"] = read_limits(view, view.threshold(bands))
    if kind is RuleKind.RANDOM:
        values["share" if view.by_count else "count"] = None
    if kind in BY_AMOUNT:
        values |= {amount: None for amount in AMOUNTS if amount != view.amount}
    if kind is RuleKind.MIXTURE:
        limits = view.bands(bands) if view.mix_per == "category" else DEFAULT_BANDS
        values |= {"low": limits.low, "high": limits.high}
    if kind is RuleKind.WEIGHTS and view.max_weight == 0:
        values["max_weight"] = None
    if kind is RuleKind.CONTROL:
        values["of"] = read_rule(replace(view, rule=view.of), bands).to_dict()
    if values.get("rank_by") is None:
        values.pop("normalise", None)
    if values.get("per", "") is None:
        del values["per"]
    return rule_from_dict(values)


def fill_targets(context: Context, view: View) -> View:
    """Return the view; a mixture without targets keeps the proportions of its groups."""
    if view.rule is not RuleKind.MIXTURE or view.target:
        return view
    return replace(view, target=spread_over_groups(context, view, 1.0))


def read_groups(context: Context, view: View) -> dict[str, GroupSize]:
    """Return the groups that a mixture can have targets for."""
    return read_mixture_groups(
        context, view.mix_per, view.bands(context.workspace.bands), str(view.where)
    )


def spread_over_groups(context: Context, view: View, power: float) -> Targets:
    """Return targets of the largest groups in proportion to a power of their sizes.

    Sizes are in the unit of the budget. Beyond ``MAX_TARGETS``, the other groups have no targets of
    their own; together they get what they would have, like the samples without a value in a column.
    """
    unit = "tokens" if view.amount == "tokens" else "samples"
    sizes = {name: getattr(size, unit) for name, size in read_groups(context, view).items()}
    named = [name for name in sizes if name != NO_VALUE]
    largest = sorted(named, key=lambda name: -sizes[name])[:MAX_TARGETS]
    return tuple(target for target in spread_targets(sizes, power) if target[0] in largest)


def _field_of(kind: RuleKind, option: str) -> str:
    """Return the field of the view for an option of a rule."""
    return _RULE_FIELDS.get((kind, option), _FIELDS.get(option, option))


def uses_clusters(rule: Rule) -> bool:
    """Return whether a rule selects by cluster."""
    if isinstance(rule, Control):
        return rule.per == "cluster" or uses_clusters(rule.of)
    if isinstance(rule, Ablation | Band | Mixture):
        return rule.per == "cluster"
    return isinstance(rule, ClusterShare | PaperTopShare | PaperCodeTopShare)


def read_definition(context: Context, view: View, name: str = UNSAVED) -> SubsetDefinition:
    """Return the subset that the view describes.

    Raises:
        RuleError: The options do not fit together.
        InputError: The name is invalid, or the filter cannot be pinned.
    """
    scope = context.scope
    return SubsetDefinition(
        name=name,
        rule=read_rule(fill_targets(context, view), context.workspace.bands),
        run_id=scope.run_id,
        baseline=scope.baseline,
        clustering_id=scope.clustering_id,
        text_only="keep" if view.text_only else "drop",
        unscored="keep" if view.unscored else "drop",
        hand_wins=view.hand,
        where=str(view.where),
    )


def view_changes(definition: SubsetDefinition) -> dict[str, Any] | None:
    """Return the changes of the view that open a saved subset.

    None if this page has no controls for its rule.
    """
    changes = _rule_changes(definition.rule.to_dict())
    if changes is None:
        return None
    changes = {"rank_by": None, **changes}  # left out of a rule that ranks by the score
    view = replace(View(), **changes)
    try:
        converted = read_rule(view, DEFAULT_BANDS)
    except RuleError:
        return None
    if converted != definition.rule or read_view(write_view(view)) != (view, []):
        return None
    return changes | {
        "run": definition.run_id,
        "baseline": definition.baseline,
        "clustering": definition.clustering_id,
        "text_only": definition.text_only == "keep",
        "unscored": definition.unscored == "keep",
        "hand": definition.hand_wins,
        "where": parse_filter(definition.where),
    }


def _rule_changes(rule: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the changes for the rule alone; for a control, with those of the other rule."""
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
        if option in ("low", "high") and rule["per"] != "category":
            continue  # the band limits of the view stay
        if isinstance(value, list):
            value = tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if value is not None or option in ("min", "max", "ceiling"):
            changes[_field_of(kind, option)] = value
    if kind is RuleKind.RANDOM:
        changes["by_count"] = rule["share"] is None
    if kind in BY_AMOUNT:
        changes["amount"] = next(amount for amount in AMOUNTS if rule[amount] is not None)
    if kind is RuleKind.WEIGHTS:
        changes["max_weight"] = rule["max_weight"] or 0.0
    return changes | {"rule": kind}
