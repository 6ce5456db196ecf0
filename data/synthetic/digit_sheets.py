"""Digit sheets: one to three handwritten digits in different inks, and questions about them.

Every fifth scan is reserved for the demo; the others train the model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from data.synthetic.labels import PatchLabels, empty_labels
from data.synthetic.palette import (
    BACKGROUNDS,
    COLOUR_NAMES,
    COLOURS,
    N_CELLS,
    NUMBERS,
    QUADRANTS,
    Colour,
    quadrant_of,
    with_article,
)
from data.synthetic.questions import Question, Wording, ask
from scoring.demo.digits import DigitMark, draw_digits, load_scans

DEMO_SCANS_EVERY = 5
MAX_DIGITS = 3
DIGIT_WORDS = NUMBERS[:10]

_INKS = tuple(name for name in COLOUR_NAMES if name != "yellow")
"""Yellow strokes on a light ground are hard to read."""


@dataclass(frozen=True)
class Digit:
    """A scan with its ink and its cell."""

    scan: int
    colour: str
    cell: int

    @property
    def word(self) -> str:
        """The digit as a word: ``seven``."""
        return NUMBERS[load_scans()[1][self.scan]]


@dataclass(frozen=True)
class DigitSheet:
    """The content of a sheet, enough to draw it. No two digits have the same ink."""

    background: Colour
    digits: tuple[Digit, ...]

    def marks(self) -> list[DigitMark]:
        """Return the digits as the demo's drawing function takes them."""
        return [DigitMark(digit.scan, COLOURS[digit.colour], digit.cell) for digit in self.digits]

    def draw(self) -> Image.Image:
        """Return the picture, ``SIDE`` x ``SIDE`` pixels."""
        return draw_digits(self.background, self.marks())

    def patch_labels(self) -> PatchLabels:
        """Return the digit and its ink in each cell."""
        labels = empty_labels("digit", "colour")
        for digit in self.digits:
            labels["digit"][digit.cell] = 1 + DIGIT_WORDS.index(digit.word)
            labels["colour"][digit.cell] = 1 + COLOUR_NAMES.index(digit.colour)
        return labels

    def questions(self, rng: random.Random) -> list[Question]:
        """Return every question that this sheet answers, each in one wording."""
        number = NUMBERS[len(self.digits)]
        common = [
            ask(rng, "digits", _COUNT, number, NUMBERS[1 : MAX_DIGITS + 1]),
            self._exists(rng),
        ]
        if len(self.digits) == 1:
            return [*common, *self._about_the_only_one(rng)]
        return [*common, *self._about_each(rng)]

    def stated_questions(self, rng: random.Random) -> list[Question]:
        """Return questions that state their own (true) answer."""
        digit = rng.choice(self.digits)
        slots = {"stated": digit.word, "ink": digit.colour}
        slots |= {"a_stated": with_article(digit.word), "a_ink": with_article(digit.colour)}
        return [
            ask(rng, "stated", _STATED_DIGIT, digit.word, DIGIT_WORDS, **slots),
            ask(rng, "stated", _STATED_INK, digit.colour, _INKS, **slots),
        ]

    def listing(self) -> str:
        """Return all digits in reading order: ``a red seven at the top left, ...``."""
        digits = sorted(self.digits, key=lambda digit: digit.cell)
        return ", ".join(
            f"{with_article(digit.colour)} {digit.word} at the {quadrant_of(digit.cell)}"
            for digit in digits
        )

    def listing_question(self, rng: random.Random) -> Question:
        """Return the request to list all digits; wrong answers are the lists of other sheets."""
        others = (random_digit_sheet(rng).listing() for _ in range(3))
        return ask(rng, "list", _LIST, self.listing(), others)

    def _exists(self, rng: random.Random) -> Question:
        present = sorted({digit.word for digit in self.digits})
        absent = [word for word in DIGIT_WORDS if word not in present]
        word = rng.choice(absent if rng.random() < 0.5 else present)
        value = "yes" if word in present else "no"
        return ask(rng, "digit exists", _EXISTS, value, ("yes", "no"), a_digit=with_article(word))

    def _about_the_only_one(self, rng: random.Random) -> Iterator[Question]:
        digit = self.digits[0]
        number = DIGIT_WORDS.index(digit.word)
        numerals = [str(other) for other in range(10)]
        if rng.random() < 0.7:
            yield ask(rng, "digit", _DIGIT, digit.word, DIGIT_WORDS)
        else:
            yield ask(rng, "digit", _NUMERAL, str(number), numerals)
        parity = "even" if number % 2 == 0 else "odd"
        yield ask(rng, "parity", _PARITY, parity, ("even", "odd"))
        yield ask(rng, "ink", _INK, digit.colour, _INKS, digit="digit")
        place = quadrant_of(digit.cell)
        yield ask(rng, "digit place", _WHERE, place, QUADRANTS, digit="digit")

    def _about_each(self, rng: random.Random) -> Iterator[Question]:
        words = [digit.word for digit in self.digits]
        for digit in self.digits:
            yield ask(rng, "digit in ink", _IN_INK, digit.word, DIGIT_WORDS, ink=digit.colour)
            if words.count(digit.word) == 1:
                yield ask(rng, "ink", _INK, digit.colour, _INKS, digit=digit.word)
                place = quadrant_of(digit.cell)
                yield ask(rng, "digit place", _WHERE, place, QUADRANTS, digit=digit.word)


