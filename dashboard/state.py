"""The state of a view: every URL parameter and every session key, typed, in one place.

The URL is the one truth of what a page shows, so that a link shows a colleague the same thing:
widgets are set from the view before they are drawn, and their callbacks write the view back into
the URL. A stale or hostile link never fails; what it says wrongly is left out and told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final

import streamlit as st

from scoring.errors import VisnecError
from scoring.necessity import Bands
from scoring.store.filters import Filter, parse_filter
from scoring.store.values import Cursor, Sort

MAX_TEXT = 4000
MAX_ROW: Final = 2**62
_MAX_NUMBER = 1e6
_MAX_CLUSTER = 2**31 - 1
PAGE_SIZES: Final = (24, 48, 96, 192)


class Tiles(StrEnum):
    """How large the pictures of a gallery are."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Layout(StrEnum):
    """How Explore lays its samples out."""

    PAGES = "pages"
    CUT = "cut"


class Queue(StrEnum):
    """Orders in which samples come up for review."""

    THRESHOLD = "threshold"
    LOWEST = "lowest"
    HIGHEST = "highest"
    RANDOM = "random"
    STRATIFIED = "stratified"
    RUNS = "runs"
    REVIEWERS = "reviewers"
    RULE = "rule"
    ROW_IDX = "row_idx"


class Who(StrEnum):
    """Whose samples come up for review."""

    UNDECIDED = "undecided"
    ALL = "all"
    MINE = "mine"


class Group(StrEnum):
    """What the Overview sets side by side."""

    SOURCE = "source"
    CLUSTER = "cluster"
    KIND = "kind"
    LENGTH = "length"
    TURN = "turn"


class RuleKind(StrEnum):
    """Selection rules that the Subset page offers, by the names of the command line."""

    THRESHOLD = "threshold"
    TOP_SHARE = "top-share"
    TOP_COUNT = "top-count"
    PAPER = "paper"
    PAPER_CODE = "paper-code"
    RANDOM = "random"


class Key(StrEnum):
    """Session keys that are no widget of their own."""

    KEPT_PARAMETERS = "visnec.kept_parameters"
    REVIEWER = "visnec.reviewer"
    QUEUE = "visnec.review_queue"
    QUEUE_SERIAL = "visnec.review_queue_serial"
    REVIEW_RECEIPT = "visnec.review_receipt"
    MESSAGE = "visnec.message"
    VERIFIED = "visnec.verified"
    PAGES = "visnec.pages"
    GALLERY_FOCUS = "visnec.gallery_focus"
    BULK = "visnec.bulk"
    REVIEWER_FORGOTTEN = "visnec.reviewer_forgotten"


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows. None means: whatever the workspace has by default.

    ``sample`` is the one that Explore has open, ``row`` the one that Review has reached.
    """

    run: str | None = None
    baseline: str | None = None
    clustering: str | None = None
    other: str | None = None
    filter: Filter = field(default_factory=Filter)
    low: float | None = None
    high: float | None = None
    cut: float | None = None
    log: bool = False
    group: Group = Group.SOURCE
    sort: Sort = Sort.VISNEC_DESC
    page: Cursor | None = None
    size: int = 48
    tiles: Tiles = Tiles.MEDIUM
    layout: Layout = Layout.PAGES
    sample: int | None = None
    row: int | None = None
    queue: Queue = Queue.THRESHOLD
    who: Who = Who.UNDECIDED
    seed: int = 1
    reviewer: str | None = None
    buttons: bool = False
    blind: bool = False
    rule: RuleKind = RuleKind.THRESHOLD
    share: float = 0.15
    count: int = 1000
    minimum: float | None = None
    maximum: float | None = None
    text_only: bool = False
    unscored: bool = False
    hand: bool = True

    def bands(self, default: Bands) -> Bands:
        """The band limits in use: the link's where it has any, else the workspace's."""
        low = default.low if self.low is None else self.low
        high = default.high if self.high is None else self.high
        return Bands(low, high) if low <= high else default

    def threshold(self, default: Bands) -> float:
        """The cut in use; by default it stands at the upper band limit."""
        return self.bands(default).high if self.cut is None else self.cut


@dataclass(frozen=True, slots=True)
class _Parameter:
    """How one field of a view is written into a URL and read back."""

    read: Callable[[str], Any]
    write: Callable[[Any], str]
    expects: str


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or abs(value) > _MAX_NUMBER:
        raise ValueError(text)
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError(text)
    return value


def _row(text: str) -> int:
    value = int(text)
    if not 0 <= value < MAX_ROW:
        raise ValueError(text)
    return value


def _size(text: str) -> int:
    value = int(text)
    if value not in PAGE_SIZES:
        raise ValueError(text)
    return value


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def _text(text: str) -> str:
    cleaned = "".join(one for one in text if one.isprintable()).strip()
    if not cleaned or len(cleaned) > 200:
        raise ValueError(text)
    return cleaned


def _filter(text: str) -> Filter:
    if len(text) > MAX_TEXT:
        raise ValueError(text)
    parsed = parse_filter(text)
    if any(not 0 <= cluster <= _MAX_CLUSTER for cluster in parsed.cluster):
        raise ValueError(text)
    return parsed


def _cursor(text: str) -> Cursor:
    """``>0.25,17``: after the sample 17 with that value; ``<`` before it; ``-`` for no value."""
    direction, (value, row) = text[:1], text[1:].split(",")
    if direction not in ("<", ">"):
        raise ValueError(text)
    return Cursor(None if value == "-" else _number(value), _row_or_start(row), direction == "<")


def _row_or_start(text: str) -> int:
    return -1 if text == "-1" else _row(text)


def cursor_text(cursor: Cursor) -> str:
    """A page's place as it stands in a URL."""
    value = "-" if cursor.value is None else repr(float(cursor.value))
    return f"{'<' if cursor.backward else '>'}{value},{cursor.row_idx}"


