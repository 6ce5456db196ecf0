"""From parts to tables: derived values, every sample once, and a swap that loses nothing."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring import schemas
from scoring.database.build import schema
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.browse import fetch_page
from scoring.database.queries.overview import (
    dataset_counts,
    fetch_scopes,
    sample_count,
    score_summary,
)
from scoring.errors import WorkspaceError
from scoring.samples import Status
from scoring.workspace import Workspace, create_workspace
from tests.database.conftest import SCOPE, SCORES, TOKENS
from tests.synthetic import (
    CLUSTERING_ID,
    RUN_ID,
    Row,
    append_decisions,
    decision_event,
    make_workspace,
    write_run,
)


def ask(workspace: Workspace, query: str) -> list[tuple[Any, ...]]:
    """What any DuckDB client would read from the file."""
    with duckdb.connect(str(workspace.database), read_only=True) as con:
        return con.execute(query).fetchall()


def make(root: Path, **options: Any) -> Workspace:
    return make_workspace(root / "ws", with_images=False, **options)


def write_scores(workspace: Workspace, name: str, rows: list[dict[str, Any]]) -> None:
    """One more score part, rows as typed."""
    defaults = {"baseline": "none", "status": "scored", "reason": None, "truncated": False}
    values = [defaults | row for row in rows]
    path = workspace.run_dir(RUN_ID) / "scores" / name
    pq.write_table(pa.Table.from_pylist(values, schemas.SCORES), path)


def turn(text_sum: float, multimodal_sum: float, tokens: int, number: int = 0) -> dict[str, Any]:
    return {
        "turn": number,
        "loss_text_sum": text_sum,
        "loss_multimodal_sum": multimodal_sum,
        "n_answer_tokens": tokens,
    }


def leftovers(workspace: Workspace) -> list[str]:
    return [
        path.name for path in workspace.root.glob(".visnec.duckdb.*") if ".lock" not in path.name
    ]


def test_losses_are_means_over_the_answer_tokens_of_all_turns(tmp_path: Path) -> None:
    # Sums: text 4 * 1.5 + 2 * 3 = 12, multimodal 4 * 0.5 + 2 * 1 = 4, over 6 tokens.
    turns = (("What?", "one two", 4, 1.5, 0.5), ("And?", "three", 2, 3.0, 1.0))
    workspace = make(tmp_path, rows=[Row(turns=turns, image="a.png")])
    build_database(workspace)
    row = ask(workspace, "SELECT loss_text, loss_multimodal, visnec, n_answer_tokens FROM scores")
    assert row == [(2.0, 4 / 6, 2.0 - 4 / 6, 6)]
    assert ask(
        workspace,
        "SELECT turn, loss_text, loss_multimodal, visnec, n_answer_tokens FROM turn_scores",
    ) == [(0, 1.5, 0.5, 1.0, 4), (1, 3.0, 1.0, 2.0, 2)]


def test_scores_are_stored_bit_for_bit(tmp_path: Path) -> None:
    typed = [0.1, -0.3, 1e-9, -2.7, 3.4727, 0.2058]
    workspace = make(tmp_path, visnec=typed)
    build_database(workspace)
    found = ask(workspace, "SELECT visnec FROM scores ORDER BY row_idx")
    assert [visnec for (visnec,) in found] == typed


def test_every_sample_has_a_row_for_each_run_and_baseline(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=SCORES, tokens=TOKENS, baselines=("none", "gray"))
    report = build_database(workspace)
    assert (report.n_samples, report.n_runs, report.n_scores) == (11, 1, 16)
    counts = "SELECT baseline, status, count(*) FROM scores GROUP BY ALL ORDER BY ALL"
    expected = [("bad_image", 1), ("pending", 1), ("scored", 8), ("text_only", 1)]
    assert ask(workspace, counts) == [
        (baseline, *count) for baseline in ("gray", "none") for count in expected
    ]
    assert ask(workspace, "SELECT baseline, n_scored, n_samples FROM runs ORDER BY position") == [
        ("none", 8, 11),
        ("gray", 8, 11),
    ]
    # The second baseline's text-only loss is 0.125 lower.
    shifted = "SELECT visnec FROM scores WHERE row_idx = 3 ORDER BY visnec"
    assert ask(workspace, shifted) == [(1.875,), (2.0,)]


def test_scores_are_sorted_in_the_table(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=SCORES, tokens=TOKENS)
    build_database(workspace)
    found = ask(workspace, "SELECT row_idx, visnec FROM scores")
    assert [row_idx for row_idx, _ in found] == [8, 1, 5, 9, 2, 0, 6, 3, 4, 7, 10]
    assert ask(workspace, "SELECT count(*) FROM scores WHERE isnan(visnec)") == [(0,)]


def test_run_without_parts_has_the_statuses_of_the_records(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5, Status.TEXT_ONLY, Status.NO_ANSWER], with_run=False)
    write_run(workspace, [], "f")
    build_database(workspace)
    assert ask(workspace, "SELECT status, visnec FROM scores ORDER BY row_idx") == [
        ("pending", None),
        ("text_only", None),
        ("no_answer", None),
    ]
    assert ask(workspace, "SELECT n_scored, min_visnec FROM runs") == [(0, None)]


def test_workspace_with_records_only(tmp_path: Path) -> None:
    workspace = make(tmp_path, n=12, with_run=False, with_clusters=False)
    report = build_database(workspace)
    assert (report.n_samples, report.n_runs, report.n_clusterings, report.n_decisions) == (
        (12, 0, 0, 0)
    )
    store = Store(workspace)
    assert fetch_scopes(store).empty
    assert dataset_counts(store)["samples"].sum() == 12


def test_an_empty_dataset(tmp_path: Path) -> None:
    workspace = make(tmp_path, rows=[])
    assert build_database(workspace).n_samples == 0
    store = Store(workspace)
    assert score_summary(store.selection(SCOPE)).n_scored == 0
    assert fetch_page(store.selection(SCOPE)).records == []


def test_sample_scored_twice_counts_once_from_the_first_part(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5, 1.0], tokens=[2, 2])
    second = [{"row_idx": 0, "turns": [turn(8.0, 0.0, 2)]}]
    write_scores(workspace, "part-00001.parquet", second * 2)
    write_scores(workspace, "part-00002.parquet", second)
    build_database(workspace)
    assert ask(workspace, "SELECT row_idx, visnec FROM scores ORDER BY row_idx") == [
        (0, 0.5),
        (1, 1.0),
    ]
    assert ask(workspace, "SELECT row_idx, visnec FROM turn_scores") == [(0, 0.5), (1, 1.0)]


def test_same_row_in_two_baselines_counts_twice(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5], tokens=[2])
    write_scores(
        workspace,
        "part-00001.parquet",
        [{"row_idx": 0, "baseline": "blur", "turns": [turn(8.0, 0.0, 2)]}],
    )
    build_database(workspace)
    # "blur" is in no run.json, but nothing in a part is left out.
    assert ask(workspace, "SELECT baseline, visnec FROM scores ORDER BY baseline") == [
        ("blur", 4.0),
        ("none", 0.5),
    ]


def test_non_finite_scores_become_a_status(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5, None, None, None], tokens=[2, 2, 2, 2])
    rows = [
        {"row_idx": 1, "turns": [turn(math.nan, 1.0, 2)]},
        {"row_idx": 2, "turns": [turn(1.0, math.inf, 2)]},
        {"row_idx": 3, "turns": []},
    ]
    write_scores(workspace, "part-00001.parquet", rows)
    build_database(workspace)
    assert ask(workspace, "SELECT status, visnec, loss_text FROM scores ORDER BY row_idx") == [
        ("scored", 0.5, 1.0),
        ("non_finite", None, None),
        ("non_finite", None, None),
        ("no_answer", None, None),
    ]
    assert ask(workspace, "SELECT row_idx FROM turn_scores") == [(0,)]


def test_ends_and_thoughts_are_summed_over_the_turns_of_a_sample(tmp_path: Path) -> None:
    segments = {
        "end_loss_text_sum": 1.0,
        "end_loss_multimodal_sum": 0.5,
        "n_end_tokens": 1,
        "thought_loss_text_sum": 2.0,
        "thought_loss_multimodal_sum": 0.25,
        "n_thought_tokens": 3,
    }
    workspace = make(tmp_path, visnec=[None, None, None], tokens=[2, 2, 2])
    rows = [
        {"row_idx": 0, "turns": [turn(8.0, 4.0, 6) | segments, turn(4.0, 1.0, 4, 1) | segments]},
        {"row_idx": 1, "turns": [turn(3.0, 1.0, 2)]},  # of a model that knows no segments
        {"row_idx": 2, "turns": [turn(1.0, 0.5, 1) | segments]},  # nothing but its end
    ]
    write_scores(workspace, "part-00001.parquet", rows)
    build_database(workspace)
    columns = "end_loss_text_sum, end_loss_multimodal_sum, n_end_tokens, thought_loss_text_sum, "
    columns += "thought_loss_multimodal_sum, n_thought_tokens, visnec_without_end"
    # Without the two ends: (12 - 2) - (5 - 1) = 6 nats over 10 - 2 tokens.
    assert ask(workspace, f"SELECT {columns} FROM scores ORDER BY row_idx") == [
        (2.0, 1.0, 2, 4.0, 0.5, 6, 0.75),
        (None, None, None, None, None, None, None),
        (1.0, 0.5, 1, 2.0, 0.25, 3, None),
    ]


def test_parts_of_earlier_versions_are_read_with_current_ones(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5, None], tokens=[2, 2])
    old = turn(3.0, 1.0, 2) | {"delta_sq_sum": 4.0}
    row = {"row_idx": 1, "baseline": "none", "status": "scored", "turns": [old]}
    folder = workspace.run_dir(RUN_ID) / "scores"
    table = pa.Table.from_pylist([row | {"reason": "", "truncated": False}])
    for name in ("part-00001.parquet", "part-.parquet"):  # behind the new part, and before it
        pq.write_table(table, folder / name)
        build_database(workspace)
        # The old part's column stays readable: token deltas 0 and 2 have variance 2.
        columns = "visnec, n_end_tokens, visnec_stderr"
        assert ask(workspace, f"SELECT {columns} FROM scores ORDER BY row_idx") == [
            (0.5, None, None),
            (1.0, None, 1.0),
        ]
        (folder / name).unlink()


def test_database_without_token_segments_is_read(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5], tokens=[2])
    build_database(workspace)
    with duckdb.connect(str(workspace.database)) as con:
        for column in schema.LATER_COLUMNS["scores"]:
            con.execute(f"ALTER TABLE scores DROP COLUMN {column}")
    found = Store(workspace).snapshot().fetch_rows("SELECT visnec, n_end_tokens FROM scores")
    assert found == [(0.5, None)]


def test_unfinished_part_is_ignored(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5])
    folder = workspace.run_dir(RUN_ID) / "scores"
    (folder / ".part-00001.parquet.x1.tmp").write_bytes(b"half a file")
    assert build_database(workspace).n_scores == 1


def test_tables_have_the_columns_that_people_and_scripts_rely_on(tmp_path: Path) -> None:
    workspace = make(tmp_path, n=24, with_decisions=True)
    build_database(workspace)
    promised = {
        "samples": "row_idx, id, source, images, n_images, n_turns, question, answer",
        "scores": "run_id, row_idx, status, reason, loss_text, loss_multimodal, visnec, "
        "n_answer_tokens, baseline",
        "turn_scores": "run_id, row_idx, turn, loss_text, loss_multimodal, visnec, n_answer_tokens",
        "predictions": "run_id, row_idx, prediction_text, prediction_multimodal",
        "clusters": "row_idx, cluster_id, clustering_id",
        "runs": "run_id, model, baseline, created_at",
        "decisions": "row_idx, reviewer, decision, note, decided_at",
    }
    for table, columns in promised.items():
        assert ask(workspace, f"SELECT {columns} FROM {table}"), table
    assert ask(workspace, "SELECT images FROM samples WHERE row_idx = 0") == [
        (["scenes/00000.png"],)
    ]


def test_file_has_the_decisions_at_build_time(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5, 1.0])
    append_decisions(workspace, [decision_event(1, 1, "keep", note="seen")])
    build_database(workspace)
    assert ask(workspace, "SELECT row_idx, reviewer, decision, note FROM decisions") == [
        (1, "ada", "keep", "seen")
    ]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Yes.", "yes/no"),
        (" no ", "yes/no"),
        ("B", "choice"),
        ("(c)", "choice"),
        ("42", "number"),
        ("-3.5 %", "number"),
        ("1,000", "number"),
        ("Bus", "word"),
        ("図書館", "word"),
        ("a red bus", "phrase"),
        ("one two three four five six", "text"),
        ("two\nlines of text that go on", "text"),
        ("", "none"),
    ],
)
def test_kinds_of_answers(tmp_path: Path, answer: str, kind: str) -> None:
    workspace = make(tmp_path, rows=[Row(turns=(("What?", answer, 2, 1.0, 0.5),))])
    build_database(workspace)
    assert ask(workspace, "SELECT answer_kind FROM scores") == [(kind,)]


def test_a_folder_with_pattern_characters_in_its_name(tmp_path: Path) -> None:
    root = tmp_path / "data [v1] *'"
    root.mkdir()
    other = tmp_path / "data v xx"  # what a pattern would have matched
    other.mkdir()
    workspace = make(root, visnec=SCORES, tokens=TOKENS, with_decisions=True)
    assert build_database(workspace).n_scores == 8
    assert sample_count(Store(workspace).selection(SCOPE)) == 11


def test_nothing_imported_is_explained(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="visnec import"):
        build_database(create_workspace(tmp_path / "ws"))


def test_a_broken_part_is_named_and_the_old_database_stays(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5])
    build_database(workspace)
    before = workspace.database.read_bytes()
    broken = workspace.run_dir(RUN_ID) / "scores" / "part-00001.parquet"
    broken.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(WorkspaceError, match="part-00001"):
        build_database(workspace)
    assert workspace.database.read_bytes() == before
    assert leftovers(workspace) == []


def test_missing_samples_are_an_error(tmp_path: Path) -> None:
    workspace = make(tmp_path, n=100, part_rows=50)
    (workspace.dataset_dir / "part-00001.parquet").unlink()
    with pytest.raises(WorkspaceError, match="100 samples"):
        build_database(workspace)


def test_unknown_status_is_an_error(tmp_path: Path) -> None:
    workspace = make(tmp_path, visnec=[0.5, None])
    write_scores(
        workspace, "part-00001.parquet", [{"row_idx": 1, "status": "too_odd", "turns": []}]
    )
    with pytest.raises(WorkspaceError, match="too_odd"):
        build_database(workspace)


def test_progress_ends_with_everything_done(tmp_path: Path) -> None:
    workspace = make(tmp_path, n=24)
    seen: list[tuple[str, int, int]] = []
    build_database(workspace, lambda *step: seen.append(step))
    assert [what for what, _, _ in seen] == [
        "samples",
        f"clustering {CLUSTERING_ID}",
        f"scores of run {RUN_ID}",
        f"predictions of run {RUN_ID}",
        "decisions",
        "finish",
    ]
    assert [(done, total) for _, done, total in seen] == [(done, 5) for done in range(6)]


KILLED = """
import os, signal, sys
from pathlib import Path
from scoring.database.build.build import build_database
from scoring.workspace import open_workspace

