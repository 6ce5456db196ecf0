"""Finds and decodes the images of samples, and refuses what must not be opened.

Dataset content is hostile until proven otherwise: a reference is resolved only inside the
declared image roots, links included, and only common raster formats are decoded, up to a size.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from scoring.samples import Status

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 100_000_000
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")


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
        raise ImageProblem(Status.REFUSED_PATH, f"{reference!r} is not a path of a local file")
    outside = False
    for root in roots:
        try:
            path = (root / reference).resolve()
            inside = path.is_relative_to(root.resolve())
            if inside and path.is_file():
                return path
        except OSError as error:
            raise ImageProblem(Status.REFUSED_PATH, f"{reference!r}: {error.strerror}") from error
        outside = outside or not inside
    if outside:
        raise ImageProblem(Status.REFUSED_PATH, f"{reference!r} leads out of the image folders")
    raise ImageProblem(Status.MISSING_IMAGE, f"{reference!r} is in none of the image folders")


def open_image(path: Path) -> Image.Image:
    """The decoded image in RGB, upright by its EXIF orientation; the first frame of several.

    Raises ImageProblem (``bad_image``) for what is no image, cut off, or larger than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as image:
            warnings.simplefilter("ignore")
            if image.width * image.height > MAX_PIXELS:
                raise ImageProblem(
                    Status.BAD_IMAGE,
                    f"{path.name} has {image.width} x {image.height} pixels, over the limit of "
                    f"{MAX_PIXELS:,}",
                )
            return to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise ImageProblem(Status.MISSING_IMAGE, f"{path.name} is gone") from None
    except UnidentifiedImageError:
        raise ImageProblem(Status.BAD_IMAGE, _unidentified(path)) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageProblem(Status.BAD_IMAGE, f"{path.name}: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """``image`` in RGB; 16-bit greys keep their range instead of being clipped to white."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def _unidentified(path: Path) -> str:
    start = path.open("rb").read(40)
    if not start:
        return f"{path.name} is empty"
    if start.startswith(b"version https://git-lfs"):
        return f"{path.name} is a Git LFS pointer, not the image; fetch it with: git lfs pull"
    return f"{path.name} is not an image in a supported format ({', '.join(FORMATS)})"
