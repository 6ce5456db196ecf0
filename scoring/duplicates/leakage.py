"""Which samples of benchmarks are in the dataset: by image and by question, exactly and nearly.

Memory: about 100 bytes per image and one per sample and benchmark, and the texts of the benchmarks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scoring.columns.computed import ComputedColumn, check_names
from scoring.columns.parts import TEXT, ColumnRecord, column_name, list_columns, remove_column
from scoring.dataset.importing import open_or_import
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.duplicates import near_images, near_texts
from scoring.duplicates.benchmark_texts import RUN_WORDS, BenchmarkTexts
from scoring.duplicates.contents import ImageContents
from scoring.duplicates.image_matching import DatasetImages, ImageMatcher, make_matcher
from scoring.duplicates.near_vectors import find_similar
from scoring.duplicates.stored import store_computed
from scoring.duplicates.texts import Ints
from scoring.duplicates.vector_files import (
    VectorFile,
    VectorLeaks,
    read_dataset_vectors,
    read_vector_file,
)
from scoring.errors import InputError
from scoring.samples import Status
from scoring.workspace import Workspace

if TYPE_CHECKING:
    from scoring.clustering.image_embedder import ImageModel

COMMAND = "visnec check-leakage"
KINDS = IMAGE, NEAR_IMAGE, QUESTION, NEAR_QUESTION = (
    "image",
    "near-image",
    "question",
    "near-question",
)
"""How a sample leaks, strongest first: the value of a ``leak`` column is the first that applies."""
NONE = "none"
_VALUES = np.array([*KINDS, NONE])
_NONE, _UNKNOWN = len(KINDS), len(KINDS) + 1  # codes; others are positions in KINDS
_ASKED = (Status.PENDING, Status.TEXT_ONLY)
_COLUMNS = ("row_idx", "images", "question", "answer", "status")
_BATCH = 16_384
_EXAMPLES = 5

OnProgress = Callable[[int, int], None]
OnPhase = Callable[[str], None]
Codes = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class BenchmarkLeaks:
    """The samples of a benchmark that are in the dataset.

    ``leaked`` has their number by kind (a sample can have several kinds), ``n_leaked`` counts each
    once. ``n_dataset`` samples of the dataset leak. ``n_uncompared`` samples have a question that
    is too short to be compared, and ``n_unread`` an image that could not be read. ``examples`` are
    rows of the benchmark and of the dataset by kind.
    """

    name: str
    path: str
    n_samples: int
    leaked: Mapping[str, int]
    n_leaked: int
    n_dataset: int
    n_uncompared: int
    n_unread: int
    examples: Mapping[str, list[tuple[int, int]]]

    @property
    def share(self) -> float:
        """The share of the benchmark's samples that are in the dataset."""
        return self.n_leaked / self.n_samples


