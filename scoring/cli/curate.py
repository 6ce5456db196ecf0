"""Commands that write a curated dataset and check it: export, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scoring.cli.options import JsonOption, WorkspaceOption
from scoring.cli.talk import count_progress, print_json, print_line, say
from scoring.workspace import open_workspace


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A subset named by select.")],
    workspace: WorkspaceOption,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder to write; WORKSPACE/exports/NAME unless named."),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str, typer.Option("--format", help="llava (a JSON array), jsonl or ids.")
    ] = "llava",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that lies there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a subset, each record byte for byte, with the manifest that replays it."""
    from scoring.export import export_subset
    from scoring.store import Store
    from scoring.subsets import read_subset

    place = open_workspace(workspace)
    definition = read_subset(place, name)
    with count_progress("Exporting") as show:
        result = export_subset(place, Store(place), definition, to, format, show, overwrite)
    if result.n_new_parts:
        say(f"{result.n_new_parts} newer parts are not in the database; take them in with build")
    say(f"{result.n_samples:,} samples; check them at any time with:")
    say(f"visnec verify {result.folder / 'manifest.json'} -w {workspace}")
    if json:
        print_json(result.manifest.to_dict())
    else:
        print_line(str(result.folder))


def verify(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="manifest.json of an export.")
    ],
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", "-w", help="Its workspace, where it lies outside of it."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rebuild an export from its workspace and compare every byte."""
    from scoring.provenance import verify_manifest

    place = open_workspace(workspace) if workspace else None
    with count_progress("Comparing") as show:
        report = verify_manifest(manifest, place, lambda _, done, total: show(done, total))
    for note in (*report.changed_inputs, *report.notes):
        say(f"note: {note}")
    say(f"Verified: {report.n_samples:,} samples, byte for byte as the workspace rebuilds them")
    if json:
        print_json(
            {
                "verified": True,
                "n_samples": report.n_samples,
                "changed_inputs": report.changed_inputs,
                "notes": report.notes,
            }
        )
