"""WebDataset: tar files whose samples are a record and its images under one key.

The one decision behind it: the tar headers are written by hand, without owner and moment, so that
a shard is the same bytes on every machine and can be compared as it streams. Members have the same
names in every sample and shard: readers that fix their columns by the first samples would pass over
images that are called otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.compute as pc

from scoring.exports.export_plan import ExportPlan, ExportRecord
from scoring.exports.files import BytesFile, Chunk, OutputFile
from scoring.exports.images import ImagesFile, image_suffix
from scoring.images.decode import ImageProblem

SHARD_SAMPLES = 5_000
_SUFFIX = ".jpg"
_BLOCK = 512


def shard_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """``samples-000000.tar`` ..., and ``images.jsonl``: which images they hold, which were missing.

    The key of a sample is its row_idx; members are ``KEY.json`` and ``KEY.jpg`` (``KEY.0.jpg``,
    ``KEY.1.jpg`` ... in every sample where any has several images). A repeated sample has the keys
    ``KEY-1`` ... An image is called ``.jpg`` whatever its kind, and its bytes are as they came:
    readers choose a decoder for images by the suffix, and the kind of image by the bytes.
    """
    n = max(1, -(-len(chosen.rows) // SHARD_SAMPLES))
    samples = _samples(chosen)
    if chosen.options.version > 2:
        chosen.tally.most_images = _most_images(chosen)
    files: list[OutputFile] = [
        BytesFile(
            f"samples-{place:06d}.tar",
            _shard(chosen, samples, (place + 1) * SHARD_SAMPLES),
        )
        for place in range(n)
    ]
    return [*files, image_list(chosen, keep=False)]


def image_list(chosen: ExportPlan, link: bool = False, keep: bool = True) -> ImagesFile:
    """The list of all images used, with the files themselves beside it where ``keep``."""
    return ImagesFile(
        chosen.references(),
        chosen.workspace.image_roots,
        link,
        keep,
        chosen.tally.images,
        chosen.tally.undecodable,
        chosen.options.version,
    )


def tar_member(name: str, content: bytes) -> bytes:
    """A regular file in ustar form, padded to whole blocks; ``name`` has at most 99 bytes."""
    fields = [
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,
        b"%011o\0" % len(content),
        b"00000000000\0",
        b" " * 8,  # the checksum counts as spaces
        b"0" + b"\0" * 100,
        b"ustar\x0000",
    ]
    header = b"".join(fields).ljust(_BLOCK, b"\0")
    header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    return header + content + b"\0" * (-len(content) % _BLOCK)


def _samples(chosen: ExportPlan) -> Iterator[tuple[ExportRecord, list[str]]]:
    """Records with the images of each; both streams go through the same rows."""
    images = chosen.tables(["images"])
    waiting: Iterator[list[str]] = iter(())
    for written in chosen.records():
        found = next(waiting, None)
        if found is None:
            waiting = iter(next(images)[1].column("images").to_pylist())
            found = next(waiting)
        yield written, found


def _most_images(chosen: ExportPlan) -> int:
    tables = (table for _, table in chosen.tables(["n_images"]))
    return max((pc.max(table.column("n_images")).as_py() for table in tables), default=0)


def _shard(
    chosen: ExportPlan, samples: Iterator[tuple[ExportRecord, list[str]]], end: int
) -> Iterator[Chunk]:
    place = end - SHARD_SAMPLES
    while place < min(end, len(chosen.rows)):
        written, references = next(samples)
        place = written.place + 1
        times = chosen.times(written.place)
        pictures = _pictures(chosen, written.place, references) if times else []
        for time in range(times):
            key = f"{written.row_idx:09d}" + (f"-{time}" if time else "")
            yield written.row_idx, tar_member(f"{key}.json", written.record)
            for suffix, content in pictures:
                yield None, tar_member(key + suffix, content)
    yield None, b"\0" * (2 * _BLOCK)


def _pictures(chosen: ExportPlan, place: int, references: list[str]) -> list[tuple[str, bytes]]:
    """(suffix, bytes) of the images that are there and can be decoded."""
    by_kind = chosen.options.version < 3
    several = (len(references) if by_kind else chosen.tally.most_images) > 1
    found: list[tuple[str, bytes]] = []
    for number, reference in enumerate(references):
        try:
            content = chosen.image_bytes(place, reference)
        except ImageProblem:
            continue
        suffix = image_suffix(content) if by_kind else _SUFFIX
        found.append((f".{number}{suffix}" if several else suffix, content))
    return found
