"""The commands export, verify and export-scores."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

from scoring.cli import console
from scoring.cli.commands import (
    WORKSPACE_VARIABLE,
    BaselineOption,
    JsonOption,
    RunOption,
    SubsetArgument,
    WorkspaceOption,
)
from scoring.database.connection import Store
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.exports.options import MANIFEST, ExportOptions
from scoring.exports.source_weights import describe_source_files
from scoring.option_descriptions import Option, split_keys
from scoring.runs.record import read_run_or_latest
from scoring.subsets.definitions import read_subset
from scoring.workspace import open_atomic, open_workspace

if TYPE_CHECKING:
    from scoring.exports.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ExportScoresOptions:
    """Which scores are written, where and how."""

    run_id: RunOption = None
    to: Annotated[Path | None, Option("The file to write. Default: stdout.")] = None
    baseline: BaselineOption = None
    file_format: Annotated[
        str,
        Option(
            "visnec-csv (the paper's columns, scored samples only); or every sample with its "
            "status as csv (safe to open in a spreadsheet), jsonl or parquet.",
            "--format",
        ),
    ] = "visnec-csv"
    per: Annotated[
        Literal["sample", "turn"], Option("What a row is about: a sample, or one of its answers.")
    ] = "sample"
    decimals: Annotated[
        int | None,
        Option(
            "Digits after the decimal point; the paper's script writes 6. Default: enough to "
            "restore the exact number.",
            min=1,
            max=17,
        ),
    ] = None
    columns: Annotated[
        str,
        Option(
            "Imported columns to add, separated by commas; not with visnec-csv.", metavar="NAMES"
        ),
    ] = ""


def export(
    name: SubsetArgument,
    workspace: WorkspaceOption,
    options: ExportOptions,
    to: Annotated[Path | None, Option("Folder to write. Default: WORKSPACE/exports/NAME.")] = None,
    allow_missing_images: Annotated[
        bool,
        Option("Export even if images are missing; without it nothing is exported then."),
    ] = False,
    overwrite: Annotated[bool, Option("Replace an export in that folder.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a subset, each record byte for byte, with a manifest that can rebuild it."""
    from scoring.exports.export import export_subset

    opened = open_workspace(workspace)
    definition = read_subset(opened, name)

    @cache  # shown once
    def on_wait() -> None:
        console.show_message("Waiting for another export of this workspace to finish")

    interrupted = console.exit_on_interrupt(
        lambda: "No part of this export was kept; run the same command to start again."
    )
    with interrupted, console.count_progress("Exporting") as show:
        store = Store(opened)
        result = export_subset(
            opened, store, definition, to, options, show, overwrite, on_wait, allow_missing_images
        )
    if result.n_new_parts:
        console.show_message(
            f"{result.n_new_parts} newer result files are not in the database; include them with "
            f"visnec build -w {quote(str(workspace))}"
        )
    if not result.manifest.n_listed:
        reason = ", for no edited sample is in the subset" if options.edits == "only" else ""
        console.show_warning(f"The export is empty: {result.manifest.describe_content()}{reason}")
    console.show_message(
        f"Written: {result.manifest.describe_content()}; check the export at any time with:"
    )
    console.show_message(
        f"visnec verify {quote(str(result.folder / MANIFEST))} -w {quote(str(workspace))}"
    )
    _show_changes(result.manifest)
    if trainer := result.manifest.options.trains_with:
        console.show_message(f"Train with {trainer.title} (replace the words in capitals):")
        console.show_message(result.start_command)
        if trainer.side_file == "axolotl.yaml":
            console.show_message("Or add its lines to a configuration of your own:")
            console.show_message((result.folder / trainer.side_file).read_text("utf-8").rstrip())
    for note in result.manifest.use_notes():
        console.show_message(note)
    if json:
        values = {"folder": str(result.folder), "start_command": result.start_command or None}
        console.print_json(values | result.manifest.to_dict())
    else:
        console.print_line(str(result.folder))


