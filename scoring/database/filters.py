"""The filter: which samples, written the same way on the command line, in a URL and in Python.

    source:scenes,"my set" category:misaligned visnec:-1..0.25 decision:none text:"what colour"

Parts are joined by "and", the values of one part by "or"; a range holds its lower limit and not
its upper one. ``PARTS`` says what every part takes; this is the one place where they are told.
The one decision behind it: a filter has one written form, so ``parse_filter(str(f)) == f``, and
its text can be a URL, a cache key and a line in a manifest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from scoring.database.build.schema import ANSWER_KINDS
from scoring.errors import FilterError
from scoring.evaluation.accuracy import MEASURES
from scoring.necessity import Category
from scoring.samples import Status

DECISIONS = ("keep", "drop", "unsure", "none")
CERTAINTIES = ("sure", "undecided", "unknown")
AGREEMENTS = ("agree", "differ")
VERDICTS = ("right", "wrong", "none")

_RANGES = ("visnec", "loss_text", "loss_multimodal", "tokens", "content", "length", "turns")
_SINGLE = ("other", "model", "measure", "text")
_CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ANSWER_KINDS,
    "decision": DECISIONS,
    "certainty": CERTAINTIES,
    "baselines": AGREEMENTS,
    "runs": AGREEMENTS,
    "blind": VERDICTS,
    "seen": VERDICTS,
}
_NAMES = ("other", "model", "measure")  # written bare where they can be
_PATTERN = re.compile(r"~/(.*)/(c?)", re.DOTALL)
_KEY = re.compile(r"([A-Za-z_]+):")
_BARE = re.compile(r'[^\s,":]+')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers with ``min <= x < max``; None leaves a side open. Written ``-1..0.25`` or ``3..``."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise FilterError(
                "a range needs a lower or an upper limit, such as 0.1..2, 0.1.. or ..2"
            )
        if not all(math.isfinite(limit) for limit in (self.min, self.max) if limit is not None):
            raise FilterError(
                f"the limits of a range are finite numbers, got {self}; leave a side open"
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise FilterError(
                f"the range {self} has its lower limit above its upper one; swap them"
            )

    def __str__(self) -> str:
        return f"{_number_text(self.min)}..{_number_text(self.max)}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression (RE2) that a text is searched for."""

    expression: str
    case_sensitive: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """Samples that meet every part given; an empty filter means all of them.

    ``PARTS`` describes the parts. The values of a tuple are put into one order, so equal filters
    compare and print equal. Raises FilterError for values that are none.
    """

    source: tuple[str, ...] = ()
    cluster: tuple[int, ...] = ()
    kind: tuple[str, ...] = ()
    category: tuple[Category, ...] = ()
    status: tuple[Status, ...] = ()
    certainty: tuple[str, ...] = ()
    decision: tuple[str, ...] = ()
    reviewer: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    visnec: Range | None = None
    loss_text: Range | None = None
    loss_multimodal: Range | None = None
    tokens: Range | None = None
    content: Range | None = None
    length: Range | None = None
    turns: Range | None = None
    baselines: tuple[str, ...] = ()
    other: str | None = None
    other_category: tuple[Category, ...] = ()
    runs: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    model: str | None = None
    measure: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        settle = object.__setattr__  # the dataclass is frozen for everybody else
        for name in ("source", "reviewer", "image"):
            settle(self, name, _ordered(name, getattr(self, name), str))
        settle(self, "cluster", _ordered("cluster", self.cluster, int))
        for name, choices in _CHOICES.items():
            settle(self, name, _ordered(name, getattr(self, name), str, choices))
        for name, kind in _ENUMS.items():
            settle(self, name, _ordered(name, getattr(self, name), kind, kind))
        for name in _SINGLE:
            settle(self, name, getattr(self, name) or None)
        _check_text(self.text)
        if self.measure is not None and self.measure not in MEASURES:
            raise FilterError(f"measure: does not take {self.measure!r}; {_EXAMPLES['measure']}")
        if self.other is None and (self.other_category or self.runs):
            part = "other_category" if self.other_category else "runs"
            raise FilterError(
                f"{part}: compares with another run; name it too: {_EXAMPLES['other']}"
            )

    @property
    def pattern(self) -> Pattern | None:
        """The regular expression where ``text`` is one."""
        found = _PATTERN.fullmatch(self.text or "")
        return Pattern(found[1], case_sensitive=bool(found[2])) if found else None

    @property
    def needs_bands(self) -> bool:
        """Whether it depends on the limits between the categories."""
        parts = (self.category, self.certainty, self.baselines, self.other_category, self.runs)
        return any(parts)

    @property
    def needs_decisions(self) -> bool:
        """Whether it depends on what people decided."""
        return bool(self.decision or self.reviewer)

    def __str__(self) -> str:
        return " ".join(f"{name}:{text}" for name, text in self._written() if text)

    def __bool__(self) -> bool:
        return bool(str(self))

    def _written(self) -> Iterable[tuple[str, str]]:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, tuple):
                yield item.name, ",".join(_value_text(str(one)) for one in value)
            elif isinstance(value, str):
                yield (
                    item.name,
                    _value_text(value)
                    if item.name in _NAMES
                    else json.dumps(value, ensure_ascii=False),
                )
            else:
                yield item.name, "" if value is None else str(value)


