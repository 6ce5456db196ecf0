"""Scores of edited records, from runs of edits, and those of the records as imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scoring.database.connection import Store
from scoring.database.values import Scope
from scoring.runs.record import RunRecord, is_comparable, list_runs

_SCORES = """
    SELECT e.run_id, e.baseline, e.row_idx, e.event_id, e.status, e.reason, e.visnec
    FROM edited_scores e
    WHERE ($run_id IS NULL OR e.run_id = $run_id)
        AND ($rows IS NULL OR list_contains($rows::BIGINT[], e.row_idx))
    ORDER BY e.row_idx, e.run_id, e.baseline
"""
_BEFORE = """
    SELECT row_idx, visnec FROM scores
    WHERE run_id = $run_id AND baseline = $baseline
        AND row_idx IN (SELECT unnest($rows::BIGINT[]))
"""


@dataclass(frozen=True, slots=True)
class EditedScore:
    """The score of a sample with one edit; ``visnec`` is None unless ``status`` is scored."""

    run_id: str
    baseline: str
    row_idx: int
    event_id: str
    status: str
    reason: str | None
    visnec: float | None


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """A sample of a run of edits, with its score before the edit by the same model and settings.

    ``before`` is None without such a score; ``run_before`` is the newest run that can have it.
    """

    after: EditedScore
    before: float | None
    run_before: str | None


def read_edited_scores(
    store: Store, rows: Sequence[int] | None = None, run_id: str | None = None
) -> list[EditedScore]:
    """Return the scores of runs of edits, ascending by row; of all or these rows, or one run."""
    values = {"rows": None if rows is None else [int(row) for row in rows], "run_id": run_id}
    return [EditedScore(*row) for row in store.snapshot().fetch_rows(_SCORES, values)]


def list_score_changes(store: Store, run: RunRecord) -> list[ScoreChange]:
    """Return the samples of a run of edits, with their scores before the edit."""
    changes = []
    scores = read_edited_scores(store, run_id=run.run_id)
    for baseline in run.baselines:
        after = [score for score in scores if score.baseline == baseline]
        record = _find_run_before(store, run, baseline)
        before = {}
        if record is not None:
            rows = [score.row_idx for score in after]
            values = {"run_id": record.run_id, "baseline": baseline, "rows": rows}
            before = dict(store.snapshot().fetch_rows(_BEFORE, values))
        changes += [
            ScoreChange(score, before.get(score.row_idx), record.run_id if record else None)
            for score in after
        ]
    return changes


def _find_run_before(store: Store, run: RunRecord, baseline: str) -> RunRecord | None:
    """Return the newest run of the records as imported that a run of edits compares with."""
    known = {run_id for run_id, _ in store.snapshot().scopes}
    runs = (
        record
        for record in reversed(list_runs(store.workspace))
        if not record.edits and record.run_id in known
    )
    return next((record for record in runs if is_comparable(record, run, baseline)), None)


def find_current_scores(
    store: Store, scope: Scope, events: dict[int, str]
) -> dict[int, tuple[EditedScore, bool]]:
    """Return the score of each sample's edit, by row, and whether it compares with the scope's.

    Args:
        store: The database.
        scope: The scores that are shown; those of the same model and settings come first, then
            newer runs.
        events: The edit by row.

    Returns:
        The score, and whether its run has the model and settings of the scope's.
    """
    runs = {record.run_id: record for record in list_runs(store.workspace)}
    shown = runs[scope.run_id]
    ranked: dict[int, tuple[tuple[bool, bool, str], EditedScore]] = {}
    for score in read_edited_scores(store, list(events)):
        record = runs.get(score.run_id)
        if record is None or score.baseline != scope.baseline:
            continue
        if events[score.row_idx] != score.event_id:
            continue
        is_same = is_comparable(shown, record, scope.baseline)
        rank = is_same, score.visnec is not None, record.created_at
        if score.row_idx not in ranked or rank > ranked[score.row_idx][0]:
            ranked[score.row_idx] = rank, score
    return {row: (score, rank[0]) for row, (rank, score) in ranked.items()}
