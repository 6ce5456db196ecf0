"""The command push."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from typing import Annotated

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.option_descriptions import Option
from scoring.workspace import open_workspace


def push(
    name: Annotated[
        str,
        Option(
            "An export of the workspace, or a saved subset, which is exported first (Parquet with "
            "images, scores and a card).",
            metavar="NAME",
            is_argument=True,
        ),
    ],
    workspace: WorkspaceOption,
    to: Annotated[
        str, Option("The dataset repository; created if there is none.", metavar="OWNER/NAME")
    ],
    private: Annotated[bool, Option("Create a private repository.")] = False,
    revision: Annotated[
        str, Option("The branch to push to; created from main if there is none.")
    ] = "main",
    ids_only: Annotated[
        bool,
        Option(
            "Push row numbers and ids only, with a card that joins them to the source on the hub: "
            "for licences that forbid copies."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Push an export to the Hugging Face hub, with the login of hf auth login or HF_TOKEN."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from scoring.exports.parents import advise_ids_only
    from scoring.exports.push import push as push_export
    from scoring.hub.upload import PushTarget

    if not console.LOG.isEnabledFor(logging.INFO):
        disable_progress_bars()

    @cache  # shown once
    def on_wait() -> None:
        console.show_message("Waiting for another export of this workspace to finish")

    @cache  # no bar for an export that is already there
    def show_bar() -> Callable[[int, int], None]:
        return bars.enter_context(console.count_progress("Exporting"))

    def start_upload() -> None:
        bars.close()  # the hub shows its own
        console.show_message(f"Pushing to {to}")

    interrupted = console.exit_on_interrupt(lambda: "Run the same command to resume the push.")
    with interrupted, ExitStack() as bars:
        result = push_export(
            open_workspace(workspace),
            name,
            PushTarget(to, private, revision),
            ids_only,
            lambda done, total: show_bar()(done, total),
            on_wait,
            start_upload,
        )
    pushed = result.pushed
    verb = "Replaced the earlier push" if pushed.is_update else "Pushed"
    console.show_message(f"{verb}: {result.manifest.describe_content()}")
    if not ids_only and (advice := advise_ids_only(result.manifest.inputs.dataset)):
        console.show_warning(advice)
    if json:
        folder = str(result.folder) if result.folder else None
        console.print_json({**asdict(pushed), "folder": folder})
    else:
        console.print_line(pushed.url)
