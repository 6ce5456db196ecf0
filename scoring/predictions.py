"""Predictions: what the model answers to the first question, without the image and with it.

Only the first answer of a conversation is predicted: in later turns the earlier reference
answers would give the image away to the text-only prediction. How a prediction compares with the
reference is kept beside it; the texts stay, so that it can be compared anew without the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from scoring.answers import VERSION, AnswerMatch, match_answer
from scoring.errors import RunConflictError
from scoring.models.base import VisionLanguageModel
from scoring.prompting import PromptProblem
from scoring.readers.images import ImageProblem, open_image, resolve_image
from scoring.samples import Role, Sample, Status, Turn
from scoring.workspace import Workspace, write_json

DEFAULT_MAX_NEW_TOKENS = 64

Prompt = tuple[Sequence[Turn], Sequence[Image.Image]]


@dataclass(frozen=True, slots=True)
class PredictionSettings:
    """What decides the predictions of a run besides its model and template; always greedy."""

    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS


@dataclass(frozen=True, slots=True)
class Prediction:
    """Greedy answers to the first human turn; None where none could be made, with the reason.

    Each match compares its answer with the reference; None without an answer.
    """

    row_idx: int
    prediction_text: str | None = None
    prediction_multimodal: str | None = None
    reason: str | None = None
    match_text: AnswerMatch | None = None
    match_multimodal: AnswerMatch | None = None


def prediction_row(prediction: Prediction) -> dict[str, Any]:
    """A row of ``schemas.PREDICTIONS``."""
    row: dict[str, Any] = {
        "row_idx": prediction.row_idx,
        "prediction_text": prediction.prediction_text,
        "prediction_multimodal": prediction.prediction_multimodal,
        "reason": prediction.reason,
        "matched_by": VERSION,
    }
    passes = (("text", prediction.match_text), ("multimodal", prediction.match_multimodal))
    for name, match in passes:
        row |= {f"{measure}_{name}": getattr(match, measure, None) for measure in MEASURES}
    return row


MEASURES = ("exact", "letter", "f1")


def begin_predictions(
    workspace: Workspace, run_id: str, max_new_tokens: int | None
) -> PredictionSettings:
    """Pins the settings of a run's predictions; None takes those it began with, or the default.

    Raises RunConflictError where they differ: predictions of two kinds never share a run.
    """
    path = workspace.run_dir(run_id) / "predictions.json"
    if read_prediction_settings(workspace, run_id) is None:
        if any((workspace.run_dir(run_id) / "predictions").glob("part-*.parquet")):
            raise RunConflictError(
                f"the predictions of run {run_id!r} lack the record of their settings; put "
                f"{path.with_suffix('')} aside to predict anew, or predict under another --run"
            )
        write_json(path, asdict(PredictionSettings(max_new_tokens or DEFAULT_MAX_NEW_TOKENS)))
    present = read_prediction_settings(workspace, run_id) or PredictionSettings()
    if max_new_tokens not in (None, present.max_new_tokens):
        raise RunConflictError(
            f"the predictions of run {run_id!r} began with --max-new-tokens "
            f"{present.max_new_tokens}, not {max_new_tokens}; repeat the old number, or predict "
            "under another --run"
        )
    return present


def read_prediction_settings(workspace: Workspace, run_id: str) -> PredictionSettings | None:
    """The settings of a run's predictions, or None where none were begun."""
    path = workspace.run_dir(run_id) / "predictions.json"
    try:
        return PredictionSettings(int(json.loads(path.read_text("utf-8"))["max_new_tokens"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RunConflictError(f"{path} cannot be read: {error}; put it right or aside") from error


def first_question(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The conversation up to and including its first human turn; empty where there is none."""
    for position, turn in enumerate(turns):
        if turn.role is Role.HUMAN:
            return tuple(turns[: position + 1])
    return ()


class Predictor:
    """Predicts answers with one model."""

    def __init__(
        self,
        model: VisionLanguageModel,
        image_roots: Sequence[Path],
        *,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
    ) -> None:
        self._model, self._roots, self._max_new_tokens = model, image_roots, max_new_tokens

    def predict(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One prediction pair per sample, in their order."""
        prompts = [self._prompt(sample) for sample in samples]
        ready = [prompt for prompt in prompts if not isinstance(prompt, str)]
        seeing = iter(self._generate(ready))
        blind = iter(self._generate([(turns, ()) for turns, _ in ready]))
        return [
            Prediction(sample.row_idx, reason=prompt)
            if isinstance(prompt, str)
            else _matched(sample, next(blind), next(seeing))
            for sample, prompt in zip(samples, prompts, strict=True)
        ]

    def _prompt(self, sample: Sample) -> Prompt | str:
        """The prompt, or why there is none."""
        if sample.status is not Status.PENDING:
            return sample.reason or f"the sample is {sample.status}"
        question = first_question(sample.turns)
        if not question:
            return "the conversation holds no human turn"
        n_images = sum(len(turn.image_offsets) for turn in question)
        try:
            paths = [resolve_image(path, self._roots) for path in sample.images[:n_images]]
            return question, [open_image(path) for path in paths]
        except ImageProblem as problem:
            return problem.reason

    def _generate(self, prompts: Sequence[Prompt]) -> list[_Answer]:
        """Answers in order; a prompt that the model refuses takes no other with it."""
        if not prompts:
            return []
        try:
            texts = self._model.generate(prompts, self._max_new_tokens)
        except PromptProblem as problem:
            if len(prompts) == 1:
                return [_Answer(None, problem.reason)]
            half = len(prompts) // 2
            return self._generate(prompts[:half]) + self._generate(prompts[half:])
        return [_Answer(text, None if text is not None else _TOO_LARGE) for text in texts]


_TOO_LARGE = "the prompt does not fit the device's memory, even alone"


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str | None
    reason: str | None


def _matched(sample: Sample, blind: _Answer, seeing: _Answer) -> Prediction:
    def match(text: str | None) -> AnswerMatch | None:
        return None if text is None else match_answer(text, sample.answer, sample.question)

    return Prediction(
        row_idx=sample.row_idx,
        prediction_text=blind.text,
        prediction_multimodal=seeing.text,
        reason=seeing.reason or blind.reason,
        match_text=match(blind.text),
        match_multimodal=match(seeing.text),
    )
