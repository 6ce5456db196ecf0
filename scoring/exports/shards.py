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
from scoring.exports.export_records import ExportRecord, read_records
from scoring.exports.files import BytesFile, Chunk, OutputFile
from scoring.exports.images import ImagesFile, image_suffix
from scoring.images.decode import ImageProblem

SHARD_SAMPLES = 5_000
_SUFFIX = ".jpg"


def shard_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return ``samples-000000.tar`` ..., and ``images.jsonl`` with their images and missing ones.

    The key of a sample is its row_idx; members are ``KEY.json`` and ``KEY.jpg`` (``KEY.0.jpg``,
    ``KEY.1.jpg`` ... in every sample if any has several images). A repeated sample has the keys
    ``KEY-1`` ... Every image is called ``.jpg``, and its bytes are unchanged:
    readers choose the image decoder by the suffix, and the format by the bytes.
    """
    n = max(1, -(-len(plan.rows) // SHARD_SAMPLES))
    samples = _read_samples(plan)
    if plan.options.version > 2:
        plan.stats.most_images = _most_images(plan)
    files: list[OutputFile] = [
        BytesFile(f"samples-{shard:06d}.tar", _shard_chunks(plan, samples, shard))
        for shard in range(n)
    ]
    return [*files, image_list(plan, keep=False)]


def image_list(plan: ExportPlan, link: bool = False, keep: bool = True) -> ImagesFile:
    """Return the list of all images used, with the image files next to it if ``keep``."""
    return ImagesFile(
        plan.read_references(),
        plan.workspace.image_roots,
        link,
        keep,
        plan.stats.images,
        plan.stats.undecodable,
        plan.options.version,
    )


def tar_member(name: str, content: bytes) -> bytes:
    """Return a regular file in ustar form, padded to whole blocks."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return header + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)


def _read_samples(plan: ExportPlan) -> Iterator[tuple[ExportRecord, list[str]]]:
    """Yield records with the images of each."""
    tables = (table for _, table in plan.read_tables(["images"]))
    images = (references for table in tables for references in table.column("images").to_pylist())
    return zip(read_records(plan), images, strict=True)


def _most_images(plan: ExportPlan) -> int:
    tables = (table for _, table in plan.read_tables(["n_images"]))
    return max((pc.max(table.column("n_images")).as_py() for table in tables), default=0)


def _shard_chunks(
    plan: ExportPlan, samples: Iterator[tuple[ExportRecord, list[str]]], shard: int
) -> Iterator[Chunk]:
    first = shard * SHARD_SAMPLES
    for position in range(first, min(first + SHARD_SAMPLES, len(plan.rows))):
        record, references = next(samples)
        n_repeats = plan.n_repeats(position)
        images = _read_images(plan, position, references) if n_repeats else []
        for repeat in range(n_repeats):
            key = f"{record.row_idx:09d}" + (f"-{repeat}" if repeat else "")
            yield record.row_idx, tar_member(f"{key}.json", record.record)
            for suffix, content in images:
                yield None, tar_member(key + suffix, content)
    yield None, b"\0" * (2 * tarfile.BLOCKSIZE)


def _read_images(plan: ExportPlan, position: int, references: list[str]) -> list[tuple[str, bytes]]:
    """Return (suffix, bytes) of the images that are present and can be decoded."""
    suffix_by_format = plan.options.version < 3
    numbered = (len(references) if suffix_by_format else plan.stats.most_images) > 1
    images: list[tuple[str, bytes]] = []
    for number, reference in enumerate(references):
        try:
            content = plan.read_image(position, reference)
        except ImageProblem:
            continue
        suffix = image_suffix(content) if suffix_by_format else _SUFFIX
        images.append((f".{number}{suffix}" if numbered else suffix, content))
    return images