@dataclass(frozen=True, slots=True)
class LeakageReport:
    """The leaks of each benchmark and the columns ``leak`` and ``leak_NAME``.

    ``n_unread`` samples of the dataset have an image that could not be read, or without a vector,
    and no known leak.
    """

    benchmarks: tuple[BenchmarkLeaks, ...]
    columns: tuple[ColumnRecord, ...]
    n_samples: int
    n_unread: int

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values, with the share of each benchmark."""
        values = asdict(self)
        for row, each in zip(values["benchmarks"], self.benchmarks, strict=True):
            row["share"] = each.share
        return values


def check_leakage(
    workspace: Workspace,
    benchmarks: Mapping[str, Path],
    *,
    images: bool = True,
    threshold: float = near_texts.DEFAULT_THRESHOLD,
    distance: int = near_images.DEFAULT_DISTANCE,
    images_by: ImageModel | None = None,
    vectors: VectorLeaks | None = None,
    on_progress: OnProgress | None = None,
    on_phase: OnPhase | None = None,
) -> LeakageReport:
    """Compare benchmarks with a dataset and store which of its samples leak.

    Args:
        workspace: A workspace with a dataset.
        benchmarks: Workspaces or dataset files by name.
        images: Compare images too; those that are not hashed yet are read.
        threshold: The Jaccard similarity from which questions are nearly the same, 0.3 to 1.
        distance: The most bits of 64 in which near-duplicate images differ, 0 to 8.
        images_by: Compare images by the vectors of this embedding model instead of their hashes.
        vectors: Vectors of images that were computed elsewhere, and those of further benchmarks.
        on_progress: Called with (samples of the dataset compared, in total).
        on_phase: Called with the name of each step.

    Raises InputError for a benchmark that cannot be read or has no samples.
    """
    near_texts.check_threshold(threshold)
    matcher = make_matcher(distance, images_by)
    paths = [*benchmarks.items(), *(vectors.benchmarks.items() if vectors else ())]
    if not paths:
        raise InputError("Name the benchmarks to compare with: --benchmark FILE")
    names = {name: column_name(f"leak_{name}") for name, _ in paths}
    if len(names) < len(paths):
        raise InputError("Two benchmarks have the same name.")
    check_names(workspace, COMMAND, ["leak", *(column.lower() for column in names.values())])
    start_phase = on_phase or (lambda _: None)
    opened: list[_Benchmark | _VectorBenchmark] = []
    if vectors is not None:
        our_vectors = read_dataset_vectors(vectors.path, read_dataset_info(workspace).n_samples)
        for name, path in vectors.benchmarks.items():
            start_phase(f"Comparing the images of {name}")
            opened.append(_VectorBenchmark(name, path, our_vectors, vectors.similarity))
    ours, images = None, images and bool(benchmarks)
    if images:
        start_phase("Reading the images of the dataset")
        ours = matcher.read(workspace)
    with ExitStack() as stack:
        for name, path in benchmarks.items():
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix=".benchmark.", dir=workspace.root)
            )
            start_phase(f"Reading {name}")
            benchmark = _Benchmark(name, path, Path(folder), threshold)
            opened.append(benchmark)
            if ours is not None:
                benchmark.compare_images(ours, matcher, start_phase)
        row_idx, codes = _compare_rows(
            workspace, opened, None if ours is None else ours.contents, on_progress
        )
    settings: dict[str, Any] = near_texts.describe_method(threshold) | {
        "run_words": RUN_WORDS,
        "benchmarks": {name: str(path) for name, path in paths},
    }
    settings |= matcher.describe() if images else {"distance": None}
    settings |= vectors.describe() if vectors else {}
    overall = np.min(codes, axis=0)
    overall[(overall == _NONE) & (codes == _UNKNOWN).any(0)] = _UNKNOWN
    columns = [
        _make_column(name, row_idx, values, settings)
        for name, values in (
            ("leak", overall),
            *((names[each.name], values) for each, values in zip(opened, codes, strict=True)),
        )
    ]
    start_phase("Building the database")
    for old in list_columns(workspace):
        if old.file == COMMAND and old.name not in ["leak", *names.values()]:
            remove_column(workspace, old.name)
    records = store_computed(workspace, COMMAND, columns)
    reports = [each.report(values) for each, values in zip(opened, codes, strict=True)]
    n_unread = int((overall == _UNKNOWN).sum())
    return LeakageReport(tuple(reports), tuple(records), len(row_idx), n_unread)


def _make_column(
    name: str, row_idx: Ints, codes: Codes, settings: dict[str, Any]
) -> ComputedColumn:
    is_known = codes != _UNKNOWN
    values = _VALUES[codes[is_known]].tolist()
    return ComputedColumn(name, row_idx[is_known], values, settings, TEXT)


@dataclass(slots=True)
class _Rows:
    """Some samples as columns."""

    row_idx: list[int] = field(default_factory=list)
    images: list[list[str]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)

    def texts(self) -> list[tuple[str, str, bool]]:
        """Return question, answer, and whether there is an image."""
        has_image = map(bool, self.images)
        return list(zip(self.questions, self.answers, has_image, strict=True))

    def find_contents(self, contents: ImageContents) -> list[list[int]]:
        """Return the positions of each sample's images, -1 for those that could not be read."""
        return [[contents.find(image) for image in images] for images in self.images]


