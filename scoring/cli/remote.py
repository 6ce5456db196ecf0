"""Fetching images from other machines, where a command was told that it may."""

from __future__ import annotations

import typer

from scoring.cli.console import count_progress, say, stopping
from scoring.workspace import Workspace


def fetch_remote(place: Workspace) -> None:
    """Fetches what the cache lacks, and tells what became of it; Ctrl-C keeps what is there."""
    from scoring.dataset.download_images import fetch_images

    with stopping() as stop, count_progress("Fetching images") as show:
        report = fetch_images(place, show, stop)
    say(
        f"{report.fetched:,} images fetched, {report.present:,} were there, {report.refused:,} "
        f"refused, {report.failed:,} failed (tried again the next time)"
    )
    if stop.is_set():
        say("Stopped; what was fetched is kept. score --allow-remote fetches what is missing.")
        raise typer.Exit(130)
