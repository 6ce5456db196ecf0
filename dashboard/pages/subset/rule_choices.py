"""Converts the choices of the view to a rule and a subset definition, and back.

A saved rule can be opened only if the view converts to exactly that rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from scoring.rules.mixture import NO_VALUE, draws_in_band
from scoring.rules.targets import Targets, spread_targets
from scoring.subsets.definitions import SubsetDefinition

UNSAVED: Final = "unsaved"
MAX_TARGETS: Final = 300
"""Groups that get a target of their own; all smaller ones share the rest."""


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


def read_limits(view: View, threshold: float) -> tuple[float | None, float | None]:
    """Return the score limits of the view.

    Without any, the threshold is the lower limit, but not of a mixture that draws from all scores,
    by rank or by category.
    """
    is_mixture = view.rule is RuleKind.MIXTURE
    if is_mixture and view.draw_by == "all":
        return None, None
    is_limited = not is_mixture or draws_in_band(view.draw_by, view.mix_per)
    if view.minimum is None and view.maximum is None and is_limited:
        return threshold, None
    return view.minimum, view.maximum


def has_ranking(view: View, kind: RuleKind) -> bool:
    """Return whether a rule ranks samples, by the score or by a sum."""
    return "rank_by" in rule_options(kind) and (
        kind is not RuleKind.MIXTURE or view.draw_by == "visnec"
    )


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
    if values.get("rank_by") is None or not has_ranking(view, kind):
        values.pop("rank_by", None)
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
    rule = _name_draw(definition.rule)
    changes = _rule_changes(rule.to_dict())
    if changes is None:
        return None
    changes = {"rank_by": None, **changes}  # left out of a rule that ranks by the score
    view = replace(View(), **changes)
    try:
        converted = read_rule(view, DEFAULT_BANDS)
    except RuleError:
        return None
    if converted != rule or read_view(write_view(view)) != (view, []):
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


def _name_draw(rule: Rule) -> Rule:
    """Return a mixture that was saved without limits as one by ``all``: it draws the same."""
    if isinstance(rule, Control):
        return replace(rule, of=_name_draw(rule.of))
    if isinstance(rule, Mixture) and rule.min is None and rule.max is None:
        return replace(rule, by="all") if draws_in_band(rule.by, rule.per) else rule
    return rule


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
