"""From a scope and a filter to the samples that a query is about.

SQL text depends on which parts a filter has, never on their values: values are bound as parameters,
and everything inserted into a statement comes from the closed lists of this module. Conditions that
look beyond ``scores`` (text, another run, predictions) are looked up once and kept as rows in
memory, so that the next query under the same filter only compares numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from scoring.database.connection import Match, Selection, Snapshot
from scoring.database.filters import DECISIONS, Filter, Range
from scoring.database.queries.column_rows import column_query
from scoring.database.queries.map_points import match_area
from scoring.database.queries.prediction_correctness import correctness_query
from scoring.database.reader import Reader
from scoring.database.values import Scope
from scoring.errors import FilterError, InputError
from scoring.evaluation.accuracy import DEFAULT_MEASURE
from scoring.necessity import Bands, Category
from scoring.predictions.files import Sight
from scoring.runs.record import describe_edit_run

# The rows of ``scores`` that a query is about, as ``matching``; ``clustered`` has the cluster_id of
# the scope's clustering. Not materialized: DuckDB reads only the columns that a query uses.
_RELATIONS = """
WITH matching AS NOT MATERIALIZED (SELECT * FROM scores s WHERE {conditions}),
clustered AS NOT MATERIALIZED (
    SELECT s.* REPLACE ({cluster_id} AS cluster_id) FROM matching s {join}
)
"""
_CLUSTER_JOIN = """
    LEFT JOIN (FROM clusters WHERE clustering_id = $clustering_id) c ON c.row_idx = s.row_idx
"""

CONTENT_TOKENS = """coalesce(
    s.n_answer_tokens - s.n_end_tokens - s.n_thought_tokens,
    s.n_answer_tokens - least(s.n_answer_tokens - 1, s.n_turns * (
        SELECT coalesce(score_eos, false)::INTEGER FROM runs
        WHERE run_id = $run_id AND baseline = $baseline
    ))
)"""
"""Answer tokens of ``s`` without end-of-turn tokens and thoughts. Parts of earlier versions do not
record these; one end token per answer is assumed where they were scored."""

CERTAINTY = {
    "sure": "least(abs(s.visnec - $low), abs(s.visnec - $high)) > $noise::DOUBLE",
    "undecided": "least(abs(s.visnec - $low), abs(s.visnec - $high)) <= $noise::DOUBLE",
    "unknown": "s.visnec IS NOT NULL AND $noise::DOUBLE IS NULL",
}
"""Whether the noise of the scores' dtype (NULL: unknown) leaves the category of ``s`` open."""

COMPARED_ROWS = "SELECT row_idx FROM baseline_spans WHERE run_id = $run_id"
"""Samples with scores for several baselines of the run."""
DIFFERING_ROWS = """
    SELECT row_idx FROM baseline_spans
    WHERE run_id = $run_id
        AND category_code(lowest_visnec, $low, $high) <> category_code(highest_visnec, $low, $high)
"""
"""Those of them whose category depends on the baseline."""

_RANGE_COLUMNS = {
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
        SELECT row_idx FROM sample_images WHERE image_key IN (
            SELECT coalesce(c.image_key, w.path_key)
            FROM (
                SELECT unnest([md5_number_lower(path) FOR path IN $image::VARCHAR[]]) AS path_key
            ) w
            LEFT JOIN image_copies c USING (path_key)
        )
    )""",
}
_BASELINES = {
    "differ": f"s.row_idx IN ({DIFFERING_ROWS})",
    "agree": f"s.row_idx IN ({COMPARED_ROWS}) AND s.row_idx NOT IN ({DIFFERING_ROWS})",
}
_DECIDED = "s.row_idx IN (SELECT row_idx FROM final_decisions WHERE decision = ANY($decisions))"
# With "none" among the values, it is faster to leave out the decisions that are not wanted.
_NOT_DECIDED = (
    "s.row_idx NOT IN (SELECT row_idx FROM final_decisions WHERE decision = ANY($decisions))"
)
_EDITED = {
    "yes": "s.row_idx IN (FROM edited_samples)",
    "no": "s.row_idx NOT IN (FROM edited_samples)",
}
_CLUSTERS = """s.row_idx IN (
    SELECT row_idx FROM clusters
    WHERE clustering_id = $clustering_id AND cluster_id = ANY($clusters)
)"""
_RUNS = {
    "differ": "category_code(s.visnec, $low, $high) <> category_code(t.visnec, $low, $high)",
    "agree": "category_code(s.visnec, $low, $high) = category_code(t.visnec, $low, $high)",
}
_OTHER_ROWS = """
    SELECT s.row_idx FROM scores s {join}
    WHERE s.run_id = $other_run AND s.baseline = $other_baseline AND s.visnec IS NOT NULL
        AND {conditions}
"""
_JOIN_COMPARED = """
    JOIN (
        SELECT row_idx, visnec FROM scores
        WHERE run_id = $run_id AND baseline = $baseline AND visnec IS NOT NULL
    ) t USING (row_idx)
