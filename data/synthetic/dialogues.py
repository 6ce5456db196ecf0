"""Training dialogues: a picture or none, and one to five turns about it or about anything.

One dialogue in five asks about a picture that is not shown, in exactly the form of a text-only pass
(the line break stays, the picture is removed). The model therefore knows both inputs, and without
the image it makes a calibrated guess.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from data.synthetic.facts import ALL_FAMILIES, random_fact
from data.synthetic.pictures import SOURCES, Picture, random_picture
from data.synthetic.questions import (
    Question,
    ask_for_one_word,
    can_offer_choices,
    offer_choices,
)

_SOURCE_WEIGHTS = (28, 26, 22, 24)
_CHOICE_SHARE = 0.12
_SHORT_HINT_SHARE = 0.05

HARD_KINDS = frozenset(
    {"exists", "bar exists", "digit exists", "says", "compare", "count of colour", "count of shape"}
)
HARD_WEIGHT = 3
"""Questions about the whole picture are learnt last, so they are asked more often."""


@dataclass(frozen=True)
class Mixture:
    """Shares of the dialogues to draw: the first three of dialogues, the others of turns."""

    blind: float
    text_only: float
    listing: float
    fact: float
    stated: float
    turn_weights: tuple[int, ...]
    choice: float = _CHOICE_SHARE
    source_weights: tuple[int, ...] = _SOURCE_WEIGHTS
    number: float = 0.0


LOOKING = Mixture(0.08, 0.03, 0.4, 0.10, 0.04, (10, 15, 20, 20, 20, 15))
"""First part of the training: mostly pictures, and lists of everything that they show."""

TALKING = Mixture(0.2, 0.06, 0.06, 0.32, 0.10, (30, 22, 20, 16, 12))
"""Rest of the training: as in the demo, without the picture often enough to calibrate guesses."""

DRILLING = Mixture(
    0.2, 0.04, 0.03, 0.22, 0.22, (30, 22, 20, 16, 12), 0.3, source_weights=(26, 22, 14, 38)
)
"""First drill, of what is learnt late: lettered options and answers that the question states."""

COPYING = Mixture(0.2, 0.04, 0.03, 0.2, 0.1, (30, 22, 20, 16, 12), number=0.4)
"""Last drill, of what is learnt last: to repeat, digit by digit, a number in the question."""


@dataclass(frozen=True)
class Dialogue:
    """The picture shown (or None), and the question and answer of each turn."""

    picture: Picture | None
    turns: tuple[tuple[str, str], ...]


def random_dialogue(rng: random.Random, mixture: Mixture = TALKING) -> Dialogue:
    """Return a random training dialogue; its pictures and facts are on the training side."""
    number = rng.choices(range(1, len(mixture.turn_weights) + 1), mixture.turn_weights)[0]
    draw = rng.random()
    if draw < mixture.text_only:
        facts = [random_fact(rng, ALL_FAMILIES, for_demo=False) for _ in range(number)]
        return Dialogue(None, tuple((fact.text, fact.answer) for fact in facts))
    picture = random_picture(rng, rng.choices(SOURCES, mixture.source_weights)[0], for_demo=False)
    if rng.random() < mixture.listing:
        questions = [picture.listing_question(rng)]
    else:
        questions = _random_questions(rng, picture, number, mixture)
    turns = [(question.text, question.answer) for question in questions]
    turns[0] = ("\n" + turns[0][0], turns[0][1])
    blind = draw < mixture.text_only + mixture.blind
    return Dialogue(None if blind else picture, tuple(turns))


def vary_form(rng: random.Random, question: Question, choice: float = _CHOICE_SHARE) -> Question:
    """Sometimes offer lettered options, or ask for a short answer."""
    draw = rng.random()
    if not can_offer_choices(question):
        return question
    if draw < choice:
        return offer_choices(rng, question)
    return ask_for_one_word(question) if draw < choice + _SHORT_HINT_SHARE else question


def _random_questions(
    rng: random.Random, picture: Picture, number: int, mixture: Mixture
) -> list[Question]:
    about = _shuffle_hard_ones_first(rng, picture.questions(rng))
    questions = []
    for _ in range(number):
        draw = rng.random()
        if draw < mixture.fact or not about:
            question = random_fact(rng, ALL_FAMILIES, for_demo=False)
        elif draw < mixture.fact + mixture.stated:
            question = rng.choice(picture.stated_questions(rng))
        elif draw < mixture.fact + mixture.stated + mixture.number:
            question = _stated_number(rng)
        else:
            question = about.pop(0)
        questions.append(vary_form(rng, question, mixture.choice))
    return questions


def _stated_number(rng: random.Random) -> Question:
    """Return a question that states the number of some sign, independent of the picture."""
    while True:
        sign = random_picture(rng, "words", for_demo=False)
        stated = rng.choice(sign.stated_questions(rng))
        if stated.answer.isdigit():
            return stated


def _shuffle_hard_ones_first(rng: random.Random, questions: list[Question]) -> list[Question]:
    """Return the questions in random order; hard ones are more likely to come early."""
    weights = [HARD_WEIGHT if question.kind in HARD_KINDS else 1 for question in questions]
    keys = [rng.random() ** (1 / weight) for weight in weights]
    order = sorted(range(len(questions)), key=lambda place: -keys[place])
    return [questions[place] for place in order]
