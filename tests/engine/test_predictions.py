"""Predictions, how they match the reference, and their settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from scoring.engine.predictions import Predictor
from scoring.errors import RunConflictError
from scoring.models.base import EncodedSample
from scoring.models.prompting import PromptProblem
from scoring.predictions.answer_match import MATCH_VERSION, AnswerMatch
from scoring.predictions.records import (
    Prediction,
    PredictionSettings,
    begin_predictions,
    read_prediction_settings,
    to_prediction_row,
)
from scoring.samples import Role, Sample, Status, Turn
from scoring.schemas import TURN_PREDICTIONS
from scoring.workspace import Workspace, create_workspace
from tests.fakes import FakeModel

QUESTION = "Which one?\nA. cat\nB. dog"


class Answering(FakeModel):
    """Given answers (without the image, with it); refuses questions that ask for it."""

    def __init__(self, blind: str | None, seeing: str | None) -> None:
        super().__init__()
        self.blind, self.seeing = blind, seeing
        self.asked: list[int] = []
        self.shown: list[int] = []

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        if any("refuse" in turn.text for turn in turns):
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, "the processor refuses the sample")
        if any("odd" in turn.text for turn in turns):
            raise ZeroDivisionError("division by zero")
        self.shown += [id(image) for image in images]
        return super().encode_prompt(turns, images)

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        self.asked.append(max_new_tokens)
        return [self.seeing if prompt.inputs["seen"] else self.blind for prompt in prompts]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return tmp_path


def sample(row: int, question: str = QUESTION, answer: str = "B", image: str = "a.png") -> Sample:
    turns = (Turn(Role.HUMAN, question, (0,)), Turn(Role.ASSISTANT, answer))
    return Sample(row, str(row), "made", (image,), turns, b"{}")


def predicted(model: Answering, root: Path, samples: list[Sample]) -> list[Prediction]:
    predictor = Predictor(model, [root], max_new_tokens=7)
    return predictor.predict(predictor.prepare(samples))


def test_both_predictions_are_compared_with_the_reference(root: Path) -> None:
    model = Answering("The answer is A.", "a dog")
    (found,) = predicted(model, root, [sample(3)])
    assert (found.prediction_text, found.prediction_multimodal) == ("The answer is A.", "a dog")
    assert found.match_text == AnswerMatch(exact=False, letter=False, f1=0.0)
    assert found.match_multimodal == AnswerMatch(exact=False, letter=True, f1=0.0)
    assert model.asked == [7, 7]
    row = to_prediction_row(found, 7)
    assert set(row) == set(TURN_PREDICTIONS.names)
    assert (row["letter_text"], row["letter_multimodal"]) == (False, True)
    assert (row["max_new_tokens"], row["matched_by"]) == (7, MATCH_VERSION)


def test_a_sample_without_prediction_has_a_reason_and_does_not_affect_others(root: Path) -> None:
    lonely = replace(sample(4), turns=(Turn(Role.ASSISTANT, "hello"),))
    odd = [
        sample(0),
        sample(1, image="gone.png"),
        sample(2, question="refuse this"),
        replace(sample(3), status=Status.TEXT_ONLY, reason="no image"),
        lonely,
        sample(5, question="odd"),
        sample(6),
    ]
    found = predicted(Answering("B", None), root, odd)
    assert [one.row_idx for one in found] == [0, 1, 2, 3, 4, 5, 6]
    assert [one.prediction_text for one in found] == ["B", None, None, None, None, None, "B"]
    assert [one.reason for one in found][2:6] == [
        "the processor refuses the sample",
        "no image",
        "no question comes directly before this answer",
        "the model's processor failed: ZeroDivisionError: division by zero",
    ]
    assert "gone.png" in str(found[1].reason)
    assert found[0].reason == "the prompt does not fit the device's memory, even alone"
    assert (found[0].match_text, found[0].match_multimodal) == (AnswerMatch(True, True, 1.0), None)


def test_neighbours_share_the_same_image_object(root: Path) -> None:
    model = Answering("A", "B")
    predicted(model, root, [sample(0), sample(1), sample(2)])
    assert len(model.shown) == 3
    assert len(set(model.shown)) == 1


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "ws")


def test_predictions_of_two_settings_never_share_a_run(workspace: Workspace) -> None:
    assert read_prediction_settings(workspace, "one") is None
    assert begin_predictions(workspace, "one", 16) == PredictionSettings(16)
    assert begin_predictions(workspace, "one", None) == PredictionSettings(16)
    with pytest.raises(RunConflictError, match="began with --max-new-tokens 16, not 32"):
        begin_predictions(workspace, "one", 32)
    assert begin_predictions(workspace, "two", None) == PredictionSettings(64)


def test_damaged_prediction_settings_are_reported(workspace: Workspace) -> None:
    workspace.run_dir("old").mkdir(parents=True)
    (workspace.run_dir("old") / "predictions.json").write_text("{}")
    with pytest.raises(RunConflictError, match="Cannot read"):
        begin_predictions(workspace, "old", 16)


class Stumbling(Answering):
    """Raises if one of its prompts asks for it."""

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        encoded = super().encode_prompt(turns, images)
        culprit = any("culprit" in turn.text for turn in turns)
        return replace(encoded, inputs={**encoded.inputs, "culprit": culprit})

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        if any(prompt.inputs["culprit"] for prompt in prompts):
            raise RuntimeError("shapes do not match")
        return super().generate(prompts, max_new_tokens)


def test_a_failing_question_does_not_affect_others(root: Path) -> None:
    samples = [sample(0), sample(1, question="culprit"), sample(2)]
    found = predicted(Stumbling("A", "B"), root, samples)
    pairs = [(one.prediction_text, one.prediction_multimodal) for one in found]
    assert pairs == [("A", "B"), (None, None), ("A", "B")]
    assert found[1].reason == "the model fails on it: RuntimeError: shapes do not match"
    with pytest.raises(RuntimeError, match="shapes do not match"):
        predicted(Stumbling("A", "B"), root, [sample(0, "culprit"), sample(1, "culprit")])
