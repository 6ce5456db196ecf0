"""How long does a curator wait for the dashboard, in a real browser over a real server?

    python -m benchmarks.dashboard [--rows 665000] [--keep FOLDER] [--repeat 40] [--browsers 5]

Makes a workspace of that size through the public commands (or uses the one that FOLDER keeps from
an earlier time), serves it, drives Chromium, and prints a Markdown table: median / 95th percentile
in milliseconds, from the browser's own event to the frame in which the answer stands. Every answer
is about another threshold, page or sample; what the pages say is compared with the library's own
counts, and decisions with the log on disk. Results: benchmarks/results/dashboard.md.
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

from playwright.sync_api import Browser, sync_playwright

from benchmarks import _dashboard_setup as setup
from benchmarks._dashboard_browser import Busy, Figures, Tab, open_tab, percentile
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.score_index.thresholds import count_kept
from scoring.database.values import Scope
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import latest_decisions
from scoring.workspace import open_workspace
from tests.browser.conftest import ARGUMENTS, Served, serving
from tests.chromium import find_chromium

FILTER = "filter=source:scenes,charts,words"
COLD, WARM = "never seen before", "seen before"
START = 0.03 + time.time_ns() % 97 * 1e-4  # so that no earlier sitting has seen these
KEYS = {"k": "keep", "d": "drop", "u": "unsure"}
BARS = {
    "first page after the server is up": 2000,
    "threshold typed: exact counts": 150,
    "threshold typed under a filter: exact counts": 150,
    "threshold dragged: exact counts": 150,
    f"cut moved: 24 pictures, {COLD}": 250,
    f"cut moved: 24 pictures, {WARM}": 250,
    "decision, key to next picture": 50,
}


def cuts(n: int, start: float = START) -> list[float]:
    """Thresholds all over the middle of the scores, no two alike, none near the one before."""
    return [round(start + 0.01 * (place * 37 % 97), 4) for place in range(n)]


# ---- what is measured ----------------------------------------------------------------------------


def first_page(tab: Tab, address: str, figures: Figures) -> None:
    """From the address to exact counts below the histogram, in a browser that has never been
    here."""
    begun = time.perf_counter()
    tab.page.goto(f"{address}/")
    tab.until("() => VNB.exact() !== null")
    figures.add("first page after the server is up", (time.perf_counter() - begun) * 1000)


def typed_thresholds(tab: Tab, figures: Figures, name: str, thresholds: list[float]) -> None:
    """Types each threshold; the time ends when counts and figures below are exact."""
    field = tab.page.get_by_role("spinbutton", name="Threshold: keep scores from")
    for cut in thresholds:
        field.fill(str(cut))
        took = tab.measure("cut => VNB.exact() === cut", lambda: field.press("Enter"), cut)
        figures.add(f"threshold {name}: exact counts", took)
        figures.said[cut] = tab.kept()
        figures.add(f"threshold {name}: page at rest", tab.rest())


def dragged_thresholds(tab: Tab, figures: Figures, n: int) -> None:
    """Drags the cut; the time begins when it is let go."""
    for place in range(n):
        box: Any = tab.page.locator('[data-limit="cut"] line').bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        by = (17 + 3 * place) * (1 if place % 2 else -1)
        tab.page.mouse.move(x, y)
        tab.page.mouse.down()
        for step in range(1, 6):
            tab.page.mouse.move(x + by * step / 5, y)
        took = tab.measure("() => VNB.exact() !== null", tab.page.mouse.up)
        figures.add("threshold dragged: exact counts", took)
        tab.rest()


def stepped_thresholds(tab: Tab, figures: Figures, n: int) -> None:
    """Moves the cut with an arrow key; the component waits 180 ms for a further step."""
    handle = tab.page.locator('[data-limit="cut"]')
    for place in range(n):
        handle.focus()
        key = "PageUp" if place % 3 else "PageDown"
        before = tab.page.evaluate("() => VNB.exact()")
        test = "before => VNB.exact() !== null && VNB.exact() !== before"
        took = tab.measure(test, lambda key=key: tab.page.keyboard.press(key), before)  # type: ignore[misc]
        figures.add("threshold moved by key (180 ms pause included): exact counts", took)
        tab.rest()


def pictures_at_cut(
    tab: Tab, address: str, figures: Figures, name: str, n: int, renew: Path | None = None
) -> None:
    """Both sides of the cut in Explore: 24 new pictures (those far below the fold come later).

    ``renew`` is the workspace's folder where none is to have been seen before: they are made from
    their images then. A run of ``visnec score`` keeps them.
    """
    tab.open(f"{address}/explore?layout=cut&size=24&cut=0.5")
    tab.until("() => VNB.pictures().filter(VNB.loaded).length >= 24")
    field = tab.page.get_by_role("spinbutton", name="Threshold: keep scores from")
    busy = Busy(server_pid())
    for cut in cuts(n):
        if renew is not None:
            setup.renew_images(renew)
        field.fill(str(cut))
        took = tab.measure("VNB.newPictures(24)", lambda: field.press("Enter"), prepare=True)
        figures.add(f"cut moved: 24 pictures, {name}", took)
        tab.rest()
        tab.until("() => VNB.pictures().every(VNB.loaded)")  # those out of sight too
    figures.notes.append(busy.told(f"cut moved in Explore, pictures {name}", n))


def filters(tab: Tab, address: str, figures: Figures) -> None:
    """Filters typed as text in Explore: new tiles and their count; each a second time."""
    tab.open(f"{address}/explore?size=24")
    tab.page.get_by_text("Filter as text").click()
    field = tab.page.get_by_label("The same filter for commands and links")
    texts = [f"source:{one}" for one in setup.SOURCES]
    texts += [f"source:{one} visnec:0..0.5" for one in setup.SOURCES]
    texts += [f'text:"{one}"' for one in setup.WORDS[:4]]
    for round_name in ("first answer", "asked again"):
        for text in texts:
            field.fill(text)
            took = tab.measure("VNB.newTiles()", lambda: field.press("Enter"), prepare=True)
            kind = "text search" if text.startswith("text") else "filter"
            figures.add(f"{kind}, {round_name}: new samples listed", took)
            tab.rest()


def pages(tab: Tab, address: str, figures: Figures, n: int) -> None:
    """The next page of 24, with its pictures."""
    tab.open(f"{address}/explore?size=24&{FILTER}")
    for _ in range(n):
        button = tab.page.get_by_role("button", name="Next").first
        took = tab.measure("VNB.newPictures(24)", button.click, prepare=True)
        figures.add("page on: 24 pictures", took)
        tab.rest()


def samples(tab: Tab, address: str, figures: Figures, n: int) -> None:
    """Opens a sample from the gallery, then walks on by key; ends with the image decoded."""
    tab.open(f"{address}/explore?size=24")
    tile = tab.page.locator(".tile").nth(3)
    row = int(str(tile.get_attribute("data-row")))
    figures.add("open a sample: image", tab.measure("VNB.opened()", tile.click, prepare=True))
    for _ in range(n):
        tab.rest()
        took = tab.measure(
            "VNB.opened()", lambda: tab.page.keyboard.press("ArrowRight"), prepare=True
        )
        figures.add("next sample by key: image", took)
    figures.notes.append(f"Samples walked from row {row} to row {tab.row()}.")


def decisions(
    tab: Tab, address: str, root: Path, figures: Figures, gap: int | None, queue: list[int]
) -> None:
    """200 keyed decisions; ``gap`` None: each waits until its picture is painted. The log on disk
    is the judge; ``queue`` is filled by the first walk, and every later one has to follow it."""
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
            tab.painted()
        elif gap:
            tab.page.keyboard.press(key)
            time.sleep(gap / 1000)
    if gap == 0:
        tab.page.evaluate("keys => VNB.press(keys)", keys)
    tab.until("() => VNB.allSaved()")
    shown: list[list[float]] = tab.page.evaluate("() => VNB.endReview()")
    queue += [] if queue else [int(row) for row, _, _ in shown]
    if gap != 0:
        name = "decision, key to next picture"
        name += "" if gap is None else f", keys {gap} ms apart"
        for _, pressed, drawn in shown:
            if pressed and drawn:
                figures.add(name, drawn - pressed)
    _judge(root, reviewer, keys, queue, figures, gap)


def _judge(
    root: Path, reviewer: str, keys: str, rows: list[int], figures: Figures, gap: int | None
) -> None:
    events = [one for one in read_events(open_workspace(root)) if one.reviewer == reviewer]
    held = {one.row_idx: str(one.decision) for one in latest_decisions(events)}
    wanted = {row: KEYS[key] for row, key in zip(rows, keys, strict=False)}
    right = sum(held.get(row) == decision for row, decision in wanted.items())
    said = "waiting for each picture" if gap is None else f"{gap} ms apart"
    figures.notes.append(
        f"200 keys, {said}: {len(events)} in the log, {right} of {len(wanted)} on their sample."
    )


# ---- a whole session -----------------------------------------------------------------------------


def everything(browser: Browser, served: Served, repeat: int, only: str) -> Figures:
    """Every question, each in a browser profile of its own; ``only`` names one of the steps."""
    figures, queue = Figures(), list[int]()
    address, root = served.address, served.root
    steps: list[tuple[str, Callable[[Tab], None]]] = [
        ("first", lambda tab: first_page(tab, address, figures)),
        ("first", lambda tab: first_page(tab, address, figures)),
        ("thresholds", lambda tab: _thresholds(tab, served, figures, repeat)),
        ("pictures", lambda tab: pictures_at_cut(tab, address, figures, COLD, repeat, root.parent)),
        ("pictures", lambda tab: pictures_at_cut(tab, address, Figures(), WARM, repeat)),
        ("pictures", lambda tab: pictures_at_cut(tab, address, figures, WARM, repeat)),
        ("filters", lambda tab: filters(tab, address, figures)),
        ("pages", lambda tab: pages(tab, address, figures, repeat)),
        ("samples", lambda tab: samples(tab, address, figures, repeat)),
        *[
            ("decisions", lambda tab, gap=gap: decisions(tab, address, root, figures, gap, queue))  # type: ignore[misc]
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


def _thresholds(tab: Tab, served: Served, figures: Figures, repeat: int) -> None:
    address = served.address
    tab.open(f"{address}/?{FILTER}")
    tab.until("() => VNB.exact() !== null")
    typed_thresholds(tab, figures, "typed under a filter", cuts(repeat))
    tab.open(f"{address}/")
    tab.until("() => VNB.exact() !== null")
    figures.said.clear()
    busy = Busy(server_pid())
    typed_thresholds(tab, figures, "typed", cuts(repeat))
    figures.notes.append(busy.told("threshold typed", repeat))
    dragged_thresholds(tab, figures, repeat)
    stepped_thresholds(tab, figures, min(repeat, 12))


def check_counts(root: Path, said: dict[float, int]) -> str:
    """Whether the page said what the library counts."""
    store = Store(open_workspace(root))
    scope = Scope(*store.snapshot().scopes[-1])
    wrong = [
        cut for cut, n in said.items() if count_kept(store, scope, Filter(), cut, None).n_kept != n
    ]
    return f"{len(said) - len(wrong)} of {len(said)} counts on the page equal the library's."


def several(address: str, n: int, repeat: int) -> Figures:
    """The same threshold moves in ``n`` browsers at once, each in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.dashboard", "--join", address]
    command += ["--repeat", str(repeat)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n)]  # noqa: S603
    figures = Figures()
    for one in started:
        out, _ = one.communicate()
        for name, times in json.loads(out).items():
            figures.times.setdefault(name, []).extend(times)
    return figures


