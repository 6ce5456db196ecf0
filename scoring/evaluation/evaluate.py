"""Evaluates models on a benchmark with and without the image, and on the part that needs it. Pure.

A sample without a judged prediction (none was made, or the measure does not apply) is left out of
every accuracy, and one without a score is only in the group of all samples. Both are counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import InputError
from scoring.evaluation.accuracy import (
    DEFAULT_MEASURE,
    MEASURES,
    UNJUDGED,
    Accuracy,
    ContingencyTable,
    Correctness,
    Gain,
    Leakage,
    Samples,
    cross_tabulate,
    measure_accuracy,
    measure_leakage,
    measure_paired_gain,
)
from scoring.necessity import Bands, Category
from scoring.option_descriptions import Option
from scoring.predictions.records import TurnChoice
from scoring.rules.candidates import ANSWER_KINDS, Mask

_DEFAULT_SCORE_BANDS = 5
SELF_SELECTION_NOTE = (
    "its own losses choose the necessary part, so its accuracy and gain there are subject to "
    "selection; compare models on a part that the scores of another model choose"
)
"""The note for a model with ``chose_part``."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Which models are evaluated, what counts as right, and where the necessary part starts."""

    threshold: Annotated[
        float | None,
        Option("Lowest VisNec score of the necessary part. Default: the upper band limit."),
    ] = None
    measure: Annotated[
        str,
        Option(
            "What counts as right. "
            + "; ".join(f"{name}: {meaning}" for name, meaning in MEASURES.items())
        ),
    ] = DEFAULT_MEASURE
    turns: Annotated[
        TurnChoice,
        Option(
            "Which answers of conversations: the first, the last or all. Over all, accuracies "
            "count answers and intervals resample whole samples. Every answer counts by the score "
            "of its sample."
        ),
    ] = "first"
    models: Annotated[
        tuple[str, ...], Option("Evaluate only these models (repeatable).", "--model")
    ] = ()
    n_bands: Annotated[
        int, Option("Number of score bands, of about the same number of samples.", "--bands", min=1)
    ] = _DEFAULT_SCORE_BANDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models or ()))


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """The samples of a benchmark as columns of length n, ascending by ``row_idx``.

    Over all turns it has a row per answer, in the order of their ``turn`` (0-based), which is None
    if there is one row per sample. ``visnec`` is NaN for samples without a score; ``source`` holds
    positions in ``sources``, ``kind`` positions in ``ANSWER_KINDS``.
    """

    row_idx: NDArray[np.int64]
    visnec: NDArray[np.float64]
    source: NDArray[np.int32]
    sources: tuple[str, ...]
    kind: NDArray[np.int8]
    turn: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.row_idx)

    def count_samples(self, mask: Mask) -> int:
        """Return the number of samples in part of the rows."""
        return int(mask.sum()) if self.turn is None else len(np.unique(self.row_idx[mask]))


@dataclass(frozen=True, slots=True, eq=False)
class ModelCorrectness:
    """Whether one model's predictions are right, in columns with one value per sample.

    ``text_model`` is about the text-only model that it is built on. None: no such predictions.
    ``chose_part``: the scores that choose the necessary part are this model's own.
    """

    model: str
    seen: Correctness | None = None
    blind: Correctness | None = None
    text_model: Correctness | None = None
    chose_part: bool = False


@dataclass(frozen=True, slots=True)
class _Result:
    """Figures that are reported as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""

        def convert(value: Any) -> Any:
            if isinstance(value, tuple):
                return [convert(item) for item in value]
            return value.to_dict() if hasattr(value, "to_dict") else value

        return {field.name: convert(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class GroupResult(_Result):
    """One model on one group of samples; None where there are no predictions.

    ``low`` and ``high`` are the limits of a score band (``low <= visnec < high``), None for other
    groups and at an open side.
    """

    name: str
    n_samples: int
    seen: Accuracy | None
    blind: Accuracy | None
    text_model: Accuracy | None
    gain: Gain | None
    leakage: Leakage | None
    cells: ContingencyTable | None
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values, with limits for a score band alone."""
        values = _Result.to_dict(self)
        limits = {"from": values.pop("low"), "below": values.pop("high")}
        return values if self.low is None and self.high is None else values | limits


