"""Does a prediction say what the reference answer says? Pure: texts in, matches out.

The one decision behind it: one normaliser for all three measures, so that an exact match always
has a token F1 of 1. It is that of the VQA evaluation (Antol et al. 2015, arXiv 1505.00468: case,
punctuation, articles, number words up to ten), carried over to any script; token F1 is SQuAD's
(Rajpurkar et al. 2016, arXiv 1606.05250) over its words. What would leave nothing is kept: the
choice ``A`` is no article. Of an answer with a thought, what follows the thought is compared; a
thought without an end answers nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from scoring.thoughts import final_answer

MATCH_VERSION = 2  # of the measures: matches of an older one are recomputed from the texts
_KEPT_SYMBOLS = "%°"  # 5 % and 5 differ
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {word: str(value) for value, word in enumerate((*_NUMBER_WORDS, "ten"))} | {"none": "0"}
# A sign or a decimal point of a number stays (group 1), other punctuation is white space.
_PUNCTUATION = re.compile(r"((?<!\w)-(?=\.?\d)|(?<![^\W\d])\.(?=\d))|[!-#&-/:-@\[-`{-~]")
_APOSTROPHES = re.compile("['\u2019]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d\d\d(?!\d))")
_IDEOGRAPH = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])")  # a word each in token F1

_LETTER = r"\(?\s*([A-Za-z])\s*\)?\s*[.:,]?"
_BARE = re.compile(_LETTER)
# "(B) a dog", "B. a dog", "B: a dog"; "A dog" and "I. Newton" begin with no choice of theirs.
_LEADING = re.compile(r"(?:\(([A-Z])\)|([A-Z])[).:])\s")
_NAMED = re.compile(
    r"\b(?:answer|option|choice)(?:\s+(?:is|would\s+be))?\s*:?\s*(?:\(([a-z])\)|([a-z])(?=\W|$))",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\(([A-Z])\)")
_OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[).:]\s*(?=\S)")
_UNLISTED = "ABCDE"  # letters that are choices where the question lists none


@dataclass(frozen=True, slots=True)
class AnswerMatch:
    """How one prediction compares with the reference. ``letter`` is None where that is no choice.

    ``f1`` lies between 0 and 1.
    """

    exact: bool
    letter: bool | None
    f1: float


def match_answer(prediction: str, reference: str, question: str = "") -> AnswerMatch:
    """All measures of one prediction; ``question`` may list the options of a choice."""
    return AnswerMatch(
        exact=exact_match(prediction, reference),
        letter=letter_match(prediction, reference, question),
        f1=token_f1(prediction, reference),
    )


def normalise_answer(text: str) -> str:
    """``text`` in the form in which answers are compared; applying it again changes nothing.

    Case and compatibility forms are folded, apostrophes and thousands commas closed up, other
    punctuation made white space (a number keeps its sign and decimal point), number words up to
    ten written as digits, articles dropped.
    """
    folded = _folded(final_answer(text))
    spaced = _PUNCTUATION.sub(lambda found: found[1] or " ", folded)
    words = spaced.split() or folded.split()
    kept = [_DIGITS.get(word, word) for word in words if word not in _ARTICLES]
    return " ".join(kept or words)


def _folded(text: str) -> str:
    if text.isascii():
        plain = text.lower()
    else:
        plain = unicodedata.normalize("NFKC", _caseless(_caseless(text)))
        plain = _without_odd_marks(plain)
    plain = _APOSTROPHES.sub("", plain) if "'" in plain or "\u2019" in plain else plain
    return _THOUSANDS.sub("", plain) if "," in plain else plain


def _caseless(text: str) -> str:
    """One round of Unicode's compatibility caseless form (rule D146 of its standard)."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())


def _without_odd_marks(text: str) -> str:
    """Punctuation outside of ASCII as white space, invisible characters left out."""
    return "".join(one if one.isascii() else _plain_character(one) for one in text)


def _plain_character(character: str) -> str:
    if character == "\u2212":  # the minus sign
        return "-"
    if character == "\u2019":
        return character
    kind = unicodedata.category(character)
    if kind == "Cf":
        return ""
    separates = kind[0] in "PZCS" and kind != "Sc" and character not in _KEPT_SYMBOLS
    return " " if separates else character


def exact_match(prediction: str, reference: str) -> bool:
    """Whether both say the same once normalised; a blank reference is matched by nothing."""
    wanted = normalise_answer(reference)
    return bool(wanted) and normalise_answer(prediction) == wanted


