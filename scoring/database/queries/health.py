"""How far scores can be trusted: what was not scored, and which categories are uncertain.

A score has no interval: the mean over an answer's tokens is exact. The noise of its dtype and the
choice of the blind baseline can move it across a limit; both are counted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scoring.database.conditions import (
    CERTAINTY,
    COMPARED_ROWS,
    CONTENT_TOKENS,
    DIFFERING_ROWS,
    compile_query,
)
from scoring.database.connection import View
from scoring.database.queries.overview import status_counts
from scoring.precision import Noise

_SCORED = f"""
    SELECT
        count(*), count(*) FILTER ({CONTENT_TOKENS} = 1),
        count(*) FILTER ({CERTAINTY["undecided"]}), count(*) FILTER (s.truncated)
    FROM matching s WHERE s.visnec IS NOT NULL
"""
_COMPARED = f"""
    SELECT
        count(*) FILTER (row_idx IN ({COMPARED_ROWS})),
        count(*) FILTER (row_idx IN ({DIFFERING_ROWS}))
    FROM matching
"""


@dataclass(frozen=True, slots=True)
class ScoreHealth:
    """Counts of samples under a filter.

    ``statuses`` adds up to all of them. Of the ``n_scored``: ``n_one_token`` have one content
    token (see ``CONTENT_TOKENS``); ``n_undecided`` are within the ``noise`` of a band limit, None
    where the noise is unknown. ``n_truncated`` were truncated to fit. ``n_compared`` have scores
    for several baselines of the run, ``n_differing`` of them a category that depends on it.
    """

    statuses: Mapping[str, int]
    n_scored: int
    n_one_token: int
    noise: Noise | None
    n_undecided: int | None
    n_truncated: int
    n_compared: int
    n_differing: int


def score_health(view: View) -> ScoreHealth:
    """Count what is not scored, based on one token, undecided or dependent on the baseline."""
    query = compile_query(view)
    statuses = status_counts(view)
    noise = query.snapshot.noises[view.scope.run_id, view.scope.baseline]
    scored, one_token, undecided, truncated = query.fetch_rows(_SCORED)[0]
    compared = differing = 0
    if query.snapshot.fetch_rows(f"{COMPARED_ROWS} LIMIT 1", query.values):
        compared, differing = query.fetch_rows(_COMPARED)[0]
    return ScoreHealth(
        statuses=dict(zip(statuses["status"], statuses["n"].tolist(), strict=True)),
        n_scored=scored,
        n_one_token=one_token,
        noise=noise,
        n_undecided=undecided if noise else None,
        n_truncated=truncated,
        n_compared=compared,
        n_differing=differing,
    )