def verify(
    manifest: Annotated[
        Path,
        Option("manifest.json of an export, or its folder.", metavar="MANIFEST", is_argument=True),
    ],
    workspace: Annotated[
        Path | None,
        Option(
            "The workspace that it was exported from. Default: the one around the export, else "
            f"{WORKSPACE_VARIABLE}.",
            "--workspace -w",
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
    with console.count_progress("Comparing") as show:
        report = verify_manifest(manifest, opened, lambda _, done, total: show(done, total))
    for note in (*report.changed_inputs, *report.notes):
        console.show_message(f"Note: {note}")
    n_missing = report.manifest.n_missing_images
    console.show_message(
        f"Verified: {report.manifest.describe_content()}, byte for byte as the workspace rebuilds "
        "the export" + (f"; missing images: {n_missing:,}" if n_missing else "")
    )
    if json:
        values: dict[str, Any] = {"verified": True, "n_samples": report.n_samples}
        values |= {"changed_inputs": report.changed_inputs, "notes": report.notes}
        console.print_json(values | {"n_missing_images": n_missing})


def export_scores(
    workspace: WorkspaceOption, options: ExportScoresOptions, json: JsonOption = False
) -> None:
    """Write the scores of a run as CSV, JSON lines or Parquet, per sample or per turn."""
    from scoring.exchange import score_export

    opened = open_workspace(workspace)
    record = read_run_or_latest(opened, options.run_id)
    scope = Scope(record.run_id, options.baseline or record.first_baseline)
    store, to, file_format = Store(opened), options.to, options.file_format
    is_binary = file_format == score_export.PARQUET
    if is_binary and to is None:
        raise InputError("A Parquet file cannot be written to stdout. Name a file with --to.")
    mode = "wb" if is_binary else "w"
    with nullcontext(sys.stdout) if to is None else open_atomic(to, mode) as file:
        report = score_export.export_scores(
            store,
            scope,
            file,
            file_format=file_format,
            per=options.per,
            decimals=options.decimals,
            columns=split_keys(options.columns),
        )
    left_out = f"; {report.n_left_out:,} samples without a score are left out"
    console.show_message(
        f"{report.n_rows:,} rows written to {to or 'stdout'}"
        + (left_out if report.n_left_out else "")
    )
    if json and to is not None:
        console.print_json({"file": str(to), "run_id": scope.run_id, **asdict(report)})


def _show_changes(manifest: Manifest) -> None:
    """Report what the options changed, so that no one mistakes derived data for the original."""
    written = manifest.counts.get("written", {})
    if turns := written.get("turns"):
        console.show_message(
            f"{turns['answers']:,} answers of {turns['samples_changed']:,} samples were dropped or "
            f"masked; {turns['samples_without_answers']:,} samples had no answers left and were "
            f"dropped; {turns['samples_left_whole']:,} could not be changed and are complete"
        )
    if edits := written.get("edits"):
        console.show_message(
            f"Records with reviewers' edits: {edits['samples']:,} (edits.jsonl). They were "
            "selected by the scores of the records before"
        )
        if n := edits["conflicts"]:
            console.show_warning(
                f"Reviewers edited {n:,} of them differently; the newest edit was applied (visnec "
                "edits --conflicts)"
            )
    if keyless := written.get("records_without_their_keys"):
        console.show_message(
            f"{keyless:,} records are written without the keys that named them in their JSON "
            "object; image paths derived from these keys no longer work. --format llava keeps the "
            "keys"
        )
    if repeats := written.get("repeats"):
        n_absent = manifest.counts["selected"] - repeats["samples"]
        absent = f"; {n_absent:,} samples whose weight is less than one record are in none"
        console.show_message(
            f"{repeats['records']:,} records from {repeats['samples']:,} samples, repeated by "
            "weight" + (absent if n_absent else "")
        )
    for line in describe_source_files(manifest.options.trainer, manifest.source_files):
        console.show_message(line)
    if n := written.get("records_from_other_files"):
        console.show_message(f"{n:,} records came from files that are not JSON and were rewritten")
    if n := written.get("records_rewritten_for_trainer"):
        console.show_message(
            f"{n:,} records are not LLaVA records as the trainer reads them and were rewritten"
        )
    if n := written.get("records_with_new_image_paths"):
        why = (
            "with the prefix"
            if manifest.options.path_prefix is not None
            else "because their own lead outside the image folder"
        )
        console.show_message(f"{n:,} records have new image paths, {why}")
    for note in manifest.image_notes():
        console.show_message(note)
    if manifest.derived:
        derived = ", ".join(manifest.name_derived())
        console.show_message(f"Derived data: {derived} differ from the import")
