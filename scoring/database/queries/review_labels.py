"""Decisions as labels for settling a threshold: verdict, score and how the sample was drawn.

The one decision behind it: what a label stands for is worked out when it is read, from the labels
given so far and the size of what was drawn from, because queues are left unfinished, drawn anew
and interrupted by other ones. A verdict on a sample that somebody chose says nothing about
others; it counts for itself as far as later draws left it out. Without any random draw there is
nothing that stands for the dataset, and no label is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.conditions import EVERYTHING, Query, compile_query
from scoring.database.connection import Store
from scoring.database.filters import Filter, Range, parse_filter
from scoring.database.score_index.index import SOURCE, ScoreIndex, open_score_index
from scoring.database.values import Scope
from scoring.errors import FilterError
from scoring.necessity import Bands, Category
from scoring.reviews.draws import Draw, parse_draw
from scoring.reviews.threshold_estimation import WeightedLabels, estimate_label_weights

# What a filter may choose by without looking at the scores of a run.
_OF_SAMPLES = {"source", "kind", "image", "length", "turns", "text"}
_N_CATEGORIES = len(Category)


@dataclass(frozen=True, slots=True)
class _Labels:
    """Labelled samples in the order of their first verdicts, column by column.

    ``draw`` numbers, among ``draws``, the one that came before the first verdict; -1 where there
    was none, or one that these samples cannot be carried over from.
    """

    row_idx: NDArray[np.int64]
    visnec: NDArray[np.float64]
    keep: NDArray[np.bool_]
    source: NDArray[np.int64]
    draw: NDArray[np.int64]
    draws: list[Draw]


def read_hand_labels(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> WeightedLabels:
    """Scored samples under the filter whose verdict over all reviewers is keep or drop.

    A draw counts where it was one of all these samples: made without a filter, under this one, or
    under one that holds all of it. Empty, with ``n_undrawn`` telling how many verdicts there are,
    where none was drawn at random.
    """
    bands = bands or store.bands
    which = _whoever_decided(which)
    asked = compile_query(store, scope, which, bands)
    labels = _read_labels(asked, scope, which, bands)
    weights = np.zeros(len(labels.visnec))
    for number, draw in enumerate(labels.draws):
        drawn = labels.draw == number
        one = open_score_index(store, scope, which, bands)
        if draw.stratified:
            stratum, sizes = _in_strata(asked, one, scope, draw, labels, bands)
            akin = {place: place % _N_CATEGORIES for place in sizes}
            given = estimate_label_weights(drawn, stratum, sizes, akin)
        else:
            given = estimate_label_weights(drawn, np.zeros(len(drawn), np.int64), {0: len(one)})
        weights += int(drawn.sum()) * given
    used = weights > 0
    n_drawn = int((labels.draw >= 0).sum())
    return WeightedLabels(
        labels.visnec[used],
        labels.keep[used],
        weights[used] / max(n_drawn, 1),
        len(weights) - n_drawn,
    )


def _read_labels(asked: Query, scope: Scope, which: Filter, bands: Bands) -> _Labels:
    rows = asked.rows(_LABELS, asked.where, "ORDER BY d.first_at, s.row_idx")
    row_idx, visnec, keep, source, texts = zip(*rows, strict=True) if rows else ((),) * 5
    usable = {
        text: _usable(parse_draw(text), scope, which, bands, asked.snapshot.scopes)
        for text in dict.fromkeys(texts)
        if text is not None
    }
    draws = [draw for draw in dict.fromkeys(usable.values()) if draw is not None]
    numbers = {text: -1 if draw is None else draws.index(draw) for text, draw in usable.items()} | {
        None: -1
    }
    return _Labels(
        np.array(row_idx, np.int64),
        np.array(visnec, np.float64),
        np.array(keep, np.bool_),
        np.array(source, np.int64),
        np.array([numbers[text] for text in texts], np.int64),
        draws,
    )


def _usable(
    draw: Draw, scope: Scope, which: Filter, bands: Bands, scopes: Sequence[tuple[str, str]]
) -> Draw | None:
    """The draw, as far as it matters, where the samples in view are part of what it drew from."""
    own = (draw.run_id, draw.baseline) in [*scopes, (None, None)]
    if draw.stratified and not own:  # by scores that are gone
        return None
    try:
        drawn_from = _whoever_decided(parse_filter(draw.filter))
    except FilterError:  # of a newer version
        return None
    if not is_within(which, drawn_from):
        return None
    parts = {item.name for item in fields(Filter) if getattr(drawn_from, item.name)}
    if not parts <= _OF_SAMPLES:
        same = (draw.run_id, draw.baseline) == (scope.run_id, scope.baseline)
        same &= not drawn_from.cluster or draw.clustering_id == scope.clustering_id
        same &= not drawn_from.needs_bands or (draw.low, draw.high) == (bands.low, bands.high)
        if not same:
            return None
    return replace(draw, filter="", clustering_id=None) if draw.stratified else Draw()


def _whoever_decided(which: Filter) -> Filter:
    """Without "none" among the decisions: a draw from what nobody has decided is one of the rest,
    and that is how labels are weighed anyhow."""
    return replace(which, decision=()) if "none" in which.decision else which


def is_within(inner: Filter, outer: Filter) -> bool:
    """Whether what meets ``inner`` meets ``outer`` too, as far as their parts tell."""
    judged = bool(outer.blind or outer.seen)
    if judged and (inner.model, inner.measure) != (outer.model, outer.measure):
        return False
    return all(
        _part_within(getattr(inner, item.name), getattr(outer, item.name))
        for item in fields(Filter)
        if item.name not in ("model", "measure")
    )


def _part_within(inner: Any, outer: Any) -> bool:
    if outer is None or outer == ():
        return True
    if isinstance(outer, tuple):
        return bool(inner) and set(inner) <= set(outer)
    if isinstance(outer, Range):
        return isinstance(inner, Range) and _limits_within(inner, outer)
    return bool(inner == outer)


def _limits_within(inner: Range, outer: Range) -> bool:
    low = outer.min is None or (inner.min is not None and inner.min >= outer.min)
    return low and (outer.max is None or (inner.max is not None and inner.max <= outer.max))


# ---- strata --------------------------------------------------------------------------------------


def _in_strata(
    asked: Query, one: ScoreIndex, scope: Scope, draw: Draw, labels: _Labels, bands: Bands
) -> tuple[NDArray[np.int64], dict[int, int]]:
    """The stratum of every label in a stratified draw, and the sizes of the strata."""
    if draw.low is not None and draw.high is not None:
        bands = Bands(draw.low, draw.high)
    other = Scope(draw.run_id or scope.run_id, draw.baseline or scope.baseline)
    if (other.run_id, other.baseline) == (scope.run_id, scope.baseline):
        return _strata_of(labels.source, labels.visnec, bands), _sizes(one, bands)
    values: dict[str, Any] = {"other_run": other.run_id, "other_baseline": other.baseline}
    values |= {"stratum_low": bands.low, "stratum_high": bands.high}
    rows = asked.rows(_OTHER_SIZES, asked.where, "GROUP BY ALL", **values)
    known = dict(
        asked.rows(
            _OTHER_STRATA, asked.where, "AND s.row_idx = ANY($rows)",
            **values, rows=labels.row_idx.tolist(),
        )
    )  # fmt: skip
    return np.array([known[row] for row in labels.row_idx.tolist()], np.int64), dict(rows)


def _strata_of(
    source: NDArray[np.int64], visnec: NDArray[np.float64], bands: Bands
) -> NDArray[np.int64]:
    """The number of each sample's stratum: three times its source's, plus its category's."""
    category = np.searchsorted(np.array([bands.low, bands.high]), visnec, side="right")
    return source * _N_CATEGORIES + category