def join(address: str, repeat: int) -> None:
    """One of several browsers: moves thresholds and pages; prints its times as JSON."""
    figures = Figures()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        with open_tab(browser) as tab:
            tab.open(f"{address}/")
            tab.until("() => VNB.exact() !== null")
            typed_thresholds(tab, figures, "typed", cuts(repeat))
            pictures_at_cut(tab, address, figures, WARM, repeat)
        browser.close()
    json.dump(figures.times, sys.stdout)


def launch(playwright: Any) -> Browser:
    """The Chromium of the browser tests."""
    path = find_chromium()
    if path is None:
        raise SystemExit("no Chromium: set CHROMIUM, or run: python tests/chromium.py --install")
    browser: Browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
    return browser


def server_pid() -> int:
    """The process of the dashboard that this one started; 0 where the system does not tell."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            parent = int((command.parent / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"\0dashboard\0" in command.read_bytes():
                return int(command.parent.name)
        except OSError:
            continue
    return 0


def memory(pid: int) -> tuple[int, int]:
    """Memory of a process now and at its peak, in MB; zeros where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(found["VmRSS"]) >> 10, int(found["VmHWM"]) >> 10


# ---- the report ----------------------------------------------------------------------------------


def report(figures: Figures, bars: Mapping[str, int] = BARS) -> None:
    """The table, one line per question."""
    print("| question | median / 95th percentile, ms | bar (95 %) |")
    print("|---|---:|---|")
    for name, times in figures.times.items():
        p95 = percentile(times, 0.95)
        bar = bars.get(name)
        verdict = "" if bar is None else f"{bar}: {'held' if p95 <= bar else '**missed**'}"
        print(f"| {name} ({len(times)}) | {statistics.median(times):.0f} / {p95:.0f} | {verdict} |")
    print()
    for note in figures.notes:
        print(f"- {note}")
    for error in figures.errors:
        print(f"- **Error on a page**: {error}")
    print(flush=True)


