"""WebDataset: tar files in which consecutive members with the same name are one sample.

The archive is read once, front to back, and never unpacked: an image reference gives the position
of its bytes. Links, and members that could leave their folder when unpacked, refuse their sample.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
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
_MAX_DIGESTED_BYTES = 64 << 20  # larger images are read only when they are used
REFUSED = "__refused__"
"""Key in a record with refused members; its value is the reason."""


@dataclass(slots=True)
class _MemberGroup:
    """The members of one sample, in order.

    ``key`` is the shared start of their names: up to the first dot, as in WebDataset, or up to the
    last one if the first two members share it (``a.1.jpg``, ``a.1.json``).
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

    def matches(self, name: str) -> bool:
        """Return whether a member with that name belongs to this sample."""
        shorter, longer = _name_starts(name)
        if len(self.members) == 1 and longer == _name_starts(self.members[0])[1]:
            self.key = longer
        return self.key in (longer, shorter)

    def add_member(self, archive: tarfile.TarFile, member: tarfile.TarInfo, tar_name: str) -> None:
        """Add the archive's current member: the position of an image, the content of a text."""
        self.members.append(member.name)
        path = PurePosixPath(member.name)
        suffix = path.suffix.removeprefix(".").lower()
        is_outside = path.is_absolute() or ".." in path.parts or "\0" in member.name
        if is_outside or not member.isreg():
            what = (
                "leads outside the archive" if is_outside else "is a link or a device, not a file"
            )
            reason = replace_surrogates(f"the member {member.name!r} {what}")
            self.refused = self.refused or reason
        elif suffix in IMAGE_SUFFIXES:
            quoted = quote(member.name, errors="replace")
            position = f"offset={member.offset_data}&bytes={member.size}&member={quoted}"
            content = None
            if member.size <= _MAX_DIGESTED_BYTES and (file := archive.extractfile(member)):
                content = file.read()
            self.images.append((member.name, InlineReference(f"{tar_name}#{position}", content)))
        elif suffix in _VIDEO_SUFFIXES:
            self.video = True
        elif suffix == "json" or suffix in _TEXT_SUFFIXES:
            if member.size + sum(map(len, self.texts.values())) > MAX_RECORD_BYTES:
                self.problem = (
                    f"the texts up to the member {member.name!r} are longer than "
                    f"{MAX_RECORD_BYTES >> 20} MiB"
                )
                return
            text = archive.extractfile(member)
            self.texts[member.name] = text.read() if text else b""


def read_webdataset(
    file: IO[bytes], name: str, encoding: str = "", keep_going: bool = False
) -> Iterator[RawRecord]:
    """Yield the samples of a tar file; ``encoding`` is that of the texts inside, "" for UTF-8.

    Raises RecordError for a damaged archive; with ``keep_going`` damage becomes a record.
    """
    group: _MemberGroup | None = None
    end = 0
    problem = None
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # would collect millions
                if member.isdir():
                    continue
                if group is None or not group.matches(member.name):
                    if group is not None:
                        yield _build_record(group, name, encoding, keep_going)
                    group = _MemberGroup(_name_starts(member.name)[0], member.offset)
                group.add_member(archive, member, name)
                end = group.end = member.offset_data + -(-member.size // 512) * 512
    except (tarfile.TarError, OSError, EOFError) as error:
        problem = f"after byte {end}: {error}"
        if not keep_going:
            raise RecordError(f"{name}: {problem}") from error
    if group is not None:
        yield _build_record(group, name, encoding, keep_going)
    if problem:
        yield RawRecord(b"", problem=problem, origin=f"{name}#cut")


def _name_starts(name: str) -> tuple[str, str]:
    """Return a member's name up to the first and up to the last dot of the file name."""
    folder, slash, base = name.rpartition("/")
    first, last = base.partition(".")[0], base.rpartition(".")[0]
    return f"{folder}{slash}{first}", f"{folder}{slash}{last or base}"


def _build_record(group: _MemberGroup, name: str, encoding: str, keep_going: bool) -> RawRecord:
    """Return the record of a sample. Raises RecordError for a text in another encoding."""
    origin = f"{name}#offset={group.start}&bytes={group.end - group.start}"
    value: dict[str, object] = {}
    problem = group.problem
    try:
        value = _parse_texts(group, encoding)
    except ValueError as error:
        problem = problem or str(error)
        if NOT_UTF8 in problem and not keep_going:
            raise RecordError(f"{name}: {problem}") from error
    # Members that seem to be several samples, or parts of none: none of them is the key plus an
    # extension, and they are pairs of their own or images only.
    longer = Counter(_name_starts(member)[1] for member in group.members)
    is_mixed = not group.texts or sum(count > 1 for count in longer.values()) > 1
    if not problem and not group.refused and is_mixed and group.key not in longer:
        shown = ", ".join(replace_surrogates(member) for member in group.members[:3])
        problem = (
            f"the members {shown} form one sample because their names up to the first dot are "
            f"{replace_surrogates(group.key)!r}; rename them without dots before the extension"
        )
    if problem:
        return RawRecord(b"", problem=problem, key=group.key, origin=origin)
    if group.video:
        value["video"] = group.key
    if group.images:
        named = value.pop("images", value.pop("image", None))
        listed = named if isinstance(named, list) else [named]
        names = [PurePosixPath(path).name for path in listed if isinstance(path, str)]
        by_name = {PurePosixPath(member).name: image for member, image in group.images}
        is_order = sorted(names) == sorted(by_name)  # the record names exactly these images
        images = [image for _, image in group.images]
        value["images"] = [by_name[name] for name in names] if is_order else images
    if group.refused:
        value[REFUSED] = group.refused
    return RawRecord(b"", value, key=group.key, origin=origin)


def _parse_texts(group: _MemberGroup, encoding: str) -> dict[str, object]:
    """Return the record that the texts of a sample form. Raises ValueError."""
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
        if suffix != "json":  # 7.detail.json is a value of the record in 7.json
            record.setdefault(suffix.removesuffix(".json"), value)
        elif isinstance(value, dict):
            record |= value
        else:
            record["conversations"] = value
    if text is not None:
        record.setdefault("text", text)
    return record
