"""A question about a picture: its wording, its answer, and the answers that would be wrong.

The wording determines the form of the answer (word, phrase or sentence), as in a person's question,
and a wrong answer always has the same form as the right one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.synthetic.palette import with_article

Wording = tuple[str, str]
"""A question and its answer, both with ``{slots}``; ``{value}`` is the answer's content."""

LETTERS = "ABCD"
CHOICE_HINT = "Answer with the option's letter."
SHORT_HINT = "Answer the question using a single word or phrase."


@dataclass(frozen=True)
class Question:
    """A question with its right answer and the wrong ones of the same form."""

    kind: str
    text: str
    answer: str
    wrong: tuple[str, ...]


def ask(
    rng: random.Random,
    kind: str,
    wordings: Sequence[Wording],
    value: str,
    pool: Iterable[str],
    **slots: str,
) -> Question:
    """Return a question in a random wording; ``pool`` contains the possible answer values."""
    question, answer = rng.choice(wordings)

    def fill(said: str) -> str:
        text = answer.format(value=said, a_value=with_article(said), **slots)
        return text[0].upper() + text[1:] if text.endswith(".") else text

    wrong = tuple(fill(other) for other in pool if other != value)
    return Question(kind, question.format(**slots), fill(value), wrong)


def offer_choices(rng: random.Random, question: Question) -> Question:
    """Return the question with four lettered options; the answer is the letter."""
    options = [question.answer, *rng.sample(question.wrong, len(LETTERS) - 1)]
    rng.shuffle(options)
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
    letter = LETTERS[options.index(question.answer)]
    wrong = tuple(other for other in LETTERS if other != letter)
    text = "\n".join([question.text, *lines, CHOICE_HINT])
    return Question("choice", text, letter, wrong)


def can_offer_choices(question: Question) -> bool:
    """Return whether lettered options are possible: short answers, at least three wrong ones."""
    short = not question.answer.endswith(".") and len(question.answer.split()) <= 2
    return short and len(question.wrong) >= len(LETTERS) - 1 and "\n" not in question.text


def ask_for_one_word(question: Question) -> Question:
    """Return the question followed by LLaVA's request for a short answer."""
    text = f"{question.text}\n{SHORT_HINT}"
    return Question(question.kind, text, question.answer, question.wrong)
