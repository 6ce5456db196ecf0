"""How far scores can be trusted: what was not scored, and which categories stand on little.

A score has no interval: the mean over an answer's tokens is exact. What can move it over a limit
is the noise of its dtype and the choice of the blind baseline; both are counted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scoring.database.conditions import (
    CERTAINTY,
    CONTENT_TOKENS,
    DIFFERING_SPANS,
    EVERYTHING,
    Query,
    compile_query,
)
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.queries.overview import status_counts
from scoring.database.values import Scope
from scoring.necessity import Bands
from scoring.precision import Noise


@dataclass(frozen=True, slots=True)
class ScoreHealth:
    """Counts of samples under a filter.

    ``statuses`` adds up to all of them. Of the ``n_scored``: ``n_one_token`` have one content
    token (see ``CONTENT_TOKENS``); ``n_undecided`` are within the ``noise`` of a band limit, None
    where the noise is unknown. ``n_truncated`` were cut to fit. ``n_compared`` have scores for
    several baselines of the run, ``n_differing`` of them another category by another baseline.
    """

    statuses: Mapping[str, int]
    n_scored: int
    n_one_token: int
    noise: Noise | None
    n_undecided: int | None
    n_truncated: int
    n_compared: int
    n_differing: int

    @property
    def share_one_token(self) -> float | None:
        """Share of the scored whose answer is one token, the end token aside."""
        return self.n_one_token / self.n_scored if self.n_scored else None

    @property
    def share_differing(self) -> float | None:
        """Share of the compared whose category depends on the baseline."""
        return self.n_differing / self.n_compared if self.n_compared else None


def score_health(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> ScoreHealth:
    """Counts of what is not scored, thin, undecided or dependent on the baseline."""
    bands = bands or store.bands
    asked = compile_query(store, scope, which, bands)
    statuses = status_counts(store, scope, which, bands)
    limits = {"low": bands.low, "high": bands.high}
    noise = asked.snapshot.noises[scope.run_id, scope.baseline]
    scored, one_token, undecided, truncated = asked.rows(
        "SELECT count(*), count(*) FILTER (", CONTENT_TOKENS, "= 1), count(*) FILTER (",
        CERTAINTY["undecided"],
        "), count(*) FILTER (s.truncated) FROM scores s WHERE s.visnec IS NOT NULL AND",
        asked.where,
        **limits,
        noise=noise.band if noise else None,
    )[0]  # fmt: skip
    compared, differing = _baselines(asked, limits)
    return ScoreHealth(
        statuses=dict(zip(statuses["status"], (int(n) for n in statuses["n"]), strict=True)),
        n_scored=scored,
        n_one_token=one_token,
        noise=noise,
        n_undecided=undecided if noise else None,
        n_truncated=truncated,
        n_compared=compared,
        n_differing=differing,
    )


def _baselines(asked: Query, limits: dict[str, float]) -> tuple[int, int]:
    run = {"run_id": asked.values["run_id"]}
    if not asked.snapshot.rows("SELECT 1 FROM baseline_spans WHERE run_id = $run_id LIMIT 1", run):
        return 0, 0
    spans = "SELECT row_idx FROM baseline_spans WHERE run_id = $run_id"
    counting = ("SELECT count(*) FROM scores s WHERE", asked.where, "AND s.row_idx IN (")
    compared = asked.rows(*counting, spans, ")")[0][0]
    differing = asked.rows(*counting, DIFFERING_SPANS, ")", **limits)[0][0]
    return compared, differing
