"""The state of a view: every URL parameter and every session key, typed, in one place.

The URL is the only source of what a page shows, so a link shows a colleague the same thing: widgets
are set from the view before they are rendered, and their callbacks write the view back into the
URL. An outdated or hostile link never fails: invalid parameters are ignored and reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Annotated, Any, Final, get_args, get_type_hints

import streamlit as st

from dashboard.view.parameters import (
    CONDITIONS,
    CURSOR,
    FILTER,
    FLAG,
    MAX_COUNT,
    NAME,
    NAMES,
    NUMBER,
    ORDER,
    RANKING,
    ROW,
    SCORE_LIMITS,
    SHARE,
    SIZE_LIMITS,
    TARGETS,
    VALUE,
    Parameter,
    choice_parameter,
    group_parameter,
    integer_parameter,
)
from scoring.database.filters import Filter
from scoring.database.values import Cursor, Order, Sort
from scoring.errors import VisnecError
from scoring.necessity import LOW_TOLERANCE, Bands
from scoring.predictions.records import TurnChoice
from scoring.rules import LOSSES, RANKINGS, Per, WeightBy
from scoring.rules.base import NamedLimits
from scoring.rules.combination import Normalise
from scoring.rules.groups import BEST
from scoring.rules.mixture import DrawBy, MixtureGroup
from scoring.rules.targets import Targets

TURNS: Final[tuple[TurnChoice, ...]] = get_args(TurnChoice)
PAGE_SIZES: Final = (24, 48, 96, 192)
MAX_DRAWS: Final = 2000
MAX_SEED: Final = 2**53 - 1  # the largest whole number that a browser holds
ARMS: Final = ("random", *RANKINGS)
GROUPS: Final[tuple[str, ...]] = get_args(Per)
WEIGHINGS: Final[tuple[str, ...]] = get_args(WeightBy)
AMOUNTS: Final = ("share", "count", "tokens")
MIXTURE_GROUPS: Final[tuple[str, ...]] = get_args(MixtureGroup)
DRAWS: Final[tuple[str, ...]] = get_args(DrawBy)
NORMALISATIONS: Final[tuple[str, ...]] = get_args(Normalise)


class Tiles(StrEnum):
    """Size of the images in a gallery."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Layout(StrEnum):
    """How Explore arranges its samples."""

    PAGES = "pages"
    THRESHOLD = "cut"
    MAP = "map"


class MapColour(StrEnum):
    """What the points of the map are coloured by."""

    CATEGORY = "category"
    SCORE = "score"
    SOURCE = "source"
    DECISION = "decision"


class Queue(StrEnum):
    """Orders of the review queue."""

    THRESHOLD = "threshold"
    LOWEST = "lowest"
    HIGHEST = "highest"
    RANDOM = "random"
    STRATIFIED = "stratified"
    RUNS = "runs"
    ABOVE_COLUMN = "above"
    BELOW_COLUMN = "below"
    HIGHEST_VALUE = "-col"
    LOWEST_VALUE = "col"
    SUSPECTS = "suspects"
    CONFLICTS = "conflicts"
    REVIEWERS = "reviewers"
    RULE = "rule"
    ROW_IDX = "row_idx"


class QueueScope(StrEnum):
    """Which samples the review queue contains, by who has decided on them."""

    UNDECIDED = "undecided"
    ALL = "all"
    MINE = "mine"


class Group(StrEnum):
    """Groups that the Overview compares."""

    SOURCE = "source"
    CLUSTER = "cluster"
    KIND = "kind"
    LENGTH = "length"
    TURN = "turn"
    COLUMN = "column"


class RuleKind(StrEnum):
    """Selection rules on the Subset page, named as on the command line."""

    DROP_MISALIGNED = "drop-misaligned"
    THRESHOLD = "threshold"
    ANSWER_THRESHOLD = "answer-threshold"
    FILTER = "filter"
    BEST_OF_GROUP = "best-of-group"
    BAND = "band"
    RELATIVE = "relative"
    TOP_SHARE = "top-share"
    TOP_COUNT = "top-count"
    TOP_TOKENS = "top-tokens"
    LENGTH_CORRECTED = "length-corrected"
    MIXTURE = "mixture"
    PAPER = "paper"
    PAPER_CODE = "paper-code"
    PER_CLUSTER = "per-cluster"
    PER_SOURCE = "per-source"
    BUDGET = "budget"
    WEIGHTS = "weights"
    RANDOM = "random"
    ABLATION = "ablation"
    CONTROL = "control"


ACCOMPANIED: Final = tuple(
    kind for kind in RuleKind if kind not in (RuleKind.WEIGHTS, RuleKind.MIXTURE, RuleKind.CONTROL)
)
"""Rules that a control can be built for, with the same number of samples."""


