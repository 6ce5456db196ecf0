"""Commands that write a curated dataset and check it: export, verify."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoring.cli.console import count_progress, print_json, print_line, show_message
from scoring.cli.options import JsonOption, WorkspaceOption
from scoring.workspace import open_workspace

if TYPE_CHECKING:
    from scoring.exports.manifest import Manifest


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A subset named by select.")],
    workspace: WorkspaceOption,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder to write; WORKSPACE/exports/NAME unless named."),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option(
            "--format",
            help="llava (a JSON array), jsonl, parquet, huggingface (a folder for "
            "datasets.load_from_disk), webdataset (tar files with the images), ids, or dropped "
            "(what is left out, and why).",
        ),
    ] = "llava",
    images: Annotated[
        str,
        typer.Option(
            "--images",
            help="copy or link: the images used, in a folder images/ beside the records; embed: "
            "inside a table; none.",
        ),
    ] = "none",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="Of a subset by weights: column (a key of each record), repeat (records as often "
            "as they count), ignore.",
        ),
    ] = None,
    weight_key: Annotated[str, typer.Option("--weight-key", help="Name of that key.")] = "weight",
    epoch_size: Annotated[
        int | None, typer.Option("--epoch-size", help="Records in all, with --weights repeat.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of repeated records.")] = 0,
    turns: Annotated[
        str,
        typer.Option(
            "--turns",
            help="What becomes of single answers whose own score lies under --turn-min or not "
            "under --turn-max: drop (with their questions), mask (a key says they are not to be "
            "trained on), keep.",
        ),
    ] = "keep",
    turn_min: Annotated[
        float | None, typer.Option("--turn-min", help="Lowest VisNec score of an answer.")
    ] = None,
    turn_max: Annotated[
        float | None, typer.Option("--turn-max", help="VisNec score that an answer stays under.")
    ] = None,
    mask_key: Annotated[
        str, typer.Option("--mask-key", help="Key that is false in a masked answer.")
    ] = "loss",
    card: Annotated[
        bool,
        typer.Option("--card", help="Also README.md with figures and plots, and croissant.json."),
    ] = False,
    license: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option("--license", help="Licence that the card tells, as an SPDX id or an address."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Address of the dataset that the card tells.")
    ] = None,
    date_published: Annotated[
        str | None, typer.Option("--date-published", help="Day that the card tells, YYYY-MM-DD.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            help="Of the format parquet: source (the rows of a Parquet dataset as they came, its "
            "default) or understood (conversations, images, scores, the record).",
        ),
    ] = None,
    allow_missing_images: Annotated[
        bool,
        typer.Option(
            "--allow-missing-images",
            help="Export although images are missing; without it nothing is exported then.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that lies there.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a subset, each record byte for byte, with the manifest that replays it."""
    from scoring.database.connection import Store
    from scoring.exports import options_from_dict
    from scoring.exports.export import export_subset
    from scoring.subsets.definitions import read_subset

    options = options_from_dict(
        {
            "format": format,
            "images": images,
            "weights": weights,
            "weight_key": weight_key,
            "epoch_size": epoch_size,
            "seed": seed,
            "turns": turns,
            "turn_min": turn_min,
            "turn_max": turn_max,
            "mask_key": mask_key,
            "card": card,
            "license": license,
            "url": url,
            "date_published": date_published,
            "columns": columns,
        }
    )
    place = open_workspace(workspace)
    definition = read_subset(place, name)
    with _nothing_left(), count_progress("Exporting") as show:
        result = export_subset(
            place,
            Store(place),
            definition,
            to,
            options,
            show,
            overwrite,
            _said_once(),
            allow_missing_images,
        )
    if result.n_new_parts:
        show_message(
            f"{result.n_new_parts} newer parts are not in the database; take them in with build"
        )
    show_message(f"{result.n_samples:,} samples; check them at any time with:")
    show_message(f"visnec verify {result.folder / 'manifest.json'} -w {workspace}")
    _tell_changes(result.manifest)
    if json:
        print_json(result.manifest.to_dict())
    else:
        print_line(str(result.folder))


def _said_once() -> Callable[[], None]:
    """Says once that another export goes before."""
    said: list[str] = []

    def say_it() -> None:
        if not said:
            said.append("Another export of this workspace is at work; this one waits for its end")
            show_message(said[0])

    return say_it


def _tell_changes(manifest: Manifest) -> None:
    """What the options did to records, so that nobody takes derived data for the original."""
    written = manifest.counts.get("written", {})
    if turns := written.get("turns"):
        show_message(
            f"{turns['answers']:,} answers of {turns['samples_changed']:,} samples went or are "
            f"masked; {turns['samples_without_answers']:,} samples were left without answers and "
            f"are out; {turns['samples_left_whole']:,} could not be cut and are whole"
        )
    if keyless := written.get("records_without_their_keys"):
        show_message(
            f"{keyless:,} records are written without the keys that named them in their object; "
            "images whose paths are made of these are not found by them: --format llava keeps keys"
        )
    if repeats := written.get("repeats"):
        show_message(
            f"{repeats['records']:,} records of {repeats['samples']:,} samples, by their weights"
        )
    if n := written.get("records_from_other_files"):
        show_message(f"{n:,} records came from files that are no JSON and were written anew")
    if n := written.get("records_with_new_image_paths"):
        show_message(
            f"{n:,} records name images by new paths, because their own lead out of the images"
        )
    for note in manifest.image_notes():
        show_message(note)
    if manifest.derived:
        show_message(f"Derived data: {', '.join(manifest.derived)} differ from what was imported")


@contextmanager
def _nothing_left() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        show_message(
            "Stopped; nothing of this export was left behind. The same command begins anew."
        )
        raise typer.Exit(130) from None


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
    from scoring.exports.verify import verify_manifest

    place = open_workspace(workspace) if workspace else None
    with count_progress("Comparing") as show:
        report = verify_manifest(manifest, place, lambda _, done, total: show(done, total))
    for note in (*report.changed_inputs, *report.notes):
        show_message(f"note: {note}")
    lacking = report.manifest.n_missing_images
    show_message(
        f"Verified: {report.n_samples:,} samples, byte for byte as the workspace rebuilds them"
        + (f"; missing images: {lacking:,}" if lacking else "")
    )
    if json:
        print_json(
            {
                "verified": True,
                "n_samples": report.n_samples,
                "changed_inputs": report.changed_inputs,
                "notes": report.notes,
                "n_missing_images": lacking,
            }
        )
