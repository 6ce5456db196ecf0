"""Token values: kept in the parts, read for one sample at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring import schemas
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.detail import token_scores
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.samples import Status
from scoring.workspace import Workspace
from tests.synthetic import RUN_ID, make_workspace

TOKENS = {
    "token_turns": [0, 0, 1],
    "token_texts": ["re", "d", "yes"],
    "token_loss_text": [2.0, 0.5, 1.0],
    "token_loss_multimodal": [0.5, 0.5, 2.0],
}


def with_tokens(root: Path, rows: list[dict[str, Any]]) -> Store:
    """A run that keeps tokens; ``rows`` replace what its parts hold."""
    workspace = make_workspace(
        root / "ws", with_images=False, visnec=[0.5, Status.TEXT_ONLY, 1.0], tokens=[3, 1, 2]
    )
    record = workspace.run_dir(RUN_ID) / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text("utf-8")) | {"tokens": True}))
    (part,) = (workspace.run_dir(RUN_ID) / "scores").glob("part-*.parquet")
    values = pq.read_table(part).to_pylist()
    write(workspace, part.name, [value | rows[value["row_idx"]] for value in values])
    build_database(workspace)
    return Store(workspace)


def write(workspace: Workspace, name: str, rows: list[dict[str, Any]]) -> None:
    path = workspace.run_dir(RUN_ID) / "scores" / name
    pq.write_table(pa.Table.from_pylist(rows, schemas.SCORES), path)


def test_the_tokens_of_a_sample_come_in_their_order(tmp_path: Path) -> None:
    store = with_tokens(tmp_path, [TOKENS, {}, TOKENS | {"token_texts": None}])
    frame = token_scores(store, Scope(RUN_ID), 0)
    assert frame is not None
    assert frame.to_dict("list") == {
        "turn": [0, 0, 1],
        "text": ["re", "d", "yes"],
        "loss_text": [2.0, 0.5, 1.0],
        "loss_multimodal": [0.5, 0.5, 2.0],
        "visnec": [1.5, 0.0, -1.0],
    }
    unknown = token_scores(store, Scope(RUN_ID), 2)
    assert unknown is not None
    assert unknown["text"].tolist() == [None, None, None]


def test_unscored_sample_has_no_tokens(tmp_path: Path) -> None:
    store = with_tokens(tmp_path, [TOKENS, {}, {}])
    assert token_scores(store, Scope(RUN_ID), 1) is None
    assert token_scores(store, Scope(RUN_ID), 99) is None
    with pytest.raises(InputError, match="no scores of run"):
        token_scores(store, Scope(RUN_ID, "gray"), 0)


def test_run_without_token_values_gives_none(store: Store) -> None:
    assert token_scores(store, Scope(RUN_ID), 0) is None


@pytest.mark.parametrize("old", [0, 1])
def test_parts_without_token_values_are_read_with_newer_ones(tmp_path: Path, old: int) -> None:
    workspace = make_workspace(tmp_path / "ws", with_images=False, visnec=[0.5, 1.0], part_rows=1)
    part = sorted((workspace.run_dir(RUN_ID) / "scores").glob("part-*.parquet"))[old]
    names = [name for name in schemas.SCORES.names if not name.startswith("token_")]
    pq.write_table(pq.read_table(part).select(names), part)
    build_database(workspace)
    found = (
        Store(workspace)
        .snapshot()
        .fetch_rows("SELECT row_idx, visnec FROM scores ORDER BY row_idx")
    )
    assert found == [(0, 0.5), (1, 1.0)]
