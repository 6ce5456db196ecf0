"""Helpers for the values of a record: its images, its lists, its media.

Images inside a record (base64, data: URLs, bytes in a column) are replaced by references to their
position before the record is parsed, so readers never carry image bytes.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

from scoring.image_references import digest_content
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
"""One image per column: ``image_1`` to ``image_7``, in the text ``<image 1>``."""
BYTES_KEYS = ("bytes", "base64", "image_bytes", "data", "b64", "b64_json")
_INLINE_KEYS = frozenset((*IMAGE_KEYS, *BYTES_KEYS))
SHARED_IMAGE = "\0embedded"
"""Placeholder for an image that is in another row of the same file."""
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*,")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{128}")
_SIGNATURES = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0A")  # in base64
_MIN_KNOWN_LENGTH, _MIN_LENGTH = 64, 256  # of base64, with and without an image signature
_MAX_LIST_LENGTH = 1 << 20


class InlineReference(str):
    """A reference to an image inside a record, with its bytes until ``read_digest`` is called.

    ``digest`` identifies the content and ``n_bytes`` is its length, where the record has bytes:
    decoding base64 would make an import 40 % slower.
    """

    __slots__ = ("_content", "digest", "n_bytes")
    digest: bytes | None
    n_bytes: int
    _content: bytes

    def __new__(cls, reference: str, value: object = None) -> InlineReference:
        """Create a reference; ``value`` is the image in the record."""
        inline = super().__new__(cls, reference)
        inline.digest, inline.n_bytes = None, 0
        inline._content = value if isinstance(value, bytes) else b""
        return inline

    def read_digest(self) -> None:
        """Determine ``digest`` and drop the bytes, so that stored samples stay small."""
        content, self._content = self._content, b""
        if content:
            self.digest, self.n_bytes = digest_content(content), len(content)


def replace_inline_images(
    value: object, prefix: str, at: str = "", key: str = "", image_key: str | None = None
) -> object:
    """Return ``value`` with each image inside it replaced by its reference ``prefix&at=/pointer``.

    ``at`` is the JSON pointer of ``value`` inside the record, each step percent-encoded; ``key`` is
    the nearest key; ``image_key`` is the key that the user named as the image column.
    """
    if isinstance(value, dict):
        steps = {name: quote(str(name), safe="", errors="surrogatepass") for name in value}
        return {
            name: replace_inline_images(inner, prefix, f"{at}/{steps[name]}", str(name), image_key)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [
            replace_inline_images(inner, prefix, f"{at}/{index}", key, image_key)
            for index, inner in enumerate(value)
        ]
    is_image = isinstance(value, bytes) and bool(value)
    if isinstance(value, str):
        is_named = key == image_key or key in _INLINE_KEYS or is_numbered(key)
        is_image = _is_encoded_image(value, is_named)
    return InlineReference(f"{prefix}&at={at}", value) if is_image else value


def is_numbered(key: str) -> bool:
    """Return whether a key is one of several columns with an image each."""
    return _NUMBERED.fullmatch(key) is not None


def _is_encoded_image(text: str, is_image_key: bool) -> bool:
    """Return whether ``text`` is an image: a data: URL, or base64 under an image key."""
    if text == SHARED_IMAGE or _DATA_URL.match(text[:100]):
        return True
    if not is_image_key:
        return False
    known = len(text) >= _MIN_KNOWN_LENGTH and text.startswith(_SIGNATURES)
    return known or (len(text) >= _MIN_LENGTH and _BASE64.match(text) is not None)


def may_contain_image(original: bytes) -> bool:
    """Return whether a record may contain an image. Cheap; False is always right."""
    return b"data:" in original or (
        len(original) >= _MIN_KNOWN_LENGTH and _HAS_BASE64(original) is not None
    )


_HAS_BASE64 = re.compile(rb'"[A-Za-z0-9+/_\\-]{64}').search


def as_list(value: object) -> list[object] | None:
    """Return a list, also one written as JSON text; None for anything else."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, list) else None
    return None


Images = tuple[list[str], dict[str, str] | None]
"""The images outside the messages: a list, or by placeholder if they are named so."""


