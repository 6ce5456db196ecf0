"""What was measured about the selection rules, in the order of the evidence for them.

The numbers are those of the controlled experiment in ``benchmarks/results/proof.md``: small models
trained on subsets of a synthetic dataset with 15 % wrong answers, accuracy in points on held-out
questions that need the image, with 95 % intervals over seeds. ``docs/selecting.md`` has the same
lines, and what they do not cover.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EVIDENCE_MEANING: Final = (
    "Points are accuracy on questions that need the image, of small models trained on synthetic "
    "data with 15 % wrong answers."
)
EVIDENCE_SECTION: Final = "docs/selecting.md#what-was-measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured about some rules: the names of the rules and one line."""

    rules: tuple[str, ...]
    measured: str


FINDINGS: Final = (
    Finding(
        ("drop-misaligned",),
        "With text-only samples kept: 5.1 ± 2.4 points above all data when dropping below 0, "
        "13.1 ± 5.1 with 30 % wrong answers; from -0.05 fewer good samples are lost. Not shown "
        "with scorers that know the task less well.",
    ),
    Finding(
        ("weights",),
        "With text-only samples kept, temperature 0.5, at most 4: 11.6 ± 6.3 points above all data "
        "at equal weight; with scorers that know the task less well 3.3 ± 0.8 to 5.3 ± 1.4 at "
        "equal steps (exploratory). Questions that text answers lose 7 to 12.",
    ),
    Finding(
        ("band",),
        "15 % drawn from 0.25: 13.8 ± 2.8 points above a random 15 %, 4.1 ± 3.6 below all data. "
        "Questions that text answers fall from 71 % to 27 % right.",
    ),
    Finding(
        ("threshold", "answer-threshold"),
        "Measured only as drop-misaligned and as the band from 0.25: a limit filters well.",
    ),
    Finding(
        ("relative",),
        "8.7 ± 4.4 points above a random 15 % (exploratory), below a random draw from the band.",
    ),
    Finding(("length-corrected",), "4.6 ± 3.6 points above a random 15 % (exploratory)."),
    Finding(
        ("top-share", "top-count", "top-tokens"),
        "15 %: 2.9 ± 1.9 points above a random 15 %, not shown after correction. The score grows "
        "with the number of possible answers, so the highest scores are a choice of question "
        "types.",
    ),
    Finding(
        ("mixture",),
        "Not measured; within its groups it draws at random like band, by default from all scores.",
    ),
    Finding(
        ("budget", "per-cluster", "per-source"),
        "Not measured; within its groups it ranks like top-share.",
    ),
    Finding(
        ("paper", "paper-code"),
        "As published. 15 %: 1.9 ± 2.7 points above a random 15 %, not shown; 50 %: 10.8 ± 5.2. "
        "Small shares lose question types with few possible answers, such as yes/no and "
        "left/right.",
    ),
    Finding(
        ("random",),
        "The baseline: a random 15 % reaches 26.5 % on questions that need the image, all data "
        "44.4 %.",
    ),
    Finding(("ablation",), "Text-only loss alone: 4.6 ± 2.3 points below a random 15 %."),
    Finding(("control",), "For comparison: the size of another subset, in another order."),
)
RULES_BY_EVIDENCE: Final = tuple(name for finding in FINDINGS for name in finding.rules)


def find_evidence(rule: str) -> str:
    """Return the line on what was measured about a rule."""
    return next(finding.measured for finding in FINDINGS if rule in finding.rules)
