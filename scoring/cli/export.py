"""The commands export and verify."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoring.cli.console import (
    count_progress,
    exit_on_interrupt,
    print_json,
    print_line,
    show_message,
)
from scoring.cli.options import WORKSPACE_VARIABLE, JsonOption, WorkspaceOption
from scoring.exports.options import MANIFEST, ExportOptions
from scoring.workspace import open_workspace

if TYPE_CHECKING:
    from scoring.exports.manifest import Manifest


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A saved subset.")],
    workspace: WorkspaceOption,
    options: ExportOptions,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder to write. Default: WORKSPACE/exports/NAME."),
    ] = None,
    allow_missing_images: Annotated[
        bool,
        typer.Option(
            "--allow-missing-images",
            help="Export even if images are missing; without it nothing is exported then.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export in that folder.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a subset, each record byte for byte, with a manifest that can rebuild it."""
    from scoring.database.connection import Store
    from scoring.exports.export import export_subset
    from scoring.subsets.definitions import read_subset

    opened = open_workspace(workspace)
    definition = read_subset(opened, name)
    interrupted = exit_on_interrupt(
        lambda: "No part of this export was kept; run the same command to start again."
    )
    with interrupted, count_progress("Exporting") as show:
        result = export_subset(
            opened,
            Store(opened),
            definition,
            to,
            options,
            show,
            overwrite,
            _report_waiting_once(),
            allow_missing_images,
        )
    if result.n_new_parts:
        show_message(
            f"{result.n_new_parts} newer result files are not in the database; include them with "
            f"visnec build -w {workspace}"
        )
    show_message(f"{result.n_samples:,} samples; check them at any time with:")
    show_message(f"visnec verify {result.folder / MANIFEST} -w {workspace}")
    _show_changes(result.manifest)
    if json:
        print_json(result.manifest.to_dict())
    else:
        print_line(str(result.folder))


def verify(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="manifest.json of an export, or its folder.")
    ],
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace",
            "-w",
            help="The workspace that it was exported from. Default: the one around the export, "
            f"else {WORKSPACE_VARIABLE}.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rebuild an export from its workspace and compare every byte."""
    from scoring.exports.verify import verify_manifest

    parents = manifest.absolute().parents
    if workspace is None and not any((path / "workspace.json").exists() for path in parents):
        default = os.environ.get(WORKSPACE_VARIABLE)
        workspace = Path(default) if default else None
    opened = open_workspace(workspace) if workspace else None
    with count_progress("Comparing") as show:
        report = verify_manifest(manifest, opened, lambda _, done, total: show(done, total))
    for note in (*report.changed_inputs, *report.notes):
        show_message(f"Note: {note}")
    n_missing = report.manifest.n_missing_images
    show_message(
        f"Verified: {report.n_samples:,} samples, byte for byte as the workspace rebuilds them"
        + (f"; missing images: {n_missing:,}" if n_missing else "")
    )
    if json:
        print_json(
            {
                "verified": True,
                "n_samples": report.n_samples,
                "changed_inputs": report.changed_inputs,
                "notes": report.notes,
                "n_missing_images": n_missing,
            }
        )


def _report_waiting_once() -> Callable[[], None]:
    """Return a function whose first call reports that another export is running."""
    reported = False

    def report_waiting() -> None:
        nonlocal reported
        if not reported:
            reported = True
            show_message("Waiting for another export of this workspace to finish")

    return report_waiting


def _show_changes(manifest: Manifest) -> None:
    """Report what the options changed, so that no one mistakes derived data for the original."""
    written = manifest.counts.get("written", {})
    if turns := written.get("turns"):
        show_message(
            f"{turns['answers']:,} answers of {turns['samples_changed']:,} samples were dropped or "
            f"masked; {turns['samples_without_answers']:,} samples had no answers left and were "
            f"dropped; {turns['samples_left_whole']:,} could not be changed and are complete"
        )
    if keyless := written.get("records_without_their_keys"):
        show_message(
            f"{keyless:,} records are written without the keys that named them in their JSON "
            "object; image paths derived from these keys no longer work. --format llava keeps the "
            "keys"
        )
    if repeats := written.get("repeats"):
        show_message(
            f"{repeats['records']:,} records from {repeats['samples']:,} samples, repeated by "
            "weight"
        )
    if n := written.get("records_from_other_files"):
        show_message(f"{n:,} records came from files that are not JSON and were rewritten")
    if n := written.get("records_with_new_image_paths"):
        show_message(
            f"{n:,} records have new image paths, because their own lead outside the image folder"
        )
    for note in manifest.image_notes():
        show_message(note)
    if manifest.derived:
        show_message(f"Derived data: {', '.join(manifest.derived)} differ from the import")
