"""Small questions about the values of a record: its images, its lists, its media.

Images that lie inside a record (base64, data: URLs, bytes of a column) are replaced by a reference
to their place before anything else looks at the record, so that no reader carries pixels around.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import quote

from scoring.readers.conversation import BadRecord, clean_text, shown

IMAGE_KEYS = (
    "image",
    "images",
    "image_path",
    "image_paths",
    "image_ids",
    "img",
    "file_name",
    "filename",
    "image_file",
)
BYTES_KEYS = ("bytes", "base64", "image_bytes", "data", "b64", "b64_json")
EMBEDDED = "\0embedded"
"""Stands for an image that another row of the same file holds."""
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*,")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{128}")
_MAGIC = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0A")  # of image formats
_SHORT, _LONG = 64, 256


class Inline(str):
    """A reference to an image that lies inside a record."""

    __slots__ = ()


def inline_images(value: object, prefix: str, at: str = "", key: str = "") -> object:
    """``value`` with every image inside it replaced by its reference ``prefix&at=/pointer``.

    ``at`` is the JSON pointer of ``value``, each step percent-encoded; ``key`` the nearest key.
    """
    if isinstance(value, dict):
        return {
            name: inline_images(inner, prefix, f"{at}/{_quoted(name)}", str(name))
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [inline_images(v, prefix, f"{at}/{i}", key) for i, v in enumerate(value)]
    if (isinstance(value, bytes) and value) or (isinstance(value, str) and _holds(value, key)):
        return Inline(f"{prefix}&at={at}")
    return value


def _quoted(name: object) -> str:
    return quote(str(name), safe="", errors="surrogatepass")


def _holds(text: str, key: str) -> bool:
    if text == EMBEDDED or _DATA_URL.match(text[:100]):
        return True
    if key not in IMAGE_KEYS and key not in BYTES_KEYS:
        return False
    known = len(text) >= _SHORT and text.startswith(_MAGIC)
    return known or (len(text) >= _LONG and _BASE64.match(text) is not None)


def may_hold_image(original: bytes) -> bool:
    """Whether it is worth looking for images inside a record; cheap, and never wrongly False."""
    return b"data:" in original or (len(original) >= _SHORT and _HAS_BASE64(original) is not None)


_HAS_BASE64 = re.compile(rb'"[A-Za-z0-9+/_\\-]{64}').search


def as_list(value: object) -> list[object] | None:
    """A list, or one that was written as JSON text; None for anything else."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    return None


def record_images(value: Mapping[str, object]) -> tuple[list[str], dict[str, str] | None]:
    """The images that a record lists beside its messages; by placeholder where it names them so.

    Raises BadRecord for what is no image.
    """
    embedded = value.get("image_bytes")
    if isinstance(embedded, list) and embedded and all(isinstance(e, Inline) for e in embedded):
        return list(embedded), None
    for key in IMAGE_KEYS:
        found = _present(value.get(key))
        if not found:
            continue
        if isinstance(found, dict) and found and all(str(name).startswith("<") for name in found):
            named = {str(name): _reference(key, inner) for name, inner in found.items()}
            return [], named
        listed = found if isinstance(found, list) else written_list(found)
        return [_reference(key, one) for one in listed], None
    return [], None


def _present(found: object) -> object:
    """``found`` without structs of nulls, which say in a table that there is no image."""
    if isinstance(found, list):
        return [one for one in found if not _is_void(one)]
    return None if _is_void(found) else found


def _is_void(one: object) -> bool:
    if not isinstance(one, dict) or not {"bytes", "path"} <= one.keys():
        return False
    return all(inner is None for inner in one.values())


def media_reason(value: Mapping[str, object]) -> str | None:
    """Why a record is no matter of images alone: it holds a video or a sound."""
    for key in MEDIA_KEYS & value.keys():
        if value[key]:
            return _SOUND if key.startswith("audio") else _VIDEO
    for key in MESSAGE_KEYS & value.keys():
        listed = value[key]
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict):
                kind = one.get("type")
                if isinstance(kind, str) and kind in OTHER_TYPES:
                    return _SOUND if "audio" in kind else _VIDEO
                if not one.keys().isdisjoint(_NESTED_KEYS) and (reason := media_reason(one)):
                    return reason
    return None


_VIDEO, _SOUND = "video records are not scored", "records with sound are not scored"
MEDIA_KEYS = frozenset(("video", "videos", "audio", "audios"))
MESSAGE_KEYS = frozenset(("messages", "conversations", "conversation", "prompt", "content"))
_NESTED_KEYS = MEDIA_KEYS | {"content"}


OTHER_TYPES = ("video", "video_url", "audio", "input_audio", "audio_url")


def written_list(found: object) -> list[object]:
    """Benchmark tables write a list of paths as text; a file name may begin with a bracket too."""
    if isinstance(found, str) and found.startswith("[") and found.rstrip().endswith("]"):
        return as_list(found) or as_list(found.replace("'", '"')) or [found]
    return [found]


def _reference(key: str, value: object) -> str:
    reference = image_reference(value)
    if not reference:
        raise BadRecord(f"{key!r} is a path or a list of paths, this is {shown(value)}")
    return reference


def image_reference(value: object) -> str | None:
    """The reference that one image is named by: a path, or a struct with a path or with bytes."""
    if isinstance(value, Inline):
        return value
    if isinstance(value, str):
        return clean_text(value) or None
    if isinstance(value, dict):
        for key in (*BYTES_KEYS, "path", "url", "image_url", "file_name", "filename", "image"):
            if found := image_reference(value.get(key)):
                return found
    return None
