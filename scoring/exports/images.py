"""The images that an exported subset uses: under which name each goes along, and a list of them.

The one decision behind it: an image keeps the path that its record gives, inside ``images/``, so
that the records stay untouched and a trainer takes that folder as its image folder. An image that
is stored inside another file, and one whose path is absolute or contains ``..``, is named by a
digest, and the record names it so.
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
from scoring.exports.files import Chunk, FileDigest, OnSamples, flush_file
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
_CANNOT_HOLD = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


def read_image_bytes(place: ImageLocation) -> bytes:
    """The encoded image as it lies there; of a part of an image the whole. Raises ImageProblem."""
    try:
        if place.member:
            return read_embedded(place.path, place.member)
        return place.path.read_bytes()
    except FileNotFoundError:
        raise ImageProblem(Status.MISSING_IMAGE, f"{place.path.name} is gone") from None
    except (EmbeddedProblem, OSError) as error:
        raise ImageProblem(Status.BAD_IMAGE, f"{place.name}: {error}") from error


def image_suffix(content: bytes) -> str:
    """``.jpg``, ``.png`` ... by the first bytes; ``.img`` for anything else."""
    return next((one for magic, one in _SUFFIXES.items() if content.startswith(magic)), ".img")


def keeps_path(path: str, version: int = VERSION) -> bool:
    """Whether the path that a record gives leads to the image inside ``images/`` too."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        return False
    return version > 2 or all(len(part) <= 200 and part.isprintable() for part in parts)


def image_name(
    reference: str, place: ImageLocation, content: bytes | None = None, version: int = VERSION
) -> str:
    """The name inside ``images/``, with ``/``: never absolute, and without ``..``."""
    path = image_path(reference)
    bare = path.partition("###[")[0] if place.box else path
    if not place.member and keeps_path(bare, version):
        return "/".join(PurePosixPath(bare).parts)
    digest = hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    if not place.member:
        suffix = place.path.suffix
        if version > 2 and not _SUFFIX.fullmatch(suffix):
            suffix = ".img"
        return f"elsewhere/{digest}{suffix}"
    content = read_image_bytes(place) if content is None else content
    return f"embedded/{digest}{image_suffix(content)}"


def exported_path(reference: str, roots: Sequence[Path]) -> str:
    """The path inside ``images/`` that leads to the image, with the box that a record cuts out.

    That of the record itself where it does, and where the image is missing.
    """
    path = image_path(reference)
    if split_reference(path) is None and keeps_path(path):
        return path
    try:
        place = resolve_image(reference, roots)
        name = image_name(reference, place)
    except ImageProblem:
        return path
    return name + "".join(path.partition("###[")[1:]) if place.box else name


