"""Measures how long a curator waits for the dashboard, in a real browser with a real server.

    python -m benchmarks.dashboard [--rows 665000] [--columns] [--keep FOLDER] [--repeat 40]
        [--browsers 5]

Creates a workspace of that size with the public commands (or uses an earlier one in FOLDER), serves
it, drives Chromium, and prints a Markdown table: median / 95th percentile in milliseconds, from the
browser's own event to the frame that shows the result. Every measurement uses another threshold,
page or sample. Counts on the pages are compared with the library's, and decisions with the log on
disk. Results: benchmarks/results/dashboard.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright

from benchmarks import _dashboard_setup as setup
from benchmarks._dashboard_browser import Busy, Figures, Tab, open_tab, percentile
from scoring.columns.parts import list_columns
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.score_index.thresholds import count_kept
from scoring.database.values import Scope
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import latest_decisions
from scoring.workspace import open_workspace
from tests.browser.conftest import ARGUMENTS, Served, serving
from tests.chromium import find_chromium

FILTER = "filter=source:scenes,charts,words"
ON_COLUMNS = "col:relevance_min>=3 col:clip>0.25"
COLUMN_FILTER = f"filter={quote(ON_COLUMNS)}"
BY_COLUMN = "sort=-col:aesthetics"
COLD, WARM = "not cached", "cached"
START = 0.03 + time.time_ns() % 97 * 1e-4  # so that no earlier run has cached these
KEYS = {"k": "keep", "d": "drop", "u": "unsure"}
BARS = {
    "first page after the server is up": 2000,
    "threshold typed: exact counts": 150,
    "threshold typed under a filter: exact counts": 150,
    "threshold typed under a filter on columns: exact counts": 150,
    "threshold dragged: exact counts": 150,
    f"threshold moved: 24 images, {COLD}": 250,
    f"threshold moved: 24 images, {WARM}": 250,
    "decision, key to next image": 50,
}


def spread_thresholds(n: int, start: float = START) -> list[float]:
    """Return distinct thresholds across the middle of the scores, each far from the previous."""
    return [round(start + 0.01 * (number * 37 % 97), 4) for number in range(n)]


# ---- what is measured ----------------------------------------------------------------------------


def measure_first_page(tab: Tab, address: str, figures: Figures) -> None:
    """Time from the address to exact counts below the histogram, in a new browser profile."""
    begun = time.perf_counter()
    tab.page.goto(f"{address}/")
    tab.until("() => VNB.exact() !== null")
    figures.add("first page after the server is up", (time.perf_counter() - begun) * 1000)


def type_thresholds(tab: Tab, figures: Figures, name: str, thresholds: list[float]) -> None:
    """Type each threshold; the time ends when the counts are exact."""
    field = tab.page.get_by_role("spinbutton", name="Threshold: keep scores from")
    for threshold in thresholds:
        field.fill(str(threshold))
        took = tab.measure(
            "threshold => VNB.exact() === threshold", lambda: field.press("Enter"), threshold
        )
        figures.add(f"threshold {name}: exact counts", took)
        figures.kept[threshold] = tab.read_kept()
        figures.add(f"threshold {name}: page idle", tab.wait_until_idle())


def drag_thresholds(tab: Tab, figures: Figures, n: int) -> None:
    """Drag the threshold; the time starts when it is released."""
    for number in range(n):
        box: Any = tab.page.locator('[data-limit="cut"] line').first.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        by = (17 + 3 * number) * (1 if number % 2 else -1)
        tab.page.mouse.move(x, y)
        tab.page.mouse.down()
        for step in range(1, 6):
            tab.page.mouse.move(x + by * step / 5, y)
        took = tab.measure("() => VNB.exact() !== null", tab.page.mouse.up)
        figures.add("threshold dragged: exact counts", took)
        tab.wait_until_idle()


def step_thresholds(tab: Tab, figures: Figures, n: int) -> None:
    """Move the threshold with the keyboard; the component waits 180 ms for a further step."""
    handle = tab.page.locator('[data-limit="cut"]').first
    for number in range(n):
        handle.focus()
        key = "PageUp" if number % 3 else "PageDown"
        before = tab.page.evaluate("() => VNB.exact()")
        test = "before => VNB.exact() !== null && VNB.exact() !== before"
        took = tab.measure(test, lambda key=key: tab.page.keyboard.press(key), before)  # type: ignore[misc]
        figures.add("threshold moved by key (180 ms pause included): exact counts", took)
        tab.wait_until_idle()


def measure_images_at_threshold(
    tab: Tab, address: str, figures: Figures, name: str, n: int, renew: Path | None = None
) -> None:
    """Move the threshold in Explore: 24 new images (those far below the fold load later).

    With ``renew``, the workspace's folder, thumbnails are not cached and are made from the images;
    ``visnec score`` caches them.
    """
    tab.open(f"{address}/explore?layout=cut&size=24&cut=0.5")
    tab.until("() => VNB.pictures().filter(VNB.loaded).length >= 24")
    field = tab.page.get_by_role("spinbutton", name="Threshold")
    busy = Busy(server_pid())
    for threshold in spread_thresholds(n):
        if renew is not None:
            setup.renew_images(renew)
        field.fill(str(threshold))
        took = tab.measure("VNB.newPictures(24)", lambda: field.press("Enter"), prepare=True)
        figures.add(f"threshold moved: 24 images, {name}", took)
        tab.wait_until_idle()
        tab.until("() => VNB.pictures().every(VNB.loaded)")  # those out of sight too
    figures.notes.append(busy.describe(f"threshold moved in Explore, images {name}", n))


def measure_filters(tab: Tab, address: str, figures: Figures) -> None:
    """Type filters in Explore: new tiles and their count; each a second time."""
    tab.open(f"{address}/explore?size=24")
    tab.page.get_by_role("button", name="Filter").click()
    field = tab.page.get_by_label("Filter as text")
    texts = [f"source:{source}" for source in setup.SOURCES]
    texts += [f"source:{source} visnec:0..0.5" for source in setup.SOURCES]
    texts += [f'text:"{word}"' for word in setup.WORDS[:4]]
    for round_name in ("first time", "second time"):
        for text in texts:
            field.fill(text)
            took = tab.measure("VNB.newTiles()", lambda: field.press("Enter"), prepare=True)
            kind = "text search" if text.startswith("text") else "filter"
            figures.add(f"{kind}, {round_name}: new samples listed", took)
            tab.wait_until_idle()


def measure_pages(
    tab: Tab, address: str, figures: Figures, n: int, where: str = FILTER, name: str = "next page"
) -> None:
    """Open the next page of 24, with its images."""
    tab.open(f"{address}/explore?size=24&{where}")
    for _ in range(n):
        button = tab.page.get_by_role("button", name="Next").first
        took = tab.measure("VNB.newPictures(24)", button.click, prepare=True)
        figures.add(f"{name}: 24 images", took)
        tab.wait_until_idle()


def measure_columns(tab: Tab, served: Served, figures: Figures, n: int) -> None:
    """Type thresholds under a filter on imported columns, and page through the order of one."""
    address = served.address
    tab.open(f"{address}/?{COLUMN_FILTER}")
    tab.until("() => VNB.exact() !== null")
    busy = Busy(server_pid())
    name = "typed under a filter on columns"
    type_thresholds(tab, figures, name, spread_thresholds(n))
    figures.notes.append(busy.describe(f"threshold {name}", n))
    checked = check_counts(served.root, figures.kept, ON_COLUMNS)
    figures.notes.append(f"Under the filter on columns: {checked}")
    figures.kept.clear()
    for where, what in (
        (BY_COLUMN, "next page in the order of a column"),
        (f"{COLUMN_FILTER}&{BY_COLUMN}", "next page in the order of a column, under the filter"),
    ):
        measure_pages(tab, address, figures, n, where, what)


def measure_samples(tab: Tab, address: str, figures: Figures, n: int) -> None:
    """Open a sample from the gallery, then the next ones by key; ends when the image is decoded."""
    tab.open(f"{address}/explore?size=24")
    tile = tab.page.locator(".tile").nth(3)
    row = int(str(tile.get_attribute("data-row")))
    figures.add("open a sample: image", tab.measure("VNB.opened()", tile.click, prepare=True))
    for _ in range(n):
        tab.wait_until_idle()
        took = tab.measure(
            "VNB.opened()", lambda: tab.page.keyboard.press("ArrowRight"), prepare=True
        )
        figures.add("next sample by key: image", took)
    figures.notes.append(f"Samples opened from row {row} to row {tab.read_row()}.")


def measure_decisions(
    tab: Tab, address: str, root: Path, figures: Figures, gap: int | None, queue: list[int]
) -> None:
    """Make 200 decisions by key, ``gap`` ms apart; with None each waits until its image is painted.

    They are compared with the log on disk. The first call fills ``queue``, and every later one must
    follow it.
    """
    reviewer = f"Gap {'none' if gap is None else gap} {time.time_ns()}"
    tab.open(f"{address}/review?queue=lowest")
    name = tab.page.get_by_label("Your name")
    name.wait_for()
    name.fill(reviewer)
    name.press("Enter")
    tab.until("() => VNB.reviewed() !== null")
    keys = ("kdukkdduuk" * 20)[:200]
    tab.page.evaluate("() => VNB.beginReview()")
    for key in keys:
        if gap is None:
            before = tab.page.evaluate("() => VNB.reviewed()")
            tab.page.keyboard.press(key)
            tab.until("before => ![null, before].includes(VNB.reviewed())", before)
            tab.wait_until_painted()
        elif gap:
            tab.page.keyboard.press(key)
            time.sleep(gap / 1000)
    if gap == 0:
        tab.page.evaluate("keys => VNB.press(keys)", keys)
    tab.until("() => VNB.allSaved()")
    shown: list[list[float]] = tab.page.evaluate("() => VNB.endReview()")
    queue += [] if queue else [int(row) for row, _, _ in shown]
    if gap != 0:
        name = "decision, key to next image"
        name += "" if gap is None else f", keys {gap} ms apart"
        for _, pressed, drawn in shown:
            if pressed and drawn:
                figures.add(name, drawn - pressed)
    _check_decisions(root, reviewer, keys, queue, figures, gap)


def _check_decisions(
    root: Path, reviewer: str, keys: str, rows: list[int], figures: Figures, gap: int | None
) -> None:
    events = [event for event in read_events(open_workspace(root)) if event.reviewer == reviewer]
    saved = {latest.row_idx: str(latest.decision) for latest in latest_decisions(events)}
    wanted = {row: KEYS[key] for row, key in zip(rows, keys, strict=False)}
    right = sum(saved.get(row) == decision for row, decision in wanted.items())
    pace = "waiting for each image" if gap is None else f"{gap} ms apart"
    figures.notes.append(
        f"200 keys, {pace}: {len(events)} in the log, {right} of {len(wanted)} on their sample."
    )


# ---- a whole session -----------------------------------------------------------------------------


def run_steps(browser: Browser, served: Served, repeat: int, only: str) -> Figures:
    """Run every step in a browser profile of its own, or those whose name contains ``only``."""
    figures, queue = Figures(), list[int]()
    address, root = served.address, served.root
    steps: list[tuple[str, Callable[[Tab], None]]] = [
        ("first", lambda tab: measure_first_page(tab, address, figures)),
        ("first", lambda tab: measure_first_page(tab, address, figures)),
        *(
            [("columns", lambda tab: measure_columns(tab, served, figures, repeat))]
            if list_columns(open_workspace(root))
            else []
        ),
        ("thresholds", lambda tab: _measure_thresholds(tab, served, figures, repeat)),
        (
            "pictures",
            lambda tab: measure_images_at_threshold(
                tab, address, figures, COLD, repeat, root.parent
            ),
        ),
        (
            "pictures",
            lambda tab: measure_images_at_threshold(tab, address, Figures(), WARM, repeat),
        ),
        ("pictures", lambda tab: measure_images_at_threshold(tab, address, figures, WARM, repeat)),
        ("filters", lambda tab: measure_filters(tab, address, figures)),
        ("pages", lambda tab: measure_pages(tab, address, figures, repeat)),
        ("samples", lambda tab: measure_samples(tab, address, figures, repeat)),
        *[
            (
                "decisions",
                lambda tab, gap=gap: measure_decisions(tab, address, root, figures, gap, queue),
            )  # type: ignore[misc]
            for gap in (None, 100, 40, 0)
        ],
    ]
    for name, step in steps:
        if only not in name:
            continue
        with open_tab(browser) as tab:
            step(tab)
            figures.errors += tab.errors
    return figures


def _measure_thresholds(tab: Tab, served: Served, figures: Figures, repeat: int) -> None:
    address = served.address
    tab.open(f"{address}/?{FILTER}")
    tab.until("() => VNB.exact() !== null")
    type_thresholds(tab, figures, "typed under a filter", spread_thresholds(repeat))
    tab.open(f"{address}/")
    tab.until("() => VNB.exact() !== null")
    figures.kept.clear()
    busy = Busy(server_pid())
    type_thresholds(tab, figures, "typed", spread_thresholds(repeat))
    figures.notes.append(busy.describe("threshold typed", repeat))
    drag_thresholds(tab, figures, repeat)
    step_thresholds(tab, figures, min(repeat, 12))


def check_counts(root: Path, kept: dict[float, int], where: str = "") -> str:
    """Compare the counts on the page with the library's."""
    store = Store(open_workspace(root))
    selection = store.selection(Scope(*store.snapshot().scopes[-1]), parse_filter(where))
    wrong = [
        threshold
        for threshold, n in kept.items()
        if count_kept(selection, threshold, None).n_kept != n
    ]
    return f"{len(kept) - len(wrong)} of {len(kept)} counts on the page equal the library's."


