"""The commands find-duplicates and check-leakage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.errors import InputError
from scoring.option_descriptions import Option
from scoring.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from scoring.clustering.image_embedder import ImageModel
    from scoring.dataset.image_index import ImageIndex
    from scoring.duplicates.leakage import LeakageReport

_DistanceOption = Annotated[
    int, Option("Most bits of 64 in which the hashes of near-duplicate images differ.", max=8)
]
_ImagesByOption = Annotated[
    str | None,
    Option(
        "Compare images by the vectors of this embedding model instead of their hashes: Hugging "
        "Face id or folder of CLIP, SigLIP, DINOv2 or another that transformers loads.",
        "--images-by",
        metavar="MODEL",
    ),
]
_RevisionOption = Annotated[str | None, Option("Revision of the model of --images-by.")]
_SimilarityOption = Annotated[
    float,
    Option("Cosine similarity of the vectors from which images are near-duplicates."),
]
_DeviceOption = Annotated[
    str | None, Option("Device of that model, such as cpu; by default a GPU if there is one.")
]


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
    distance: _DistanceOption = 8,
    images_by: _ImagesByOption = None,
    similarity: _SimilarityOption = 0.95,
    revision: _RevisionOption = None,
    device: _DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Find near-duplicate questions, samples and images and store their groups as columns."""
    from scoring.duplicates import find, stored

    model = _describe_model(images_by, revision, similarity, device)
    images |= model is not None
    wanted = {stored.QUESTIONS: questions, stored.SAMPLES: samples, stored.IMAGES: images}
    kinds = [kind for kind, is_wanted in wanted.items() if is_wanted]
    if not kinds:
        raise InputError("Choose what to compare: --questions, --samples, --images or several.")
    opened = open_workspace(workspace)
    if model is not None:
        embed_images(opened, model)
    elif images:
        hash_images(opened)
    with console.phase_progress("Progress") as (show, start_phase):
        results = find.find_duplicates(
            opened,
            kinds,
            threshold=threshold,
            distance=distance,
            images_by=model,
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
            odd = "damaged or have no structure (one colour)" if model is None else "damaged"
            console.show_message(
                f"{result.n_exact:,} images are {odd}; they were compared by their exact content"
            )
    if json:
        console.print_json([asdict(result) for result in results])


def check_leakage(
    workspace: WorkspaceOption,
    benchmark: Annotated[
        tuple[str, ...],
        Option(
            "A dataset file or workspace to compare with, by default under its name. Repeatable.",
            metavar="[NAME=]PATH",
        ),
    ] = (),
    max_share: Annotated[
        float | None,
        Option(
            "Exit with code 1 if a larger share of a benchmark is in the dataset, such as 0.01.",
            "--max",
            metavar="SHARE",
        ),
    ] = None,
    questions_only: Annotated[
        bool, Option("Compare questions only and read no images.", "--questions-only")
    ] = False,
    threshold: Annotated[
        float,
        Option("Jaccard similarity of the runs of three words from which questions are similar."),
    ] = 0.8,
    distance: _DistanceOption = 8,
    images_by: _ImagesByOption = None,
    vectors: Annotated[
        Path | None,
        Option(
            "Vectors of the dataset's images that you computed: Parquet with a list of numbers and "
            "row_idx or image, or .npy with a row per sample. For --benchmark-vectors."
        ),
    ] = None,
    benchmark_vectors: Annotated[
        tuple[str, ...],
        Option(
            "A Parquet or .npy file with the vectors of a benchmark's images by the same model. "
            "Repeatable.",
            metavar="[NAME=]PATH",
        ),
    ] = (),
    similarity: _SimilarityOption = 0.95,
    revision: _RevisionOption = None,
    device: _DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Find the samples of benchmarks that are in the dataset, by image and by question."""
    from scoring.duplicates import leakage, vector_files

    opened = open_workspace(workspace)
    model = _describe_model(images_by, revision, similarity, device)
    if model is not None and questions_only:
        raise InputError("Choose --questions-only or --images-by: the latter compares images.")
    if bool(benchmark_vectors) != (vectors is not None):
        raise InputError("--vectors and --benchmark-vectors are used together.")
    given = None
    if vectors is not None:
        given = vector_files.VectorLeaks(vectors, _name_benchmarks(benchmark_vectors), similarity)
    if model is not None:
        embed_images(opened, model)
    elif benchmark and not questions_only:
        hash_images(opened)
    with console.phase_progress("Comparing samples") as (show, start_phase):
        report = leakage.check_leakage(
            opened,
            _name_benchmarks(benchmark),
            images=not questions_only,
            threshold=threshold,
            distance=distance,
            images_by=model,
            vectors=given,
            on_progress=show,
            on_phase=start_phase,
        )
    _show_leaks(report)
    if json:
        console.print_json(report.as_json())
    if max_share is None:
        return
    if above := [each for each in report.benchmarks if each.share > max_share]:
        names = ", ".join(f"{each.name} ({100 * each.share:.2f} %)" for each in above)
        console.show_warning(f"More than {100 * max_share:.2f} % is in the dataset: {names}")
        raise typer.Exit(1)


def _name_benchmarks(texts: Sequence[str]) -> dict[str, Path]:
    """Return the benchmarks by name. Raises InputError for a repeated name."""
    benchmarks: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or "/" in name or Path(text).exists():
            name, path = Path(text).resolve().name.partition(".")[0], text
        if name in benchmarks:
            raise InputError(f"Two benchmarks have the name {name}. Write NAME={path}")
        benchmarks[name] = Path(path)
    return benchmarks


def _show_leaks(report: LeakageReport) -> None:
    rows = [
        (
            each.name,
            each.n_samples,
            *each.leaked.values(),
            each.n_leaked,
            f"{each.share:.2%}",
            each.n_dataset,
        )
        for each in report.benchmarks
    ]
    kinds = ["image", "near image", "question", "near question"]
    columns = ["benchmark", "samples", *kinds, "leaked", "share", "dataset rows"]
    console.show_table("Samples of benchmarks in the dataset", columns, rows)
    for each in report.benchmarks:
        if each.n_uncompared or each.n_unread:
            console.show_message(
                f"{each.name}: {each.n_uncompared:,} questions about images have fewer than 13 "
                f"words and were not compared; {each.n_unread:,} samples have an image that could "
                "not be read"
            )
    if report.n_unread:
        console.show_warning(
            f"{report.n_unread:,} samples of the dataset have an image that could not be read or "
            "has no vector: whether they leak is not known, and they have no value in the column "
            "leak"
        )


def _describe_model(
    name: str | None, revision: str | None, similarity: float, device: str | None
) -> ImageModel | None:
    """Return the model of --images-by, None without the option."""
    if name is None:
        return None
    from scoring.clustering.image_embedder import ImageModel

    return ImageModel(name, revision, similarity, device)


def hash_images(workspace: Workspace, hashes: bool = True) -> None:
    """Read the images that are not hashed yet; Ctrl-C keeps what was read.

    Without ``hashes`` only those that were never read, without decoding them.
    """
    from scoring.dataset.image_index import index_images

    with console.stop_on_interrupt("images") as stop, console.rate_progress("images") as show:
        index = index_images(workspace, show, stop, hashes=hashes)
    _finish_pass(index)


def embed_images(workspace: Workspace, model: ImageModel) -> None:
    """Embed the images that have no vector of the model yet; Ctrl-C keeps what was embedded."""
    from scoring.clustering.image_embedder import ImageEmbedder
    from scoring.duplicates import image_vectors
    from scoring.duplicates.contents import ImageContents

    embedder = ImageEmbedder(model)
    hash_images(workspace, hashes=False)
    contents = ImageContents.read(workspace)
    with console.stop_on_interrupt("images") as stop, console.rate_progress("images") as show:
        index = image_vectors.embed_images(workspace, embedder, contents, show, stop)
    _finish_pass(index)


def _finish_pass(index: ImageIndex) -> None:
    """Show which images could not be read, and stop the command if the pass was stopped."""
    console.show_issues("Not read", index.issues)
    if not index.is_complete:
        console.stop_command()
