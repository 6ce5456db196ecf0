"""The statements that fill the tables of ``visnec.duckdb`` from the parts.

What queries group by (source, kind of answer, cluster) is stored with each score, so that queries
about scores need no join.
"""

from __future__ import annotations

from scoring.database.answer_kinds import ANSWER_KIND

INSERT_SAMPLES = f"""
    INSERT INTO samples BY NAME
    SELECT
        row_idx, id, coalesce(source, '') AS source, images, n_images, n_turns, question, answer,
        status, reason, length(coalesce(answer, ''))::INTEGER AS answer_length,
        {ANSWER_KIND} AS answer_kind
    FROM read_parquet($files, hive_partitioning = false)
"""

INSERT_SOURCES = """
    INSERT INTO sources BY NAME
    SELECT (row_number() OVER (ORDER BY source) - 1)::INTEGER AS source_no, source
    FROM (SELECT DISTINCT source FROM samples)
    ORDER BY source_no
"""

# ``samples`` has the first question and answer; searching all turns needs the rest.
INSERT_CONVERSATIONS = """
    INSERT INTO conversations BY NAME
    SELECT row_idx, array_to_string([turn.text FOR turn IN turns], chr(10)) AS text
    FROM read_parquet($files, hive_partitioning = false) WHERE len(turns) > 2
"""

# Images with the content of an earlier one by name. Where two parts have a reference, the one whose
# name sorts last counts.
IMAGE_COPIES = """
    WITH latest AS (
        SELECT reference, arg_max((digest, n_bytes), filename) AS content
        FROM read_parquet($files, hive_partitioning = false, filename = true)
        GROUP BY reference
    ),
    firsts AS (
        SELECT content, min(reference) AS reference
        FROM latest GROUP BY content HAVING count(*) > 1
    )
    SELECT latest.reference, firsts.reference AS copy_of
    FROM latest JOIN firsts USING (content)
    WHERE latest.reference <> firsts.reference
"""
INSERT_IMAGE_COPIES = f"""
    INSERT INTO image_copies BY NAME
    SELECT md5_number_lower(reference) AS path_key, md5_number_lower(copy_of) AS image_key
    FROM ({IMAGE_COPIES})
    ORDER BY path_key
"""

INSERT_SAMPLE_IMAGES = """
    INSERT INTO sample_images BY NAME
    SELECT DISTINCT coalesce(c.image_key, i.path_key) AS image_key, i.row_idx
    FROM (
        SELECT md5_number_lower(image) AS path_key, row_idx
        FROM (SELECT unnest(images) AS image, row_idx FROM samples)
    ) i
    LEFT JOIN image_copies c USING (path_key)
    ORDER BY image_key, row_idx
"""

HAS_REPEATED_SCORES = """
    SELECT count(*) <> count(DISTINCT (row_idx, baseline))
    FROM read_parquet($files, hive_partitioning = false)
"""

UNKNOWN_STATUSES = """
    SELECT DISTINCT status FROM scores
    WHERE run_id = $run_id AND NOT contains($known, status) ORDER BY status
"""

PART_BASELINES = """
    SELECT DISTINCT baseline FROM read_parquet($files, hive_partitioning = false) ORDER BY baseline
"""

# Stays empty for a run in progress that has no finished part yet.
CREATE_PART_SCORES = """
    CREATE OR REPLACE TEMP TABLE part_scores (
        row_idx BIGINT, status VARCHAR, reason VARCHAR, truncated BOOLEAN, text_sum DOUBLE,
        multimodal_sum DOUBLE, delta_sq_sum DOUBLE, n_tokens BIGINT, end_loss_text_sum DOUBLE,
        end_loss_multimodal_sum DOUBLE, n_end_tokens BIGINT, thought_loss_text_sum DOUBLE,
        thought_loss_multimodal_sum DOUBLE, n_thought_tokens BIGINT, given_text DOUBLE,
        given_multimodal DOUBLE, given_visnec DOUBLE
    )
"""