@dataclass(frozen=True, slots=True)
class ModelResult(_Result):
    """One model on all samples, on the necessary part, on the other scored ones, and by group.

    ``chose_part``: its own losses choose the necessary part, so its accuracy and gain there are
    partly due to selection, unlike those of other models.
    """

    model: str
    chose_part: bool
    all: GroupResult
    necessary: GroupResult
    rest: GroupResult
    by_category: tuple[GroupResult, ...]
    by_band: tuple[GroupResult, ...]
    by_source: tuple[GroupResult, ...]
    by_kind: tuple[GroupResult, ...]


@dataclass(frozen=True, slots=True)
class RankedModel(_Result):
    """A model's ranks on all samples and on the necessary part: 1 is best, ties are averaged."""

    model: str
    on_all: Accuracy
    rank_all: float
    on_necessary: Accuracy
    rank_necessary: float


@dataclass(frozen=True, slots=True)
class Ranking(_Result):
    """Models over the samples that all of them answered with the image, best on all first.

    ``spearman`` and ``kendall`` (tau-b) compare the two rankings; None if all models are equal in
    one of them. ``n_necessary`` of the ``n_common`` samples are in the necessary part.
    """

    n_common: int
    n_necessary: int
    spearman: float | None
    kendall: float | None
    models: tuple[RankedModel, ...]


@dataclass(frozen=True, slots=True)
class Evaluation(_Result):
    """All models on one benchmark: ``n_necessary`` samples have ``visnec >= threshold``."""

    threshold: float
    n_samples: int
    n_scored: int
    n_necessary: int
    models: tuple[ModelResult, ...]
    ranking: Ranking | None


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    name: str
    mask: Mask
    low: float | None = None
    high: float | None = None


def evaluate_models(
    benchmark: Benchmark,
    models: Sequence[ModelCorrectness],
    threshold: float,
    bands: Bands,
    n_bands: int = _DEFAULT_SCORE_BANDS,
) -> Evaluation:
    """Evaluate models on all samples, on the necessary part (``visnec >= threshold``) and by group.

    Raises InputError for a threshold that is not finite, for less than one band, and for columns
    of another length than the benchmark's.
    """
    _check_input(benchmark, models, threshold, n_bands)
    scored = ~np.isnan(benchmark.visnec)
    necessary = scored & (benchmark.visnec >= threshold)
    everything = _Group("all", np.ones(len(benchmark), np.bool_))
    needing, rest = _Group("necessary", necessary), _Group("not necessary", scored & ~necessary)
    codes = bands.category_codes(benchmark.visnec)
    groups = {
        "by_category": [_Group(str(name), codes == code) for code, name in enumerate(Category)],
        "by_band": _group_by_band(benchmark.visnec, n_bands),
        "by_source": _group_by_code(benchmark.source, benchmark.sources),
        "by_kind": _group_by_code(benchmark.kind, ANSWER_KINDS),
    }

    def evaluate_model(model: ModelCorrectness) -> ModelResult:
        return ModelResult(
            model=model.model,
            chose_part=model.chose_part,
            all=_evaluate_group(benchmark, model, everything),
            necessary=_evaluate_group(benchmark, model, needing),
            rest=_evaluate_group(benchmark, model, rest),
            **{
                name: tuple(_evaluate_group(benchmark, model, group) for group in listed)
                for name, listed in groups.items()
            },
        )

    return Evaluation(
        threshold=float(threshold),
        n_samples=benchmark.count_samples(everything.mask),
        n_scored=benchmark.count_samples(scored),
        n_necessary=benchmark.count_samples(necessary),
        models=tuple(evaluate_model(model) for model in models),
        ranking=rank_models(
            {model.model: model.seen for model in models if model.seen is not None},
            necessary,
            None if benchmark.turn is None else benchmark.row_idx,
        ),
    )


