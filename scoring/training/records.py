"""Records of an export, as any loader returns them, to conversations with decoded images.

The import's own reader parses them, so a record means the same to a trainer as to the scorer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from scoring.errors import InputError
from scoring.image_references import ImageRoots, split_reference
from scoring.images.containers import EmbeddedProblem, follow_pointer, image_bytes
from scoring.images.decode import (
    ImageLocation,
    ImageProblem,
    convert_image,
    open_image,
    open_reference,
)
from scoring.readers.conversation import AUXILIARY_ROLES, ROLES
from scoring.readers.json_stream import RawRecord
from scoring.readers.options import ReadOptions
from scoring.readers.records import to_sample
from scoring.readers.tars import IMAGE_SUFFIXES
from scoring.readers.values import IMAGE_KEYS, InlineReference, as_list
from scoring.samples import Role, Sample, Status, Turn

_RECORD = "record"  # container name in references to images inside the record itself
_MESSAGES = ("messages", "conversations", "conversation")
_TRAINABLE = (Status.PENDING, Status.TEXT_ONLY)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSample:
    """A conversation with its images; ``name`` is for messages."""

    name: str
    turns: tuple[Turn, ...]
    images: tuple[Image.Image, ...]
    trained: tuple[bool, ...]  # whether each answer is trained on


class RecordReader:
    """Reads records of an export, or samples of a workspace. Raises InputError for a faulty one."""

    def __init__(
        self, image_folders: ImageRoots, options: ReadOptions, mask_key: str = "loss"
    ) -> None:
        """Create a reader that looks up image paths in ``image_folders``, and in no others."""
        self._folders, self._options, self._mask_key = image_folders, options, mask_key

    def read(self, record: Mapping[str, object] | Sample) -> TrainingSample:
        """Return the conversation of a record."""
        if isinstance(record, Sample):
            sample, name, trained = record, f"row {record.row_idx}", (True,) * record.n_turns
            record = {}
        else:
            record = _unpack_tar_row(record)
            sample, name = self._parse(record), _describe(record)
            trained = self._trained_answers(record, sample, name)
        if sample.status not in _TRAINABLE:
            raise InputError(f"Cannot train on {name}: {sample.status}, {sample.reason}.")
        if sample.status is Status.TEXT_ONLY and any(as_list(record.get(k)) for k in IMAGE_KEYS):
            raise InputError(f"Cannot train on {name}: an image of it could not be decoded.")
        try:
            images = tuple(self._open_image(reference, record) for reference in sample.images)
        except (ImageProblem, EmbeddedProblem) as problem:
            raise InputError(f"Cannot train on {name}: {problem}.") from problem
        return TrainingSample(name, sample.turns, images, trained)

    def _parse(self, record: Mapping[str, object]) -> Sample:
        value = _refer_to_images(dict(record))
        container = f"{_RECORD}#row=0"
        return to_sample(0, RawRecord(b"", value), _RECORD, self._options, container=container)

    def _open_image(self, reference: str, record: Mapping[str, object]) -> Image.Image:
        location = split_reference(reference)
        if location is None or location[0] != _RECORD:
            return open_reference(reference, self._folders)
        image = follow_pointer(record, location[1])
        if isinstance(image, Image.Image):
            return convert_image(image)
        return open_image(ImageLocation(Path(_RECORD), location[1], content=image_bytes(image)))

    def _trained_answers(
        self, record: Mapping[str, object], sample: Sample, name: str
    ) -> tuple[bool, ...]:
        """Return the turn mask: the column ``turn_mask``, or a false key of an answer's message."""
        mask = record.get("turn_mask")
        if mask is None:
            roles = {**AUXILIARY_ROLES, **ROLES, **self._options.roles}
            messages = next((m for key in _MESSAGES if (m := as_list(record.get(key)))), [])
            mask = [
                message.get(self._mask_key) is None or bool(message[self._mask_key])
                for message in messages
                if isinstance(message, dict)
                and roles.get(str(message.get("from") or message.get("role")).lower())
                is Role.ASSISTANT
            ]
        trained = tuple(map(bool, as_list(mask) or ()))
        if len(trained) == sample.n_turns:
            return trained
        if not all(trained):
            raise InputError(
                f"Cannot train on {name}: a mask of {len(trained)} for {sample.n_turns} answers."
            )
        return (True,) * sample.n_turns


def _unpack_tar_row(record: Mapping[str, object]) -> Mapping[str, object]:
    """Return the record in a row of tar files, with the row's images in place of their paths.

    A row has a record and its images under the suffixes of their members; any other is returned.
    """
    if "__key__" not in record or "json" not in record:
        return record
    value = record["json"]
    if isinstance(value, bytes | str):
        value = json.loads(value)
    if not isinstance(value, dict):
        return record
    members = (record[name] for name in record if name.rpartition(".")[2] in IMAGE_SUFFIXES)
    images = [_as_image(content) for content in members if content is not None]
    if not images:  # a text, or its images are gone, which their paths then report
        return value
    return {key: value[key] for key in value if key not in ("image", "images")} | {"images": images}


def _as_image(content: object) -> object:
    """Return an image of a row as the reader of records takes it: opened, or as encoded bytes."""
    if isinstance(content, bytes):
        return {"bytes": content, "path": None}
    return Image.fromarray(content) if isinstance(content, np.ndarray) else content


def _refer_to_images(value: object, at: str = "") -> object:
    """Return a record with references in place of the images that a loader has opened."""
    if isinstance(value, Image.Image):
        return InlineReference(f"{_RECORD}#row=0&at={at}")
    if isinstance(value, dict):
        steps = {key: quote(str(key), safe="", errors="surrogatepass") for key in value}
        return {key: _refer_to_images(inner, f"{at}/{steps[key]}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_refer_to_images(inner, f"{at}/{index}") for index, inner in enumerate(value)]
    return value


def _describe(record: Mapping[str, object]) -> str:
    for key in ("row_idx", "id"):
        if record.get(key) is not None:
            return f"the record with {key} {record[key]}"
    return f"a record with the keys {', '.join(map(str, record)) or '(none)'}"
