"""Finds and decodes the images of samples, and refuses what must not be opened.

Dataset content is hostile until proven otherwise: a reference is resolved only inside the
declared image roots, links included, and only common raster formats are decoded, up to a size.
A root is a folder of images, or a file (or the dataset's own folder) that holds images itself.
Addresses of other machines are looked up in the workspace's cache of fetched images, if it was
declared: nothing here opens a connection.
"""

from __future__ import annotations

import ctypes
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from scoring.image_references import (
    RECORDS_ROOT,
    REMOTE_ROOT,
    ImageRoots,
    is_fetchable,
    split_base,
    split_reference,
)
from scoring.images.containers import read_embedded
from scoring.images.remote import cached_path, read_refusal
from scoring.samples import Status

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
MAX_METADATA_MIB = 16
# Pillow's own limit of 1 MiB refuses pictures with a large colour profile or an embedded workflow.
# It still reads no more than 64 MiB of text from one picture.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA_MIB << 20
_SHOWN_CHARACTERS = 120
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF
_REMOTE = re.compile(r"^(?:https?|ftp|s3|gs|hf)://", re.IGNORECASE)
_BOX = re.compile(r"^(.+?)###\[\s*(-?\d{1,9}(?:\s*,\s*-?\d{1,9}){3})\s*\]$")
_TURNS = {  # EXIF orientation -> what shows the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# An address; a colon alone may stand in the name of a file.
_SCHEME = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://|data:|file:)", re.IGNORECASE)


# What it says of odd metadata would run through the progress bar; filters are of the whole process,
# so that they cannot be set around each image where several threads decode.
warnings.filterwarnings("ignore", module=r"PIL\.")


def _silence_libtiff() -> None:
    """Keeps what libtiff prints about odd files out of the progress bar; Pillow raises anyway."""
    with suppress(ImportError, OSError, AttributeError):  # a build without libtiff
        from PIL import _imaging

        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(library, name)
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)


_silence_libtiff()


