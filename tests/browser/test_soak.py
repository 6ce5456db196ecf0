"""Minutes of everything at once on one workspace: nothing is lost, and no page fails.

A scorer works, is killed and started again; the database is rebuilt; three reviewers decide; one
exports and verifies; and a browser walks through the pages meanwhile. At the end every count must
add up. ``VISNEC_SOAK_MINUTES`` says how long (default 3).
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from scoring.curation.subsets import SubsetDefinition
from scoring.dataset import read_dataset_info
from scoring.demo import DEMO_RUN
from scoring.exports.export import export_subset
from scoring.exports.provenance import verify_manifest
from scoring.reviews.decision_log import DecisionDraft
from scoring.reviews.decisions import Decision, ReviewLog, open_review_log, read_events
from scoring.rules.thresholds import Threshold
from scoring.store import Store, build_database
from scoring.workspace import Workspace, open_workspace
from tests.browser.conftest import PAGES, serving, watching

MINUTES = float(os.environ.get("VISNEC_SOAK_MINUTES", "3"))
REVIEWERS = ("Ann", "Béla", "名前 <b>")
RUN = "soak"


class Crew:
    """Threads that repeat their work until told to stop; the first failure of any is kept."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], None], pause: float = 0.0) -> None:
        def repeat() -> None:
            try:
                while not self.over.wait(pause):
                    work()
            except BaseException as error:  # noqa: BLE001 - told by the test
                self.failures.append(error)

        thread = threading.Thread(target=repeat)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()


def scorer(workspace: Workspace) -> subprocess.Popen[bytes]:
    code = "from scoring.cli import main; main()"
    arguments = ["score", "-w", str(workspace.root), "--model", "tiny-vlm", "--run", RUN]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def killed_scorer(workspace: Workspace, dice: random.Random, over: threading.Event) -> None:
    """A scorer that lives for some seconds."""
    process = scorer(workspace)
    over.wait(dice.uniform(4, 20))
    process.kill()
    process.wait()


def decide(log: ReviewLog, dice: random.Random, n_samples: int, noted: list[str]) -> None:
    """One draft, sometimes handed in twice; what was acknowledged is noted."""
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
    with serving(workspace.root, tmp_path / "log.txt") as server, watching(browser, server) as seen:
        crew.start(lambda: killed_scorer(workspace, dice, crew.over))
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
                seen.open(PAGES[counted["pages"] % len(PAGES)])
                seen.assert_sound()
                counted["pages"] += 1
        finally:
            crew.stop()
    assert crew.failures == []
    assert scorer(workspace).wait() == 0
    build_database(workspace)

    events = Counter(event.event_id for event in read_events(workspace))
    acknowledged = {one for ids in noted.values() for one in ids}
    assert set(events.values()) == {1}
    assert acknowledged <= set(events)
    assert len(events) == before + len(acknowledged)
    rows = (
        Store(workspace)
        .reading()
        .rows(
            "SELECT count(*), count(DISTINCT row_idx) FROM scores WHERE run_id = $run", {"run": RUN}
        )
    )
    assert rows == [(n_samples, n_samples)]
    export_once(workspace, tmp_path, counted)
    assert min(counted["exports"], counted["pages"], *map(len, noted.values())) > 3
    print({**counted, "decisions": len(acknowledged)})  # noqa: T201 - shown by pytest -s
