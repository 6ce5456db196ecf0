"""The filter of samples, written the same way on the command line, in a URL and in Python.

    source:scenes,"my set" category:misaligned visnec:-1..0.25 decision:none text:"what colour"

Parts are joined by "and", the values of one part by "or"; a range includes its lower limit and not
its upper one and can also be written ``visnec>=0.25``. Columns have conditions of their own:
``col:clip>0.3 col:origin=web,coco``, and so have maps: ``area:map@12,40;13,80;20,31``. A filter has
one written form, so that ``parse_filter(str(f)) == f``: its text can be a URL, a cache key and a
line in a manifest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from scoring.database.areas import AREA_EXAMPLE, Area, format_number, parse_area
from scoring.database.build.schema import ANSWER_KINDS
from scoring.errors import FilterError
from scoring.evaluation.accuracy import MEASURES
from scoring.necessity import Category
from scoring.samples import Status

DECISIONS = ("keep", "drop", "unsure", "none")
CERTAINTIES = ("sure", "undecided", "unknown")
AGREEMENTS = ("agree", "differ")
CORRECTNESS = ("right", "wrong", "none")
EDITED = ("yes", "no")

_RANGES = (
    "visnec",
    "loss_text",
    "loss_multimodal",
    "tokens",
    "content",
    "length",
    "turns",
    "images",
)
_COUNTS = ("tokens", "content", "length", "turns", "images")
_SINGLE = ("other", "model", "measure", "text")
_CHOICES: dict[str, tuple[str, ...]] = {
    "kind": ANSWER_KINDS,
    "category": tuple(Category),
    "status": tuple(Status),
    "certainty": CERTAINTIES,
    "decision": DECISIONS,
    "edited": EDITED,
    "baselines": AGREEMENTS,
    "other_category": tuple(Category),
    "runs": AGREEMENTS,
    "blind": CORRECTNESS,
    "seen": CORRECTNESS,
}
_EXAMPLES = {
    **{name: f"{name}: with any of {', '.join(some)}" for name, some in _CHOICES.items()},
    "source": 'source:coco,"my set"',
    "cluster": "cluster:0,7 (numbers of the clustering)",
    "reviewer": "reviewer:ada,ben",
    "image": 'image:"coco/000000000009.jpg"',
    "visnec": "visnec:-1..0.25, visnec:0.25.. or visnec:..0",
    "loss_text": "loss_text:0..0.1",
    "loss_multimodal": "loss_multimodal:2..",
    "tokens": "tokens:3.. or tokens:1..4 (the upper limit is left out)",
    "content": "content:1..2 for one token, content:2.. for several",
    "length": "length:1..20 or length:200..",
    "turns": "turns:1..2 for one answer, turns:2.. for several",
    "images": "images:>1 or images:1..2",
    "col": 'col:clip>0.3, col:rating>=3, col:origin=web,"my set" or col:rating.min>=3 for a '
    "column with one value per answer",
    "area": AREA_EXAMPLE,
    "baselines": "baselines:differ or baselines:agree",
    "other": "other:RUN/BASELINE",
    "runs": "runs:differ or runs:agree",
    "model": "model:RUN or the name of imported predictions",
    "measure": f"measure: with one of {', '.join(MEASURES)}",
    "text": 'text:"what colour" or, as a regular expression, text:"~/colou?r/"',
}
_NAMES = ("other", "model", "measure")  # written without quotation marks where possible
_PATTERN = re.compile(r"~/(.*)/(c?)", re.DOTALL)
_KEY = re.compile(rf"([A-Za-z_]+):|({'|'.join(_RANGES)})(?=[<>=])")
_BARE = re.compile(r'[^\s,":]+')
_COMPARED = re.compile(r"(>=|<=|>|<|=)(.*)")
_COLUMN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(>=|<=|!=|>|<|=)")
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
        low, high = ("" if x is None else format_number(x) for x in (self.min, self.max))
        return f"{low}..{high}"


@dataclass(frozen=True, slots=True, order=True)
class ColumnCondition:
    """A condition on the values of a column; ``=`` and ``!=`` accept several values.

    ``values`` are sorted texts. A sample without a value meets no condition.
    """

    name: str
    operator: str  # = != < <= > >=
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{','.join(map(_quote_value, self.values))}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Samples that match every given part; an empty filter means all of them.

    The values of a tuple are sorted, so that equal filters compare and print equal. Raises
    FilterError for invalid values.
    """

    source: tuple[str, ...] = ()
    cluster: tuple[int, ...] = ()  # in the chosen clustering
    kind: tuple[str, ...] = ()  # form of the first answer
    category: tuple[Category, ...] = ()  # by the current band limits
    status: tuple[Status, ...] = ()
    certainty: tuple[str, ...] = ()  # undecided: a band limit is within the noise of the dtype
    decision: tuple[str, ...] = ()  # over all reviewers, none where no one decided
    reviewer: tuple[str, ...] = ()  # who decided on it
    edited: tuple[str, ...] = ()  # whether a reviewer's edit changes its record
    image: tuple[str, ...] = ()  # all samples with this image or a copy, by its path in the record
    visnec: Range | None = None  # nats per answer token, as both losses
    loss_text: Range | None = None
    loss_multimodal: Range | None = None
    tokens: Range | None = None  # answer tokens that were scored
    content: Range | None = None  # answer tokens without end-of-turn tokens and thoughts
    length: Range | None = None  # characters of the first answer
    turns: Range | None = None  # answers in the conversation
    images: Range | None = None  # images of the record
    col: tuple[ColumnCondition, ...] = ()  # imported columns, joined by "and"
    area: tuple[Area, ...] = ()  # polygons on maps, joined by "and"
    baselines: tuple[str, ...] = ()  # whether its category depends on the run's blind baseline
    other: str | None = None  # a second set of scores to compare with, by run and baseline
    other_category: tuple[Category, ...] = ()  # its category there
    runs: tuple[str, ...] = ()  # whether its category is the same there
    blind: tuple[str, ...] = ()  # whether the prediction without the image is right
    seen: tuple[str, ...] = ()  # and the one with it; none without a prediction
    model: str | None = None  # whose predictions: by default those of the chosen run
    measure: str | None = None  # what counts as right, by default auto
    text: str | None = None  # words in question, answers or id, or a regular expression (RE2)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.default == ():
                value = _sort_values(item.name, value)
            elif item.name in _SINGLE:
                value = value or None
            object.__setattr__(self, item.name, value)  # the dataclass is frozen
        if self.text is not None and self.text.startswith("~/") and self.pattern is None:
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
    def pattern(self) -> tuple[str, bool] | None:
        """The regular expression and whether it is case-sensitive, if ``text`` is one."""
        match = _PATTERN.fullmatch(self.text or "")
        return (match[1], bool(match[2])) if match else None

    @property
    def needs_bands(self) -> bool:
        """Whether it depends on the limits between the categories."""
        parts = (self.category, self.certainty, self.baselines, self.other_category, self.runs)
        return any(parts)

    @property
    def needs_decisions(self) -> bool:
        """Whether it depends on decisions or edits of reviewers."""
        return bool(self.decision or self.reviewer or self.edited)

    def __str__(self) -> str:
        parts = []
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in _REPEATED:
                parts += [f"{item.name}:{each}" for each in value]
                continue
            if isinstance(value, tuple):
                text = ",".join(_quote_value(str(element)) for element in value)
            elif isinstance(value, str):
                is_name = item.name in _NAMES
                text = _quote_value(value) if is_name else json.dumps(value, ensure_ascii=False)
            else:
                text = "" if value is None else str(value)
            parts += [f"{item.name}:{text}"] if text else []
        return " ".join(parts)

    def __bool__(self) -> bool:
        return bool(str(self))


