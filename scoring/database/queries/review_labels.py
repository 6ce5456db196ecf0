"""Decisions as labels for choosing a threshold: decision, score and how the sample was drawn.

The weight of a label is computed when it is read, from the labels so far and the size of what was
drawn from, because queues are left unfinished, redrawn and interrupted by others. A decision on a
sample that somebody chose does not represent other samples; it counts once, unless a later draw
covers it. Without any random draw nothing represents the dataset, and no label is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.conditions import compile_query
from scoring.database.connection import Selection
from scoring.database.filters import Filter, Range, parse_filter
from scoring.database.queries.browse import score_column
from scoring.database.queries.review_queues import assign_strata, count_strata
from scoring.database.score_index.index import SOURCE, open_score_index
from scoring.database.values import Scope
from scoring.errors import FilterError
from scoring.necessity import CATEGORIES, Bands
from scoring.reviews.decision_log import Draw, parse_draw
from scoring.reviews.threshold_estimation import WeightedLabels, estimate_label_weights

# Parts of a filter that do not depend on the scores of a run.
_PARTS_WITHOUT_SCORES = {"source", "kind", "image", "length", "turns", "text"}
_LABELS = """
    SELECT
        s.row_idx, s.visnec, f.decision = 'keep', s.source_no,
        CASE WHEN d.drawn_at <= d.first_at THEN d.draw END
    FROM matching s
    JOIN final_decisions f ON f.row_idx = s.row_idx
    JOIN (
        SELECT
            row_idx, min(first_decided_at) AS first_at, min(drawn_at) AS drawn_at,
            arg_min(draw, drawn_at) AS draw
        FROM decisions WHERE decision IS NOT NULL GROUP BY row_idx
    ) d ON d.row_idx = s.row_idx
    WHERE s.visnec IS NOT NULL AND f.decision <> 'unsure'
    ORDER BY d.first_at, s.row_idx
"""


def read_hand_labels(selection: Selection) -> WeightedLabels:
    """Return the scored samples of a selection that reviewers decided to keep or drop.

    A draw counts where all these samples could be drawn: made without a filter, under this one, or
    under one that includes it. Empty where none was drawn at random; ``n_undrawn`` counts the
    decisions that came from no draw.
    """
    selection = replace(selection, where=_drop_undecided(selection.where))
    query = compile_query(selection)
    rows = query.fetch_rows(_LABELS)  # in the order of the first decisions
    row_idx, visnec, keep, source, texts = zip(*rows, strict=True) if rows else ((),) * 5
    usable = {
        text: _usable_draw(parse_draw(text), selection, query.snapshot.scopes)
        for text in dict.fromkeys(texts)
        if text is not None
    }
    draws = list(dict.fromkeys(draw for draw in usable.values() if draw is not None))
    numbers = {text: draws.index(draw) for text, draw in usable.items() if draw is not None}
    draw_of = np.array([numbers.get(text, -1) for text in texts], np.int64)
    weights = np.zeros(len(rows))
    for number, draw in enumerate(draws):
        drawn = draw_of == number
        if draw.stratified:
            labels = (np.array(row_idx, np.int64), np.array(source), np.array(visnec, np.float64))
            strata, sizes = _assign_strata_of_draw(selection, draw, *labels)
            families = {stratum: stratum % len(CATEGORIES) for stratum in sizes}
            given = estimate_label_weights(drawn, strata, sizes, families)
        else:
            sizes = {0: len(open_score_index(selection))}
            given = estimate_label_weights(drawn, np.zeros(len(drawn), np.int64), sizes)
        weights += int(drawn.sum()) * given
    used = weights > 0
    n_drawn = int((draw_of >= 0).sum())
    return WeightedLabels(
        np.array(visnec, np.float64)[used],
        np.array(keep, np.bool_)[used],
        weights[used] / max(n_drawn, 1),
        len(rows) - n_drawn,
    )


def _usable_draw(
    draw: Draw, selection: Selection, scopes: Sequence[tuple[str, str]]
) -> Draw | None:
    """The draw, reduced to what matters, where it could draw any of the selected samples."""
    has_scores = (draw.run_id, draw.baseline) in [*scopes, (None, None)]
    if draw.stratified and not has_scores:
        return None
    try:
        drawn_from = _drop_undecided(parse_filter(draw.filter))
    except FilterError:  # of a newer version
        return None
    if not is_within(selection.where, drawn_from):
        return None
    if drawn_from.col or drawn_from.area:
        return None  # the column may have been replaced since
    parts = {item.name for item in fields(Filter) if getattr(drawn_from, item.name)}
    if not parts <= _PARTS_WITHOUT_SCORES:
        scope, bands = selection.scope, selection.bands
        is_same = (draw.run_id, draw.baseline) == (scope.run_id, scope.baseline)
        is_same &= not drawn_from.cluster or draw.clustering_id == scope.clustering_id
        is_same &= not drawn_from.needs_bands or (draw.low, draw.high) == (bands.low, bands.high)
        if not is_same:
            return None
    return replace(draw, filter="", clustering_id=None) if draw.stratified else Draw()


def _drop_undecided(where: Filter) -> Filter:
    """The filter without "none" among its decisions: a draw from samples without a decision is a
    draw from the rest, and that is how labels are weighted anyway."""
    return replace(where, decision=()) if "none" in where.decision else where


def is_within(inner: Filter, outer: Filter) -> bool:
    """Return whether what matches ``inner`` certainly matches ``outer``, judging by their parts."""
    uses_grades = bool(outer.blind or outer.seen)
    if uses_grades and (inner.model, inner.measure) != (outer.model, outer.measure):
        return False
    # The conditions of these two are joined by "and".
    if not (set(outer.col) <= set(inner.col) and set(outer.area) <= set(inner.area)):
        return False
    return all(
        _is_part_within(getattr(inner, item.name), getattr(outer, item.name))
        for item in fields(Filter)
        if item.name not in ("model", "measure", "col", "area")
    )


def _is_part_within(inner: Any, outer: Any) -> bool:
    if outer is None or outer == ():
        return True
    if isinstance(outer, tuple):
        return bool(inner) and set(inner) <= set(outer)
    if isinstance(outer, Range):
        return (
            isinstance(inner, Range)
            and (outer.min is None or (inner.min is not None and inner.min >= outer.min))
            and (outer.max is None or (inner.max is not None and inner.max <= outer.max))
        )
    return bool(inner == outer)


def _assign_strata_of_draw(
    selection: Selection,
    draw: Draw,
    row_idx: NDArray[np.int64],
    source: NDArray[np.int64],
    visnec: NDArray[np.float64],
) -> tuple[NDArray[np.int64], dict[int, int]]:
    """The stratum of every label in a stratified draw, and the sizes of the strata.

    The samples are those selected; scores and limits are those that the draw was made with.
    """
    index, scope, bands = open_score_index(selection), selection.scope, selection.bands
    if draw.low is not None and draw.high is not None:
        bands = Bands(draw.low, draw.high)
    drawn_by = Scope(draw.run_id or scope.run_id, draw.baseline or scope.baseline)
    all_visnec = index.visnec
    if (drawn_by.run_id, drawn_by.baseline) != (scope.run_id, scope.baseline):
        scores = score_column(selection.store, drawn_by)
        all_visnec, visnec = scores[index.row_idx], scores[row_idx]
    sizes = count_strata(assign_strata(index.codes[SOURCE], all_visnec, bands))
    return assign_strata(source, visnec, bands), sizes
