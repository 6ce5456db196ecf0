"""How two sets of scores relate, and how far one of them can be trusted."""

from __future__ import annotations

import pandas as pd

from dashboard.data.context import Context, about, read_cached
from dashboard.data.facts import read_scopes
from scoring.database.queries.compare import Comparison, compare_scopes
from scoring.database.queries.health import ScoreHealth, score_health
from scoring.database.values import Scope


def read_other_scopes(context: Context) -> list[Scope]:
    """The sets of scores that this one can be compared with: other baselines, other runs."""
    frame = read_scopes(context.store)
    scored: pd.DataFrame = frame[frame["n_scored"] > 0]
    pairs = zip(scored["run_id"], scored["baseline"], strict=True)
    here = context.scope
    others = [Scope(str(run), str(baseline), here.clustering_id) for run, baseline in pairs]
    return [one for one in others if (one.run_id, one.baseline) != (here.run_id, here.baseline)]


def read_comparison(context: Context, other: Scope, share: float) -> Comparison:
    """How the scores of the view and another set relate under the filter."""
    store, scope, which = about(context)
    return compare_scopes(store, scope, other, which, share, bands=context.bands)


def read_health(context: Context) -> ScoreHealth:
    """What of the scores is thin, undecided, or dependent on the baseline."""
    return read_cached(
        context,
        "health",
        lambda: score_health(*about(context), context.bands),
        decisions=False,
    )
