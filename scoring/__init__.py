"""VisNec Studio's library: score, select, review and export by visual necessity.

The verbs of the ``visnec`` command as functions. Names are imported on first use: ``import
scoring`` is fast, and code that only reads a workspace never loads torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("visnec-studio")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0.0.0"

_HOMES = {
    "create_workspace": "scoring.workspace",
    "open_workspace": "scoring.workspace",
    "import_dataset": "scoring.exchange.record_columns",
    "ReadOptions": "scoring.readers.options",
    "relocate_images": "scoring.dataset.relocation",
    "index_images": "scoring.dataset.image_index",
    "load_model": "scoring.models",
    "ModelOptions": "scoring.models.options",
    "score_dataset": "scoring.engine.pipeline",
    "predict_dataset": "scoring.engine.pipeline",
    "ScoreOptions": "scoring.engine.options",
    "cluster_dataset": "scoring.clustering.clusters",
    "build_database": "scoring.database.build.build",
    "sweep_clusterings": "scoring.clustering.clusters",
    "make_map": "scoring.maps.make",
    "load_embedder": "scoring.clustering.embedders",
    "create_subsets": "scoring.subsets.create",
    "SelectOptions": "scoring.subsets.create",
    "select": "scoring.subsets.selection",
    "rule_from_dict": "scoring.rules",
    "ablation_arms": "scoring.rules",
    "save_subset": "scoring.subsets.definitions",
    "read_outcome": "scoring.subsets.definitions",
    "compare_subsets": "scoring.subsets.comparison",
    "inclusion_probabilities": "scoring.subsets.stability",
    "repeat_counts": "scoring.subsets.selection",
    "SubsetDefinition": "scoring.subsets.definitions",
    "save_edit": "scoring.exports.editing",
    "undo_edit": "scoring.exports.editing",
    "read_edits": "scoring.reviews.decisions",
    "pin_edits": "scoring.reviews.pinned_edits",
    "parse_operation": "scoring.reviews.edits",
    "export_subset": "scoring.exports.export",
    "ExportOptions": "scoring.exports.options",
    "verify_manifest": "scoring.exports.verify",
    "TrainingCollator": "scoring.training.collator",
    "collate_training": "scoring.training.collator",
    "WorkspaceSamples": "scoring.training.samples",
    "weighted_sampler": "scoring.training.weights",
    "repeat_rows": "scoring.training.weights",
    "plan_trial": "scoring.trials.planning",
    "PlanOptions": "scoring.trials.options",
    "run_trial": "scoring.trials.run",
    "record_results": "scoring.trials.recording",
    "RecordOptions": "scoring.trials.options",
    "trial_report": "scoring.trials.report",
    "push": "scoring.exports.push",
    "PushTarget": "scoring.hub.upload",
    "import_scores": "scoring.exchange.imported_scores",
    "import_columns": "scoring.exchange.imported_columns",
    "find_duplicates": "scoring.duplicates.find",
    "ImageModel": "scoring.clustering.image_embedder",
    "check_leakage": "scoring.duplicates.leakage",
    "VectorLeaks": "scoring.duplicates.vector_files",
    "disagreements": "scoring.database.queries.column_values",
    "suspects": "scoring.database.queries.suspects",
    "suspect_precision": "scoring.database.queries.suspects",
    "export_scores": "scoring.exchange.score_export",
    "compare_runs": "scoring.database.queries.run_trend",
    "load_prompt_encoder": "scoring.models",
    "export_prompts": "scoring.exchange.prompt_export",
    "import_losses": "scoring.exchange.loss_import",
    "import_predictions": "scoring.predictions.imported",
    "EvaluationOptions": "scoring.evaluation.evaluate",
    "evaluate_predictions": "scoring.database.queries.evaluation",
    "evaluate": "scoring.database.queries.evaluation:evaluate_predictions",
    "Store": "scoring.database.connection",
    "Scope": "scoring.database.values",
    "read_status": "scoring.workspace_summary",
    "build_demo": "scoring.demo.build",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'scoring' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)