def _read_rows(workspace: Workspace, size: int) -> Iterator[_Rows]:
    """Yield the samples of a dataset, about ``size`` at a time."""
    rows = _Rows()
    for table in read_columns(workspace, _COLUMNS):
        for values, name in zip(
            (rows.row_idx, rows.images, rows.questions, rows.answers, rows.statuses),
            _COLUMNS,
            strict=True,
        ):
            values += table.column(name).to_pylist()
        if len(rows.row_idx) >= size:
            yield rows
            rows = _Rows()
    if rows.row_idx:
        yield rows


class _Benchmark:
    """A benchmark, and which of its samples were met in the dataset."""

    def __init__(self, name: str, path: Path, folder: Path, threshold: float) -> None:
        self.name, self._path = name, path
        self._workspace = open_or_import(path, folder / "workspace")
        self._rows = _Rows()
        for rows in _read_rows(self._workspace, _BATCH):
            for k, status in enumerate(rows.statuses):
                if status in _ASKED:
                    self._rows.row_idx.append(rows.row_idx[k])
                    self._rows.images.append(rows.images[k])
                    self._rows.questions.append(rows.questions[k])
                    self._rows.answers.append(rows.answers[k])
        n = len(self._rows.row_idx)
        if not n:
            raise InputError(f"The benchmark {path} has no record with a question and an answer.")
        self._texts = BenchmarkTexts(self._rows.texts(), threshold)
        self._is_leaked = np.zeros((len(KINDS), n), np.bool_)
        self._examples: dict[str, list[tuple[int, int]]] = {}
        self._n_unread = 0
        self._content_codes = np.empty(0, np.int8)  # of each image of the dataset
        self._first = np.empty(0, np.int64)  # the position here that it was met at

    def compare_images(
        self, dataset: DatasetImages, matcher: ImageMatcher, start_phase: OnPhase
    ) -> None:
        """Find the images of the dataset that are in the benchmark."""
        start_phase(f"Reading the images of {self.name}")
        read = matcher.read(self._workspace)
        ours, contents = read.contents, dataset.contents
        start_phase(f"Comparing the images of {self.name}")
        exact = np.flatnonzero(np.isin(ours.keys, contents.keys))
        pairs: dict[str, Iterable[tuple[Ints, Ints]]] = {
            IMAGE: [(exact, np.searchsorted(contents.keys, ours.keys[exact]))],
            NEAR_IMAGE: matcher.find_near(read, dataset),
        }
        positions = self._rows.find_contents(ours)
        sample = np.full(len(ours.keys), -1)
        for k, images in reversed([*enumerate(positions)]):
            sample[[position for position in images if position >= 0]] = k
        self._n_unread = sum(min(images, default=0) < 0 for images in positions)
        self._content_codes = np.full(len(contents.keys), _NONE, np.int8)
        self._first = np.full(len(contents.keys), -1)
        for code in (1, 0):  # the stronger kind last
            for i, j in pairs[KINDS[code]]:
                self._content_codes[j], self._first[j] = code, sample[i]
                is_met = np.zeros(len(ours.keys) + 1, np.bool_)  # the last: not read
                is_met[i] = True
                self._is_leaked[code] |= [bool(is_met[images].any()) for images in positions]

    def compare(self, rows: _Rows, positions: Sequence[Sequence[int]] | None) -> Codes:
        """Return the code of each sample of the dataset; ``positions`` are those of its images."""
        codes = np.full(len(rows.row_idx), _NONE, np.int8)
        near_and_run = reversed([*enumerate(self._texts.compare(rows.texts()), start=2)])
        for code, pairs in near_and_run:
            codes[pairs[:, 0]] = code
            self._is_leaked[code, pairs[:, 1]] = True
            for ours, theirs in pairs.tolist():
                self._add_example(code, theirs, rows.row_idx[ours])
        for k, images in enumerate(positions or ()):
            known = [image for image in images if image >= 0]
            image_codes = self._content_codes[known]
            if (code := int(image_codes.min(initial=_NONE))) < codes[k]:
                codes[k] = code
                content = known[int(image_codes.argmin())]
                self._add_example(code, int(self._first[content]), rows.row_idx[k])
            elif len(known) < len(images) and codes[k] == _NONE:
                codes[k] = _UNKNOWN
        return codes

    def _add_example(self, code: int, position: int, row_idx: int) -> None:
        examples = self._examples.setdefault(KINDS[code], [])
        if len(examples) < _EXAMPLES:
            examples.append((self._rows.row_idx[position], row_idx))

    def report(self, codes: Codes) -> BenchmarkLeaks:
        """Return what was found, given the codes of all samples of the dataset."""
        by_kind = self._is_leaked.sum(1).tolist()
        return BenchmarkLeaks(
            name=self.name,
            path=str(self._path),
            n_samples=len(self._rows.row_idx),
            leaked=dict(zip(KINDS, by_kind, strict=True)),
            n_leaked=int(self._is_leaked.any(0).sum()),
            n_dataset=int((codes < _NONE).sum()),
            n_uncompared=len(self._rows.row_idx) - self._texts.n_compared,
            n_unread=self._n_unread,
            examples=self._examples,
        )