def collect_images(value: Mapping[str, object]) -> Images:
    """Return the images outside the messages.

    Raises BadRecord for a value that is not an image.
    """
    inline = value.get("image_bytes")
    if isinstance(inline, list) and inline and all(isinstance(i, InlineReference) for i in inline):
        return list(inline), None
    for key in IMAGE_KEYS:
        images = _drop_null_images(value.get(key))
        if not images:
            continue
        if isinstance(images, dict) and all(str(name).startswith("<") for name in images):
            named = {str(name): _require_reference(key, inner) for name, inner in images.items()}
            return [], named
        listed = images if isinstance(images, list) else parse_list(images)
        return [_require_reference(key, image) for image in listed], None
    numbered = {
        int(match[1]): (key, image)
        for key, inner in value.items()
        if (match := _NUMBERED.fullmatch(str(key))) and (image := _drop_null_images(inner))
    }
    return [], {f"<image {n}>": _require_reference(*numbered[n]) for n in sorted(numbered)} or None


def has_image(value: Mapping[str, object]) -> bool:
    """Return whether a record has an image under one of the usual keys."""
    return any(
        inner and (key in IMAGE_KEYS or is_numbered(str(key))) for key, inner in value.items()
    )


_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def is_image_like(value: object) -> bool:
    """Return whether a value looks like an image: bytes, base64, a path or a URL."""
    if isinstance(value, list):
        return bool(value) and is_image_like(value[0])
    if isinstance(value, dict):
        return any(is_image_like(value.get(key)) for key in ("bytes", "path", "url"))
    if isinstance(value, str):
        is_path = value[-5:].lower().endswith(_IMAGE_SUFFIXES) and "\n" not in value
        return is_path or _is_encoded_image(value, True)
    return isinstance(value, bytes) and bool(value) and value[:1] not in b"{["  # JSON


def _drop_null_images(value: object) -> object:
    """Return ``value`` without structs of nulls, with which tables mark a missing image."""
    if isinstance(value, list):
        return [image for image in value if not _is_null_image(image)]
    return None if _is_null_image(value) else value


def _is_null_image(value: object) -> bool:
    if not isinstance(value, dict) or not {"bytes", "path"} <= value.keys():
        return False
    return all(inner is None for inner in value.values())


def unsupported_media_reason(value: Mapping[str, object]) -> str | None:
    """Return why a record is unsupported if it contains video or audio."""
    for key in MEDIA_KEYS & value.keys():
        if value[key]:
            return _AUDIO if key.startswith("audio") else _VIDEO
    for key in MESSAGE_KEYS & value.keys():
        listed = value[key]
        for part in listed if isinstance(listed, list) else ():
            if isinstance(part, dict):
                kind = part.get("type")
                if isinstance(kind, str) and kind in OTHER_TYPES:
                    return _AUDIO if "audio" in kind else _VIDEO
                is_nested = not part.keys().isdisjoint(_NESTED_KEYS)
                if is_nested and (reason := unsupported_media_reason(part)):
                    return reason
    return None


_VIDEO, _AUDIO = "video records are not scored", "records with audio are not scored"
MEDIA_KEYS = frozenset(("video", "videos", "audio", "audios"))
MESSAGE_KEYS = frozenset(("messages", "conversations", "conversation", "prompt", "content"))
_NESTED_KEYS = MEDIA_KEYS | {"content"}
SYSTEM_KEYS = ("system", "system_prompt", "system_message")
USUAL_KEYS = frozenset((*IMAGE_KEYS, "image_bytes", *MEDIA_KEYS, *MESSAGE_KEYS, *SYSTEM_KEYS))
OTHER_TYPES = ("video", "video_url", "audio", "input_audio", "audio_url")


def parse_list(value: object) -> list[object]:
    """Return a list that a benchmark table writes as text; anything else is its only element.

    A file name may start with a bracket too.
    """
    if isinstance(value, str) and value.startswith("[") and value.rstrip().endswith("]"):
        listed = as_list(value) or as_list(value.replace("'", '"'))
        # Python varies the quotes around an apostrophe when it prints a list.
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            if not listed and len(value) < _MAX_LIST_LENGTH:
                listed = ast.literal_eval(value)
        if listed and isinstance(listed, list):
            return listed
    return [value]


def _require_reference(key: str, value: object) -> str:
    reference = find_reference(value)
    if not reference:
        raise BadRecord(f"{key!r} must be a path or a list of paths, not {quote_value(value)}")
    return reference


def find_reference(value: object) -> str | None:
    """Return the reference to one image: a path, or a struct with a path or with bytes."""
    if isinstance(value, InlineReference):
        return value
    if isinstance(value, str):
        return replace_surrogates(value) or None
    if isinstance(value, dict):
        for key in (*BYTES_KEYS, "path", "url", "image_url", "file_name", "filename", "image"):
            if reference := find_reference(value.get(key)):
                return reference
    return None