class Panel(StrEnum):
    """Detail panels of the Subset page."""

    EDGE = "edge"
    STABILITY = "stability"
    COMPARE = "compare"
    CLUSTERINGS = "clusterings"


class Held(StrEnum):
    """Groups by which the Trials page shows what each arm holds."""

    KIND = "kind"
    SOURCE = "source"
    CATEGORY = "category"


class Key(StrEnum):
    """Session keys that do not belong to a widget."""

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
    BULK_SHOWN = "visnec.bulk_shown"
    BULK_PLACE = "visnec.bulk_place"
    REVEALED = "visnec.revealed"
    REVIEWER_FORGOTTEN = "visnec.reviewer_forgotten"
    DRAWN_PLANES = "visnec.drawn_planes"
    OPENS_EXPLORE = "visnec.opens_explore"


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows; None is the workspace's default.

    Fields are named like their URL parameters, which saved links depend on; ``cut`` is the
    threshold. ``sample`` is the one open in Explore, ``row`` the current one in Review. Fields from
    ``rule`` to ``max_repeat`` are the choices on the Subset page; a ``max_weight`` of 0 means no
    limit, without ``per`` the rule's default applies, and without ``target`` a mixture keeps the
    proportions of its groups.
    threshold, ``column_cut`` that of the imported ``column``, and ``by``
    the column to group by. ``sample`` is the one open in
    Explore, ``row`` the current one in Review. Fields from ``rule`` to ``max_weight`` are the
    choices on the Subset page; a ``max_weight`` of 0 means no limit, and without ``per`` the
    rule's default applies.
    """

    run: Annotated[str | None, NAME] = None
    baseline: Annotated[str | None, NAME] = None
    clustering: Annotated[str | None, NAME] = None
    other: Annotated[str | None, NAME] = None
    through: Annotated[tuple[str, ...], NAMES] = ()
    filter: Annotated[Filter, FILTER] = field(default=Filter())
    low: Annotated[float | None, NUMBER] = None
    high: Annotated[float | None, NUMBER] = None
    cut: Annotated[float | None, NUMBER] = None
    log: Annotated[bool, FLAG] = False
    column: Annotated[str | None, NAME] = None
    column_cut: Annotated[float | None, VALUE] = None
    group: Annotated[Group, choice_parameter(Group)] = Group.SOURCE
    by: Annotated[str | None, NAME] = None
    sort: Annotated[Order, ORDER] = Sort.VISNEC_DESC
    page: Annotated[Cursor | None, CURSOR] = None
    size: Annotated[int, choice_parameter(PAGE_SIZES)] = 48
    tiles: Annotated[Tiles, choice_parameter(Tiles)] = Tiles.MEDIUM
    layout: Annotated[Layout, choice_parameter(Layout)] = Layout.PAGES
    map: Annotated[str | None, NAME] = None
    colour: Annotated[MapColour, choice_parameter(MapColour)] = MapColour.CATEGORY
    sample: Annotated[int | None, ROW] = None
    row: Annotated[int | None, ROW] = None
    queue: Annotated[Queue, choice_parameter(Queue)] = Queue.THRESHOLD
    who: Annotated[QueueScope, choice_parameter(QueueScope)] = QueueScope.UNDECIDED
    seed: Annotated[int, integer_parameter(0, MAX_SEED)] = 1
    reviewer: Annotated[str | None, NAME] = None
    buttons: Annotated[bool, FLAG] = False
    blind: Annotated[bool, FLAG] = False
    turns: Annotated[TurnChoice, choice_parameter(TURNS)] = "first"  # answers that are evaluated
    rule: Annotated[RuleKind, choice_parameter(RuleKind)] = RuleKind.THRESHOLD
    share: Annotated[float, SHARE] = 0.15
    count: Annotated[int, integer_parameter(0, MAX_COUNT)] = 1000
    minimum: Annotated[float | None, NUMBER] = None
    below: Annotated[float, NUMBER] = -LOW_TOLERANCE
    maximum: Annotated[float | None, NUMBER] = None
    text_only: Annotated[bool, FLAG] = False
    unscored: Annotated[bool, FLAG] = False
    hand: Annotated[bool, FLAG] = True
    where: Annotated[Filter, FILTER] = field(default=Filter())
    rank_by: Annotated[str | None, RANKING] = None
    all_of: Annotated[tuple[str, ...], CONDITIONS] = ()
    any_of: Annotated[tuple[str, ...], CONDITIONS] = ()
    group_column: Annotated[str | None, NAME] = None
    best: Annotated[str, choice_parameter(BEST)] = BEST[0]
    normalise: Annotated[str, choice_parameter(NORMALISATIONS)] = NORMALISATIONS[0]
    by_count: Annotated[bool, FLAG] = False
    amount: Annotated[str, choice_parameter(AMOUNTS)] = AMOUNTS[0]
    tokens: Annotated[int, integer_parameter(1, MAX_COUNT)] = 100_000
    at_least: Annotated[int, integer_parameter(0, MAX_COUNT)] = 0
    floor: Annotated[int, integer_parameter(0, MAX_COUNT)] = 0
    ceiling: Annotated[int | None, integer_parameter(1, MAX_COUNT)] = None
    answer_limits: Annotated[NamedLimits, SCORE_LIMITS] = ()
    source_limits: Annotated[NamedLimits, SIZE_LIMITS] = ()
    loss: Annotated[str, choice_parameter(LOSSES)] = LOSSES[0]
    arm: Annotated[str, choice_parameter(ARMS)] = ARMS[0]
    per: Annotated[str | None, choice_parameter(GROUPS)] = None
    of: Annotated[RuleKind, choice_parameter(ACCOMPANIED)] = RuleKind.TOP_SHARE
    weigh: Annotated[str, choice_parameter(WEIGHINGS)] = "softmax"
    temperature: Annotated[float, NUMBER] = 1.0
    min_weight: Annotated[float, NUMBER] = 0.0
    max_weight: Annotated[float, NUMBER] = 10.0
    mix_per: Annotated[str, group_parameter(MIXTURE_GROUPS)] = MIXTURE_GROUPS[0]
    target: Annotated[Targets, TARGETS] = ()
    draw_by: Annotated[str, choice_parameter(DRAWS)] = DRAWS[0]
    max_repeat: Annotated[int, integer_parameter(1, MAX_COUNT)] = 1
    panel: Annotated[Panel, choice_parameter(Panel)] = Panel.EDGE
    draws: Annotated[int, integer_parameter(10, MAX_DRAWS)] = 200
    subset_a: Annotated[str | None, NAME] = None
    subset_b: Annotated[str | None, NAME] = None
    trial: Annotated[str | None, NAME] = None
    held: Annotated[Held, choice_parameter(Held)] = Held.KIND

    def bands(self, default: Bands) -> Bands:
        """Return the band limits: those of the link, or the workspace's."""
        low = default.low if self.low is None else self.low
        high = default.high if self.high is None else self.high
        return Bands(low, high) if low <= high else default

    def threshold(self, default: Bands) -> float:
        """Return the threshold; the upper band limit by default."""
        return self.bands(default).high if self.cut is None else self.cut


