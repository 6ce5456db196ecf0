"""A browser tab with a clock inside: times run from the browser's own event to a painted frame.

The clock is in the page, because a driver outside notices everything some milliseconds late. It
checks once per frame, which is what a person could see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

WAIT_MS = 60_000

CLOCK = Path(__file__).with_name("dashboard_clock.js").read_text("utf-8")


def percentile(times: list[float], share: float) -> float:
    """Return the smallest time that at least this share of all times does not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


@dataclass
class Figures:
    """Times by measurement in milliseconds, counts by threshold, and notes."""

    times: dict[str, list[float]] = field(default_factory=dict)
    kept: dict[float, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, name: str, milliseconds: float) -> None:
        self.times.setdefault(name, []).append(milliseconds)


@dataclass
class Busy:
    """CPU time of the server and the browser since creation.

    Unlike wall time, it changes little with other work on the machine.
    """

    server: int
    start: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = self._read_seconds()

    def describe(self, action: str, n: int) -> str:
        """Return the CPU time per action, of ``n``, in a sentence."""
        spent = {pid: now - self.start.get(pid, 0.0) for pid, now in self._read_seconds().items()}
        server = 1000 * spent.pop(self.server, 0.0) / n
        browser = 1000 * sum(spent.values()) / n
        return f"CPU time per {action}: server {server:.0f} ms, browser {browser:.0f} ms."

    def _read_seconds(self) -> dict[int, float]:
        """Return CPU seconds of all descendants of this process."""
        parents, seconds = {}, {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                values = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(stat.parent.name)] = int(values[1])
            ticks = int(values[11]) + int(values[12])
            seconds[int(stat.parent.name)] = ticks / os.sysconf("SC_CLK_TCK")
        ours = {os.getpid()}
        while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
            ours |= more
        return {pid: seconds[pid] for pid in ours - {os.getpid()}}


@dataclass
class Tab:
    """One page of the dashboard in a browser profile of its own."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Open an address and wait until nothing runs."""
        self.page.goto(address)
        self.page.locator("h1").first.wait_for()
        self.wait_until_idle()

    def wait_until_idle(self) -> float:
        """Wait until the server's script has ended; return milliseconds since the last event."""
        app = self.page.locator('[data-testid="stApp"]')
        expect(app).to_have_attribute("data-test-script-state", "notRunning", timeout=WAIT_MS)
        return float(self.page.evaluate("() => performance.now() - VNB.at"))

    def until(self, test: str, argument: Any = None) -> None:
        """Wait for a condition inside the page."""
        self.page.evaluate(f"given => VNB.until(() => ({test})(given))", argument)

    def wait_until_painted(self) -> None:
        """Wait until the current frame is painted: no one decides before seeing it."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def measure(
        self, test: str, act: Callable[[], Any], argument: Any = None, prepare: bool = False
    ) -> float:
        """Return milliseconds from the event of ``act`` to the frame where ``test`` holds."""
        if prepare:
            self.page.evaluate("() => VNB.prepare()")
        made = f"({test})" if prepare else f"() => ({test})({argument!r})".replace("None", "null")
        self.page.evaluate(f"() => {{ VNB.done = VNB.until({made}); }}")
        act()
        return float(self.page.evaluate("async () => (await VNB.done) - VNB.at"))

    def read_kept(self) -> int:
        """Return the number of kept samples on the page."""
        return int(self.page.evaluate("() => Number(VNB.one('.live').dataset.kept)"))

    def read_row(self) -> int:
        """Return the row of the open sample."""
        return int(self.page.evaluate("() => Number(VNB.one('article.card').dataset.row)"))


@contextmanager
def open_tab(browser: Browser) -> Iterator[Tab]:
    """Open a tab with an empty cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 950})
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(CLOCK)
    page = context.new_page()
    tab = Tab(page)
    page.on("pageerror", lambda error: tab.errors.append(str(error)))
    try:
        yield tab
    finally:
        context.close()
