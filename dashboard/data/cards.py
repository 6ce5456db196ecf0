"""A sample as a card: everything the sample view and the review deck show, as plain JSON values.

Pure functions. Texts stay plain texts: the components set them as ``textContent``, so a card may
contain anything that a dataset contains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard.text import formatting
from dashboard.text.word_differences import Piece, word_differences
from dashboard.view.links import image_url, thumbnail_url
from scoring.database.values import Record, SampleDetail
from scoring.image_references import image_path
from scoring.necessity import Bands
from scoring.precision import Noise
from scoring.samples import Role, Sample, Turn

Card = dict[str, Any]

MAX_TURN_CHARACTERS = 20_000
MAX_NEIGHBOURS = 24
MAX_OTHER_SCORES = 8
_ROLE_NAMES = {Role.HUMAN: "human", Role.ASSISTANT: "assistant", Role.SYSTEM: "system"}


def build_card(
    sample: Sample,
    detail: SampleDetail,
    baseline: str,
    bands: Bands,
    edition: str,
    tokens: pd.DataFrame | None = None,
    noise: Noise | None = None,
) -> Card:
    """Return the card of one sample.

    Its score is the one by ``baseline``; others are listed. ``edition`` identifies the dataset in
    links, ``tokens`` are the losses of the answer tokens, ``noise`` is that of the run's dtype.
    """
    row = next((row for row in detail.scores if row["baseline"] == baseline), {})
    score = _score(row, bands)
    visnec = score["visnec"]
    others = _other_scores(detail, baseline, bands)
    agreeing = [other for other in others if other["category"] == score["category"]]
    turn_scores = {
        int(turn["turn"]): turn for turn in detail.turn_scores if turn["baseline"] == baseline
    }
    return {
        "row_idx": sample.row_idx,
        "id": sample.id,
        "source": sample.source,
        "cluster": detail.cluster,
        "cluster_id": detail.cluster_id,
        "status": detail.status,
        "status_name": formatting.status_name(detail.status),
        "reason": detail.reason,
        **score,
        "truncated": bool(row.get("truncated") or False),
        **_segments(row),
        "noise": str(noise) if noise else None,
        "nearest": None if visnec is None else _nearest_limit(visnec, bands, noise),
        "baseline": formatting.BASELINE_NAMES.get(baseline, baseline),
        "other_scores": others[:MAX_OTHER_SCORES],
        "n_others": len(others),
        "n_agreeing": None if visnec is None else len(agreeing),
        "n_turns": sample.n_turns,
        "images": _images(sample, detail, edition),
        "turns": _messages(sample.turns, turn_scores, bands, _tokens_by_answer(tokens)),
        "answer": sample.answer,
        "predictions": _predictions_by_run(sample, detail),
        "decisions": [
            {name: _string(row[name]) for name in ("reviewer", "decision", "note", "decided_at")}
            for row in detail.decisions
        ],
        "neighbours": [
            _summary(row, bands, edition, 300, 300) for row in detail.neighbours[:MAX_NEIGHBOURS]
        ],
        "n_neighbours": detail.n_neighbours,
    }


def build_tile(row: Mapping[Any, Any], bands: Bands, edition: str) -> Card:
    """Return the gallery's tile for one row of a page."""
    tile = _summary(row, bands, edition, 240, 160)
    n_images = 0 if row["images"] is None else len(row["images"])
    thumbnail = tile["thumbnail"] if n_images else None
    return tile | {"status": row["status"], "n_images": n_images, "thumbnail": thumbnail}


def _summary(
    row: Mapping[Any, Any], bands: Bands, edition: str, question_length: int, answer_length: int
) -> Card:
    """Return a sample in a few lines, for a tile or the list of neighbours."""
    visnec = _number(row["visnec"])
    return {
        "row_idx": int(row["row_idx"]),
        "source": row["source"],
        "question": (_string(row["question"]) or "")[:question_length],
        "answer": (_string(row["answer"]) or "")[:answer_length],
        "visnec": visnec,
        "category": _category(visnec, bands),
        "status_name": formatting.status_name(str(row["status"])),
        "decision": _string(row["decision"]),
        "thumbnail": thumbnail_url(int(row["row_idx"]), edition),
    }


