"""What an export looks like beyond which samples are in it: its format and what goes along.

The one decision behind it: everything that decides the bytes is in this one frozen value. It
stands in the manifest, so an export with all its extras is repeated from there alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, get_args

from scoring.errors import InputError

VERSION: Final = 3
"""Of the rules by which exports are written, and of manifests. Version 1 had no options; up to 2,
images with unusual names were renamed without their records, members of tar files were named after
the kind of their image, and images that cannot be decoded were embedded.
"""

FORMATS: Final[Mapping[str, str]] = {
    "llava": "one JSON array, the records as they came",
    "jsonl": "JSON lines, one record a line",
    "parquet": "a Parquet table: rows of Parquet as they came, else conversations and scores",
    "huggingface": "a folder that datasets.load_from_disk reads",
    "webdataset": "WebDataset tar files with the images inside",
    "ids": "ids and row numbers only",
    "dropped": "what is left out, and why",
}
"""Formats and what each is, in words."""

TABLES = ("parquet", "huggingface")
RECORDS = ("llava", "jsonl", "webdataset")
Images = Literal["none", "copy", "link", "embed"]
Weighting = Literal["ignore", "column", "repeat"]
Columns = Literal["source", "understood"]
TurnChoice = Literal["keep", "drop", "mask"]
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to write a subset.

    ``images``: ``copy`` or hard ``link`` the images used into a folder beside, or ``embed`` them
    in a table (webdataset always holds them). ``weights``, of a rule that weighs: a ``column`` of
    that name, or each sample ``repeat``-ed as often as it counts in an epoch of ``epoch_size``
    samples drawn with ``seed``. ``turns``: ``drop`` or ``mask`` those answers whose own VisNec
    score is under ``turn_min`` or not under ``turn_max``; a mask is the key ``mask_key`` with the
    value false in such a turn. ``card``: README.md with plots, and Croissant metadata, which says
    ``license``, ``url`` and ``date_published`` where they are given. ``columns`` of a Parquet
    table: those that the dataset's own files have (``source``), or those that this tool understood,
    with scores. ``version`` is 3 but for exports of earlier versions, which are verified by their
    own rules. Raises InputError for choices that do not fit together.
    """

    format: str = "llava"
    images: Images = "none"
    weights: Weighting | None = None
    weight_key: str = "weight"
    epoch_size: int | None = None
    seed: int = 0
    turns: TurnChoice = "keep"
    turn_min: float | None = None
    turn_max: float | None = None
    mask_key: str = "loss"
    card: bool = False
    license: str | None = None
    url: str | None = None
    date_published: str | None = None
    columns: Columns | None = None
    version: int = field(default=VERSION, kw_only=True)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"no format {self.format!r}; there are: {', '.join(FORMATS)}")
        if self.version not in range(1, VERSION + 1):
            raise InputError(f"version is one of 1 to {VERSION}; got {self.version!r}")
        _check_word("images", self.images, get_args(Images))
        _check_word("turns", self.turns, get_args(TurnChoice))
        if self.weights is not None:
            _check_word("weights", self.weights, get_args(Weighting))
        for what in (self.weight_key, self.mask_key):
            if not isinstance(what, str) or not _KEY.fullmatch(what):
                raise InputError(f"{what!r} is no key for a record; use letters, digits and '_'")
        if self.columns is not None:
            self._check_columns()
        self._check_images()
        self._check_turns()
        self._check_weights()
        said = (self.license, self.url, self.date_published)
        if not self.card and any(one is not None for one in said):
            raise InputError("licence, address and date stand in the card; ask for it too")

    def _check_images(self) -> None:
        if self.images == "embed" and self.format not in TABLES:
            raise InputError(
                f"images can be embedded in {' or '.join(TABLES)}, not in {self.format}; "
                "use copy or link"
            )
        if self.images != "none" and self.format in ("ids", "dropped"):
            raise InputError(f"no images go with the format {self.format}; leave them out")

    def _check_columns(self) -> None:
        _check_word("columns", self.columns, get_args(Columns))
        if self.format != "parquet":
            raise InputError(f"columns are chosen of the format parquet, not of {self.format}")
        if self.columns == "source" and (self.images == "embed" or self.turns != "keep"):
            raise InputError(
                "the columns of the source hold turns and images as they came; embed images and "
                "take turns out with the columns understood"
            )

    def _check_turns(self) -> None:
        limits = [one for one in (self.turn_min, self.turn_max) if one is not None]
        if not all(isinstance(one, int | float) and math.isfinite(one) for one in limits):
            raise InputError(f"a limit of turns is a number, got {limits}")
        if self.turns == "keep" and limits:
            raise InputError("a limit of turns needs turns drop or mask")
        if self.turns != "keep" and not limits:
            raise InputError(f"turns {self.turns} needs a lowest or highest score of a turn")

    def _check_weights(self) -> None:
        if self.weights == "column" and self.format in ("ids", "dropped"):
            raise InputError(f"the format {self.format} has no columns; repeat or ignore weights")
        if self.epoch_size is not None and self.weights != "repeat":
            raise InputError("the size of an epoch goes with weights repeat")

    @property
    def places_images(self) -> bool:
        """Whether images are exported as files of their own."""
        return self.images in ("copy", "link") and self.format != "webdataset"

    @property
    def holds_images(self) -> bool:
        """Whether images are exported inside other files."""
        return self.images == "embed" or self.format == "webdataset"

    @property
    def takes_images(self) -> bool:
        """Whether images are exported at all."""
        return self.places_images or self.holds_images

    def to_dict(self) -> dict[str, Any]:
        """The choices that differ from the plain ones, and the format; without the version."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        del values["version"]
        plain = {one.name: one.default for one in fields(self)}
        chosen = {key: value for key, value in values.items() if value != plain[key]}
        return {"format": self.format, **chosen}


def options_from_dict(value: Mapping[str, Any]) -> ExportOptions:
    """The options that ``to_dict`` gave. Raises InputError, TypeError for others."""
    return ExportOptions(**value)


def _check_word(what: str, word: object, known: tuple[str, ...]) -> None:
    if word not in known:
        raise InputError(f"{what} is one of {', '.join(known)}; got {word!r}")
