"""Properties of reading any bytes as a dataset file, a list of datasets, or images by key.

The format of the whole file is detected and the file is read to its end. The result is samples that
can be stored, or one of our errors with an explanation. Parquet and Arrow columns are left out: a
fuzzer guided by coverage of our code would only test Arrow.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from scoring.errors import InputError, RecordError
from scoring.image_references import split_reference
from scoring.images.containers import EmbeddedProblem, index_keyed_images, read_embedded
from scoring.readers.options import ReadOptions
from scoring.readers.sources import SourceReader, open_sources
from scoring.samples import Sample
from tests.fuzz.samples import assert_writable

MAX_RECORDS = 2000
FIRST = 128
"""Inputs whose first byte is at least this are whole files; others go to a parser."""


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzzed")


def _dataset(path: Path, keep_going: bool) -> list[Sample]:
    """Return the samples of a file given as a dataset."""
    samples: list[Sample] = []
    options = ReadOptions(keep_going=keep_going)
    for source in open_sources([path], options):
        with SourceReader(source, options) as reading:
            for sample in reading.samples(len(samples)):
                assert sample.row_idx == len(samples)
                samples.append(sample)
                if len(samples) > MAX_RECORDS:
                    return samples
            assert len(reading.sha256()) == 64
    return samples


def _listed(path: Path, keep_going: bool) -> list[Sample]:
    """Return the samples of a list of datasets, next to a file that it may name."""
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    (path.parent / "data.json").write_text(json.dumps([{"image": "a.png", "conversations": turns}]))
    return _dataset(path, keep_going)


def _images(path: Path, keep_going: bool) -> list[Sample]:
    """Check that each image by key can be read at the position in its reference."""
    for reference in index_keyed_images([path]).values():
        parts = split_reference(reference)
        assert parts is not None
        file_name, position = parts
        assert file_name == path.name
        try:
            assert isinstance(read_embedded(path, position), bytes)
        except EmbeddedProblem as problem:
            assert str(problem)
    return []


Check = Callable[[Path, bool], list[Sample]]
KINDS: dict[str, tuple[str, Check]] = {
    "json": ("data.json", _dataset),
    "jsonl": ("data.jsonl", _dataset),
    "tar": ("data.tar", _dataset),
    "tsv": ("data.tsv", _dataset),
    "csv": ("data.csv", _dataset),
    "registry": ("dataset_info.json", _listed),
    "keyed": ("images.json", _images),
}
_NAMES = list(KINDS)


def tagged_file(kind: str, content: bytes, *, keep_going: bool = False) -> bytes:
    """Return an input whose first byte selects the file name."""
    return bytes([FIRST + _NAMES.index(kind) + keep_going * len(_NAMES)]) + content


def check_file(data: bytes) -> list[Sample]:
    """Read a whole file and check its samples; return them."""
    keep_going, kind = divmod(data[0] - FIRST, len(_NAMES))
    name, read = KINDS[_NAMES[kind]]
    path = Path(_folder().name) / name
    path.write_bytes(data[1:])
    try:
        samples = read(path, keep_going % 2 == 1)
    except (InputError, RecordError) as error:
        assert str(error), "a refusal gives a reason"
        return []
    for sample in samples:
        assert_writable(sample)
    return samples
