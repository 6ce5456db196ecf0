"""Scenes: one to four coloured shapes on a plain background, and questions about them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import cos, pi, sin

from PIL import Image, ImageDraw

from data.synthetic.labels import PatchLabels, empty_labels
from data.synthetic.palette import (
    BACKGROUNDS,
    CELL,
    COLOUR_NAMES,
    COLOURS,
    N_CELLS,
    NUMBERS,
    QUADRANTS,
    SIDE,
    Colour,
    cell_corner,
    counted,
    plural,
    quadrant_of,
    with_article,
)
from data.synthetic.questions import Question, Wording, ask

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
MAX_THINGS = 4

_OVERSAMPLE = 4
_MIN_RADIUS, _MAX_RADIUS, _JITTER = 23, 28, 3


@dataclass(frozen=True)
class Thing:
    """A shape in a cell; ``dx`` and ``dy`` move its centre by a few pixels."""

    shape: str
    colour: str
    cell: int
    radius: int
    dx: int
    dy: int

    @property
    def name(self) -> str:
        """``red circle``."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """The content of a scene, enough to draw it."""

    background: Colour
    things: tuple[Thing, ...]

    def draw(self) -> Image.Image:
        """Return the picture, ``SIDE`` x ``SIDE`` pixels."""
        image = Image.new("RGB", (SIDE, SIDE), self.background)
        for thing in self.things:
            left, top = cell_corner(thing.cell)
            mask = _shape_mask(thing.shape, thing.radius)
            corner = CELL // 2 - thing.radius
            place = (left + corner + thing.dx, top + corner + thing.dy)
            image.paste(COLOURS[thing.colour], place, mask)
        return image

    def patch_labels(self) -> PatchLabels:
        """Return the shape and the colour in each cell."""
        labels = empty_labels("shape", "colour")
        for thing in self.things:
            labels["shape"][thing.cell] = 1 + SHAPES.index(thing.shape)
            labels["colour"][thing.cell] = 1 + COLOUR_NAMES.index(thing.colour)
        return labels

    def questions(self, rng: random.Random) -> list[Question]:
        """Return every question that this scene answers, each in one wording."""
        return [
            *self._about_each_thing(rng),
            self._count(rng),
            self._count_of_colour(rng),
            self._count_of_shape(rng),
            self._shape_exists(rng),
            self._colour_exists(rng),
        ]

    def stated_questions(self, rng: random.Random) -> list[Question]:
        """Return questions that state their own (true) answer."""
        thing = rng.choice(self.things)
        slots = {"shape": thing.shape, "colour": thing.colour, "a_name": with_article(thing.name)}
        number = counted(len(self.things), "shape")
        return [
            ask(rng, "stated", _STATED_COLOUR, thing.colour, COLOUR_NAMES, **slots),
            ask(rng, "stated", _STATED_SHAPE, thing.shape, SHAPES, **slots),
            ask(rng, "stated", _STATED_COUNT, number, _counts("shape"), number=number),
        ]

    def listing(self) -> str:
        """Return all shapes in reading order: ``a red circle at the top left, ...``."""
        things = sorted(self.things, key=lambda thing: thing.cell)
        return ", ".join(
            f"{with_article(thing.name)} at the {quadrant_of(thing.cell)}" for thing in things
        )

    def listing_question(self, rng: random.Random) -> Question:
        """Return the request to list everything; wrong answers are the lists of other scenes."""
        others = (random_scene(rng).listing() for _ in range(3))
        return ask(rng, "list", _LIST, self.listing(), others)

    def _about_each_thing(self, rng: random.Random) -> Iterator[Question]:
        shapes = [thing.shape for thing in self.things]
        colours = [thing.colour for thing in self.things]
        quadrants = [quadrant_of(thing.cell) for thing in self.things]
        for thing in self.things:
            quadrant = quadrant_of(thing.cell)
            if shapes.count(thing.shape) == 1:
                yield ask(rng, "colour", _COLOUR, thing.colour, COLOUR_NAMES, shape=thing.shape)
                yield from _places(rng, thing.shape, thing.cell)
            if colours.count(thing.colour) == 1:
                yield ask(rng, "shape", _SHAPE, thing.shape, SHAPES, colour=thing.colour)
            if quadrants.count(quadrant) == 1:
                yield ask(
                    rng, "at place", _AT_PLACE, thing.name, _names(rng, thing), place=quadrant
                )

    def _count(self, rng: random.Random) -> Question:
        number = len(self.things)
        if rng.random() < 0.5:
            return ask(rng, "count", _COUNT, NUMBERS[number], NUMBERS[1 : MAX_THINGS + 1])
        return ask(rng, "count", _COUNT_PHRASE, counted(number, "shape"), _counts("shape"))

    def _count_of_colour(self, rng: random.Random) -> Question:
        colour = rng.choice(self.things).colour
        number = sum(thing.colour == colour for thing in self.things)
        pool = NUMBERS[1 : MAX_THINGS + 1]
        return ask(rng, "count of colour", _COUNT_COLOUR, NUMBERS[number], pool, colour=colour)

    def _count_of_shape(self, rng: random.Random) -> Question:
        shape = rng.choice(self.things).shape
        number = sum(thing.shape == shape for thing in self.things)
        pool = NUMBERS[1 : MAX_THINGS + 1]
        return ask(rng, "count of shape", _COUNT_SHAPE, NUMBERS[number], pool, shapes=plural(shape))

    def _shape_exists(self, rng: random.Random) -> Question:
        present = {thing.shape for thing in self.things}
        shape = _present_or_absent(rng, present, SHAPES)
        return _exists(rng, with_article(shape), shape in present)

    def _colour_exists(self, rng: random.Random) -> Question:
        present = {thing.colour for thing in self.things}
        colour = _present_or_absent(rng, present, COLOUR_NAMES)
        return _exists(rng, with_article(f"{colour} shape"), colour in present)


def random_scene(rng: random.Random) -> Scene:
    """Return a scene of one to four shapes in different cells."""
    number = rng.randint(1, MAX_THINGS)
    cells = rng.sample(range(N_CELLS), number)
    # Some scenes repeat a shape or a colour; otherwise nearly every count would be one.
    shapes = rng.sample(SHAPES, rng.choice((1, 2, 6)))
    colours = rng.sample(COLOUR_NAMES, rng.choice((1, 3, 7, 7)))
    things = [_random_thing(rng, cell, shapes, colours) for cell in cells]
    return Scene(rng.choice(BACKGROUNDS), tuple(things))


def _random_thing(
    rng: random.Random, cell: int, shapes: Sequence[str], colours: Sequence[str]
) -> Thing:
    radius = rng.randint(_MIN_RADIUS, _MAX_RADIUS)
    dx, dy = rng.randint(-_JITTER, _JITTER), rng.randint(-_JITTER, _JITTER)
    return Thing(rng.choice(shapes), rng.choice(colours), cell, radius, dx, dy)


def _present_or_absent(rng: random.Random, present: set[str], every: tuple[str, ...]) -> str:
    """Pick a present value half of the time, which makes yes and no equally likely."""
    absent = [value for value in every if value not in present]
    return rng.choice(absent if rng.random() < 0.5 else sorted(present))


def _exists(rng: random.Random, what: str, present: bool) -> Question:
    if rng.random() < 0.3:
        pool = (f"yes, there is {what}.", f"no, there is not {what}.")
        return ask(rng, "exists", _EXISTS_SENTENCE, pool[0 if present else 1], pool, what=what)
    return ask(rng, "exists", _EXISTS, "yes" if present else "no", ("yes", "no"), what=what)


def _places(rng: random.Random, shape: str, cell: int) -> Iterator[Question]:
    quadrant = quadrant_of(cell)
    vertical, horizontal = quadrant.split()
    yield ask(rng, "position", _WHERE, quadrant, QUADRANTS, shape=shape)
    if rng.random() < 0.5:
        yield ask(rng, "half", _TOP_OR_BOTTOM, vertical, ("top", "bottom"), shape=shape)
    else:
        yield ask(rng, "half", _LEFT_OR_RIGHT, horizontal, ("left", "right"), shape=shape)


def _counts(noun: str) -> tuple[str, ...]:
    return tuple(counted(number, noun) for number in range(1, MAX_THINGS + 1))


def _names(rng: random.Random, thing: Thing) -> tuple[str, ...]:
    """Return the name of the thing and wrong names: other colour, other shape, or both."""
    colour = rng.choice([name for name in COLOUR_NAMES if name != thing.colour])
    shape = rng.choice([name for name in SHAPES if name != thing.shape])
    return thing.name, f"{colour} {thing.shape}", f"{thing.colour} {shape}", f"{colour} {shape}"


@cache
def _shape_mask(shape: str, radius: int) -> Image.Image:
    """Return an antialiased mask of ``2 * radius`` pixels, drawn larger and reduced."""
    size = 2 * radius * _OVERSAMPLE
    image = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((0, 0, size - 1, size - 1), fill=255)
    elif shape == "heart":
        _draw_heart(draw, size)
    else:
        corners = [(x * size, y * size) for x, y in _outline(shape)]
        draw.polygon(corners, fill=255)
    return image.reduce(_OVERSAMPLE)


def _outline(shape: str) -> list[tuple[float, float]]:
    """Return the corners of a polygon inside the unit square."""
    if shape == "square":
        return [(0.07, 0.07), (0.93, 0.07), (0.93, 0.93), (0.07, 0.93)]
    if shape == "triangle":
        return [(0.5, 0.05), (1.0, 0.93), (0.0, 0.93)]
    if shape == "cross":
        near, far = 0.33, 0.67
        return [
            (near, 0), (far, 0), (far, near), (1, near), (1, far), (far, far),
            (far, 1), (near, 1), (near, far), (0, far), (0, near), (near, near),
        ]  # fmt: skip
    reach = [0.52 if corner % 2 == 0 else 0.21 for corner in range(10)]
    turns = [pi * corner / 5 - pi / 2 for corner in range(10)]
    return [
        (0.5 + r * cos(turn), 0.53 + r * sin(turn)) for r, turn in zip(reach, turns, strict=True)
    ]


def _draw_heart(draw: ImageDraw.ImageDraw, size: int) -> None:
    """Draw the curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t."""
    points = []
    for step in range(120):
        t = 2 * pi * step / 120
        x = 16 * sin(t) ** 3
        y = 13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)
        points.append((size * (0.5 + x / 33), size * (0.46 - y / 33)))
    draw.polygon(points, fill=255)


_LIST: tuple[Wording, ...] = (
    ("List everything in the picture.", "{value}"),
    ("Describe the picture.", "{value}."),
    ("What do you see, and where?", "{value}"),
)
_COLOUR: tuple[Wording, ...] = (
    ("What colour is the {shape}?", "{value}"),
    ("Which colour does the {shape} have?", "{value}"),
    ("Tell me the colour of the {shape}.", "{value}"),
    ("Name the colour of the {shape} in this picture.", "{value}"),
    ("What colour is the {shape}? Answer in a full sentence.", "the {shape} is {value}."),
)
_SHAPE: tuple[Wording, ...] = (
    ("What shape is {colour}?", "{value}"),
    ("Which shape is drawn in {colour}?", "{value}"),
    ("What is the {colour} thing in the picture?", "{a_value}"),
    ("Name the {colour} shape.", "{value}"),
    ("What is the {colour} thing? Answer in a full sentence.", "it is {a_value}."),
)
_AT_PLACE: tuple[Wording, ...] = (
    ("What is in the {place} part of the picture?", "{a_value}"),
    ("Which object do you see at the {place}?", "{a_value}"),
    ("Describe what is at the {place}.", "{a_value}"),
)
_WHERE: tuple[Wording, ...] = (
    ("Where is the {shape}?", "{value}"),
    ("In which part of the picture is the {shape}?", "{value}"),
    ("Where can I find the {shape}?", "at the {value}"),
    ("Where is the {shape}? Answer in a full sentence.", "the {shape} is at the {value}."),
)
_TOP_OR_BOTTOM: tuple[Wording, ...] = (
    ("Is the {shape} in the top or the bottom half?", "{value}"),
    ("Does the {shape} lie in the top half or in the bottom half?", "{value}"),
)
_LEFT_OR_RIGHT: tuple[Wording, ...] = (
    ("Is the {shape} in the left or the right half?", "{value}"),
    ("Is the {shape} on the left side or on the right side?", "{value}"),
)
_COUNT: tuple[Wording, ...] = (
    ("How many shapes are there?", "{value}"),
    ("How many objects are in the picture?", "{value}"),
    ("Count the shapes.", "{value}"),
    ("What is the number of shapes here?", "{value}"),
)
_COUNT_PHRASE: tuple[Wording, ...] = (
    ("How many shapes can you see?", "{value}"),
    ("How many shapes does the picture show?", "{value}"),
)
_COUNT_COLOUR: tuple[Wording, ...] = (
    ("How many shapes are {colour}?", "{value}"),
    ("How many {colour} shapes are there?", "{value}"),
    ("Count the {colour} shapes.", "{value}"),
)
_COUNT_SHAPE: tuple[Wording, ...] = (
    ("How many {shapes} are there?", "{value}"),
    ("Count the {shapes}.", "{value}"),
)
_EXISTS: tuple[Wording, ...] = (
    ("Is there {what}?", "{value}"),
    ("Can you see {what} in the picture?", "{value}"),
    ("Does the picture contain {what}?", "{value}"),
    ("Is {what} present? Answer yes or no.", "{value}"),
)
_EXISTS_SENTENCE: tuple[Wording, ...] = (
    ("Is there {what}? Answer in a full sentence.", "{value}"),
    ("Tell me whether there is {what}.", "{value}"),
)
_STATED_COLOUR: tuple[Wording, ...] = (
    ("This picture shows {a_name}. What colour is the {shape}?", "{value}"),
    ("Here is a picture with {a_name} in it. Which colour does the {shape} have?", "{value}"),
    ("The {shape} is {colour}. What colour is the {shape}?", "{value}"),
)
_STATED_SHAPE: tuple[Wording, ...] = (
    ("The {colour} thing in this picture is a {shape}. What is the {colour} thing?", "{a_value}"),
    ("The {colour} shape is a {shape}. What shape is {colour}?", "{value}"),
)
_STATED_COUNT: tuple[Wording, ...] = (
    ("The picture shows {number}. How many shapes does the picture show?", "{value}"),
    ("There is a picture with {number} on it. How many shapes are on it?", "{value}"),
)