def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of the precision and recall of normalised words, each as often as it occurs.

    0 where either has no word. Ideographs count as a word each.
    """
    found, wanted = _words(prediction), _words(reference)
    common = sum((found & wanted).values())
    return 2 * common / (found.total() + wanted.total()) if common else 0.0


def _words(text: str) -> Counter[str]:
    plain = normalise_answer(text)
    return Counter((plain if plain.isascii() else _IDEOGRAPH.sub(r" \1 ", plain)).split())


def letter_match(prediction: str, reference: str, question: str = "") -> bool | None:
    """Whether the prediction chooses the option that the reference is; None where it is none.

    A reference is a choice where it is a letter, a letter with its option, or the text of just
    one of the options that ``question`` lists. A prediction may be any of these too, or say
    "the answer is B"; one that names several options chooses none of them.
    """
    options = listed_options(question)
    wanted = _reference_letter(_one_line(reference), options)
    return None if wanted is None else chosen_letter(prediction, options) == wanted


def _one_line(text: str) -> str:
    return " ".join(final_answer(text).split())


def listed_options(question: str) -> dict[str, str]:
    """Letter -> text of the options that a question lists, such as ``A. cat (B) dog``.

    Empty unless the letters run from A without a gap and are at least two.
    """
    return {letter: question[begin:end] for letter, begin, end in option_spans(question)}


def option_spans(question: str) -> list[tuple[str, int, int]]:
    """Letter, begin and end of the text of each option that ``listed_options`` finds."""
    marks = list(_OPTION.finditer(question))
    start = next((at for at, mark in enumerate(marks) if mark[1] == "A"), len(marks))
    run: list[re.Match[str]] = []
    for mark in marks[start:]:
        if mark[1] != chr(ord("A") + len(run)):
            break
        run.append(mark)
    if len(run) < 2:
        return []
    begins = [mark.end() for mark in run]
    # What follows the last option on lines of its own is an instruction, not the option.
    last = question[begins[-1] :].split("\n", 1)[0]
    ends = [mark.start() for mark in run[1:]] + [begins[-1] + len(last)]
    spans = []
    for mark, begin, end in zip(run, begins, ends, strict=True):
        text = question[begin:end]
        left = begin + len(text) - len(text.lstrip())
        spans.append((mark[1], left, left + len(text.strip())))
    return spans


def reference_letter(reference: str, question: str) -> str | None:
    """The option that a reference answer is, or None where it is none."""
    return _reference_letter(_one_line(reference), listed_options(question))


def _reference_letter(reference: str, options: Mapping[str, str]) -> str | None:
    bare = _BARE.fullmatch(reference)
    if bare:
        letter = bare[1].upper()
        return letter if letter in (options or _UNLISTED) else None
    if not options:
        return None
    leading = _LEADING.match(reference)
    if leading:
        letter = leading[1] or leading[2]
        return letter if letter in options else None
    return _letter_of_text(reference, options)


def chosen_letter(prediction: str, options: Mapping[str, str] | None = None) -> str | None:
    """The option that a prediction chooses, as a capital letter, or None where it names no one.

    ``options`` are those of ``listed_options``; a letter outside of them is no choice.
    """
    text = _one_line(prediction)
    known = options or {}
    if bare := _BARE.fullmatch(text):
        return _known(bare[1].upper(), known)
    if letter := _letter_of_text(text, known):
        return letter
    named = [found for found in _NAMED.finditer(text) if _is_choice(found, text)]
    if named:
        letters = {(found[1] or found[2]).upper() for found in named}
        return _known(letters.pop(), known) if len(letters) == 1 else None
    bracketed = set(_BRACKETED.findall(text))
    if leading := _LEADING.match(text):
        bracketed.add(leading[1] or leading[2])
    return _known(bracketed.pop(), known) if len(bracketed) == 1 else None


def _is_choice(found: re.Match[str], text: str) -> bool:
    """ "The answer is a cat" names no choice; "the answer is a" and "option B because" do."""
    if found[1] or not re.match(r" \w", text[found.end() :]):
        return True
    return found[2].isupper() and found[2] not in "AI"


def _known(letter: str, options: Mapping[str, str]) -> str | None:
    return letter if not options or letter in options else None


def _letter_of_text(text: str, options: Mapping[str, str]) -> str | None:
    """The letter of the one option that says the same as ``text``."""
    plain = normalise_answer(text)
    found = [letter for letter, option in options.items() if normalise_answer(option) == plain]
    return found[0] if plain and len(found) == 1 else None