def measure_several_browsers(address: str, n: int, repeat: int) -> Figures:
    """Make the same threshold moves in ``n`` browsers at once, each in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.dashboard", "--join", address]
    command += ["--repeat", str(repeat)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n)]  # noqa: S603
    figures = Figures()
    for process in processes:
        out, _ = process.communicate()
        for name, times in json.loads(out).items():
            figures.times.setdefault(name, []).extend(times)
    return figures


def join_browsers(address: str, repeat: int) -> None:
    """Be one of several browsers: move thresholds and print the times as JSON."""
    figures = Figures()
    with sync_playwright() as playwright:
        browser = launch_browser(playwright)
        with open_tab(browser) as tab:
            tab.open(f"{address}/")
            tab.until("() => VNB.exact() !== null")
            type_thresholds(tab, figures, "typed", spread_thresholds(repeat))
            measure_images_at_threshold(tab, address, figures, WARM, repeat)
        browser.close()
    json.dump(figures.times, sys.stdout)


def launch_browser(playwright: Any) -> Browser:
    """Launch the Chromium of the browser tests."""
    path = find_chromium()
    if path is None:
        raise SystemExit("no Chromium: set CHROMIUM, or run: python tests/chromium.py --install")
    browser: Browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
    return browser


def server_pid() -> int:
    """Return the id of the dashboard's process, a child of this one; 0 if it is unknown."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            parent = int((command.parent / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"\0dashboard\0" in command.read_bytes():
                return int(command.parent.name)
        except OSError:
            continue
    return 0


