"""Options of an export: its format and everything else that decides its bytes.

The manifest contains them, so an export with all its extras can be repeated from the manifest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Annotated, Any, Final, Literal, get_args

from scoring.errors import InputError
from scoring.exports.trainers import TRAINERS, Trainer, check_options
from scoring.option_descriptions import Option, split_keys
from scoring.readers.inputs import EXPORTED_DATA

VERSION: Final = 4
"""Version of the rules by which exports are written, and of manifests.

Version 1 had no options. Up to version 2, images with unusual names were renamed without their
records, members of tar files were named after the format of their image, and images that cannot be
decoded were embedded. Up to version 3, README.md was part of a card only, tar files mixed samples
with and without images, and the format huggingface had its files next to the manifest.
"""

FORMATS: Final[Mapping[str, str]] = {
    "llava": "one JSON array, the records as they came",
    "jsonl": "JSON lines, one record a line",
    "messages": "messages of typed parts: JSON lines, or a Parquet table with the images inside",
    "parquet": "a Parquet table: rows of Parquet as they came, else conversations and scores",
    "huggingface": "a folder that datasets.load_from_disk reads",
    "webdataset": "WebDataset tar files with the images inside",
    "ids": "ids and row numbers only",
    "dropped": "what is left out, and why",
}
"""Formats and a description of each. Cards of earlier exports contain these descriptions."""

TABLES = ("parquet", "huggingface")
RECORDS = ("llava", "jsonl", "webdataset")
LISTS = ("ids", "dropped")
"""Formats without records."""
EMBEDDING = (*TABLES, "messages")
"""Formats that can contain images as values of a table."""
Images = Literal["none", "copy", "link", "embed"]
Weighting = Literal["ignore", "column", "repeat", "source"]
Columns = Literal["source", "understood"]
TurnChoice = Literal["keep", "drop", "mask"]
EditChoice = Literal["apply", "ignore", "only"]
_weight, _turn = partial(Option, panel="Weights"), partial(Option, panel="Turns")
_card = partial(Option, panel="Dataset card")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

MANIFEST = "manifest.json"
FOLDERS = ("images", "plots", "train")
"""Folders of an export; a trainer may well write to one of the last name."""

# Names in a manifest become paths, and an export replaces the contents of its folder, so only
# names that an export writes are allowed in either.
_NAME = re.compile(
    rf"{EXPORTED_DATA.pattern}|(train/)?(dataset_info|state)\.json"
    r"|(dataset_dict|croissant|internvl_meta)\.json|(llava_next|axolotl)\.yaml"
    r"|(ids|row_idx)\.txt|(dropped|images|edits)\.jsonl|README\.md|plots/[a-z_]+\.svg"
)


def _split_names(text: str) -> tuple[str, ...]:
    return tuple(split_keys(text))


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to write a subset.

    Once made, ``format`` and ``images`` are never empty. ``folder`` is the absolute path of the
    export if its files name it. ``version`` is 4 except for exports of earlier versions, which are
    verified by their own rules. Raises InputError for options that cannot be combined.
    """

    format: Annotated[
        str,
        Option(
            "llava (a JSON array), jsonl, messages (typed parts: JSON lines, or a table with "
            "embedded images), parquet, huggingface (a folder for datasets.load_from_disk), "
            "webdataset (tar files with the images), ids, or dropped (the samples left out, and "
            "why). Default: llava, or what the trainer of --for reads.",
            parse=str,
        ),
    ] = ""
    images: Annotated[
        Images | None,
        Option(
            "copy or (hard) link the images used into a folder images/ next to the records, embed "
            "them in a table, or none. webdataset always contains them. Default: none, or what the "
            "trainer of --for reads."
        ),
    ] = None
    trainer: Annotated[
        str | None,
        Option(
            "Write what this trainer reads (format, image paths, side file) and print the command "
            f"to start with: {', '.join(TRAINERS)}.",
            "--for",
        ),
    ] = None
    image_prefix: Annotated[
        str | None,
        Option("Folder put before the image paths that records give, such as /data/images."),
    ] = None
    absolute_images: Annotated[
        bool,
        Option(
            "Name the exported images by absolute paths, for trainers that look for them in the "
            "current folder. Such an export cannot be moved."
        ),
    ] = False
    scores: Annotated[
        bool,
        Option(
            "Add loss_text, loss_multimodal, visnec and n_answer_tokens to each record as keys, "
            "null without a score. Tables always have them as columns."
        ),
    ] = False
    add_columns: Annotated[
        tuple[str, ...],
        Option(
            "Imported columns to add to each record, separated by commas, as keys col:NAME, null "
            "without a value. Tables get columns of these names.",
            "--add-columns",
            parse=_split_names,
            metavar="NAMES",
        ),
    ] = ()
    edits: Annotated[
        EditChoice,
        Option(
            "What happens to reviewers' edits of records (visnec edit): apply them to the records "
            "and list them in edits.jsonl, ignore them, or export only the edited samples."
        ),
    ] = "apply"
    weights: Annotated[
        Weighting | None,
        _weight(
            "For a subset of the rule weights: column (a key of each record), repeat (each record "
            "as often as it counts), source (a file for each source, weighed by the trainer of "
            "--for: llamafactory, llava-next or internvl), or ignore."
        ),
    ] = None
    weight_key: Annotated[str, _weight("Name of that key.")] = "weight"
    epoch_size: Annotated[
        int | None, _weight("Number of records written with --weights repeat.")
    ] = None
    seed: Annotated[int, _weight("Seed for --weights repeat.")] = 0
    turns: Annotated[
        TurnChoice,
        _turn(
            "What happens to answers whose own score is below --turn-min, or at or above "
            "--turn-max: drop them with their questions, mask them (a key marks them as not to be "
            "trained on), or keep them."
        ),
    ] = "keep"
    turn_min: Annotated[float | None, _turn("Lowest VisNec score of an answer.")] = None
    turn_max: Annotated[float | None, _turn("VisNec score that an answer must stay below.")] = None
    mask_key: Annotated[str, _turn("Key that is false in a masked answer.")] = "loss"
    card: Annotated[
        bool,
        _card("Also write figures and plots for README.md, and croissant.json."),
    ] = False
    license: Annotated[str | None, _card("License for the card: an SPDX id or a URL.")] = None
    url: Annotated[str | None, _card("URL of the dataset for the card.")] = None
    date_published: Annotated[str | None, _card("Publication date for the card, YYYY-MM-DD.")] = (
        None
    )
    columns: Annotated[
        Columns | None,
        Option(
            "For the format parquet: source (the rows of a Parquet or Arrow dataset as imported, "
            "the default for such datasets) or understood (conversations, images, scores, the "
            "record)."
        ),
    ] = None
    folder: str | None = field(default=None, kw_only=True)
    version: int = field(default=VERSION, kw_only=True)

    def __post_init__(self) -> None:
        self._set_defaults()
        choices: dict[str, tuple[str | None, ...]] = {
            "format": tuple(FORMATS),
            "trainer": (None, *TRAINERS),
            "images": get_args(Images),
            "turns": get_args(TurnChoice),
            "edits": get_args(EditChoice),
            "weights": (None, *get_args(Weighting)),
            "columns": (None, *get_args(Columns)),
        }
        for option, allowed in choices.items():
            if (value := getattr(self, option)) not in allowed:
                names = ", ".join(name for name in allowed if name)
                raise InputError(f"Unknown {option} {value!r}. Choose one of: {names}.")
        if self.version not in range(1, VERSION + 1):
            raise InputError(f"version must be 1 to {VERSION}, not {self.version!r}.")
        for key in (self.weight_key, self.mask_key):
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise InputError(f"Invalid key {key!r} for a record. Use letters, digits and '_'.")
        self._check_turns()
        if self.trains_with is not None:  # first: the defaults of a trainer fit its own formats
            check_options(self.trains_with, self)
        self._check_format()
        self._check_paths()
        for_card = (self.license, self.url, self.date_published)
        if not self.card and any(value is not None for value in for_card):
            raise InputError("License, URL and date are written to the card. Add --card.")

    def _set_defaults(self) -> None:
        """Set what was left open to what the trainer reads."""
        object.__setattr__(self, "add_columns", tuple(self.add_columns))  # a manifest has a list
        trainer = self.trains_with
        open_format = trainer.formats[0] if trainer else "llava"
        object.__setattr__(self, "format", self.format or open_format)
        open_images = trainer.images if trainer else "none"
        object.__setattr__(self, "images", self.images or open_images)
        if trainer is None:
            return
        if self.format == "parquet" and self.columns is None:
            object.__setattr__(self, "columns", "understood")
        if trainer.absolute_images and self.image_prefix is None and self.places_images:
            object.__setattr__(self, "absolute_images", True)

    def _check_turns(self) -> None:
        limits = [limit for limit in (self.turn_min, self.turn_max) if limit is not None]
        if not all(isinstance(limit, int | float) and math.isfinite(limit) for limit in limits):
            raise InputError(f"A turn limit must be a finite number; got {limits}.")
        if self.turns == "keep" and limits:
            raise InputError("--turn-min and --turn-max need --turns drop or mask.")
        if self.turns != "keep" and not limits:
            raise InputError(
                f"--turns {self.turns} needs --turn-min or --turn-max, the limits of an answer's "
                "score."
            )

    def _check_format(self) -> None:
        """Refuse options that the format or other options exclude."""
        if self.columns is not None and self.format != "parquet":
            raise InputError(f"Columns can be chosen for the format parquet, not {self.format}.")
        if self.columns == "source" and (self.images == "embed" or self.turns != "keep"):
            raise InputError(
                "The columns of the source contain turns and images unchanged. To embed images or "
                "remove turns, use the columns understood."
            )
        if self.images == "embed" and self.format not in EMBEDDING:
            raise InputError(
                f"Images can be embedded in {', '.join(EMBEDDING)}, not in {self.format}. Use copy "
                "or link."
            )
        if self.scores and self.format not in (*RECORDS, "messages"):
            raise InputError(
                f"Scores are added to the records of {', '.join(RECORDS)} and messages, not to "
                f"{self.format}."
            )
        is_list = self.format in LISTS
        if self.add_columns and (is_list or self.columns == "source"):
            what = "the columns of the source" if self.columns == "source" else self.format
            raise InputError(
                f"Columns are added to the records of {', '.join(RECORDS)} and messages and to "
                f"tables with the columns understood, not to {what}."
            )
        if is_list and self.images != "none":
            raise InputError(f"The format {self.format} has no images. Leave them out.")
        if is_list and self.weights == "column":
            raise InputError(f"The format {self.format} has no columns. Repeat or ignore weights.")
        if self.weights == "source" and self.trains_with is None:
            raise InputError(
                "--weights source needs a trainer that weighs sources. Name it with --for."
            )
        if self.epoch_size is not None and self.weights != "repeat":
            raise InputError("The size of an epoch needs weights repeat.")

    def _check_paths(self) -> None:
        """Refuse changes to image paths where no file gives any."""
        if self.image_prefix is None and not self.absolute_images:
            return
        flag = "--absolute-images" if self.absolute_images else "--image-prefix"
        if self.absolute_images and self.image_prefix is not None:
            raise InputError("Image paths have either a prefix or the export's own folder.")
        if self.image_prefix is not None and not self.image_prefix.strip():
            raise InputError("The image prefix is empty.")
        if self.absolute_images and not self.places_images:
            raise InputError("Absolute image paths need exported images. Use images copy or link.")
        if self.holds_images or self.format in LISTS or self.columns == "source":
            raise InputError(
                f"{flag} changes the image paths of llava, jsonl, messages and understood columns; "
                "this export gives none, or gives them unchanged."
            )

    @property
    def trains_with(self) -> Trainer | None:
        """The trainer that the export is for."""
        return TRAINERS.get(self.trainer) if self.trainer is not None else None

    @property
    def names_folder(self) -> bool:
        """Whether files of the export give its absolute path."""
        trainer = self.trains_with
        return self.absolute_images or (trainer is not None and trainer.names_folder)

    @property
    def path_prefix(self) -> str | None:
        """What is put before image paths, with its ``/``."""
        prefix = f"{self.folder}/images" if self.absolute_images else self.image_prefix
        return None if prefix is None else prefix.rstrip("/") + "/"

    @property
    def data_file(self) -> str:
        """Name of the file with the records, in formats that have one."""
        if self.format == "parquet" or (self.format == "messages" and self.images == "embed"):
            return "samples.parquet"
        return "samples.json" if self.format == "llava" else "samples.jsonl"

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
        """Return the format and the options that differ from the defaults, without the version."""
        plain = ExportOptions(self.format)
        changed = {
            option.name: getattr(self, option.name)
            for option in fields(self)
            if option.name != "version"
            and getattr(self, option.name) != getattr(plain, option.name)
        }
        return {"format": self.format, **changed}


def is_output_name(name: str) -> bool:
    """Return whether an export writes files of this name."""
    return _NAME.fullmatch(name) is not None
