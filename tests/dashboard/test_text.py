"""Word differences and formatted values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dashboard.text import formatting
from dashboard.text.word_differences import Piece, word_differences
from scoring.samples import Status


def test_differing_words_are_marked() -> None:
    one, other = word_differences("The bar is red.", "The bar is dark blue.")
    assert one == [Piece("The bar is ", False), Piece("red", True), Piece(".", False)]
    assert other == [Piece("The bar is ", False), Piece("dark blue", True), Piece(".", False)]


def test_case_is_ignored() -> None:
    one, other = word_differences("YES", "yes")
    assert (one, other) == ([Piece("YES", False)], [Piece("yes", False)])


def test_an_empty_prediction_has_no_pieces() -> None:
    assert word_differences("", "two cats") == ([], [Piece("two cats", True)])


def test_long_texts_are_compared_as_a_whole() -> None:
    long = "word " * 700
    assert word_differences(long, long + "x") == (
        [Piece(long, True)],
        [Piece(long + "x", True)],
    )


@given(st.text(max_size=80), st.text(max_size=80))
def test_the_pieces_add_up_to_the_texts(first: str, second: str) -> None:
    left, right = word_differences(first, second)
    assert "".join(piece.text for piece in left) == first
    assert "".join(piece.text for piece in right) == second


def test_formatted_values() -> None:
    assert formatting.count(665298) == "665,298"
    assert formatting.count(None) == "–"
    assert formatting.share(15, 100) == "15.0 %"
    assert formatting.share(1, 0) == "–"
    assert formatting.score(0.2058) == "+0.206"
    assert formatting.score(-1.2087) == "−1.209"
    assert formatting.score(-0.0001) == "0.000"
    assert formatting.score(float("nan")) == "–"
    assert formatting.limit(-0.25) == "−0.25"
    assert formatting.size(28_000_000) == "26.7 MB"
    assert formatting.duration(45) == "45 s"
    assert formatting.duration(7200) == "2.0 h"
    assert formatting.moment("2026-01-02T03:04:05Z") == "2026-01-02 03:04 UTC"
    assert formatting.moment("yesterday") == "yesterday"
    assert formatting.plural(1, "sample") == "1 sample"
    assert formatting.plural(2000, "sample") == "2,000 samples"


def test_every_status_has_a_name_and_a_meaning() -> None:
    assert set(formatting.STATUS_NAMES) == set(Status) == set(formatting.STATUS_MEANINGS)
    assert formatting.status_name("of a later version") == "of a later version"
