"""WebDataset: tar files whose members of one name, in a row, are one sample.

The archive is read through once, front to back, and nothing is unpacked: a reference to an image
holds the place of its bytes. Members that could lead out of a folder if somebody unpacked them,
and links, are refused with their sample.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import quote

from scoring.errors import RecordError
from scoring.readers.conversation import clean_text
from scoring.readers.json_stream import MAX_RECORD_BYTES, RawRecord
from scoring.readers.values import Inline

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_TEXT_SUFFIXES = ("txt", "text", "caption")
_VIDEO_SUFFIXES = ("mp4", "avi", "mov", "mkv", "webm")
REFUSED = "__refused__"
"""Key of a record whose members are refused; its value is the reason."""


@dataclass(slots=True)
class _Group:
    """The members of one sample, in their order."""

    key: str
    start: int
    end: int = 0
    images: list[tuple[str, Inline]] = field(default_factory=list)
    record: dict[str, object] = field(default_factory=dict)
    text: str | None = None
    video: bool = False
    problem: str | None = None
    refused: str | None = None


def read_webdataset(file: IO[bytes], name: str, *, keep_going: bool = False) -> Iterator[RawRecord]:
    """The samples of a tar file. Raises RecordError for a damaged one, unless ``keep_going``."""
    group: _Group | None = None
    position = 0
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would keep millions of them
                if member.isdir():
                    continue
                key, suffix = _split_name(member.name)
                if group is None or group.key != key:
                    if group is not None:
                        yield _finished(group, name)
                    group = _Group(key, member.offset)
                _take(group, archive, member, suffix, name)
                position = group.end = member.offset_data + -(-member.size // 512) * 512
    except (tarfile.TarError, OSError, EOFError) as error:
        if not keep_going:
            raise RecordError(f"{name}: after byte {position}: {error}") from error
        if group is not None:
            yield _finished(group, name)
        yield RawRecord(b"", problem=f"after byte {position}: {error}", origin=f"{name}#cut")
        return
    if group is not None:
        yield _finished(group, name)


def _split_name(name: str) -> tuple[str, str]:
    """(what the members of one sample share, the rest), cut at the first dot of the file name."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _take(
    group: _Group, archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str, name: str
) -> None:
    last = suffix.rpartition(".")[2]
    if reason := _refusal(member):
        group.refused = group.refused or clean_text(reason)
    elif last in IMAGE_SUFFIXES:
        place = f"offset={member.offset_data}&bytes={member.size}&member={_quoted(member.name)}"
        group.images.append((member.name, Inline(f"{name}#{place}")))
    elif last in _VIDEO_SUFFIXES:
        group.video = True
    elif last == "json" or suffix in _TEXT_SUFFIXES:
        if member.size > MAX_RECORD_BYTES:
            group.problem = (
                f"the member {member.name!r} is longer than {MAX_RECORD_BYTES >> 20} MiB"
            )
            return
        content = archive.extractfile(member)
        text = content.read().decode("utf-8", "surrogateescape") if content else ""
        if last == "json":
            _take_json(group, member.name, suffix, text)
        else:
            group.text = text


def _take_json(group: _Group, member: str, suffix: str, text: str) -> None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        group.problem = f"the member {member!r} is not valid JSON: {error}"
        return
    if suffix != "json":  # 7.detail.json stands beside the record
        group.record.setdefault(suffix.removesuffix(".json"), value)
    elif isinstance(value, dict):
        group.record = {**group.record, **value}
    else:
        group.record["conversations"] = value


def _quoted(name: str) -> str:
    return quote(name, errors="replace")


def _refusal(member: tarfile.TarInfo) -> str | None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        return f"the member {member.name!r} leads out of the archive"
    if not member.isreg():
        return f"the member {member.name!r} is a link or a device, not a file"
    return None


def _finished(group: _Group, name: str) -> RawRecord:
    origin = f"{name}#offset={group.start}&bytes={group.end - group.start}"
    if group.problem:
        return RawRecord(b"", problem=group.problem, key=group.key, origin=origin)
    value = dict(group.record)
    if group.text is not None:
        value.setdefault("text", group.text)
    if group.video:
        value["video"] = group.key
    if group.images:
        value = {key: one for key, one in value.items() if key not in ("image", "images")}
        value["images"] = [reference for _, reference in _in_named_order(group)]
    if group.refused:
        value[REFUSED] = group.refused
    return RawRecord(b"", value, key=group.key, origin=origin)


def _in_named_order(group: _Group) -> list[tuple[str, Inline]]:
    """The images in the order in which the record names them, if it names exactly these."""
    named = group.record.get("images", group.record.get("image"))
    listed = named if isinstance(named, list) else [named]
    by_name = {PurePosixPath(member).name: (member, place) for member, place in group.images}
    names = [PurePosixPath(one).name for one in listed if isinstance(one, str)]
    if sorted(names) == sorted(by_name):
        return [by_name[one] for one in names]
    return group.images
