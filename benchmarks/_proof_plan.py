"""The plan of ``benchmarks.proof``, fixed before its first training: arms, sizes, comparisons."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace

from benchmarks._proof_arms import ALL
from benchmarks._proof_world import WorldSizes

MAIN = "main"
SEEDS, FEWER_SEEDS = (11, 12, 13, 14, 15), (11, 12, 13)
SHARE, MISALIGNED = 0.15, 0.15
EQUAL_STEPS = 563


@dataclass(frozen=True)
class Stage:
    """Arms that are trained under the same conditions, and the comparisons declared for them.

    Each arm of ``against`` (by control) is compared with its control; Holm's correction is over
    the stage. ``steps`` is None for a number of epochs. ``reference`` is the stage with the
    controls that this one lacks.
    """

    name: str
    title: str
    arms: tuple[str, ...]
    against: tuple[tuple[str, tuple[str, ...]], ...]
    seeds: tuple[int, ...] = FEWER_SEEDS
    misaligned: float = MISALIGNED
    share: float = SHARE
    steps: int | None = None
    reference: str = ""

    @property
    def is_primary(self) -> bool:
        """Whether its comparisons are the primary ones."""
        return self.name == MAIN

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """The declared comparisons, as (arm, control)."""
        return [(arm, control) for control, arms in self.against for arm in arms]


MAIN_STAGE = Stage(
    MAIN,
    "Primary: 15 % of the scored samples or more, equal epochs, 15 % misaligned",
    (
        ALL, "random", "paper", "band", "top", "nonneg", "band-warm", "paper-warm", "band-self",
        "paper-self", "text-loss", "random-per-cluster", "oracle", "weights", "drop-0.05",
        "drop-0",
    ),
    (
        (
            "random",
            (
                "paper", "band", "top", "nonneg", "text-loss", "random-per-cluster", "paper-warm",
                "band-warm", "paper-self", "band-self",
            ),
        ),
        ("band", ("paper", "top")),
        (ALL, ("paper", "band", "drop-0", "drop-0.05", "weights")),
    ),
    SEEDS,
)  # fmt: skip


def misaligned_stage(misaligned: float) -> Stage:
    """Return the stage with another share of wrong answers."""
    drops = ("drop-0.05", "drop-0")
    return Stage(
        f"misaligned-{100 * misaligned:g}",
        f"Secondary: {100 * misaligned:g} % misaligned, equal epochs",
        (ALL, "random", "paper", "band", *drops),
        (("random", ("paper", "band")), (ALL, ("paper", "band", *drops))),
        misaligned=misaligned,
    )


def share_stage(share: float, arms: tuple[str, ...]) -> Stage:
    """Return the stage with subsets of another size."""
    return Stage(
        f"share-{100 * share:g}",
        f"Secondary: {100 * share:g} % of the scored samples, equal epochs, 15 % misaligned",
        ("random", *arms),
        (("random", arms), (ALL, arms)),
        share=share,
        reference=MAIN,
    )


SCORER_ARMS = ("weights-warm", "weights-self", "drop-0.05-warm", "drop-0.05-self")
RANKING_ARMS = ("relative", "length-corrected")
STAGES = (
    MAIN_STAGE,
    misaligned_stage(0.3),
    misaligned_stage(0.0),
    Stage(
        "steps",
        f"Secondary: equal steps ({EQUAL_STEPS}), 15 % misaligned",
        (ALL, "random", "paper", "band", "weights", "weights-warm", "weights-self"),
        (
            ("random", ("paper", "band")),
            (ALL, ("paper", "band", "weights", "weights-warm", "weights-self")),
        ),
        steps=EQUAL_STEPS,
    ),
    Stage(
        "rankings",
        "Secondary: other rankings, 15 % of the scored samples, equal epochs",
        RANKING_ARMS,
        (("random", RANKING_ARMS), ("band", RANKING_ARMS)),
        reference=MAIN,
    ),
    share_stage(0.3, ("paper", "band")),
    share_stage(0.5, ("paper",)),
    share_stage(0.05, ("paper", "band")),
    Stage(
        "scorers",
        "Secondary: filters and weights by scorers that are not experts, equal epochs",
        SCORER_ARMS,
        ((ALL, SCORER_ARMS),),
        reference=MAIN,
    ),
)
QUICK_STAGES = (
    replace(
        MAIN_STAGE,
        arms=(ALL, "random", "paper", "band"),
        against=(("random", ("paper", "band")), (ALL, ("paper", "band"))),
        seeds=SEEDS[:2],
    ),
)


@dataclass(frozen=True)
class Plan:
    """What is trained. Stages come in the order of their importance."""

    stages: tuple[Stage, ...] = STAGES
    sizes: WorldSizes = field(default_factory=WorldSizes)
    base_steps: int = 900
    warm_epochs: int = 4
    epochs: int = 3
    clusters: int = 20

    @property
    def digest(self) -> str:
        """A digest of everything but the list of stages."""
        values = {key: value for key, value in asdict(self).items() if key != "stages"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
