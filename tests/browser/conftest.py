"""A real server over a copy of the demo workspace, and a real Chromium in front of it."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.browser import hostile
from tests.chromium import find_chromium, is_required

START_SECONDS = 120
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
# Ends once nothing in the page has changed for 200 ms, or after 10 s.
REST = """() => new Promise((done) => {
  let timer = 0;
  const observer = new MutationObserver(wait);
  function end() { observer.disconnect(); done(true); }
  function wait() { clearTimeout(timer); timer = setTimeout(end, 200); }
  observer.observe(document.body, { subtree: true, childList: true, attributes: true });
  setTimeout(end, 10_000);
  wait();
})"""
PAGES = ("overview", "explore", "compare", "evaluate", "review", "subset", "trials", "runs")
# The first page has an empty address.
ADDRESSES = {name: "" if name == "overview" else name for name in PAGES}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder: they need Chromium."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass(frozen=True)
class Served:
    """A running dashboard."""

    address: str
    port: int
    root: Path


@contextmanager
def serving(
    root: Path, log: Path, port: int | None = None, before: Sequence[str] = ()
) -> Iterator[Served]:
    """Serve a workspace with the users' command; ``before`` is put in front of it."""
    port = port or _free_port()
    code = "from scoring.cli import main; main()"
    command = [
        *before,
        sys.executable,
        "-c",
        code,
        "dashboard",
        "-w",
        str(root),
        "--port",
        str(port),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        served = Served(f"http://127.0.0.1:{port}", port, root)
        _wait_until_up(served, process, log)
        yield served
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(served: Served, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
            connection.request("GET", "/_stcore/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    pytest.fail(f"the dashboard did not start:\n{log.read_text('utf-8', 'replace')}")


@pytest.fixture(scope="session")
def demo_server(demo_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a copy of the demo that tests may change."""
    folder = tmp_path_factory.mktemp("served")
    root = folder / "demo"
    shutil.copytree(demo_built, root)
    with serving(root, folder / "log.txt") as served:
        yield served


@pytest.fixture(scope="session")
def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a workspace in which every text is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    hostile.build_hostile_workspace(folder / "workspace")
    with serving(folder / "workspace", folder / "log.txt") as served:
        yield served


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start one Chromium for all tests; skip them if the set-up found none."""
    path = find_chromium()
    if path is None:
        (pytest.fail if is_required() else pytest.skip)(
            "no Chromium: set CHROMIUM, or run: python tests/chromium.py --install"
        )
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield started
        started.close()


@dataclass
class Watched:
    """A page with its script errors and its requests to other hosts."""

    page: Page
    server: Served
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, name: str, query: str = "") -> Page:
        """Open a page of the dashboard and wait until it is drawn."""
        self.page.goto(f"{self.server.address}/{ADDRESSES[name]}{query}")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until no script runs and Streamlit has drawn the page.

        It draws for up to half a second after the script has ended, and a script of some
        milliseconds is never marked as running; so the page has to rest for a moment, too.
        """
        self._wait_until_idle()
        self.page.wait_for_function(REST)  # also while another page is loaded
        self._wait_until_idle()

    def _wait_until_idle(self) -> None:
        expect(self.page.locator("h1").first).to_be_visible()
        expect(self.page.locator('[data-testid="stStatusWidget"]')).to_have_count(0)
        expect(self.page.locator('[data-testid="stSkeleton"]')).to_have_count(0)
        app = self.page.locator('[data-testid="stApp"]')
        expect(app).to_have_attribute("data-test-script-state", "notRunning")

    def press(self, button: Locator) -> None:
        """Click a button of a page that is drawn: one that is just replaced loses the click."""
        self.settle()
        button.click()

    def save_subset(self, name: str) -> None:
        """Save the rule on the Subset page; until that is drawn, another row has the new place."""
        self.page.get_by_label("Save as").fill(name)
        self.page.get_by_role("button", name="Save", exact=True).click()
        expect(self.page.get_by_text(f"Saved as {name}")).to_be_visible()
        self.settle()

    def choose(self, label: str, option: str | re.Pattern[str]) -> None:
        """Choose an option; open the list again if the page scrolls meanwhile, which closes it."""
        wanted = self.page.get_by_role("option", name=option, exact=isinstance(option, str))
        for _ in range(3):
            self.settle()
            box = self.page.get_by_label(label, exact=True)
            # A list at the edge of its popover closes when the click scrolls it into view.
            box.evaluate("element => element.scrollIntoView({ block: 'center' })")
            box.click()
            with suppress(PlaywrightTimeout):
                return wanted.click(timeout=10_000)
        pytest.fail(f"the list {label} does not stay open")

    def type_into_cell(self, value: str, *, row: int, column: int, n_columns: int) -> None:
        """Type into a cell of the editable table, counted from 0; its rows are 35 pixels high."""
        table = self.page.locator('[data-testid="stDataFrame"]')
        table.scroll_into_view_if_needed()
        box = table.bounding_box()
        assert box is not None
        place = {"x": box["width"] * (column + 0.5) / n_columns, "y": 35 * (row + 1.5)}
        table.click(position=place)
        self.page.keyboard.press("Enter")  # opens the field
        field = self.page.locator("#portal input")
        field.fill(value)
        self.page.keyboard.press("Enter")
        expect(field).to_have_count(0)

    def assert_sound(self) -> None:
        """Check that nothing failed on the page and no other host was requested."""
        expect(self.page.locator('[data-testid="stException"]')).to_have_count(0)
        expect(self.page.get_by_text("Something went wrong on this page")).to_have_count(0)
        assert self.errors == []
        assert self.foreign == []


@contextmanager
def watching(browser: Browser, server: Served, density: float = 1) -> Iterator[Watched]:
    """Open a page in its own browser profile, on a screen of this many pixels per CSS pixel."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 950}, device_scale_factor=density
    )
    context.set_default_timeout(90_000)
    page = context.new_page()
    watched = Watched(page, server)

    def note_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.port != server.port:
            watched.foreign.append(request.url)

    context.on("request", note_request)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("websocket", lambda socket: _note_socket(watched, socket.url))
    try:
        yield watched
    finally:
        context.close()


def _note_socket(watched: Watched, url: str) -> None:
    if urlsplit(url).port != watched.server.port:
        watched.foreign.append(url)


@pytest.fixture
def demo(browser: Browser, demo_server: Served) -> Iterator[Watched]:
    """Open a new browser profile on the demo."""
    expect.set_options(timeout=90_000)
    with watching(browser, demo_server) as watched:
        yield watched


@pytest.fixture(scope="module")
def _tab(browser: Browser, demo_server: Served) -> Iterator[Watched]:
    expect.set_options(timeout=90_000)
    with watching(browser, demo_server) as watched:
        yield watched


@pytest.fixture
def visited(_tab: Watched) -> Watched:
    """Share one browser profile on the demo between tests of a module that leave nothing behind.

    Pages open in half the time in a browser that has visited them before.
    """
    _tab.errors.clear()
    _tab.foreign.clear()
    return _tab


@pytest.fixture
def attacked(browser: Browser, hostile_server: Served) -> Iterator[Watched]:
    """Open a new browser profile on the hostile workspace."""
    expect.set_options(timeout=90_000)
    with watching(browser, hostile_server) as watched:
        yield watched
