"""What is stored of predictions: the answers, how they match the reference, and their settings.

Matches are computed when a prediction is made and stored with it, so building the database is
fast. The texts are kept too, so matches by another version of the measures can be recomputed
without the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from scoring.errors import RunConflictError
from scoring.predictions.answer_match import MATCH_VERSION, AnswerMatch, match_answer
from scoring.thoughts import ends_in_thought
from scoring.workspace import Workspace, write_json

DEFAULT_MAX_NEW_TOKENS = 64
MEASURES = ("exact", "letter", "f1")

TurnChoice = Literal["first", "last", "all"]
"""Which answers of a conversation."""

LaterTurns = Literal["last", "all"]
"""Which answers after the first; those are stored apart from the first ones."""


@dataclass(frozen=True, slots=True)
class PredictionSettings:
    """What determines a run's predictions besides its model and template; always greedy."""

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    rotate_choices: bool = False
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    later_turns: LaterTurns | None = None  # None: only first answers so far


@dataclass(frozen=True, slots=True)
class Prediction:
    """Greedy answers in one turn; None where there is none, with the reason.

    ``turn`` is the 0-based position among the answers. The prompt has the reference answers of
    earlier turns. Each match compares its answer with the reference. ``rotations``: in how many
    orders of its options a question was asked, and in how many each answer was right; None if not
    rotated.
    """

    row_idx: int
    turn: int = 0
    prediction_text: str | None = None
    prediction_multimodal: str | None = None
    reason: str | None = None
    match_text: AnswerMatch | None = None
    match_multimodal: AnswerMatch | None = None
    rotations: int | None = None
    rotated_right_text: int | None = None
    rotated_right_multimodal: int | None = None


def to_prediction_row(prediction: Prediction, max_new_tokens: int | None) -> dict[str, Any]:
    """Return a row of ``schemas.TURN_PREDICTIONS``.

    ``max_new_tokens`` is None if it was not recorded.
    """
    row = asdict(prediction)
    for name in ("text", "multimodal"):
        match = row.pop(f"match_{name}") or {}
        row |= {f"{measure}_{name}": match.get(measure) for measure in MEASURES}
    texts = (prediction.prediction_text, prediction.prediction_multimodal)
    row["thoughts_unfinished"] = sum(text is not None and ends_in_thought(text) for text in texts)
    return row | {"max_new_tokens": max_new_tokens, "matched_by": MATCH_VERSION}


def match_prediction(
    row_idx: int,
    text: str | None,
    multimodal: str | None,
    answer: str,
    question: str,
    reason: str | None = None,
    turn: int = 0,
) -> Prediction:
    """Return both predictions of a turn with their matches of the reference ``answer``."""
    match_text, match_multimodal = (
        None if prediction is None else match_answer(prediction, answer, question)
        for prediction in (text, multimodal)
    )
    return Prediction(row_idx, turn, text, multimodal, reason, match_text, match_multimodal)


def begin_predictions(
    workspace: Workspace,
    run_id: str,
    max_new_tokens: int | None,
    rotate_choices: bool | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    later_turns: LaterTurns | None = None,
) -> PredictionSettings:
    """Save the settings of a run's predictions, or return those it began with.

    None means the settings of the run, or the default. Later turns may be added to the first ones.
    Raises RunConflictError if other settings are given: a run never mixes predictions of two kinds.
    """
    saved = read_prediction_settings(workspace, run_id)
    settings = saved or PredictionSettings(
        max_new_tokens or DEFAULT_MAX_NEW_TOKENS,
        bool(rotate_choices),
        dict(chat_template_kwargs or {}),
    )
    conflict = None
    if max_new_tokens not in (None, settings.max_new_tokens):
        conflict = f"with --max-new-tokens {settings.max_new_tokens}, not {max_new_tokens}"
    elif rotate_choices not in (None, settings.rotate_choices):
        words = ("with", "without") if settings.rotate_choices else ("without", "with")
        conflict = f"{words[0]} --rotate-choices, not {words[1]} it"
    elif chat_template_kwargs not in (None, settings.chat_template_kwargs):
        conflict = (
            f"with --chat-template-kwargs '{json.dumps(settings.chat_template_kwargs)}', not "
            f"'{json.dumps(chat_template_kwargs)}'"
        )
    elif settings.later_turns and later_turns not in (None, settings.later_turns):
        conflict = f"with the {settings.later_turns} turns, not the {later_turns} ones"
    if conflict:
        raise RunConflictError(
            f"The predictions of run {run_id!r} began {conflict}. "
            "Use the same settings, or predict under another --run"
        )
    settings = replace(settings, later_turns=settings.later_turns or later_turns)
    if settings != saved:
        write_json(workspace.run_dir(run_id) / "predictions.json", asdict(settings))
    return settings


def read_prediction_settings(workspace: Workspace, run_id: str) -> PredictionSettings | None:
    """Return the settings of a run's predictions, or None if there are none yet."""
    path = workspace.run_dir(run_id) / "predictions.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
        return PredictionSettings(
            int(raw["max_new_tokens"]),
            bool(raw.get("rotate_choices")),
            dict(raw.get("chat_template_kwargs", {})),
            raw.get("later_turns"),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RunConflictError(f"Cannot read {path} ({error}). Repair or move it") from error
