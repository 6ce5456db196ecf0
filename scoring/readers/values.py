"""Small questions about the values of a record: its images, its lists, its media.

Images that lie inside a record (base64, data: URLs, bytes of a column) are replaced by a reference
to their place before anything else looks at the record, so that no reader carries pixels around.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Container, Mapping
from urllib.parse import quote

from scoring.readers.conversation import BadRecord, quote_value
from scoring.unicode_text import replace_surrogates

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
_NUMBERED = re.compile(r"(?:image|img)_?([0-9]{1,3})")
"""One image per column: ``image_1`` to ``image_7``, which the text calls ``<image 1>``."""
BYTES_KEYS = ("bytes", "base64", "image_bytes", "data", "b64", "b64_json")
_HOLDING = frozenset((*IMAGE_KEYS, *BYTES_KEYS))
SHARED_IMAGE = "\0embedded"
"""Stands for an image that another row of the same file holds."""
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*,")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{128}")
_MAGIC = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0A")  # of image formats
_SHORT, _LONG = 64, 256
_LONGEST_LIST = 1 << 20


class InlineReference(str):
    """A reference to an image that lies inside a record."""

    __slots__ = ()


def inline_images(
    value: object, prefix: str, at: str = "", key: str = "", named: str | None = None
) -> object:
    """``value`` with every image inside it replaced by its reference ``prefix&at=/pointer``.

    ``at`` is the JSON pointer of ``value``, each step percent-encoded; ``key`` the nearest key;
    ``named`` the key that the user named as the one of images.
    """
    if isinstance(value, dict):
        return {
            name: inline_images(inner, prefix, f"{at}/{_quoted(name)}", str(name), named)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [inline_images(v, prefix, f"{at}/{i}", key, named) for i, v in enumerate(value)]
    if isinstance(value, bytes) and value:
        return InlineReference(f"{prefix}&at={at}")
    if isinstance(value, str) and _holds(value, key == named or key in _HOLDING or _numbered(key)):
        return InlineReference(f"{prefix}&at={at}")
    return value


def _quoted(name: object) -> str:
    return quote(str(name), safe="", errors="surrogatepass")


def _numbered(key: str) -> bool:
    return _NUMBERED.fullmatch(key) is not None


def _holds(text: str, is_image_key: bool) -> bool:
    """Whether ``text`` is an image in base64, which under other keys is so by data: URLs only."""
    if text == SHARED_IMAGE or _DATA_URL.match(text[:100]):
        return True
    if not is_image_key:
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


def collect_images(value: Mapping[str, object]) -> tuple[list[str], dict[str, str] | None]:
    """The images that a record lists beside its messages; by placeholder where it names them so.

    Raises BadRecord for what is no image.
    """
    embedded = value.get("image_bytes")
    if (
        isinstance(embedded, list)
        and embedded
        and all(isinstance(e, InlineReference) for e in embedded)
    ):
        return list(embedded), None
    for key in IMAGE_KEYS:
        found = _present(value.get(key))
        if not found:
            continue
        if isinstance(found, dict) and found and all(str(name).startswith("<") for name in found):
            named = {str(name): _reference(key, inner) for name, inner in found.items()}
            return [], named
        listed = found if isinstance(found, list) else parse_list(found)
        return [_reference(key, one) for one in listed], None
    numbered = {
        int(match[1]): (key, found)
        for key, inner in value.items()
        if (match := _NUMBERED.fullmatch(str(key))) and (found := _present(inner))
    }
    return [], {f"<image {n}>": _reference(*numbered[n]) for n in sorted(numbered)} or None


def has_image(value: Mapping[str, object]) -> bool:
    """Whether a record names an image under one of the usual keys."""
    return any(inner and (key in IMAGE_KEYS or _numbered(str(key))) for key, inner in value.items())


def unread_images(value: Mapping[str, object], known: Container[str], any_read: bool) -> list[str]:
    """Return the keys beside the ``known`` ones that seem to hold an image that nobody reads.

    Where images were read (``any_read``), addresses and keys that do not speak of images are
    passed over: many records name the origin of their image.
    """
    found = [key for key, inner in value.items() if key not in known and seems_image(inner)]
    if found and not any(value.get(key) for key in IMAGE_KEYS):
        found = [key for key in found if not _numbered(key)]  # those are read
    if not any_read:
        return found
    return [key for key in found if _SPEAKS_OF_IMAGES(key) and not _IS_ADDRESS(str(value[key]))]


_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_SPEAKS_OF_IMAGES = re.compile("image|img|picture|photo", re.IGNORECASE).search
_IS_ADDRESS = re.compile("https?:", re.IGNORECASE).match


def seems_image(value: object) -> bool:
    """Return whether a value looks like an image: bytes, base64, a path or an address of one."""
    if isinstance(value, list):
        return bool(value) and seems_image(value[0])
    if isinstance(value, dict):
        return any(seems_image(value.get(key)) for key in ("bytes", "path", "url"))
    if isinstance(value, str):
        is_path = value[-5:].lower().endswith(_IMAGE_SUFFIXES) and "\n" not in value
        return is_path or _holds(value, True)
    return isinstance(value, bytes) and bool(value)


def _present(found: object) -> object:
    """``found`` without structs of nulls, which say in a table that there is no image."""
    if isinstance(found, list):
        return [one for one in found if not _is_void(one)]
    return None if _is_void(found) else found


def _is_void(one: object) -> bool:
    if not isinstance(one, dict) or not {"bytes", "path"} <= one.keys():
        return False
    return all(inner is None for inner in one.values())


def unsupported_media_reason(value: Mapping[str, object]) -> str | None:
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
                if not one.keys().isdisjoint(_NESTED_KEYS) and (
                    reason := unsupported_media_reason(one)
                ):
                    return reason
    return None


_VIDEO, _SOUND = "video records are not scored", "records with sound are not scored"
MEDIA_KEYS = frozenset(("video", "videos", "audio", "audios"))
MESSAGE_KEYS = frozenset(("messages", "conversations", "conversation", "prompt", "content"))
_NESTED_KEYS = MEDIA_KEYS | {"content"}


OTHER_TYPES = ("video", "video_url", "audio", "input_audio", "audio_url")


def parse_list(found: object) -> list[object]:
    """Benchmark tables write a list of paths as text; a file name may begin with a bracket too."""
    if isinstance(found, str) and found.startswith("[") and found.rstrip().endswith("]"):
        return as_list(found) or as_list(found.replace("'", '"')) or _python_list(found) or [found]
    return [found]


def _python_list(text: str) -> list[object] | None:
    """A list as Python prints it, which changes its quotes around an apostrophe."""
    try:
        found = ast.literal_eval(text) if len(text) < _LONGEST_LIST else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _reference(key: str, value: object) -> str:
    reference = find_reference(value)
    if not reference:
        raise BadRecord(f"{key!r} is a path or a list of paths, this is {quote_value(value)}")
    return reference


def find_reference(value: object) -> str | None:
    """The reference that one image is named by: a path, or a struct with a path or with bytes."""
    if isinstance(value, InlineReference):
        return value
    if isinstance(value, str):
        return replace_surrogates(value) or None
    if isinstance(value, dict):
        for key in (*BYTES_KEYS, "path", "url", "image_url", "file_name", "filename", "image"):
            if found := find_reference(value.get(key)):
                return found
    return None


SYSTEM_KEYS = ("system", "system_prompt", "system_message")


def find_system_prompt(value: Mapping[str, object]) -> str | None:
    """Return the system prompt that a record keeps beside its messages."""
    found = (value.get(key) for key in SYSTEM_KEYS)
    return next((text for text in found if isinstance(text, str) and text), None)
