"""WebDataset: tar files whose members of one name, in a row, are one sample.

The archive is read through once, front to back, and nothing is unpacked: a reference to an image
holds the place of its bytes. Members that could lead out of a folder if somebody unpacked them,
and links, are refused with their sample.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import quote

from scoring.errors import RecordError
from scoring.readers.encodings import NOT_UTF8, decode_text
from scoring.readers.json_stream import MAX_RECORD_BYTES, RawRecord
from scoring.readers.values import InlineReference
from scoring.unicode_text import replace_surrogates

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_TEXT_SUFFIXES = ("txt", "text", "caption")
_VIDEO_SUFFIXES = ("mp4", "avi", "mov", "mkv", "webm")
REFUSED = "__refused__"
"""Key of a record whose members are refused; its value is the reason."""


@dataclass(slots=True)
class _Group:
    """The members of one sample, in their order.

    ``key`` is what their names share: all before the first dot, as WebDataset has it, or before
    the last one where the first two members share that much (``a.1.jpg``, ``a.1.json``).
    """

    key: str
    start: int
    end: int = 0
    members: list[str] = field(default_factory=list)
    images: list[tuple[str, InlineReference]] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    video: bool = False
    problem: str | None = None
    refused: str | None = None

    def takes(self, name: str) -> bool:
        """Whether a member of that name belongs to this sample."""
        longer = _longer_name(name)
        if len(self.members) == 1 and longer == _longer_name(self.members[0]):
            self.key = longer
        return self.key in (longer, _shared_name(name))


def read_webdataset(
    file: IO[bytes], name: str, *, encoding: str = "", keep_going: bool = False
) -> Iterator[RawRecord]:
    """The samples of a tar file. Raises RecordError for a damaged one, unless ``keep_going``.

    ``encoding``: that of the texts inside, "" for UTF-8.
    """
    group: _Group | None = None
    position = 0
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would keep millions of them
                if member.isdir():
                    continue
                if group is None or not group.takes(member.name):
                    if group is not None:
                        yield _finished(group, name, encoding, keep_going)
                    group = _Group(_shared_name(member.name), member.offset)
                _take(group, archive, member, name)
                position = group.end = member.offset_data + -(-member.size // 512) * 512
    except (tarfile.TarError, OSError, EOFError) as error:
        if not keep_going:
            raise RecordError(f"{name}: after byte {position}: {error}") from error
        if group is not None:
            yield _finished(group, name, encoding, keep_going)
        yield RawRecord(b"", problem=f"after byte {position}: {error}", origin=f"{name}#cut")
        return
    if group is not None:
        yield _finished(group, name, encoding, keep_going)


def _shared_name(name: str) -> str:
    """What the members of one sample share: their name up to the first dot of the file name."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"


def _longer_name(name: str) -> str:
    """A member's name up to the last dot of the file name."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.rpartition('.')[0] or base}"


def _take(group: _Group, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
    group.members.append(member.name)
    last = PurePosixPath(member.name).suffix.removeprefix(".").lower()
    if reason := _refusal(member):
        group.refused = group.refused or replace_surrogates(reason)
    elif last in IMAGE_SUFFIXES:
        place = f"offset={member.offset_data}&bytes={member.size}&member={_quoted(member.name)}"
        group.images.append((member.name, InlineReference(f"{name}#{place}")))
    elif last in _VIDEO_SUFFIXES:
        group.video = True
    elif last == "json" or last in _TEXT_SUFFIXES:
        if member.size + sum(map(len, group.texts.values())) > MAX_RECORD_BYTES:
            group.problem = (
                f"the texts up to the member {member.name!r} are longer than "
                f"{MAX_RECORD_BYTES >> 20} MiB"
            )
            return
        content = archive.extractfile(member)
        group.texts[member.name] = content.read() if content else b""


def _read_texts(group: _Group, encoding: str) -> dict[str, object]:
    """The record that the texts of a sample make up. Raises ValueError."""
    record: dict[str, object] = {}
    text: str | None = None
    for member, content in group.texts.items():
        suffix = member.removeprefix(f"{group.key}.").lower()
        if not suffix.endswith("json") and suffix not in _TEXT_SUFFIXES:
            continue
        try:
            decoded = decode_text(content, encoding)
            if suffix in _TEXT_SUFFIXES:
                text = decoded
                continue
            value = json.loads(decoded)
        except json.JSONDecodeError as error:
            raise ValueError(f"the member {member!r} is not valid JSON: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the member {member!r}: {error}") from error
        if suffix != "json":  # 7.detail.json stands beside the record
            record.setdefault(suffix.removesuffix(".json"), value)
        elif isinstance(value, dict):
            record |= value
        else:
            record["conversations"] = value
    if text is not None:
        record.setdefault("text", text)
    return record


def _quoted(name: str) -> str:
    return quote(name, errors="replace")


def _refusal(member: tarfile.TarInfo) -> str | None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        return f"the member {member.name!r} leads out of the archive"
    if not member.isreg():
        return f"the member {member.name!r} is a link or a device, not a file"
    return None


def _finished(group: _Group, name: str, encoding: str, keep_going: bool) -> RawRecord:
    """The record of a sample. Raises RecordError for a text in another encoding."""
    origin = f"{name}#offset={group.start}&bytes={group.end - group.start}"
    value: dict[str, object] = {}
    problem = group.problem
    try:
        value = _read_texts(group, encoding)
    except ValueError as error:
        problem = problem or str(error)
        if NOT_UTF8 in problem and not keep_going:
            raise RecordError(f"{name}: {problem}") from error
    if not problem and not group.refused and _is_mixed(group):
        shown = ", ".join(replace_surrogates(member) for member in group.members[:3])
        problem = (
            f"the members {shown} are one sample by the name before their first dot, "
            f"{replace_surrogates(group.key)!r}; give them names without dots before the extension"
        )
    if problem:
        return RawRecord(b"", problem=problem, key=group.key, origin=origin)
    if group.video:
        value["video"] = group.key
    if group.images:
        images = [reference for _, reference in _in_named_order(group.images, value)]
        value = {key: one for key, one in value.items() if key not in ("image", "images")}
        value["images"] = images
    if group.refused:
        value[REFUSED] = group.refused
    return RawRecord(b"", value, key=group.key, origin=origin)


def _is_mixed(group: _Group) -> bool:
    """Whether members that are one sample by their first dot seem to be several, or parts of none.

    None of them is just an extension to the shared name, and they are pairs of their own or images
    alone.
    """
    longer = Counter(map(_longer_name, group.members))
    if group.key in longer:
        return False
    return not group.texts or sum(count > 1 for count in longer.values()) > 1


def _in_named_order(
    images: list[tuple[str, InlineReference]], record: Mapping[str, object]
) -> list[tuple[str, InlineReference]]:
    """The images in the order in which the record names them, if it names exactly these."""
    named = record.get("images", record.get("image"))
    listed = named if isinstance(named, list) else [named]
    by_name = {PurePosixPath(member).name: (member, place) for member, place in images}
    names = [PurePosixPath(one).name for one in listed if isinstance(one, str)]
    if sorted(names) == sorted(by_name):
        return [by_name[one] for one in names]
    return images