def measure_workspace(root: Path, options: argparse.Namespace) -> None:
    """Serves the workspace, measures it and prints the tables."""
    load = os.getloadavg()
    print(
        f"{os.cpu_count()} cores, load {load[0]:.1f} at the start, {platform.machine()}, ", end=""
    )
    print(f"Python {platform.python_version()}.")
    with (
        sync_playwright() as playwright,
        serving(root, root.parent / "server.log") as served,
    ):
        browser = launch(playwright)
        print(f"{Path(find_chromium() or '').name} {browser.version}.\n", flush=True)
        figures = everything(browser, served, options.repeat, options.only)
        browser.close()
        figures.notes.append(check_counts(root, figures.said))
        now, peak = memory(server_pid())
        figures.notes.append(
            f"Memory of the server: {now} MB after all this, {peak} MB at its peak."
        )
        figures.notes.append(f"Load at the end: {os.getloadavg()[0]:.1f}.")
        report(figures)
        if options.browsers and not options.only:
            print(f"### {options.browsers} browsers at once (no bar)\n")
            together = several(served.address, options.browsers, min(options.repeat, 20))
            now, peak = memory(server_pid())
            together.notes.append(f"Memory of the server: {now} MB, {peak} MB at its peak.")
            report(together, bars={})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=665_000)
    parser.add_argument("--keep", type=Path, help="folder to make the workspace in, and to keep")
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--browsers", type=int, default=5)
    parser.add_argument("--only", default="", help="only the questions with this word")
    parser.add_argument("--join", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.join:
        join(options.join, options.repeat)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        print(f"## {options.rows:,} samples\n")
        if not (folder / "workspace" / "visnec.duckdb").exists():
            took = setup.make_workspace(folder, options.rows)
            print(
                "Made by", ", ".join(f"{name} {s:.0f} s" for name, s in took.items()), end=".\n\n"
            )
        measure_workspace(folder / "workspace", options)


if __name__ == "__main__":
    main()