def parse_filter(text: str) -> Filter:
    """The filter that ``text`` writes down.

    Raises FilterError naming the part that does not parse and what could stand there.
    """
    parts: dict[str, Any] = {}
    rest = text.strip()
    while rest:
        name, rest = _take_key(rest)
        if name in parts:
            raise FilterError(f"{name!r} stands twice in the filter; join its values: {name}:a,b")
        values, rest = _take_values(name, rest)
        parts[name] = _part(name, values)
        rest = rest.lstrip()
    return Filter(**parts)


def _take_key(rest: str) -> tuple[str, str]:
    match = _KEY.match(rest)
    names = [item.name for item in fields(Filter)]
    if match is None:
        word = rest.split()[0]
        raise FilterError(
            f"{word!r} is no part of a filter; write name:value with one of {', '.join(names)} "
            f"(to look for a word: text:{_value_text(word)})"
        )
    if match[1] not in names:
        raise FilterError(f"a filter has no {match[1]!r}; use one of {', '.join(names)}")
    return match[1], rest[match.end() :]


def _take_values(name: str, rest: str) -> tuple[list[str], str]:
    values: list[str] = []
    while True:
        match = _QUOTED.match(rest) or _BARE.match(rest)
        if match is None:
            problem = "a quotation mark that is not closed" if rest[:1] == '"' else "no value"
            raise FilterError(f"{name}: has {problem}; write {_EXAMPLES[name]}")
        values.append(_unquoted(name, match[0]))
        rest = rest[match.end() :]
        if not rest.startswith(","):
            break
        rest = rest[1:]
    if rest and not rest[0].isspace():
        raise FilterError(
            f"{rest.split()[0]!r} follows the value of {name}: without a space; put values with "
            f"spaces, commas, colons or quotation marks into quotation marks: {_EXAMPLES[name]}"
        )
    return values, rest


def _unquoted(name: str, value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value, strict=False))
    except ValueError:
        raise FilterError(
            f"{value} in {name}: is not quoted as JSON quotes a string; "
            'write \\\\ for a backslash and \\" for a quotation mark'
        ) from None


def _part(name: str, values: list[str]) -> Any:
    if name not in _RANGES and name not in _SINGLE:
        return tuple(values)
    if len(values) > 1:
        raise FilterError(f"{name}: takes one value, got {len(values)}; write {_EXAMPLES[name]}")
    return values[0] if name in _SINGLE else _range(name, values[0])


def _check_text(text: str | None) -> None:
    if text is not None and text.startswith("~/") and not _PATTERN.fullmatch(text):
        raise FilterError(
            f"text:{_value_text(text)} begins a regular expression that does not end; "
            'close it with a slash: text:"~/colou?r/"'
        )


def _range(name: str, value: str) -> Range:
    low, dots, high = value.partition("..")
    try:
        if not dots:
            raise ValueError(value)
        return Range(float(low) if low else None, float(high) if high else None)
    except ValueError:
        raise FilterError(f"{name}:{value} is no range; write {_EXAMPLES[name]}") from None


