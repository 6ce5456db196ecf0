"""Several minutes of all activities at once on one workspace: nothing is lost, no page fails.

A scorer works on one run after another, is killed and started again; the database is rebuilt; three
reviewers decide; one exports and verifies; and a fourth visits the pages and decides there by keys.
At the end every count must add up. ``VISNEC_SOAK_MINUTES`` sets the duration (default 3).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.records import read_dataset_info
from scoring.demo.build import DEMO_RUN
from scoring.exports.export import export_subset
from scoring.exports.verify import verify_manifest
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import ReviewLog, open_review_log, read_events
from scoring.rules import Threshold
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, open_workspace
from tests.browser.conftest import PAGES, Watched, serving, watching
from tests.browser.test_review import all_saved, row_on_show

MINUTES = float(os.environ.get("VISNEC_SOAK_MINUTES", "3"))
REVIEWERS = ("Ann", "Béla", "名前 <b>")
AT_THE_PAGES = "Dora"
CHOICES = {"k": "keep", "d": "drop", "u": "unsure"}


class Crew:
    """Threads that repeat their work until they are stopped; the first failure is kept."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], None], pause: float = 0.0) -> None:
        def repeat() -> None:
            try:
                while not self.over.wait(pause):
                    work()
            except BaseException as error:  # noqa: BLE001 - reported by the test
                self.failures.append(error)

        thread = threading.Thread(target=repeat)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()


def scorer(workspace: Workspace, run: str) -> subprocess.Popen[bytes]:
    code = "from scoring.cli import main; main()"
    arguments = ["score", "-w", str(workspace.root), "--model", "tiny-vlm", "--run", run]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def work_and_die(
    workspace: Workspace, dice: random.Random, over: threading.Event, counted: Counter[str]
) -> None:
    """Kill a running scorer; if it had finished, start the next run."""
    run = f"soak-{counted['runs']}"
    process = scorer(workspace, run)
    reports = workspace.run_dir(run) / "progress"
    began = time.time()
    while process.poll() is None and not over.is_set() and not _reported(reports, began):
        over.wait(0.05)
    over.wait(dice.uniform(0, 12))
    if process.poll() is None:
        process.kill()
        process.wait()
        counted["kills"] += 1
    else:
        assert process.returncode == 0
        counted["runs"] += 1


def _reported(folder: Path, began: float) -> bool:
    """Return whether a process has reported progress since then."""
    return any(path.stat().st_mtime >= began for path in folder.glob("*.json"))


def decide(log: ReviewLog, dice: random.Random, n_samples: int, noted: list[str]) -> None:
    """Send one draft, sometimes twice, and note the confirmed ones."""
    choice = dice.choice(list(Decision))
    draft = DecisionDraft(dice.randrange(n_samples), choice, event_id=f"{dice.getrandbits(96):x}")
    for _ in range(dice.choice((1, 1, 2))):
        noted.append(log.append([draft])[0].event_id)
    if dice.random() < 0.1 and (undone := log.undo()) is not None:
        noted.append(undone.event_id)


def export_once(workspace: Workspace, folder: Path, counted: Counter[str]) -> None:
    counted["exports"] += 1
    definition = SubsetDefinition("soak", Threshold(min=0.25), DEMO_RUN)
    target = folder / f"export-{counted['exports']}"
    result = export_subset(workspace, Store(workspace), definition, target)
    verify_manifest(target, workspace)
    assert result.n_samples > 0
    shutil.rmtree(target)


def decide_by_keys(seen: Watched, dice: random.Random, expected: dict[int, str]) -> None:
    """Decide three times on the Review page, each time about the sample on show."""
    deck = seen.page.locator(".vn:has(.buttons)")
    field = seen.page.get_by_label("Your name")
    expect(field.or_(deck).first).to_be_visible()
    if field.is_visible():
        field.fill(AT_THE_PAGES)
        seen.page.keyboard.press("Enter")
    for _ in range(3):
        row, key = row_on_show(deck), dice.choice(list(CHOICES))
        seen.page.keyboard.press(key)
        expect(deck).not_to_have_attribute("data-row", str(row))
        expected[row] = CHOICES[key]
    all_saved(deck)