# Parts of earlier versions have delta_sq_sum and lack the sums of segments; the cast makes missing
# fields NULL.
PART_SCORES = """
    INSERT INTO part_scores BY NAME
    WITH rows AS (
        SELECT
            row_idx, status, reason, truncated, filename, file_row_number,
            turns::STRUCT(
                loss_text_sum DOUBLE, loss_multimodal_sum DOUBLE, n_answer_tokens INTEGER,
                delta_sq_sum DOUBLE, end_loss_text_sum DOUBLE, end_loss_multimodal_sum DOUBLE,
                n_end_tokens INTEGER, thought_loss_text_sum DOUBLE,
                thought_loss_multimodal_sum DOUBLE, n_thought_tokens INTEGER
            )[] AS turns
        FROM read_parquet(
            $files, hive_partitioning = false, union_by_name = true, filename = true,
            file_row_number = true
        )
        WHERE baseline = $baseline
    )
    SELECT
        row_idx, status, reason, truncated,
        list_sum([turn.loss_text_sum FOR turn IN turns]) AS text_sum,
        list_sum([turn.loss_multimodal_sum FOR turn IN turns]) AS multimodal_sum,
        list_sum([turn.delta_sq_sum FOR turn IN turns]) AS delta_sq_sum,
        list_sum([turn.n_answer_tokens FOR turn IN turns]) AS n_tokens,
        list_sum([turn.end_loss_text_sum FOR turn IN turns]) AS end_loss_text_sum,
        list_sum([turn.end_loss_multimodal_sum FOR turn IN turns]) AS end_loss_multimodal_sum,
        list_sum([turn.n_end_tokens FOR turn IN turns]) AS n_end_tokens,
        list_sum([turn.thought_loss_text_sum FOR turn IN turns]) AS thought_loss_text_sum,
        list_sum([turn.thought_loss_multimodal_sum FOR turn IN turns])
            AS thought_loss_multimodal_sum,
        list_sum([turn.n_thought_tokens FOR turn IN turns]) AS n_thought_tokens
    FROM rows
    {first_part_wins}
"""

HAS_TURNS = "SELECT count(*) > 0 FROM parquet_schema($file) WHERE name = 'turns'"

# Imported scores are means already, over an unknown number of tokens.
PART_IMPORTED_SCORES = """
    INSERT INTO part_scores BY NAME
    SELECT
        row_idx, status, reason, loss_text AS given_text, loss_multimodal AS given_multimodal,
        visnec AS given_visnec
    FROM read_parquet($files, hive_partitioning = false, filename = true, file_row_number = true)
    WHERE baseline = $baseline
    {first_part_wins}
"""

# Goes into {first_part_wins} where a sample was scored twice: the first part by name wins.
FIRST_PART_WINS = """
    QUALIFY row_number() OVER (PARTITION BY row_idx ORDER BY filename, file_row_number) = 1
"""

# Without a part that has a sample, its record may already exclude a score. A scored row without
# usable numbers gets a status instead: no page may meet a score that is not a number.
INSERT_SCORES = r"""
    INSERT INTO scores BY NAME
    WITH means AS (
        SELECT
            * EXCLUDE (status, reason, n_tokens), status AS part_status, reason AS part_reason,
            n_tokens AS n_answer_tokens,
            coalesce(given_text, text_sum / n_tokens) AS loss_text,
            coalesce(given_multimodal, multimodal_sum / n_tokens) AS loss_multimodal,
            given_text IS NULL AND coalesce(n_tokens, 0) <= 0 AS no_token
        FROM part_scores
    ),
    judged AS (
        SELECT
            s.source, s.answer_kind, s.answer_length, s.n_turns, c.cluster_id,
            m.* EXCLUDE (row_idx), s.row_idx,
            CASE
                WHEN part_status IS NULL THEN s.status
                WHEN part_status <> 'scored' THEN part_status
                WHEN no_token THEN 'no_answer'
                WHEN isfinite(loss_text) AND isfinite(loss_multimodal) THEN 'scored'
                ELSE 'non_finite'
            END AS status,
            CASE
                WHEN part_status IS NULL THEN s.reason
                WHEN part_status <> 'scored' THEN part_reason
                WHEN no_token THEN 'the part has no answer tokens for it'
                WHEN isfinite(loss_text) AND isfinite(loss_multimodal) THEN part_reason
                ELSE 'a loss in the part is not a finite number'
            END AS reason
        FROM samples s LEFT JOIN means m USING (row_idx)
        LEFT JOIN (
            SELECT row_idx, cluster_id FROM clusters
            WHERE clustering_id = (SELECT clustering_id FROM clusterings WHERE in_scores)
        ) c USING (row_idx)
    ),
    scored AS (
        SELECT
            row_idx, status, reason, source, answer_kind, answer_length, n_turns, cluster_id,
            truncated, text_sum, multimodal_sum, delta_sq_sum, given_visnec,
            CASE
                WHEN status = 'scored'
                THEN COLUMNS('^(end_|thought_)?loss_|^n_(answer|end|thought)_tokens$')
            END AS '\0'
        FROM judged
    )
    SELECT
        $run_id AS run_id, $baseline AS baseline, source_no,
        scored.* EXCLUDE (truncated, text_sum, multimodal_sum, delta_sq_sum, given_visnec),
        CASE
            WHEN status = 'scored' THEN coalesce(given_visnec, loss_text - loss_multimodal)
        END AS visnec,
        CASE
            WHEN n_answer_tokens > 1 AND isfinite(delta_sq_sum)
            THEN sqrt(
                greatest(
                    delta_sq_sum - n_answer_tokens * (loss_text - loss_multimodal) ** 2, 0
                ) / (n_answer_tokens - 1) / n_answer_tokens
            )
        END AS visnec_stderr,
        CASE
            WHEN n_answer_tokens > n_end_tokens
            THEN (text_sum - end_loss_text_sum - (multimodal_sum - end_loss_multimodal_sum))
                / (n_answer_tokens - n_end_tokens)
        END AS visnec_without_end,
        coalesce(truncated, false) AS truncated,
        (list_position($kinds, answer_kind) - 1)::UTINYINT AS kind_no
    FROM scored JOIN sources USING (source)
    ORDER BY visnec NULLS LAST, row_idx
"""

