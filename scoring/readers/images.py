"""Finds and decodes the images of samples, and refuses what must not be opened.

Dataset content is hostile until proven otherwise: a reference is resolved only inside the
declared image roots, links included, and only common raster formats are decoded, up to a size.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from scoring.samples import Status

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
_SHOWN_CHARACTERS = 120
_TURNS = {  # EXIF orientation -> what shows the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")


# What it says of odd metadata would run through the progress bar; filters are of the whole process,
# so that they cannot be set around each image where several threads decode.
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageProblem(Exception):
    """Why an image cannot be used: a status of the closed list and its reason in words."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def resolve_image(reference: str, roots: Sequence[Path]) -> Path:
    """The file that ``reference`` names inside one of ``roots``, tried in order.

    Raises ImageProblem: ``refused_path`` for anything outside the roots (also through links),
    ``missing_image`` where no root holds it.
    """
    if _SCHEME.match(reference) or "\0" in reference:
        reason = f"{_shown(reference)} is not a path of a local file"
        raise ImageProblem(Status.REFUSED_PATH, reason)
    outside = no_file = False
    for root in roots:
        try:
            path = (root / reference).resolve()
            inside = path.is_relative_to(root.resolve())
            if inside and path.is_file():
                return path
            no_file = no_file or (inside and path.exists())
        except (OSError, RuntimeError, UnicodeError) as error:  # too long, links in a circle, ...
            what = getattr(error, "strerror", None) or "no path that can be followed"
            raise ImageProblem(Status.REFUSED_PATH, f"{_shown(reference)}: {what}") from error
        outside = outside or not inside
    if outside:
        reason = f"{_shown(reference)} leads out of the image folders"
        raise ImageProblem(Status.REFUSED_PATH, reason)
    where = "is a folder or a device, not a file" if no_file else "is in none of the image folders"
    raise ImageProblem(Status.MISSING_IMAGE, f"{_shown(reference)} {where}")


def open_image(path: Path) -> Image.Image:
    """The decoded image in RGB, upright by its EXIF orientation; the first frame of several.

    Colours under a transparent pixel show, as in the training code of the common models. Raises
    ImageProblem (``bad_image``) for what is no image, cut off, or larger than MAX_PIXELS.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageProblem(Status.BAD_IMAGE, _too_large(path, image.size))
            return to_rgb(_upright(image))
    except FileNotFoundError:
        raise ImageProblem(Status.MISSING_IMAGE, f"{path.name} is gone") from None
    except UnidentifiedImageError:
        raise ImageProblem(Status.BAD_IMAGE, _unidentified(path)) from None
    except Image.DecompressionBombError:
        raise ImageProblem(Status.BAD_IMAGE, _too_large(path)) from None
    except MemoryError:
        reason = f"{path.name} takes more memory to decode than there is"
        raise ImageProblem(Status.BAD_IMAGE, reason) from None
    except ImageProblem:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        what = getattr(error, "strerror", None) or error
        raise ImageProblem(Status.BAD_IMAGE, f"{path.name}: {what}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its metadata says; metadata that cannot be read say nothing."""
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - the picture itself decodes
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _too_large(path: Path, size: tuple[int, int] | None = None) -> str:
    if size is None:  # the decoder refused before it told
        return f"{path.name} has more pixels than the limit of {MAX_PIXELS:,}"
    return f"{path.name} has {size[0]} x {size[1]} pixels, over the limit of {MAX_PIXELS:,}"


def to_rgb(image: Image.Image) -> Image.Image:
    """``image`` in RGB; 16-bit greys keep their range instead of being clipped to white."""
    if image.mode == "I" and image.getextrema()[1] > 255:  # type: ignore[operator]
        image = image.point(lambda value: value / 256)
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def _unidentified(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(40)
    if not start:
        return f"{path.name} is empty"
    if start.startswith(b"version https://git-lfs"):
        return f"{path.name} is a Git LFS pointer, not the image; fetch it with: git lfs pull"
    return f"{path.name} is not an image in a supported format ({', '.join(FORMATS)})"


def _shown(reference: str) -> str:
    """The reference as it can be told: a record may hold anything as a path."""
    if len(reference) > _SHOWN_CHARACTERS:
        reference = reference[:_SHOWN_CHARACTERS] + "..."
    return repr(reference)