def _losses(row: Mapping[Any, Any]) -> dict[str, float | None]:
    return {name: _number(row.get(name)) for name in ("visnec", "loss_text", "loss_multimodal")}


def _score(row: Mapping[Any, Any], bands: Bands) -> dict[str, Any]:
    """Return the score of a sample or an answer with its category; None without a score."""
    losses = _losses(row)
    category = _category(losses["visnec"], bands)
    n_answer_tokens = _whole(row.get("n_answer_tokens"))
    return {**losses, "category": category, "n_answer_tokens": n_answer_tokens}


def _segments(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score without the end token, and those of thought and content if there is a
    thought; None if the run does not distinguish these tokens, or none is left."""
    names = ("n_answer_tokens", "n_end_tokens", "n_thought_tokens")
    n, n_end, n_thought = (_whole(row.get(name)) for name in names)
    n_content = thought = None
    if n is not None and n_end is not None and n_thought is not None:
        n_content = n - n_end - n_thought
    if n_thought and n_content is not None:
        gain = row["thought_loss_text_sum"] - row["thought_loss_multimodal_sum"]
        end = row["end_loss_text_sum"] - row["end_loss_multimodal_sum"]
        content = (row["visnec"] * n - gain - end) / n_content if n_content else None
        thought = {"n": n_thought, "visnec": gain / n_thought, "content": content}
    return {
        "visnec_without_end": _number(row.get("visnec_without_end")) if n_end else None,
        "n_content_tokens": n_content,
        "thought": thought,
    }


def _nearest_limit(visnec: float, bands: Bands, noise: Noise | None) -> dict[str, Any]:
    """Return the band limit nearest to a score, and the score's distance from it."""
    limit = min((bands.low, bands.high), key=lambda limit: abs(visnec - limit))
    within = noise is not None and abs(visnec - limit) <= noise.band
    return {"limit": limit, "distance": visnec - limit, "within_noise": within}


def _other_scores(detail: SampleDetail, baseline: str, bands: Bands) -> list[dict[str, Any]]:
    """Return the scores by other baselines of the run, then by other runs."""
    scores = [("", row) for row in detail.scores if row["baseline"] != baseline]
    scores += [(f"{row['run_id']}, ", row) for row in detail.other_runs]
    return [
        {
            "name": run + formatting.BASELINE_NAMES.get(str(row["baseline"]), str(row["baseline"])),
            "visnec": visnec,
            "category": bands.category_of(visnec).value,
        }
        for run, row in scores
        if (visnec := _number(row["visnec"])) is not None
    ]


def _tokens_by_answer(tokens: pd.DataFrame | None) -> dict[int, list[dict[str, Any]]]:
    """Return tokens with text and both losses by answer; empty if their texts are unknown."""
    by_answer: dict[int, list[dict[str, Any]]] = {}
    if tokens is not None and not tokens["text"].isna().any():
        for row in tokens.to_dict("records"):
            token = {"text": row["text"], **_losses(row)}
            by_answer.setdefault(int(row["turn"]), []).append(token)
    return by_answer


def _messages(
    turns: Sequence[Turn],
    turn_scores: Mapping[int, Record],
    bands: Bands,
    tokens: Mapping[int, list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Return messages in pieces; answers with their own scores, and their tokens' if known."""
    shown: list[dict[str, Any]] = []
    answers = images = 0
    for turn in turns:
        parts, images = _split_at_images(turn, images)
        message: dict[str, Any] = {"role": _ROLE_NAMES[turn.role], "parts": parts}
        if turn.role is Role.ASSISTANT:
            message["turn"] = answers
            if answers in tokens:
                message["tokens"] = tokens[answers]
            score = _score(turn_scores.get(answers, {}), bands)
            if score["visnec"] is not None:
                message |= score
            answers += 1
        shown.append(message)
    return shown


def _images(sample: Sample, detail: SampleDetail, edition: str) -> list[dict[str, Any]]:
    """Return where the images are, and what leaving out each of several does to the loss.

    ``share`` is the length of its bar: relative to the image that matters most, or to 0.25.
    """
    left_out = {int(row["image"]): row for row in detail.image_losses}
    scores = {position: _number(row["visnec"]) for position, row in left_out.items()}
    most = max([0.25, *(abs(score) for score in scores.values() if score is not None)])
    images = []
    for position, path in enumerate(sample.images):
        score, row = scores.get(position), left_out.get(position, {})
        images.append(
            {
                "url": image_url(sample.row_idx, position, edition),
                "path": image_path(path),
                "visnec": score,
                "share": None if score is None else abs(score) / most,
                "loss_without": _number(row.get("loss_without")),
                "reason": _string(row.get("reason")),
            }
        )
    return images


def _split_at_images(turn: Turn, first_image: int) -> tuple[list[dict[str, Any]], int]:
    """Return a message as texts and image positions, and the position of the next image."""
    parts: list[dict[str, Any]] = []
    start = 0
    content = turn.text[:MAX_TURN_CHARACTERS]
    for offset in turn.image_offsets:
        if content[start:offset]:
            parts.append({"text": content[start:offset]})
        parts.append({"image": first_image})
        first_image += 1
        start = min(offset, len(content))
    if content[start:]:
        parts.append({"text": content[start:]})
    if len(turn.text) > MAX_TURN_CHARACTERS:
        left = len(turn.text) - MAX_TURN_CHARACTERS
        parts.append({"more": f"… {left:,} more characters in the raw record"})
    return parts, first_image


def _predictions_by_run(sample: Sample, detail: SampleDetail) -> list[dict[str, Any]]:
    """Return the predictions of the first answer by run, with those of later ones by turn.

    ``predicted`` states which turns of a conversation were predicted.
    """
    rows = {
        (str(row["run_id"]), int(row.get("turn", 0))): row
        for row in (*detail.predictions, *detail.turn_predictions)
    }
    by_run = []
    for run in dict.fromkeys(run for run, _ in rows):
        turns = [turn for name, turn in rows if name == run]
        first = rows.get((run, 0), {"run_id": run, "model": rows[run, turns[0]]["model"]})
        later = {turn: rows[run, turn] for turn in turns if turn}
        by_run.append(
            {
                **_predictions(first, sample.answer),
                "later": {
                    str(turn): _predictions(row, row["answer"] or "") for turn, row in later.items()
                },
                "predicted": formatting.turn_numbers(turns, sample.n_turns),
            }
        )
    return by_run


def _predictions(row: Record, answer: str) -> dict[str, Any]:
    """Return both predictions of a turn by a run and how they match the answer.

    Each is a list of pieces [text, differs]: once compared with the other prediction, and once
    (``off``) with the reference answer.
    """
    shown = {"run": row["run_id"], "model": row["model"], "reason": _string(row.get("reason"))}
    texts = {name: _string(row.get(f"prediction_{name}")) for name in ("text", "multimodal")}
    compared = word_differences(*(text or "" for text in texts.values()))
    for (name, text), pieces in zip(texts.items(), compared, strict=True):
        shown |= {name: None, f"{name}_off": None, f"{name}_match": None}
        if text is not None:
            shown |= {
                name: _pieces(pieces),
                f"{name}_off": _pieces(word_differences(answer, text)[1]),
                f"{name}_match": _describe_match(row, name),
            }
    return shown


def _pieces(pieces: Sequence[Piece]) -> list[list[Any]]:
    return [[piece.text, piece.differs] for piece in pieces]


def _describe_match(row: Mapping[Any, Any], prediction: str) -> dict[str, Any]:
    """Return whether a prediction matches the reference answer, also in words."""
    exact, letter, f1 = (_number(row[f"{name}_{prediction}"]) for name in ("exact", "letter", "f1"))
    if exact or letter:
        return {"same": True, "said": "= reference" if exact else "= reference, same option"}
    near = f" · token F1 {f1:.2f}" if f1 and letter is None else ""
    return {"same": False, "said": f"≠ reference{near}"}


def _category(visnec: float | None, bands: Bands) -> str | None:
    return None if visnec is None else bands.category_of(visnec).value


def _string(value: object) -> str | None:
    """Return text from a frame's cell, where a missing one may be None or NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return None
    return str(value)


def _number(value: Any) -> float | None:
    """Return a finite float from a frame's cell, or None: JSON has no NaN."""
    if value is None or value is pd.NA:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
