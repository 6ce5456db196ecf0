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
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from scoring.errors import InputError
from scoring.exports.export_plan import ExportPlan
from scoring.exports.files import (
    BytesFile,
    Chunk,
    FileDigest,
    FileMismatch,
    OnSamples,
    digest_chunks,
    digest_file,
    open_output,
)
from scoring.exports.options import VERSION
from scoring.image_references import image_path, is_remote, split_reference
from scoring.images.decode import (
    ImageLocation,
    ImageProblem,
    open_image,
    read_content,
    resolve_image,
)
from scoring.samples import Status

FOLDER = "images"
LIST = "images.jsonl"
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp"}
_SUFFIXES |= {b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif"}
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


def read_image(plan: ExportPlan, position: int, reference: str) -> bytes:
    """Return an image for a format that embeds it. Raises ImageProblem if it is unusable."""
    location = resolve_image(reference, plan.workspace.image_roots)
    stats = plan.stats
    has_decoded = plan.decoded is not None and bool(plan.decoded[position])
    if not has_decoded and plan.options.version > 2 and reference not in stats.decodable:
        try:
            if reason := stats.undecodable.get(reference):
                raise ImageProblem(Status.BAD_IMAGE, reason)
            open_image(replace(location, box=None), min_size=1)
        except ImageProblem as problem:
            if problem.status is Status.BAD_IMAGE:
                stats.undecodable[reference] = problem.reason
            raise
        stats.decodable.add(reference)
    return read_content(location)


def image_suffix(content: bytes) -> str:
    """Return ``.jpg``, ``.png`` ... by the first bytes; ``.img`` for anything else."""
    return next((s for magic, s in _SUFFIXES.items() if content.startswith(magic)), ".img")


def image_name(
    reference: str, location: ImageLocation, content: bytes | None = None, version: int = VERSION
) -> str:
    """Return the name inside ``images/``, with ``/``: never absolute, and without ``..``."""
    path = image_path(reference)
    whole = path.partition("###[")[0] if location.box else path
    if not location.member and _keeps_path(whole, version):
        return "/".join(PurePosixPath(whole).parts)
    digest = hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    if not location.member:
        suffix = location.path.suffix
        if version > 2 and not _SUFFIX.fullmatch(suffix):
            suffix = ".img"
        return f"elsewhere/{digest}{suffix}"
    content = read_content(location) if content is None else content
    return f"embedded/{digest}{image_suffix(content)}"


def exported_path(plan: ExportPlan, reference: str) -> str:
    """Return the path by which the export names an image, with the record's box if any.

    This is the record's own path where that works, and where the image is missing.
    """
    path = image_path(reference)
    if not plan.options.places_images or plan.options.version < 3:
        return add_prefix(plan, path)
    if split_reference(path) is None and _keeps_path(path):
        return add_prefix(plan, path)
    try:
        location = resolve_image(reference, plan.workspace.image_roots)
        name = image_name(reference, location)
    except ImageProblem:
        return path
    return add_prefix(plan, name + "".join(path.partition("###[")[1:]) if location.box else name)


def add_prefix(plan: ExportPlan, path: str) -> str:
    """Return the path with the prefix of the options, if they have one.

    Without exported images, absolute paths, URLs and images inside files need none.
    """
    prefix = plan.options.path_prefix
    is_elsewhere = path.startswith("/") or is_remote(path) or split_reference(path) is not None
    if prefix is None or (is_elsewhere and not plan.options.places_images):
        return path
    return prefix + path


def _keeps_path(path: str, version: int = VERSION) -> bool:
    """Return whether the path that a record gives leads to the image inside ``images/`` too."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        return False
    return version > 2 or all(len(part) <= 200 and part.isprintable() for part in parts)


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

    A line gives the file of the image (unless the export contains images in other files), its size
    and sha256, or why it was not exported.
    """

    plan: ExportPlan
    name: str = LIST

    def write(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Write the list and place the files next to it."""
        folder = path.parent if self.plan.options.places_images else None
        if folder:
            (folder / FOLDER).mkdir(exist_ok=True)
        digest = BytesFile(self.name, self._generate_lines(folder)).write(path, on_samples)
        if folder:
            os.sync()  # thousands of small files: one flush instead of one for each
        return digest

    def compare(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Compare with the images of the workspace as they are now, and check the files."""

        def check_line(_: int, row_idx: int | None, line: bytes) -> None:
            value = json.loads(line)
            if (actual := file.readline()) != line:
                raise FileMismatch(
                    f"{self.name} differs from what the workspace rebuilds, first for the "
                    f"image {value['image']!r} of row {row_idx}: found {actual[:120]!r}, "
                    f"expected {line[:120]!r}"
                )
            if name := value.get("file"):
                try:
                    digest = digest_file(path.parent, name)
                except OSError:
                    raise FileMismatch(f"{name} is missing next to the manifest") from None
                if digest.sha256 != value["sha256"]:
                    raise FileMismatch(f"{name} has changed since the export")

        with open_output(path, self.name) as file:
            digest = digest_chunks(self.name, self._generate_lines(None), on_samples, check_line)
            if file.read(1):
                raise FileMismatch(f"{self.name} has extra bytes from byte {digest.bytes} on")
        return digest

    def _generate_lines(self, folder: Path | None) -> Iterator[Chunk]:
        """Yield the lines of the list; place the images in ``folder``."""
        stats = self.plan.stats
        stats.images.update(files=0, bytes=0, missing=0)
        for row_idx, reference in distinct_images(self.plan.read_references()):
            line: dict[str, object] = {"image": image_path(reference)}
            if reason := stats.undecodable.get(reference):
                line |= {"status": str(Status.BAD_IMAGE), "problem": reason, "undecodable": True}
                stats.images["undecodable"] = stats.images.get("undecodable", 0) + 1
            else:
                line |= self._export_image(reference, folder)
            yield row_idx, json.dumps(line, ensure_ascii=True).encode() + b"\n"

    def _export_image(self, reference: str, folder: Path | None) -> dict[str, object]:
        plan, counts = self.plan, self.plan.stats.images
        try:
            location = resolve_image(reference, plan.workspace.image_roots)
            content = read_content(location)
        except ImageProblem as problem:
            counts["missing"] += 1
            return {"status": str(problem.status), "problem": str(problem)}
        name = f"{FOLDER}/{image_name(reference, location, content, plan.options.version)}"
        counts["files"] += 1
        counts["bytes"] += len(content)
        if folder:
            try:
                _place_image(location, content, folder / name, plan.options.images == "link")
            except OSError as error:
                if explanation := _explain_name_error(name, error):
                    raise InputError(explanation) from error
                raise
        line: dict[str, object] = {"file": name} if plan.options.places_images else {}
        return line | {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _place_image(location: ImageLocation, content: bytes, target: Path, link: bool) -> None:
    if target.is_file():  # another reference to the same file
        if target.read_bytes() != content:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if link and not location.member:
        with suppress(OSError):  # another disk, or a file system without links
            os.link(location.path, target)
            return
    target.write_bytes(content)


def _explain_name_error(name: str, error: OSError) -> str | None:
    """Return why an image cannot have its name in the export; None for another kind of error."""
    path = name.removeprefix(f"{FOLDER}/")
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return (
            f"Files of this dataset name two different images {path!r}, each in a folder of its "
            "own. One image folder cannot contain both under the path that the records give. "
            "Export as webdataset or with images embedded in a table, or export the sources one by "
            "one."
        )
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        shown = path if len(path) <= 160 else f"{path[:80]}...{path[-60:]}"
        return (
            f"The image {shown!r} cannot have that name in the export ({error.strerror}). Export "
            "to a shorter path or another file system, as webdataset, or with images embedded in a "
            "table."
        )
    return None
