"""The selection rules in words: families, names, meanings, and the reasons of an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dashboard.view.state import RuleKind
from scoring.subsets.selection import Reason


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


def family_of(kind: RuleKind) -> Family:
    """Return the family of a rule."""
    return next(family for family in FAMILIES if kind in family.rules)