def read_memory(pid: int) -> tuple[int, int]:
    """Return current and peak memory of a process in MB; zeros if unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(values["VmRSS"]) >> 10, int(values["VmHWM"]) >> 10


# ---- the report ----------------------------------------------------------------------------------


def print_report(figures: Figures, bars: Mapping[str, int] = BARS) -> None:
    """Print the table, one line per measurement."""
    print("| measurement | median / 95th percentile, ms | bar (95 %) |")
    print("|---|---:|---|")
    for name, times in figures.times.items():
        p95 = percentile(times, 0.95)
        bar = bars.get(name)
        result = "" if bar is None else f"{bar}: {'met' if p95 <= bar else '**missed**'}"
        print(f"| {name} ({len(times)}) | {statistics.median(times):.0f} / {p95:.0f} | {result} |")
    print()
    for note in figures.notes:
        print(f"- {note}")
    for error in figures.errors:
        print(f"- **Error on a page**: {error}")
    print(flush=True)


def measure_workspace(root: Path, options: argparse.Namespace) -> None:
    """Serve the workspace, run the measurements and print the tables."""
    load = os.getloadavg()
    print(
        f"{os.cpu_count()} cores, load {load[0]:.1f} at the start, {platform.machine()}, ", end=""
    )
    print(f"Python {platform.python_version()}.")
    with (
        sync_playwright() as playwright,
        serving(root, root.parent / "server.log") as served,
    ):
        browser = launch_browser(playwright)
        print(f"{Path(find_chromium() or '').name} {browser.version}.\n", flush=True)
        figures = run_steps(browser, served, options.repeat, options.only)
        browser.close()
        if figures.kept:
            figures.notes.append(check_counts(root, figures.kept))
        now, peak = read_memory(server_pid())
        figures.notes.append(f"Memory of the server: {now} MB at the end, {peak} MB at its peak.")
        figures.notes.append(f"Load at the end: {os.getloadavg()[0]:.1f}.")
        print_report(figures)
        if options.browsers and not options.only:
            print(f"### {options.browsers} browsers at once (no bar)\n")
            together = measure_several_browsers(
                served.address, options.browsers, min(options.repeat, 20)
            )
            now, peak = read_memory(server_pid())
            together.notes.append(f"Memory of the server: {now} MB, {peak} MB at its peak.")
            print_report(together, bars={})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=665_000)
    parser.add_argument(
        "--columns", action="store_true", help="with eight imported columns, and their steps"
    )
    parser.add_argument("--keep", type=Path, help="folder to create the workspace in and to keep")
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--browsers", type=int, default=5)
    parser.add_argument("--only", default="", help="only the steps whose name contains this")
    parser.add_argument("--join", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.join:
        join_browsers(options.join, options.repeat)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        print(f"## {options.rows:,} samples\n")
        if not (folder / "workspace" / "visnec.duckdb").exists():
            took = setup.make_workspace(folder, options.rows, options.columns)
            print(
                "Created by",
                ", ".join(f"{name} {s:.0f} s" for name, s in took.items()),
                end=".\n\n",
            )
        measure_workspace(folder / "workspace", options)


if __name__ == "__main__":
    main()
