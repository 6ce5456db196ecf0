"""What was measured about the selection rules, in the order of the evidence for them.

The numbers are those of the controlled experiment in ``benchmarks/results/proof.md``: small models
trained on subsets of a synthetic dataset with 15 % wrong answers, accuracy in points on held-out
questions that need the image, with 95 % intervals over five seeds where no other number is given.
``docs/selecting.md`` has the same lines, and what they do not cover.
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
        "With text-only samples kept: 4.5 ± 1.0 points above all data when dropping below -0.05, "
        "with no significant loss elsewhere; 6.5 ± 1.7 when dropping below 0, where questions "
        "that need no image lose 6. With weaker scorers, below -0.05: 1.5 ± 0.5 for the model "
        "trained on the data itself, 1.3 ± 3.7 for one that has seen little, not significant "
        "(three seeds).",
    ),
    Finding(
        ("weights",),
        "With text-only samples kept, temperature 0.5, at most 4: 13.4 ± 1.5 points above all "
        "data at equal weight. Questions that text answers lose 9. With weaker scorers 3.0 ± 1.0 "
        "for the model trained on the data itself, 2.0 ± 2.2 for one that has seen little, not "
        "significant (three seeds).",
    ),
    Finding(
        ("band",),
        "15 % drawn from 0.25: 9.5 ± 2.6 points above a random 15 %, and no significant "
        "difference from all data (-0.2 ± 2.2). Questions that need no image fall from 53 % to "
        "20 % right. With weaker scorers 4.7 ± 2.5 and 3.0 ± 2.5, not significant after "
        "correction. 30 %: 12.6 ± 2.7 above a random 30 % and 7.6 ± 3.4 above all data (three "
        "seeds).",
    ),
    Finding(
        ("threshold", "answer-threshold"),
        "Measured only as drop-misaligned and as the band from 0.25: a limit filters well.",
    ),
    Finding(
        ("filter",),
        "Not measured; without a ranking it keeps all samples that meet its conditions.",
    ),
    Finding(
        ("best-of-group",),
        "Not measured; it removes near-duplicates and no other samples.",
    ),
    Finding(
        ("relative",),
        "15 %, three seeds: 5.6 ± 6.8 points above a random 15 %, not significant; 4.0 ± 1.5 "
        "below a random draw from the band.",
    ),
    Finding(
        ("length-corrected",),
        "15 %, three seeds: 1.8 ± 6.9 points above a random 15 %, not significant; 7.9 ± 2.6 "
        "below a random draw from the band.",
    ),
    Finding(
        ("top-share", "top-count", "top-tokens"),
        "15 %: 1.5 ± 3.1 points above a random 15 %, not significant; 8.0 ± 1.2 below a random "
        "draw from the band. The score grows with the number of possible answers, so the highest "
        "scores are a choice of question types.",
    ),
    Finding(
        ("mixture",),
        "Not measured; within its groups it draws at random like band, by default from the same "
        "scores.",
    ),
    Finding(
        ("budget", "per-cluster", "per-source"),
        "Not measured; within its groups it ranks like top-share.",
    ),
    Finding(
        ("paper", "paper-code"),
        "As published. 15 %: 0.9 ± 2.9 points below a random 15 %, not significant; 10.4 ± 2.0 "
        "below a random draw from the band. Small shares lose question types with few possible "
        "answers, such as yes/no and left/right. 50 %: 9.8 ± 3.1 above a random 50 % (three "
        "seeds).",
    ),
    Finding(
        ("random",),
        "The baseline: a random 15 % reaches 28.0 % on questions that need the image, all data "
        "37.7 %.",
    ),
    Finding(
        ("ablation",),
        "Text-only loss alone: 5.6 ± 2.7 points below a random 15 %.",
    ),
    Finding(("control",), "For comparison: the size of another subset, in another order."),
)
RULES_BY_EVIDENCE: Final = tuple(name for finding in FINDINGS for name in finding.rules)


def find_evidence(rule: str, rank_by: str | None = None) -> str:
    """Return the line on what was measured about a rule, with another ranking than by the score."""
    if rank_by is not None:
        return "Not measured with a combined ranking."
    return next(finding.measured for finding in FINDINGS if rule in finding.rules)
