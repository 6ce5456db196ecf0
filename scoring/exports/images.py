"""Export the images that a subset uses, and list them in ``images.jsonl``.

An image keeps the path that its record gives, inside ``images/``: records stay untouched, and a
trainer uses that folder as its image folder. An image that is stored inside another file, or whose
path is absolute or contains ``..``, is named by a digest, and the record is given that name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from scoring.errors import InputError
from scoring.exports.files import (
    BytesFile,
    Chunk,
    FileDigest,
    FileMismatch,
    OnSamples,
    open_output,
)
from scoring.exports.options import VERSION
from scoring.image_references import image_path, split_reference
from scoring.images.containers import EmbeddedProblem, read_embedded
from scoring.images.decode import ImageLocation, ImageProblem, resolve_image
from scoring.samples import Status

FOLDER = "images"
LIST = "images.jsonl"
_SUFFIXES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_UNSUPPORTED_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_NAME_IN_USE = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)

PlaceImage = Callable[[ImageLocation, bytes, str], None]
"""Called with an image, its bytes and its name inside the export."""


def read_image_bytes(location: ImageLocation) -> bytes:
    """Return the encoded image, whole even where the record uses a part. Raise ImageProblem."""
    try:
        if location.member:
            return read_embedded(location.path, location.member)
        return location.path.read_bytes()
    except FileNotFoundError:
        raise ImageProblem(Status.MISSING_IMAGE, f"{location.path.name} is gone") from None
    except (EmbeddedProblem, OSError) as error:
        raise ImageProblem(Status.BAD_IMAGE, f"{location.name}: {error}") from error


def image_suffix(content: bytes) -> str:
    """Return ``.jpg``, ``.png`` ... by the first bytes; ``.img`` for anything else."""
    return next((s for magic, s in _SUFFIXES.items() if content.startswith(magic)), ".img")


def keeps_path(path: str, version: int = VERSION) -> bool:
    """Return whether the path that a record gives leads to the image inside ``images/`` too."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        return False
    return version > 2 or all(len(part) <= 200 and part.isprintable() for part in parts)


def image_name(
    reference: str, location: ImageLocation, content: bytes | None = None, version: int = VERSION
) -> str:
    """Return the name inside ``images/``, with ``/``: never absolute, and without ``..``."""
    path = image_path(reference)
    whole = path.partition("###[")[0] if location.box else path
    if not location.member and keeps_path(whole, version):
        return "/".join(PurePosixPath(whole).parts)
    digest = hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    if not location.member:
        suffix = location.path.suffix
        if version > 2 and not _SUFFIX.fullmatch(suffix):
            suffix = ".img"
        return f"elsewhere/{digest}{suffix}"
    content = read_image_bytes(location) if content is None else content
    return f"embedded/{digest}{image_suffix(content)}"


def exported_path(reference: str, roots: Sequence[Path]) -> str:
    """Return the path inside ``images/`` that leads to the image, with the record's box if any.

    This is the record's own path where that works, and where the image is missing.
    """
    path = image_path(reference)
    if split_reference(path) is None and keeps_path(path):
        return path
    try:
        location = resolve_image(reference, roots)
        name = image_name(reference, location)
    except ImageProblem:
        return path
    return name + "".join(path.partition("###[")[1:]) if location.box else name


def list_missing_images(
    references: Iterable[tuple[int, str]], roots: Sequence[Path]
) -> Iterator[dict[str, object]]:
    """Yield the lines of ``images.jsonl`` for images that are in none of the folders."""
    for row_idx, reference in distinct_images(references):
        try:
            resolve_image(reference, roots)
        except ImageProblem as problem:
            yield {
                "image": image_path(reference),
                "row_idx": row_idx,
                "status": str(problem.status),
                "problem": str(problem),
            }