def die(what, done, total):
    if what.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

build_database(open_workspace(Path(sys.argv[1])), die)
"""


@pytest.mark.parametrize("moment", ["scores", "finish"])
def test_killed_build_keeps_the_old_database_and_the_next_one_cleans_up(
    tmp_path: Path, moment: str
) -> None:
    workspace = make(tmp_path, visnec=[0.5, 1.0])
    build_database(workspace)
    store = Store(workspace)
    before = store.generation
    command = [sys.executable, "-c", KILLED, str(workspace.root), moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert store.generation == before
    assert sample_count(store.selection(SCOPE)) == 2
    assert leftovers(workspace) != []
    build_database(workspace)
    assert leftovers(workspace) == []
    assert store.generation != before


def test_builds_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    workspace = make(tmp_path, n=60)
    errors: list[Exception] = []

    def build() -> None:
        try:
            build_database(workspace)
        except Exception as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sample_count(Store(workspace).selection(SCOPE)) == 60
    assert leftovers(workspace) == []


def test_the_store_loads_neither_torch_nor_streamlit() -> None:
    code = (
        "import sys, json, scoring.database; "
        "print(json.dumps([m for m in ('torch', 'transformers', 'sklearn', 'streamlit') "
        "if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env=dict(os.environ)
    )
    assert json.loads(done.stdout) == []