class _VectorBenchmark:
    """A benchmark of which only the vectors of its images are known."""

    def __init__(self, name: str, path: Path, dataset: VectorFile, similarity: float) -> None:
        theirs = read_vector_file(path)
        if theirs.vectors.shape[1] != dataset.vectors.shape[1]:
            raise InputError(
                f"{path} has vectors of {theirs.vectors.shape[1]} dimensions, and {dataset.path} "
                f"of {dataset.vectors.shape[1]}: they are not of the same model."
            )
        self.name, self._path, self._dataset = name, path, dataset
        self._is_met = np.zeros(len(theirs), np.bool_)
        self._met: dict[Any, int] = {}  # the first vector here, by key of the dataset
        self._examples: list[tuple[int, int]] = []
        for i, j in find_similar(theirs, dataset, similarity):
            self._is_met[i] = True
            for ours, position in zip(j.tolist(), i.tolist(), strict=True):
                self._met.setdefault(dataset.keys[ours], position)

    def compare(self, rows: _Rows, _positions: Sequence[Sequence[int]] | None) -> Codes:
        """Return the code of each sample of the dataset."""
        codes = np.full(len(rows.row_idx), _NONE, np.int8)
        for k, (row_idx, images) in enumerate(zip(rows.row_idx, rows.images, strict=True)):
            keys = self._dataset.keys_of(row_idx, images)
            met = [self._met[key] for key in keys if key in self._met]
            if met:
                codes[k] = KINDS.index(NEAR_IMAGE)
                self._examples += [(met[0], row_idx)][: _EXAMPLES - len(self._examples)]
            elif not self._dataset.known.issuperset(keys):
                codes[k] = _UNKNOWN
        return codes

    def report(self, codes: Codes) -> BenchmarkLeaks:
        """Return what was found; its samples are the vectors."""
        n_met = int(self._is_met.sum())
        return BenchmarkLeaks(
            name=self.name,
            path=str(self._path),
            n_samples=len(self._is_met),
            leaked=dict.fromkeys(KINDS, 0) | {NEAR_IMAGE: n_met},
            n_leaked=n_met,
            n_dataset=int((codes < _NONE).sum()),
            n_uncompared=0,
            n_unread=0,
            examples={NEAR_IMAGE: self._examples} if self._examples else {},
        )


def _compare_rows(
    workspace: Workspace,
    benchmarks: Sequence[_Benchmark | _VectorBenchmark],
    contents: ImageContents | None,
    on_progress: OnProgress | None,
) -> tuple[Ints, Codes]:
    """Return row_idx (n,) and the codes of all samples, shape (benchmarks, n)."""
    n_samples, n_done = read_dataset_info(workspace).n_samples, 0
    row_idx, codes = [np.empty(0, np.int64)], [np.empty((len(benchmarks), 0), np.int8)]
    for rows in _read_rows(workspace, _BATCH):
        positions = rows.find_contents(contents) if contents is not None else None
        row_idx.append(np.array(rows.row_idx, np.int64))
        codes.append(np.stack([each.compare(rows, positions) for each in benchmarks]))
        n_done += len(rows.row_idx)
        if on_progress:
            on_progress(n_done, n_samples)
    return np.concatenate(row_idx), np.concatenate(codes, axis=1)