def _sizes(one: ScoreIndex, bands: Bands) -> dict[int, int]:
    """Stratum -> how many of the samples lie in it."""
    table = one.group(SOURCE)
    ends = (0, one.position(bands.low), one.position(bands.high), len(one))
    left = [table.counts_left(end) for end in ends]
    found: dict[int, int] = {}
    for category in range(_N_CATEGORIES):
        for source, n in enumerate((left[category + 1] - left[category]).tolist()):
            if n:
                found[source * _N_CATEGORIES + category] = n
    return found


_LABELS = """
    SELECT
        s.row_idx, s.visnec, v.decision = 'keep', s.source_no,
        CASE WHEN d.drawn_at <= d.first_at THEN d.draw END
    FROM scores s
    JOIN verdicts v ON v.row_idx = s.row_idx
    JOIN (
        SELECT
            row_idx, min(first_decided_at) AS first_at, min(drawn_at) AS drawn_at,
            arg_min(draw, drawn_at) AS draw
        FROM decisions WHERE decision IS NOT NULL GROUP BY row_idx
    ) d ON d.row_idx = s.row_idx
    WHERE s.visnec IS NOT NULL AND v.decision <> 'unsure' AND
"""
_STRATUM = """
    s.source_no::BIGINT * 3 + CASE
        WHEN o.visnec < $stratum_low THEN 0 WHEN o.visnec < $stratum_high THEN 1 ELSE 2
    END
"""
_OTHER = """
    FROM scores s LEFT JOIN (
        SELECT row_idx, visnec FROM scores
        WHERE run_id = $other_run AND baseline = $other_baseline
    ) o ON o.row_idx = s.row_idx
    WHERE s.visnec IS NOT NULL AND
"""
_OTHER_SIZES = "\n".join(("SELECT", _STRATUM, ", count(*)", _OTHER))
_OTHER_STRATA = "\n".join(("SELECT s.row_idx,", _STRATUM, _OTHER))
