"""The commands import, relocate, index-images and import-scores."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from scoring.cli import console
from scoring.cli.columns import show_columns
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.cli.score import download_images
from scoring.option_descriptions import Option, split_keys
from scoring.readers.options import ReadOptions
from scoring.samples import Sample, Status
from scoring.workspace import Workspace, create_for_import, open_workspace

if TYPE_CHECKING:
    from scoring.dataset.image_root_detection import RootDetection

_FILES_SHOWN = 8
_REASONS_SHOWN = 5
_ROOTS_SHOWN = 4
_CHARACTERS_SHOWN = 600
_KEYS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class ImportScoresOptions:
    """What is recorded of scores that were computed elsewhere, and how they are checked."""

    model: Annotated[str, Option("The model that computed them; only recorded.")] = "unknown"
    run_id: Annotated[
        str | None, Option("Name of the run. Default: a digest of the file.", "--run")
    ] = None
    baseline: Annotated[
        str,
        Option(
            "What replaced the image: none, or reference for files of the paper's script, which "
            "masks the placeholder."
        ),
    ] = "none"
    check: Annotated[
        bool,
        Option(
            "Import only rows whose id and image path, where given, match the sample.",
            "--check/--no-check",
        ),
    ] = True
    blind: Annotated[
        Path | None,
        Option(
            "A file with the losses without the image, where FILE has only one loss per sample, "
            "with it."
        ),
    ] = None


def import_data(
    files: Annotated[
        list[str],
        Option(
            "Files, folders or patterns: JSON, JSONL (also .gz, .zst), Parquet, saved Hugging Face "
            "datasets, WebDataset tars, TSV, CSV; lists of datasets (dataset_info.json#NAME); from "
            "the hub hf:OWNER/NAME[@REVISION][#CONFIG[/SPLIT]], or #FILE for files of it.",
            metavar="DATA...",
            is_argument=True,
        ),
    ],
    workspace: WorkspaceOption,
    options: ReadOptions,
    images: Annotated[
        tuple[Path, ...],
        Option(
            "Folder that image paths are relative to, or a JSON or Parquet file that contains "
            "images by key (repeatable). Default: the folder of a file or its parent, whichever "
            "contains its first images."
        ),
    ] = (),
    column_keys: Annotated[
        str,
        Option(
            "Keys of the records that become columns, separated by commas: numbers, texts, "
            "booleans, or lists of these with one value per answer. Patterns such as '*_ratings' "
            "are allowed; dots lead into objects.",
            "--columns",
            metavar="KEYS",
        ),
    ] = "",
    dry_run: Annotated[
        bool, Option("Only show the detected formats and the first record of each file.")
    ] = False,
    append: Annotated[
        bool,
        Option(
            "Add to the dataset in the workspace: rows, scores and decisions stay as they are, new "
            "samples follow them."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Import a dataset into a workspace; JSON records are kept byte for byte."""
    if dry_run:
        _show_preview(files, images, options, json)
        return
    from scoring.database.build.build import build_database
    from scoring.dataset.image_root_detection import read_root_detections
    from scoring.dataset.importing import import_dataset
    from scoring.dataset.records import count_statuses, read_dataset_info
    from scoring.dataset.staging import has_staged_import
    from scoring.exchange.record_columns import import_with_columns

    keys, of_records = split_keys(column_keys), None
    with create_for_import(workspace) as created:
        before = read_dataset_info(created) if created.dataset_dir.exists() else None
        kept = "Files that were read completely are saved; run the same command to resume."
        nothing = "Nothing was imported; run the same command to start again."
        interrupted = console.exit_on_interrupt(
            lambda: kept if has_staged_import(created) else nothing
        )
        with interrupted, console.count_progress("Importing (bytes)") as show:
            request = (created, files, images, lambda _, done, total: show(done, total), options)
            if keys:
                info, of_records = import_with_columns(*request, append, keys)
            else:
                info = import_dataset(*request, append)
    opened = open_workspace(workspace)
    n_known = 0 if before is None else len(before.files)
    for file in info.files[n_known:][:_FILES_SHOWN]:
        _show_format(file.name, file.format, file.container, file.why)
        for key, count in list(file.unread.items())[:_FILES_SHOWN]:
            console.show_warning(
                f"{count:,} records seem to hold an image under {key!r}, which was not read; to "
                f"read it: --column image={key}"
            )
    _show_remaining(len(info.files) - n_known)
    _show_detections(
        read_root_detections(opened)[n_known:], f"run visnec relocate -w {quote(str(workspace))}"
    )
    if options.allow_remote:
        download_images(opened)
    counts, reasons = count_statuses(opened)
    statuses = {("to score" if name == Status.PENDING else name): n for name, n in counts.items()}
    if of_records is None:  # which has built it
        build_database(opened)
    if before is not None:
        n_added = info.n_samples - before.n_samples
        console.show_message(
            f"Added {n_added:,} samples to {before.n_samples:,}"
            if n_added
            else "All of this data is already in the workspace; nothing was added"
        )
    title = "Imported" if before is None else "Now"
    console.show_statuses(f"{title} {info.n_samples:,} samples", {"samples": statuses})
    for (status, reason), count in reasons.most_common(_REASONS_SHOWN):
        console.show_message(f"{status} ({count:,}): {reason}")
    if of_records is not None:
        show_columns(of_records)
    _show_roots(opened)
    console.show_message(f"Next: visnec score -w {quote(str(workspace))} --model MODEL --predict")
    if json:
        stored = {"columns": list(map(asdict, of_records.columns))} if of_records else {}
        console.print_json({**asdict(info), "statuses": statuses, **stored})


