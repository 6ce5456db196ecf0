"""A dataset in an oddly named folder: imported with its images, scored, shown and exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient
from typer.testing import CliRunner

from dashboard.data.context import WORKSPACE_VARIABLE
from dashboard.server.guard import guard_middleware
from dashboard.server.routes import ROUTES
from dashboard.view.links import image_url, thumbnail_url
from scoring.cli import app
from scoring.dataset.records import read_dataset_info
from scoring.engine.pipeline import score_dataset
from scoring.workspace import open_workspace
from tests.dashboard.conftest import Draw, draw, written  # noqa: F401 - a fixture
from tests.fakes import FakeModel

FOLDERS = ("Meine Daten", "größe 図 и ещё", "50% & more #1", "a;b'c\"d")
IMAGES = ("ein Bild.png", "ß/é 図.png", "100%25.png", "what#1?.png")
OWN = "http://127.0.0.1:8501"


def write_dataset(folder: Path) -> Path:
    (folder / "Bilder 1" / "ß").mkdir(parents=True)
    records = []
    for number, name in enumerate(IMAGES):
        Image.new("RGB", (40 + number, 30), "red").save(folder / "Bilder 1" / name)
        turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": f"a {number}"}]
        records.append({"image": name, "conversations": turns})
    path = folder / "Датасет 1.json"
    path.write_text(json.dumps(records, ensure_ascii=False), "utf-8")
    return path


def run_command(*arguments: str | Path) -> None:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_dataset_may_have_an_odd_path(
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    draw: Draw,  # noqa: F811
) -> None:
    folder, root = tmp_path / name, tmp_path / name / "ws ä"
    data = write_dataset(folder)
    run_command("import", data, "-w", root, "--images", folder / "Bilder 1")
    workspace = open_workspace(root)
    run = score_dataset(workspace, FakeModel(), run_id="run")
    assert run.statuses == {"scored": 4}
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(root))
    edition = read_dataset_info(workspace).fingerprint
    guard = guard_middleware("127.0.0.1")
    with TestClient(Starlette(routes=ROUTES, middleware=guard), base_url=OWN) as client:
        for row in range(4):
            for address in (image_url(row, 0, edition), thumbnail_url(row, edition)):
                answer = client.get(address)
                assert answer.status_code == 200, answer.text
                assert answer.headers["content-type"] in ("image/png", "image/jpeg")
    assert "4 samples" in written(draw("explore"))
    select = ("select", "-w", root, "--name", "s", "--rule", "top-count", "--count", "4")
    run_command(*select, "--run", "run")
    run_command("export", "s", "-w", root, "--images", "copy", "--to", folder / "Ausfuhr é")
    (exported,) = (folder / "Ausfuhr é").glob("samples.json")
    assert [one["image"] for one in json.loads(exported.read_text("utf-8"))] == list(IMAGES)
    run_command("verify", folder / "Ausfuhr é" / "manifest.json", "-w", root)
