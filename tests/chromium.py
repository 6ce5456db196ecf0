"""Finds the Chromium that the browser tests drive, or installs one where that may be.

Run as a script by the test set-up. Where there is none and none can be had, it says so in one
line and the browser tests skip themselves; everything else runs. They never skip where the set-up
had found one, nor where ``VISNEC_BROWSER=required`` says that they must run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The build without windows, which Playwright's own download is too, draws with half the work.
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
    """Path of a Chromium: $CHROMIUM, one on the PATH, or the one that Playwright keeps."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found or not MAC.exists():
        return found or _of_playwright()
    return str(MAC)


def is_required() -> bool:
    """Whether browser tests without a Chromium have failed."""
    return os.environ.get("VISNEC_BROWSER") == "required" or FOUND.exists()


def _of_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install_chromium() -> str | None:
    """Tries Playwright's download, then Debian's package where we are root."""
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
        f"Browser tests use {path}" if path else "No Chromium to be had: browser tests are skipped"
    )
