"""The command find-duplicates."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.errors import InputError
from scoring.option_descriptions import Option
from scoring.workspace import Workspace, open_workspace


def find_duplicates(
    workspace: WorkspaceOption,
    questions: Annotated[
        bool, Option("Group similar first questions: column question_group.", "--questions")
    ] = False,
    samples: Annotated[
        bool,
        Option(
            "Group samples with the same images and similar turns: column sample_group.",
            "--samples",
        ),
    ] = False,
    images: Annotated[
        bool,
        Option(
            "Group samples whose images are near-duplicates, also mirrored: column image_group. "
            "Reads the images once, as index-images --hashes.",
            "--images",
        ),
    ] = False,
    threshold: Annotated[
        float,
        Option("Jaccard similarity of the runs of three words from which texts are similar."),
    ] = 0.8,
    distance: Annotated[
        int,
        Option("Most bits of 64 in which the hashes of near-duplicate images differ.", max=8),
    ] = 8,
    json: JsonOption = False,
) -> None:
    """Find near-duplicate questions, samples and images and store their groups as columns."""
    from scoring.duplicates import find

    wanted = {find.QUESTIONS: questions, find.SAMPLES: samples, find.IMAGES: images}
    kinds = [kind for kind, is_wanted in wanted.items() if is_wanted]
    if not kinds:
        raise InputError("Choose what to compare: --questions, --samples, --images or several.")
    opened = open_workspace(workspace)
    if images:
        hash_images(opened)
    with console.phase_progress("Reading samples") as (show, start_phase):
        results = find.find_duplicates(
            opened,
            kinds,
            threshold=threshold,
            distance=distance,
            on_progress=show,
            on_phase=start_phase,
        )
    rows = [
        (result.column.name, result.n_groups, result.n_samples, result.largest, result.n_without)
        for result in results
    ]
    headers = ["column", "groups", "samples in a group", "largest group", "not compared"]
    console.show_table("Near-duplicates", headers, rows)
    for result in results:
        if result.n_exact:
            console.show_message(
                f"{result.n_exact:,} images are damaged or have no structure (one colour); they "
                "were compared by their exact content"
            )
    if json:
        console.print_json([asdict(result) for result in results])


def hash_images(workspace: Workspace) -> None:
    """Read the images that are not hashed yet; Ctrl-C keeps what was read."""
    from scoring.dataset.image_index import index_images

    with console.stop_on_interrupt("images") as stop, console.rate_progress("images") as show:
        index = index_images(workspace, show, stop, hashes=True)
    console.show_issues("Not read", index.issues)
    if not index.is_complete:
        console.stop_command()
