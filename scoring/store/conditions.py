"""From a scope and a filter to the condition of a query: constant SQL text and bound values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from scoring.errors import InputError
from scoring.necessity import Bands, Category
from scoring.store.filters import DECISIONS, Filter, Range
from scoring.store.store import Reading, Store
from scoring.store.values import Scope

EVERYTHING = Filter()

_COLUMNS = {
    "visnec": "s.visnec",
    "loss_text": "s.loss_text",
    "loss_multimodal": "s.loss_multimodal",
    "tokens": "s.n_answer_tokens",
}
_CATEGORY = {
    Category.MISALIGNED: "s.visnec < $low",
    Category.REDUNDANT: "s.visnec >= $low AND s.visnec < $high",
    Category.VISION_CRITICAL: "s.visnec >= $high",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question under way: what it reads, and which rows of ``scores s`` it is about."""

    reading: Reading
    where: str
    values: dict[str, Any] = field(default_factory=dict)

    def frame(self, *query: str, **values: Any) -> pd.DataFrame:
        """The answer as a frame; the pieces of the query are joined."""
        return self.reading.frame("\n".join(query), self.values | values)

    def rows(self, *query: str, **values: Any) -> list[tuple[Any, ...]]:
        """The answer as tuples; the pieces of the query are joined."""
        return self.reading.rows("\n".join(query), self.values | values)


def ask(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> Asked:
    """Begins a question about the samples of a scope that meet a which.

    Categories are those of ``bands``, by default the workspace's. Raises InputError for a run,
    baseline or clustering that the database does not hold, naming those it does.
    """
    reading = store.reading()
    check_scope(reading, scope)
    clauses = ["s.run_id = $run_id", "s.baseline = $baseline"]
    values: dict[str, Any] = {"run_id": scope.run_id, "baseline": scope.baseline}
    _add_values(clauses, values, scope, which)
    if which.category:
        any_of = " OR ".join(_CATEGORY[category] for category in which.category)
        clauses.append(any_of)
        bands = bands or store.bands
        used = {"low": bands.low, "high": bands.high}
        values |= {name: limit for name, limit in used.items() if f"${name}" in any_of}
    for name, column in _COLUMNS.items():
        _add_range(clauses, values, name, column, getattr(which, name))
    return Asked(reading, " AND ".join(f"({clause})" for clause in clauses), values)


def check_scope(reading: Reading, scope: Scope) -> None:
    """Raises InputError when the database holds no such scores or no such clustering."""
    if (scope.run_id, scope.baseline) not in reading.scopes:
        known = ", ".join(f"{run_id} ({baseline})" for run_id, baseline in reading.scopes)
        raise InputError(
            f"the database holds no scores of run {scope.run_id!r} with baseline "
            f"{scope.baseline!r}; there are: {known or 'none yet, run visnec score'}"
        )
    if scope.clustering_id is not None and scope.clustering_id not in reading.clusterings:
        known = ", ".join(reading.clusterings)
        raise InputError(
            f"the database holds no clustering {scope.clustering_id!r}; "
            f"there are: {known or 'none yet, run visnec cluster'}"
        )


def _add_values(clauses: list[str], values: dict[str, Any], scope: Scope, which: Filter) -> None:
    if which.source:
        clauses.append("s.source = ANY($sources)")
        values["sources"] = [_clean(source) for source in which.source]
    if which.status:
        clauses.append("s.status = ANY($statuses)")
        values["statuses"] = [str(status) for status in which.status]
    if which.cluster:
        if scope.clustering_id is None:
            raise InputError(
                f"the filter names clusters ({', '.join(map(str, which.cluster))}) but no "
                "clustering is chosen; make one with visnec cluster, or leave the part out"
            )
        clauses.append(_IN_CLUSTERS)
        values |= {"clustering_id": scope.clustering_id, "clusters": list(which.cluster)}
    if which.decision:
        none_too = "none" in which.decision
        named = [one for one in DECISIONS if (one in which.decision) is not none_too]
        clauses.append(_NOT_DECIDED if none_too else _DECIDED)
        values["decisions"] = named
    if which.text:
        clauses.append(_WITH_TEXT)
        values["text"] = _clean(which.text)


_IN_CLUSTERS = """s.row_idx IN (
    SELECT row_idx FROM clusters
    WHERE clustering_id = $clustering_id AND cluster_id = ANY($clusters)
)"""
_DECIDED = "s.row_idx IN (SELECT row_idx FROM verdicts WHERE decision = ANY($decisions))"
# With "none" among the wanted, it is quicker to leave out the verdicts that are not wanted.
_NOT_DECIDED = "s.row_idx NOT IN (SELECT row_idx FROM verdicts WHERE decision = ANY($decisions))"
_WITH_TEXT = """s.row_idx IN (
    SELECT row_idx FROM samples
    WHERE contains(lower(question), lower($text)) OR contains(lower(answer), lower($text))
        OR contains(lower(id), lower($text))
)"""


def _add_range(
    clauses: list[str], values: dict[str, Any], name: str, column: str, limits: Range | None
) -> None:
    if limits is None:
        return
    for side, sign, limit in (("min", ">=", limits.min), ("max", "<", limits.max)):
        if limit is not None:
            clauses.append(f"{column} {sign} ${name}_{side}")
            values[f"{name}_{side}"] = float(limit)


def _clean(text: str) -> str:
    """Text that DuckDB can hold, even where a URL brought lone surrogates."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
