"""Suspects: each kind of evidence, their order, and their precision from decisions and edits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.review_queues import review_queue
from scoring.database.queries.suspects import suspect_precision, suspects
from scoring.database.values import Scope
from scoring.exchange.imported_columns import import_columns
from scoring.exports.editing import save_edit
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.reviews.edits import SetText
from scoring.workspace import Workspace
from tests.synthetic import RUN_ID, Row, make_workspace

SCOPE = Scope(RUN_ID, "none")
LOSSES = [(3.0, 2.0), (0.5, 2.5), (0.2, 0.7), *[(1.0, 0.1 * i) for i in range(7)]]
"""Text-only and multimodal loss by row; rows 1 and 2 are misaligned."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    rows = [
        Row(
            image=f"{n}.png",
            id=str(n),
            turns=((f"Question {n}?", f"answer {n}", 4, text, multimodal),),
            predictions=("none", "something else entirely"),
        )
        for n, (text, multimodal) in enumerate(LOSSES)
    ]
    rows[3] = replace(rows[3], predictions=("none", "answer 3"))
    made = make_workspace(tmp_path / "ws", rows=rows, with_images=False, baselines=("none", "gray"))
    values = tmp_path / "values.jsonl"
    lines = [{"row_idx": n, "clip": 0.0 if n == 0 else 0.5 + 0.01 * n} for n in range(10)]
    values.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_columns(made, values)
    build_database(made)
    return made


def evidence(workspace: Workspace, column: str | None = None) -> dict[int, set[str]]:
    frame = suspects(Store(workspace).selection(SCOPE), column)
    return {
        int(row["row_idx"]): {kind for kind in ("different", "misaligned", "column") if row[kind]}
        for row in frame.to_dict("records")
    }


def test_evidence_and_order(workspace: Workspace) -> None:
    found = evidence(workspace)
    assert found[1] == {"different", "misaligned"}  # the highest loss, below the limit twice
    assert found[2] == {"misaligned"}  # its loss is not in the highest tenth
    assert 3 not in found
    assert 0 not in found
    assert next(iter(found)) == 1
    by_column = evidence(workspace, "clip")
    assert by_column[0] == {"column"}  # the highest score, the lowest value


def test_the_queue_is_the_same_list(workspace: Workspace) -> None:
    selection = Store(workspace).selection(SCOPE)
    queue = review_queue(selection, "suspects", 100)
    assert queue.rows == list(evidence(workspace))
    assert set(queue.probabilities) == {None}
    assert 0 in review_queue(selection, "suspects:clip", 100).rows


def test_precision_is_of_decided_suspects(workspace: Workspace) -> None:
    store = Store(workspace)
    log = open_review_log(workspace, "ada")
    log.append([DecisionDraft(1, Decision.DROP), DecisionDraft(3, Decision.DROP)])
    save_edit(workspace, 2, [SetText(1, "corrected")], reviewer="ada")
    any_kind, different, misaligned = suspect_precision(store.selection(SCOPE))
    assert (any_kind.n, any_kind.n_decided, any_kind.n_wrong) == (2, 2, 2)
    assert (different.n_decided, different.precision) == (1, 1.0)
    assert (misaligned.n_wrong, round(misaligned.low, 2), misaligned.high) == (2, 0.34, 1.0)
    log.undo_latest()
    log.append([DecisionDraft(1, Decision.KEEP)])
    assert suspect_precision(store.selection(SCOPE))[0].precision == 0.5
    assert len(suspect_precision(store.selection(SCOPE), "clip")) == 4
