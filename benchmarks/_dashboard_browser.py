"""A browser tab with a clock inside: times run from the browser's own event to a drawn frame.

The clock is in the page because a driver outside sees everything some milliseconds late. It looks
once per frame, which is what a person could see.
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
    """The smallest time that so large a share of all lies at or below."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


@dataclass
class Figures:
    """Times by question in milliseconds, counts that pages said, and what else is to be told."""

    times: dict[str, list[float]] = field(default_factory=dict)
    said: dict[float, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, name: str, milliseconds: float) -> None:
        self.times.setdefault(name, []).append(milliseconds)


@dataclass
class Busy:
    """Processor time that the server and the browser took since this was made; in ms per answer it
    changes little with other work on the machine, unlike times by the clock."""

    server: int
    begun: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begun = self._now()

    def told(self, what: str, n: int) -> str:
        """The same in a sentence, for each of ``n`` answers."""
        spent = {pid: now - self.begun.get(pid, 0.0) for pid, now in self._now().items()}
        server = 1000 * spent.pop(self.server, 0.0) / n
        browser = 1000 * sum(spent.values()) / n
        return f"Processor time per {what}: server {server:.0f} ms, browser {browser:.0f} ms."

    def _now(self) -> dict[int, float]:
        """Seconds of each process that this one has started, and of those that they have."""
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
        """Opens an address and waits until nothing runs any more."""
        self.page.goto(address)
        self.page.locator("h1").first.wait_for()
        self.rest()

    def rest(self) -> float:
        """Waits until the server's script has ended; milliseconds since the last event."""
        app = self.page.locator('[data-testid="stApp"]')
        expect(app).to_have_attribute("data-test-script-state", "notRunning", timeout=WAIT_MS)
        return float(self.page.evaluate("() => performance.now() - VNB.at"))

    def until(self, test: str, argument: Any = None) -> None:
        """Waits for a test inside the page."""
        self.page.evaluate(f"given => VNB.until(() => ({test})(given))", argument)

    def painted(self) -> None:
        """Waits until the frame is painted that is being made now: nobody answers one before."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def measure(
        self, test: str, act: Callable[[], Any], argument: Any = None, prepare: bool = False
    ) -> float:
        """Milliseconds from the event that ``act`` causes to the frame in which ``test`` holds."""
        if prepare:
            self.page.evaluate("() => VNB.prepare()")
        made = f"({test})" if prepare else f"() => ({test})({argument!r})".replace("None", "null")
        self.page.evaluate(f"() => {{ VNB.done = VNB.until({made}); }}")
        act()
        return float(self.page.evaluate("async () => (await VNB.done) - VNB.at"))

    def kept(self) -> int:
        """How many samples the page says are kept."""
        return int(self.page.evaluate("() => Number(VNB.one('.live').dataset.kept)"))

    def row(self) -> int:
        """The sample that is open."""
        return int(self.page.evaluate("() => Number(VNB.one('article.card').dataset.row)"))


@contextmanager
def open_tab(browser: Browser) -> Iterator[Tab]:
    """A tab with nothing in its cache."""
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
