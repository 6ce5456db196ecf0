"""Choice rotation: which option has which letter, checked manually."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scoring.database.build.build import build_database
from scoring.database.build.schema import LATER_COLUMNS
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.evaluation import evaluate_predictions
from scoring.database.values import Scope
from scoring.engine.predictions import Predictor, Rotation, rotate_choices
from scoring.errors import RunConflictError
from scoring.evaluation.accuracy import Accuracy
from scoring.models.base import EncodedSample
from scoring.predictions.answer_match import find_option_spans, list_options
from scoring.predictions.records import (
    PredictionSettings,
    begin_predictions,
    to_prediction_row,
)
from scoring.samples import Role, Sample, Turn
from scoring.schemas import PREDICTIONS
from tests.fakes import FakeModel
from tests.synthetic import RUN_ID, Row, make_workspace

QUESTION = "What is it?\nA. cat\nB. a big dog\nC. eel\nAnswer with the letter."


def rotated(question: str, reference: str, offsets: tuple[int, ...] = (0,)) -> tuple[Rotation, ...]:
    system = Turn(Role.SYSTEM, "Be brief.", ())
    return rotate_choices([system, Turn(Role.HUMAN, question, offsets)], reference)


def test_options_rotate_through_the_letters() -> None:
    found = rotated(QUESTION, "B")
    assert [one.question for one in found] == [
        QUESTION,
        "What is it?\nA. a big dog\nB. eel\nC. cat\nAnswer with the letter.",
        "What is it?\nA. eel\nB. cat\nC. a big dog\nAnswer with the letter.",
    ]
    assert [one.letter for one in found] == ["B", "A", "C"]
    for one in found:
        assert list_options(one.question)[one.letter] == "a big dog"
        assert one.turns[0].text == "Be brief."
        assert one.turns[1].text == one.question
        assert one.turns[1].image_offsets == (0,)


def test_always_answering_a_is_right_once_and_knowing_is_always_right() -> None:
    found = rotated("Which? (A) red (B) blue (C) green (D) grey", "(D) grey")
    assert [one.is_right("A") for one in found] == [False, False, False, True]
    assert [one.is_right("grey") for one in found] == [True] * 4
    assert [one.is_right(f"The answer is ({one.letter}).") for one in found] == [True] * 4
    assert not any(one.is_right("I do not know") for one in found)


def test_the_text_of_an_option_may_be_the_reference() -> None:
    assert [one.letter for one in rotated(QUESTION, "eel")] == ["C", "B", "A"]


@pytest.mark.parametrize(
    ("question", "reference", "offsets"),
    [
        ("What is it?", "B", ()),  # no options
        (QUESTION, "a horse", ()),  # the reference is none of them
        ("Which? A. red B. blue C. both A and B", "C", ()),
        ("Which? A. red B. blue C. none of the above", "A", ()),
        (QUESTION, "B", (20,)),  # an image between the options
    ],
)
def test_other_questions_are_not_rotated(
    question: str, reference: str, offsets: tuple[int, ...]
) -> None:
    assert rotated(question, reference, offsets) == ()
    assert rotate_choices([], reference) == ()


def test_an_image_after_the_options_keeps_its_place() -> None:
    question = "Which? A. red B. blue"
    found = rotated(question, "A", (len(question),))
    assert [one.question for one in found] == [question, "Which? A. blue B. red"]


def test_option_spans_are_found() -> None:
    assert [QUESTION[begin:end] for _, begin, end in find_option_spans(QUESTION)] == [
        "cat",
        "a big dog",
        "eel",
    ]


# ---- with a model, through the store -------------------------------------------------------------


class Parrot(FakeModel):
    """A model with fixed answers: "A" without an image, "a big dog" with one."""

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        return ["a big dog" if prompt.inputs["seen"] else "A" for prompt in prompts]


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    return Predictor(Parrot(), [tmp_path], rotate_choices=True)


def sample(row_idx: int, question: str, answer: str) -> Sample:
    turns = (
        Turn(Role.HUMAN, question, (0,)),
        Turn(Role.ASSISTANT, answer, ()),
        Turn(Role.HUMAN, "Sure?", ()),
        Turn(Role.ASSISTANT, "Yes", ()),
    )
    return Sample(row_idx=row_idx, id=None, source="", images=("a.png",), turns=turns, original=b"")


def test_each_order_is_asked_and_counted(predictor: Predictor) -> None:
    samples = [sample(0, QUESTION, "B"), sample(1, "How many?", "two"), sample(2, QUESTION, "C")]
    asked = predictor.prepare(samples)
    assert [len(question.rotated) for question in asked] == [2, 0, 2]
    found = predictor.predict(asked)
    assert [one.row_idx for one in found] == [0, 1, 2]
    counts = [
        (one.rotations, one.rotated_right_text, one.rotated_right_multimodal) for one in found
    ]
    assert counts == [(3, 1, 3), (None, None, None), (3, 1, 0)]
    assert found[0].prediction_text == "A"  # of the question in its own order
    assert found[0].match_text is not None
    assert found[0].match_text.letter is False


def test_the_measure_counts_answers_that_are_right_in_every_order(
    predictor: Predictor, tmp_path: Path
) -> None:
    rows = [
        Row(image=f"{i}.png", turns=((QUESTION, answer, 4, 1.0, 0.5),))
        for i, answer in enumerate(("B", "C", "B"))
    ]
    place = make_workspace(tmp_path / "ws", rows=rows, with_images=False, with_predictions=False)
    asked = predictor.prepare([sample(0, QUESTION, "B"), sample(1, QUESTION, "C")])
    table = [to_prediction_row(one, 8) for one in predictor.predict(asked)]
    folder = place.run_dir(RUN_ID) / "predictions"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(table, PREDICTIONS), folder / "part-0.parquet")
    build_database(place)
    store = Store(place)
    (one,) = evaluate_predictions(store, Scope(RUN_ID), measure="rotated").models
    assert one.all.seen == Accuracy(1, 2)  # row 0; row 1 never; row 2 was not asked
    assert one.all.blind == Accuracy(0, 2)
    found = matching_rows(
        store.selection(Scope(RUN_ID), parse_filter("measure:rotated seen:right"))
    )
    assert found.tolist() == [0]


def test_a_database_without_rotation_columns_is_read(tmp_path: Path) -> None:
    place = make_workspace(tmp_path / "ws", n=12)
    build_database(place)
    with duckdb.connect(str(place.database)) as con:
        for column in LATER_COLUMNS["predictions"]:
            con.execute(f"ALTER TABLE predictions DROP COLUMN {column}")
    (one,) = evaluate_predictions(Store(place), Scope(RUN_ID), measure="rotated").models
    assert one.all.seen == Accuracy(0, 0)


def test_a_run_keeps_its_prediction_settings(tmp_path: Path) -> None:
    place = make_workspace(tmp_path / "ws", n=12)
    assert begin_predictions(place, "one", 16, True) == PredictionSettings(16, True)
    assert begin_predictions(place, "one", None) == PredictionSettings(16, True)
    with pytest.raises(RunConflictError, match="began with --rotate-choices"):
        begin_predictions(place, "one", None, False)
    begin_predictions(place, "two", None)
    with pytest.raises(RunConflictError, match="began without --rotate-choices"):
        begin_predictions(place, "two", None, True)
