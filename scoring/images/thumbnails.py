"""Small pictures for the pages, made while scoring or on demand, kept in a capped, packed cache.

Ten million samples of 9 KB each would be 90 GB in ten million files; so thumbnails are appended to
a few pack files, and the oldest pack goes when the cap is reached. The packs are no truth: they may
be deleted at any time, a torn or damaged entry is simply made again, and several processes may
write, each into packs of its own.
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
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from PIL import Image

from scoring.images.decode import ImageLocation, ImageProblem, open_image, resolve_image
from scoring.workspace import Workspace

__all__ = ["ImageProblem", "PackedCache", "encode_image", "load_thumbnail", "thumbnail_writer"]

SIZE: Final = 320  # half of the usual photograph, so that it is decoded to that and not resampled
QUALITY: Final = 75  # of a JPEG that pages show at half its size
CAP_BYTES: Final = 512 << 20
PACK_BYTES: Final = 16 << 20
MEMORY_BYTES: Final = 48 << 20
LOOK_SECONDS: Final = 2.0
_LOSSLESS_PIXELS = 256 * 256
_HEADER = struct.Struct("<16sI16s")  # key, length, digest of the content
_caches: dict[Path, PackedCache] = {}
_caches_lock = threading.Lock()


def load_thumbnail(workspace: Workspace, reference: str, size: int = SIZE) -> bytes:
    """A JPEG of at most ``size`` x ``size`` pixels of the image that ``reference`` names.

    The image is resolved inside the workspace's image roots only. Raises ImageProblem
    (missing_image, bad_image, refused_path) for what cannot be shown; problems are not cached.
    """
    place = resolve_image(reference, workspace.image_roots)
    key = _key(place, size)
    cache = _cache_of(workspace.thumbnails_dir)
    content = cache.read(key)
    if content is None:
        content = _encode_small(open_image(place, size), size)
        cache.write(key, content)
    return content


def thumbnail_writer(workspace: Workspace) -> Callable[[ImageLocation, Image.Image], None]:
    """What keeps the thumbnail of an image that was opened for scoring, while there is room.

    It stops short of the cap, so that nothing is evicted for it, and nothing that goes wrong here
    is told: what is not kept is made when a page asks for it.
    """
    cache = _cache_of(workspace.thumbnails_dir)

    def keep(place: ImageLocation, image: Image.Image) -> None:
        try:
            key = _key(place, SIZE)
            if not cache.is_full() and not cache.has(key):
                cache.write(key, _encode_small(image, SIZE), remember=False)
        except Exception:  # noqa: BLE001 - a small picture must never cost a run
            return

    return keep


def _key(place: ImageLocation, size: int) -> bytes:
    identity = f"{place.cache_key()}\0{size}"
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).digest()[:16]


def encode_image(image: Image.Image, size: int) -> bytes:
    """``image`` shrunk to fit ``size`` x ``size``, as PNG or JPEG; never enlarged.

    Small pictures stay lossless, so that a curator sees the pixels the model saw.
    """
    image = _shrunk(image, size)
    buffer = io.BytesIO()
    if image.width * image.height <= _LOSSLESS_PIXELS:
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=84, optimize=True)
    return buffer.getvalue()


def _encode_small(image: Image.Image, size: int) -> bytes:
    buffer = io.BytesIO()
    _shrunk(image, size).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _shrunk(image: Image.Image, size: int) -> Image.Image:
    image = image.convert("RGB")
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def _cache_of(folder: Path) -> PackedCache:
    with _caches_lock:
        if folder not in _caches:
            _caches[folder] = PackedCache(folder)
        return _caches[folder]


class PackedCache:
    """Key -> bytes in append-only pack files under ``folder``, with a part of it in memory.

    Safe between threads and between processes; what others have added is found within
    LOOK_SECONDS. A cache that cannot be written (a full or a read-only disk) goes on in memory.
    """

    def __init__(
        self,
        folder: Path,
        cap_bytes: int = CAP_BYTES,
        pack_bytes: int = PACK_BYTES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._folder = folder
        self._cap, self._pack_bytes, self._memory_cap = cap_bytes, pack_bytes, memory_bytes
        self._lock = threading.Lock()
        self._places: dict[bytes, tuple[Path, int, int]] = {}  # key -> pack, offset, length
        self._memory: OrderedDict[bytes, bytes] = OrderedDict()
        self._memory_used = 0
        self._own: Path | None = None
        self._ends: dict[Path, int] = {}  # how far each pack was read
        self._looked = -math.inf
        with self._lock:
            self._look()

    def is_full(self) -> bool:
        """Whether more could only be kept at the cost of what is there, others' packs included."""
        with self._lock:
            self._look()
            return sum(self._ends.values()) >= self._cap - self._pack_bytes

    def has(self, key: bytes) -> bool:
        """Whether there is something under ``key``, for all that is known without looking."""
        return key in self._places

    def read(self, key: bytes) -> bytes | None:
        """The content under ``key``, or None where it has to be made."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
            if key not in self._places:
                self._look()
            place = self._places.get(key)
        content = None if place is None else _read_entry(*place, key)
        with self._lock:
            if content is None:
                self._places.pop(key, None)
            else:
                self._remember(key, content)
        return content

    def write(self, key: bytes, content: bytes, remember: bool = True) -> None:
        """Keeps ``content`` under ``key``; the oldest pack goes when there is no room."""
        with self._lock:
            if remember:
                self._remember(key, content)
            try:
                self._append(key, content)
            except OSError:  # a cache that cannot be written stays in memory
                self._own = None

    def _remember(self, key: bytes, content: bytes) -> None:
        self._memory_used += len(content) - len(self._memory.pop(key, b""))
        self._memory[key] = content
        while self._memory_used > self._memory_cap and self._memory:
            _, dropped = self._memory.popitem(last=False)
            self._memory_used -= len(dropped)

    def _append(self, key: bytes, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._own is None or not self._own.exists():
            self._own = self._folder / f"pack-{uuid.uuid4().hex}.bin"
        entry = _HEADER.pack(key, len(content), _digest(content)) + content
        with self._own.open("ab") as file:
            offset = file.tell()
            file.write(entry)
        self._places[key] = (self._own, offset + _HEADER.size, len(content))
        self._ends[self._own] = offset + len(entry)
        if offset + len(entry) >= self._pack_bytes:
            self._own = None
            self._evict()

    def _evict(self) -> None:
        """Deletes the oldest packs until the rest fits; another process may do so as well."""
        packs = [(pack, pack.stat().st_size) for pack in self._packs()]
        total = sum(size for _, size in packs)
        for pack, size in packs:
            if total <= self._cap:
                break
            pack.unlink(missing_ok=True)
            total -= size
            self._ends.pop(pack, None)
            self._places = {k: place for k, place in self._places.items() if place[0] != pack}

    def _packs(self) -> list[Path]:
        """The packs, oldest first."""
        packs = []
        for path in self._folder.glob("pack-*.bin"):
            try:
                packs.append((path.stat().st_mtime_ns, path.name, path))
            except FileNotFoundError:
                continue
        return [path for _, _, path in sorted(packs)]

    def _look(self) -> None:
        """Takes in what other processes have added, at most every LOOK_SECONDS."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        packs = self._packs()
        for gone in self._ends.keys() - set(packs):
            del self._ends[gone]
        for pack in packs:
            self._index(pack)
        self._looked = time.monotonic()

    def _index(self, pack: Path) -> None:
        """Notes where each whole entry of a pack lies, from where that was last done; a torn last
        one is left out until it is whole."""
        try:
            with pack.open("rb") as file:
                end = os.fstat(file.fileno()).st_size
                file.seek(self._ends.setdefault(pack, 0))
                while header := file.read(_HEADER.size):
                    if len(header) < _HEADER.size:
                        break
                    key, length, _ = _HEADER.unpack(header)
                    offset = file.tell()
                    if offset + length > end:
                        break
                    self._places[key] = (pack, offset, length)
                    file.seek(length, os.SEEK_CUR)
                    self._ends[pack] = offset + length
        except OSError:
            return


def _read_entry(pack: Path, offset: int, length: int, key: bytes) -> bytes | None:
    """An entry whose key and digest are right, or None."""
    try:
        with pack.open("rb") as file:
            file.seek(offset - _HEADER.size)
            stored_key, stored_length, digest = _HEADER.unpack(file.read(_HEADER.size))
            content = file.read(length)
    except (OSError, struct.error):
        return None
    whole = stored_key == key and stored_length == length and digest == _digest(content)
    return content if whole else None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
