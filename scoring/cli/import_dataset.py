"""The commands import and relocate."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoring.cli.console import (
    count_progress,
    exit_on_interrupt,
    print_json,
    show_message,
    show_table,
    show_warning,
    status_table,
)
from scoring.cli.options import JsonOption, WorkspaceOption
from scoring.cli.score import download_images
from scoring.readers.options import ReadOptions
from scoring.samples import Sample, Status
from scoring.workspace import Workspace, create_workspace, open_workspace

if TYPE_CHECKING:
    from scoring.dataset.image_root_detection import RootDetection
    from scoring.dataset.importing import Preview

_FILES_SHOWN = 8
_REASONS_SHOWN = 5
_ROOTS_SHOWN = 4
_CHARACTERS_SHOWN = 600
_TO_SCORE = "to score"


def import_data(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Files, folders or patterns: JSON, JSONL (also .gz, .zst), Parquet, saved Hugging "
            "Face datasets, WebDataset tars, TSV, CSV; hf:OWNER/NAME from the hub; lists of "
            "datasets (dataset_info.json#NAME).",
        ),
    ],
    workspace: WorkspaceOption,
    options: ReadOptions,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images",
            help="Folder that image paths are relative to, or a JSON or Parquet file that contains "
            "images by key (repeatable). Default: the folder of a file or its parent, whichever "
            "contains its first images.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only show the detected formats and the first record of each file."
        ),
    ] = False,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Add to the dataset in the workspace: rows, scores and decisions stay as they "
            "are, new samples follow them.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Import a dataset into a workspace; JSON records are kept byte for byte."""
    if dry_run:
        _show_preview(files, images or (), options, json)
        return
    from scoring.database.build.build import build_database
    from scoring.dataset.image_root_detection import read_root_detections
    from scoring.dataset.importing import import_dataset
    from scoring.dataset.records import count_statuses, read_dataset_info
    from scoring.dataset.staging import has_staged_import

    created = create_workspace(workspace)
    before = read_dataset_info(created) if append and created.dataset_dir.exists() else None
    kept = "Files that were read completely are saved; run the same command to resume."
    nothing = "Nothing was imported; run the same command to start again."
    interrupted = exit_on_interrupt(lambda: kept if has_staged_import(created) else nothing)
    with interrupted, count_progress("Importing (bytes)") as show:
        info = import_dataset(
            created,
            files,
            images or (),
            lambda _, done, total: show(done, total),
            options,
            append,
        )
    opened = open_workspace(workspace)
    n_known = 0 if before is None else len(before.files)
    for file in info.files[n_known:][:_FILES_SHOWN]:
        _show_format(file.name, file.format, file.container, file.why)
        _show_unread_keys(file.unread)
    _show_remaining(len(info.files) - n_known)
    _show_detections(read_root_detections(opened)[n_known:], f"run visnec relocate -w {workspace}")
    if options.allow_remote:
        download_images(opened)
    counts, reasons = count_statuses(opened)
    statuses = {(_TO_SCORE if name == Status.PENDING else name): n for name, n in counts.items()}
    build_database(opened)
    if before is not None:
        n_added = info.n_samples - before.n_samples
        show_message(
            f"Added {n_added:,} samples to {before.n_samples:,}"
            if n_added
            else "All of this data is already in the workspace; nothing was added"
        )
    title = "Imported" if before is None else "Now"
    show_table(status_table(f"{title} {info.n_samples:,} samples", statuses))
    for (status, reason), count in reasons.most_common(_REASONS_SHOWN):
        show_message(f"{status} ({count:,}): {reason}")
    _show_roots(opened)
    show_message(f"Next: visnec score -w {workspace} --model MODEL --predict")
    if json:
        print_json({**asdict(info), "statuses": statuses})


