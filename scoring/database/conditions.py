"""From a scope and a filter to the condition of a query: constant SQL text and bound values.

The one decision behind it: what must look beyond ``scores`` (text, another run) is looked up once
and kept as a list of rows in memory, so that the next question under the same filter is a
comparison of numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import pandas as pd

from scoring.database.connection import Match, Snapshot, Store
from scoring.database.filters import DECISIONS, Filter, Range
from scoring.database.queries.prediction_correctness import correctness_query
from scoring.database.values import Scope
from scoring.errors import FilterError, InputError
from scoring.evaluation.accuracy import DEFAULT_MEASURE
from scoring.necessity import Bands, Category
from scoring.precision import Noise
from scoring.predictions.files import Sight
from scoring.unicode_text import replace_surrogates

EVERYTHING = Filter()

CONTENT_TOKENS = """coalesce(
    s.n_answer_tokens - s.n_end_tokens - s.n_thought_tokens,
    s.n_answer_tokens - least(s.n_answer_tokens - 1, s.n_turns * (
        SELECT coalesce(score_eos, false)::INTEGER FROM runs
        WHERE run_id = $run_id AND baseline = $baseline
    ))
)"""
"""Answer tokens without end-of-turn tokens and thoughts, over ``scores s``; parts of earlier
versions do not tell them apart, so that an end per answer is assumed where they were scored."""

_COLUMNS = {
    "visnec": "s.visnec",
    "loss_text": "s.loss_text",
    "loss_multimodal": "s.loss_multimodal",
    "tokens": "s.n_answer_tokens",
    "content": CONTENT_TOKENS,
    "length": "s.answer_length",
    "turns": "s.n_turns",
}
_LISTS = {
    "source": "s.source = ANY($source)",
    "kind": "s.answer_kind = ANY($kind)",
    "status": "s.status = ANY($status)",
    "reviewer": """s.row_idx IN (
        SELECT row_idx FROM decisions WHERE reviewer = ANY($reviewer) AND decision IS NOT NULL
    )""",
    "image": """s.row_idx IN (
        SELECT row_idx FROM sample_images
        WHERE image_key = ANY([md5_number_lower(path) FOR path IN $image::VARCHAR[]])
    )""",
}
_CATEGORY = {
    Category.MISALIGNED: "s.visnec < $low",
    Category.REDUNDANT: "s.visnec >= $low AND s.visnec < $high",
    Category.VISION_CRITICAL: "s.visnec >= $high",
}
CERTAINTY = {
    "sure": "least(abs(s.visnec - $low), abs(s.visnec - $high)) > $noise::DOUBLE",
    "undecided": "least(abs(s.visnec - $low), abs(s.visnec - $high)) <= $noise::DOUBLE",
    "unknown": "s.visnec IS NOT NULL AND $noise::DOUBLE IS NULL",
}
"""Whether the noise of the scores' dtype (NULL: unknown) leaves their category open, over
``scores s``."""
DIFFERING_SPANS = """
    SELECT row_idx FROM baseline_spans
    WHERE run_id = $run_id AND (
        (lowest_visnec < $low) <> (highest_visnec < $low)
        OR (lowest_visnec < $high) <> (highest_visnec < $high)
    )
"""
_BASELINES = {
    "differ": " ".join(("s.row_idx IN (", DIFFERING_SPANS, ")")),
    "agree": " ".join(
        (
            "s.row_idx IN (SELECT row_idx FROM baseline_spans WHERE run_id = $run_id)",
            "AND s.row_idx NOT IN (",
            DIFFERING_SPANS,
            ")",
        )
    ),
}


@dataclass(frozen=True, slots=True)
class Query:
    """A question under way: what it reads, and which rows of ``scores s`` it is about.

    ``key`` tells questions with different rows apart, for as long as the snapshot lives.
    """

    snapshot: Snapshot
    where: str
    values: dict[str, Any] = field(default_factory=dict)
    key: Hashable = None
    matches: tuple[Match, ...] = ()  # held, so that their tables stay until the answer is there

    def frame(self, *query: str, **values: Any) -> pd.DataFrame:
        """The answer as a frame; the pieces of the query are joined."""
        return self.snapshot.frame("\n".join(query), self.values | values)

    def rows(self, *query: str, **values: Any) -> list[tuple[Any, ...]]:
        """The answer as tuples; the pieces of the query are joined."""
        return self.snapshot.rows("\n".join(query), self.values | values)


def compile_query(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> Query:
    """Begins a question about the samples of a scope that meet a which.

    Categories are those of ``bands``, by default the workspace's. Raises InputError for a run,
    baseline or clustering that the database does not hold, naming those it does, and FilterError
    for a regular expression that is none.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    bands = bands or store.bands
    clauses = ["s.run_id = $run_id", "s.baseline = $baseline"]
    values: dict[str, Any] = {"run_id": scope.run_id, "baseline": scope.baseline}
    _add_values(clauses, values, which)
    _add_cluster(clauses, values, snapshot, scope, which)
    noise = snapshot.noises[scope.run_id, scope.baseline]
    _add_judged(clauses, values, which, bands, noise)
    for name, column in _COLUMNS.items():
        _add_range(clauses, values, name, column, getattr(which, name))
    matches = _matches(snapshot, scope, which, bands)
    clauses += [" ".join(("s.row_idx IN (FROM", match.table, ")")) for match in matches]
    key = (
        str(which),
        bands if which.needs_bands else None,
        snapshot.decisions_version if which.needs_decisions else None,
    )
    where = " AND ".join(f"({clause})" for clause in clauses)
    return Query(snapshot, where, values, key, matches)


