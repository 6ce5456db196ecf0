"""The command that brings a dataset in, and says what it took it for."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from scoring.cli.console import count_progress, print_json, show_message, show_table, status_table
from scoring.cli.options import AllowRemoteOption, JsonOption, WorkspaceOption
from scoring.cli.score import download_images
from scoring.errors import InputError
from scoring.workspace import Workspace, create_workspace, open_workspace

_FILES_TOLD = 8
_SHOWN_CHARACTERS = 600


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
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images",
            help="Folder that image paths are relative to, or a file that holds images by key: "
            "JSON or Parquet (repeatable). Default: the folder of a file or its parent, whichever "
            "holds its first images.",
        ),
    ] = None,
    family: Annotated[
        str,
        typer.Option(
            "--format",
            help="How records are meant: auto (found out and told), llava, messages, qa, caption.",
        ),
    ] = "auto",
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="Which column is what, as WHAT=NAME (repeatable): id, source, image, "
            "conversations, system, question, answer, caption. Dots lead into objects.",
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="Who speaks, as NAME=human, assistant or system (repeatable)."),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Import what can be read of a damaged file; the rest is counted with its place.",
        ),
    ] = False,
    encoding: Annotated[
        str,
        typer.Option(
            "--encoding",
            help="Encoding of text files that are not UTF-8, such as gb18030, cp932 or cp1252: "
            "their records are stored and exported in UTF-8.",
        ),
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what the files are taken for, show the first record, and stop."
        ),
    ] = False,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Add to the dataset that is there: rows, scores and decisions stay as they are, "
            "new samples stand behind them.",
        ),
    ] = False,
    allow_remote: AllowRemoteOption = False,
    json: JsonOption = False,
) -> None:
    """Import a dataset into a workspace; JSON records are kept byte for byte."""
    from scoring.readers.options import read_options

    columns, roles = _pairs(column, "--column"), _pairs(role, "--role")
    options = read_options(family, columns, roles, keep_going, allow_remote, encoding)
    if dry_run:
        _preview(files, images or (), options, json)
        return
    from scoring.database.build.build import build_database
    from scoring.dataset.image_root_detection import read_root_detections
    from scoring.dataset.importing import import_dataset
    from scoring.dataset.staging import has_staged_import

    place = create_workspace(workspace)
    before = _present(place) if append else None
    try:
        with count_progress("Importing (bytes)") as show:
            info = import_dataset(
                place,
                files,
                images or (),
                lambda _, done, total: show(done, total),
                options,
                append,
            )
    except KeyboardInterrupt:
        kept = "files that were read whole are kept. The same command goes on from there."
        nothing = "nothing was imported. The same command begins anew."
        show_message(f"Stopped; {kept if has_staged_import(place) else nothing}")
        raise typer.Exit(130) from None
    place = open_workspace(workspace)
    n_known = 0 if before is None else len(before.files)
    for file in info.files[n_known:][:_FILES_TOLD]:
        show_message(f"{file.name}: {_taken_for(file.format, file.container)}, because {file.why}")
        _tell_unread(file.unread)
    _tell_rest(len(info.files) - n_known)
    _tell_images(read_root_detections(place)[n_known:], f"run visnec relocate -w {workspace}")
    if allow_remote:
        download_images(place)
    statuses, reasons = _import_statuses(place)
    build_database(place)
    if before is not None:
        show_message(_outcome(info.n_samples, before.n_samples))
    title = "Imported" if before is None else "Now"
    show_table(status_table(f"{title} {info.n_samples:,} samples", statuses))
    for (status, reason), count in reasons.most_common(5):
        show_message(f"{status} ({count:,}): {reason}")
    _tell_roots(place)
    show_message(f"Next: visnec score -w {workspace} --model MODEL --predict")
    if json:
        print_json({**asdict(info), "statuses": statuses})


def relocate(
    workspace: WorkspaceOption,
    images: Annotated[
        list[str],
        typer.Option(
            "--images",
            help="Where the images are now: OLD=NEW for each folder or file that moved, what lies "
            "below it included, or the new folder alone in the place of all (repeatable).",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Say where images are after they were moved, or when --images was forgotten."""
    from scoring.dataset.relocation import relocate_images

    place = open_workspace(workspace)
    done = relocate_images(place, images)
    show_message(
        f"{done.n_after:,} of the first {done.n_tried:,} images are found now, "
        f"{done.n_before:,} were before"
    )
    _tell_roots(open_workspace(workspace))
    if json:
        print_json({**asdict(done), "roots": [str(root) for root in done.roots]})


def _present(place: Workspace) -> Any:
    """What the workspace holds before something is added to it; None where it is new."""
    from scoring.dataset.records import read_dataset_info

    return read_dataset_info(place) if place.dataset_dir.exists() else None


def _outcome(n_samples: int, n_before: int) -> str:
    if n_samples == n_before:
        return "All of it is there already; nothing was added"
    return f"Added {n_samples - n_before:,} samples to {n_before:,}"


def _preview(files: Sequence[str], images: Sequence[Path], options: Any, as_json: bool) -> None:
    """Tells what an import would take the files for, without a workspace."""
    from scoring.dataset.importing import preview_dataset

    previews = preview_dataset(files, images, options)
    for preview in previews[:_FILES_TOLD]:
        found = preview.source.format
        taken = _taken_for(found.family, found.container)
        show_message(f"{preview.source.file.name}: {taken}, because {found.why}")
        if preview.sample is not None:
            for line in _described(preview.sample):
                show_message(f"    {line}")
    _tell_rest(len(previews))
    _tell_images([preview.detection for preview in previews], "import them with")
    if as_json:
        print_json([_as_dict(preview) for preview in previews])


