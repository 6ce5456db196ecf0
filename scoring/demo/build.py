"""The demo workspace: the bundled dataset, scored, predicted and clustered by the bundled model.

Each step keeps what it finished, so that a second demo starts in seconds.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from scoring.bundled import BUNDLED_MODEL, MODEL_NOTICE, bundled_dataset
from scoring.clustering.clusters import cluster_dataset, list_clusterings
from scoring.clustering.embedder_names import PACKAGED, TFIDF
from scoring.clustering.embedders import has_packaged_weights, load_embedder
from scoring.database.build.build import build_database
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info
from scoring.demo.digits import write_digit_images
from scoring.errors import WorkspaceError
from scoring.runs.progress import RunProgress, read_progress
from scoring.runs.record import list_runs
from scoring.workspace import Workspace, create_workspace, open_workspace, save_settings

DEMO_RUN = "demo"
DEMO_CLUSTERS = 8
_IMAGES = "demo-images"

DEMO_BASELINES = ("none", "gray")  # two, so that there is something to compare

Say = Callable[[str], None]


def build_demo(
    root: Path,
    *,
    say: Say = lambda _: None,
    on_progress: Callable[[RunProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> Workspace:
    """Builds the demo workspace at ``root``, or finishes the one that is there."""
    workspace = _imported(create_workspace(root), say)
    if not _finished(workspace):
        _score(workspace, say, on_progress, stop)
    if not (stop and stop.is_set()):
        _cluster(workspace, say)
    return workspace


def _imported(workspace: Workspace, say: Say) -> Workspace:
    data = bundled_dataset()
    images = workspace.root / _IMAGES
    if not workspace.dataset_dir.exists():
        say("Rendering the handwritten digits")
        write_digit_images(images, data)
        say("Importing the demo dataset")
        import_dataset(workspace, [data / "records.json"], [data / "images", images])
        workspace = open_workspace(workspace.root)
        settings = replace(workspace.settings, notice=MODEL_NOTICE)
        save_settings(replace(workspace, settings=settings))
    _check_version(workspace, data / "records.json")
    return open_workspace(workspace.root)


def _check_version(workspace: Workspace, records: Path) -> None:
    """Raises WorkspaceError where the workspace holds something else than this version's demo."""
    digest = hashlib.sha256(records.read_bytes()).hexdigest()
    if [file.sha256 for file in read_dataset_info(workspace).files] != [digest]:
        raise WorkspaceError(
            f"{workspace.root} was not built from the demo data of this version; "
            "remove the folder, or name another with -w"
        )


def _finished(workspace: Workspace) -> bool:
    runs = [run.run_id for run in list_runs(workspace)]
    progress = read_progress(workspace, DEMO_RUN) if DEMO_RUN in runs else None
    done = progress is not None and (progress.phase, progress.state) == ("predict", "finished")
    return done and workspace.database.exists()


def _score(
    workspace: Workspace,
    say: Say,
    on_progress: Callable[[RunProgress], None] | None,
    stop: threading.Event | None,
) -> None:
    say("Loading the demonstration model")
    from scoring.engine.pipeline import predict_dataset, score_dataset
    from scoring.models import load_model

    model = load_model(BUNDLED_MODEL, device="cpu")
    with _one_thread():
        say("Scoring each sample with and without its image")
        score_dataset(
            workspace,
            model,
            run_id=DEMO_RUN,
            baselines=DEMO_BASELINES,
            tokens=True,
            on_progress=on_progress,
            stop=stop,
        )
        if stop and stop.is_set():
            return
        say("Predicting answers with and without the image")
        predict_dataset(
            workspace, model, DEMO_RUN, max_new_tokens=16, on_progress=on_progress, stop=stop
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """A model this small gains nothing from threads, and on a busy machine loses a lot by them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cluster(workspace: Workspace, say: Say) -> None:
    if not list_clusterings(workspace):
        say("Clustering the instructions")
        embedder = load_embedder(PACKAGED if has_packaged_weights() else TFIDF)
        cluster_dataset(workspace, embedder, k=DEMO_CLUSTERS)
        build_database(workspace)
