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

    Args:
        sample: The record.
        detail: What the database has about it.
        baseline: The blind baseline whose score is shown; others are listed.
        bands: Limits of the categories.
        edition: Identifies the dataset in links.
        tokens: Losses of the answer tokens, if the run has them.
        noise: Numerical noise of the run's dtype, if known.
    """
    score = _score_of(detail.scores, baseline)
    category = _category(score["visnec"], bands)
    others = _other_scores(detail, baseline, bands)
    return {
        "row_idx": sample.row_idx,
        "id": sample.id,
        "source": sample.source,
        "cluster": detail.cluster,
        "cluster_id": detail.cluster_id,
        "status": detail.status,
        "status_name": formatting.status_name(detail.status),
        "reason": detail.reason,
        "category": category,
        **score,
        "noise": str(noise) if noise else None,
        "nearest": _nearest_limit(score["visnec"], bands, noise),
        "baseline": formatting.BASELINE_NAMES.get(baseline, baseline),
        "other_scores": others[:MAX_OTHER_SCORES],
        "n_others": len(others),
        "n_agreeing": None
        if score["visnec"] is None
        else sum(other["category"] == category for other in others),
        "images": [
            {"url": image_url(sample.row_idx, position, edition), "path": image_path(path)}
            for position, path in enumerate(sample.images)
        ],
        "turns": _messages(
            sample.turns, detail.turn_scores, baseline, bands, _tokens_by_answer(tokens)
        ),
        "answer": sample.answer,
        "predictions": _predictions(detail.predictions, sample.answer or ""),
        "decisions": [
            {name: _string(row[name]) for name in ("reviewer", "decision", "note", "decided_at")}
            for row in detail.decisions
        ],
        "neighbours": [
            _neighbour(row, bands, edition) for row in detail.neighbours[:MAX_NEIGHBOURS]
        ],
        "n_neighbours": detail.n_neighbours,
    }


def _score_of(scores: Sequence[Record], baseline: str) -> dict[str, Any]:
    row = next((row for row in scores if row["baseline"] == baseline), {})
    return {
        "visnec": _number(row.get("visnec")),
        "loss_text": _number(row.get("loss_text")),
        "loss_multimodal": _number(row.get("loss_multimodal")),
        "n_answer_tokens": _whole(row.get("n_answer_tokens")),
        "truncated": bool(row.get("truncated") or False),
        **_segments(row),
    }


def _segments(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score without the end token, and those of thought and content if there is a
    thought; None if the run does not distinguish these tokens, or none is left."""
    n, n_end, n_thought = (
        _whole(row.get(name)) for name in ("n_answer_tokens", "n_end_tokens", "n_thought_tokens")
    )
    segments: dict[str, Any] = {
        "visnec_without_end": _number(row.get("visnec_without_end")) if n_end else None,
        "n_content_tokens": None,
        "thought": None,
    }
    if n is None or n_end is None or n_thought is None:
        return segments
    n_content = n - n_end - n_thought
    segments["n_content_tokens"] = n_content
    if n_thought:
        thought = row["thought_loss_text_sum"] - row["thought_loss_multimodal_sum"]
        end = row["end_loss_text_sum"] - row["end_loss_multimodal_sum"]
        rest = row["visnec"] * n - thought - end
        segments["thought"] = {
            "n": n_thought,
            "visnec": thought / n_thought,
            "content": rest / n_content if n_content else None,
        }
    return segments


def _nearest_limit(
    visnec: float | None, bands: Bands, noise: Noise | None
) -> dict[str, Any] | None:
    """Return the band limit nearest to a score, and the score's distance from it."""
    if visnec is None:
        return None
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
    if tokens is None or tokens["text"].isna().any():
        return {}
    by_answer: dict[int, list[dict[str, Any]]] = {}
    for row in tokens.to_dict("records"):
        token = {
            "text": row["text"],
            "visnec": _number(row["visnec"]),
            "loss_text": _number(row["loss_text"]),
            "loss_multimodal": _number(row["loss_multimodal"]),
        }
        by_answer.setdefault(int(row["turn"]), []).append(token)
    return by_answer


