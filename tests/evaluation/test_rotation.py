"""Choice rotation: which option stands behind which letter, worked out by hand."""

from __future__ import annotations

import pytest

from scoring.answers import listed_options, option_spans
from scoring.rotation import Rotation, rotations
from scoring.samples import Role, Turn

QUESTION = "What is it?\nA. cat\nB. a big dog\nC. eel\nAnswer with the letter."


def rotated(question: str, reference: str, offsets: tuple[int, ...] = (0,)) -> tuple[Rotation, ...]:
    system = Turn(Role.SYSTEM, "Be brief.", ())
    return rotations([system, Turn(Role.HUMAN, question, offsets)], reference)


def test_options_move_behind_their_letters() -> None:
    found = rotated(QUESTION, "B")
    assert [one.question for one in found] == [
        QUESTION,
        "What is it?\nA. a big dog\nB. eel\nC. cat\nAnswer with the letter.",
        "What is it?\nA. eel\nB. cat\nC. a big dog\nAnswer with the letter.",
    ]
    assert [one.letter for one in found] == ["B", "A", "C"]
    for one in found:
        assert listed_options(one.question)[one.letter] == "a big dog"
        assert one.turns[0].text == "Be brief."
        assert one.turns[1].text == one.question
        assert one.turns[1].image_offsets == (0,)


def test_who_always_says_a_is_right_once_and_who_knows_always() -> None:
    found = rotated("Which? (A) red (B) blue (C) green (D) grey", "(D) grey")
    assert [one.is_right("A") for one in found] == [False, False, False, True]
    assert [one.is_right("grey") for one in found] == [True] * 4
    assert [one.is_right(f"The answer is ({one.letter}).") for one in found] == [True] * 4
    assert not any(one.is_right("I cannot tell") for one in found)


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
def test_what_cannot_be_rotated_is_left_alone(
    question: str, reference: str, offsets: tuple[int, ...]
) -> None:
    assert rotated(question, reference, offsets) == ()
    assert rotations([], reference) == ()


def test_an_image_behind_the_options_stays_where_it_is() -> None:
    question = "Which? A. red B. blue"
    found = rotated(question, "A", (len(question),))
    assert [one.question for one in found] == [question, "Which? A. blue B. red"]


def test_spans_are_those_of_the_options() -> None:
    assert [QUESTION[begin:end] for _, begin, end in option_spans(QUESTION)] == [
        "cat",
        "a big dog",
        "eel",
    ]
