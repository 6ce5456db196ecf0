"""Write WebDataset shards: tar files whose samples are a record and its images under one key.

Headers have no owner and no time, which makes a shard the same bytes on every machine. Members have
the same names in every sample and shard: readers that fix their columns by the first samples would
skip images with other names.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

import pyarrow.compute as pc

from scoring.exports.export_plan import ExportPlan
from scoring.exports.export_records import read_records
from scoring.exports.files import BytesFile, Chunk, OutputFile
from scoring.exports.images import image_suffix, read_image
from scoring.images.decode import ImageProblem

SHARD_SAMPLES = 5_000


def shard_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return ``samples-000000.tar`` ...

    The key of a sample is its row_idx; members are ``KEY.json`` and ``KEY.jpg`` (``KEY.0.jpg``,
    ``KEY.1.jpg`` ... in every sample if any has several images). A repeated sample has the keys
    ``KEY-1`` ... Every image is called ``.jpg``, and its bytes are unchanged:
    readers choose the image decoder by the suffix, and the format by the bytes.
    """
    if plan.options.version > 2:
        numbers = (table.column("n_images") for _, table in plan.read_tables(["n_images"]))
        plan.stats.most_images = max((pc.max(column).as_py() for column in numbers), default=0)
    tables = (table for _, table in plan.read_tables(["images"]))
    images = (references for table in tables for references in table.column("images").to_pylist())
    samples = zip(read_records(plan), images, strict=True)
    return [
        BytesFile(f"samples-{start // SHARD_SAMPLES:06d}.tar", _shard_chunks(plan, samples, start))
        for start in range(0, max(1, len(plan.rows)), SHARD_SAMPLES)
    ]


def _shard_chunks(
    plan: ExportPlan, samples: Iterator[tuple[bytes, list[str]]], start: int
) -> Iterator[Chunk]:
    """Yield a shard from the record and images of each sample, which all shards share."""
    for position in range(start, min(start + SHARD_SAMPLES, len(plan.rows))):
        record, references = next(samples)
        row_idx, n_repeats = int(plan.rows[position]), plan.n_repeats(position)
        images = _read_images(plan, position, references) if n_repeats else []
        for repeat in range(n_repeats):
            key = f"{row_idx:09d}" + (f"-{repeat}" if repeat else "")
            yield row_idx, tar_member(f"{key}.json", record)
            for suffix, content in images:
                yield None, tar_member(key + suffix, content)
    yield None, b"\0" * (2 * tarfile.BLOCKSIZE)


def _read_images(plan: ExportPlan, position: int, references: list[str]) -> list[tuple[str, bytes]]:
    """Return (suffix, bytes) of the images that are present and can be decoded."""
    has_format_suffix = plan.options.version < 3
    is_numbered = (len(references) if has_format_suffix else plan.stats.most_images) > 1
    images: list[tuple[str, bytes]] = []
    for number, reference in enumerate(references):
        try:
            content = read_image(plan, position, reference)
        except ImageProblem:
            continue
        suffix = image_suffix(content) if has_format_suffix else ".jpg"
        images.append((f".{number}{suffix}" if is_numbered else suffix, content))
    return images


def tar_member(name: str, content: bytes) -> bytes:
    """Return a regular file in ustar form, padded to whole blocks."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return header + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)
