"""The options of ``visnec trial plan`` and ``visnec trial record``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

from scoring.errors import InputError
from scoring.option_descriptions import Option, parse_pairs
from scoring.trials.plan import ControlKind, Measure
from scoring.workspace import check_name

Unit = Literal["auto", "percent", "share"]
"""Of recorded accuracies. ``auto``: shares if all in a file are at most 1, else per cent."""

_MEASURE, _TRAINING = "Evaluation", "Training"
_measure, _training = partial(Option, panel=_MEASURE), partial(Option, panel=_TRAINING)
_DEFAULT_MARGINS: dict[Measure, float] = {"accuracy": 1.0, "loss": 0.02}


@dataclass(frozen=True, slots=True)
class EvaluationSource:
    """Where an evaluation set comes from: a file of records or a workspace."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Budget:
    """How long each arm is trained; one of the two is set."""

    epochs: float | None = 1.0
    steps: int | None = None


def parse_controls(text: str) -> tuple[ControlKind, ...]:
    """Parse ``random,band,all``. Raises InputError."""
    kinds = tuple(dict.fromkeys(kind.strip() for kind in text.split(",") if kind.strip()))
    for kind in kinds:
        if kind not in get_args(ControlKind):
            known = ", ".join(get_args(ControlKind))
            raise InputError(f"Unknown control {kind!r}. Choose from: {known}")
    if not kinds:
        raise InputError("--controls needs at least one kind, such as random,all")
    return cast(tuple[ControlKind, ...], kinds)


def parse_evaluation(texts: Sequence[str]) -> tuple[EvaluationSource, ...]:
    """Parse ``PATH[:NAME]`` texts; without a name it is that of the file. Raises InputError."""
    sources: dict[str, EvaluationSource] = {}
    for text in texts:
        path, colon, name = text.rpartition(":")
        if not colon or Path(text).exists():
            path, name = text, Path(text).resolve().stem
        if not Path(path).exists():
            raise InputError(f"The evaluation set {path} does not exist.")
        if check_name(name, "evaluation set") in sources:
            raise InputError(
                f"Two evaluation sets are named {name!r}. Name them, as in --eval {path}:other"
            )
        sources[name] = EvaluationSource(name, Path(path))
    return tuple(sources.values())