# A run of edits is kept apart: nothing that reads ``scores`` may mix it with imported records.
INSERT_EDITED_SCORES = """
    INSERT INTO edited_scores BY NAME
    WITH means AS (
        SELECT
            *, text_sum / n_tokens AS loss_text, multimodal_sum / n_tokens AS loss_multimodal
        FROM part_scores
    ),
    judged AS (
        SELECT
            e.row_idx, e.event_id, m.reason, m.loss_text, m.loss_multimodal, m.n_tokens,
            CASE
                WHEN m.status = 'scored' AND NOT coalesce(
                    isfinite(m.loss_text) AND isfinite(m.loss_multimodal), false
                ) THEN 'non_finite'
                ELSE coalesce(m.status, 'pending')
            END AS status
        FROM pinned_edits e LEFT JOIN means m USING (row_idx)
    )
    SELECT
        $run_id AS run_id, $baseline AS baseline, row_idx, event_id, status, reason,
        CASE WHEN status = 'scored' THEN loss_text - loss_multimodal END AS visnec,
        CASE WHEN status = 'scored' THEN loss_text END AS loss_text,
        CASE WHEN status = 'scored' THEN loss_multimodal END AS loss_multimodal,
        CASE WHEN status = 'scored' THEN n_tokens END AS n_answer_tokens
    FROM judged
    ORDER BY row_idx
"""

INSERT_BASELINE_SPANS = """
    INSERT INTO baseline_spans BY NAME
    SELECT
        run_id, row_idx, min(visnec) AS lowest_visnec, max(visnec) AS highest_visnec
    FROM scores WHERE run_id = $run_id AND visnec IS NOT NULL
    GROUP BY run_id, row_idx HAVING count(*) > 1
    ORDER BY row_idx
"""

# Only samples that count as scored have turns; a repeated sample has one set of them.
HAS_REPEATED_IMAGES = """
    SELECT count(*) <> count(DISTINCT (row_idx, image))
    FROM read_parquet($files, hive_partitioning = false)
"""
IMAGE_OF_FIRST_PART = """
    QUALIFY row_number() OVER (PARTITION BY row_idx, image ORDER BY filename, file_row_number) = 1
"""
INSERT_IMAGE_LOSSES = """
    INSERT INTO image_losses BY NAME
    SELECT
        $run_id AS run_id, row_idx, image, n_answer_tokens, reason,
        (loss_without_sum - loss_multimodal_sum) / n_answer_tokens AS visnec,
        loss_without_sum / n_answer_tokens AS loss_without,
        loss_multimodal_sum / n_answer_tokens AS loss_multimodal
    FROM (
        FROM read_parquet(
            $files, hive_partitioning = false, filename = true, file_row_number = true
        )
        {first_part_wins}
    )
    WHERE row_idx IN (SELECT row_idx FROM samples)
    ORDER BY row_idx, image
"""

