"""Bar charts: two to four bars of different colours and heights, and questions about them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from data.synthetic.labels import PatchLabels, empty_labels
from data.synthetic.palette import (
    BACKGROUNDS,
    CELL,
    CELLS_PER_ROW,
    COLOUR_NAMES,
    COLOURS,
    NUMBERS,
    SIDE,
    Colour,
    counted,
    with_article,
)
from data.synthetic.questions import Question, Wording, ask

MAX_VALUE = 6
MIN_BARS, MAX_BARS = 2, CELLS_PER_ROW

_BASELINE = 244
_UNIT = 38
_BAR_WIDTH = 38
_GRID_COLOUR = (205, 208, 214)
_AXIS_COLOUR = (120, 124, 132)
_ORDINALS = ("first", "second", "third", "fourth")


@dataclass(frozen=True)
class Bar:
    """A bar of height ``value`` (1 to 6 units) in a column of the picture."""

    colour: str
    value: int
    column: int


@dataclass(frozen=True)
class Chart:
    """The content of a bar chart, enough to draw it. No two bars have the same height."""

    background: Colour
    bars: tuple[Bar, ...]

    def draw(self) -> Image.Image:
        """Return the picture, ``SIDE`` x ``SIDE`` pixels."""
        image = _empty_chart(self.background).copy()
        draw = ImageDraw.Draw(image)
        for bar in self.bars:
            left = bar.column * CELL + (CELL - _BAR_WIDTH) // 2
            top = _BASELINE - bar.value * _UNIT
            box = (left, top, left + _BAR_WIDTH, _BASELINE - 1)
            draw.rounded_rectangle(
                box, radius=5, fill=COLOURS[bar.colour], corners=(True, True, False, False)
            )
        return image

    def patch_labels(self) -> PatchLabels:
        """Return the bar's colour, height and rank (1 tallest, 2 middle, 3 shortest) for each
        cell of its column.
        """
        labels = empty_labels("colour", "value", "rank")
        for bar in self.bars:
            column = slice(bar.column, None, CELLS_PER_ROW)
            labels["colour"][column] = 1 + COLOUR_NAMES.index(bar.colour)
            labels["value"][column] = bar.value
            labels["rank"][column] = 1 if bar == self.tallest else 3 if bar == self.shortest else 2
        return labels

    @property
    def tallest(self) -> Bar:
        """The tallest bar."""
        return max(self.bars, key=lambda bar: bar.value)

    @property
    def shortest(self) -> Bar:
        """The shortest bar."""
        return min(self.bars, key=lambda bar: bar.value)

    def questions(self, rng: random.Random) -> list[Question]:
        """Return every question that this chart answers, each in one wording."""
        return [
            ask(rng, "tallest", _TALLEST, self.tallest.colour, COLOUR_NAMES),
            ask(rng, "shortest", _SHORTEST, self.shortest.colour, COLOUR_NAMES),
            self._count(rng),
            self._bar_exists(rng),
            self._compare(rng),
            *self._about_each_bar(rng),
        ]

    def stated_questions(self, rng: random.Random) -> list[Question]:
        """Return questions that state their own (true) answer."""
        bar = rng.choice(self.bars)
        number = counted(len(self.bars), "bar")
        tallest, value = self.tallest.colour, NUMBERS[bar.value]
        slots = {"colour": bar.colour, "stated": value}
        return [
            ask(rng, "stated", _STATED_TALLEST, tallest, COLOUR_NAMES, stated=tallest),
            ask(rng, "stated", _STATED_COUNT, number, _counts(), number=number),
            ask(rng, "stated", _STATED_VALUE, value, NUMBERS[1 : MAX_VALUE + 1], **slots),
        ]

    def listing(self) -> str:
        """Return colour and value of all bars from left to right: ``red six, blue two``."""
        bars = sorted(self.bars, key=lambda bar: bar.column)
        return ", ".join(f"{bar.colour} {NUMBERS[bar.value]}" for bar in bars)

    def listing_question(self, rng: random.Random) -> Question:
        """Return the request to list all bars; wrong answers are the lists of other charts."""
        others = (random_chart(rng).listing() for _ in range(3))
        return ask(rng, "list", _LIST, self.listing(), others)

    def _count(self, rng: random.Random) -> Question:
        number = len(self.bars)
        if rng.random() < 0.5:
            return ask(rng, "bars", _COUNT, NUMBERS[number], NUMBERS[MIN_BARS : MAX_BARS + 1])
        return ask(rng, "bars", _COUNT_PHRASE, counted(number, "bar"), _counts())

    def _bar_exists(self, rng: random.Random) -> Question:
        present = [bar.colour for bar in self.bars]
        absent = [name for name in COLOUR_NAMES if name not in present]
        colour = rng.choice(absent if rng.random() < 0.5 else present)
        value = "yes" if colour in present else "no"
        slots = {"colour": colour, "a_colour": with_article(colour)}
        return ask(rng, "bar exists", _EXISTS, value, ("yes", "no"), **slots)

    def _compare(self, rng: random.Random) -> Question:
        one, other = rng.sample(self.bars, 2)
        slots = {"one": one.colour, "other": other.colour}
        if rng.random() < 0.5:
            value = "yes" if one.value > other.value else "no"
            return ask(rng, "compare", _IS_TALLER, value, ("yes", "no"), **slots)
        taller = max(one, other, key=lambda bar: bar.value).colour
        return ask(rng, "compare", _WHICH_TALLER, taller, (one.colour, other.colour), **slots)

    def _about_each_bar(self, rng: random.Random) -> Iterator[Question]:
        for place, bar in enumerate(sorted(self.bars, key=lambda bar: bar.column)):
            which = _ORDINALS[place]
            yield ask(rng, "nth bar", _NTH, bar.colour, COLOUR_NAMES, which=which)
            pool = NUMBERS[1 : MAX_VALUE + 1]
            yield ask(rng, "value", _VALUE, NUMBERS[bar.value], pool, colour=bar.colour)


def random_chart(rng: random.Random) -> Chart:
    """Return a chart of two to four bars side by side; no two share a height or a colour."""
    number = rng.randint(MIN_BARS, MAX_BARS)
    first = rng.randint(0, CELLS_PER_ROW - number)
    colours = rng.sample(COLOUR_NAMES, number)
    values = rng.sample(range(1, MAX_VALUE + 1), number)
    bars = [Bar(colours[i], values[i], first + i) for i in range(number)]
    return Chart(rng.choice(BACKGROUNDS), tuple(bars))


def _counts() -> tuple[str, ...]:
    return tuple(counted(number, "bar") for number in range(MIN_BARS, MAX_BARS + 1))


@cache
def _empty_chart(background: Colour) -> Image.Image:
    """Return the background with grid lines, axis numbers and the base line."""
    image = Image.new("RGB", (SIDE, SIDE), background)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(11)
    for value in range(1, MAX_VALUE + 1):
        y = _BASELINE - value * _UNIT
        draw.line((13, y, SIDE - 6, y), fill=_GRID_COLOUR, width=1)
        draw.text((3, y - 6), str(value), fill=_AXIS_COLOUR, font=font)
    draw.line((6, _BASELINE, SIDE - 6, _BASELINE), fill=_AXIS_COLOUR, width=2)
    return image


_LIST: tuple[Wording, ...] = (
    ("List the bars and their values from left to right.", "{value}"),
    ("Read the whole chart.", "{value}"),
    ("Describe this chart.", "{value}."),
)
_TALLEST: tuple[Wording, ...] = (
    ("What colour is the tallest bar?", "{value}"),
    ("Which bar is the highest?", "the {value} bar"),
    ("Which colour has the largest value in the chart?", "{value}"),
    ("What colour is the tallest bar? Answer in a full sentence.", "the tallest bar is {value}."),
)
_SHORTEST: tuple[Wording, ...] = (
    ("What colour is the shortest bar?", "{value}"),
    ("Which bar is the lowest?", "the {value} bar"),
    ("Which colour has the smallest value in the chart?", "{value}"),
    ("What colour is the shortest bar? Answer in a full sentence.", "the shortest bar is {value}."),
)
_COUNT: tuple[Wording, ...] = (
    ("How many bars are there?", "{value}"),
    ("Count the bars in this chart.", "{value}"),
)
_COUNT_PHRASE: tuple[Wording, ...] = (
    ("How many bars does the chart have?", "{value}"),
    ("What number of bars do you see?", "{value}"),
)
_EXISTS: tuple[Wording, ...] = (
    ("Is there a bar in {colour}?", "{value}"),
    ("Does the chart have {a_colour} bar? Answer yes or no.", "{value}"),
)
_IS_TALLER: tuple[Wording, ...] = (
    ("Is the {one} bar taller than the {other} bar?", "{value}"),
    ("Does {one} have a larger value than {other}?", "{value}"),
)
_WHICH_TALLER: tuple[Wording, ...] = (
    ("Which bar is taller, the {one} one or the {other} one?", "{value}"),
    ("Which is larger in the chart: {one} or {other}?", "{value}"),
)
_NTH: tuple[Wording, ...] = (
    ("What colour is the {which} bar from the left?", "{value}"),
    ("Name the colour of the {which} bar.", "{value}"),
    ("Describe the {which} bar from the left.", "{a_value} bar"),
)
_VALUE: tuple[Wording, ...] = (
    ("What is the value of the {colour} bar?", "{value}"),
    ("How high is the {colour} bar?", "{value}"),
    ("Read the value of the {colour} bar. Answer in a full sentence.", "its value is {value}."),
)
_STATED_TALLEST: tuple[Wording, ...] = (
    ("The tallest bar in this chart is {stated}. What colour is the tallest bar?", "{value}"),
    ("The largest value belongs to {stated}. Which colour has the largest value?", "{value}"),
)
_STATED_COUNT: tuple[Wording, ...] = (
    ("This chart has {number}. How many bars does it have?", "{value}"),
    ("Here is a chart with {number}. How many bars are in it?", "{value}"),
)
_STATED_VALUE: tuple[Wording, ...] = (
    ("The {colour} bar has the value {stated}. What is the value of the {colour} bar?", "{value}"),
    ("In this chart, {colour} stands at {stated}. What is the value of {colour}?", "{value}"),
)
