"""What a threshold keeps and drops: one function for the threshold editor's route and for the page.

The editor requests the counts from its route, so that exact counts are shown before the page has
rerun; the page then calls the same function and shows the same counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboard.charts.theme import SOURCE_COLOURS
from dashboard.data.context import Context, cached_read, open_view_context
from dashboard.data.reviews import read_labels
from dashboard.data.scores import read_summary, read_threshold_counts
from dashboard.text import formatting
from dashboard.view.parameters import NUMBER
from dashboard.view.state import View
from scoring.database.queries.overview import score_noise
from scoring.database.score_index.thresholds import (
    count_near,
    threshold_for_count,
    threshold_for_share,
    threshold_for_tokens,
)
from scoring.database.values import Record
from scoring.errors import WorkspaceError
from scoring.necessity import LOW_TOLERANCE, Category
from scoring.precision import UNKNOWN
from scoring.reviews.threshold_estimation import WeightedLabels, estimate_quality

MIN_LABELS: Final = 10  # below this nothing is estimated from labels
_LARGEST: Final = 2**53  # largest integer that a browser represents exactly

Stats = dict[str, Any]


class InvalidRequest(ValueError):
    """The request does not describe a threshold, or rows."""


def threshold_stats(view: View, request: Mapping[str, str] | None = None) -> Stats:
    """Return exact counts for a threshold and the band limits of ``view``, as JSON values.

    Args:
        view: Scores, filter and band limits; its threshold holds unless a request gives another.
        request: One of ``cut`` (a score), ``share`` of scored samples to keep (0 to 1), or a number
            of ``samples`` or answer ``tokens`` to keep.

    Returns:
        ``figures`` are name, value and note as they are shown. ``parts`` are the sources on both
        sides, empty if there is only one. ``kept_tokens`` and ``tokens`` are None if the run has no
        token counts.

    Raises:
        InvalidRequest: If the request is not one of these.
        InputError: For a request in tokens if the run has no token counts.
        WorkspaceError: If nothing is scored.
    """
    context = open_view_context(view).context
    if context is None:
        raise WorkspaceError("nothing is scored here")
    if request is None:
        threshold = view.threshold(context.workspace.bands)
    else:
        threshold = resolve_threshold(context, request)
    return _compute_stats(context, threshold)


def resolve_threshold(context: Context, request: Mapping[str, str]) -> float:
    """Return the threshold that a request describes; see :func:`threshold_stats`.

    A request that would keep nothing gives a threshold just above the highest score.
    """
    selection = context.selection
    try:
        if "share" in request:
            share = float(request["share"])
            if not 0 <= share <= 1:
                raise InvalidRequest
            threshold = threshold_for_share(selection, share)
        elif "samples" in request:
            threshold = threshold_for_count(selection, read_count(request["samples"]))
        elif "tokens" in request:
            threshold = threshold_for_tokens(selection, read_count(request["tokens"]))
        else:
            threshold = NUMBER.read(request["cut"])
    except (KeyError, OverflowError, ValueError):
        raise InvalidRequest(
            "a threshold is a score, a share, or a number of samples or answer tokens"
        ) from None
    if math.isfinite(threshold):
        return threshold
    highest = read_summary(context).max_visnec
    return 0.0 if highest is None else math.nextafter(highest, math.inf)


def choose_step(edges: Sequence[float]) -> float:
    """Return the power of ten by which limits move: about 1/500 of the axis."""
    span = edges[-1] - edges[0]
    return float(10.0 ** round(math.log10(span / 500))) if span > 0 else 0.01


def read_count(text: str) -> int:
    """Return a number of samples or tokens. Raises ValueError."""
    count = int(text)
    if not 0 <= count <= _LARGEST:
        raise ValueError(text)
    return count


@cached_read()
def _compute_stats(context: Context, threshold: float) -> Stats:
    count, share, score = formatting.count, formatting.share, formatting.score
    summary, counts = read_summary(context), read_threshold_counts(context, threshold)
    n_kept, n_dropped, tokens = counts.n_kept, counts.n_dropped, None
    wrongly_dropped = describe_wrongly_dropped(read_labels(context), threshold, n_dropped)
    n_near, noise_note = None, UNKNOWN
    if noise := score_noise(context.store, context.scope):
        n_near = count_near(context.selection, threshold, noise.band)
        noise_note = str(noise)
    figures = [
        ("Wrongly dropped", *wrongly_dropped),
        ("Within the noise", count(n_near), noise_note),
    ]
    if counts.tokens_kept is None or counts.tokens_dropped is None:
        figures.append(("Answer tokens", formatting.ABSENT, formatting.UNKNOWN))
    else:
        tokens = counts.tokens_kept + counts.tokens_dropped
        of_all = f"{share(counts.tokens_kept, tokens)} of {count(tokens)}"
        figures.append(("Kept answer tokens", count(counts.tokens_kept), of_all))
    low, median, high = (summary.quantiles.get(quantile) for quantile in (0.05, 0.5, 0.95))
    extremes = f"lowest {score(summary.min_visnec, 2)}, highest {score(summary.max_visnec, 2)}"
    figures += [
        ("Median score", score(median), f"mean {score(summary.mean)}"),
        ("5 % to 95 %", f"{score(low, 2)} … {score(high, 2)}", extremes),
    ]
    return {
        "low": context.bands.low,
        "high": context.bands.high,
        "cut": threshold,
        "scored": n_kept + n_dropped,
        "kept": n_kept,
        "misaligned": summary.categories[Category.MISALIGNED],
        "near_low": count_near(context.selection, context.bands.low, LOW_TOLERANCE),
        "tolerance": LOW_TOLERANCE,
        "critical": summary.categories[Category.VISION_CRITICAL],
        "kept_tokens": counts.tokens_kept,
        "tokens": tokens,
        "figures": [{"name": name, "value": value, "note": note} for name, value, note in figures],
        "parts": split_by_source(counts.by_source),
    }


def describe_wrongly_dropped(
    labels: WeightedLabels, threshold: float, n_dropped: int
) -> tuple[str, str]:
    """Return the share of dropped samples that people would keep, and what it is based on."""
    if len(labels) < MIN_LABELS:
        return formatting.ABSENT, f"{len(labels)} of {MIN_LABELS} labels needed"
    share = estimate_quality(labels, threshold).wrongly_dropped
    if share is None:
        return formatting.ABSENT, "no label below the threshold"
    low, high = (formatting.count(round(end * n_dropped)) for end in (share.low, share.high))
    return (
        formatting.share(share.value, 1),
        f"≈ {formatting.count(round(share.value * n_dropped))} samples ({low} to {high}), "
        f"from {formatting.plural(share.n, 'label')}",
    )


def split_by_source(by_source: Sequence[Record]) -> list[list[Any]]:
    """Return name, kept and dropped samples of the largest sources with a scored sample.

    One per colour, the rest summed as one. Empty if all samples come from one source.
    """
    splits = [[row["source"], row["kept"], row["dropped"]] for row in by_source]
    splits = [split for split in splits if split[1] + split[2]]
    if len(splits) < 2:
        return []
    n_own = len(SOURCE_COLOURS) - 1
    if len(splits) > len(SOURCE_COLOURS):
        _, kept, dropped = zip(*splits[n_own:], strict=True)
        splits[n_own:] = [[f"{len(kept)} others", sum(kept), sum(dropped)]]
    return splits