def check_scope(snapshot: Snapshot, scope: Scope) -> None:
    """Raises InputError when the database holds no such scores or no such clustering."""
    if (scope.run_id, scope.baseline) not in snapshot.scopes:
        known = ", ".join(f"{run_id} ({baseline})" for run_id, baseline in snapshot.scopes)
        raise InputError(
            f"the database holds no scores of run {scope.run_id!r} with baseline "
            f"{scope.baseline!r}; there are: {known or 'none yet, run visnec score'}"
        )
    if scope.clustering_id is not None and scope.clustering_id not in snapshot.clusterings:
        known = ", ".join(snapshot.clusterings)
        raise InputError(
            f"the database holds no clustering {scope.clustering_id!r}; "
            f"there are: {known or 'none yet, run visnec cluster'}"
        )


def parse_other_scope(scope: Scope, other: str) -> Scope:
    """The scope that ``other:`` names: RUN/BASELINE, or RUN with the same baseline."""
    run_id, slash, baseline = other.rpartition("/")
    return (
        replace(scope, run_id=run_id, baseline=baseline) if slash else replace(scope, run_id=other)
    )


def _add_values(clauses: list[str], values: dict[str, Any], which: Filter) -> None:
    for name, clause in _LISTS.items():
        given = getattr(which, name)
        if given:
            clauses.append(clause)
            values[name] = [replace_surrogates(str(value)) for value in given]
    if which.decision:
        none_too = "none" in which.decision
        named = [one for one in DECISIONS if (one in which.decision) is not none_too]
        clauses.append(_NOT_DECIDED if none_too else _DECIDED)
        values["decisions"] = named


def _add_cluster(
    clauses: list[str], values: dict[str, Any], snapshot: Snapshot, scope: Scope, which: Filter
) -> None:
    if not which.cluster:
        return
    if scope.clustering_id is None:
        raise InputError(
            f"the filter names clusters ({', '.join(map(str, which.cluster))}) but no "
            "clustering is chosen; make one with visnec cluster, or leave the part out"
        )
    values["clusters"] = list(which.cluster)
    if scope.clustering_id == snapshot.clustering_in_scores:
        clauses.append("s.cluster_id = ANY($clusters)")
    else:
        clauses.append(_IN_CLUSTERS)
        values["clustering_id"] = scope.clustering_id


def _add_judged(
    clauses: list[str], values: dict[str, Any], which: Filter, bands: Bands, noise: Noise | None
) -> None:
    """Parts that depend on the band limits."""
    given = (
        [_CATEGORY[category] for category in which.category],
        [CERTAINTY[certainty] for certainty in which.certainty],
        [_BASELINES[agreement] for agreement in which.baselines],
    )
    any_of = [" OR ".join(f"({clause})" for clause in part) for part in given if part]
    clauses += any_of
    used = {"low": bands.low, "high": bands.high, "noise": noise.band if noise else None}
    values |= {
        name: value
        for name, value in used.items()
        if any(f"${name}" in clause for clause in any_of)
    }


def _matches(snapshot: Snapshot, scope: Scope, which: Filter, bands: Bands) -> tuple[Match, ...]:
    """Lists of rows that are looked up once and kept."""
    found = []
    if which.text:
        found.append(_text_match(snapshot, which))
    if which.other:
        found.append(_other_match(snapshot, scope, which, bands))
    found += [
        _verdict_match(snapshot, scope, which, sight, wanted)
        for sight in (Sight.BLIND, Sight.SEEN)
        if (wanted := getattr(which, str(sight)))
    ]
    return tuple(found)


def _verdict_match(
    snapshot: Snapshot, scope: Scope, which: Filter, sight: Sight, wanted: Sequence[str]
) -> Match:
    """The samples with one of the wanted verdicts on the prediction with this sight."""
    judged, values = correctness_query(
        snapshot, which.model or scope.run_id, sight, which.measure or DEFAULT_MEASURE
    )
    clauses = " OR ".join(_VERDICT[one] for one in wanted)
    pieces = (
        "SELECT t.row_idx FROM samples t LEFT JOIN (", judged, ") v ON v.row_idx = t.row_idx",
        "WHERE", clauses,
    )  # fmt: skip
    return snapshot.match("\n".join(pieces), values)


