"""How far scores can be trusted: what was not scored, and which categories stand on little.

The one decision behind it: what cannot be judged is counted as unknown, never as sure. A score
over one answer token has no spread, and scores from elsewhere bring none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scoring.necessity import Bands
from scoring.store.conditions import CERTAINTY, DIFFERING_SPANS, EVERYTHING, NORMAL_95, Asked, ask
from scoring.store.filters import Filter
from scoring.store.overview import status_counts
from scoring.store.store import Store
from scoring.store.values import Scope


@dataclass(frozen=True, slots=True)
class ScoreHealth:
    """Counts of samples under a filter.

    ``statuses`` adds up to all of them. Of the ``n_scored``: ``n_one_token`` have a single answer
    token, or one and the end token where the run scores that one too (``few_tokens`` is 1 or 2);
    ``n_undecided`` have a 95 % interval (normal, from the paired token differences) that
    covers a band limit, ``n_sure`` have one that does not, and ``n_unknown`` have none because
    there is one token or no spread was stored; the three add up. ``n_truncated`` were cut to fit.
    ``n_compared`` have scores for several baselines of the run, ``n_differing`` of them another
    category by another baseline.
    """

    statuses: Mapping[str, int]
    n_scored: int
    few_tokens: int
    n_one_token: int
    n_sure: int
    n_undecided: int
    n_unknown: int
    n_truncated: int
    n_compared: int
    n_differing: int

    @property
    def share_one_token(self) -> float | None:
        """Share of the scored whose answer is one token, the end token aside."""
        return self.n_one_token / self.n_scored if self.n_scored else None

    @property
    def share_undecided(self) -> float | None:
        """Share of the scored whose interval covers a band limit."""
        return self.n_undecided / self.n_scored if self.n_scored else None

    @property
    def share_differing(self) -> float | None:
        """Share of the compared whose category depends on the baseline."""
        return self.n_differing / self.n_compared if self.n_compared else None


def score_health(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> ScoreHealth:
    """Counts of what is not scored, thin, undecided or dependent on the baseline."""
    bands = bands or store.bands
    asked = ask(store, scope, which, bands)
    statuses = status_counts(store, scope, which, bands)
    limits = {"low": bands.low, "high": bands.high}
    few_tokens = _few_tokens(asked)
    scored, one_token, unknown, undecided, truncated = asked.rows(
        "SELECT count(*), count(*) FILTER (s.n_answer_tokens <= $few_tokens),",
        "count(*) FILTER (s.visnec_stderr IS NULL), count(*) FILTER (",
        CERTAINTY["undecided"],
        "), count(*) FILTER (s.truncated) FROM scores s WHERE s.visnec IS NOT NULL AND",
        asked.where,
        **limits,
        normal=NORMAL_95,
        few_tokens=few_tokens,
    )[0]
    compared, differing = _baselines(asked, limits)
    return ScoreHealth(
        statuses=dict(zip(statuses["status"], (int(n) for n in statuses["n"]), strict=True)),
        n_scored=scored,
        few_tokens=few_tokens,
        n_one_token=one_token,
        n_sure=scored - unknown - undecided,
        n_undecided=undecided,
        n_unknown=unknown,
        n_truncated=truncated,
        n_compared=compared,
        n_differing=differing,
    )


def _few_tokens(asked: Asked) -> int:
    """Answer tokens of which one at most is no end token."""
    ends = asked.reading.rows(
        "SELECT score_eos FROM runs WHERE run_id = $run_id AND baseline = $baseline",
        {name: asked.values[name] for name in ("run_id", "baseline")},
    )
    return 2 if ends[0][0] else 1


def _baselines(asked: Asked, limits: dict[str, float]) -> tuple[int, int]:
    run = {"run_id": asked.values["run_id"]}
    if not asked.reading.rows("SELECT 1 FROM baseline_spans WHERE run_id = $run_id LIMIT 1", run):
        return 0, 0
    spans = "SELECT row_idx FROM baseline_spans WHERE run_id = $run_id"
    counting = ("SELECT count(*) FROM scores s WHERE", asked.where, "AND s.row_idx IN (")
    compared = asked.rows(*counting, spans, ")")[0][0]
    differing = asked.rows(*counting, DIFFERING_SPANS, ")", **limits)[0][0]
    return compared, differing
