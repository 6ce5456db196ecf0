"""What is kept of predictions: the answers, how they match the reference, and their settings.

The one decision behind it: matches are derived where the prediction is made and kept beside it,
so that building the database costs nothing; the texts stay, so that matches of another version of
the measures are derived anew from them, without the model. No model is imported here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scoring.errors import RunConflictError
from scoring.predictions.answer_match import MATCH_VERSION, AnswerMatch, match_answer
from scoring.thoughts import ends_in_thought
from scoring.workspace import Workspace, write_json

DEFAULT_MAX_NEW_TOKENS = 64
MEASURES = ("exact", "letter", "f1")


@dataclass(frozen=True, slots=True)
class PredictionSettings:
    """What decides the predictions of a run besides its model and template; always greedy."""

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    rotate_choices: bool = False
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Greedy answers to the first human turn; None where none could be made, with the reason.

    Each match compares its answer with the reference; None without an answer. ``rotations``: in
    how many orders of its options a question was asked, and in how many each answer was right;
    None where it was not rotated.
    """

    row_idx: int
    prediction_text: str | None = None
    prediction_multimodal: str | None = None
    reason: str | None = None
    match_text: AnswerMatch | None = None
    match_multimodal: AnswerMatch | None = None
    rotations: int | None = None
    rotated_right_text: int | None = None
    rotated_right_multimodal: int | None = None


def to_prediction_row(prediction: Prediction, max_new_tokens: int | None) -> dict[str, Any]:
    """A row of ``schemas.PREDICTIONS``; None for a limit that nobody kept."""
    row: dict[str, Any] = {
        "row_idx": prediction.row_idx,
        "prediction_text": prediction.prediction_text,
        "prediction_multimodal": prediction.prediction_multimodal,
        "reason": prediction.reason,
        "max_new_tokens": max_new_tokens,
        "matched_by": MATCH_VERSION,
        "thoughts_unfinished": sum(
            text is not None and ends_in_thought(text)
            for text in (prediction.prediction_text, prediction.prediction_multimodal)
        ),
        "rotations": prediction.rotations,
        "rotated_right_text": prediction.rotated_right_text,
        "rotated_right_multimodal": prediction.rotated_right_multimodal,
    }
    passes = (("text", prediction.match_text), ("multimodal", prediction.match_multimodal))
    for name, match in passes:
        row |= {f"{measure}_{name}": getattr(match, measure, None) for measure in MEASURES}
    return row


def match_prediction(
    row_idx: int,
    text: str | None,
    multimodal: str | None,
    answer: str,
    question: str,
    reason: str | None = None,
) -> Prediction:
    """Both predictions of a sample beside how they compare with its reference ``answer``."""

    def match(prediction: str | None) -> AnswerMatch | None:
        return None if prediction is None else match_answer(prediction, answer, question)

    return Prediction(row_idx, text, multimodal, reason, match(text), match(multimodal))


def begin_predictions(
    workspace: Workspace,
    run_id: str,
    max_new_tokens: int | None,
    rotate_choices: bool | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> PredictionSettings:
    """Pins the settings of a run's predictions; None takes those it began with, or the default.

    Raises RunConflictError where they differ: predictions of two kinds never share a run.
    """
    path = workspace.run_dir(run_id) / "predictions.json"
    if read_prediction_settings(workspace, run_id) is None:
        begun = PredictionSettings(
            max_new_tokens or DEFAULT_MAX_NEW_TOKENS,
            bool(rotate_choices),
            dict(chat_template_kwargs or {}),
        )
        write_json(path, asdict(begun))
    present = read_prediction_settings(workspace, run_id) or PredictionSettings()
    if max_new_tokens not in (None, present.max_new_tokens):
        raise RunConflictError(
            f"the predictions of run {run_id!r} began with --max-new-tokens "
            f"{present.max_new_tokens}, not {max_new_tokens}; repeat the old number, or predict "
            "under another --run"
        )
    if rotate_choices not in (None, present.rotate_choices):
        began = "with" if present.rotate_choices else "without"
        raise RunConflictError(
            f"the predictions of run {run_id!r} began {began} --rotate-choices; go on {began} it, "
            "or predict under another --run"
        )
    if chat_template_kwargs not in (None, present.chat_template_kwargs):
        raise RunConflictError(
            f"the predictions of run {run_id!r} began with --chat-template-kwargs "
            f"'{json.dumps(present.chat_template_kwargs)}', not "
            f"'{json.dumps(chat_template_kwargs)}'; repeat the old ones, or predict under another "
            "--run"
        )
    return present


def read_prediction_settings(workspace: Workspace, run_id: str) -> PredictionSettings | None:
    """The settings of a run's predictions, or None where none were begun."""
    path = workspace.run_dir(run_id) / "predictions.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
        return PredictionSettings(
            int(raw["max_new_tokens"]),
            bool(raw.get("rotate_choices")),
            dict(raw.get("chat_template_kwargs", {})),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RunConflictError(f"{path} cannot be read: {error}; put it right or aside") from error
