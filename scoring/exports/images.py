"""The images that an exported subset uses: under which name each goes along, and a list of them.

The one decision behind it: an image keeps the path that its record gives, inside ``images/``, so
that the records stay untouched and a trainer takes that folder as its image folder. Images that
lie inside another file, or whose path leads out of any folder, go under a digest of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from scoring.errors import InputError
from scoring.exports.files import FileFact, Piece, Told, flush
from scoring.image_bases import image_path
from scoring.readers.containers import EmbeddedProblem, read_embedded
from scoring.readers.images import ImagePlace, ImageProblem, resolve_image
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
_MAX_NAME = 200


def read_image_bytes(place: ImagePlace) -> bytes:
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


def image_name(reference: str, place: ImagePlace, content: bytes | None = None) -> str:
    """The name inside ``images/``, with ``/``."""
    path = image_path(reference)
    bare = path.partition("###[")[0] if place.box else path
    parts = PurePosixPath(bare).parts
    plain = not place.member and parts and not bare.startswith("/") and ".." not in parts
    if plain and all(len(part) <= _MAX_NAME and part.isprintable() for part in parts):
        return "/".join(parts)
    digest = hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    if not place.member:
        return f"elsewhere/{digest}{place.path.suffix}"
    content = read_image_bytes(place) if content is None else content
    return f"embedded/{digest}{image_suffix(content)}"


@dataclass(frozen=True, slots=True)
class ImagesFile:
    """``images.jsonl``, a line per image used, and the files it names.

    ``references`` are those of the samples, with their rows; each image counts once. A line says
    under which file it went along, its size and sha256, or why it could not.
    """

    references: Iterable[tuple[int, str]]
    roots: Sequence[Path]
    link: bool = False
    keep_files: bool = True  # webdataset and embedding tables hold the images themselves
    tally: dict[str, int] = field(default_factory=dict)  # files, bytes, missing: filled on the way
    name: str = LIST

    def write(self, path: Path, told: Told) -> FileFact:
        """Writes the list and puts the files beside it."""
        digest, size = hashlib.sha256(), 0
        place = self._placing(path.parent) if self.keep_files else None
        with path.open("wb") as file:
            for _, line in self.lines(place):
                file.write(line)
                digest.update(line)
                size += len(line)
                told(self.name, 1)
            flush(file)
        if self.keep_files:
            os.sync()  # thousands of small files: one flush instead of one for each
        return FileFact(self.name, size, digest.hexdigest())

    def compare(self, path: Path, told: Told) -> tuple[str | None, FileFact]:
        """Against the images of the workspace as they are now, and the files beside the list."""
        digest, size = hashlib.sha256(), 0
        nothing = FileFact(self.name, 0, "")
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
        return None, FileFact(self.name, size, digest.hexdigest())

    def lines(self, put: Callable[[ImagePlace, bytes, str], None] | None) -> Iterator[Piece]:
        """The lines of the list; ``put`` is called with each image, its bytes and its name."""
        seen: set[bytes] = set()
        self.tally.update(files=0, bytes=0, missing=0)
        for row_idx, reference in self.references:
            key = hashlib.blake2b(
                reference.encode("utf-8", "surrogatepass"), digest_size=16
            ).digest()
            if key in seen:
                continue
            seen.add(key)
            line: dict[str, object] = {"image": image_path(reference)}
            try:
                place = resolve_image(reference, self.roots)
                content = read_image_bytes(place)
            except ImageProblem as problem:
                line |= {"status": str(problem.status), "problem": str(problem)}
                self.tally["missing"] += 1
            else:
                name = f"{FOLDER}/{image_name(reference, place, content)}"
                line |= {"file": name} if self.keep_files else {}
                line |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                self.tally["files"] += 1
                self.tally["bytes"] += len(content)
                if put is not None:
                    put(place, content, name)
            yield row_idx, json.dumps(line, ensure_ascii=True).encode() + b"\n"

    def _placing(self, folder: Path) -> Callable[[ImagePlace, bytes, str], None]:
        (folder / FOLDER).mkdir(exist_ok=True)

        def put(place: ImagePlace, content: bytes, name: str) -> None:
            target = folder / name
            if target.exists():  # another reference to the same file
                if target.read_bytes() != content:
                    raise _two_images(name)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.link and not place.member:
                with suppress(OSError):  # another disk, or a file system without links
                    os.link(place.path, target)
                    return
            target.write_bytes(content)

        return put

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