def relocate(
    workspace: WorkspaceOption,
    images: Annotated[
        list[str],
        Option(
            "Where the images are now: OLD=NEW for each folder or file that moved, including "
            "everything below it, or only the new folder, which replaces all (repeatable)."
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Set where the images are after they moved, or when --images was forgotten."""
    from scoring.dataset.relocation import relocate_images

    result = relocate_images(open_workspace(workspace), images)
    console.show_message(
        f"{result.n_after:,} of the first {result.n_tried:,} images are found now, "
        f"{result.n_before:,} were found before"
    )
    _show_roots(open_workspace(workspace))
    if json:
        console.print_json({**asdict(result), "roots": [str(root) for root in result.roots]})


def index_images(
    workspace: WorkspaceOption,
    hashes: Annotated[
        bool,
        Option(
            "Also decode each different image for its perceptual hash, which near-duplicates need.",
            "--hashes",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Read each image once, so that equal images are known as the same image."""
    from scoring.database.build.build import build_database
    from scoring.dataset import image_index

    opened = open_workspace(workspace)
    with console.stop_on_interrupt("images") as stop, console.rate_progress("images") as show:
        index = image_index.index_images(opened, show, stop, hashes=hashes)
    console.show_issues("Not read", index.issues)
    console.show_message(
        f"{index.n_images:,} images: {index.n_read:,} read now, {index.n_known:,} known before, "
        f"{index.n_unreadable:,} could not be read"
    )
    if index.n_read:
        build_database(opened)
    if json:
        console.print_json(asdict(index))
    if not index.is_complete:
        console.stop_command()


def import_scores(
    file: Annotated[
        Path,
        Option(
            "CSV, JSON lines or Parquet with row_idx or id and both losses, as export-scores, the "
            "paper's script or GDO write them; may be compressed as .gz, .bz2 or .zst.",
            metavar="FILE",
            is_argument=True,
        ),
    ],
    workspace: WorkspaceOption,
    options: ImportScoresOptions,
    json: JsonOption = False,
) -> None:
    """Import scores that were computed elsewhere, joined to the dataset by row_idx or id."""
    from scoring.exchange import imported_scores

    opened = open_workspace(workspace)
    with console.count_progress("Reading scores (bytes)") as show:
        report = imported_scores.import_scores(opened, file, **asdict(options), on_bytes=show)
    if report.already:
        console.show_message(f"{file} is already imported; nothing was changed.")
    console.show_statuses(f"Run {report.run_id}", {"samples": report.statuses})
    console.show_issues("Not imported", report.findings)
    scored = report.statuses.get("scored", 0)
    console.show_message(
        f"{report.n_rows:,} rows read; {scored:,} of {report.n_samples:,} samples have a score"
    )
    if json:
        console.print_json(asdict(report))


def _show_preview(
    files: Sequence[str], images: Sequence[Path], options: ReadOptions, json: bool
) -> None:
    """Show how an import would read the files, without a workspace."""
    from scoring.dataset.importing import preview_dataset

    previews = preview_dataset(files, images, options)
    records = []
    for number, preview in enumerate(previews):
        sample, detected, name = preview.sample, preview.source.format, preview.source.file.name
        if number < _FILES_SHOWN:
            _show_format(name, detected.family, detected.container, detected.why)
            for line in _describe_sample(sample) if sample is not None else ():
                console.show_message(f"    {line}")
            if preview.keys:
                more = ", ..." if len(preview.keys) > _KEYS_SHOWN else ""
                keys = ", ".join(preview.keys[:_KEYS_SHOWN]) + more
                console.show_message(f"    keys, for --columns: {keys[:_CHARACTERS_SHOWN]}")
        described = {} if sample is None else asdict(sample)
        described.pop("original", None)
        record: dict[str, Any] = {"file": name, "format": detected.family}
        record |= {
            "container": detected.container,
            "why": detected.why,
            "first_record": described or None,
            "keys": list(preview.keys),
        }
        records.append(record | {"images": asdict(preview.detection)})
    _show_remaining(len(previews))
    _show_detections([preview.detection for preview in previews], "import them with")
    if json:
        console.print_json(records)


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
    console.show_message(
        f"{name}: read as records of format {family}, file type {container}, because {why}"
    )


def _show_remaining(n_files: int) -> None:
    if n_files > _FILES_SHOWN:
        console.show_message(f"and {n_files - _FILES_SHOWN:,} more files")


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
        console.show_message(f"{n_found:,} of the first {n_tried:,} images are in {best}{also}")
        if n_refused := sum(detection.n_refused for detection in alike):
            named = " ".join(f"--images {shlex.quote(folder)}" for folder in folders)
            console.show_warning(
                f"{n_refused:,} of them are refused: a link or '..' in their path leads outside "
                f"the folders that may be read. If they are yours, {remedy} {named}"
            )
        elif ambiguous:
            console.show_warning(
                f"Images of these names are in each of {', '.join(ambiguous)}: "
                "name the right folder with --images"
            )
        elif not n_found:
            console.show_warning(
                "None was found: name the folder that the paths are relative to with --images"
            )
        if n_deep := sum(detection.n_deep_greys for detection in alike):
            console.show_warning(
                f"{n_deep:,} of them are greys of more than 8 bits or floats. They are shown and "
                "scored scaled to 8 bits, but a trainer that calls Pillow's convert('RGB') clips "
                "them at 255: 12 and 16 bits to white, floats up to 1 to black. Convert them to 8 "
                "bits before training"
            )


def _show_roots(workspace: Workspace) -> None:
    roots = workspace.image_roots.all_folders()
    names = [str(root) for root in roots if not root.is_file()]  # files contain images themselves
    more = f" and {len(names) - _ROOTS_SHOWN:,} more" if len(names) > _ROOTS_SHOWN else ""
    folders = ", ".join(names[:_ROOTS_SHOWN]) + more
    console.show_message(f"Image folders: {folders or 'none; images inside files are read there'}")
