"""Locating and decoding the images of samples, and refusing what must not be opened.

Dataset content is treated as hostile: a reference is resolved only inside the declared image roots,
after following links, and only common raster formats are decoded, up to a maximum size. A root is
a folder of images, or a file (or the dataset folder) that contains images itself. URLs are looked
up in the workspace's cache of downloaded images, if it is declared; no connection is opened here.
"""

from __future__ import annotations

import ctypes
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from scoring.image_references import (
    RECORDS_ROOT,
    REMOTE_ROOT,
    ImageRoots,
    explain_refused_url,
    is_fetchable,
    is_remote,
    quote_path,
    split_base,
    split_reference,
)
from scoring.images.containers import MAX_IMAGE_BYTES, EmbeddedProblem, read_embedded
from scoring.images.remote import cached_path, read_refusal
from scoring.samples import Status

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
MAX_METADATA_MIB = 16
# Pillow's default of 1 MiB refuses images with a large colour profile or an embedded workflow.
# Pillow still reads at most 64 MiB of text per image.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA_MIB << 20
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a TIFF tag and its value
_BOX = re.compile(r"^(.+?)###\[\s*(-?\d{1,9}(?:\s*,\s*-?\d{1,9}){3})\s*\]$")
_UPRIGHT = {  # EXIF orientation -> transpose that makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A URL; a colon alone may occur in a file name.
_SCHEME = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://|data:|file:)", re.IGNORECASE)


# Pillow's warnings about odd metadata would disturb the progress bar. Filters are process-wide, so
# they cannot be set per image while several threads decode.
warnings.filterwarnings("ignore", module=r"PIL\.")


# libtiff would print into it too; Pillow raises for damaged files anyway.
with suppress(ImportError, OSError, AttributeError):  # a build without libtiff
    from PIL import _imaging

    for _name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        _set_handler = getattr(ctypes.CDLL(_imaging.__file__), _name)
        _set_handler.argtypes, _set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        _set_handler(None)


class ImageProblem(Exception):
    """Why an image cannot be used: a status and its explanation."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """Where an image is: a file, a ``member`` of a container file, and a ``box`` to crop.

    ``box`` is left, upper, right, lower in pixels. ``content`` are the bytes of the whole image if
    they are in memory already.
    """

    path: Path
    member: str = ""
    box: tuple[int, int, int, int] | None = None
    content: bytes | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The name used in error messages."""
        return f"{self.path.name}#{self.member}" if self.member else self.path.name

    def cache_key(self) -> str:
        """Return a key that changes when the file does. Raises ImageProblem if it is gone."""
        try:
            stat = self.path.stat()
        except OSError:
            raise ImageProblem(Status.MISSING_IMAGE, f"{self.path.name} is gone") from None
        parts = (self.path, self.member, self.box, stat.st_size, stat.st_mtime_ns)
        return "\0".join(map(str, parts))


def open_reference(reference: str, roots: Sequence[Path]) -> Image.Image:
    """Return the image that ``reference`` names, decoded to RGB. Raises ImageProblem."""
    return open_image(resolve_image(reference, roots))


def resolve_image(reference: str, roots: Sequence[Path]) -> ImageLocation:
    """Locate the image that ``reference`` names inside one of ``roots``, tried in order.

    ``path###[left, upper, right, lower]`` is a crop of an image; ``file#position`` is an image
    inside a container file, which must be a root itself; ``base=N#path`` is looked up only in the
    folders of that base of ``ImageRoots``. Raises ImageProblem: ``refused_path`` for anything
    outside the roots, also through links; ``missing_image`` if no root contains it.
    """
    base, reference = split_base(reference)
    if base is not None:
        bases = roots.bases if isinstance(roots, ImageRoots) else ()
        if base >= len(bases):
            reason = f"{quote_path(reference)} belongs to image folders unknown to this workspace"
            raise ImageProblem(Status.MISSING_IMAGE, reason)
        return _find_in_folders(reference, bases[base])
    folders, containers = _sort_roots(tuple(roots))
    if (split := split_reference(reference)) and (path := _match_container(split[0], containers)):
        return ImageLocation(path, split[1])
    if not is_remote(reference):
        return _find_in_folders(reference, folders)
    caches = containers[REMOTE_ROOT]
    if not caches or not is_fetchable(reference):
        reason = f"{quote_path(reference)} {explain_refused_url(reference)}"
        raise ImageProblem(Status.REFUSED_PATH, reason)
    path = cached_path(caches[0], reference)
    if path.is_file():
        return ImageLocation(path)
    if refusal := read_refusal(caches[0], reference):
        raise ImageProblem(*refusal)
    reason = f"{quote_path(reference)} is not downloaded yet; score with --allow-remote"
    raise ImageProblem(Status.MISSING_IMAGE, reason)


def _find_in_folders(reference: str, folders: Sequence[Path]) -> ImageLocation:
    """Locate a path that may be followed by a box."""
    if _SCHEME.match(reference) or "\0" in reference:
        reason = f"{quote_path(reference)} is not the path of a local file"
        raise ImageProblem(Status.REFUSED_PATH, reason)
    if boxed := _BOX.match(reference):
        left, upper, right, lower = (int(edge) for edge in boxed[2].split(","))
        return replace(_find_file(boxed[1], folders), box=(left, upper, right, lower))
    return _find_file(reference, folders)


def _find_file(reference: str, folders: Sequence[Path]) -> ImageLocation:
    """Locate a path relative to one of the folders; the file may be inside any of them."""
    outside: Path | None = None
    is_not_a_file = False
    for folder in folders:
        try:
            path = (folder / reference).resolve()
            inside = path.is_relative_to(folder.resolve()) or any(
                path.is_relative_to(other.resolve()) for other in folders
            )
            if inside and path.is_file():
                return ImageLocation(path)
            is_not_a_file = is_not_a_file or (inside and path.exists())
        except (OSError, RuntimeError, UnicodeError) as error:  # too long, links in a circle, ...
            what = getattr(error, "strerror", None) or "the path cannot be followed"
            raise ImageProblem(Status.REFUSED_PATH, f"{quote_path(reference)}: {what}") from error
        outside = outside or (None if inside else path)
    if outside is not None:
        reason = (
            f"{quote_path(reference)} leads outside the image folders, to "
            f"{quote_path(str(outside.parent))}; if your images are there, add that folder: "
            "visnec relocate --images"
        )
        raise ImageProblem(Status.REFUSED_PATH, reason)
    what = "a folder or a device, not a file" if is_not_a_file else "in none of the image folders"
    raise ImageProblem(Status.MISSING_IMAGE, f"{quote_path(reference)} is {what}")


@lru_cache(maxsize=32)
def _sort_roots(roots: tuple[Path, ...]) -> tuple[tuple[Path, ...], Mapping[str, list[Path]]]:
    """Return the folders, and the container files by name, shortest path first."""
    caches = [
        root for root in roots if root.name == REMOTE_ROOT and (root / "remote.json").is_file()
    ]
    folders = tuple(root for root in roots if not root.is_file() and root not in caches)
    containers: dict[str, list[Path]] = {}
    for root in sorted(set(roots) - set(folders) - set(caches), key=lambda path: len(path.parts)):
        containers.setdefault(root.name, []).append(root)
    own = [root for root in folders if root.name == "dataset" and (root / "dataset.json").is_file()]
    containers[RECORDS_ROOT] = own[-1:]  # the workspace's own folder is the last root
    containers[REMOTE_ROOT] = caches[-1:]
    return folders, containers


def find_container(name: str, roots: Sequence[Path]) -> Path | None:
    """Return the declared container file with that name, if it exists."""
    return _match_container(name, _sort_roots(tuple(roots))[1])


def _match_container(name: str, containers: Mapping[str, list[Path]]) -> Path | None:
    """Return the container with that name; the name may start with folders to be unambiguous."""
    parts = tuple(name.split("/"))
    for path in containers.get(parts[-1], ()):
        if parts == (RECORDS_ROOT,) or path.parts[-len(parts) :] == parts:
            return path
    return None


def open_image(location: ImageLocation | Path, min_size: int | None = None) -> Image.Image:
    """Decode an image to RGB, rotated by its EXIF orientation; only the first frame.

    Colours of transparent pixels become visible, as in the training code of common models.

    If ``min_size`` pixels of the longer side are sufficient, a JPEG may be decoded to a half, a
    quarter or an eighth of its size, but never to less than this. Raises ImageProblem:
    ``bad_image`` if it is not an image, truncated, or larger than MAX_PIXELS; ``missing_image`` if
    it is gone.
    """
    location = ImageLocation(location) if isinstance(location, Path) else location
    name = location.name
    try:
        source: io.BytesIO | Path = location.path
        if location.member or location.content is not None:
            content = location.content or read_embedded(location.path, location.member)
            source = io.BytesIO(content)
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width} x {image.height} pixels"
                reason = f"{name} has {size}, over the limit of {MAX_PIXELS:,}"
                raise ImageProblem(Status.BAD_IMAGE, reason)
            if min_size is not None and location.box is None:
                share = min(1.0, min_size / max(image.size))
                width, height = (max(1, int(side * share)) for side in image.size)
                image.draft(None, (width, height))
            upright = convert_image(image)
        return upright if location.box is None else _crop_box(upright, location)
    except FileNotFoundError:
        raise ImageProblem(Status.MISSING_IMAGE, f"{location.path.name} is gone") from None
    except UnidentifiedImageError:
        raise ImageProblem(Status.BAD_IMAGE, _unidentified_reason(location)) from None
    except Image.DecompressionBombError:
        reason = f"{name} has more pixels than the limit of {MAX_PIXELS:,}"
        raise ImageProblem(Status.BAD_IMAGE, reason) from None
    except MemoryError:
        reason = f"{name} needs more memory to decode than is available"
        raise ImageProblem(Status.BAD_IMAGE, reason) from None
    except ImageProblem:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        what = getattr(error, "strerror", None) or error
        if "MAX_TEXT_" in str(what):
            what = f"its colour profile or comment is larger than {MAX_METADATA_MIB} MiB"
        raise ImageProblem(Status.BAD_IMAGE, f"{name}: {what}") from error