def relocate(
    workspace: WorkspaceOption,
    images: Annotated[
        list[str],
        typer.Option(
            "--images",
            help="Where the images are now: OLD=NEW for each folder or file that moved, including "
            "everything below it, or only the new folder, which replaces all (repeatable).",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Set where the images are after they moved, or when --images was forgotten."""
    from scoring.dataset.relocation import relocate_images

    result = relocate_images(open_workspace(workspace), images)
    show_message(
        f"{result.n_after:,} of the first {result.n_tried:,} images are found now, "
        f"{result.n_before:,} were found before"
    )
    _show_roots(open_workspace(workspace))
    if json:
        print_json({**asdict(result), "roots": [str(root) for root in result.roots]})


def _show_preview(
    files: Sequence[str], images: Sequence[Path], options: ReadOptions, json: bool
) -> None:
    """Show how an import would read the files, without a workspace."""
    from scoring.dataset.importing import preview_dataset

    previews = preview_dataset(files, images, options)
    for preview in previews[:_FILES_SHOWN]:
        detected = preview.source.format
        _show_format(preview.source.file.name, detected.family, detected.container, detected.why)
        if preview.sample is not None:
            for line in _describe_sample(preview.sample):
                show_message(f"    {line}")
    _show_remaining(len(previews))
    _show_detections([preview.detection for preview in previews], "import them with")
    if json:
        print_json([_preview_json(preview) for preview in previews])


def _preview_json(preview: Preview) -> dict[str, Any]:
    sample, detected = preview.sample, preview.source.format
    described = {} if sample is None else asdict(sample)
    described.pop("original", None)
    return {
        "file": preview.source.file.name,
        "format": detected.family,
        "container": detected.container,
        "why": detected.why,
        "first_record": described or None,
        "images": asdict(preview.detection),
    }


def _describe_sample(sample: Sample) -> list[str]:
    """Return the first record as it was understood, with [image 1] in the place of an image."""
    lines = [f"id {sample.id or 'none'}, source {sample.source}, status {sample.status}"]
    if sample.reason:
        lines.append(f"reason: {sample.reason}")
    lines += [f"image {number}: {image}" for number, image in enumerate(sample.images[:4], 1)]
    number = 0
    for turn in sample.turns[:4]:
        text, start = "", 0
        for offset in turn.image_offsets:
            number += 1
            text, start = f"{text}{turn.text[start:offset]}[image {number}]", offset
        text = (text + turn.text[start:])[:_CHARACTERS_SHOWN].replace("\n", "\\n")
        lines.append(f"{turn.role}: {text}")
    return lines


def _show_format(name: str, family: str, container: str, why: str) -> None:
    show_message(
        f"{name}: read as records of format {family}, file type {container}, because {why}"
    )


def _show_unread_keys(unread: Mapping[str, int]) -> None:
    """Name the keys that seem to contain images but were not read."""
    for key, count in list(unread.items())[:_FILES_SHOWN]:
        show_warning(
            f"{count:,} records seem to hold an image under {key!r}, which was not read; to read "
            f"it: --column image={key}"
        )


def _show_remaining(n_files: int) -> None:
    if n_files > _FILES_SHOWN:
        show_message(f"and {n_files - _FILES_SHOWN:,} more files")


def _show_detections(detections: Sequence[RootDetection], remedy: str) -> None:
    """Print where the first images of each file were found; equal outcomes share one line.

    ``remedy``: what to do with folders that would have to be named.
    """
    outcomes: dict[tuple[Any, ...], list[RootDetection]] = {}
    for detection in detections:
        if detection.n_tried:
            best = detection.candidates[detection.best_index]
            others = tuple(folder for folder in detection.candidates if folder != best)
            outcome = (best, others, detection.remedy, detection.ambiguous)
            outcomes.setdefault(outcome, []).append(detection)
    for (best, others, folders, ambiguous), alike in outcomes.items():
        n_found = sum(detection.n_found[detection.best_index] for detection in alike)
        n_tried = sum(detection.n_tried for detection in alike)
        also = f" (also tried: {', '.join(others)})" if others else ""
        show_message(f"{n_found:,} of the first {n_tried:,} images are in {best}{also}")
        if n_refused := sum(detection.n_refused for detection in alike):
            named = " ".join(f"--images {shlex.quote(folder)}" for folder in folders)
            show_warning(
                f"{n_refused:,} of them are refused: a link or '..' in their path leads outside "
                f"the folders that may be read. If they are yours, {remedy} {named}"
            )
        elif ambiguous:
            show_warning(
                f"Images of these names are in each of {', '.join(ambiguous)}: "
                "name the right folder with --images"
            )
        elif not n_found:
            show_warning(
                "None was found: name the folder that the paths are relative to with --images"
            )
        if n_deep := sum(detection.n_deep_greys for detection in alike):
            show_warning(
                f"{n_deep:,} of them are greys of more than 8 bits or floats. They are shown and "
                "scored scaled to 8 bits, but a trainer that calls Pillow's convert('RGB') clips "
                "them at 255: 12 and 16 bits to white, floats up to 1 to black. Convert them to 8 "
                "bits before training"
            )


def _show_roots(workspace: Workspace) -> None:
    roots = workspace.image_roots
    folders = (*roots, *(folder for base in roots.bases for folder in base))
    names = list(dict.fromkeys(map(str, folders)))
    more = f" and {len(names) - _ROOTS_SHOWN:,} more" if len(names) > _ROOTS_SHOWN else ""
    show_message(f"Image folders: {', '.join(names[:_ROOTS_SHOWN])}{more}")