_PARAMETERS: Final[dict[str, Parameter]] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(View, include_extras=True).items()
}


def read_view(parameters: Mapping[str, str]) -> tuple[View, list[str]]:
    """Return the view that URL parameters describe, and a message for each one ignored.

    Unknown names are ignored silently: they may belong to a newer version.
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
            problems.append(f"The link's {name} was ignored: {_shorten(str(error), 300)}")
        except (ValueError, OverflowError):
            problems.append(
                f"The link's {name} was ignored: {_shorten(text)} is not {parameter.expects}."
            )
    view = View(**values)
    if view.low is not None and view.high is not None and view.low > view.high:
        problems.append("The link's band limits were ignored: low is above high.")
        view = replace(view, low=None, high=None)
    return view, problems


def write_view(view: View) -> dict[str, str]:
    """Return the URL parameters of a view, without default values."""
    written: dict[str, str] = {}
    for item in fields(View):
        value = getattr(view, item.name)
        if value is not None and value != item.default:
            written[item.name] = _PARAMETERS[item.name].write(value)
    return written


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def open_view() -> tuple[View, list[str]]:
    """Return the view from the URL, or the session's last one if a page link cleared the URL.

    Only following a page link clears the URL; a reload or a colleague's link starts a new session.
    """
    parameters = {name: st.query_params[name] for name in st.query_params if name in _PARAMETERS}
    view, problems = read_view(parameters or st.session_state.get(Key.KEPT_PARAMETERS, {}))
    show_in_url(view)
    return view, problems


def show_in_url(view: View) -> None:
    """Write the view into the URL if it changed."""
    written = write_view(view)
    if dict(st.query_params) != written:
        st.query_params.from_dict(written)
    st.session_state[Key.KEPT_PARAMETERS] = written


def current_view() -> View:
    """Return the view as it is now; for callbacks and fragments.

    The URL of a request does not count here: the browser may have sent it before the URL that the
    previous rerun wrote arrived. Only a rerun of the whole page brings a new one (`open_view`).
    """
    return read_view(st.session_state.get(Key.KEPT_PARAMETERS, {}))[0]


def change_view(**changes: Any) -> None:
    """Change fields of the view and show it in the URL.

    A change of the listed samples or of their order goes back to the first page.
    """
    view = replace(current_view(), **changes)
    listing = {"filter", "sort", "size", "run", "baseline", "clustering"}
    if listing & changes.keys() and "page" not in changes:
        view = replace(view, page=None)
    show_in_url(view)
