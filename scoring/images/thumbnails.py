"""Thumbnails for the pages, made during scoring or on demand and cached in pack files.

Ten million samples of 9 KB each would be 90 GB in ten million files, so thumbnails are appended to
a few pack files, and the oldest pack is deleted when the size limit is reached. Packs may be
deleted at any time, incomplete or damaged entries are made again, and several processes may write,
each into its own packs.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from cachetools import LRUCache
from PIL import Image

from scoring.images.decode import ImageLocation, open_image, read_ahead, resolve_image
from scoring.workspace import Workspace

SIZE: Final = 320  # half of a typical photo: decoded to that size instead of resampled
QUALITY: Final = 75  # of a JPEG that pages show at half its size
CAP_BYTES: Final = 512 << 20
PACK_BYTES: Final = 16 << 20
MEMORY_BYTES: Final = 48 << 20
LOOK_SECONDS: Final = 2.0
_LOSSLESS_PIXELS = 256 * 256
_COPY = b"\0same as "  # and the key of equal images: the thumbnail is stored there
_HEADER = struct.Struct("<16sI16s")  # key, length, digest of the content


def load_thumbnail(workspace: Workspace, reference: str, size: int = SIZE) -> bytes:
    """Return a JPEG of at most ``size`` x ``size`` pixels of the image that ``reference`` names.

    It is resolved only inside the workspace's image roots. Raises ImageProblem for an image that
    cannot be shown; problems are not cached.
    """
    location = resolve_image(reference, workspace.image_roots)
    key = _cache_key(location, size)
    cache = open_thumbnail_cache(workspace.thumbnails_dir)
    content = cache.read(key)
    if content is not None and content.startswith(_COPY):
        content = cache.read(content.removeprefix(_COPY))
    if content is not None:
        return content
    location = read_ahead(location)
    shared = _content_key(location, size)
    content = cache.read(shared) if shared else None
    if content is None:
        content = _encode_jpeg(open_image(location, size), size)
        cache.write(shared or key, content)
    if shared:
        cache.write(key, _COPY + shared)
    return content


def thumbnail_writer(workspace: Workspace) -> Callable[[ImageLocation, Image.Image], None]:
    """Return a function that stores thumbnails of images opened for scoring, while there is space.

    It stops below the size limit, so nothing is evicted for it, and ignores all errors: missing
    thumbnails are made when a page requests them.
    """
    cache = open_thumbnail_cache(workspace.thumbnails_dir)

    def write_thumbnail(location: ImageLocation, image: Image.Image) -> None:
        with suppress(Exception):  # a thumbnail must never stop a run
            key = _cache_key(location, SIZE)
            if not cache.is_full() and not cache.contains(key):
                shared = _content_key(location, SIZE)
                if not (shared and cache.contains(shared)):
                    cache.write(shared or key, _encode_jpeg(image, SIZE), remember=False)
                if shared:
                    cache.write(key, _COPY + shared, remember=False)

    return write_thumbnail


def _cache_key(location: ImageLocation, size: int) -> bytes:
    identity = f"{location.cache_key()}\0{size}"
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).digest()[:16]


def _content_key(location: ImageLocation, size: int) -> bytes | None:
    """Return a key that equal images share; None if the content was not read."""
    if location.content is None:
        return None
    digest = hashlib.sha256(location.content)
    digest.update(f"\0{location.box}\0{size}".encode())
    return digest.digest()[:16]


def encode_image(image: Image.Image, size: int) -> bytes:
    """Encode ``image``, shrunk to fit ``size`` x ``size`` and never enlarged, as PNG or JPEG.

    Small images stay lossless, so a curator sees the pixels that the model saw.
    """
    image = _shrink(image, size)
    buffer = io.BytesIO()
    if image.width * image.height <= _LOSSLESS_PIXELS:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=84, optimize=True)
    return buffer.getvalue()


def _encode_jpeg(image: Image.Image, size: int) -> bytes:
    buffer = io.BytesIO()
    _shrink(image, size).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _shrink(image: Image.Image, size: int) -> Image.Image:
    image = image.convert("RGB")
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


class PackedCache:
    """Key -> bytes in append-only pack files under ``folder``, partly held in memory.

    Safe for threads and processes; entries from other processes are found within LOOK_SECONDS. If
    the disk is full or read-only, the cache works in memory.
    """

    def __init__(
        self,
        folder: Path,
        cap_bytes: int = CAP_BYTES,
        pack_bytes: int = PACK_BYTES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._folder = folder
        self._cap, self._pack_bytes = cap_bytes, pack_bytes
        self._lock = threading.Lock()
        self._entries: dict[bytes, tuple[Path, int, int]] = {}  # key -> pack, offset, length
        self._memory: LRUCache[bytes, bytes] = LRUCache(memory_bytes, getsizeof=len)
        self._own: Path | None = None
        self._ends: dict[Path, int] = {}  # number of bytes of each pack that are indexed
        self._refreshed_at = -math.inf
        with self._lock:
            self._refresh()

    def is_full(self) -> bool:
        """Return whether adding more would evict entries, including those of other processes."""
        with self._lock:
            self._refresh()
            return sum(self._ends.values()) >= self._cap - self._pack_bytes

    def contains(self, key: bytes) -> bool:
        """Return whether ``key`` is known, without checking for new entries on disk."""
        return key in self._entries

    def read(self, key: bytes) -> bytes | None:
        """Return the content under ``key``, or None if there is none."""
        with self._lock:
            if key in self._memory:
                return self._memory[key]
            if key not in self._entries:
                self._refresh()
            entry = self._entries.get(key)
        content = None if entry is None else _read_entry(*entry, key)
        with self._lock:
            if content is None:
                self._entries.pop(key, None)
            else:
                self._remember(key, content)
        return content

    def write(self, key: bytes, content: bytes, remember: bool = True) -> None:
        """Store ``content`` under ``key``; deletes the oldest packs above the size limit."""
        with self._lock:
            if remember:
                self._remember(key, content)
            try:
                self._append(key, content)
            except OSError:  # continue in memory
                self._own = None

    def _remember(self, key: bytes, content: bytes) -> None:
        with suppress(ValueError):  # larger than the whole memory
            self._memory[key] = content

    def _append(self, key: bytes, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._own is None or not self._own.exists():
            self._own = self._folder / f"pack-{uuid.uuid4().hex}.bin"
        entry = _HEADER.pack(key, len(content), _hash_content(content)) + content
        with self._own.open("ab") as file:
            offset = file.tell()
            file.write(entry)
        self._entries[key] = (self._own, offset + _HEADER.size, len(content))
        self._ends[self._own] = offset + len(entry)
        if self._ends[self._own] < self._pack_bytes:
            return
        # Delete the oldest packs until the rest fits; other processes may do the same.
        self._own = None
        packs = [(pack, pack.stat().st_size) for pack in self._list_packs()]
        total = sum(size for _, size in packs)
        for pack, size in packs:
            if total <= self._cap:
                break
            pack.unlink(missing_ok=True)
            total -= size
            self._ends.pop(pack, None)
            self._entries = {key: e for key, e in self._entries.items() if e[0] != pack}

    def _list_packs(self) -> list[Path]:
        """Return the packs, oldest first."""
        packs = []
        for path in self._folder.glob("pack-*.bin"):
            with suppress(FileNotFoundError):
                packs.append((path.stat().st_mtime_ns, path.name, path))
        return [path for _, _, path in sorted(packs)]

    def _refresh(self) -> None:
        """Index entries from other processes, at most every LOOK_SECONDS."""
        if time.monotonic() - self._refreshed_at < LOOK_SECONDS:
            return
        packs = self._list_packs()
        for deleted in self._ends.keys() - set(packs):
            del self._ends[deleted]
        for pack in packs:
            with suppress(OSError), pack.open("rb") as file:
                end = os.fstat(file.fileno()).st_size
                file.seek(self._ends.setdefault(pack, 0))
                while len(header := file.read(_HEADER.size)) == _HEADER.size:
                    key, length, _ = _HEADER.unpack(header)
                    offset = file.tell()
                    if offset + length > end:
                        break  # incomplete, it has to wait
                    self._entries[key] = (pack, offset, length)
                    file.seek(length, os.SEEK_CUR)
                    self._ends[pack] = offset + length
        self._refreshed_at = time.monotonic()


@cache
def open_thumbnail_cache(folder: Path) -> PackedCache:
    """Return this process's cache of a folder."""
    return PackedCache(folder)


def _read_entry(pack: Path, offset: int, length: int, key: bytes) -> bytes | None:
    """Return the content of an entry, or None if its key or digest is wrong."""
    try:
        with pack.open("rb") as file:
            file.seek(offset - _HEADER.size)
            stored_key, stored_length, digest = _HEADER.unpack(file.read(_HEADER.size))
            content = file.read(length)
    except (OSError, struct.error):
        return None
    is_intact = stored_key == key and stored_length == length and digest == _hash_content(content)
    return content if is_intact else None


def _hash_content(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