def read_content(location: ImageLocation) -> bytes:
    """Return the encoded image, whole even where the record uses a part. Raises ImageProblem."""
    try:
        if location.member:
            return location.content or read_embedded(location.path, location.member)
        return location.path.read_bytes()
    except FileNotFoundError:
        raise ImageProblem(Status.MISSING_IMAGE, f"{location.path.name} is gone") from None
    except (EmbeddedProblem, OSError) as error:
        raise ImageProblem(Status.BAD_IMAGE, f"{location.name}: {error}") from error


def read_ahead(location: ImageLocation) -> ImageLocation:
    """Return the location with its content; without it if opening the image has to report why."""
    try:
        if not location.member and location.path.stat().st_size > MAX_IMAGE_BYTES:
            return location
        return replace(location, content=read_content(location) or None)
    except Exception:  # noqa: BLE001 - damaged containers raise nearly anything
        return location


def convert_image(image: Image.Image) -> Image.Image:
    """Return an opened image as models get it: in RGB, rotated by its EXIF orientation."""
    return _make_upright(_to_rgb(image), image)


def _crop_box(image: Image.Image, location: ImageLocation) -> Image.Image:
    """Return the part of ``image`` inside the box, clipped to the image."""
    left, upper, right, lower = location.box or (0, 0, 0, 0)
    box = (max(left, 0), max(upper, 0), min(right, image.width), min(lower, image.height))
    if box[0] >= box[2] or box[1] >= box[3]:
        reason = (
            f"the box {list(location.box or ())} is outside {location.name} "
            f"({image.width} x {image.height} pixels)"
        )
        raise ImageProblem(Status.BAD_IMAGE, reason)
    return image.crop(box)


