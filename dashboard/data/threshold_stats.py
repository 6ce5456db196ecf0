"""What a cut keeps and drops, as plain values for the browser, and where a wished cut lies.

The one decision behind it: the threshold editor asks for these by a route of their own, so that
exact counts stand there before a page's script has begun to run; the page, drawn from the same
answers a moment later, says the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.charts.theme import SOURCE_COLOURS
from dashboard.data.context import Context
from dashboard.data.reviews import read_labels
from dashboard.data.scores import (
    read_near,
    read_summary,
    read_threshold_counts,
    read_threshold_for_count,
    read_threshold_for_share,
    read_threshold_for_tokens,
)
from dashboard.text import formatting
from dashboard.view.parameters import read_number
from scoring.database.values import Record, ScoreSummary, ThresholdCounts
from scoring.necessity import Category
from scoring.reviews.threshold_estimation import WeightedLabels, estimate_quality

FEW: Final = 10  # labels, below which nothing is estimated
_LARGEST: Final = 2**53  # whole numbers that a browser can hold

Facts = dict[str, Any]


class InvalidThreshold(ValueError):
    """What was wished is no place for a cut."""


@dataclass(frozen=True, slots=True)
class SourceSplit:
    """One source, or all that are too small for a colour of their own."""

    name: str
    kept: int
    dropped: int


def read_cut_facts(context: Context, cut: float) -> Facts:
    """Counts for this cut and the context's band limits, exactly; with the limits they are for.

    ``figures`` are names, values and notes as they are shown, ``parts`` the sources of both sides
    (none where there is but one), ``kept_tokens`` and ``tokens`` None where scores do not tell.
    """
    summary, kept = read_summary(context), read_threshold_counts(context, cut)
    scored = kept.n_kept + kept.n_dropped
    unknown = kept.tokens_kept is None or kept.tokens_dropped is None
    return {
        "low": context.bands.low,
        "high": context.bands.high,
        "cut": cut,
        "scored": scored,
        "kept": kept.n_kept,
        "misaligned": summary.categories[Category.MISALIGNED],
        "critical": summary.categories[Category.VISION_CRITICAL],
        "kept_tokens": kept.tokens_kept,
        "tokens": None if unknown else (kept.tokens_kept or 0) + (kept.tokens_dropped or 0),
        "figures": [
            {"name": name, "value": value, "note": note}
            for name, value, note in _figures(
                summary, kept, read_labels(context), cut, read_near(context, cut)
            )
        ],
        "parts": [[part.name, part.kept, part.dropped] for part in split_by_source(kept.by_source)],
    }


def _figures(
    summary: ScoreSummary,
    kept: ThresholdCounts,
    labels: WeightedLabels,
    cut: float,
    near: tuple[int | None, str],
) -> list[tuple[str, str, str]]:
    """Kept and dropped in samples and answer tokens, and how the scores lie."""
    scored = kept.n_kept + kept.n_dropped
    low, high = summary.quantiles.get(0.05), summary.quantiles.get(0.95)
    return [
        ("kept samples", formatting.count(kept.n_kept), formatting.share(kept.n_kept, scored)),
        (
            "dropped samples",
            formatting.count(kept.n_dropped),
            formatting.share(kept.n_dropped, scored),
        ),
        ("wrongly dropped", *wrongly_dropped(labels, cut, kept.n_dropped)),
        ("within the noise", formatting.count(near[0]), near[1]),
        *_tokens(kept),
        (
            "median score",
            formatting.score(summary.quantiles.get(0.5)),
            f"mean {formatting.score(summary.mean)}",
        ),
        (
            "from 5 % to 95 %",
            f"{formatting.score(low, 2)} … {formatting.score(high, 2)}",
            f"lowest {formatting.score(summary.min_visnec, 2)}, "
            f"highest {formatting.score(summary.max_visnec, 2)}",
        ),
    ]


def _tokens(kept: ThresholdCounts) -> list[tuple[str, str, str]]:
    if kept.tokens_kept is None or kept.tokens_dropped is None:
        return [("answer tokens", formatting.ABSENT, formatting.UNKNOWN)]
    tokens = kept.tokens_kept + kept.tokens_dropped
    return [
        (f"{name} answer tokens", formatting.count(n), formatting.share(n, tokens))
        for name, n in (("kept", kept.tokens_kept), ("dropped", kept.tokens_dropped))
    ]


def wrongly_dropped(labels: WeightedLabels, cut: float, n_dropped: int) -> tuple[str, str]:
    """The share of what the cut drops that people would keep, and what it stands on."""
    if len(labels) < FEW:
        return formatting.ABSENT, f"{len(labels)} of {FEW} labels it takes"
    dropped = estimate_quality(labels, cut).wrongly_dropped
    if dropped is None:
        return formatting.ABSENT, "no label below the cut"
    low, high = (formatting.count(round(one * n_dropped)) for one in (dropped.low, dropped.high))
    return (
        formatting.share(dropped.value, 1),
        f"≈ {formatting.count(round(dropped.value * n_dropped))} samples ({low} to {high}), "
        f"by {formatting.plural(dropped.n, 'label')}",
    )


def split_by_source(by_source: Sequence[Record]) -> list[SourceSplit]:
    """The largest sources with a scored sample, as many as there are colours, the rest as one;
    nothing where all samples are of one source."""
    parts = [SourceSplit(row["source"], row["kept"], row["dropped"]) for row in by_source]
    parts = [part for part in parts if part.kept + part.dropped]
    if len(parts) < 2:
        return []
    if len(parts) <= len(SOURCE_COLOURS):
        return parts
    own, rest = parts[: len(SOURCE_COLOURS) - 1], parts[len(SOURCE_COLOURS) - 1 :]
    others = SourceSplit(
        f"{len(rest)} others", sum(one.kept for one in rest), sum(one.dropped for one in rest)
    )
    return [*own, others]


def resolve_threshold(context: Context, wish: Mapping[str, str]) -> float:
    """Where the cut lies that is wished by its score (``cut``), as the ``share`` of scored samples
    to keep (0 to 1), or as the number of ``samples`` or answer ``tokens``.

    What would keep nothing lies just above the best score. Raises NoCut for anything else, and
    InputError where the scores do not tell their tokens.
    """
    try:
        cut = _find_cut(context, wish)
    except (KeyError, OverflowError, ValueError):
        raise InvalidThreshold(
            "a cut is a score, a share, or a number of samples or tokens"
        ) from None
    if math.isfinite(cut):
        return cut
    best = read_summary(context).max_visnec
    return 0.0 if best is None else math.nextafter(best, math.inf)


def _find_cut(context: Context, wish: Mapping[str, str]) -> float:
    if "share" in wish:
        share = float(wish["share"])
        if not 0 <= share <= 1:
            raise ValueError(share)
        return read_threshold_for_share(context, share)
    if "samples" in wish:
        return read_threshold_for_count(context, _whole(wish["samples"]))
    if "tokens" in wish:
        return read_threshold_for_tokens(context, _whole(wish["tokens"]))
    return read_number(wish["cut"])


def _whole(value: str) -> int:
    number = int(value)
    if not 0 <= number <= _LARGEST:
        raise ValueError(value)
    return number