def random_digit_sheet(rng: random.Random, for_demo: bool = False) -> DigitSheet:
    """Return a sheet of one to three digits, from the demo's scans or from the training scans."""
    number = rng.choice((1, 1, 2, 2, 3))
    scans = rng.sample(scans_for(for_demo), number)
    inks = rng.sample(_INKS, number)
    cells = rng.sample(range(N_CELLS), number)
    digits = [Digit(scans[i], inks[i], cells[i]) for i in range(number)]
    return DigitSheet(rng.choice(BACKGROUNDS), tuple(digits))


def scans_for(demo: bool) -> list[int]:
    """Return the indices of the scans that the demo (or the training) may use."""
    every = range(len(load_scans()[1]))
    return [scan for scan in every if (scan % DEMO_SCANS_EVERY == 0) == demo]


_LIST: tuple[Wording, ...] = (
    ("List all digits on the sheet.", "{value}"),
    ("Describe the sheet.", "{value}."),
)
_DIGIT: tuple[Wording, ...] = (
    ("Which digit is shown?", "{value}"),
    ("What digit did somebody write here?", "{value}"),
    ("Read the handwritten digit.", "{value}"),
    ("Which digit is this? Answer in a full sentence.", "the digit is {a_value}."),
)
_NUMERAL: tuple[Wording, ...] = (
    ("Type the digit that you see.", "{value}"),
    ("Give the handwritten digit as a numeral.", "{value}"),
)
_PARITY: tuple[Wording, ...] = (
    ("Is the digit even or odd?", "{value}"),
    ("Did somebody write an even or an odd digit?", "{value}"),
)
_INK: tuple[Wording, ...] = (
    ("What colour is the {digit}?", "{value}"),
    ("In which ink is the {digit} written?", "{value}"),
    ("Which ink was used for the {digit}?", "{value} ink"),
)
_WHERE: tuple[Wording, ...] = (
    ("Where is the {digit}?", "{value}"),
    ("In which part of the sheet is the {digit}?", "{value}"),
    ("Where is the {digit} written?", "at the {value}"),
)
_IN_INK: tuple[Wording, ...] = (
    ("Which digit is written in {ink}?", "{value}"),
    ("What is the {ink} digit?", "{a_value}"),
    ("Read the digit in {ink} ink.", "{value}"),
    ("Which digit is {ink}? Answer in a full sentence.", "the {ink} digit is {a_value}."),
)
_COUNT: tuple[Wording, ...] = (
    ("How many digits are on the sheet?", "{value}"),
    ("Count the handwritten digits.", "{value}"),
)
_EXISTS: tuple[Wording, ...] = (
    ("Is there {a_digit}?", "{value}"),
    ("Do you see {a_digit} on the sheet? Answer yes or no.", "{value}"),
)
_STATED_DIGIT: tuple[Wording, ...] = (
    ("Somebody wrote {a_stated} here. Which digit did somebody write?", "{value}"),
    ("This is {a_stated} by hand. Which digit is it?", "{value}"),
)
_STATED_INK: tuple[Wording, ...] = (
    ("The {stated} is written in {ink} ink. In which ink is the {stated} written?", "{value}"),
    ("I wrote {a_stated} with {a_ink} pen. What colour was my pen?", "{value}"),
)