def _messages(
    turns: Sequence[Turn],
    turn_scores: Sequence[Record],
    baseline: str,
    bands: Bands,
    tokens: Mapping[int, list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Return messages in pieces; answers with their own scores, and their tokens' if known."""
    by_answer = {int(row["turn"]): row for row in turn_scores if row["baseline"] == baseline}
    shown: list[dict[str, Any]] = []
    answers = images = 0
    for turn in turns:
        parts, images = _split_at_images(turn, images)
        message: dict[str, Any] = {"role": _ROLE_NAMES[turn.role], "parts": parts}
        if turn.role is Role.ASSISTANT:
            row = by_answer.get(answers)
            if answers in tokens:
                message["tokens"] = tokens[answers]
            answers += 1
            if row is not None and (visnec := _number(row["visnec"])) is not None:
                message |= {
                    "visnec": visnec,
                    "category": bands.category_of(visnec).value,
                    "loss_text": _number(row["loss_text"]),
                    "loss_multimodal": _number(row["loss_multimodal"]),
                    "n_answer_tokens": _whole(row["n_answer_tokens"]),
                }
        shown.append(message)
    return shown


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


def _predictions(predictions: Sequence[Record], answer: str) -> list[dict[str, Any]]:
    """Return both predictions of each run and how they match the answer.

    Each is a list of pieces [text, differs]: once compared with the other prediction, and once
    with the reference answer.
    """
    shown: list[dict[str, Any]] = []
    for row in predictions:
        blind, seeing = _string(row["prediction_text"]), _string(row["prediction_multimodal"])
        left, right = word_differences(blind or "", seeing or "")
        shown.append(
            {
                "run": row["run_id"],
                "model": row["model"],
                "text": None if blind is None else _pieces(left),
                "multimodal": None if seeing is None else _pieces(right),
                "text_off": None if blind is None else _off_reference(answer, blind),
                "multimodal_off": None if seeing is None else _off_reference(answer, seeing),
                "text_match": None if blind is None else _describe_match(row, "text"),
                "multimodal_match": None if seeing is None else _describe_match(row, "multimodal"),
                "same": blind is not None and blind == seeing,
                "reason": _string(row["reason"]),
            }
        )
    return shown


def _off_reference(answer: str, prediction: str) -> list[list[Any]]:
    return _pieces(word_differences(answer, prediction)[1])


def _pieces(pieces: Sequence[Piece]) -> list[list[Any]]:
    return [[piece.text, piece.differs] for piece in pieces]


def _describe_match(row: Mapping[Any, Any], prediction: str) -> dict[str, Any]:
    """Return whether a prediction matches the reference answer, also in words."""
    exact, letter = _flag(row[f"exact_{prediction}"]), _flag(row[f"letter_{prediction}"])
    f1 = _number(row[f"f1_{prediction}"])
    if exact or letter:
        return {"same": True, "said": "= reference" if exact else "= reference, same option"}
    near = f" · token F1 {f1:.2f}" if f1 and letter is None else ""
    return {"same": False, "said": f"≠ reference{near}"}


def _flag(value: object) -> bool | None:
    """Return a truth value from a frame's cell, where a missing one may be None or NaN."""
    return None if _string(value) is None else bool(value)


def _neighbour(row: Mapping[Any, Any], bands: Bands, edition: str) -> dict[str, Any]:
    visnec = _number(row["visnec"])
    return {
        "row_idx": int(row["row_idx"]),
        "source": row["source"],
        "question": (_string(row["question"]) or "")[:300],
        "answer": (_string(row["answer"]) or "")[:300],
        "visnec": visnec,
        "category": _category(visnec, bands),
        "status_name": formatting.status_name(str(row["status"])),
        "decision": _string(row["decision"]),
        "thumbnail": thumbnail_url(int(row["row_idx"]), edition),
    }


def build_tile(row: Mapping[Any, Any], bands: Bands, edition: str) -> Card:
    """Return the gallery's tile for one row of a page."""
    visnec = _number(row["visnec"])
    n_images = 0 if row["images"] is None else len(row["images"])
    return {
        "row_idx": int(row["row_idx"]),
        "source": row["source"],
        "question": (_string(row["question"]) or "")[:240],
        "answer": (_string(row["answer"]) or "")[:160],
        "visnec": visnec,
        "category": _category(visnec, bands),
        "status": row["status"],
        "status_name": formatting.status_name(str(row["status"])),
        "decision": _string(row["decision"]),
        "n_images": n_images,
        "thumbnail": thumbnail_url(int(row["row_idx"]), edition) if n_images else None,
    }


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
