"""The filter grammar: one written form, and errors that name the part and the alternatives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.database.filters import DECISIONS, Filter, Range, parse_filter
from scoring.errors import FilterError
from scoring.necessity import Category
from scoring.samples import Status

EXAMPLE = Filter(
    source=("scenes", "digits"),
    category=(Category.MISALIGNED,),
    visnec=Range(-1, 0.25),
    tokens=Range(3, None),
    decision=("none",),
    text="what colour",
)
WRITTEN = (
    "source:digits,scenes category:misaligned decision:none visnec:-1..0.25 tokens:3.. "
    'text:"what colour"'
)


def test_one_written_form() -> None:
    assert str(EXAMPLE) == WRITTEN
    assert parse_filter(WRITTEN) == EXAMPLE


def test_parts_and_values_come_in_any_order() -> None:
    text = 'text:"what colour"  tokens:3..\tsource:scenes,digits,scenes decision:none '
    assert parse_filter(text + "category:misaligned visnec:-1.0..25e-2") == EXAMPLE


def test_an_empty_filter_means_everything() -> None:
    assert parse_filter("  ") == Filter()
    assert str(Filter()) == ""
    assert not Filter()
    assert EXAMPLE


def test_values_with_spaces_and_marks_are_quoted() -> None:
    which = Filter(source=("my set", 'a"b', "c,d", "e:f", "", "back\\slash"))
    assert '"my set"' in str(which)
    assert parse_filter(str(which)) == which


def test_a_word_needs_no_quotation_marks() -> None:
    assert parse_filter("text:colour source:größe").text == "colour"


ranges = st.tuples(st.none() | st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6)).filter(
    lambda pair: pair != (None, None)
)
open_ranges = ranges.map(
    lambda pair: Range(*sorted(pair)) if None not in pair else Range(*pair)  # type: ignore[type-var]
)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
filters = st.builds(
    Filter,
    source=st.lists(texts, max_size=3).map(tuple),
    cluster=st.lists(st.integers(0, 10_000), max_size=3).map(tuple),
    category=st.lists(st.sampled_from(Category), max_size=3).map(tuple),
    status=st.lists(st.sampled_from(Status), max_size=3).map(tuple),
    decision=st.lists(st.sampled_from(DECISIONS), max_size=4).map(tuple),
    visnec=st.none() | open_ranges,
    loss_text=st.none() | open_ranges,
    loss_multimodal=st.none() | open_ranges,
    tokens=st.none() | open_ranges,
    text=st.none() | texts.filter(lambda text: not text.startswith("~/")),
)


@given(filters)
def test_written_filter_parses_to_an_equal_one(which: Filter) -> None:
    assert parse_filter(str(which)) == which
    assert str(parse_filter(str(which))) == str(which)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("colour", ["'colour'", "source, cluster", "text:colour"]),
        ("colour:red", ["'colour'", "visnec"]),
        ("visnec:0.5", ["visnec:0.5", "visnec:0.25.."]),
        ("visnec:a..b", ["visnec:a..b"]),
        ("visnec:..", ["lower or an upper limit"]),
        ("visnec:2..1", ["2..1", "Swap"]),
        ("visnec:..inf", ["finite"]),
        ("visnec:nan..", ["finite"]),
        ("visnec:0..1,2..3", ["one value"]),
        ("category:critical", ["'critical'", "vision-critical"]),
        ("status:broken", ["'broken'", "bad_image"]),
        ("decision:maybe", ["'maybe'", "keep, drop, unsure, none"]),
        ("cluster:three", ["'three'", "cluster:0,7"]),
        ("source:a source:b", ["twice", "source:a,b"]),
        ("source:", ["no value"]),
        ("source:a,", ["no value"]),
        ('text:"open', ["unclosed"]),
        ('source:a"b"', ["without a space"]),
        (r'text:"\x"', ["quoted"]),
    ],
)
def test_errors_name_the_part_and_what_it_accepts(text: str, names: list[str]) -> None:
    with pytest.raises(FilterError) as error:
        parse_filter(text)
    for name in names:
        assert name in str(error.value)


def test_values_are_checked_in_python_too() -> None:
    with pytest.raises(FilterError, match="decision"):
        Filter(decision=("maybe",))
    with pytest.raises(FilterError, match="source: does not accept 'scenes'"):
        Filter(source="scenes")  # type: ignore[arg-type]
    assert Filter(category=("redundant",)).category == (  # type: ignore[arg-type]
        Category.REDUNDANT,
    )
