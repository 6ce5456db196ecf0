"""Full disks: the message, what is kept, and that work resumes when there is space."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data import actions
from dashboard.data.context import WORKSPACE_VARIABLE
from dashboard.view.state import Key
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import StorageError, VisnecError
from scoring.images.thumbnails import PackedCache, load_thumbnail
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log, read_events
from scoring.workspace import open_workspace
from tests.dashboard.conftest import Draw, draw, written  # noqa: F401 - a fixture
from tests.security.limits import files_up_to, on_a_small_disk
from tests.synthetic import RUN_ID, make_workspace, typed_row

ROWS = [typed_row(0.125 * (i % 9) - 0.25, i) for i in range(12)]
SELECT = ("select", "--name", "s", "--rule", "top-count", "--count", "5", "--run", RUN_ID, "-w")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    workspace = make_workspace(tmp_path / "ws", rows=ROWS)
    build_database(workspace)
    return workspace.root


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_explained_error(code: int, output: str) -> None:
    """Check for an error message without a traceback."""
    assert code == 1, output
    assert "Traceback" not in output
    assert "error:" in output


def test_an_import_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    words = [f"{n * n * 7919:x} {n:o}" for n in range(4000)]
    records = [
        {"image": "a.png", "conversations": [
            {"from": "human", "value": f"<image>\n{word}"}, {"from": "gpt", "value": word * 3}
        ]}
        for word in words
    ]  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps(records))
    assert_explained_error(
        *on_a_small_disk(20_000, "import", tmp_path / "data.json", "-w", tmp_path / "ws")
    )
    assert files_of(tmp_path / "ws") == []
    code, output = on_a_small_disk(1 << 30, "import", tmp_path / "data.json", "-w", tmp_path / "ws")
    assert code == 0, output
    assert "4,000" in output


def test_a_failed_build_keeps_the_old_database(root: Path) -> None:
    before = (root / "visnec.duckdb").read_bytes()
    code, output = on_a_small_disk(4096, "build", "-w", root)
    assert (code in (1, 2), "Traceback" in output) == (True, False), output
    assert "Cannot build the database" in output
    assert (root / "visnec.duckdb").read_bytes() == before
    assert [name for name in files_of(root) if ".tmp" in name] == []
    Store(open_workspace(root))


def test_a_subset_is_saved_completely_or_not(root: Path) -> None:
    before = files_of(root)
    assert_explained_error(*on_a_small_disk(16, *SELECT, root))
    assert files_of(root) == before
    assert on_a_small_disk(1 << 20, *SELECT, root)[0] == 0


def test_a_failed_export_leaves_nothing(root: Path) -> None:
    assert on_a_small_disk(1 << 20, *SELECT, root)[0] == 0
    assert_explained_error(*on_a_small_disk(64, "export", "s", "-w", root))
    assert not (root / "exports" / "s").exists()


def test_thumbnails_are_shown_without_a_writable_cache(root: Path) -> None:
    workspace = open_workspace(root)
    with files_up_to(0):
        picture = load_thumbnail(workspace, str(ROWS[0].image))
        assert load_thumbnail(workspace, str(ROWS[0].image)) == picture
    assert picture.startswith(b"\xff\xd8")
    assert PackedCache(workspace.thumbnails_dir).read(b"0" * 16) is None


def test_a_decision_is_on_disk_or_refused(root: Path) -> None:
    workspace = open_workspace(root)
    log = open_review_log(workspace, "Ann", "desk")
    log.append([DecisionDraft(1, Decision.KEEP, event_id="first")])
    size = log.path.stat().st_size
    for space in (0, 40):  # the next line is not written at all, or only its start
        with files_up_to(size + space), pytest.raises((OSError, VisnecError)):
            log.append([DecisionDraft(2, Decision.DROP, event_id="second")])
    log.append([DecisionDraft(2, Decision.DROP, event_id="second")])  # the browser's next try
    found = [(event.event_id, event.row_idx) for event in read_events(workspace)]
    assert found == [("first", 1), ("second", 2)]


# ---- in the pages --------------------------------------------------------------------------------


@pytest.fixture
def shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(root))
    return root


def press(app: AppTest, label: str) -> AppTest:
    (button,) = [button for button in app.button if label in button.label]
    return button.click().run()


def test_a_button_reports_that_a_decision_was_not_saved(shown: Path, draw: Draw) -> None:  # noqa: F811
    app = draw("review", {"queue": "row_idx", "buttons": "1"}, {Key.REVIEWER: "Ann"})
    with files_up_to(0):
        app = press(app, "Keep")
    assert "The decision was not saved" in written(app)
    assert "File too large; free some space" in written(app)
    assert list(read_events(open_workspace(shown))) == []
    app = press(app, "Keep")
    assert "Saved: keep, row 0" in written(app)
    (event,) = read_events(open_workspace(shown))
    assert (event.row_idx, event.decision) == (0, "keep")


def test_the_form_reports_that_a_subset_was_not_saved(shown: Path, draw: Draw) -> None:  # noqa: F811
    app = draw("subset", {"rule": "top-share"})
    app.text_input(key="subset_name").set_value("mine")
    with files_up_to(0):
        app = press(app, "Save")
    assert "The subset was not saved" in written(app)
    assert "free some space" in written(app)
    assert not (shown / "subsets" / "mine.json").exists()


def test_a_page_reports_that_the_database_cannot_be_built(root: Path) -> None:
    (root / "visnec.duckdb").unlink()
    (root / ".visnec.duckdb.lock").unlink()
    (root / ".visnec.duckdb.lock").mkdir()
    with pytest.raises(StorageError, match=r"Cannot build the database.*Free some space"):
        actions.build_workspace_database(open_workspace(root))
