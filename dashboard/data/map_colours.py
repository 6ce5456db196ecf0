"""What the points of the map are coloured by: a class per sample, and the colours of the classes.

Samples without a value, such as a decision, are in the class WITHOUT_VALUE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dashboard.charts.map_image import FIRST_VALUE, WITHOUT_VALUE
from dashboard.charts.theme import (
    CATEGORY_COLOURS,
    DECISION_COLOURS,
    SOURCE_COLOURS,
    Shade,
    mix_shades,
)
from dashboard.data.context import Context
from dashboard.data.facts import read_dataset_counts
from dashboard.data.scores import read_summary
from dashboard.data.subsets import read_scope_candidates
from dashboard.view.state import MapColour
from scoring.database.filters import Filter
from scoring.database.queries.browse import matching_rows
from scoring.database.score_index.index import open_score_index
from scoring.necessity import CATEGORIES, Bands, Category

_N_STEPS: Final = 4  # of colour on either side of the band
_SMALLEST_STEP: Final = 0.05  # nats per answer token

Classes = NDArray[np.uint8]
Named = Mapping[str, Shade]


@dataclass(frozen=True, slots=True, eq=False)
class Colouring:
    """The class of each sample by row_idx, and name and colour of the classes from FIRST_VALUE on.

    A colouring by score has one class with ``values``, and a colour for each step between its
    ``limits``.
    """

    classes: Classes
    shades: Named
    without: str
    values: NDArray[np.float32] | None = None
    limits: tuple[float, ...] = ()


def colour_samples(context: Context, colour: MapColour, n_samples: int) -> Colouring:
    """Return the colouring of all samples of the dataset."""
    classes = np.full(n_samples, WITHOUT_VALUE, np.uint8)
    return _COLOURINGS[colour](context.without_filter(), classes)


def _by_category(context: Context, classes: Classes) -> Colouring:
    index = open_score_index(context.selection)
    ends = index.category_ends(context.bands)
    for code in range(len(CATEGORIES)):
        classes[index.row_idx[ends[code] : ends[code + 1]]] = FIRST_VALUE + code
    shades = {str(category): CATEGORY_COLOURS[category] for category in CATEGORIES}
    return Colouring(classes, shades, "no score")


def _by_score(context: Context, classes: Classes) -> Colouring:
    index = open_score_index(context.selection)
    classes[index.row_idx] = FIRST_VALUE
    values = np.zeros(len(classes), np.float32)
    values[index.row_idx] = index.visnec
    limits = score_limits(read_summary(context).quantiles, context.bands)
    return Colouring(classes, score_shades(), "no score", values, limits)


def _by_source(context: Context, classes: Classes) -> Colouring:
    """The largest sources have a colour each, all others share one."""
    candidates = read_scope_candidates(context, context.scope)
    sources = list(map(str, read_dataset_counts(context.store)["source"]))
    n_own = len(SOURCE_COLOURS) - (len(sources) > len(SOURCE_COLOURS))
    class_of = {name: FIRST_VALUE + min(n, n_own) for n, name in enumerate(sources)}
    classes[:] = np.array([class_of[name] for name in candidates.sources])[candidates.source]
    names = sources[:n_own]
    if len(sources) > n_own:
        names.append(f"{len(sources) - n_own} others")
    return Colouring(classes, dict(zip(names, SOURCE_COLOURS, strict=False)), "no source")


def _by_decision(context: Context, classes: Classes) -> Colouring:
    for code, decision in enumerate(DECISION_COLOURS):
        decided = replace(context, filter=Filter(decision=(decision,)))
        classes[matching_rows(decided.selection)] = FIRST_VALUE + code
    return Colouring(classes, DECISION_COLOURS, "undecided")


_COLOURINGS: Final[Mapping[MapColour, Callable[[Context, Classes], Colouring]]] = {
    MapColour.CATEGORY: _by_category,
    MapColour.SCORE: _by_score,
    MapColour.SOURCE: _by_source,
    MapColour.DECISION: _by_decision,
}


def score_limits(quantiles: Mapping[float, float], bands: Bands) -> tuple[float, ...]:
    """Return the scores between two colours: the band is one, and 90 % of scores are in the rest.

    The steps have the same width on each side of the band.
    """
    below = max((bands.low - quantiles.get(0.05, 0.0)) / _N_STEPS, _SMALLEST_STEP)
    above = max((quantiles.get(0.95, 0.0) - bands.high) / _N_STEPS, _SMALLEST_STEP)
    return (
        *(bands.low - below * step for step in reversed(range(_N_STEPS))),
        *(bands.high + above * step for step in range(_N_STEPS)),
    )


def score_shades() -> Named:
    """Return the colours of the scores: those of the categories, stronger away from the band."""
    misaligned, redundant, critical = (CATEGORY_COLOURS[category] for category in Category)
    shares = [0.4 + 0.6 * step / (_N_STEPS - 1) for step in range(_N_STEPS)]
    shades = [
        *(mix_shades(redundant, misaligned, share) for share in reversed(shares)),
        redundant,
        *(mix_shades(redundant, critical, share) for share in shares),
    ]
    return {str(step): shade for step, shade in enumerate(shades)}
