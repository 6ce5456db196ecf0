"""Questions that text alone answers: facts, sums, opposites, and what the question itself states.

Every family has several wordings, and one question in four (decided by its text, see
``is_demo_question``) is reserved for the demo. A fact of the demo may occur in the training data in
other words, but its question does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from data.synthetic.palette import COLOUR_NAMES, NUMBERS, is_held_out, with_article
from data.synthetic.questions import Question, Wording, ask
from data.synthetic.signs import WORDS

DEMO_QUESTIONS_ONE_IN = 4
_MAX_DRAWS = 200
_FRAMED_SHARE = 0.4

Family = Callable[[random.Random], Question]


def is_demo_question(text: str) -> bool:
    """Return whether a question that text alone answers is reserved for the demo."""
    return is_held_out(text, DEMO_QUESTIONS_ONE_IN)


def random_fact(rng: random.Random, families: tuple[str, ...], for_demo: bool) -> Question:
    """Return a random question of one of the families, from the demo's side or the training's."""
    for _ in range(_MAX_DRAWS):
        question = _frame(rng, FAMILIES[rng.choice(families)](rng))
        if is_demo_question(question.text) == for_demo:
            return question
    raise ValueError(
        f"no question of {families} on this side of the hold-out in {_MAX_DRAWS} draws"
    )


def _frame(rng: random.Random, question: Question) -> Question:
    """Sometimes put a few polite words around a question, for more variety."""
    before, after = rng.choice(_FRAMES) if rng.random() < _FRAMED_SHARE else ("", "")
    return replace(question, text=before + question.text + after)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _colour(rng: random.Random) -> Question:
    thing = rng.choice(sorted(_THING_COLOURS))
    pool = sorted(set(_THING_COLOURS.values()))
    slots = {"thing": thing, "Thing": _capital(thing)}
    return ask(rng, "fact", _COLOUR, _THING_COLOURS[thing], pool, **slots)


def _parts(rng: random.Random) -> Question:
    thing, part, number = rng.choice(_THING_PARTS)
    slots = {"thing": thing, "Thing": _capital(thing), "parts": part}
    return ask(rng, "fact", _PARTS, NUMBERS[number], NUMBERS, **slots)


def _opposite(rng: random.Random) -> Question:
    pair = rng.choice(_OPPOSITES)
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    return ask(rng, "fact", _OPPOSITE, other, (), word=word)


def _next_number(rng: random.Random) -> Question:
    number = rng.randint(1, 9)
    after = rng.random() < 0.5
    value = NUMBERS[number + 1 if after else number - 1]
    relation = "after" if after else "before"
    slots = {"noun": "number", "item": NUMBERS[number], "relation": relation}
    return ask(rng, "sequence", _SEQUENCE, value, NUMBERS, **slots)


def _next_day(rng: random.Random) -> Question:
    series, noun = rng.choice(((_DAYS, "day"), (_MONTHS, "month"), (tuple("ABCDEFGHIJ"), "letter")))
    place = rng.randint(1, len(series) - 2)
    after = rng.random() < 0.5
    value = series[place + 1 if after else place - 1]
    slots = {"noun": noun, "item": series[place], "relation": "after" if after else "before"}
    return ask(rng, "sequence", _SEQUENCE, value, series, **slots)


def _sum(rng: random.Random) -> Question:
    one, other = rng.randint(0, 5), rng.randint(0, 5)
    slots = {"one": NUMBERS[one], "other": NUMBERS[other], "One": _capital(NUMBERS[one])}
    return ask(rng, "sum", _SUM, NUMBERS[one + other], NUMBERS, **slots)


def _difference(rng: random.Random) -> Question:
    one = rng.randint(1, 9)
    other = rng.randint(0, min(one, 5))
    slots = {"one": NUMBERS[one], "other": NUMBERS[other], "One": _capital(NUMBERS[one])}
    return ask(rng, "sum", _DIFFERENCE, NUMBERS[one - other], NUMBERS, **slots)


def _larger(rng: random.Random) -> Question:
    one, other = rng.sample(range(10), 2)
    value = "yes" if one > other else "no"
    return ask(rng, "sum", _LARGER, value, ("yes", "no"), one=NUMBERS[one], other=NUMBERS[other])


def _mixture(rng: random.Random) -> Question:
    one, other, mixed = rng.choice(_MIXTURES)
    if rng.random() < 0.5:
        one, other = other, one
    pool = sorted({mixture[2] for mixture in _MIXTURES})
    return ask(rng, "fact", _MIXTURE, mixed, pool, one=one, other=other)


def _ability(rng: random.Random) -> Question:
    verb = rng.choice(sorted(_ABLE))
    able = rng.random() < 0.5
    thing = rng.choice(_ABLE[verb][0 if able else 1])
    value = "yes" if able else "no"
    return ask(rng, "fact", _ABILITY, value, ("yes", "no"), thing=with_article(thing), verb=verb)


def _capital_city(rng: random.Random) -> Question:
    country = rng.choice(sorted(_CAPITALS))
    pool = sorted(_CAPITALS.values())
    return ask(rng, "fact", _CAPITAL, _CAPITALS[country], pool, country=country)


def _group(rng: random.Random) -> Question:
    group = rng.choice(sorted(_GROUPS))
    thing = with_article(rng.choice(_GROUPS[group]))
    slots = {"thing": thing, "Thing": _capital(thing)}
    return ask(rng, "fact", _GROUP, group, sorted(_GROUPS), **slots)


def _stated_colour(rng: random.Random) -> Question:
    noun, colour = rng.choice(_NOUNS), rng.choice((*COLOUR_NAMES, "white", "brown", "grey"))
    slots = {"noun": noun, "colour": colour}
    slots |= {"a_noun": with_article(noun), "a_colour": with_article(colour)}
    return ask(rng, "stated elsewhere", _STATED_COLOUR, colour, COLOUR_NAMES, **slots)


def _stated_number(rng: random.Random) -> Question:
    noun, number = rng.choice(_NOUNS), NUMBERS[rng.randint(2, 10)]
    return ask(
        rng, "stated elsewhere", _STATED_NUMBER, number, NUMBERS, nouns=noun + "s", number=number
    )


def _first_letter(rng: random.Random) -> Question:
    word = rng.choice(WORDS)
    which, letter = rng.choice((("first", word[0]), ("last", word[-1])))
    pool = sorted({text[0] for text in WORDS})
    return ask(rng, "spelling", _LETTER, letter, pool, word=word, which=which)


def _word_length(rng: random.Random) -> Question:
    word = rng.choice(WORDS)
    return ask(rng, "spelling", _LENGTH, NUMBERS[len(word)], NUMBERS[2:5], word=word)


FAMILIES: dict[str, Family] = {
    "colour": _colour,
    "parts": _parts,
    "opposite": _opposite,
    "next number": _next_number,
    "next day": _next_day,
    "sum": _sum,
    "difference": _difference,
    "larger": _larger,
    "mixture": _mixture,
    "ability": _ability,
    "capital": _capital_city,
    "group": _group,
    "stated colour": _stated_colour,
    "stated number": _stated_number,
    "first letter": _first_letter,
    "word length": _word_length,
}
ALL_FAMILIES = tuple(FAMILIES)

_FRAMES = (
    ("Quick question: ", ""), ("Please answer: ", ""), ("Quiz: ", ""), ("Next question: ", ""),
    ("Tell me: ", ""), ("Hello! ", ""), ("", " Thank you."), ("", " Thanks."),
)  # fmt: skip

_THING_COLOURS = {
    "fresh snow": "white", "milk": "white", "salt": "white", "a polar bear": "white",
    "fresh grass": "green", "a lime": "green", "a cucumber": "green", "spinach": "green",
    "blood": "red", "a ripe tomato": "red", "a strawberry": "red", "a fire engine": "red",
    "a ripe banana": "yellow", "a lemon": "yellow", "a sunflower": "yellow",
    "coal": "black", "a raven": "black", "the night sky": "black",
    "a carrot": "orange", "a pumpkin": "orange", "a tangerine": "orange",
    "the sea on a sunny day": "blue", "the sky on a clear day": "blue", "a blueberry": "blue",
    "an aubergine": "purple", "lavender": "purple",
    "chocolate": "brown", "a coffee bean": "brown",
    "an elephant": "grey", "concrete": "grey",
}  # fmt: skip
_COLOUR: tuple[Wording, ...] = (
    ("What colour is {thing}?", "{value}"),
    ("Which colour does {thing} usually have?", "{value}"),
    ("Tell me the usual colour of {thing}.", "{value}"),
    ("{Thing} is usually which colour?", "{value}"),
    ("What colour is {thing}? Answer in a full sentence.", "{Thing} is {value}."),
)
_THING_PARTS = (
    ("a spider", "legs", 8), ("a cat", "legs", 4), ("a bird", "legs", 2), ("an ant", "legs", 6),
    ("a horse", "legs", 4), ("a bicycle", "wheels", 2), ("a car", "wheels", 4),
    ("a tricycle", "wheels", 3), ("a triangle", "sides", 3), ("a square", "sides", 4),
    ("a hexagon", "sides", 6), ("a pentagon", "sides", 5), ("an octagon", "sides", 8),
    ("a week", "days", 7), ("a hand", "fingers", 5), ("a person", "eyes", 2),
    ("a giraffe", "legs", 4), ("an octopus", "arms", 8), ("a year", "seasons", 4),
)  # fmt: skip
_PARTS: tuple[Wording, ...] = (
    ("How many {parts} does {thing} have?", "{value}"),
    ("{Thing} has how many {parts}?", "{value}"),
    ("What number of {parts} does {thing} have?", "{value}"),
    ("How many {parts} belong to {thing}?", "{value} {parts}"),
)
_OPPOSITES = (
    ("hot", "cold"), ("up", "down"), ("open", "closed"), ("big", "small"), ("day", "night"),
    ("left", "right"), ("yes", "no"), ("fast", "slow"), ("in", "out"), ("push", "pull"),
    ("early", "late"), ("wet", "dry"), ("old", "new"), ("east", "west"), ("north", "south"),
    ("full", "empty"), ("black", "white"), ("high", "low"), ("first", "last"), ("even", "odd"),
)  # fmt: skip
_OPPOSITE: tuple[Wording, ...] = (
    ("What is the opposite of {word}?", "{value}"),
    ("Which word means the opposite of {word}?", "{value}"),
    ("Give the opposite of {word}.", "{value}"),
    ("What is the opposite of {word}? Answer in a full sentence.",
     "the opposite of {word} is {value}."),
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_SEQUENCE: tuple[Wording, ...] = (
    ("Which {noun} comes {relation} {item}?", "{value}"),
    ("What {noun} is directly {relation} {item}?", "{value}"),
    ("Name the {noun} {relation} {item}.", "{value}"),
    ("Which {noun} comes {relation} {item}? Answer in a full sentence.",
     "{value} comes {relation} {item}."),
)  # fmt: skip
_SUM: tuple[Wording, ...] = (
    ("What is {one} plus {other}?", "{value}"),
    ("How much is {one} plus {other}?", "{value}"),
    ("Add {one} and {other}.", "{value}"),
    ("What is {one} plus {other}? Answer in a full sentence.", "{One} plus {other} is {value}."),
)
_DIFFERENCE: tuple[Wording, ...] = (
    ("What is {one} minus {other}?", "{value}"),
    ("How much is {one} minus {other}?", "{value}"),
    ("Take {other} away from {one}.", "{value}"),
    ("What is {one} minus {other}? Answer in a full sentence.", "{One} minus {other} is {value}."),
)
_LARGER: tuple[Wording, ...] = (
    ("Is {one} larger than {other}?", "{value}"),
    ("Is {one} more than {other}?", "{value}"),
    ("Is the number {one} greater than {other}? Answer yes or no.", "{value}"),
)
_MIXTURES = (
    ("blue", "yellow", "green"), ("red", "yellow", "orange"), ("red", "blue", "purple"),
    ("black", "white", "grey"), ("red", "white", "pink"),
)  # fmt: skip
_MIXTURE: tuple[Wording, ...] = (
    ("What colour do you get when you mix {one} and {other}?", "{value}"),
    ("Which colour do {one} and {other} make together?", "{value}"),
    ("Mix {one} paint with {other} paint: which colour is it?", "{value}"),
    ("If I mix {one} and {other}, what colour do I get?", "{value}"),
)
_ABLE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fly": (("bird", "plane", "bee", "bat", "kite"), ("dog", "stone", "car", "cow", "spoon")),
    "swim": (
        ("fish", "duck", "whale", "frog", "shark"),
        ("brick", "chair", "stone", "tree", "key"),
    ),
    "bark": (("dog", "puppy"), ("cat", "fish", "bird")),
}
_ABILITY: tuple[Wording, ...] = (
    ("Can {thing} {verb}?", "{value}"),
    ("Is {thing} able to {verb}?", "{value}"),
    ("Does {thing} know how to {verb}?", "{value}"),
)
_CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo",
    "Germany": "Berlin", "Austria": "Vienna", "Greece": "Athens", "Norway": "Oslo", "Peru": "Lima",
}  # fmt: skip
_CAPITAL: tuple[Wording, ...] = (
    ("What is the capital of {country}?", "{value}"),
    ("Which city is the capital of {country}?", "{value}"),
    ("Name the capital of {country}.", "{value}"),
    ("What is the capital of {country}? Answer in a full sentence.",
     "the capital of {country} is {value}."),
)  # fmt: skip
_GROUPS = {
    "fruit": ("banana", "pear", "apple", "cherry"),
    "flower": ("rose", "tulip", "daisy"),
    "animal": ("dog", "horse", "cow", "lion"),
    "tool": ("hammer", "saw", "drill"),
    "vehicle": ("car", "bus", "truck", "tram"),
}
_GROUP: tuple[Wording, ...] = (
    ("What kind of thing is {thing}?", "{a_value}"),
    ("{Thing} is a kind of what?", "{value}"),
    ("Is {thing} a fruit, a flower, an animal, a tool or a vehicle?", "{a_value}"),
)
_NOUNS = (
    "car", "hat", "ball", "house", "shirt", "door", "cup", "bag", "chair", "boat", "coat", "lamp",
    "book", "train", "bird", "phone",
)  # fmt: skip
_STATED_COLOUR: tuple[Wording, ...] = (
    ("The {noun} is {colour}. What colour is the {noun}?", "{value}"),
    ("My {noun} is {colour}. Which colour is my {noun}?", "{value}"),
    ("I bought {a_noun} in {colour}. What colour did I buy?", "{value}"),
    ("Our neighbour has {a_colour} {noun}. What colour is it?", "{value}"),
)
_STATED_NUMBER: tuple[Wording, ...] = (
    ("I have {number} {nouns}. How many {nouns} do I have?", "{value}"),
    ("There are {number} {nouns} in the shop. How many {nouns} are there?", "{value}"),
    ("She counted {number} {nouns}. How many {nouns} did she count?", "{value} {nouns}"),
)
_LETTER: tuple[Wording, ...] = (
    ("What is the {which} letter of the word {word}?", "{value}"),
    ("Which letter comes {which} in {word}?", "{value}"),
    ("Name the {which} letter in {word}.", "{value}"),
)
_LENGTH: tuple[Wording, ...] = (
    ("How many letters does the word {word} have?", "{value}"),
    ("Count the letters in the word {word}.", "{value}"),
    ("The word {word} has how many letters?", "{value} letters"),
)
