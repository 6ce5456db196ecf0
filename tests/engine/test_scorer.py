"""The two passes with a model that returns given losses: values that a reader can check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from scoring.engine.baselines import BaselineSettings, ShuffledImages, write_shuffled_images
from scoring.engine.preparation import Preparer
from scoring.engine.scorer import (
    SampleScore,
    Scorer,
    TurnScore,
    check_baselines,
    score_row,
    turn_scores,
)
from scoring.errors import InputError
from scoring.images.decode import open_image
from scoring.models.base import EncodedSample
from scoring.models.prompting import PromptProblem
from scoring.samples import Role, Sample, Status, Turn
from scoring.schemas import SCORES
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
    model: FakeModel,
    root: Path,
    samples: Sequence[Sample],
    truncate: bool = False,
    baselines: Sequence[str] = ("none",),
    tokens: bool = False,
    shuffled: ShuffledImages | None = None,
) -> list[SampleScore]:
    blind = BaselineSettings(tuple(baselines))
    scorer = Scorer(Preparer(model, [root], blind, shuffled, truncate=truncate), tokens=tokens)
    return scorer.score(scorer.prepare(samples))


def test_the_score_is_text_only_minus_multimodal_loss_per_token(root: Path) -> None:
    model = FakeModel({"a cat": ([3.0, 1.0], [0.5, 0.5])})
    (outcome,) = score(model, root, [sample(4, "a cat")])
    assert (outcome.row_idx, outcome.status, outcome.baseline) == (4, Status.SCORED, "none")
    assert (outcome.loss_text, outcome.loss_multimodal, outcome.visnec) == (2.0, 0.5, 1.5)
    assert outcome.turns == (TurnScore(0, 4.0, 1.0, 2),)


def test_a_sample_is_averaged_over_the_tokens_of_all_turns(root: Path) -> None:
    model = FakeModel({"x": ([4.0], [0.0]), "y z w": ([1.0, 1.0, 1.0], [2.0, 1.0, 1.0])})
    (outcome,) = score(model, root, [sample(0, "x", "y z w")])
    assert outcome.visnec == (4.0 - 1.0) / 4
    assert [(turn.turn, turn.n_answer_tokens) for turn in outcome.turns] == [(0, 1), (1, 3)]


def test_outcomes_are_complete_and_in_order(root: Path) -> None:
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


def test_a_non_finite_loss_gives_a_status(root: Path) -> None:
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
    assert outcome.reason == (
        "8 tokens, but the model accepts 5; use --truncate to score the part that fits"
    )


def test_truncation_scores_the_same_answer_tokens_in_both_passes(root: Path) -> None:
    # The multimodal sequence is: start, image, q, a, b, c; five tokens hold the answers a and b.
    model = FakeModel({"a b c": ([1.0, 2.0, 9.0], [0.5, 0.5, 9.0])}, max_length=5)
    (outcome,) = score(model, root, [sample(0, "a b c")], truncate=True)
    assert (outcome.status, outcome.truncated, outcome.n_answer_tokens) == (Status.SCORED, True, 2)
    assert (outcome.loss_text, outcome.loss_multimodal) == (1.5, 0.5)


def test_when_no_answer_token_fits_nothing_is_scored(root: Path) -> None:
    (outcome,) = score(FakeModel(max_length=3), root, [sample(0, "a b")], truncate=True)
    assert outcome.status is Status.TOO_LONG


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(
    ("max_length", "limit"), [(512, 1_000_000), (100_000, 1_600_000), (1 << 40, 16_000_000)]
)
def test_too_much_text_is_not_tokenised(
    root: Path, truncate: bool, max_length: int, limit: int
) -> None:
    class Recording(FakeModel):
        def __init__(self) -> None:
            super().__init__(max_length=max_length)
            self.lengths: list[int] = []

        def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
            self.lengths.append(sum(len(turn.text) for turn in turns))
            return super().encode([turns[0], replace(turns[1], text="b")], images)

    model = Recording()
    samples = [sample(0, "a" * limit), sample(1, "b"), sample(2, "a" * (limit - 1))]
    over, *others = score(model, root, samples, truncate)
    assert (over.status, over.visnec) == (Status.TOO_LONG, None)
    assert over.reason == (
        f"{limit + 1:,} characters; at most {limit:,} are tokenised for a model that takes "
        f"{max_length:,} tokens"
    )
    assert [one.status for one in others] == [Status.SCORED, Status.SCORED]
    assert sorted(model.lengths) == [2, 2, limit, limit]


def test_different_answer_tokens_in_the_two_passes_are_refused(root: Path) -> None:
    class Shifting(FakeModel):
        def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
            encoded = super().encode(turns, images)
            return replace(
                encoded, input_ids=tuple(token + bool(images) for token in encoded.input_ids)
            )

    (outcome,) = score(Shifting(), root, [sample(0, "a")])
    assert outcome.status is Status.TOKEN_MISMATCH


def test_out_of_memory_halves_the_batch_and_marks_only_what_never_fits(root: Path) -> None:
    model = FakeModel(fits=12)
    samples = [sample(row, "a b") for row in range(6)] + [sample(6, " ".join("x" * 20))]
    scores = score(model, root, samples)
    assert [score.status for score in scores] == [Status.SCORED] * 6 + [Status.OUT_OF_MEMORY]


GRAY, BLUE = (128, 128, 128), (0, 0, 255)


@pytest.fixture
def shuffled(root: Path) -> ShuffledImages:
    """a.png, which is black, and b.png, which is blue."""
    Image.new("RGB", (3, 3), BLUE).save(root / "b.png")
    write_shuffled_images(root / "shuffled", [["a.png", "b.png"]], 42)
    return ShuffledImages(root / "shuffled", 42)


def test_baselines_share_the_multimodal_pass(root: Path, shuffled: ShuffledImages) -> None:
    model = FakeModel(by_colour={GRAY: 1.5, BLUE: 0.75}, masked=2.0)
    every = ("none", "reference", "gray", "blur", "shuffled")
    samples = [sample(0, "a b"), sample(1, "c")]
    scores = score(model, root, samples, baselines=every, shuffled=shuffled)
    assert [(one.baseline, one.row_idx) for one in scores] == [
        (baseline, row) for baseline in every for row in (0, 1)
    ]
    found = {one.baseline: (one.loss_text, one.loss_multimodal) for one in scores[::2]}
    assert found == {
        "none": (1.0, 0.5),
        "reference": (2.0, 0.5),
        "gray": (1.5, 0.5),
        "blur": (0.5, 0.5),  # black stays black
        "shuffled": (0.75, 0.5),
    }
    assert model.batches == [2] * 6  # one pass with the image, one for each baseline


def test_a_baseline_that_fails_does_not_affect_the_others(
    root: Path, shuffled: ShuffledImages
) -> None:
    (root / "b.png").unlink()
    model = FakeModel(by_colour={GRAY: float("inf")})
    asked = ("none", "gray", "shuffled")
    scores = score(model, root, [sample(5, "a b")], baselines=asked, shuffled=shuffled)
    assert [(one.baseline, one.status, one.visnec) for one in scores] == [
        ("none", Status.SCORED, 0.5),
        ("gray", Status.NON_FINITE, None),
        ("shuffled", Status.MISSING_IMAGE, None),
    ]
    assert scores[2].reason == (
        "shuffled: no other image could replace it; last problem: "
        "'b.png' is in none of the image folders"
    )


def test_a_problem_of_a_sample_applies_under_every_baseline(root: Path) -> None:
    broken = Sample(1, None, "s", (), (), b"{}", Status.TEXT_ONLY, "the record has no image")
    samples = [sample(0, "a", image="gone.png"), broken, sample(2, "")]
    scores = score(FakeModel(), root, samples, baselines=("none", "gray"))
    assert [(one.row_idx, one.status) for one in scores] == 2 * [
        (0, Status.MISSING_IMAGE),
        (1, Status.TEXT_ONLY),
        (2, Status.NO_ANSWER),
    ]


def test_images_of_neighbours_are_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    opened: list[str] = []

    class Looking(FakeModel):
        def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
            seen.append(id(images[0]) if images else 0)
            return super().encode(turns, images)

    def counting(path: Path) -> Image.Image:
        opened.append(path.name)
        return open_image(path)

    monkeypatch.setattr("scoring.engine.preparation.open_image", counting)
    Image.new("RGB", (2, 2), "red").save(root / "b.png")
    both = replace(sample(2, "c"), images=("a.png", "b.png"))
    samples = [sample(0, "a"), sample(1, "b"), both, sample(3, "d", image="b.png")]
    score(Looking(), root, samples, baselines=("gray",))
    assert opened == ["a.png", "b.png"]
    assert seen[0] == seen[1] == seen[4]
    assert seen[2] == seen[3] == seen[5]  # the grey one of the same size


def test_a_sample_that_a_processor_fails_on_is_reported(root: Path) -> None:
    class Stumbling(FakeModel):
        def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
            if turns[1].text == "odd":
                raise KeyError("odd")
            return super().encode(turns, images)

    odd, fine = score(Stumbling(), root, [sample(0, "odd"), sample(1, "fine")])
    assert (odd.status, fine.status) == (Status.BAD_RECORD, Status.SCORED)
    assert odd.reason == "the model's processor failed: KeyError: 'odd'"


def test_a_model_without_a_masked_placeholder_is_refused_before_any_work() -> None:
    class Unmasked(FakeModel):
        def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
            raise PromptProblem(Status.PLACEHOLDER_MISMATCH, "not for this model")

    with pytest.raises(InputError, match="not for this model; leave --baseline reference out"):
        check_baselines(Unmasked(), BaselineSettings(("none", "reference")))
    check_baselines(Unmasked(), BaselineSettings(("none", "gray")))


def test_each_baseline_is_truncated_by_its_longer_sequence(root: Path) -> None:
    class Wide(FakeModel):
        """A grey image has two more tokens."""

        def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
            encoded = super().encode(turns, images)
            if not images or images[0].getpixel((0, 0)) != GRAY:
                return encoded
            return replace(
                encoded,
                input_ids=(0, 1, 1, *encoded.input_ids[1:]),
                turn_ids=(-1, -1, -1, *encoded.turn_ids[1:]),
                inputs={"losses": np.insert(encoded.inputs["losses"], 1, [[0], [0]], axis=1)},
            )

    losses = {"a b c d": ([1.0, 2.0, 3.0, 9.0], [0.5, 0.5, 1.0, 9.0])}
    model = Wide(losses, max_length=6, by_colour={GRAY: 4.0})
    none, gray = score(model, root, [sample(0, "a b c d")], True, ("none", "gray"))
    # start, image, q, a, b, c fit; with the grey image: start, three image tokens, q, a.
    assert (none.n_answer_tokens, none.loss_text, none.loss_multimodal) == (3, 2.0, 2 / 3)
    assert (gray.n_answer_tokens, gray.loss_text, gray.loss_multimodal) == (1, 4.0, 0.5)
    assert (none.truncated, gray.truncated) == (True, True)


def test_removing_text_after_all_answers_is_not_truncation(root: Path) -> None:
    talk = (*sample(0, "a b").turns, Turn(Role.HUMAN, "x " * 9))
    (outcome,) = score(FakeModel(max_length=5), root, [replace(sample(0), turns=talk)], True)
    assert (outcome.status, outcome.truncated, outcome.n_answer_tokens) == (
        Status.SCORED,
        False,
        2,
    )


@pytest.mark.parametrize(("limit", "status"), [(4, Status.TOO_LONG), (8, Status.SCORED)])
def test_an_image_after_the_truncation_cannot_be_scored(
    root: Path, limit: int, status: Status
) -> None:
    # start, image, q, a, image, q, b, c
    turns = (
        Turn(Role.HUMAN, "q", (0,)),
        Turn(Role.ASSISTANT, "a"),
        Turn(Role.HUMAN, "q", (0,)),
        Turn(Role.ASSISTANT, "b c d"),
    )
    talk = replace(sample(0), turns=turns, images=("a.png", "a.png"))
    (outcome,) = score(FakeModel(max_length=limit), root, [talk], truncate=True)
    assert outcome.status is status
    if status is Status.TOO_LONG:
        assert outcome.reason == "an image comes after the truncation at the model's 4 tokens"
    else:
        assert (outcome.truncated, outcome.n_answer_tokens) == (True, 3)


def test_token_losses_are_kept_on_request(root: Path) -> None:
    model = FakeModel({"x": ([4.0], [0.0]), "y \ud800": ([1.0, 2.0], [2.0, 1.0])})
    plain = score(model, root, [sample(0, "x", "y \ud800")])[0]
    assert plain.tokens == {}
    assert "token_turns" not in score_row(plain)
    row = score_row(score(model, root, [sample(0, "x", "y \ud800")], tokens=True)[0])
    assert row["token_turns"] == (0, 1, 1)
    assert row["token_texts"] == ["x", "y", "?"]
    assert row["token_loss_text"].tolist() == [4.0, 1.0, 2.0]
    assert row["token_loss_multimodal"].tolist() == [0.0, 2.0, 1.0]
    table = pa.Table.from_pylist([row, score_row(plain)], SCORES)
    assert table.column("token_loss_text").to_pylist() == [[4.0, 1.0, 2.0], None]


def test_tokens_of_a_truncated_sample_are_the_scored_ones(root: Path) -> None:
    (outcome,) = score(
        FakeModel(max_length=5), root, [sample(0, "a b c")], truncate=True, tokens=True
    )
    assert outcome.tokens["token_texts"] == ["a", "b"]


def test_sums_per_turn() -> None:
    text = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    multimodal = np.array([0.0, 0.5, 4.0], dtype=np.float32)
    assert turn_scores([0, 0, 2], text, multimodal) == (
        TurnScore(0, 3.0, 0.5, 2),
        TurnScore(2, 3.0, 4.0, 1),
    )
    # The first turn: one thought, one end; the second: content only.
    assert turn_scores([0, 0, 2], text, multimodal, [1, 2, 0]) == (
        TurnScore(0, 3.0, 0.5, 2, 2.0, 0.5, 1, 1.0, 0.0, 1),
        TurnScore(2, 3.0, 4.0, 1, 0.0, 0.0, 0, 0.0, 0.0, 0),
    )