def _as_dict(preview: Any) -> dict[str, Any]:
    sample, found = preview.sample, preview.source.format
    described = {} if sample is None else asdict(sample)
    described.pop("original", None)
    return {
        "file": preview.source.file.name,
        "format": found.family,
        "container": found.container,
        "why": found.why,
        "first_record": described or None,
        "images": asdict(preview.detection),
    }


def _described(sample: Any) -> list[str]:
    """The first record as it was understood; where an image stands it says [image 1]."""
    lines = [f"id {sample.id or 'none'}, source {sample.source}, status {sample.status}"]
    if sample.reason:
        lines.append(f"reason: {sample.reason}")
    lines += [f"image {number}: {image}" for number, image in enumerate(sample.images[:4], 1)]
    number = 0
    for turn in sample.turns[:4]:
        text, at = "", 0
        for offset in turn.image_offsets:
            number += 1
            text, at = f"{text}{turn.text[at:offset]}[image {number}]", offset
        shown = (text + turn.text[at:])[:_SHOWN_CHARACTERS].replace("\n", "\\n")
        lines.append(f"{turn.role}: {shown}")
    return lines


def _taken_for(family: str, container: str) -> str:
    return f"records of the kind {family} in a file of the kind {container}"


def _tell_unread(unread: Mapping[str, int]) -> None:
    """Names the keys that seem to hold images which were not read."""
    for key, count in list(unread.items())[:_FILES_TOLD]:
        show_message(
            f"    {count:,} records seem to hold an image under {key!r}, which was not read; to "
            f"read it: --column image={key}"
        )


def _tell_rest(n_files: int) -> None:
    if n_files > _FILES_TOLD:
        show_message(f"and {n_files - _FILES_TOLD:,} more files")


def _tell_images(trials: Sequence[Any], remedy: str) -> None:
    """Where the first images of each file were found; files with the same outcome in one line.

    ``remedy``: what to do with the folders that would have to be named.
    """
    told: dict[tuple[Any, ...], list[Any]] = {}
    for trial in trials:
        if trial.n_tried:
            best = trial.candidates[trial.best]
            others = tuple(one for one in trial.candidates if one != best)
            outcome = (best, others, trial.remedy, trial.ambiguous)
            told.setdefault(outcome, []).append(trial)
    for (best, others, folders, ambiguous), alike in told.items():
        n_found = sum(trial.n_found[trial.best] for trial in alike)
        n_tried = sum(trial.n_tried for trial in alike)
        also = f" (also tried: {', '.join(others)})" if others else ""
        show_message(f"{n_found:,} of the first {n_tried:,} images are in {best}{also}")
        named = " ".join(f"--images {shlex.quote(one)}" for one in folders)
        if n_refused := sum(trial.n_refused for trial in alike):
            show_message(
                f"{n_refused:,} of them are refused: a link or '..' in their path leads out of the "
                f"folders that may be read. If they are yours, {remedy} {named}"
            )
        elif ambiguous:
            show_message(
                f"Images of these names are in each of {', '.join(ambiguous)}: "
                "name the right folder with --images"
            )
        elif not n_found:
            show_message(
                "None was found: name the folder that the paths are relative to with --images"
            )
        if n_deep := sum(trial.n_deep_greys for trial in alike):
            show_message(
                f"{n_deep:,} of them are greys of more than 8 bits or floats. They are shown and "
                "scored scaled to 8 bits, while a trainer that calls Pillow's convert('RGB') clips "
                "them at 255: 12 and 16 bits to white, floats up to 1 to black. Convert them to 8 "
                "bits before training"
            )


def _tell_roots(place: Workspace) -> None:
    every = place.image_roots
    roots = list(dict.fromkeys(map(str, (*every, *(one for base in every.bases for one in base)))))
    more = f" and {len(roots) - 4:,} more" if len(roots) > 4 else ""
    show_message(f"Images are looked for in {', '.join(roots[:4])}{more}")


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for one in given or ():
        key, mark, value = one.partition("=")
        if not (mark and key.strip() and value.strip()):
            raise InputError(f"{option} {one!r} is no WHAT=NAME, as in {option} question=caption")
        pairs[key.strip()] = value.strip()
    return pairs


def _import_statuses(place: Workspace) -> tuple[dict[str, int], Counter[tuple[str, str]]]:
    """Samples by status, and the reasons of those that are out of order."""
    from scoring.dataset.records import read_columns
    from scoring.readers.conversation import NO_IMAGE_REASON

    counted: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    for part in read_columns(place, ["status", "reason"]):
        statuses = part.column(0).to_pylist()
        counted.update(statuses)
        for status, reason in zip(statuses, part.column(1).to_pylist(), strict=True):
            plain = status == "pending" or reason == NO_IMAGE_REASON
            if not plain and len(reasons) < 10_000:
                reasons[(status, str(reason)[:_SHOWN_CHARACTERS])] += 1
    named = {("to score" if status == "pending" else status): n for status, n in counted.items()}
    return named, reasons