def by_the_logs(workspace: Workspace) -> list[tuple[int, str, str]]:
    """Return the current (row, reviewer, decision), computed from the log lines."""
    holds: dict[tuple[int, str], list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(workspace.reviews_dir.glob("[!.]*.jsonl")):
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for line in sorted(lines, key=lambda one: one["seq"]):
            decisions = holds[line["row_idx"], line["reviewer"]]
            if line["undoes"]:
                decisions[:] = [one for one in decisions if one[0] != line["undoes"]]
            elif line["decision"]:
                decisions.append((line["event_id"], line["decision"]))
    return sorted((*key, decisions[-1][1]) for key, decisions in holds.items() if decisions)


@pytest.mark.long
def test_everything_at_once_loses_nothing(
    demo_built: Path, tmp_path: Path, browser: Browser
) -> None:
    expect.set_options(timeout=120_000)
    shutil.copytree(demo_built, tmp_path / "soak å ?")
    workspace = open_workspace(tmp_path / "soak å ?")
    n_samples = read_dataset_info(workspace).n_samples
    before = len(list(read_events(workspace)))
    crew, counted = Crew(), Counter[str]()
    dice = random.Random(7)  # noqa: S311
    noted: dict[str, list[str]] = {name: [] for name in REVIEWERS}
    by_keys: dict[int, str] = {}
    with serving(workspace.root, tmp_path / "log.txt") as server, watching(browser, server) as seen:
        crew.start(lambda: work_and_die(workspace, dice, crew.over, counted))
        crew.start(lambda: build_database(workspace) and None, pause=3)
        crew.start(lambda: export_once(workspace, tmp_path, counted), pause=2)
        for number, name in enumerate(REVIEWERS):
            log = open_review_log(workspace, name, "desk")
            own = random.Random(number)  # noqa: S311
            crew.start(
                lambda log=log, own=own, name=name: decide(log, own, n_samples, noted[name]),
                pause=0.05,
            )
        until = time.monotonic() + 60 * MINUTES
        try:
            while time.monotonic() < until and not crew.failures:
                name = PAGES[counted["pages"] % len(PAGES)]
                seen.open(name, "?queue=row_idx" if name == "review" else "")
                if name == "review":
                    decide_by_keys(seen, random.Random(counted["pages"]), by_keys)  # noqa: S311
                seen.assert_sound()
                counted["pages"] += 1
        finally:
            crew.stop()
    assert crew.failures == []
    said = (tmp_path / "log.txt").read_text("utf-8", "replace")
    assert "Traceback" not in said, said
    assert "failure" not in said, said
    assert scorer(workspace, f"soak-{counted['runs']}").wait() == 0
    build_database(workspace)

    events = list(read_events(workspace))
    ids = Counter(event.event_id for event in events)
    acknowledged = {one for some in noted.values() for one in some}
    assert set(ids.values()) == {1}
    assert acknowledged <= set(ids)
    assert len(events) == before + len(acknowledged) + len(by_keys)
    mine = [one for one in events if one.reviewer == AT_THE_PAGES]
    assert {one.row_idx: str(one.decision) for one in mine} == by_keys
    snapshot = Store(workspace).snapshot()
    table = "SELECT row_idx, reviewer, decision FROM decisions WHERE decision IS NOT NULL"
    assert sorted(snapshot.fetch_rows(table, {})) == by_the_logs(workspace)
    for number in range(counted["runs"] + 1):
        count = "SELECT count(*), count(DISTINCT row_idx) FROM scores WHERE run_id = $run"
        assert snapshot.fetch_rows(count, {"run": f"soak-{number}"}) == [(n_samples, n_samples)]
    export_once(workspace, tmp_path, counted)
    done = (counted["exports"], counted["pages"], counted["kills"], *map(len, noted.values()))
    assert min(done) > 3
    print({**counted, "decisions": len(acknowledged), "by keys": len(by_keys)})  # noqa: T201 - shown by pytest -s