class ImageProblem(Exception):
    """Why an image cannot be used: a status of the closed list and its reason in words."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """Where an image lies: a file, a ``member`` inside a file of many, a ``box`` cut out of it.

    ``box`` is left, upper, right, lower in pixels.
    """

    path: Path
    member: str = ""
    box: tuple[int, int, int, int] | None = None

    @property
    def name(self) -> str:
        """As errors name it."""
        return f"{self.path.name}#{self.member}" if self.member else self.path.name

    def cache_key(self) -> str:
        """A key that changes when the file does. Raises ImageProblem where it is gone."""
        try:
            stat = self.path.stat()
        except OSError:
            raise ImageProblem(Status.MISSING_IMAGE, f"{self.path.name} is gone") from None
        parts = (self.path, self.member, self.box, stat.st_size, stat.st_mtime_ns)
        return "\0".join(map(str, parts))


def open_reference(reference: str, roots: Sequence[Path]) -> Image.Image:
    """The decoded image that ``reference`` names, in RGB. Raises ImageProblem."""
    return open_image(resolve_image(reference, roots))


def resolve_image(reference: str, roots: Sequence[Path]) -> ImageLocation:
    """Where the image lies that ``reference`` names inside one of ``roots``, tried in order.

    ``path###[left, upper, right, lower]`` is that part of an image; ``file#place`` an image inside
    a file, which must be declared itself; ``base=N#path`` is looked for in the folders of that base
    of ``ImageRoots`` alone. Raises ImageProblem: ``refused_path`` for anything outside the roots
    (also through links), ``missing_image`` where no root holds it.
    """
    base, reference = split_base(reference)
    if base is not None:
        return _in_base(reference, roots, base)
    folders, containers = _sorted_roots(tuple(roots))
    if (found := split_reference(reference)) and (path := _container(found[0], containers)):
        return ImageLocation(path, found[1])
    if _REMOTE.match(reference):
        if caches := containers[REMOTE_ROOT]:
            return _fetched(reference, caches[0])
        reason = f"{_shown(reference)} lies on another machine; remote images are not fetched"
        raise ImageProblem(Status.REFUSED_PATH, reason)
    return _in_folders(reference, folders)


def _in_base(path: str, roots: Sequence[Path], base: int) -> ImageLocation:
    """The image of that path in the folders of one base."""
    bases = roots.bases if isinstance(roots, ImageRoots) else ()
    if base >= len(bases):
        reason = f"{_shown(path)} belongs to folders that the workspace does not name"
        raise ImageProblem(Status.MISSING_IMAGE, reason)
    return _in_folders(path, bases[base])


def _fetched(reference: str, cache: Path) -> ImageLocation:
    """The image of an address, from the cache of what was fetched."""
    if not is_fetchable(reference):
        reason = f"{_shown(reference)} is no address that is fetched: only http and https are"
        raise ImageProblem(Status.REFUSED_PATH, reason)
    path = cached_path(cache, reference)
    if path.is_file():
        return ImageLocation(path)
    if refusal := read_refusal(cache, reference):
        raise ImageProblem(*refusal)
    reason = f"{_shown(reference)} has not been fetched yet; score with --allow-remote"
    raise ImageProblem(Status.MISSING_IMAGE, reason)


def _in_folders(reference: str, folders: Sequence[Path]) -> ImageLocation:
    """The file of that path, or the part of it that a box behind the path names."""
    if _SCHEME.match(reference) or "\0" in reference:
        reason = f"{_shown(reference)} is not a path of a local file"
        raise ImageProblem(Status.REFUSED_PATH, reason)
    if boxed := _BOX.match(reference):
        left, upper, right, lower = (int(edge) for edge in boxed[2].split(","))
        return replace(_file_in(boxed[1], folders), box=(left, upper, right, lower))
    return _file_in(reference, folders)


def _file_in(reference: str, folders: Sequence[Path]) -> ImageLocation:
    """The file of that path, joined to one of the folders and lying inside any of them."""
    outside: Path | None = None
    no_file = False
    for folder in folders:
        try:
            path = (folder / reference).resolve()
            inside = path.is_relative_to(folder.resolve()) or any(
                path.is_relative_to(other.resolve()) for other in folders
            )
            if inside and path.is_file():
                return ImageLocation(path)
            no_file = no_file or (inside and path.exists())
        except (OSError, RuntimeError, UnicodeError) as error:  # too long, links in a circle, ...
            what = getattr(error, "strerror", None) or "no path that can be followed"
            raise ImageProblem(Status.REFUSED_PATH, f"{_shown(reference)}: {what}") from error
        outside = outside or (None if inside else path)
    if outside is not None:
        reason = (
            f"{_shown(reference)} leads out of the image folders, to "
            f"{_shown(str(outside.parent))}; if your images are there, name that folder too: "
            "visnec relocate --images"
        )
        raise ImageProblem(Status.REFUSED_PATH, reason)
    where = "is a folder or a device, not a file" if no_file else "is in none of the image folders"
    raise ImageProblem(Status.MISSING_IMAGE, f"{_shown(reference)} {where}")


@lru_cache(maxsize=32)
def _sorted_roots(roots: tuple[Path, ...]) -> tuple[tuple[Path, ...], Mapping[str, list[Path]]]:
    """The folders, and the files by their name; the shortest path of a name comes first."""
    fetched = [one for one in roots if one.name == REMOTE_ROOT and (one / "remote.json").is_file()]
    folders = tuple(root for root in roots if not root.is_file() and root not in fetched)
    containers: dict[str, list[Path]] = {}
    for root in sorted(set(roots) - set(folders) - set(fetched), key=lambda path: len(path.parts)):
        containers.setdefault(root.name, []).append(root)
    own = [one for one in folders if one.name == "dataset" and (one / "dataset.json").is_file()]
    containers[RECORDS_ROOT] = own[-1:]  # the workspace's folder is declared last
    containers[REMOTE_ROOT] = fetched[-1:]
    return folders, containers


def find_container(name: str, roots: Sequence[Path]) -> Path | None:
    """The declared file that holds records and images of that name, if it is there."""
    return _container(name, _sorted_roots(tuple(roots))[1])


def _container(name: str, containers: Mapping[str, list[Path]]) -> Path | None:
    """The declared file of that name; a name may begin with folders to tell equals apart."""
    parts = tuple(name.split("/"))
    for path in containers.get(parts[-1], ()):
        if parts == (RECORDS_ROOT,) or path.parts[-len(parts) :] == parts:
            return path
    return None


def open_image(place: ImageLocation | Path, enough: int | None = None) -> Image.Image:
    """The decoded image in RGB, upright by its EXIF orientation; the first frame of several.

    Colours under a transparent pixel show, as in the training code of the common models. For
    pictures on a page ``enough`` says how many pixels of the longer side will do: a JPEG may then
    be decoded to a half, a quarter or an eighth of its size, which is that many or more. Raises
    ImageProblem (``bad_image``) for what is no image, cut off, or larger than MAX_PIXELS.
    """
    place = ImageLocation(place) if isinstance(place, Path) else place
    name = place.name
    try:
        source = io.BytesIO(read_embedded(place.path, place.member)) if place.member else place.path
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageProblem(Status.BAD_IMAGE, _too_large(name, image.size))
            if enough is not None and place.box is None:
                share = min(1.0, enough / max(image.size))
                width, height = (max(1, int(side * share)) for side in image.size)
                image.draft(None, (width, height))
            upright = _upright(to_rgb(image), image)
        return upright if place.box is None else _cropped(upright, place)
    except FileNotFoundError:
        raise ImageProblem(Status.MISSING_IMAGE, f"{place.path.name} is gone") from None
    except UnidentifiedImageError:
        raise ImageProblem(Status.BAD_IMAGE, _unidentified(place)) from None
    except Image.DecompressionBombError:
        raise ImageProblem(Status.BAD_IMAGE, _too_large(name)) from None
    except MemoryError:
        reason = f"{name} takes more memory to decode than there is"
        raise ImageProblem(Status.BAD_IMAGE, reason) from None
    except ImageProblem:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        what = getattr(error, "strerror", None) or error
        if "MAX_TEXT_" in str(what):
            what = f"its colour profile or comment is larger than {MAX_METADATA_MIB} MiB"
        raise ImageProblem(Status.BAD_IMAGE, f"{name}: {what}") from error


def _cropped(image: Image.Image, place: ImageLocation) -> Image.Image:
    """The part of ``image`` inside the box of ``place``, as far as the image reaches."""
    left, upper, right, lower = place.box or (0, 0, 0, 0)
    box = (max(left, 0), max(upper, 0), min(right, image.width), min(lower, image.height))
    if box[0] >= box[2] or box[1] >= box[3]:
        reason = (
            f"the box {list(place.box or ())} holds nothing of {place.name} "
            f"({image.width} x {image.height})"
        )
        raise ImageProblem(Status.BAD_IMAGE, reason)
    return image.crop(box)


def _upright(picture: Image.Image, source: Image.Image) -> Image.Image:
    """``picture`` turned as the metadata of ``source`` require; unreadable metadata are ignored."""
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - the picture itself decodes
        return picture
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def _too_large(name: str, size: tuple[int, int] | None = None) -> str:
    if size is None:  # the decoder refused before it told
        return f"{name} has more pixels than the limit of {MAX_PIXELS:,}"
    return f"{name} has {size[0]} x {size[1]} pixels, over the limit of {MAX_PIXELS:,}"


def to_rgb(image: Image.Image) -> Image.Image:
    """Return ``image`` in RGB; deep greys are scaled to 8 bits, not clipped to white."""
    return (_to_8_bits(image) if _is_deep(image) else image).convert("RGB")


def is_deep_grey(place: ImageLocation) -> bool:
    """Return whether the header of an image announces greys of more than 8 bits or floats."""
    try:
        with Image.open(place.path, formats=FORMATS) as image:
            return _is_deep(image)
    except Exception:  # noqa: BLE001 - what cannot be read gets its reason when it is decoded
        return False


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale a deep grey by the range of its values, as files do not reliably declare it.

    Black is 0. White is the smallest power of four that no pixel exceeds, at least 256 for whole
    numbers and 1 for floats: 4,096 for 12-bit values, 65,536 for 16-bit ones. So values of 8, 12
    or 16 bits get their 8 high bits, in whatever type they are stored.
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
        grey = 255 - grey  # Pillow inverts these with up to 8 bits only
    return Image.fromarray(grey)


def _unidentified(place: ImageLocation) -> str:
    start = b" "
    if not place.member:
        with place.path.open("rb") as file:
            start = file.read(40)
    if not start:
        return f"{place.name} is empty"
    if start.startswith(b"version https://git-lfs"):
        return f"{place.name} is a Git LFS pointer, not the image; fetch it with: git lfs pull"
    if start.startswith((b"II*\0", b"MM\0*")):
        return f"{place.name} is a TIFF with a kind of pixels that is not supported; save it as PNG"
    return f"{place.name} is not an image in a supported format ({', '.join(FORMATS)})"


def _shown(reference: str) -> str:
    """The reference as it can be told: a record may hold anything as a path."""
    if len(reference) > _SHOWN_CHARACTERS:
        reference = reference[:_SHOWN_CHARACTERS] + "..."
    return repr(reference)
