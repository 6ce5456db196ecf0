"""The filter of samples, written the same way on the command line, in a URL and in Python.

    source:scenes,"my set" category:misaligned visnec:-1..0.25 decision:none text:"what colour"

Parts are joined by "and", the values of one part by "or"; a range includes its lower limit and not
its upper one. ``PARTS`` describes every part. A filter has one written form, so that
``parse_filter(str(f)) == f``: its text can be a URL, a cache key and a line in a manifest.
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
CORRECTNESS = ("right", "wrong", "none")

_RANGES = ("visnec", "loss_text", "loss_multimodal", "tokens", "content", "length", "turns")
_SINGLE = ("other", "model", "measure", "text")
_CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ANSWER_KINDS,
    "decision": DECISIONS,
    "certainty": CERTAINTIES,
    "baselines": AGREEMENTS,
    "runs": AGREEMENTS,
    "blind": CORRECTNESS,
    "seen": CORRECTNESS,
}
_NAMES = ("other", "model", "measure")  # written without quotation marks where possible
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
                "A range needs a lower or an upper limit, such as 0.1..2, 0.1.. or ..2."
            )
        if not all(math.isfinite(limit) for limit in (self.min, self.max) if limit is not None):
            raise FilterError(
                f"The limits of a range are finite numbers, got {self}. Leave a side open instead."
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise FilterError(
                f"The lower limit of the range {self} is above its upper one. Swap them."
            )

    def __str__(self) -> str:
        return f"{_format_number(self.min)}..{_format_number(self.max)}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression (RE2) to search texts for."""

    expression: str
    case_sensitive: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """Samples that match every given part; an empty filter means all of them.

    ``PARTS`` describes the parts. The values of a tuple are sorted, so that equal filters compare
    and print equal. Raises FilterError for invalid values.
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
        set_part = object.__setattr__  # the dataclass is frozen
        for name in ("source", "reviewer", "image"):
            set_part(self, name, _sort_values(name, getattr(self, name), str))
        set_part(self, "cluster", _sort_values("cluster", self.cluster, int))
        for name, choices in _CHOICES.items():
            set_part(self, name, _sort_values(name, getattr(self, name), str, choices))
        for name, kind in _ENUMS.items():
            set_part(self, name, _sort_values(name, getattr(self, name), kind, kind))
        for name in _SINGLE:
            set_part(self, name, getattr(self, name) or None)
        if (
            self.text is not None
            and self.text.startswith("~/")
            and not _PATTERN.fullmatch(self.text)
        ):
            raise FilterError(
                f"text:{_quote_value(self.text)} starts a regular expression that does not end. "
                'Close it with a slash: text:"~/colou?r/"'
            )
        if self.measure is not None and self.measure not in MEASURES:
            raise FilterError(
                f"measure: does not accept {self.measure!r}. Write {_EXAMPLES['measure']}."
            )
        if self.other is None and (self.other_category or self.runs):
            part = "other_category" if self.other_category else "runs"
            raise FilterError(
                f"{part}: compares with another run. Name it too: {_EXAMPLES['other']}"
            )

    @property
    def pattern(self) -> Pattern | None:
        """The regular expression, if ``text`` is one."""
        match = _PATTERN.fullmatch(self.text or "")
        return Pattern(match[1], case_sensitive=bool(match[2])) if match else None

    @property
    def needs_bands(self) -> bool:
        """Whether it depends on the limits between the categories."""
        parts = (self.category, self.certainty, self.baselines, self.other_category, self.runs)
        return any(parts)

    @property
    def needs_decisions(self) -> bool:
        """Whether it depends on decisions of reviewers."""
        return bool(self.decision or self.reviewer)

    def __str__(self) -> str:
        return " ".join(f"{name}:{text}" for name, text in self._written_parts() if text)

    def __bool__(self) -> bool:
        return bool(str(self))

    def _written_parts(self) -> Iterable[tuple[str, str]]:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, tuple):
                yield item.name, ",".join(_quote_value(str(element)) for element in value)
            elif isinstance(value, str):
                is_name = item.name in _NAMES
                quoted = _quote_value(value) if is_name else json.dumps(value, ensure_ascii=False)
                yield item.name, quoted
            else:
                yield item.name, "" if value is None else str(value)


def parse_filter(text: str) -> Filter:
    """Parse the written form of a filter.

    Raises FilterError naming the part that does not parse and what it accepts.
    """
    parts: dict[str, Any] = {}
    rest = text.strip()
    while rest:
        name, rest = _parse_key(rest)
        if name in parts:
            raise FilterError(f"The filter has {name!r} twice. Join its values: {name}:a,b")
        values, rest = _parse_values(name, rest)
        if name not in _RANGES and name not in _SINGLE:
            parts[name] = tuple(values)
        elif len(values) > 1:
            raise FilterError(
                f"{name}: accepts one value, got {len(values)}. Write {_EXAMPLES[name]}."
            )
        else:
            parts[name] = values[0] if name in _SINGLE else _parse_range(name, values[0])
        rest = rest.lstrip()
    return Filter(**parts)


def _parse_key(rest: str) -> tuple[str, str]:
    match = _KEY.match(rest)
    names = [item.name for item in fields(Filter)]
    if match is None:
        word = rest.split()[0]
        raise FilterError(
            f"{word!r} is not a part of a filter. Write name:value with one of {', '.join(names)} "
            f"(to search for a word: text:{_quote_value(word)})."
        )
    if match[1] not in names:
        raise FilterError(f"A filter has no {match[1]!r}. Use one of: {', '.join(names)}.")
    return match[1], rest[match.end() :]


def _parse_values(name: str, rest: str) -> tuple[list[str], str]:
    values: list[str] = []
    while True:
        match = _QUOTED.match(rest) or _BARE.match(rest)
        if match is None:
            problem = "an unclosed quotation mark" if rest[:1] == '"' else "no value"
            raise FilterError(f"{name}: has {problem}. Write {_EXAMPLES[name]}.")
        values.append(_unquote_value(name, match[0]))
        rest = rest[match.end() :]
        if not rest.startswith(","):
            break
        rest = rest[1:]
    if rest and not rest[0].isspace():
        raise FilterError(
            f"{rest.split()[0]!r} follows the value of {name}: without a space. Put values with "
            f"spaces, commas, colons or quotation marks in quotation marks: {_EXAMPLES[name]}"
        )
    return values, rest


def _unquote_value(name: str, value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value, strict=False))
    except ValueError:
        raise FilterError(
            f"{value} in {name}: is not quoted like a JSON string. "
            'Write \\\\ for a backslash and \\" for a quotation mark.'
        ) from None


def _parse_range(name: str, value: str) -> Range:
    low, dots, high = value.partition("..")
    try:
        if not dots:
            raise ValueError(value)
        return Range(float(low) if low else None, float(high) if high else None)
    except ValueError:
        raise FilterError(f"{name}:{value} is not a range. Write {_EXAMPLES[name]}.") from None


def _sort_values(
    name: str,
    values: Iterable[Any],
    kind: Callable[[Any], Any],
    order: Iterable[Any] | None = None,
) -> tuple[Any, ...]:
    """Return the values as their type, each once, in the given order or ascending."""
    try:
        given = None if isinstance(values, str) else {kind(value) for value in values}
    except ValueError:
        given = None
    if given is None or not given <= set(_CHOICES.get(name, given)):
        wrong = repr(values) if isinstance(values, str) else ", ".join(map(repr, map(str, values)))
        raise FilterError(f"{name}: does not accept {wrong}. Write {_EXAMPLES[name]}.")
    if order is None:
        return tuple(sorted(given))
    return tuple(value for value in map(kind, order) if value in given)


def _format_number(value: float | None) -> str:
    """Return the shortest text that parses to the same number."""
    if value is None:
        return ""
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _quote_value(value: str) -> str:
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
    "blind": f"blind: with any of {', '.join(CORRECTNESS)}",
    "seen": f"seen: with any of {', '.join(CORRECTNESS)}",
    "model": "model:RUN or the name of imported predictions",
    "measure": f"measure: with one of {', '.join(MEASURES)}",
    "text": 'text:"what colour" or, as a regular expression, text:"~/colou?r/"',
}

PARTS: dict[str, tuple[str, str]] = {
    name: (meaning, _EXAMPLES[name])
    for name, meaning in {
        "source": "where the sample comes from",
        "cluster": "its cluster in the chosen clustering",
        "kind": "form of its first answer",
        "category": "what the score means, by the current band limits",
        "status": "whether it was scored, or why not",
        "certainty": (
            "whether the score is within the noise of its dtype of a band limit (undecided) or "
            "not (sure); unknown where the scores came without their dtype"
        ),
        "decision": "the decision over all reviewers, none where no one decided",
        "reviewer": "who decided on it",
        "image": "all samples with this image, by its path in the record",
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
        "blind": "whether the prediction without the image is right; none without one",
        "seen": "whether the prediction with the image is right; none without one",
        "model": "whose predictions: a run or an imported model; by default the run in view",
        "measure": "what counts as right, by default auto (see visnec evaluate --help)",
        "text": (
            "words in question, answer, further turns or id, ignoring case; between ~/ and / a "
            "regular expression (RE2), case-sensitive if it ends with /c"
        ),
    }.items()
}
"""Part of a filter to what it selects by and how it is written."""