"""
_JUDGED_ROWS = """
    SELECT t.row_idx FROM samples t LEFT JOIN ({judged}) j ON j.row_idx = t.row_idx
    WHERE {conditions}
"""
_CORRECTNESS = {"right": "j.is_right", "wrong": "NOT j.is_right", "none": "j.is_right IS NULL"}
_TEXT_ROWS = """
    SELECT row_idx FROM samples
    WHERE ({question} OR {answer} OR {id}) AND row_idx >= $first_row AND row_idx < $end_row
    UNION
    SELECT row_idx FROM conversations
    WHERE {text} AND row_idx >= $first_row AND row_idx < $end_row
"""
_IMAGE_ROWS = "SELECT row_idx FROM samples WHERE {condition}"
_CONTAINS = "contains(lower({column}), lower($text))"
_MATCHES_ANY_CASE = "regexp_matches({column}, $text, 'i')"
_MATCHES_EXACT_CASE = "regexp_matches({column}, $text)"
_ALL_ROWS = (0, 1 << 62)


@dataclass(eq=False, kw_only=True)
class Query(Reader):
    """The samples of a selection, for statements over ``matching`` or ``clustered``.

    Statements are whole ones; the definitions of both relations are put before them. They may name
    the parameters in ``values``: run_id, baseline, clustering_id, low, high and noise. ``key``
    differs between queries about different rows, within one snapshot.
    """

    snapshot: Snapshot
    key: Hashable
    matches: list[Match]  # referenced here so that their tables exist while it runs


def compile_query(selection: Selection) -> Query:
    """Return the query about the samples of a selection.

    Raises InputError for a run, baseline or clustering that the database lacks, naming those it
    has, and FilterError for an invalid regular expression.
    """
    snapshot, scope, where = selection.store.snapshot(), selection.scope, selection.where
    check_scope(snapshot, scope)
    noise = snapshot.noises[scope.run_id, scope.baseline]
    values: dict[str, Any] = {
        "run_id": scope.run_id,
        "baseline": scope.baseline,
        "clustering_id": scope.clustering_id,
        "low": selection.bands.low,
        "high": selection.bands.high,
        "noise": noise.band if noise else None,
    }
    conditions = ["s.run_id = $run_id", "s.baseline = $baseline"]
    for name, condition in _LISTS.items():
        if given := getattr(where, name):
            conditions.append(condition)
            values[name] = [_to_utf8(str(value)) for value in given]
    if where.decision:
        with_none = "none" in where.decision
        conditions.append(_NOT_DECIDED if with_none else _DECIDED)
        values["decisions"] = [
            name for name in DECISIONS if (name in where.decision) is not with_none
        ]
    if where.cluster:
        if scope.clustering_id is None:
            raise InputError(
                f"The filter names clusters ({', '.join(map(str, where.cluster))}) but no "
                "clustering is selected. Create one with visnec cluster, or remove that part of "
                "the filter."
            )
        in_scores = scope.clustering_id == snapshot.clustering_in_scores
        conditions.append("s.cluster_id = ANY($clusters)" if in_scores else _CLUSTERS)
        values["clusters"] = list(where.cluster)
    for alternatives in (
        [_category_condition(category, selection.bands, values) for category in where.category],
        [CERTAINTY[certainty] for certainty in where.certainty],
        [_BASELINES[agreement] for agreement in where.baselines],
        [_EDITED[edited] for edited in where.edited],
    ):
        conditions += [_any_of(alternatives)] if alternatives else []
    for name, column in _RANGE_COLUMNS.items():
        limits: Range | None = getattr(where, name)
        if limits is not None:
            conditions.append(_range_condition(name, column, limits.min, limits.max, values))
    matches = _look_up_matches(snapshot, selection, values)
    conditions += [f"s.row_idx IN (FROM {match.table})" for match in matches]
    key = (
        str(where),
        selection.bands if where.needs_bands else None,
        snapshot.decisions_version if where.needs_decisions else None,
    )
    cluster_id, join = cluster_column(snapshot, scope)
    relations = _RELATIONS.format(conditions=_all_of(conditions), cluster_id=cluster_id, join=join)
    return Query(
        connection=snapshot.connection,
        relations=relations,
        values=values,
        snapshot=snapshot,
        key=key,
        matches=matches,
    )


def check_scope(snapshot: Snapshot, scope: Scope) -> None:
    """Raise InputError when the database has no such scores or no such clustering."""
    if scope.run_id in snapshot.edit_runs:
        raise InputError(describe_edit_run(scope.run_id))
    if (scope.run_id, scope.baseline) not in snapshot.scopes:
        known = ", ".join(f"{run_id} ({baseline})" for run_id, baseline in snapshot.scopes)
        raise InputError(
            f"The database has no scores of run {scope.run_id!r} with baseline "
            f"{scope.baseline!r}. Available: {known or 'none yet, run visnec score'}."
        )
    if scope.clustering_id is not None and scope.clustering_id not in snapshot.clusterings:
        known = ", ".join(snapshot.clusterings)
        raise InputError(
            f"The database has no clustering {scope.clustering_id!r}. "
            f"Available: {known or 'none yet, run visnec cluster'}."
        )


def cluster_column(snapshot: Snapshot, scope: Scope) -> tuple[str, str]:
    """Return the expression for the cluster of ``scores s``, and the join that it needs."""
    if scope.clustering_id is None:
        return "NULL::INTEGER", ""
    if scope.clustering_id == snapshot.clustering_in_scores:
        return "s.cluster_id", ""
    return "c.cluster_id", _CLUSTER_JOIN


def parse_other_scope(scope: Scope, other: str) -> Scope:
    """Return the scope that ``other:`` names: RUN/BASELINE, or RUN with the same baseline."""
    run_id, slash, baseline = other.rpartition("/")
    named = {"run_id": run_id, "baseline": baseline} if slash else {"run_id": other}
    return replace(scope, **named)


def text_query(
    snapshot: Snapshot, where: Filter, rows: tuple[int, int] = _ALL_ROWS
) -> tuple[str, dict[str, Any]]:
    """Return a query for the row_idx of samples with the filter's text, and its values.

    Only ``rows[0] <= row_idx < rows[1]`` are searched. Raises FilterError where the text is a
    regular expression that RE2 rejects.
    """
    if where.pattern is None:
        text, condition = where.text or "", _CONTAINS
    else:
        text, case_sensitive = where.pattern
        condition = _MATCHES_EXACT_CASE if case_sensitive else _MATCHES_ANY_CASE
        try:
            snapshot.fetch_rows("SELECT regexp_matches('', $text)", {"text": _to_utf8(text)})
        except duckdb.Error as error:
            problem = str(error).partition(":")[2].strip() or str(error)
            raise FilterError(
                f"Invalid regular expression ~/{text}/: {problem}. Escape literal characters with "
                r"a backslash, such as \( or \."
            ) from error
    columns = ("question", "answer", "id", "text")
    query = _TEXT_ROWS.format(**{name: condition.format(column=name) for name in columns})
    return query, {"text": _to_utf8(text), "first_row": rows[0], "end_row": rows[1]}


def _category_condition(category: Category, bands: Bands, values: dict[str, Any]) -> str:
    """A category as a range of scores, for which DuckDB skips blocks of the sorted table."""
    name = f"category_{category.name.lower()}"
    return _range_condition(name, "s.visnec", *bands.range_of(category), values)


def _range_condition(
    name: str, column: str, minimum: float | None, maximum: float | None, values: dict[str, Any]
) -> str:
    conditions = []
    if minimum is not None:
        conditions.append(f"{column} >= ${name}_min")
        values[f"{name}_min"] = float(minimum)
    if maximum is not None:
        conditions.append(f"{column} < ${name}_max")
        values[f"{name}_max"] = float(maximum)
    return _all_of(conditions)


def _all_of(conditions: Iterable[str]) -> str:
    return " AND ".join(f"({condition})" for condition in conditions)


def _any_of(conditions: Iterable[str]) -> str:
    return " OR ".join(f"({condition})" for condition in conditions)


def _look_up_matches(
    snapshot: Snapshot, selection: Selection, values: dict[str, Any]
) -> list[Match]:
    """Look up the conditions that reach beyond ``scores``, or take them from the cache."""
    where, matches = selection.where, []
    if where.text:
        matches.append(snapshot.match_rows(*text_query(snapshot, where)))
    if where.images:
        limits, of_images = where.images, dict[str, Any]()
        condition = _range_condition("images", "n_images", limits.min, limits.max, of_images)
        matches.append(snapshot.match_rows(_IMAGE_ROWS.format(condition=condition), of_images))
    matches += [snapshot.match_rows(*column_query(snapshot, each)) for each in where.col]
    matches += [match_area(snapshot, area) for area in where.area]
    if where.other:
        other = parse_other_scope(selection.scope, where.other)
        check_scope(snapshot, other)
        of_other = values | {"other_run": other.run_id, "other_baseline": other.baseline}
        conditions = ["true"]
        if where.runs:
            conditions.append(_any_of(_RUNS[agreement] for agreement in where.runs))
        if where.other_category:
            conditions.append(
                _any_of(
                    _category_condition(category, selection.bands, of_other)
                    for category in where.other_category
                )
            )
        query = _OTHER_ROWS.format(
            conditions=_all_of(conditions), join=_JOIN_COMPARED if where.runs else ""
        )
        matches.append(snapshot.match_rows(query, of_other))
    for sight, wanted in ((Sight.BLIND, where.blind), (Sight.SEEN, where.seen)):
        if wanted:
            model, measure = where.model or selection.scope.run_id, where.measure or DEFAULT_MEASURE
            judged, of_model = correctness_query(snapshot, model, sight, measure)
            conditions = [_CORRECTNESS[name] for name in wanted]
            query = _JUDGED_ROWS.format(judged=judged, conditions=_any_of(conditions))
            matches.append(snapshot.match_rows(query, of_model))
    return matches


def _to_utf8(text: str) -> str:
    """Text that DuckDB accepts: lone surrogates from a URL become U+FFFD, which matches no text."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