def _ordered(
    name: str,
    values: Iterable[Any],
    kind: Callable[[Any], Any],
    order: Iterable[Any] | None = None,
) -> tuple[Any, ...]:
    """The values as their type, each once, in the given order or ascending.

    Raises FilterError for values that are none.
    """
    try:
        given = None if isinstance(values, str) else {kind(value) for value in values}
    except ValueError:
        given = None
    if given is None or not given <= set(_CHOICES.get(name, given)):
        wrong = repr(values) if isinstance(values, str) else ", ".join(map(repr, map(str, values)))
        raise FilterError(f"{name}: does not take {wrong}; write {_EXAMPLES[name]}")
    return (
        tuple(sorted(given)) if order is None else tuple(o for o in map(kind, order) if o in given)
    )


def _number_text(value: float | None) -> str:
    """The shortest text that reads back as the same number."""
    if value is None:
        return ""
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _value_text(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


_ENUMS: dict[str, type[Category] | type[Status]] = {
    "category": Category,
    "status": Status,
    "other_category": Category,
}

_EXAMPLES = {
    "source": 'source:coco,"my set"',
    "cluster": "cluster:0,7 (numbers of the clustering)",
    "kind": f"kind: with any of {', '.join(ANSWER_KINDS)}",
    "category": f"category: with any of {', '.join(Category)}",
    "status": f"status: with any of {', '.join(Status)}",
    "certainty": f"certainty: with any of {', '.join(CERTAINTIES)}",
    "decision": f"decision: with any of {', '.join(DECISIONS)}",
    "reviewer": "reviewer:ada,ben",
    "image": 'image:"coco/000000000009.jpg"',
    "visnec": "visnec:-1..0.25, visnec:0.25.. or visnec:..0",
    "loss_text": "loss_text:0..0.1",
    "loss_multimodal": "loss_multimodal:2..",
    "tokens": "tokens:3.. or tokens:1..4 (the upper limit is left out)",
    "content": "content:1..2 for one token, content:2.. for several",
    "length": "length:1..20 or length:200..",
    "turns": "turns:1..2 for one answer, turns:2.. for several",
    "baselines": "baselines:differ or baselines:agree",
    "other": "other:RUN/BASELINE",
    "other_category": f"other_category: with any of {', '.join(Category)}",
    "runs": "runs:differ or runs:agree",
    "blind": f"blind: with any of {', '.join(VERDICTS)}",
    "seen": f"seen: with any of {', '.join(VERDICTS)}",
    "model": "model:RUN or the name of imported predictions",
    "measure": f"measure: with one of {', '.join(MEASURES)}",
    "text": 'text:"what colour" or, as a regular expression, text:"~/colou?r/"',
}

PARTS: dict[str, tuple[str, str]] = {
    name: (meaning, _EXAMPLES[name])
    for name, meaning in {
        "source": "where the sample comes from",
        "cluster": "its cluster in the chosen clustering",
        "kind": "what its first answer looks like",
        "category": "what the score says, by the band limits in use",
        "status": "whether it was scored, or why not",
        "certainty": (
            "whether the score is within the noise of its dtype of a band limit (undecided) or "
            "not (sure); unknown where the scores came without their dtype"
        ),
        "decision": "the verdict that holds over all reviewers, none where nobody decided",
        "reviewer": "who gave a verdict on it",
        "image": "all samples on this image, by its path as the record has it",
        "visnec": "VisNec score in nats per answer token",
        "loss_text": "loss without the image in nats per answer token",
        "loss_multimodal": "loss with the image in nats per answer token",
        "tokens": "answer tokens that were scored",
        "content": "answer tokens without end-of-turn tokens and thoughts",
        "length": "characters of the first answer",
        "turns": "answers in the conversation",
        "baselines": "whether its category depends on the run's blind baseline",
        "other": "a second set of scores to compare with, by run and baseline",
        "other_category": "its category there",
        "runs": "whether its category is the same there",
        "blind": "whether the prediction without the image is right; none where there is none",
        "seen": "whether the prediction with the image is right; none where there is none",
        "model": "whose predictions are meant: a run or an imported model; else the run in view",
        "measure": "what counts as right, by default auto (see visnec evaluate --help)",
        "text": (
            "words in question, answer, further turns or id, in any case of the letters; "
            "between ~/ and / a regular expression (RE2), with /c at its end in exact case"
        ),
    }.items()
}
"""Part of a filter -> what it chooses by, and how it is written."""