def _make_upright(image: Image.Image, source: Image.Image) -> Image.Image:
    """Return ``image`` transposed as the EXIF data of ``source`` requires, if it is readable."""
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - the image itself decodes
        return image
    transpose = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if transpose is None else image.transpose(transpose)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return ``image`` in RGB; greys of more than 8 bits are scaled, not clipped to white."""
    return (_scale_to_8_bits(image) if _is_deep(image) else image).convert("RGB")


def is_deep_grey(location: ImageLocation) -> bool:
    """Return whether an image consists of greys of more than 8 bits or floats, by its header."""
    try:
        with Image.open(location.path, formats=FORMATS) as image:
            return _is_deep(image)
    except Exception:  # noqa: BLE001 - decoding it later reports the reason
        return False


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale deep greys by their value range, because files do not declare it reliably.

    Black is 0. White is the smallest power of four that no pixel exceeds, at least 256 for integers
    and 1 for floats: 4,096 for 12-bit values, 65,536 for 16-bit values. So 8, 12 and 16-bit values
    keep their 8 high bits, regardless of the type they are stored in.
    """
    values = np.asarray(image)  # (height, width)
    floats = image.mode == "F"
    brightest = np.max(values, where=np.isfinite(values), initial=0)
    white = 1 if floats else 256
    while brightest > (white if floats else white - 1):
        white *= 4
    scaled = np.multiply(values, np.float32(256 / white), dtype=np.float32)
    np.nan_to_num(scaled, copy=False, nan=0)
    grey = np.clip(scaled, 0, 255).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey  # Pillow inverts these only up to 8 bits
    return Image.fromarray(grey)


def _unidentified_reason(location: ImageLocation) -> str:
    start = b" "
    if not location.member:
        with location.path.open("rb") as file:
            start = file.read(40)
    if not start:
        return f"{location.name} is empty"
    if start.startswith(b"version https://git-lfs"):
        return f"{location.name} is a Git LFS pointer, not the image; fetch it with: git lfs pull"
    if start.startswith((b"II*\0", b"MM\0*")):
        return f"{location.name} is a TIFF with an unsupported pixel format; save it as PNG"
    return f"{location.name} is not an image in a supported format ({', '.join(FORMATS)})"
