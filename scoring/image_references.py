"""Image references: a path, a URL, or an image inside a container file; digests of contents.

The paths of one dataset file are never tried in folders that belong to another file. Paths from a
dataset's first file are stored unchanged and are looked up in the workspace's image roots. A file
whose images are in other folders gets a numbered base, which its paths carry as a prefix:
``base=0#images/1.png``. Two images with the same path therefore have different references wherever
images are grouped, cached or shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import xxhash

RECORDS_ROOT = "original"
"""Container name in references to images inside the dataset's own records (folder ``dataset``)."""
REMOTE_ROOT = "remote"
"""Name of the image root that holds downloaded images."""
_BASE = re.compile(r"base=(\d{1,6})#(.+)", re.DOTALL)
_FETCHABLE = re.compile(r"https?://", re.IGNORECASE)
_REMOTE = re.compile(r"(?:https?|ftp|s3|gs|hf)://", re.IGNORECASE)
_MEMBER = re.compile(
    r"(?P<name>.+)#(?P<member>row=\d+&at=/[^#]*|offset=\d+&(?:(?:quoting=none&)?at=/|bytes=\d+&(?:member|key)=)[^#]*)",
    re.DOTALL,
)


class ImageRoots(tuple[Path, ...]):
    """Folders and container files to look for images in, in order; ``bases`` are those of files."""

    bases: tuple[tuple[Path, ...], ...]

    def __new__(cls, roots: Iterable[Path], bases: Iterable[Iterable[Path]] = ()) -> ImageRoots:
        """Create roots together with the folders of each base, in order."""
        image_roots = super().__new__(cls, roots)
        image_roots.bases = tuple(map(tuple, bases))
        return image_roots

    def all_folders(self) -> list[Path]:
        """Return the roots and then the folders of every base, each once."""
        return list(dict.fromkeys([*self, *(root for base in self.bases for root in base)]))


def add_base(base: int, path: str) -> str:
    """Return the reference to the image with that path in the folders of a base."""
    return f"base={base}#{path}"


def split_base(reference: str) -> tuple[int | None, str]:
    """Return (number of the base or None, path as the record gives it)."""
    match = _BASE.fullmatch(reference) if reference.startswith("base=") else None
    return (int(match[1]), match[2]) if match else (None, reference)


def image_path(reference: str) -> str:
    """Return the path as the record gives it, as shown to people and other tools."""
    return split_base(reference)[1]


def is_fetchable(reference: str) -> bool:
    """Return whether ``reference`` is an http or https URL."""
    return _FETCHABLE.match(reference) is not None


def is_remote(reference: str) -> bool:
    """Return whether ``reference`` is a URL of another machine, also one that is not supported."""
    return _REMOTE.match(reference) is not None


def quote_path(reference: str) -> str:
    """Return the reference for a message, shortened: a record may contain anything as a path."""
    return repr(reference if len(reference) <= 120 else reference[:120] + "...")


def explain_refused_url(reference: str) -> str:
    """Return why the image of a URL is not downloaded, to append to the URL."""
    if is_fetchable(reference):
        return "is a URL; import with --allow-remote to download it"
    return "cannot be downloaded: only http and https URLs are supported"


def split_reference(reference: str) -> tuple[str, str] | None:
    """Return (name of the container file, position inside it); None for a path to a plain file."""
    match = _MEMBER.fullmatch(reference)
    return (match["name"], match["member"]) if match else None


def digest_content(content: bytes) -> bytes:
    """Return 16 bytes that identify the encoded bytes of an image, under any reference.

    The digest is fast and not cryptographic: it groups and orders images. Before an image takes
    the place of another one, their bytes are compared.
    """
    return xxhash.xxh3_128_digest(content)