def parse_filter(text: str) -> Filter:
    """Parse the written form of a filter.

    Raises FilterError naming the part that does not parse and what it accepts.
    """
    names = [item.name for item in fields(Filter)]
    parts: dict[str, Any] = {}
    rest = text.strip()
    while rest:
        match = _KEY.match(rest)
        if match is None:
            word = rest.split()[0]
            raise FilterError(
                f"{word!r} is not a part of a filter. Write name:value with one of "
                f"{', '.join(names)} (to search for a word: text:{_quote_value(word)})."
            )
        name = match[1] or match[2]
        if name not in names:
            raise FilterError(f"A filter has no {name!r}. Use one of: {', '.join(names)}.")
        if name in _REPEATED:
            each, rest = _REPEATED[name](rest[match.end() :])
            parts[name] = (*parts.get(name, ()), each)
            rest = rest.lstrip()
            continue
        if name in parts:
            raise FilterError(f"The filter has {name!r} twice. Join its values: {name}:a,b")
        values, rest = _parse_values(name, rest[match.end() :])
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


def _parse_values(name: str, rest: str) -> tuple[list[str], str]:
    """Parse values with commas between them; return them and the text after them."""
    values: list[str] = []
    while True:
        match = _QUOTED.match(rest) or _BARE.match(rest)
        if match is None:
            problem = "an unclosed quotation mark" if rest[:1] == '"' else "no value"
            raise FilterError(f"{name}: has {problem}. Write {_EXAMPLES[name]}.")
        try:
            is_quoted = rest.startswith('"')
            values.append(str(json.loads(match[0], strict=False)) if is_quoted else match[0])
        except ValueError:
            raise FilterError(
                f"{match[0]} in {name}: is not quoted like a JSON string. "
                'Write \\\\ for a backslash and \\" for a quotation mark.'
            ) from None
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


