"""Create subsets from a rule, its options and the choices around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from scoring.clustering.clusters import list_clusterings
from scoring.database.connection import Store
from scoring.errors import InputError
from scoring.necessity import DEFAULT_BANDS, Bands
from scoring.option_descriptions import BASELINE_HELP, RUN_HELP, Option
from scoring.rules import (
    Rule,
    ablation_arms,
    describe_rules,
    parse_ranges,
    parse_targets,
    rule_from_dict,
)
from scoring.rules.combination import EXAMPLE, Normalise
from scoring.rules.groups import Best
from scoring.rules.mixture import draws_in_band
from scoring.runs.record import read_run_or_latest, utc_now
from scoring.subsets.definitions import (
    ResolvedSubset,
    SubsetDefinition,
    name_arm,
    read_outcome,
    read_subset,
    save_subset,
)
from scoring.subsets.selection import Treatment
from scoring.workspace import Workspace

_RULE, _SCORES, _CHOICES = "Options of the rule", "Scores", "Choices around the rule"
_rule, _choice = partial(Option, panel=_RULE), partial(Option, panel=_CHOICES)
_RULE_FIELDS = (
    *("below", "min", "max", "limits", "share", "count", "tokens", "at_least", "floor", "ceiling"),
    *("by", "per", "of", "temperature", "min_weight", "max_weight", "seed"),
    *("target", "max_repeat", "rank_by", "normalise", "all", "any", "group", "best"),
)


@dataclass(frozen=True, slots=True)
class SelectOptions:
    """A rule by name with the options it takes, and how the subset is scoped and saved.

    Options that are None are left to the rule. Without ``run_id`` the newest run is used, and
    without ``clustering_id`` the newest clustering.
    """

    name: Annotated[str, Option("Name of the subset.")]
    rule: Annotated[
        str,
        Option(describe_rules()),
    ]
    below: Annotated[
        float | None, _rule("drop-misaligned drops scores below this value (default: -0.05).")
    ] = None
    min: Annotated[
        float | None,
        _rule(
            "Lowest VisNec score kept. A mixture without --min and --max draws from the upper band "
            "limit on."
        ),
    ] = None
    max: Annotated[float | None, _rule("Scores at or above this value are dropped.")] = None
    limits: Annotated[
        Sequence[Any] | None,
        Option(
            "Limits by name (repeatable); either end may be left out. NAME is an answer type "
            "(yes/no, choice, number, word, phrase, text) for answer-threshold, a source for "
            "budget.",
            panel=_RULE,
            parse=parse_ranges,
            repeatable=True,
            metavar="NAME=LOW..HIGH",
        ),
    ] = None
    share: Annotated[float | None, _rule("Share of the scored samples, for example 0.15.")] = None
    count: Annotated[int | None, _rule("Samples to keep.")] = None
    tokens: Annotated[int | None, _rule("Answer tokens to keep.")] = None
    at_least: Annotated[int | None, _rule("Fewest samples to keep per group.")] = None
    floor: Annotated[int | None, _rule("Fewest samples to keep per source in a budget.")] = None
    ceiling: Annotated[int | None, _rule("Most samples to keep per source in a budget.")] = None
    by: Annotated[
        str | None,
        _rule(
            "weights: softmax, rank or ratio. ablation: text-loss, multimodal-loss or "
            "high-multimodal-loss. control: random, visnec or a loss. mixture: random "
            "(between --min and --max; default), all (random from all scores) or visnec (highest "
            "first)."
        ),
    ] = None
    per: Annotated[
        str | None,
        _rule(
            "dataset, cluster or source: within which to rank or draw. mixture: the groups of its "
            "targets, source, category, cluster, answer-type, or col:NAME of a column of texts."
        ),
    ] = None
    target: Annotated[
        Sequence[Any] | None,
        Option(
            "mixture: share of a group in the budget (repeatable). Groups without a target share "
            "what the targets leave of 1.",
            panel=_RULE,
            parse=parse_targets,
            repeatable=True,
            metavar="NAME=SHARE",
        ),
    ] = None
    max_repeat: Annotated[
        int | None, _rule("mixture: most repeats of a sample of a small group (default: 1).")
    ] = None
    all: Annotated[
        Sequence[str] | None,
        Option(
            "filter: a filter that samples have to match, such as 'visnec>=0.25 col:clip>=0.3' "
            "(repeatable).",
            panel=_RULE,
            parse=tuple,
            repeatable=True,
            metavar="FILTER",
        ),
    ] = None
    any: Annotated[
        Sequence[str] | None,
        Option(
            "filter: of several such filters, samples have to match at least one (repeatable).",
            panel=_RULE,
            parse=tuple,
            repeatable=True,
            metavar="FILTER",
        ),
    ] = None
    group: Annotated[
        str | None,
        _rule("best-of-group: column of the groups, such as image_group of find-duplicates."),
    ] = None
    best: Annotated[
        Best | None,
        _rule(
            "best-of-group: the highest score (default), the longest answer, or manual: only what "
            "reviewers keep of a group."
        ),
    ] = None
    rank_by: Annotated[
        str | None,
        Option(
            "What a rule (a mixture with --by visnec) ranks by instead of the score: a sum of "
            "visnec, loss_text, loss_multimodal and imported columns of numbers, for example "
            f"'{EXAMPLE}'.",
            panel=_RULE,
            metavar="SUM",
        ),
    ] = None
    normalise: Annotated[
        Normalise | None,
        _rule(
            "Scale of the terms of --rank-by: z (mean 0, standard deviation 1; default) or rank "
            "(from 0 to 1)."
        ),
    ] = None
    of: Annotated[
        str | None, _rule("Saved subset that a control is compared with; its choices are used.")
    ] = None
    temperature: Annotated[
        float | None, _rule("For weights; the higher, the more equal they are.")
    ] = None
    min_weight: Annotated[float | None, _rule("Lowest weight; the mean of all weights is 1.")] = (
        None
    )
    max_weight: Annotated[float | None, _rule("Highest weight.")] = None
    seed: Annotated[int | None, _rule("Seed of a random rule, or of --arms.")] = None
    run_id: Annotated[str | None, Option(RUN_HELP, "--run", _SCORES)] = None
    baseline: Annotated[str | None, Option(BASELINE_HELP, panel=_SCORES)] = None
    clustering_id: Annotated[
        str | None, Option("The clustering to use. Default: the newest.", "--clustering", _SCORES)
    ] = None
    text_only: Annotated[
        Treatment | None,
        _choice("Samples without an image: drop (default) or keep."),
    ] = None
    unscored: Annotated[
        Treatment | None,
        _choice("Samples without a score: drop (default) or keep."),
    ] = None
    hand_wins: Annotated[
        bool | None,
        Option(
            "Whether manual decisions override the rule (default: yes).",
            "--hand/--no-hand",
            _CHOICES,
        ),
    ] = None
    where: Annotated[
        str | None,
        Option(
            "Select only from samples that match this filter, such as 'source:coco col:clip>0.3'. "
            "Shares and numbers are of what it leaves.",
            panel=_CHOICES,
            metavar="FILTER",
        ),
    ] = None
    arms: Annotated[
        bool,
        _choice(
            "Also save the arms to compare with, each the size of this subset: NAME-text-loss, "
            "-multimodal-loss, -no-clusters, -random, -random-per-cluster."
        ),
    ] = False
    overwrite: Annotated[bool, _choice("Replace a subset of this name.")] = False

    def build_rule(self, of: Rule | None = None, bands: Bands = DEFAULT_BANDS) -> Rule:
        """Return the rule; ``of`` is the rule that a control accompanies. Raises RuleError.

        ``bands`` are the limits of a mixture's categories, and where it draws by default.
        """
        options = {name: getattr(self, name) for name in _RULE_FIELDS}
        options["of"] = of.to_dict() if of is not None else None
        if self.arms and self.rule not in ("random", "control"):
            options["seed"] = None  # it is the seed of the arms
        if self.rule == "mixture" and self.per == "category":
            options |= {"low": bands.low, "high": bands.high}
        is_limited = self.min is not None or self.max is not None
        if self.rule == "mixture" and not is_limited:
            draws = draws_in_band(self.by or "random", self.per or "source")
            options["min"] = bands.high if draws else None
        given = {name: value for name, value in options.items() if value is not None}
        return rule_from_dict({"rule": self.rule, **given})


def create_subsets(
    workspace: Workspace, store: Store, options: SelectOptions
) -> list[ResolvedSubset]:
    """Save a subset, and with ``arms`` those to compare it with; return them resolved.

    All are resolved before the first is saved. Raises RuleError, or InputError for an unknown run,
    clustering or subset, or a name that another subset has.
    """
    definition = build_definition(workspace, options)
    definitions = [definition]
    if options.arms:
        definitions += [
            replace(definition, name=name_arm(definition.name, arm), rule=rule)
            for arm, rule in ablation_arms(definition.rule, options.seed or 0).items()
        ]
    resolved = [read_outcome(workspace, store, each) for each in definitions]
    for each in definitions:
        save_subset(workspace, each, options.overwrite)
    return resolved


def build_definition(workspace: Workspace, options: SelectOptions) -> SubsetDefinition:
    """Return the definition that the options describe, without saving it."""
    model = read_subset(workspace, options.of) if options.of is not None else None
    rule = options.build_rule(model.rule if model else None, workspace.bands)
    record = read_run_or_latest(workspace, options.run_id)
    known = [clustering.clustering_id for clustering in list_clusterings(workspace)]
    if options.clustering_id is not None and options.clustering_id not in known:
        raise InputError(
            f"Unknown clustering {options.clustering_id!r} in {workspace.root}. "
            f"Choose one of: {', '.join(known) or 'none yet'}"
        )
    newest = known[-1] if known else None
    base = model or SubsetDefinition(
        options.name, rule, record.run_id, record.first_baseline, newest
    )
    names = ("run_id", "baseline", "clustering_id", "text_only", "unscored", "hand_wins", "where")
    choices: dict[str, Any] = {name: getattr(options, name) for name in names}
    changed = {name: value for name, value in choices.items() if value is not None}
    return replace(base, name=options.name, rule=rule, created_at=utc_now(), **changed)
