"""Workspaces with hand-written records, scores and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.readers.options import ReadOptions
from scoring.samples import Status
from scoring.workspace import Workspace, create_workspace
from tests.synthetic import RUN_ID, typed_row, write_clusters, write_run

# Records that no serialiser would print the same way again.
RECORDS = [
    b'{"zeta": [1.50, 1e-7, -0, 12345678901234567890], "id": "7", "image": "a/1.png",'
    b' "conversations": [{"from":"human","value":"<image>\\nWho?"},{"from":"gpt","value":"A"}]}',
    b'{"id":7,"image":"a\\/2.png","conversations":[{"from":"human","value":"na\\u00efve '
    b'\\ud83d\\ude00 <image>"},{"from":"gpt","value":"tab\\there, \\"quotes\\", back\\\\slash"}],'
    b'"\\u0069x":true}',
    '{"conversations": [{"from": "human", "value": "図 <image> naïve \u2028 😀"},'
    ' {"from": "gpt", "value": "né"}], "image": "b/3.png", "id": "7"}'.encode(),
    b'{\r\n    "id": "pretty",\r\n\t"image" :\n "b/4.png",\n    "conversations": [\n'
    b'        {"from": "human", "value": "<image> two  spaces\\nand \\r\\n"},\n\n'
    b'        {"from": "gpt", "value": "x\\"\\n { \\\\"}\n    ],\n "e": {}\n}',
    b'{"id": null, "image": "b/5.png", "image": "b/6.png", "conversations": '
    b'[{"from": "human", "value": "<image>"}, {"from": "gpt", "value": ""}], "id": "line\\nbreak"}',
    b'{"conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Ho"}]}',
]
SCORES: list[float | Status] = [0.5, 0.25, 0.75, 1.0, -0.5, Status.TEXT_ONLY]


def golden_workspace(
    root: Path,
    records: Sequence[bytes] = RECORDS,
    scores: Sequence[float | Status] = SCORES,
    container: str = "array",
) -> Workspace:
    """A workspace with these records, these scores and one cluster."""
    workspace = create_workspace(root / "ws")
    source = root / ("records.json" if container == "array" else "records.jsonl")
    array = b"\n[ " + b"\n,\t".join(records) + b" ]"
    source.write_bytes(array if container == "array" else b"\n".join(records))
    info = import_dataset(workspace, [source], [root], options=ReadOptions(keep_going=True))
    rows = [typed_row(score, position) for position, score in enumerate(scores)]
    write_run(workspace, rows, info.fingerprint)
    write_clusters(workspace, rows, info.fingerprint)
    build_database(workspace)
    return workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return golden_workspace(tmp_path)


@pytest.fixture
def store(workspace: Workspace) -> Store:
    return Store(workspace)


__all__ = ["RECORDS", "RUN_ID", "SCORES", "golden_workspace"]
