"""Every question that pages and commands ask the database, under one name.

Each is a plain function of the store, a scope and mostly a filter, and returns a frame or a frozen
value. Categories are those of ``bands``, by default the workspace's.
"""

from __future__ import annotations

from scoring.database.queries.browse import candidates, matching_rows, page, read_rows
from scoring.database.queries.compare import compare_scopes, flip_filter, other_name
from scoring.database.queries.detail import (
    sample_detail,
    sample_details,
    token_scores,
    token_scores_of,
)
from scoring.database.queries.evaluation import evaluate_predictions
from scoring.database.queries.health import score_health
from scoring.database.queries.overview import (
    cluster_names,
    clusterings,
    dataset_counts,
    histogram,
    histogram_edges,
    loss_plane,
    prediction_counts,
    sample_count,
    scopes,
    score_noise,
    score_summary,
    status_counts,
    status_reasons,
)
from scoring.database.queries.prediction_verdicts import imported_answers, read_models
from scoring.database.queries.review_labels import read_hand_labels
from scoring.database.queries.review_queues import queue_rows, review_queue
from scoring.database.queries.search import check_filter, first_hits, is_large, is_searched
from scoring.database.score_index.group_histograms import group_histograms, turn_histograms
from scoring.database.score_index.groups import (
    by_answer_kind,
    by_answer_length,
    by_cluster,
    by_source,
    by_turn,
    verdict_counts,
)
from scoring.database.score_index.thresholds import (
    count_near,
    cut_counts,
    ecdf,
    threshold_for_count,
    threshold_for_share,
    threshold_for_tokens,
)

__all__ = [
    "by_answer_kind",
    "by_answer_length",
    "by_cluster",
    "by_source",
    "by_turn",
    "candidates",
    "check_filter",
    "cluster_names",
    "clusterings",
    "compare_scopes",
    "count_near",
    "cut_counts",
    "dataset_counts",
    "ecdf",
    "evaluate_predictions",
    "first_hits",
    "flip_filter",
    "group_histograms",
    "histogram",
    "histogram_edges",
    "imported_answers",
    "is_large",
    "is_searched",
    "loss_plane",
    "matching_rows",
    "other_name",
    "page",
    "prediction_counts",
    "queue_rows",
    "read_hand_labels",
    "read_models",
    "read_rows",
    "review_queue",
    "sample_count",
    "sample_detail",
    "sample_details",
    "scopes",
    "score_health",
    "score_noise",
    "score_summary",
    "status_counts",
    "status_reasons",
    "threshold_for_count",
    "threshold_for_share",
    "threshold_for_tokens",
    "token_scores",
    "token_scores_of",
    "turn_histograms",
    "verdict_counts",
]