_VERDICT = {"right": "v.verdict", "wrong": "NOT v.verdict", "none": "v.verdict IS NULL"}


def _text_match(snapshot: Snapshot, which: Filter) -> Match:
    query, values = text_query(snapshot, which)
    return snapshot.match(query, values)


def text_query(
    snapshot: Snapshot, which: Filter, among: str = "true"
) -> tuple[str, dict[str, Any]]:
    """The rows whose text is looked for; ``among`` is a condition on their row_idx.

    Raises FilterError where the text is a regular expression that RE2 does not take.
    """
    pattern = which.pattern
    if pattern is None:
        one_row, conversation = _CONTAINS
        values = {"text": replace_surrogates(which.text or "")}
    else:
        _check_pattern(snapshot, pattern.expression)
        one_row, conversation = _EXACT_CASE if pattern.case_sensitive else _ANY_CASE
        values = {"text": replace_surrogates(pattern.expression)}
    pieces = (
        "SELECT row_idx FROM samples WHERE (", one_row, ") AND", among,
        "UNION SELECT row_idx FROM conversations WHERE", conversation, "AND", among,
    )  # fmt: skip
    return "\n".join(pieces), values


def _check_pattern(snapshot: Snapshot, expression: str) -> None:
    try:
        snapshot.rows("SELECT regexp_matches('', $text)", {"text": replace_surrogates(expression)})
    except duckdb.Error as error:
        problem = str(error).partition(":")[2].strip() or str(error)
        raise FilterError(
            f"~/{expression}/ is no regular expression: {problem}; put a backslash before a mark "
            r"that stands for itself, such as \( or \."
        ) from error


def _other_match(snapshot: Snapshot, scope: Scope, which: Filter, bands: Bands) -> Match:
    other = parse_other_scope(scope, which.other or "")
    check_scope(snapshot, other)
    values: dict[str, Any] = {"run_id": other.run_id, "baseline": other.baseline}
    pieces = ["SELECT s.row_idx FROM scores s"]
    clauses = ["s.run_id = $run_id AND s.baseline = $baseline AND s.visnec IS NOT NULL"]
    if which.runs:
        pieces.append("JOIN (SELECT row_idx, visnec FROM scores WHERE run_id = $this_run")
        pieces.append("AND baseline = $this_baseline AND visnec IS NOT NULL) t USING (row_idx)")
        values |= {"this_run": scope.run_id, "this_baseline": scope.baseline}
        clauses.append(" OR ".join(_RUNS[agreement] for agreement in which.runs))
    if which.other_category:
        clauses.append(" OR ".join(_CATEGORY[category] for category in which.other_category))
    where = " AND ".join(f"({clause})" for clause in clauses)
    limits = {"low": bands.low, "high": bands.high}
    values |= {name: limit for name, limit in limits.items() if f"${name}" in where}
    return snapshot.match("\n".join((*pieces, "WHERE", where)), values)


_FLIPPED = """(
    (s.visnec < $low) <> (t.visnec < $low) OR (s.visnec < $high) <> (t.visnec < $high)
)"""
_RUNS = {"differ": _FLIPPED, "agree": " ".join(("NOT", _FLIPPED))}
_IN_CLUSTERS = """s.row_idx IN (
    SELECT row_idx FROM clusters
    WHERE clustering_id = $clustering_id AND cluster_id = ANY($clusters)
)"""
_DECIDED = "s.row_idx IN (SELECT row_idx FROM verdicts WHERE decision = ANY($decisions))"
# With "none" among the wanted, it is quicker to leave out the verdicts that are not wanted.
_NOT_DECIDED = "s.row_idx NOT IN (SELECT row_idx FROM verdicts WHERE decision = ANY($decisions))"
_CONTAINS = (
    """contains(lower(question), lower($text)) OR contains(lower(answer), lower($text))
    OR contains(lower(id), lower($text))""",
    "contains(lower(text), lower($text))",
)
_ANY_CASE = (
    """regexp_matches(question, $text, 'i') OR regexp_matches(answer, $text, 'i')
    OR regexp_matches(id, $text, 'i')""",
    "regexp_matches(text, $text, 'i')",
)
_EXACT_CASE = (
    """regexp_matches(question, $text) OR regexp_matches(answer, $text)
    OR regexp_matches(id, $text)""",
    "regexp_matches(text, $text)",
)


def _add_range(
    clauses: list[str], values: dict[str, Any], name: str, column: str, limits: Range | None
) -> None:
    if limits is None:
        return
    for side, sign, limit in (("min", ">=", limits.min), ("max", "<", limits.max)):
        if limit is not None:
            clauses.append(f"{column} {sign} ${name}_{side}")
            values[f"{name}_{side}"] = float(limit)
