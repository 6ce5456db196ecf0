"""The store follows new files and decisions, serves threads, and reaches nothing outside."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring import schemas
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import fetch_page, matching_rows
from scoring.database.queries.detail import sample_detail
from scoring.database.queries.overview import sample_count, score_summary
from scoring.database.queries.review_queues import review_queue
from scoring.database.score_index.groups import by_cluster
from scoring.database.values import Scope
from scoring.errors import InputError, WorkspaceError
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from tests.database.conftest import SCOPE, SCORES, TOKENS, built, decision_counts, row_indices
from tests.database.test_build import turn
from tests.synthetic import RUN_ID, append_decisions, decision_event, make_workspace


def test_without_a_database_the_remedy_is_named(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", n=6, with_images=False)
    with pytest.raises(WorkspaceError, match="visnec build -w"):
        Store(workspace)


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", n=6, with_images=False)
    workspace.database.write_bytes(b"not a database, but long enough to be looked into" * 200)
    with pytest.raises(WorkspaceError, match="visnec build -w"):
        Store(workspace)


def test_a_database_of_another_version_is_explained(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", n=6, with_images=False)
    build_database(workspace)
    with duckdb.connect(str(workspace.database)) as con:
        con.execute("UPDATE build_info SET database_version = 99")
    with pytest.raises(WorkspaceError, match="another version"):
        Store(workspace)


def test_unknown_runs_and_clusterings_are_refused_naming_the_known_ones(tmp_path: Path) -> None:
    _, store = built(tmp_path, n=6)
    with pytest.raises(InputError, match=rf"'other'.*{RUN_ID} \(none\)"):
        sample_count(store.selection(Scope("other")))
    with pytest.raises(InputError, match="'gray'"):
        score_summary(store.selection(Scope(RUN_ID, "gray")))
    with pytest.raises(InputError, match=r"'nowhere'.*instructions-k6"):
        by_cluster(store.selection(Scope(RUN_ID, "none", "nowhere")))
    with pytest.raises(InputError, match="visnec cluster"):
        sample_count(store.selection(Scope(RUN_ID), Filter(cluster=(1,))))


def test_store_follows_a_new_database_and_a_snapshot_does_not(tmp_path: Path) -> None:
    workspace, store = built(tmp_path, visnec=SCORES, tokens=TOKENS)
    old, generation = store.snapshot(), store.generation
    assert score_summary(store.selection(SCOPE)).n_scored == 8
    assert store.build_state().n_new_parts == 0

    values = [{"row_idx": 4, "baseline": "none", "status": "scored", "reason": None}]
    values[0] |= {"truncated": False, "turns": [turn(3.0, 1.0, 2)]}
    path = workspace.run_dir(RUN_ID) / "scores" / "part-00001.parquet"
    pq.write_table(pa.Table.from_pylist(values, schemas.SCORES), path)
    state = store.build_state()
    assert state.n_new_parts == 1
    assert score_summary(store.selection(SCOPE)).n_scored == 8

    build_database(workspace)
    assert store.generation != generation
    assert store.build_state().n_new_parts == 0
    assert score_summary(store.selection(SCOPE)).n_scored == 9
    assert old.fetch_rows("SELECT count(visnec) FROM scores") == [(8,)]


def test_deleted_database_stays_readable_while_open(tmp_path: Path) -> None:
    workspace, store = built(tmp_path, visnec=SCORES, tokens=TOKENS)
    workspace.database.unlink()
    assert sample_count(store.selection(SCOPE)) == 11
    build_database(workspace)
    assert sample_count(store.selection(SCOPE)) == 11


def test_decisions_and_undo_are_visible_at_once(tmp_path: Path) -> None:
    workspace, store = built(tmp_path, visnec=SCORES, tokens=TOKENS)
    before = store.decisions_generation
    keep = decision_event(1, 2, "keep")
    append_decisions(workspace, [keep, decision_event(2, 3, "drop")])
    assert store.decisions_generation != before
    assert matching_rows(store.selection(SCOPE, Filter(decision=("keep",)))).tolist() == [2]
    assert decision_counts(store.selection(SCOPE)) == {"keep": 1, "drop": 1, "unsure": 0, "none": 9}
    append_decisions(workspace, [decision_event(3, 2, None, undoes=keep["event_id"])])
    assert decision_counts(store.selection(SCOPE)) == {
        "keep": 0,
        "drop": 1,
        "unsure": 0,
        "none": 10,
    }


def test_final_decision_of_several_reviewers(tmp_path: Path) -> None:
    workspace, store = built(tmp_path, visnec=SCORES, tokens=TOKENS)
    for reviewer, decisions in {
        "ada": ["keep", "keep", "drop", "unsure"],
        "ben": ["keep", "drop", "drop", "unsure"],
        "cem": ["drop", None, None, None],
    }.items():
        events = [
            decision_event(row + 1, row, decision, reviewer=reviewer)
            for row, decision in enumerate(decisions)
            if decision
        ]
        append_decisions(workspace, events, f"{reviewer}@laptop")

    def rows(text: str) -> list[int]:
        return matching_rows(store.selection(SCOPE, parse_filter(text))).tolist()

    assert rows("decision:keep") == [0]  # two against one
    assert rows("decision:drop") == [2]
    assert rows("decision:unsure") == [1, 3]  # a tie, and only unsure
    assert rows("decision:none") == [4, 5, 6, 7, 8, 9, 10]
    assert rows("decision:none,keep") == [0, 4, 5, 6, 7, 8, 9, 10]
    assert rows("decision:keep,drop,unsure,none") == list(range(11))
    assert review_queue(store.selection(SCOPE), "row_idx", 3, undecided_by="cem").rows == [1, 2, 3]
    assert review_queue(store.selection(SCOPE), "row_idx", 3, undecided_by="ada").rows == [4, 5, 6]


def test_incremental_decisions_equal_a_fresh_read(tmp_path: Path) -> None:
    workspace, store = built(tmp_path, n=20)
    dice = random.Random(3)  # noqa: S311 - repeatable on purpose
    logs = [open_review_log(workspace, name, "desk") for name in ("ada", "ben")]
    tables = ("FROM decisions ORDER BY row_idx, reviewer", "FROM final_decisions ORDER BY row_idx")
    for step in range(40):
        log = dice.choice(logs)
        if dice.random() < 0.3:
            log.undo_latest()
        else:
            rows = dice.sample(range(20), 3)
            log.append([DecisionDraft(row, dice.choice(list(Decision))) for row in rows])
        if step % 2:
            fresh = Store(workspace).snapshot()
            for table in tables:
                assert store.snapshot().fetch_rows(table) == fresh.fetch_rows(table)


def test_note_alone_is_not_a_decision(tmp_path: Path) -> None:
    workspace, store = built(tmp_path, visnec=SCORES, tokens=TOKENS)
    append_decisions(workspace, [decision_event(1, 5, None, note="odd picture")])
    assert decision_counts(store.selection(SCOPE))["none"] == 11
    detail = sample_detail(store, SCOPE, 5)
    assert detail.decision == "none"
    (held,) = detail.decisions
    assert (held["reviewer"], held["decision"], held["note"]) == ("ada", None, "odd picture")


def test_threads_get_correct_results_while_the_database_changes(tmp_path: Path) -> None:
    """A connection shared by threads would mix up these answers, or raise."""
    workspace, store = built(tmp_path, n=240)
    expected = {
        source: matching_rows(store.selection(SCOPE, Filter(source=(source,)))).tolist()
        for source in ("scenes", "digits", "charts", "words", "chat")
    }
    wrong: list[str] = []
    ended = threading.Event()

    def ask(source: str) -> None:
        which = Filter(source=(source,))
        for _ in range(25):
            rows = matching_rows(store.selection(SCOPE, which)).tolist()
            page = fetch_page(store.selection(SCOPE, which), "row_idx", limit=5)
            if rows != expected[source] or row_indices(page) != rows[:5]:
                wrong.append(source)

    def change() -> None:
        for seq in range(1, 1000):
            append_decisions(workspace, [decision_event(seq, seq % 240, "keep")])
            if seq % 20 == 1:
                build_database(workspace)
            if ended.wait(0.005):
                return

    failed: list[threading.ExceptHookArgs] = []
    threading.excepthook, usual = failed.append, threading.excepthook
    try:
        changing = threading.Thread(target=change)
        asking = [threading.Thread(target=ask, args=(source,)) for source in expected]
        for thread in (changing, *asking):
            thread.start()
        for thread in asking:
            thread.join()
        ended.set()
        changing.join()
    finally:
        threading.excepthook = usual
    assert [str(one.exc_value) for one in failed] == []
    assert wrong == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO 'out.csv'",
        "ATTACH 'other.duckdb'",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "CREATE TABLE built.main.mine (a INTEGER)",
        "DELETE FROM built.main.scores",
        "INSTALL httpfs",
    ],
)
def test_query_reaches_neither_disk_nor_network(store: Store, query: str) -> None:
    with pytest.raises(duckdb.Error):
        store.snapshot().fetch_rows(query)


def test_text_of_a_filter_is_never_sql(store: Store) -> None:
    hostile = "'); DROP TABLE decisions; --"
    for which in (Filter(text=hostile), Filter(source=(hostile,)), Filter(text="100%_\\")):
        assert sample_count(store.selection(SCOPE, which)) == 0
    assert sample_count(store.selection(SCOPE, Filter(text="\udcff"))) == 0
    assert sample_count(store.selection(SCOPE)) == 11