def rank_models(
    correctness: Mapping[str, Correctness], necessary: NDArray[np.bool_], samples: Samples = None
) -> Ranking | None:
    """Rank models over the samples that all of them answered; none gains by skipping hard ones.

    None for fewer than two models, or if all models answered no common necessary sample.
    """
    if len(correctness) < 2:
        return None
    common = np.logical_and.reduce([column != UNJUDGED for column in correctness.values()])
    inside = common & necessary
    if not inside.any():
        return None
    from scipy.stats import kendalltau, rankdata, spearmanr  # slow to import, rarely needed

    on_all, on_necessary = (
        [
            measure_accuracy(column[mask], None if samples is None else samples[mask])
            for column in correctness.values()
        ]
        for mask in (common, inside)
    )
    ranks, ranks_necessary = (
        rankdata([-accuracy.right for accuracy in accuracies]).tolist()
        for accuracies in (on_all, on_necessary)
    )
    columns = zip(correctness, on_all, ranks, on_necessary, ranks_necessary, strict=True)
    models = [RankedModel(*values) for values in columns]
    spearman = kendall = None
    if len(set(ranks)) > 1 and len(set(ranks_necessary)) > 1:
        # Rounded, because scipy's coefficient of equal ranks may be 1 minus one unit of rounding.
        spearman = round(float(spearmanr(ranks, ranks_necessary).statistic), 15)
        kendall = round(float(kendalltau(ranks, ranks_necessary).statistic), 15)
    models.sort(key=lambda ranked: (ranked.rank_all, ranked.rank_necessary, ranked.model))
    return Ranking(int(common.sum()), int(inside.sum()), spearman, kendall, tuple(models))


def _check_input(
    benchmark: Benchmark, models: Sequence[ModelCorrectness], threshold: float, n_bands: int
) -> None:
    if not math.isfinite(threshold):
        raise InputError(f"The threshold must be a finite number, got {threshold!r}")
    if n_bands < 1:
        raise InputError(f"The number of score bands must be at least 1, got {n_bands}")
    for model in models:
        for column in (model.seen, model.blind, model.text_model):
            if column is not None and len(column) != len(benchmark):
                raise InputError(
                    f"{model.model} has {len(column):,} predictions for a benchmark of "
                    f"{len(benchmark):,} samples"
                )


def _group_by_band(visnec: NDArray[np.float64], n_bands: int) -> list[_Group]:
    groups = []
    for low, high in split_into_bands(visnec[~np.isnan(visnec)], n_bands):
        inside = visnec >= (-math.inf if low is None else low)  # NaN is in no band
        inside &= visnec < (math.inf if high is None else high)
        ends = ["" if end is None else f"{end:.3f}" for end in (low, high)]
        groups.append(_Group("..".join(ends), inside, low, high))
    return groups


def _group_by_code(codes: NDArray[Any], names: Sequence[str]) -> list[_Group]:
    """Return the groups that have samples, in the order of ``names``."""
    present = np.flatnonzero(np.bincount(codes, minlength=len(names))).tolist()
    return [_Group(names[code], codes == code) for code in present]


def split_into_bands(
    visnec: NDArray[np.float64], n_bands: int
) -> list[tuple[float | None, float | None]]:
    """Return limits ``low <= visnec < high`` of bands with about equally many scores.

    The outer bands are open. Equal scores are never separated, so there may be fewer bands; none
    without scores.
    """
    if not len(visnec):
        return []
    ordered = np.sort(visnec)
    starts = [ordered[len(ordered) * number // n_bands] for number in range(1, n_bands)]
    inner = sorted({float(start) for start in starts if start > ordered[0]})
    limits: list[float | None] = [None, *inner, None]
    return list(pairwise(limits))


def _evaluate_group(benchmark: Benchmark, model: ModelCorrectness, group: _Group) -> GroupResult:
    samples = None if benchmark.turn is None else benchmark.row_idx[group.mask]

    def measure(column: Correctness | None) -> Accuracy | None:
        return None if column is None else measure_accuracy(column, samples)

    seen, blind, text_model = (
        None if column is None else column[group.mask]
        for column in (model.seen, model.blind, model.text_model)
    )
    cells = gain = None
    if seen is not None and blind is not None:
        cells, gain = cross_tabulate(blind, seen), measure_paired_gain(blind, seen, samples)
    return GroupResult(
        name=group.name,
        n_samples=benchmark.count_samples(group.mask),
        seen=measure(seen),
        blind=measure(blind),
        text_model=measure(text_model),
        gain=gain,
        leakage=None if blind is None or text_model is None else measure_leakage(blind, text_model),
        cells=cells,
        low=group.low,
        high=group.high,
    )
