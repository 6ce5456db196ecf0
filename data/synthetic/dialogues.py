"""Training dialogues: a picture or none, and one to five turns about it or about anything.

The decision here: one dialogue in five is asked about a picture that is not shown, in the very
form in which a text-only pass asks it (the line break stays, the picture goes). So the model
knows both inputs, and its loss without the image is a calibrated guess, not a surprise.
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
_BLIND_SHARE = 0.2
_TEXT_ONLY_SHARE = 0.06
_FACT_SHARE = 0.32
_STATED_SHARE = 0.10
_CHOICE_SHARE = 0.08
_SHORT_HINT_SHARE = 0.05
_TURN_COUNTS = (1, 2, 3, 4, 5)
_TURN_WEIGHTS = (30, 22, 20, 16, 12)


@dataclass(frozen=True)
class Dialogue:
    """The picture that is shown (None: none) and the question and answer of each turn."""

    picture: Picture | None
    turns: tuple[tuple[str, str], ...]


def random_dialogue(rng: random.Random) -> Dialogue:
    """Draw one training dialogue; its pictures and facts are on the training side."""
    number = rng.choices(_TURN_COUNTS, _TURN_WEIGHTS)[0]
    draw = rng.random()
    if draw < _TEXT_ONLY_SHARE:
        facts = [random_fact(rng, ALL_FAMILIES, for_demo=False) for _ in range(number)]
        return Dialogue(None, tuple((fact.text, fact.answer) for fact in facts))
    picture = random_picture(rng, rng.choices(SOURCES, _SOURCE_WEIGHTS)[0], for_demo=False)
    questions = _random_questions(rng, picture, number)
    turns = [(question.text, question.answer) for question in questions]
    turns[0] = ("\n" + turns[0][0], turns[0][1])
    blind = draw < _TEXT_ONLY_SHARE + _BLIND_SHARE
    return Dialogue(None if blind else picture, tuple(turns))


def vary_form(rng: random.Random, question: Question) -> Question:
    """Now and then offer lettered options, or ask for a short answer."""
    draw = rng.random()
    if not can_offer_choices(question):
        return question
    if draw < _CHOICE_SHARE:
        return offer_choices(rng, question)
    return ask_for_one_word(question) if draw < _CHOICE_SHARE + _SHORT_HINT_SHARE else question


def _random_questions(rng: random.Random, picture: Picture, number: int) -> list[Question]:
    about = picture.questions(rng)
    rng.shuffle(about)
    questions = []
    for _ in range(number):
        draw = rng.random()
        if draw < _FACT_SHARE or not about:
            questions.append(random_fact(rng, ALL_FAMILIES, for_demo=False))
        elif draw < _FACT_SHARE + _STATED_SHARE:
            questions.append(rng.choice(picture.stated_questions(rng)))
        else:
            questions.append(vary_form(rng, about.pop()))
    return questions
