"""Matches of predictions with references, each to be checked by eye, and what always holds."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scoring.predictions.answer_match import (
    AnswerMatch,
    find_chosen_letter,
    list_options,
    match_answer,
    normalise_answer,
)

OPTIONS = "Which animal is it?\nA. cat\nB. a dog\nC. horse\nAnswer with the option's letter."


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("  The Red   Square. ", "red square"),
        ("two dogs", "2 dogs"),
        ("1,234,567", "1234567"),
        ("1,23", "1 23"),
        ("-3.50", "-3.50"),
        ("\u22123", "-3"),
        ("-.5", "-.5"),
        ("black-and-white", "black and white"),
        ("don't", "dont"),
        ("don\u2019t", "dont"),
        ("A", "a"),
        ("the", "the"),
        ("?!", "?!"),
        ("", ""),
        (" \n", ""),
        ("50%", "50%"),
        ("snake_case", "snake case"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ﬁne", "fine"),
        ("¿Qué?", "qué"),
        ("「猫」。", "猫"),
        ("हिन्दी", "हिन्दी"),
        ("None", "0"),
    ],
)
def test_normalised(text: str, normalised: str) -> None:
    assert normalise_answer(text) == normalised


@given(st.text())
@example("\u1e9b\u0323")
@example("'\u2019,000")
@example("..5 --5 .-5")
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise_answer(text)
    assert normalise_answer(once) == once


@given(st.text(alphabet="abcAB 12,.-'()_%é猫\n", max_size=40))
def test_normalising_again_changes_nothing_of_likely_characters(text: str) -> None:
    once = normalise_answer(text)
    assert normalise_answer(once) == once
    assert once == once.strip()


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "f1"),
    [
        ("A red square.", "red square", True, 1.0),
        ("It is a red square", "red square", False, 2 / 3),  # it, is, red, square
        ("red red", "red", False, 2 / 3),
        ("blue", "red", False, 0.0),
        ("", "red", False, 0.0),
        ("", "", False, 0.0),
        ("5", "five", True, 1.0),
        ("5%", "5", False, 0.0),
        ("黒い猫", "猫", False, 0.5),  # one of three, one of one
    ],
)
def test_exact_match_and_token_f1(prediction: str, reference: str, exact: bool, f1: float) -> None:
    match = match_answer(prediction, reference)
    assert match.exact is exact
    assert match.f1 == pytest.approx(f1)


@given(st.text(max_size=60), st.text(max_size=60))
def test_token_f1_is_symmetric_and_1_for_an_exact_match(one: str, other: str) -> None:
    match = match_answer(one, other)
    assert match.f1 == match_answer(other, one).f1
    assert 0 <= match.f1 <= 1
    if match.exact:
        assert match.f1 == 1


@given(st.permutations(["red", "blue", "cat", "cat"]))
def test_token_f1_ignores_word_order(words: list[str]) -> None:
    assert match_answer(" ".join(words), "red blue cat cat").f1 == 1


def test_options_listed_in_a_question() -> None:
    assert list_options(OPTIONS) == {"A": "cat", "B": "a dog", "C": "horse"}
    assert list_options("Pick: (A) one two (B) three") == {"A": "one two", "B": "three"}
    assert list_options("Is it A) or B)?\nA) yes\nB) no")  # does not fail on mentions
    assert list_options("B. cat C. dog") == {}
    assert list_options("A. only") == {}
    assert list_options("What did Dr. A. Smith find?") == {}
    assert list_options("") == {}


@pytest.mark.parametrize("prediction", ["B", "b", "(B)", "B.", "B)", " b. ", "(b)", "B. a dog"])
def test_a_letter_is_found_in_any_notation(prediction: str) -> None:
    assert find_chosen_letter(prediction) == "B"
    assert match_answer(prediction, "B", OPTIONS).letter is True


@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        ("The answer is C", "C"),
        ("The answer is (c).", "C"),
        ("The correct answer is: B.", "B"),
        ("Answer: A", "A"),
        ("I would choose option B because it barks", "B"),
        ("A dog", "B"),  # the option's text, not the letter A
        ("Horse.", "C"),
        ("It must be (C), the horse", "C"),
        ("The answer is a cat", None),
        ("A or B", None),
        ("The answer is A. No, the answer is B.", None),
        ("(A) and (B)", None),
        ("D", None),
        ("elephant", None),
        ("", None),
    ],
)
def test_the_choice_of_a_prediction(prediction: str, letter: str | None) -> None:
    assert find_chosen_letter(prediction, list_options(OPTIONS)) == letter


@pytest.mark.parametrize(
    ("prediction", "reference", "question", "matches"),
    [
        ("B", "a dog", OPTIONS, True),
        ("dog", "B", OPTIONS, True),
        ("cat", "B", OPTIONS, False),
        ("B", "B. a dog", OPTIONS, True),
        ("(a)", "A", "", True),
        ("red", "red", "", None),
        ("red", "red", OPTIONS, None),  # the reference is none of the options
        ("F", "F", "Which letter is shown?", None),
        ("anything", "", OPTIONS, None),
        ("A cat sits here", "A", "", False),
    ],
)
def test_letter_match(prediction: str, reference: str, question: str, matches: bool | None) -> None:
    assert match_answer(prediction, reference, question).letter is matches


def test_all_measures_at_once() -> None:
    assert match_answer("(B)", "B", OPTIONS) == AnswerMatch(True, True, 1.0)
    assert match_answer("The answer is B", "B", OPTIONS) == AnswerMatch(False, True, 0.5)
    assert match_answer("the red", "Red!") == AnswerMatch(True, None, 1.0)


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=200))
def test_any_texts_can_be_compared(prediction: str, reference: str, question: str) -> None:
    found = match_answer(prediction, reference, question)
    assert 0 <= found.f1 <= 1
    if found.letter is None:
        assert not (reference.strip() in list("ABCDE") and not list_options(question))