def list_missing_images(
    references: Iterable[tuple[int, str]], roots: Sequence[Path]
) -> Iterator[dict[str, object]]:
    """What ``images.jsonl`` would say of each image that is in none of the folders."""
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
    """Each image once, with the first row that uses it."""
    seen: set[bytes] = set()
    for row_idx, reference in references:
        key = hashlib.blake2b(reference.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            yield row_idx, reference


@dataclass(frozen=True, slots=True)
class ImagesFile:
    """``images.jsonl``, a line per image used, and the files it names.

    ``references`` are those of the samples, with their rows; each image counts once. A line says
    under which file it went along, its size and sha256, or why it could not. ``undecodable`` are
    images that were left out although they are there, and why.
    """

    references: Iterable[tuple[int, str]]
    roots: Sequence[Path]
    link: bool = False
    keep_files: bool = True  # webdataset and embedding tables hold the images themselves
    tally: dict[str, int] = field(default_factory=dict)  # files, bytes, missing: filled on the way
    undecodable: Mapping[str, str] = field(default_factory=dict)
    version: int = VERSION
    name: str = LIST

    def write(self, path: Path, told: OnSamples) -> FileDigest:
        """Writes the list and puts the files beside it."""
        digest, size = hashlib.sha256(), 0
        place = self._placing(path.parent) if self.keep_files else None
        with path.open("wb") as file:
            for _, line in self.lines(place):
                file.write(line)
                digest.update(line)
                size += len(line)
                told(self.name, 1)
            flush_file(file)
        if self.keep_files:
            os.sync()  # thousands of small files: one flush instead of one for each
        return FileDigest(self.name, size, digest.hexdigest())

    def compare(self, path: Path, told: OnSamples) -> tuple[str | None, FileDigest]:
        """Against the images of the workspace as they are now, and the files beside the list."""
        digest, size = hashlib.sha256(), 0
        nothing = FileDigest(self.name, 0, "")
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return f"{self.name} is missing beside the manifest", nothing
        with file:
            for row_idx, line in self.lines(None):
                if (there := file.readline()) != line:
                    rebuilt = json.loads(line)
                    return (
                        f"{self.name} differs from what the workspace rebuilds, first for the "
                        f"image {rebuilt['image']!r} of row {row_idx}: there stands "
                        f"{there[:120]!r}, rebuilt is {line[:120]!r}"
                    ), nothing
                if problem := self._file_problem(path.parent, json.loads(line)):
                    return problem, nothing
                digest.update(line)
                size += len(line)
                told(self.name, 1)
            if file.read(1):
                return f"{self.name} goes on after its end, from byte {size}", nothing
        return None, FileDigest(self.name, size, digest.hexdigest())

    def lines(self, put: Callable[[ImageLocation, bytes, str], None] | None) -> Iterator[Chunk]:
        """The lines of the list; ``put`` is called with each image, its bytes and its name."""
        self.tally.update(files=0, bytes=0, missing=0)
        for row_idx, reference in distinct_images(self.references):
            line: dict[str, object] = {"image": image_path(reference)}
            if reason := self.undecodable.get(reference):
                line |= {"status": str(Status.BAD_IMAGE), "problem": reason, "undecodable": True}
                self.tally["undecodable"] = self.tally.get("undecodable", 0) + 1
                yield row_idx, json.dumps(line, ensure_ascii=True).encode() + b"\n"
                continue
            try:
                place = resolve_image(reference, self.roots)
                content = read_image_bytes(place)
            except ImageProblem as problem:
                line |= {"status": str(problem.status), "problem": str(problem)}
                self.tally["missing"] += 1
            else:
                name = f"{FOLDER}/{image_name(reference, place, content, self.version)}"
                line |= {"file": name} if self.keep_files else {}
                line |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                self.tally["files"] += 1
                self.tally["bytes"] += len(content)
                if put is not None:
                    put(place, content, name)
            yield row_idx, json.dumps(line, ensure_ascii=True).encode() + b"\n"

    def _placing(self, folder: Path) -> Callable[[ImageLocation, bytes, str], None]:
        (folder / FOLDER).mkdir(exist_ok=True)

        def put(place: ImageLocation, content: bytes, name: str) -> None:
            try:
                self._put(place, content, folder / name)
            except OSError as error:
                if error.errno in _CANNOT_HOLD:
                    raise _unholdable(name, error) from error
                if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
                    raise _two_images(name) from error
                raise

        return put

    def _put(self, place: ImageLocation, content: bytes, target: Path) -> None:
        if target.is_file():  # another reference to the same file
            if target.read_bytes() != content:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.link and not place.member:
            with suppress(OSError):  # another disk, or a file system without links
                os.link(place.path, target)
                return
        target.write_bytes(content)

    def _file_problem(self, folder: Path, line: dict[str, object]) -> str | None:
        if "file" not in line:
            return None
        path = folder / str(line["file"])
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            return f"{line['file']} is missing beside the manifest"
        return None if digest == line["sha256"] else f"{line['file']} is not the image it was"


def _two_images(name: str) -> InputError:
    path = name.removeprefix(f"{FOLDER}/")
    return InputError(
        f"files of this dataset name two different images {path!r}, each in a folder of its own; "
        "one folder of images cannot hold both under the path that the records give: export as "
        "webdataset or with images embedded in a table, or export the sources one by one"
    )


def _unholdable(name: str, error: OSError) -> InputError:
    path = name.removeprefix(f"{FOLDER}/")
    shown = path if len(path) <= 160 else f"{path[:80]}...{path[-60:]}"
    return InputError(
        f"the image {shown!r} cannot have that name in the export ({error.strerror}); export to a "
        "shorter path or another file system, as webdataset, or with images embedded in a table"
    )
