"""Which folders the image paths of one file are relative to, where files of a dataset differ.

The one decision behind it: a path is not tried in folders that another file's records are about.
Paths of a dataset's first file stay as they are and are looked for in the workspace's folders; a
file with other folders gets a base of its own, and its paths name it: ``base=0#images/1.png``. So
two images of one path are two images for whoever groups, caches or shows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_BASED = re.compile(r"base=(\d{1,6})#(.+)", re.DOTALL)


class ImageRoots(tuple[Path, ...]):
    """What images are looked for in, in order of trial, and beside it the ``bases`` of files."""

    bases: tuple[tuple[Path, ...], ...]

    def __new__(cls, roots: Iterable[Path], bases: Iterable[Iterable[Path]] = ()) -> ImageRoots:
        """Roots with the folders of each base, the first of which is tried first."""
        made = super().__new__(cls, roots)
        made.bases = tuple(map(tuple, bases))
        return made


def add_base(base: int, path: str) -> str:
    """The reference to the image of that path in the folders of a base."""
    return f"base={base}#{path}"


def split_base(reference: str) -> tuple[int | None, str]:
    """(number of the base, path as the record gives it); None for a path without a base."""
    found = _BASED.fullmatch(reference) if reference.startswith("base=") else None
    return (int(found[1]), found[2]) if found else (None, reference)


def image_path(reference: str) -> str:
    """The path as the record gives it: what people read, and what other tools know."""
    return split_base(reference)[1]


RECORDS_ROOT = "original"
"""What a reference calls the dataset's own records; its root is a folder named ``dataset``."""


REMOTE_ROOT = "remote"
"""The name of the root that holds images fetched from other machines."""


_FETCHED = re.compile(r"^https?://", re.IGNORECASE)


def is_fetchable(reference: str) -> bool:
    """Whether ``reference`` is an address of the kinds that can be fetched."""
    return _FETCHED.match(reference) is not None


_REFERENCE = re.compile(
    r"(?P<name>.+)#(?P<member>row=\d+&at=/[^#]*|offset=\d+&(?:(?:quoting=none&)?at=/|bytes=\d+&(?:member|key)=)[^#]*)",
    re.DOTALL,
)


def split_reference(reference: str) -> tuple[str, str] | None:
    """(name of the container, place inside it), or None for a path of a file of its own."""
    found = _REFERENCE.fullmatch(reference)
    return (found["name"], found["member"]) if found else None