def distinct_images(references: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield each image once, with the first row that uses it."""
    seen: set[bytes] = set()
    for row_idx, reference in references:
        key = hashlib.blake2b(reference.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            yield row_idx, reference


@dataclass(frozen=True, slots=True)
class ImagesFile:
    """``images.jsonl``, with a line per image used, and the files it names.

    ``references`` are the images of the samples with their rows; each image counts once. A line
    gives the file of the image, its size and sha256, or why it was not exported. ``undecodable``
    maps images that are present but left out to the reason.
    """

    references: Iterable[tuple[int, str]]
    roots: Sequence[Path]
    link: bool = False
    keep_files: bool = True  # webdataset and embedding tables contain the images themselves
    counts: dict[str, int] = field(default_factory=dict)  # files, bytes, missing, undecodable
    undecodable: Mapping[str, str] = field(default_factory=dict)
    version: int = VERSION
    name: str = LIST

    def write(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Write the list and place the files next to it."""
        place_image = self._image_placer(path.parent) if self.keep_files else None
        digest = BytesFile(self.name, self.generate_lines(place_image)).write(path, on_samples)
        if self.keep_files:
            os.sync()  # thousands of small files: one flush instead of one for each
        return digest

    def compare(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Compare with the images of the workspace as they are now, and check the files."""
        digest, size = hashlib.sha256(), 0
        with open_output(path, self.name) as file:
            for row_idx, line in self.generate_lines(None):
                value = json.loads(line)
                if (actual := file.readline()) != line:
                    raise FileMismatch(
                        f"{self.name} differs from what the workspace rebuilds, first for the "
                        f"image {value['image']!r} of row {row_idx}: found {actual[:120]!r}, "
                        f"expected {line[:120]!r}"
                    )
                if "file" in value:
                    _check_image(path.parent, value["file"], value["sha256"])
                digest.update(line)
                size += len(line)
                on_samples(self.name, 1)
            if file.read(1):
                raise FileMismatch(f"{self.name} has extra bytes from byte {size} on")
        return FileDigest(self.name, size, digest.hexdigest())

    def generate_lines(self, place_image: PlaceImage | None) -> Iterator[Chunk]:
        """Yield the lines of the list, calling ``place_image`` for each image."""
        self.counts.update(files=0, bytes=0, missing=0)
        for row_idx, reference in distinct_images(self.references):
            line: dict[str, object] = {"image": image_path(reference)}
            if reason := self.undecodable.get(reference):
                line |= {"status": str(Status.BAD_IMAGE), "problem": reason, "undecodable": True}
                self.counts["undecodable"] = self.counts.get("undecodable", 0) + 1
            else:
                line |= self._export_image(reference, place_image)
            yield row_idx, json.dumps(line, ensure_ascii=True).encode() + b"\n"

    def _export_image(self, reference: str, place_image: PlaceImage | None) -> dict[str, object]:
        try:
            location = resolve_image(reference, self.roots)
            content = read_image_bytes(location)
        except ImageProblem as problem:
            self.counts["missing"] += 1
            return {"status": str(problem.status), "problem": str(problem)}
        name = f"{FOLDER}/{image_name(reference, location, content, self.version)}"
        self.counts["files"] += 1
        self.counts["bytes"] += len(content)
        if place_image is not None:
            place_image(location, content, name)
        line: dict[str, object] = {"file": name} if self.keep_files else {}
        return line | {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def _image_placer(self, folder: Path) -> PlaceImage:
        (folder / FOLDER).mkdir(exist_ok=True)

        def place_image(location: ImageLocation, content: bytes, name: str) -> None:
            try:
                self._place_image(location, content, folder / name)
            except OSError as error:
                if error.errno in _UNSUPPORTED_NAME:
                    raise _unsupported_name(name, error) from error
                if error.errno in _NAME_IN_USE:
                    raise _ambiguous_name(name) from error
                raise

        return place_image

    def _place_image(self, location: ImageLocation, content: bytes, target: Path) -> None:
        if target.is_file():  # another reference to the same file
            if target.read_bytes() != content:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.link and not location.member:
            with suppress(OSError):  # another disk, or a file system without links
                os.link(location.path, target)
                return
        target.write_bytes(content)


def _check_image(folder: Path, name: str, sha256: str) -> None:
    try:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except OSError:
        raise FileMismatch(f"{name} is missing next to the manifest") from None
    if digest != sha256:
        raise FileMismatch(f"{name} has changed since the export")


def _ambiguous_name(name: str) -> InputError:
    return InputError(
        f"Files of this dataset name two different images {name.removeprefix(FOLDER + '/')!r}, "
        "each in a folder of its own. One image folder cannot contain both under the path that the "
        "records give. Export as webdataset or with images embedded in a table, or export the "
        "sources one by one."
    )


def _unsupported_name(name: str, error: OSError) -> InputError:
    path = name.removeprefix(f"{FOLDER}/")
    shown = path if len(path) <= 160 else f"{path[:80]}...{path[-60:]}"
    return InputError(
        f"The image {shown!r} cannot have that name in the export ({error.strerror}). Export to a "
        "shorter path or another file system, as webdataset, or with images embedded in a table."
    )