INSERT_TURN_SCORES = """
    INSERT INTO turn_scores BY NAME
    WITH rows AS (
        SELECT row_idx, turns
        FROM read_parquet(
            $files, hive_partitioning = false, filename = true, file_row_number = true
        )
        WHERE baseline = $baseline
        {first_part_wins}
    ),
    turns AS (SELECT row_idx, unnest(turns) AS turn FROM rows)
    SELECT
        $run_id AS run_id, $baseline AS baseline, row_idx, turn.turn AS turn,
        turn.loss_text_sum / turn.n_answer_tokens
            - turn.loss_multimodal_sum / turn.n_answer_tokens AS visnec,
        turn.loss_text_sum / turn.n_answer_tokens AS loss_text,
        turn.loss_multimodal_sum / turn.n_answer_tokens AS loss_multimodal,
        turn.n_answer_tokens AS n_answer_tokens
    FROM turns
    WHERE turn.n_answer_tokens > 0 AND row_idx IN (
        SELECT row_idx FROM scores
        WHERE run_id = $run_id AND baseline = $baseline AND status = 'scored'
    )
    ORDER BY row_idx, turn.turn
"""

# Only for runs with token values: these stay in the parts, and this table locates them.
CREATE_TOKEN_PARTS = """
    CREATE TABLE IF NOT EXISTS token_parts (run_id VARCHAR, row_idx BIGINT, part VARCHAR)
"""  # noqa: S105 - SQL, not a secret
INSERT_TOKEN_PARTS = """
    INSERT INTO token_parts BY NAME
    SELECT $run_id AS run_id, row_idx, min(parse_filename(filename)) AS part
    FROM read_parquet($files, hive_partitioning = false, filename = true)
    GROUP BY row_idx ORDER BY row_idx
"""  # noqa: S105 - SQL, not a secret

INSERT_CLUSTERS = """
    INSERT INTO clusters BY NAME
    SELECT $clustering_id AS clustering_id, row_idx, cluster_id, distance
    FROM read_parquet($files, hive_partitioning = false)
    WHERE row_idx IN (SELECT row_idx FROM samples)
    ORDER BY row_idx
"""

# Goes into {column} of the next two, by the type of the column.
VALUE_COLUMNS = {"integer": "number", "number": "number", "text": "text", "boolean": "flag"}
INSERT_SAMPLE_VALUES = """
    INSERT INTO column_values BY NAME
    SELECT $name AS name, row_idx, value AS {column}
    FROM read_parquet($files, hive_partitioning = false)
    WHERE row_idx IN (SELECT row_idx FROM samples)
    ORDER BY row_idx
"""
INSERT_TURN_VALUES = """
    INSERT INTO column_values BY NAME
    SELECT
        $name AS name, row_idx, (unnest(range(len(value))))::INTEGER AS turn,
        unnest(value) AS {column}
    FROM read_parquet($files, hive_partitioning = false)
    WHERE row_idx IN (SELECT row_idx FROM samples)
    ORDER BY row_idx, turn
"""

# Columns of ``runs`` that are attributes of a run's record.
RUN_COLUMNS = (
    *("model", "created_at", "model_fingerprint", "model_family", "dataset_fingerprint"),
    *("template", "dtype", "device", "score_eos", "max_length", "truncate", "notice"),
)
INSERT_RUN = """
    INSERT INTO runs BY NAME
    SELECT
        $run_id AS run_id, $baseline AS baseline, $model AS model, $created_at AS created_at,
        $model_fingerprint AS model_fingerprint, $model_family AS model_family,
        $dataset_fingerprint AS dataset_fingerprint, $template AS template, $dtype AS dtype,
        $device AS device, $score_eos AS score_eos, $max_length AS max_length,
        $truncate AS truncate, $notice AS notice, $versions AS versions, $position AS position,
        count(*) AS n_samples, count(visnec) AS n_scored, min(visnec) AS min_visnec,
        quantile_cont(visnec, 0.005) AS low_visnec, quantile_cont(visnec, 0.995) AS high_visnec,
        max(visnec) AS max_visnec,
        greatest(
            quantile_cont(loss_text, 0.995), quantile_cont(loss_multimodal, 0.995)
        ) AS high_loss
    FROM scores WHERE run_id = $run_id AND baseline = $baseline
"""
