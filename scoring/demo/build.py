"""Build the demo workspace: the bundled dataset, scored, predicted and clustered, and a trial.

Each step keeps its results, so a second demo starts in seconds. The trial is not trained here:
``data/build_demo_trial.py`` did so once, and its plan and results are copied.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from scoring.bundled import BUNDLED_MODEL, MODEL_NOTICE, bundled_folder
from scoring.clustering.clusters import PACKAGED, TFIDF, cluster_dataset, list_clusterings
from scoring.clustering.embedders import has_packaged_weights, load_embedder
from scoring.database.build.build import build_database
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info
from scoring.demo.digits import write_digit_images
from scoring.engine.baselines import BaselineSettings
from scoring.engine.options import ScoreOptions
from scoring.errors import WorkspaceError
from scoring.runs.progress import RunProgress, read_progress
from scoring.runs.record import list_runs
from scoring.subsets.definitions import definition_from_dict, list_subsets, save_subset
from scoring.trials.plan import trial_folder
from scoring.workspace import Workspace, create_workspace, open_workspace, save_settings

DEMO_RUN = "demo"
DEMO_CLUSTERS = 8
DEMO_TRIAL = "demo"
DEMO_BASELINES = ("none", "gray")  # two, to have something to compare
_IMAGES = "demo-images"

OnProgress = Callable[[RunProgress], None] | None
OnMessage = Callable[[str], None]


def build_demo(
    root: Path,
    *,
    on_message: OnMessage = lambda _: None,
    on_progress: OnProgress = None,
    stop: threading.Event | None = None,
    with_trial: bool = True,
) -> Workspace:
    """Build the demo workspace at ``root``, or finish an unfinished one."""
    workspace = create_workspace(root)
    data = bundled_folder("demo")
    records, images = data / "records.json", workspace.root / _IMAGES
    if not workspace.dataset_dir.exists():
        on_message("Rendering the handwritten digits")
        write_digit_images(images, data)
        on_message("Importing the demo dataset")
        import_dataset(workspace, [records], [data / "images", images])
        workspace = open_workspace(root)
        settings = replace(workspace.settings, notice=MODEL_NOTICE)
        save_settings(replace(workspace, settings=settings))
    digest = hashlib.sha256(records.read_bytes()).hexdigest()
    if [file.sha256 for file in read_dataset_info(workspace).files] != [digest]:
        raise WorkspaceError(
            f"{workspace.root} was not built from the demo data of this version. Remove the folder "
            "or name another one with -w."
        )
    workspace = open_workspace(root)
    is_scored = any(run.run_id == DEMO_RUN for run in list_runs(workspace))
    progress = read_progress(workspace, DEMO_RUN) if is_scored else None
    finished = progress and progress.state == "finished" and progress.phase.startswith("predict")
    if not (finished and workspace.database.exists()):
        _score_demo(workspace, on_message, on_progress, stop)
    if not (stop and stop.is_set()) and not list_clusterings(workspace):
        on_message("Clustering the instructions")
        embedder = load_embedder(PACKAGED if has_packaged_weights() else TFIDF)
        cluster_dataset(workspace, embedder, k=DEMO_CLUSTERS)
        build_database(workspace)
    is_stopped = stop is not None and stop.is_set()
    if with_trial and not is_stopped and not trial_folder(workspace, DEMO_TRIAL).exists():
        _add_trial(workspace)
    return workspace


def _add_trial(workspace: Workspace) -> None:
    """Save the subsets of the bundled trial, and copy its plan, its arms and its results."""
    bundled = bundled_folder("demo") / "trial"
    saved = {subset.name for subset in list_subsets(workspace)}
    for arm in json.loads((bundled / "plan.json").read_text("utf-8"))["arms"]:
        if arm["definition"] and arm["name"] not in saved:
            save_subset(workspace, definition_from_dict(arm["definition"]))
    temporary = workspace.root / f".trial.{uuid.uuid4().hex[:8]}.tmp"
    try:
        shutil.copytree(bundled, temporary)
        workspace.trials_dir.mkdir(exist_ok=True)
        temporary.rename(trial_folder(workspace, DEMO_TRIAL))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _score_demo(
    workspace: Workspace,
    on_message: OnMessage,
    on_progress: OnProgress,
    stop: threading.Event | None,
) -> None:
    on_message("Loading the demonstration model")
    import torch

    from scoring.engine.pipeline import predict_dataset, score_dataset
    from scoring.models import load_model

    model = load_model(BUNDLED_MODEL, device="cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a model this small loses time to more on a busy machine
    try:
        on_message("Scoring each sample with and without its image")
        options = ScoreOptions(DEMO_RUN, BaselineSettings(DEMO_BASELINES), tokens=True)
        score_dataset(workspace, model, options, on_progress=on_progress, stop=stop)
        if stop and stop.is_set():
            return
        on_message("Predicting answers with and without the image")
        predict_dataset(
            workspace, model, DEMO_RUN, max_new_tokens=16, on_progress=on_progress, stop=stop
        )
    finally:
        torch.set_num_threads(threads)
