"""Compares a prediction with the reference answer. Pure functions on texts.

All measures share one normaliser, so an exact match always has a token F1 of 1. It is that of the
VQA evaluation (Antol et al. 2015, arXiv 1505.00468: case, punctuation, articles, number words up
to ten), extended to any script; token F1 is SQuAD's (Rajpurkar et al. 2016, arXiv 1606.05250) over
its words. Words are kept if dropping them would leave nothing: the choice ``A`` is not an article.
Only the text after a thought is compared; an answer with an unfinished thought matches nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from scoring.thoughts import final_answer

MATCH_VERSION = 2  # of the measures: matches of an older version are recomputed from the texts
_KEPT_SYMBOLS = "%°"  # 5 % and 5 differ
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {word: str(value) for value, word in enumerate((*_NUMBER_WORDS, "ten"))} | {"none": "0"}
# A number keeps its sign and decimal point (group 1); other punctuation becomes white space.
_PUNCTUATION = re.compile(r"((?<!\w)-(?=\.?\d)|(?<![^\W\d])\.(?=\d))|[!-#&-/:-@\[-`{-~]")
_APOSTROPHES = re.compile("['\u2019]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d\d\d(?!\d))")
_IDEOGRAPH = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])")

_LETTER = r"\(?\s*([A-Za-z])\s*\)?\s*[.:,]?"
_BARE = re.compile(_LETTER)
# "(B) a dog", "B. a dog", "B: a dog"; "A dog" and "I. Newton" do not begin with a choice.
_LEADING = re.compile(r"(?:\(([A-Z])\)|([A-Z])[).:])\s")
_NAMED = re.compile(
    r"\b(?:answer|option|choice)(?:\s+(?:is|would\s+be))?\s*:?\s*(?:\(([a-z])\)|([a-z])(?=\W|$))",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\(([A-Z])\)")
_OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[).:]\s*(?=\S)")
_UNLISTED = "ABCDE"  # letters that are choices if the question lists none


@dataclass(frozen=True, slots=True)
class AnswerMatch:
    """How a prediction compares with the reference.

    ``exact``: both are equal after normalisation; nothing matches a blank reference. ``letter``:
    both choose the same option; None if the reference is not a choice. ``f1``, from 0 to 1: the
    harmonic mean of precision and recall over normalised words with repetition.
    """

    exact: bool
    letter: bool | None
    f1: float


def match_answer(prediction: str, reference: str, question: str = "") -> AnswerMatch:
    """Apply all measures to one prediction; ``question`` may list the options of a choice.

    A reference is a choice if it is a letter, a letter with its option, or the text of exactly
    one of the options that ``question`` lists. A prediction may be any of these too, or contain
    "the answer is B"; one that names several options chooses none of them.
    """
    given, wanted = normalise_answer(prediction), normalise_answer(reference)
    letter = find_reference_letter(reference, question)
    is_right = None
    if letter is not None:
        is_right = find_chosen_letter(prediction, list_options(question)) == letter
    given_words, wanted_words = _count_words(given), _count_words(wanted)
    common = (given_words & wanted_words).total()
    return AnswerMatch(
        exact=bool(wanted) and given == wanted,
        letter=is_right,
        f1=2 * common / (given_words.total() + wanted_words.total()) if common else 0.0,
    )


def normalise_answer(text: str) -> str:
    """Return ``text`` in the form in which answers are compared; idempotent.

    Folds case and compatibility forms, removes apostrophes and thousands commas, replaces other
    punctuation by white space (a number keeps its sign and decimal point), writes number words up
    to ten as digits, and drops articles.
    """
    folded = _fold_text(final_answer(text))
    spaced = _PUNCTUATION.sub(lambda match: match[1] or " ", folded)
    words = spaced.split() or folded.split()
    kept = [_DIGITS.get(word, word) for word in words if word not in _ARTICLES]
    return " ".join(kept or words)


def _fold_text(text: str) -> str:
    """Fold case and compatibility forms; remove apostrophes and thousands commas."""
    if text.isascii():
        plain = text.lower()
    else:
        plain = text
        for _ in range(2):  # Unicode's compatibility caseless form (rule D146 of the standard)
            plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", plain).casefold())
        plain = "".join(
            character if character.isascii() else _simplify_character(character)
            for character in unicodedata.normalize("NFKC", plain)
        )
    plain = _APOSTROPHES.sub("", plain) if "'" in plain or "\u2019" in plain else plain
    return _THOUSANDS.sub("", plain) if "," in plain else plain


def _simplify_character(character: str) -> str:
    """Return white space for punctuation outside ASCII, nothing for invisible characters."""
    if character == "\u2212":  # the minus sign
        return "-"
    if character == "\u2019":
        return character
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    separates = category[0] in "PZCS" and category != "Sc" and character not in _KEPT_SYMBOLS
    return " " if separates else character


def _count_words(text: str) -> Counter[str]:
    """Count the words of a normalised text; each ideograph is one."""
    return Counter((text if text.isascii() else _IDEOGRAPH.sub(r" \1 ", text)).split())


def list_options(question: str) -> dict[str, str]:
    """Return letter -> text of the options that a question lists, such as ``A. cat (B) dog``.

    Empty unless there are at least two letters, from A without a gap.
    """
    return {letter: question[begin:end] for letter, begin, end in find_option_spans(question)}


def find_option_spans(question: str) -> list[tuple[str, int, int]]:
    """Return letter, start and end of the text of each option of ``list_options``."""
    run: list[re.Match[str]] = []
    for mark in _OPTION.finditer(question):
        if mark[1] == chr(ord("A") + len(run)):
            run.append(mark)
        elif run:
            break
    if len(run) < 2:
        return []
    # Lines after the last option are an instruction, not part of the option.
    last_line, _, _ = question[run[-1].end() :].partition("\n")
    ends = [mark.start() for mark in run[1:]] + [run[-1].end() + len(last_line)]
    spans = []
    for mark, end in zip(run, ends, strict=True):
        text = question[mark.end() : end].lstrip()
        spans.append((mark[1], end - len(text), end - len(text) + len(text.rstrip())))
    return spans


def find_reference_letter(reference: str, question: str) -> str | None:
    """Return the option that a reference answer chooses, or None if it is not a choice."""
    text, options = _join_lines(reference), list_options(question)
    if bare := _BARE.fullmatch(text):
        letter = bare[1].upper()
        return letter if letter in (options or _UNLISTED) else None
    if not options:
        return None
    if leading := _LEADING.match(text):
        return _known_letter(leading[1] or leading[2], options)
    return _letter_of_text(text, options)


def find_chosen_letter(prediction: str, options: Mapping[str, str] | None = None) -> str | None:
    """Return the option that a prediction chooses, as a capital letter, or None.

    ``options`` come from ``list_options``; a letter outside them is not a choice.
    """
    text = _join_lines(prediction)
    options = options or {}
    if bare := _BARE.fullmatch(text):
        return _known_letter(bare[1].upper(), options)
    if letter := _letter_of_text(text, options):
        return letter
    named = [match for match in _NAMED.finditer(text) if _names_choice(match)]
    letters = {(match[1] or match[2]).upper() for match in named}
    if not named:
        letters = set(_BRACKETED.findall(text))
        if leading := _LEADING.match(text):
            letters.add(leading[1] or leading[2])
    return _known_letter(letters.pop(), options) if len(letters) == 1 else None


def _join_lines(text: str) -> str:
    return " ".join(final_answer(text).split())


def _names_choice(match: re.Match[str]) -> bool:
    """Return False for "the answer is a cat", True for "the answer is a", "option B because"."""
    if match[1] or not re.match(r" \w", match.string[match.end() :]):
        return True
    return match[2].isupper() and match[2] not in "AI"


def _known_letter(letter: str, options: Mapping[str, str]) -> str | None:
    return letter if not options or letter in options else None


def _letter_of_text(text: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the only option that equals ``text`` after normalisation."""
    plain = normalise_answer(text)
    letters = [letter for letter, option in options.items() if normalise_answer(option) == plain]
    return letters[0] if plain and len(letters) == 1 else None
