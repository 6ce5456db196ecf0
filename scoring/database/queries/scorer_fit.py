"""Whether the scores of a run are fit to select by, and how many of them are in each category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scoring.database.connection import Store
from scoring.necessity import CATEGORIES, LOW_TOLERANCE, Bands, Category

MIN_SCORES: Final = 20  # with fewer the model is not judged
TRAINING_NOTE: Final = (
    "A model that was trained on this dataset has seen its wrong answers: they score higher, and "
    "misaligned samples go unnoticed. Score with a model that was not."
)
_COUNTS: Final = """
    SELECT
        run_id, baseline, source, count(*), count(*) FILTER (visnec < 0),
        count(*) FILTER (visnec < $low), count(*) FILTER (visnec >= $high),
        count(*) FILTER (visnec BETWEEN $low - $tolerance AND $low + $tolerance), avg(visnec)
    FROM scores
    WHERE visnec IS NOT NULL AND ($run_id::VARCHAR IS NULL OR run_id = $run_id)
    GROUP BY run_id, baseline, source
"""


@dataclass(frozen=True, slots=True)
class ScorerFit:
    """Counts of the scores of a run and baseline.

    ``n_near_low`` are within ``LOW_TOLERANCE`` of the lower band limit ``low``, ``n_negative``
    below 0. In ``n_sources_worse`` of ``n_sources`` the mean multimodal loss is above the mean
    text-only loss.
    """

    run_id: str
    baseline: str
    low: float
    n_scored: int
    n_negative: int
    n_near_low: int
    categories: Mapping[Category, int]
    n_sources: int
    n_sources_worse: int


def read_scorer_fits(store: Store, bands: Bands, run_id: str | None = None) -> list[ScorerFit]:
    """Return the counts of each run and baseline with a score, or of one run, oldest first."""
    snapshot = store.snapshot()
    limits = {"low": bands.low, "high": bands.high, "tolerance": LOW_TOLERANCE, "run_id": run_id}
    rows: dict[tuple[str, str], list[tuple[int, int, int, int, int, float]]] = {}
    for run, baseline, _, *counts in snapshot.fetch_rows(_COUNTS, limits):
        rows.setdefault((run, baseline), []).append(tuple(counts))
    return [
        _sum_sources(*scope, bands.low, rows[scope]) for scope in snapshot.scopes if scope in rows
    ]


def _sum_sources(
    run_id: str, baseline: str, low: float, sources: list[tuple[int, int, int, int, int, float]]
) -> ScorerFit:
    *columns, means = zip(*sources, strict=True)
    n_scored, n_negative, n_low, n_high, n_near = map(sum, columns)
    counts = (n_low, n_scored - n_low - n_high, n_high)
    return ScorerFit(
        run_id=run_id,
        baseline=baseline,
        low=low,
        n_scored=n_scored,
        n_negative=n_negative,
        n_near_low=n_near,
        categories=dict(zip(CATEGORIES, counts, strict=True)),
        n_sources=len(sources),
        n_sources_worse=sum(mean < 0 for mean in means),
    )


def format_categories(fit: ScorerFit) -> str:
    """Return the number of scores in each category, and of those near the lower limit."""
    misaligned, redundant, critical = (fit.categories[category] for category in CATEGORIES)
    return (
        f"{misaligned:,} misaligned (below {fit.low:g}; within {LOW_TOLERANCE:g} of this limit: "
        f"{fit.n_near_low:,}), {redundant:,} redundant, {critical:,} vision-critical"
    )


def find_fit_problem(fit: ScorerFit) -> str | None:
    """Return why the model does not fit the task and what to do, or None if nothing shows it."""
    if fit.n_scored < MIN_SCORES:
        return None
    if fit.n_negative > fit.n_scored / 2:
        fact = f"{100 * fit.n_negative / fit.n_scored:.0f} % of the scores are negative"
    elif fit.n_sources_worse == fit.n_sources:
        fact = "in every source the mean loss is lower without the images than with them"
    else:
        return None
    return (
        f"This model does worse with the images than without them ({fact}), so do not select by "
        "its scores: check the chat template and that the images belong to their records, or "
        "score with a model that was trained to answer questions about images."
    )