_NUMBER = _Parameter(_number, repr, "a finite number")
_FLAG = _Parameter(_flag, lambda value: "1" if value else "0", "0 or 1")
_NAME = _Parameter(_text, str, "a name")
_ROW = _Parameter(_row, str, "a whole number of 0 or more")


def _choice(kind: type[StrEnum]) -> _Parameter:
    return _Parameter(kind, str, f"one of {', '.join(kind)}")


_PARAMETERS: Final[dict[str, _Parameter]] = {
    "run": _NAME,
    "baseline": _NAME,
    "clustering": _NAME,
    "other": _NAME,
    "filter": _Parameter(_filter, str, "a filter"),
    "low": _NUMBER,
    "high": _NUMBER,
    "cut": _NUMBER,
    "log": _FLAG,
    "group": _choice(Group),
    "sort": _choice(Sort),
    "page": _Parameter(_cursor, cursor_text, "the place of a page"),
    "size": _Parameter(_size, str, f"one of {', '.join(map(str, PAGE_SIZES))}"),
    "tiles": _choice(Tiles),
    "layout": _choice(Layout),
    "sample": _ROW,
    "row": _ROW,
    "queue": _choice(Queue),
    "who": _choice(Who),
    "seed": _ROW,
    "reviewer": _NAME,
    "buttons": _FLAG,
    "blind": _FLAG,
    "rule": _choice(RuleKind),
    "share": _Parameter(_share, repr, "a share between 0 and 1"),
    "count": _ROW,
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "text_only": _FLAG,
    "unscored": _FLAG,
    "hand": _FLAG,
}
_DEFAULT: Final = View()


def read_view(parameters: Mapping[str, str]) -> tuple[View, list[str]]:
    """The view that URL parameters describe, and a sentence for each that was left out.

    Names this version does not know are no problem: they may belong to a newer one.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, parameter in _PARAMETERS.items():
        text = parameters.get(name)
        if text is None or text == "":
            continue
        try:
            values[name] = parameter.read(text)
        except VisnecError as error:
            problems.append(f"The link's {name} was left out: {_short(str(error), 300)}")
        except (ValueError, OverflowError):
            problems.append(
                f"The link's {name} was left out: {_short(text)} is not {parameter.expects}."
            )
    view = View(**values)
    if view.low is not None and view.high is not None and view.low > view.high:
        problems.append("The link's band limits were left out: low lies above high.")
        view = replace(view, low=None, high=None)
    return view, problems


def write_view(view: View) -> dict[str, str]:
    """The URL parameters of a view; what has its default value is left out."""
    written: dict[str, str] = {}
    for item in fields(View):
        value = getattr(view, item.name)
        if value is not None and value != getattr(_DEFAULT, item.name):
            written[item.name] = _PARAMETERS[item.name].write(value)
    return written


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def open_view() -> tuple[View, list[str]]:
    """The view of this page: from the URL, or as the session left it when a page link cleared it.

    Following a page link empties the URL; a reload or a colleague's link never does, because both
    begin a session of their own.
    """
    parameters = {name: st.query_params[name] for name in st.query_params if name in _PARAMETERS}
    kept: dict[str, str] = st.session_state.get(Key.KEPT_PARAMETERS, {})
    if not parameters and kept:
        parameters = kept
    view, problems = read_view(parameters)
    show_in_url(view)
    return view, problems


def show_in_url(view: View) -> None:
    """Writes the view into the URL, where it differs from what stands there."""
    written = write_view(view)
    if dict(st.query_params) != written:
        st.query_params.from_dict(written)
    st.session_state[Key.KEPT_PARAMETERS] = written


def current_view() -> View:
    """The view as the URL has it now; for callbacks."""
    return read_view(dict(st.query_params))[0]


def change_view(**changes: Any) -> View:
    """Changes fields of the view and shows it in the URL. A change of what is listed, or of its
    order, goes back to the first page."""
    view = replace(current_view(), **changes)
    if {"filter", "sort", "size", "run", "baseline", "clustering"} & set(
        changes
    ) and "page" not in changes:
        view = replace(view, page=None)
    show_in_url(view)
    return view


def take_view(**changes: Any) -> None:
    """The same as a callback of a widget, which returns nothing."""
    change_view(**changes)
