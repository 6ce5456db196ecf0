"""Columns of the Parquet parts in a workspace, from which the database is built.

Parts store sums and counts; means and scores are derived from them in one place, the database.
"""

from __future__ import annotations

import pyarrow as pa

TURN = pa.struct(
    [
        ("role", pa.string()),  # system | human | assistant
        ("text", pa.string()),  # without image placeholders
        ("image_offsets", pa.list_(pa.int32())),  # character positions of the images in text
    ]
)

DATASET = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("images", pa.list_(pa.string())),
        ("n_images", pa.int32()),
        ("n_turns", pa.int32()),  # answers in the conversation
        ("question", pa.string()),  # first human turn
        ("answer", pa.string()),  # first assistant turn
        ("turns", pa.list_(TURN)),
        ("status", pa.string()),  # pending, or what in the record prevents a score
        ("reason", pa.string()),
        ("original", pa.binary()),  # exact bytes of a JSON record; null for other files
        ("origin", pa.string()),  # otherwise file and position; for an object member its key
    ]
)
"""``dataset/part-*.parquet``: one row per record, ascending by row_idx over all parts."""

_PLANNED = ("row_idx", "id", "source", "images", "turns", "status", "reason")
PLAN = pa.schema([*map(DATASET.field, _PLANNED), pa.field("leader", pa.int64())])
"""``dataset/plan/part-*.parquet``: the columns that scoring needs, in the order of runs.

``leader`` is the first row with the same first image, by path or by known content, or the row
itself.
"""

IMAGE_DIGESTS = pa.schema(
    [
        ("reference", pa.string()),
        ("digest", pa.binary(16)),  # of the encoded bytes: image_references.digest_content
        ("n_bytes", pa.int64()),  # number of these
        ("mtime_ns", pa.int64()),  # of a plain file when it was read; null inside containers
    ]
)
"""``dataset/image-digests/part-*.parquet``: a row per image reference whose content was read."""

IMAGE_HASHES = pa.schema(
    [("digest", pa.binary(16)), ("bits", pa.uint64()), ("colours", pa.binary(48))]
)
"""``dataset/image-digests/hashes-*.parquet``: perceptual hashes by content; null without one."""

TURN_SCORE = pa.struct(
    [
        ("turn", pa.int32()),  # 0-based position among the answers
        ("loss_text_sum", pa.float64()),  # nats, summed over the answer tokens of the turn
        ("loss_multimodal_sum", pa.float64()),
        ("n_answer_tokens", pa.int32()),
        # The subset of these tokens that end the turn, and the subset of a thought before the
        # content. Null if the model cannot separate them; older parts lack all six columns.
        ("end_loss_text_sum", pa.float64()),
        ("end_loss_multimodal_sum", pa.float64()),
        ("n_end_tokens", pa.int32()),
        ("thought_loss_text_sum", pa.float64()),
        ("thought_loss_multimodal_sum", pa.float64()),
        ("n_thought_tokens", pa.int32()),
    ]
)

SCORES = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("baseline", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("truncated", pa.bool_()),
        ("turns", pa.list_(TURN_SCORE)),  # empty unless status is scored
        ("text_altered", pa.bool_()),  # control tokens in the text were escaped
        ("thoughts_dropped", pa.int16()),  # answers whose thought the template drops
        # One entry per answer token if the run stores token values; null otherwise.
        ("token_turns", pa.list_(pa.int16())),  # the answer it belongs to
        ("token_texts", pa.list_(pa.string())),
        ("token_loss_text", pa.list_(pa.float32())),  # nats
        ("token_loss_multimodal", pa.list_(pa.float32())),
    ]
)
"""``runs/<run_id>/scores/part-*.parquet``: one row per sample and blind baseline."""

IMPORTED_SCORES = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("baseline", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("loss_text", pa.float64()),  # means over an unknown number of tokens
        ("loss_multimodal", pa.float64()),
        ("visnec", pa.float64()),
    ]
)
"""``runs/<run_id>/scores/part-*.parquet`` of an imported run."""

PREDICTIONS = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("prediction_text", pa.string()),  # of the first answer, without the image
        ("prediction_multimodal", pa.string()),  # and with it
        ("reason", pa.string()),  # why a prediction is missing
        ("max_new_tokens", pa.int32()),  # length limit of both predictions
        ("exact_text", pa.bool_()),  # prediction_text equals the reference after normalising
        ("letter_text", pa.bool_()),  # the same option; null if the reference is not an option
        ("f1_text", pa.float64()),  # token F1 with the reference
        ("exact_multimodal", pa.bool_()),
        ("letter_multimodal", pa.bool_()),
        ("f1_multimodal", pa.float64()),
        ("matched_by", pa.int16()),  # MATCH_VERSION of these six; other versions are recomputed
        ("thoughts_unfinished", pa.int16()),  # predictions (0-2) that end inside a thought
        ("rotations", pa.int16()),  # option orders that were asked; null: not rotated
        ("rotated_right_text", pa.int16()),  # orders with a correct text-only answer
        ("rotated_right_multimodal", pa.int16()),
    ]
)
"""``runs/<run_id>/predictions/part-*.parquet``: the first answer of each sample; settings are in
``predictions.json``."""

TURN_PREDICTIONS = pa.schema(
    [PREDICTIONS.field("row_idx"), ("turn", pa.int32()), *list(PREDICTIONS)[1:]]
)
"""``runs/<run_id>/turn_predictions/part-*.parquet``: a row per answer after the first. ``turn`` is
its 0-based position among the answers, from 1."""

IMAGE_LOSSES = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("image", pa.int32()),  # 0-based position among the sample's images
        ("loss_multimodal_sum", pa.float64()),  # nats, with all images
        ("loss_without_sum", pa.float64()),  # without this one
        ("n_answer_tokens", pa.int32()),  # that both are summed over
        ("reason", pa.string()),  # why there are no losses
    ]
)
"""``runs/<run_id>/image_losses/part-*.parquet``: a row per image of a sample with several."""

CLUSTERS = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("cluster_id", pa.int32()),
        ("distance", pa.float32()),  # to the cluster centre
    ]
)
"""``clusters/<clustering_id>/clusters.parquet``; names are in ``clustering.json``."""

EVALUATION = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("prediction", pa.string()),
        ("exact", pa.bool_()),  # equals the reference after normalising
        ("letter", pa.bool_()),  # the same option; null if the reference is not an option
        ("f1", pa.float64()),  # token F1 with the reference
        ("matched_by", pa.int16()),  # MATCH_VERSION of these; other versions are recomputed
        ("turn", pa.int32()),  # 0-based position among the answers; earlier versions wrote none
    ]
)
"""``evaluations/<name>/predictions.parquet``; the model is named in ``evaluation.json``."""
