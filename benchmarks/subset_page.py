"""Measures the Subset page with many saved subsets, in a real browser with a real server.

    python -m benchmarks.subset_page [--subsets 30] [--repeat 10]

Builds the demo, saves that many subsets, and prints a Markdown table: median / 95th percentile in
milliseconds until the page is drawn, until the options of an export are, and until a chosen option
has changed them. Results: benchmarks/results/subset_page.md.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks._dashboard_browser import Figures, Tab, open_tab
from benchmarks.dashboard import launch_browser, print_report
from scoring.demo.build import build_demo
from scoring.subsets.definitions import list_subsets, save_subset
from scoring.workspace import open_workspace
from tests.browser.conftest import serving

IMAGES = ("copied next to the records", "not included")


def save_subsets(root: Path, n: int) -> str:
    """Save further subsets until there are ``n``; return the name of the newest."""
    workspace = open_workspace(root)
    saved = list_subsets(workspace)
    for number in range(len(saved), n):
        save_subset(workspace, replace(saved[0], name=f"subset-{number:03d}"))
    return list_subsets(workspace)[-1].name


def has_label(text: str) -> str:
    """Return a test in the page: whether a label contains a text."""
    return f"() => VNB.all('label').some(label => label.innerText.includes('{text}'))"


def measure_page(tab: Tab, address: str, name: str, figures: Figures) -> None:
    """Time the page, the opening of a subset's export options, and a choice among them."""
    page, row = tab.page, f".st-key-saved-{name}"
    tab.open(f"{address}/subset")
    page.locator(row).wait_for()
    figures.add("Subset page drawn", float(page.evaluate("() => performance.now()")))
    tab.wait_until_idle()
    page.wait_for_timeout(1000)  # the browser is still drawing
    drawn = has_label("Trainer")
    button = page.locator(row).get_by_role("button", name="Export")
    figures.add("options of an export opened", tab.measure(drawn, button.click))
    tab.wait_until_idle()
    for option in IMAGES:
        page.wait_for_timeout(1000)
        page.get_by_label("Images", exact=True).click()
        changed = has_label("Export without missing images")
        changed = changed if option == IMAGES[0] else f"given => !({changed})(given)"
        choice = page.get_by_role("option", name=option, exact=True)
        figures.add("option of an export chosen", tab.measure(changed, choice.click))
        tab.wait_until_idle()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subsets", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "demo"
        build_demo(root)
        name = save_subsets(root, options.subsets)
        with serving(root, root.parent / "server.log") as served, sync_playwright() as playwright:
            browser, figures = launch_browser(playwright), Figures()
            for number in range(options.repeat + 1):
                with open_tab(browser) as tab:  # the first one fills the caches
                    measure_page(tab, served.address, name, figures if number else Figures())
                    figures.errors += tab.errors
            browser.close()
    print(f"## {options.subsets} saved subsets\n")
    print_report(figures, bars={})


if __name__ == "__main__":
    main()
