"""Finds the Chromium for the browser tests, or installs one where that is allowed.

The test set-up runs this as a script. If there is no Chromium and none can be installed, it prints
one line and the browser tests are skipped; everything else runs. They fail instead if the set-up
had found one before, or if ``VISNEC_BROWSER=required`` is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The build without windows (also Playwright's own download) needs half the work for drawing.
NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
FOUND = Path(sys.prefix) / ".chromium-found"  # left by the set-up
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def find_chromium() -> str | None:
    """Return the path of a Chromium: $CHROMIUM, one on the PATH, or Playwright's own."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found or not MAC.exists():
        return found or _of_playwright()
    return str(MAC)


def is_required() -> bool:
    """Return whether browser tests fail, instead of being skipped, without a Chromium."""
    return os.environ.get("VISNEC_BROWSER") == "required" or FOUND.exists()


def _of_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install_chromium() -> str | None:
    """Try Debian's package if we are root, then Playwright's download."""
    commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y"]
        debian = [[*install, "chromium-headless-shell"], [*install, "chromium"]]
        commands = [["apt-get", "update"], *debian, *commands]
    for command in commands:
        subprocess.run(command, capture_output=True, check=False)
        if path := find_chromium():
            return path
    return None


if __name__ == "__main__":
    path = find_chromium()
    if path is None and "--install" in sys.argv:
        path = install_chromium()
    FOUND.touch() if path else FOUND.unlink(missing_ok=True)
    print(  # noqa: T201 - a script
        f"Browser tests use {path}" if path else "No Chromium available: browser tests are skipped"
    )
