"""Signs: a board with a short word or a number in large letters, and questions about it."""

from __future__ import annotations

import random
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
)
from data.synthetic.questions import Question, Wording, ask

WORDS = (
    "STOP", "EXIT", "OPEN", "TAXI", "SALE", "MILK", "PARK", "SLOW", "COLD", "EAST", "WEST", "BANK",
    "CAFE", "HELP", "PUSH", "PULL", "SHOP", "FISH", "BUS", "HOT", "OUT", "ZOO", "BAR", "TEA",
    "ICE", "NEW", "YES", "UP", "GO", "NO", "IN",
)  # fmt: skip
SYMBOLS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
DIGITS = "0123456789"

_LIGHT_INK, _DARK_INK = (252, 252, 250), (38, 40, 44)
_POST = (150, 140, 130)
_FONT_SIZE = 58
_MARGIN = 3
_BOARD_COLOURS = COLOUR_NAMES


@dataclass(frozen=True)
class Sign:
    """The content of a sign, enough to draw it. Each letter fills one cell."""

    background: Colour
    text: str
    board: str
    row: int
    column: int

    def draw(self) -> Image.Image:
        """Return the picture, ``SIDE`` x ``SIDE`` pixels."""
        image = Image.new("RGB", (SIDE, SIDE), self.background)
        draw = ImageDraw.Draw(image)
        left, top = self.column * CELL, self.row * CELL
        right = left + len(self.text) * CELL
        middle = (left + right) // 2
        draw.rectangle((middle - 5, top + CELL // 2, middle + 5, SIDE), fill=_POST)
        image.paste(COLOURS[self.board], (left, top), _board_mask(right - left))
        ink = _DARK_INK if self.board == "yellow" else _LIGHT_INK
        for place, symbol in enumerate(self.text):
            image.paste(ink, (left + place * CELL, top), _symbol_mask(symbol))
        return image

    def patch_labels(self) -> PatchLabels:
        """Return the symbol and the board's colour in each cell."""
        labels = empty_labels("symbol", "colour")
        for place, symbol in enumerate(self.text):
            cell = self.row * CELLS_PER_ROW + self.column + place
            labels["symbol"][cell] = 1 + SYMBOLS.index(symbol)
            labels["colour"][cell] = 1 + COLOUR_NAMES.index(self.board)
        return labels

    @property
    def is_number(self) -> bool:
        """Return whether the sign shows digits."""
        return self.text.isdigit()

    def questions(self, rng: random.Random) -> list[Question]:
        """Return every question that this sign answers, each in one wording."""
        half = "upper" if self.row < CELLS_PER_ROW // 2 else "lower"
        return [
            self._reading(rng),
            self._reading(rng),
            self._symbol(rng, "first", 0),
            self._symbol(rng, "last", -1),
            self._length(rng),
            ask(rng, "board", _BOARD, self.board, _BOARD_COLOURS),
            ask(rng, "sign half", _HALF, half, ("upper", "lower")),
            self._says(rng),
        ]

    def stated_questions(self, rng: random.Random) -> list[Question]:
        """Return questions that state their own (true) answer."""
        pool = _others_like(rng, self.text)
        first = _STATED_NUMBER if self.is_number else _STATED_WORD
        return [
            ask(rng, "stated", first, self.text, pool, stated=self.text),
            ask(rng, "stated", _STATED_BOARD, self.board, _BOARD_COLOURS, stated=self.board),
            ask(rng, "stated", _STATED_TEXT, self.text, pool, stated=self.text),
        ]

    def listing(self) -> str:
        """Return the letters or digits one by one: ``S, T, O, P``."""
        return ", ".join(self.text)

    def listing_question(self, rng: random.Random) -> Question:
        """Return the request to spell the sign; wrong answers are the spellings of other signs."""
        others = (", ".join(text) for text in rng.sample(_others_like(rng, self.text), 3))
        wordings = _LIST_DIGITS if self.is_number else _LIST_LETTERS
        return ask(rng, "list", wordings, self.listing(), others)

    def _reading(self, rng: random.Random) -> Question:
        wordings = _READ_NUMBER if self.is_number else _READ_WORD
        kind = "number" if self.is_number else "word"
        return ask(rng, kind, wordings, self.text, _others_like(rng, self.text))

    def _symbol(self, rng: random.Random, which: str, place: int) -> Question:
        noun, every = ("digit", DIGITS) if self.is_number else ("letter", SYMBOLS[:26])
        return ask(rng, "symbol", _SYMBOL, self.text[place], every, which=which, noun=noun)

    def _length(self, rng: random.Random) -> Question:
        noun = "digits" if self.is_number else "letters"
        number = NUMBERS[len(self.text)]
        return ask(rng, "length", _LENGTH, number, NUMBERS[2 : CELLS_PER_ROW + 1], noun=noun)

    def _says(self, rng: random.Random) -> Question:
        says = rng.random() < 0.5
        text = self.text if says else rng.choice(_others_like(rng, self.text))
        return ask(rng, "says", _SAYS, "yes" if says else "no", ("yes", "no"), text=text)


def random_sign(rng: random.Random) -> Sign:
    """Return a sign with a word, or (one in three) a number of two to four digits."""
    text = rng.choice(WORDS) if rng.random() < 0.66 else _random_number(rng, rng.randint(2, 4))
    row = rng.randrange(CELLS_PER_ROW)
    column = rng.randint(0, CELLS_PER_ROW - len(text))
    return Sign(rng.choice(BACKGROUNDS), text, rng.choice(_BOARD_COLOURS), row, column)


def _random_number(rng: random.Random, length: int) -> str:
    return rng.choice(DIGITS[1:]) + "".join(rng.choice(DIGITS) for _ in range(length - 1))


def _others_like(rng: random.Random, text: str) -> tuple[str, ...]:
    """Return other words, or other numbers of the same length."""
    if not text.isdigit():
        return tuple(word for word in WORDS if word != text)
    numbers = {_random_number(rng, len(text)) for _ in range(8)}
    return tuple(sorted(numbers - {text}))


@cache
def _board_mask(width: int) -> Image.Image:
    """Return the mask of a rounded board, drawn at four times the size and reduced."""
    image = Image.new("L", (width * 4, CELL * 4), 0)
    box = (_MARGIN * 4, _MARGIN * 4, (width - _MARGIN) * 4 - 1, (CELL - _MARGIN) * 4 - 1)
    ImageDraw.Draw(image).rounded_rectangle(box, radius=40, fill=255)
    return image.reduce(4)


@cache
def _symbol_mask(symbol: str) -> Image.Image:
    """Return the mask of a letter or digit centred in a cell, in Pillow's own font."""
    image = Image.new("L", (CELL, CELL), 0)
    font = ImageFont.load_default(_FONT_SIZE)
    draw = ImageDraw.Draw(image)
    # Thickened by a pixel: the model sees a quarter of this size.
    left, top, right, bottom = draw.textbbox((0, 0), symbol, font=font, stroke_width=1)
    place = ((CELL - left - right) / 2, (CELL - top - bottom) / 2)
    draw.text(place, symbol, fill=255, font=font, stroke_width=1)
    return image


_LIST_LETTERS: tuple[Wording, ...] = (
    ("Spell what is written on the sign.", "{value}"),
    ("Type the letters on the board one by one.", "{value}"),
)
_LIST_DIGITS: tuple[Wording, ...] = (
    ("Read the digits on the sign one by one.", "{value}"),
    ("Type the digits on the board one by one.", "{value}"),
)
_READ_WORD: tuple[Wording, ...] = (
    ("What does the sign say?", "{value}"),
    ("Which word is written on the sign?", "{value}"),
    ("Read the word on the board.", "{value}"),
    ("What does the sign say? Answer in a full sentence.", "the sign says {value}."),
)
_READ_NUMBER: tuple[Wording, ...] = (
    ("Which number is on the sign?", "{value}"),
    ("Read the number on the board.", "{value}"),
    ("What number do you see? Answer in a full sentence.", "the number is {value}."),
)
_SYMBOL: tuple[Wording, ...] = (
    ("What is the {which} {noun} on the sign?", "{value}"),
    ("Which {noun} comes {which} on the sign?", "{value}"),
)
_LENGTH: tuple[Wording, ...] = (
    ("How many {noun} are on the sign?", "{value}"),
    ("Count the {noun} on the board.", "{value}"),
    ("How many {noun} does the sign have?", "{value} {noun}"),
)
_BOARD: tuple[Wording, ...] = (
    ("What colour is the sign?", "{value}"),
    ("Which colour does the board have?", "{value}"),
    ("Describe the sign in a few words.", "{a_value} sign"),
)
_HALF: tuple[Wording, ...] = (
    ("Does the sign hang in the upper or in the lower half?", "{value}"),
    ("Is the board in the upper or the lower half of the picture?", "{value}"),
)
_SAYS: tuple[Wording, ...] = (
    ("Does the sign say {text}?", "{value}"),
    ("Is {text} written on the board? Answer yes or no.", "{value}"),
)
_STATED_WORD: tuple[Wording, ...] = (
    ("The sign says {stated}. What does the sign say?", "{value}"),
    ("The word {stated} is written on the board. Which word is it?", "{value}"),
)
_STATED_NUMBER: tuple[Wording, ...] = (
    ("The number on this sign is {stated}. What is the number?", "{value}"),
    ("The board shows the number {stated}. Which number does it show?", "{value}"),
)
_STATED_BOARD: tuple[Wording, ...] = (
    ("Somebody painted this sign {stated}. What colour is the sign?", "{value}"),
    ("The board is painted {stated}. Which colour is the board?", "{value}"),
)
_STATED_TEXT: tuple[Wording, ...] = (
    ("Copy this text: {stated}", "{value}"),
    ("Repeat what the sign reads, {stated}.", "{value}"),
)
