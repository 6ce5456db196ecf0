"""Columns of the Parquet parts in a workspace: the truth that the database is built from.

Means and scores are left out of the parts on purpose where sums and counts give them: the
database derives them in one place.
"""

from __future__ import annotations

import pyarrow as pa

TURN = pa.struct(
    [
        ("role", pa.string()),  # system | human | assistant
        ("text", pa.string()),  # without image placeholders
        ("image_offsets", pa.list_(pa.int32())),  # character positions in text where images stand
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
        ("status", pa.string()),  # pending, or why the record alone rules a score out
        ("reason", pa.string()),
        ("original", pa.binary()),  # exact bytes of a JSON record; null for other files
        ("origin", pa.string()),  # else: the file and the place in it; of a member its key
    ]
)
"""``dataset/part-*.parquet``: one row per record, ascending by row_idx over all parts."""

PLAN = pa.schema(
    [
        DATASET.field(name)
        for name in ("row_idx", "id", "source", "images", "turns", "status", "reason")
    ]
    + [pa.field("leader", pa.int64())]
)
"""``dataset/plan/part-*.parquet``: what scoring needs of the records, in the order of runs.

``leader`` is the first row that shares the row's first image, or the row itself.
"""

TURN_SCORE = pa.struct(
    [
        ("turn", pa.int32()),  # 0-based position among the answers
        ("loss_text_sum", pa.float64()),  # nats, summed over the answer tokens of the turn
        ("loss_multimodal_sum", pa.float64()),
        ("n_answer_tokens", pa.int32()),
        # Of these tokens, those that end the turn, and those of a thought before the content.
        # Null where the model does not know them; parts of earlier versions lack all six.
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
        ("text_altered", pa.bool_()),  # control tokens in the text were read as text
        ("thoughts_dropped", pa.int16()),  # answers of which the template keeps no thought
        # Where the run keeps token values, one entry per answer token; null otherwise.
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
        ("loss_text", pa.float64()),  # means: how many tokens they are over, nobody told
        ("loss_multimodal", pa.float64()),
        ("visnec", pa.float64()),
    ]
)
"""``runs/<run_id>/scores/part-*.parquet`` of a run that was imported."""

PREDICTIONS = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("prediction_text", pa.string()),  # answer to the first human turn without the image
        ("prediction_multimodal", pa.string()),  # and with it
        ("reason", pa.string()),  # why a prediction is missing
        ("max_new_tokens", pa.int32()),  # length limit they were made under
        ("exact_text", pa.bool_()),  # of prediction_text: equal to the reference, normalised
        ("letter_text", pa.bool_()),  # the same option; null where the reference is no choice
        ("f1_text", pa.float64()),  # token F1 with the reference
        ("exact_multimodal", pa.bool_()),
        ("letter_multimodal", pa.bool_()),
        ("f1_multimodal", pa.float64()),
        ("matched_by", pa.int16()),  # answers.VERSION of these six; others are derived anew
        ("thoughts_unfinished", pa.int16()),  # of the two, predictions that end inside a thought
        ("rotations", pa.int16()),  # orders of the options it was asked in; null: not rotated
        ("rotated_right_text", pa.int16()),  # orders in which the text-only answer is right
        ("rotated_right_multimodal", pa.int16()),
    ]
)
"""``runs/<run_id>/predictions/part-*.parquet``; ``predictions.json`` beside holds the settings."""

CLUSTERS = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("cluster_id", pa.int32()),
        ("distance", pa.float32()),  # to the cluster's centre
    ]
)
"""``clusters/<clustering_id>/clusters.parquet``; ``clustering.json`` beside it holds the names."""

EVALUATION = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("prediction", pa.string()),
        ("exact", pa.bool_()),  # equal to the reference, normalised
        ("letter", pa.bool_()),  # the same option; null where the reference is no choice
        ("f1", pa.float64()),  # token F1 with the reference
        ("matched_by", pa.int16()),  # answers.VERSION of these three; others are derived anew
    ]
)
"""``evaluations/<name>/predictions.parquet``; ``evaluation.json`` beside it says whose."""
