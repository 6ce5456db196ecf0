"""What an export looks like beyond which samples are in it: its format and what goes along.

The one decision behind it: everything that decides the bytes is in this one frozen value. It
stands in the manifest, so an export with all its extras is repeated from there alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final, Literal, get_args

from scoring.errors import InputError
from scoring.options import Option

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
_WEIGHTS, _TURNS, _CARD = "Weights", "Turns", "Dataset card"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to write a subset.

    ``version`` is 3 except for exports of earlier versions, which are verified by their own rules.
    Raises InputError for options that cannot be combined.
    """

    format: Annotated[
        str,
        Option(
            "llava (a JSON array), jsonl, parquet, huggingface (a folder for "
            "datasets.load_from_disk), webdataset (tar files with the images), ids, or dropped "
            "(the samples left out, and why)."
        ),
    ] = "llava"
    images: Annotated[
        Images,
        Option(
            "copy or (hard) link the images used into a folder images/ next to the records, embed "
            "them in a table, or none. webdataset always contains them."
        ),
    ] = "none"
    weights: Annotated[
        Weighting | None,
        Option(
            "For a subset of the rule weights: column (a key of each record), repeat (each record "
            "as often as it counts), or ignore.",
            panel=_WEIGHTS,
        ),
    ] = None
    weight_key: Annotated[str, Option("Name of that key.", panel=_WEIGHTS)] = "weight"
    epoch_size: Annotated[
        int | None, Option("Number of records written with --weights repeat.", panel=_WEIGHTS)
    ] = None
    seed: Annotated[int, Option("Seed for --weights repeat.", panel=_WEIGHTS)] = 0
    turns: Annotated[
        TurnChoice,
        Option(
            "What happens to answers whose own score is below --turn-min, or at or above "
            "--turn-max: drop them with their questions, mask them (a key marks them as not to be "
            "trained on), or keep them.",
            panel=_TURNS,
        ),
    ] = "keep"
    turn_min: Annotated[float | None, Option("Lowest VisNec score of an answer.", panel=_TURNS)] = (
        None
    )
    turn_max: Annotated[
        float | None, Option("VisNec score that an answer must stay below.", panel=_TURNS)
    ] = None
    mask_key: Annotated[str, Option("Key that is false in a masked answer.", panel=_TURNS)] = "loss"
    card: Annotated[
        bool,
        Option("Also write README.md with figures and plots, and croissant.json.", panel=_CARD),
    ] = False
    license: Annotated[
        str | None, Option("Licence for the card: an SPDX id or a URL.", panel=_CARD)
    ] = None
    url: Annotated[str | None, Option("URL of the dataset for the card.", panel=_CARD)] = None
    date_published: Annotated[
        str | None, Option("Publication date for the card, YYYY-MM-DD.", panel=_CARD)
    ] = None
    columns: Annotated[
        Columns | None,
        Option(
            "For the format parquet: source (the rows of a Parquet or Arrow dataset as imported, "
            "the default for such datasets) or understood (conversations, images, scores, the "
            "record)."
        ),
    ] = None
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
