"""The two passes with a model that returns typed losses: values to check by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scoring.models.base import EncodedSample
from scoring.samples import Role, Sample, Status, Turn
from scoring.scorer import SampleScore, Scorer, TurnScore, turn_scores
from tests.fakes import FakeModel


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    return tmp_path


def sample(row_idx: int, *answers: str, image: str = "a.png") -> Sample:
    turns: list[Turn] = []
    for position, answer in enumerate(answers):
        turns.append(Turn(Role.HUMAN, "q", () if position else (0,)))
        turns.append(Turn(Role.ASSISTANT, answer))
    return Sample(row_idx, None, "s", (image,), tuple(turns), b"{}")


def score(
    model: FakeModel, root: Path, samples: Sequence[Sample], truncate: bool = False
) -> list[SampleScore]:
    scorer = Scorer(model, [root], truncate=truncate)
    return scorer.score(scorer.prepare(samples))


def test_the_score_is_text_only_minus_multimodal_loss_per_token(root: Path) -> None:
    model = FakeModel({"a cat": ([3.0, 1.0], [0.5, 0.5])})
    (outcome,) = score(model, root, [sample(4, "a cat")])
    assert (outcome.row_idx, outcome.status, outcome.baseline) == (4, Status.SCORED, "none")
    assert (outcome.loss_text, outcome.loss_multimodal, outcome.visnec) == (2.0, 0.5, 1.5)
    assert outcome.turns == (TurnScore(0, 4.0, 1.0, 2, 2.5**2 + 0.5**2),)


def test_a_sample_is_averaged_over_the_tokens_of_all_turns(root: Path) -> None:
    model = FakeModel({"x": ([4.0], [0.0]), "y z w": ([1.0, 1.0, 1.0], [2.0, 1.0, 1.0])})
    (outcome,) = score(model, root, [sample(0, "x", "y z w")])
    assert outcome.visnec == (4.0 - 1.0) / 4
    assert [(turn.turn, turn.n_answer_tokens) for turn in outcome.turns] == [(0, 1), (1, 3)]


def test_outcomes_keep_the_order_and_none_is_left_out(root: Path) -> None:
    broken = Sample(1, None, "s", (), (), b"{}", Status.TEXT_ONLY, "the record has no image")
    samples = [sample(0, "a b c"), broken, sample(2, "d", image="gone.png"), sample(3, "e")]
    scores = score(FakeModel(), root, samples)
    assert [(score.row_idx, score.status) for score in scores] == [
        (0, Status.SCORED),
        (1, Status.TEXT_ONLY),
        (2, Status.MISSING_IMAGE),
        (3, Status.SCORED),
    ]
    assert scores[1].visnec is None
    assert scores[2].reason == "'gone.png' is in none of the image folders"


def test_a_loss_that_is_no_number_gives_a_status_not_a_score(root: Path) -> None:
    model = FakeModel({"inf": ([float("inf")], [1.0]), "nan": ([1.0], [float("nan")])})
    scores = score(model, root, [sample(0, "inf"), sample(1, "nan"), sample(2, "ok")])
    assert [score.status for score in scores] == [
        Status.NON_FINITE,
        Status.NON_FINITE,
        Status.SCORED,
    ]
    assert scores[0].turns == ()


def test_too_long_is_a_status_by_default(root: Path) -> None:
    model = FakeModel(max_length=5)
    (outcome,) = score(model, root, [sample(0, "a b c d e")])
    assert outcome.status is Status.TOO_LONG
    assert outcome.reason == "8 tokens, the model takes 5; --truncate scores what fits"


def test_truncation_scores_the_same_answer_tokens_in_both_passes(root: Path) -> None:
    # The multimodal sequence is: start, image, q, a, b, c; five tokens hold the answers a and b.
    model = FakeModel({"a b c": ([1.0, 2.0, 9.0], [0.5, 0.5, 9.0])}, max_length=5)
    (outcome,) = score(model, root, [sample(0, "a b c")], truncate=True)
    assert (outcome.status, outcome.truncated, outcome.n_answer_tokens) == (Status.SCORED, True, 2)
    assert (outcome.loss_text, outcome.loss_multimodal) == (1.5, 0.5)


def test_when_no_answer_token_fits_nothing_is_scored(root: Path) -> None:
    (outcome,) = score(FakeModel(max_length=3), root, [sample(0, "a b")], truncate=True)
    assert outcome.status is Status.TOO_LONG


def test_different_answer_tokens_in_the_two_passes_are_refused(root: Path) -> None:
    class Shifting(FakeModel):
        def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
            encoded = super().encode(turns, images)
            ids = tuple(token + bool(images) for token in encoded.input_ids)
            return EncodedSample(ids, encoded.turn_ids, encoded.inputs)

    (outcome,) = score(Shifting(), root, [sample(0, "a")])
    assert outcome.status is Status.TOKEN_MISMATCH


def test_out_of_memory_halves_the_batch_and_marks_only_what_never_fits(root: Path) -> None:
    model = FakeModel(fits=12)
    samples = [sample(row, "a b") for row in range(6)] + [sample(6, " ".join("x" * 20))]
    scores = score(model, root, samples)
    assert [score.status for score in scores] == [Status.SCORED] * 6 + [Status.OUT_OF_MEMORY]


def test_sums_per_turn_by_hand() -> None:
    text = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    multimodal = np.array([0.0, 0.5, 4.0], dtype=np.float32)
    assert turn_scores([0, 0, 2], text, multimodal) == (
        TurnScore(0, 3.0, 0.5, 2, 1.0 + 2.25),
        TurnScore(2, 3.0, 4.0, 1, 1.0),
    )