def parse_budget(text: str) -> Budget:
    """Parse ``epochs=1`` or ``steps=500``. Raises InputError."""
    unit, _, amount = text.partition("=")
    try:
        if unit == "epochs" and 0 < float(amount) < math.inf:
            return Budget(epochs=float(amount))
        if unit == "steps" and int(amount) > 0:
            return Budget(epochs=None, steps=int(amount))
    except ValueError:
        pass
    raise InputError(f"--budget {text!r} is neither of the form epochs=1 nor steps=500")


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The arms of a trial, its evaluation and its training.

    Without ``controls`` each subset gets those of random, band and all that make sense for its
    rule. Without ``primary`` there must be one evaluation set. Without ``model`` the trial takes
    recorded results only.
    """

    subsets: Annotated[
        tuple[str, ...], Option("Saved subset to try (repeatable).", "--subset", metavar="NAME")
    ] = ()
    controls: Annotated[
        tuple[ControlKind, ...] | None,
        Option(
            "What each subset is compared with, with commas. Drawn at random: random (the same "
            "number of scored samples), band (of those inside the filter of its rule), cluster "
            "(in each cluster), tokens (the same number of answer tokens). all: the whole dataset. "
            "Default: random, band where the rule has a filter, and all.",
            parse=parse_controls,
            metavar="KIND,...",
        ),
    ] = None
    seeds: Annotated[
        int, Option("Trainings of each arm. No conclusion is drawn from fewer than 3.", min=1)
    ] = 5
    edits: Annotated[
        Literal["apply", "ignore"],
        Option(
            "Whether the arms are trained on the samples with reviewers' edits (visnec edit), as "
            "they are now, or on the records as imported."
        ),
    ] = "apply"
    evaluation: Annotated[
        tuple[EvaluationSource, ...],
        _measure(
            "Questions that no arm is trained on (repeatable): a file of records or a workspace. "
            "NAME is how the report calls it, by default the name of the file.",
            "--eval",
            parse=parse_evaluation,
            repeatable=True,
            metavar="PATH[:NAME]",
        ),
    ] = ()
    benchmarks: Annotated[
        tuple[str, ...],
        _measure(
            "Benchmark that another program measures (repeatable; without --model). Its questions "
            "cannot be compared with the samples.",
            "--benchmark",
            metavar="NAME",
        ),
    ] = ()
    primary: Annotated[
        str | None,
        _measure("The evaluation set that conclusions are about. Default: the only one."),
    ] = None
    measure: Annotated[
        Measure,
        _measure(
            "accuracy: greedy answers that match exactly, in per cent; loss: nats per answer token."
        ),
    ] = "accuracy"
    margin: Annotated[
        float | None,
        _measure(
            "How much worse still counts as equally good, in points of accuracy (default 1) or "
            "nats (default 0.02)."
        ),
    ] = None
    generate_above: Annotated[
        int,
        _measure(
            "Answers of more tokens than this are generated; shorter ones are compared in one "
            "pass, which is exact for greedy answers.",
            min=0,
        ),
    ] = 32
    model: Annotated[
        str | None,
        _training(
            "The model that is trained, by Hugging Face id or path. Without it, the trial takes "
            "results of trainings done elsewhere."
        ),
    ] = None
    adapter: Annotated[
        Literal["lora"] | None,
        _training("lora: train a LoRA adapter instead of all weights (needs the extra [trial])."),
    ] = None
    lora_rank: Annotated[int, _training("Rank of that adapter.", min=1)] = 16
    budget: Annotated[
        Budget,
        _training(
            "How long each arm is trained: epochs=1 (default), so that small arms see fewer "
            "steps, or steps=500 for all arms.",
            parse=parse_budget,
            metavar="epochs=N|steps=N",
        ),
    ] = Budget()
    learning_rate: Annotated[float, _training("Peak learning rate, the same for all arms.")] = 1e-4
    batch_size: Annotated[int, _training("Samples per step.", min=1)] = 16
    dtype: Annotated[
        Literal["float32", "bfloat16"], _training("Number format of the training.")
    ] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "subsets", tuple(dict.fromkeys(self.subsets)))
        object.__setattr__(self, "evaluation", tuple(self.evaluation))
        if not self.subsets:
            raise InputError("A trial needs at least one saved subset: --subset NAME")
        object.__setattr__(self, "benchmarks", tuple(dict.fromkeys(self.benchmarks)))
        if not (self.evaluation or self.benchmarks):
            raise InputError("A trial needs at least one evaluation set: --eval PATH")
        if self.benchmarks and self.model is not None:
            raise InputError(
                "--benchmark is for trainings done elsewhere, without --model. Pass questions for "
                "trainings here with --eval"
            )
        if self.seeds < 1:
            raise InputError(f"A trial needs at least one seed, got {self.seeds}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"The learning rate must be above 0, got {self.learning_rate!r}")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise InputError(f"The margin must be a number of at least 0, got {self.margin!r}")
        names = self.set_names
        if len(set(names)) < len(names):
            raise InputError(f"Evaluation sets with the same name: {', '.join(names)}")
        if self.primary is None and len(names) > 1:
            raise InputError(f"Choose one evaluation set with --primary: {', '.join(names)}")
        if self.primary is not None and self.primary not in names:
            raise InputError(
                f"Unknown evaluation set {self.primary!r}. Choose one of: {', '.join(names)}"
            )

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds, from 1."""
        return tuple(range(1, self.seeds + 1))

    @property
    def primary_name(self) -> str:
        """The evaluation set that conclusions are about."""
        return self.primary or self.set_names[0]

    @property
    def set_names(self) -> list[str]:
        """The evaluation sets, those measured elsewhere last."""
        return [*(source.name for source in self.evaluation), *self.benchmarks]

    @property
    def margin_or_default(self) -> float:
        """The margin, by default that of the measure."""
        return _DEFAULT_MARGINS[self.measure] if self.margin is None else self.margin


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Whose results the files are, and how they are read.

    ``arm`` and ``seed`` are for files that do not name them, such as those of an evaluation
    program. ``exports`` are names of exports in the workspace, or paths of manifests.
    """

    arm: Annotated[str | None, Option("Arm of files that do not name one.")] = None
    seed: Annotated[int | None, Option("Seed of files that do not name one.")] = None
    benchmark: Annotated[
        str | None,
        Option("Name of the benchmark of a VLMEvalKit file, where its name does not show it."),
    ] = None
    metrics: Annotated[
        Mapping[str, str],
        Option(
            "Metric to read where a benchmark has several (repeatable).",
            "--metric",
            parse=lambda texts: parse_pairs("--metric", "BENCHMARK=METRIC", texts),
            repeatable=True,
            metavar="BENCHMARK=METRIC",
        ),
    ] = field(default_factory=dict)
    unit: Annotated[
        Unit,
        Option(
            "Unit of accuracies: percent, share (from 0 to 1), or auto: share if all are at most 1."
        ),
    ] = "auto"
    exports: Annotated[
        tuple[str, ...],
        Option(
            "Export that an arm was trained on (repeatable), by name or path of its manifest: "
            "checked to contain the samples of that arm.",
            "--export",
        ),
    ] = ()
    replace: Annotated[bool, Option("Replace values that are already recorded.")] = False