def _parse_condition(rest: str) -> tuple[ColumnCondition, str]:
    """Parse a condition on a column; return it and the text after it."""
    match = _COLUMN.match(rest)
    if match is None:
        problem = f"{rest.split()[0]!r} is not a condition" if rest.strip() else "has no value"
        raise FilterError(f"col: {problem}. Write {_EXAMPLES['col']}.")
    values, rest = _parse_values("col", rest[match.end() :])
    name, operator = match[1], match[2]
    if operator not in ("=", "!="):
        try:
            (number,) = map(float, values)
            if not math.isfinite(number):
                raise ValueError(number)
        except ValueError:
            raise FilterError(
                f"col:{name}{operator} compares with one number, got {', '.join(values)}. Write "
                f"{_EXAMPLES['col']}."
            ) from None
        values = [format_number(number)]
    return ColumnCondition(name, operator, tuple(sorted(set(values)))), rest


def _compare(name: str, operator: str, text: str) -> Range:
    """Return the range of numbers that a comparison allows; counts are whole numbers."""
    number = float(text)
    if operator == ">=":
        return Range(number, None)
    if operator == "<":
        return Range(None, number)
    if name not in _COUNTS or not number.is_integer():
        raise ValueError(text)
    if operator == ">":
        return Range(number + 1, None)
    return Range(number if operator == "=" else None, number + 1)


def _parse_range(name: str, value: str) -> Range:
    compared = _COMPARED.fullmatch(value)
    low, dots, high = value.partition("..")
    try:
        if compared:
            return _compare(name, compared[1], compared[2])
        if not dots:
            raise ValueError(value)
        return Range(float(low) if low else None, float(high) if high else None)
    except ValueError:
        raise FilterError(f"{name}:{value} is not a range. Write {_EXAMPLES[name]}.") from None


def _sort_values(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values, each once: ascending, or in the order of the part's choices."""
    if name in _REPEATED:
        return tuple(sorted({_read_repeated(name, str(value)) for value in values}))
    kind, choices = int if name == "cluster" else str, _CHOICES.get(name)
    try:
        given = None if isinstance(values, str) else {kind(value) for value in values}
    except ValueError:
        given = None
    if given is None or (choices is not None and not given <= set(choices)):
        wrong = repr(values) if isinstance(values, str) else ", ".join(map(repr, map(str, values)))
        raise FilterError(f"{name}: does not accept {wrong}. Write {_EXAMPLES[name]}.")
    return tuple(sorted(given)) if choices is None else tuple(c for c in choices if c in given)


def _read_repeated(name: str, text: str) -> Any:
    """Return a condition or an area from its written form."""
    value, rest = _REPEATED[name](text)
    if rest:
        raise FilterError(f"{name}: does not accept {text!r}. Write {_EXAMPLES[name]}.")
    return value


def _quote_value(value: str) -> str:
    return value if _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


# Parts that can be repeated and are joined by "and": how one is parsed.
_REPEATED: dict[str, Callable[[str], tuple[Any, str]]] = {
    "col": _parse_condition,
    "area": parse_area,
}
EVERYTHING = Filter()
