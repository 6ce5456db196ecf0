"""The tables of ``visnec.duckdb``, for this program and for any DuckDB client.

The file is derived from the parts of a workspace and may be deleted at any time; ``derive`` fills
the tables. ``scores`` has a row for every sample of each run and baseline, sorted by score, so that
thresholds, histograms and top lists read one narrow range of it. A missing score is NULL, never
NaN. Losses and scores are in nats per answer token.
"""

from __future__ import annotations

from scoring.rules.candidates import ANSWER_KINDS as ANSWER_KINDS

DATABASE_VERSION = 2

TABLES = {
    "build_info": """
        database_version INTEGER,
        built_at VARCHAR,                 -- ISO 8601, UTC
        workspace_id VARCHAR,
        dataset_fingerprint VARCHAR,
        n_samples BIGINT
    """,
    "parts": """
        path VARCHAR,                     -- inside the workspace, with /
        kind VARCHAR                      -- dataset | digests | scores | predictions | ...
    """,
    "samples": """
        row_idx BIGINT,                   -- 0-based position in the dataset: the identity
        id VARCHAR,
        source VARCHAR,
        images VARCHAR[],
        n_images INTEGER,
        n_turns INTEGER,                  -- answers in the conversation
        question VARCHAR,                 -- first human turn, without placeholder
        answer VARCHAR,                   -- first reference answer
        answer_kind VARCHAR,              -- yes/no | choice | number | word | phrase | text | none
        answer_length INTEGER,            -- characters of the first reference answer
        status VARCHAR,                   -- pending, or why the record cannot be scored
        reason VARCHAR
    """,
    "sources": """
        source_no INTEGER,                -- 0-based, ascending by name
        source VARCHAR
    """,
    "conversations": """
        row_idx BIGINT,                   -- only samples with more than one question and answer
        text VARCHAR                      -- all turns, one after another
    """,
    "sample_images": """
        image_key UBIGINT,                -- equal for images with equal content, where it is known
        row_idx BIGINT
    """,
    "image_copies": """
        path_key UBIGINT,                 -- md5_number_lower of an image path; without a row here,
        image_key UBIGINT                 -- it is the image_key too: no earlier copy is known
    """,
    "runs": """
        run_id VARCHAR,
        baseline VARCHAR,                 -- one row per run and blind baseline
        model VARCHAR,
        created_at VARCHAR,
        model_fingerprint VARCHAR,
        model_family VARCHAR,
        dataset_fingerprint VARCHAR,
        template VARCHAR,
        dtype VARCHAR,
        device VARCHAR,
        score_eos BOOLEAN,
        max_length INTEGER,
        truncate BOOLEAN,
        notice VARCHAR,
        versions VARCHAR,                 -- JSON
        position INTEGER,                 -- of the baseline within the run
        n_samples BIGINT,
        n_scored BIGINT,
        min_visnec DOUBLE,
        low_visnec DOUBLE,                -- 0.5 % of the scores are below it: start of axes
        high_visnec DOUBLE,               -- 99.5 % of the scores are below it: end of axes
        max_visnec DOUBLE,
        high_loss DOUBLE                  -- 99.5 % of either loss are below it
    """,
    "scores": """
        run_id VARCHAR,
        baseline VARCHAR,
        row_idx BIGINT,
        status VARCHAR,
        reason VARCHAR,
        visnec DOUBLE,                    -- loss_text - loss_multimodal
        loss_text DOUBLE,
        loss_multimodal DOUBLE,
        n_answer_tokens INTEGER,          -- NULL for imported scores
        visnec_stderr DOUBLE,             -- deprecated: NULL except for parts of earlier versions
        truncated BOOLEAN,
        source VARCHAR,                   -- as in samples, to save a join
        source_no INTEGER,                -- as in sources
        answer_kind VARCHAR,
        kind_no UTINYINT,                 -- 0-based index of answer_kind in the list above
        answer_length INTEGER,
        n_turns INTEGER,
        cluster_id INTEGER,               -- in the clustering that is marked in_scores
        end_loss_text_sum DOUBLE,         -- over the end-of-turn tokens among the answer tokens;
        end_loss_multimodal_sum DOUBLE,   -- NULL where the part has no segments
        n_end_tokens INTEGER,
        thought_loss_text_sum DOUBLE,     -- over the tokens of thoughts before the answer
        thought_loss_multimodal_sum DOUBLE,
        n_thought_tokens INTEGER,
        visnec_without_end DOUBLE         -- visnec without the end-of-turn tokens
    """,
    "edited_scores": """
        run_id VARCHAR,                   -- of a run of edits, which is in no other table
        baseline VARCHAR,
        row_idx BIGINT,
        event_id VARCHAR,                 -- the edit that was scored
        status VARCHAR,
        reason VARCHAR,
        visnec DOUBLE,                    -- of the edited record, as in scores
        loss_text DOUBLE,
        loss_multimodal DOUBLE,
        n_answer_tokens INTEGER
    """,
    "baseline_spans": """
        run_id VARCHAR,                   -- only samples with scores for several baselines
        row_idx BIGINT,
        lowest_visnec DOUBLE,             -- over the baselines of the run
        highest_visnec DOUBLE
    """,
    "turn_scores": """
        run_id VARCHAR,
        baseline VARCHAR,
        row_idx BIGINT,
        turn INTEGER,                     -- 0-based position among the answers
        visnec DOUBLE,
        loss_text DOUBLE,
        loss_multimodal DOUBLE,
        n_answer_tokens INTEGER
    """,
    "image_losses": """
        run_id VARCHAR,                   -- samples with several images, after --leave-one-out
        row_idx BIGINT,
        image INTEGER,                    -- 0-based position among the sample's images
        visnec DOUBLE,                    -- loss_without - loss_multimodal
        loss_without DOUBLE,              -- with the other images
        loss_multimodal DOUBLE,           -- with all images
        n_answer_tokens INTEGER,
        reason VARCHAR                    -- why there are no losses
    """,
    "predictions": """
        run_id VARCHAR,
        row_idx BIGINT,
        prediction_text VARCHAR,          -- of the first answer, without the image
        prediction_multimodal VARCHAR,    -- with it
        exact_text BOOLEAN,               -- equals the reference answer after normalisation
        letter_text BOOLEAN,              -- chooses its option; NULL without options
        f1_text DOUBLE,                   -- token F1 with it, 0 to 1
        exact_multimodal BOOLEAN,
        letter_multimodal BOOLEAN,
        f1_multimodal DOUBLE,
        reason VARCHAR,                   -- why a prediction is missing
        max_new_tokens INTEGER,           -- length limit of the predictions
        matched_by SMALLINT,              -- version of the measures
        rotations SMALLINT,               -- orders of its options that were tried, NULL for one
        rotated_right_text SMALLINT,      -- orders in which the answer was right
        rotated_right_multimodal SMALLINT,
        thoughts_unfinished SMALLINT      -- predictions of the two that end inside a thought
    """,
    "turn_predictions": """
        run_id VARCHAR,
        row_idx BIGINT,
        turn INTEGER,                     -- 0-based position among the answers, from 1: the first
        question VARCHAR,                 -- answer is in predictions; the turn before it
        answer VARCHAR,                   -- reference answer of the turn
        prediction_text VARCHAR,          -- and so on, as in predictions
        prediction_multimodal VARCHAR,
        exact_text BOOLEAN,
        letter_text BOOLEAN,
        f1_text DOUBLE,
        exact_multimodal BOOLEAN,
        letter_multimodal BOOLEAN,
        f1_multimodal DOUBLE,
        reason VARCHAR,
        max_new_tokens INTEGER,
        matched_by SMALLINT,
        rotations SMALLINT,
        rotated_right_text SMALLINT,
        rotated_right_multimodal SMALLINT,
        thoughts_unfinished SMALLINT
    """,
    "clusterings": """
        clustering_id VARCHAR,
        embedder VARCHAR,
        k INTEGER,
        seed BIGINT,
        created_at VARCHAR,
        in_scores BOOLEAN                 -- whether scores.cluster_id comes from it: the newest
    """,
    "cluster_names": """
        clustering_id VARCHAR,
        cluster_id INTEGER,
        name VARCHAR
    """,
    "clusters": """
        clustering_id VARCHAR,
        row_idx BIGINT,
        cluster_id INTEGER,
        distance FLOAT                    -- to the cluster's centre
    """,
    "imported_predictions": """
        model VARCHAR,                    -- predictions of runs are in ``predictions``
        sight VARCHAR,                    -- seen | blind | text_model: with the image, without
        row_idx BIGINT,                   -- it, or by the text-only model it is built on
        prediction VARCHAR,
        exact BOOLEAN,                    -- as in predictions
        letter BOOLEAN,
        f1 DOUBLE
    """,
    "imported_turn_predictions": """
        model VARCHAR,
        sight VARCHAR,
        row_idx BIGINT,
        turn INTEGER,                     -- 0-based position among the answers, from 1: the first
        question VARCHAR,                 -- answer is in imported_predictions; the turn before it
        answer VARCHAR,                   -- reference answer of the turn
        prediction VARCHAR,               -- and so on, as in imported_predictions
        exact BOOLEAN,
        letter BOOLEAN,
        f1 DOUBLE,
        matched_by SMALLINT               -- version of the measures
    """,
    "columns": """
        name VARCHAR,
        type VARCHAR,                     -- integer | number | text | boolean
        per VARCHAR,                      -- sample | turn
        n_values BIGINT,                  -- samples with a value
        file VARCHAR,                     -- where the values come from
        imported_at VARCHAR
    """,
    "column_values": """
        name VARCHAR,                     -- sorted by it, then by row_idx and turn
        row_idx BIGINT,
        turn INTEGER,                     -- 0-based position among the answers; NULL per sample
        number DOUBLE,                    -- of integers and numbers
        text VARCHAR,
        flag BOOLEAN                      -- of booleans
    """,
    "decisions": """
        row_idx BIGINT,
        reviewer VARCHAR,
        decision VARCHAR,                 -- keep | drop | unsure, NULL for a note only
        note VARCHAR,
        decided_at VARCHAR,
        event_id VARCHAR,
        queue VARCHAR,                    -- the queue that showed the sample
        sampling_probability DOUBLE,      -- of being shown in that queue, NULL if unknown
        draw VARCHAR,                     -- what it was drawn from, NULL if not drawn
        drawn_at VARCHAR,                 -- time of the first decision after a draw
        first_decided_at VARCHAR          -- time of the first decision
    """,
}
"""Table to its columns. ``decisions`` is as old as the build; pages read the live logs instead."""

LATER_TABLES = (
    *("image_copies", "imported_predictions", "columns", "column_values"),
    *("turn_predictions", "image_losses", "edited_scores", "imported_turn_predictions"),
)
LATER_COLUMNS = {
    "predictions": dict.fromkeys(
        ("rotations", "rotated_right_text", "rotated_right_multimodal", "thoughts_unfinished"),
        "SMALLINT",
    ),
    "scores": {
        **dict.fromkeys(("end_loss_text_sum", "end_loss_multimodal_sum"), "DOUBLE"),
        **dict.fromkeys(("thought_loss_text_sum", "thought_loss_multimodal_sum"), "DOUBLE"),
        **dict.fromkeys(("n_end_tokens", "n_thought_tokens"), "INTEGER"),
        "visnec_without_end": "DOUBLE",
    },
}
"""Tables and columns (name to type) that were added without a new ``DATABASE_VERSION``: a database
built earlier lacks them."""

# The index of a score's category in ``necessity.CATEGORIES``; NULL without a score.
CREATE_CATEGORY_CODE = """
    CREATE MACRO category_code(visnec, low, high) AS
        CASE WHEN visnec < low THEN 0 WHEN visnec < high THEN 1 WHEN visnec >= high THEN 2 END
"""
