"""Refuse an evaluation set whose questions the arms are trained on.

A set leaks if it shares an image with a sample of any arm, compared by the bytes of the image file,
or if one of its text-only questions has the text of a text-only sample, answer included. A question
such as "What is in the image?" occurs everywhere: the same question about another image is counted,
not refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from scoring.dataset.records import read_columns
from scoring.duplicates.texts import normalize_text
from scoring.errors import InputError
from scoring.images.containers import EmbeddedProblem, read_embedded
from scoring.images.decode import ImageProblem, resolve_image
from scoring.rules.candidates import Ints
from scoring.samples import Sample
from scoring.trials.evaluation_sets import USABLE, OpenedSet
from scoring.workspace import Workspace

_SHOWN = 3
_COLUMNS = ("row_idx", "images", "question", "answer", "status")


@dataclass(slots=True)
class Overlap:
    """What an evaluation set shares with the samples of the arms.

    ``images`` and ``texts`` have one pair (row of the set, row of the dataset) for each shared
    image and text-only question. ``n_questions`` are questions about images that are also asked
    about other images. ``unreadable`` are its images that could not be compared, with the reason.
    """

    name: str
    images: list[tuple[int, int]] = field(default_factory=list)
    texts: list[tuple[int, int]] = field(default_factory=list)
    n_questions: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LeakReport:
    """The overlap of each set, and the images of the arms that could not be compared."""

    overlaps: tuple[Overlap, ...]
    unreadable: tuple[str, ...]

    def refuse_leaks(self) -> None:
        """Raise InputError, with counts and the first rows, if a set leaks."""
        leaks = [
            f"evaluation set {overlap.name!r} shares {len(pairs):,} {what} with the samples of the "
            f"arms ({_describe_pairs(pairs)})"
            for overlap in self.overlaps
            for what, pairs in (
                ("images", overlap.images),
                ("text-only questions with their answers", overlap.texts),
            )
            if pairs
        ]
        if leaks:
            text = "; ".join(leaks)
            raise InputError(
                f"{text[0].upper()}{text[1:]}. Results on it would not show what was learned. "
                "Remove these rows from the set, or choose another one"
            )


@dataclass(frozen=True, slots=True, eq=False)
class _SetIndex:
    """The first row of an evaluation set with an image or a text, by digest."""

    overlap: Overlap
    images: dict[bytes, int] = field(default_factory=dict)
    texts: dict[bytes, int] = field(default_factory=dict)
    questions: dict[bytes, int] = field(default_factory=dict)  # to how often it is asked


@dataclass(frozen=True, slots=True)
class _Row:
    row_idx: int
    images: Sequence[str]
    question: str
    answer: str


class _ImageReader:
    """Hashes the images of a workspace, each reference once, and collects those it cannot read.

    ``is_measured``: collect the sizes of images in ``sizes``; else hash only images of those sizes.
    """

    def __init__(
        self, workspace: Workspace, unreadable: list[str], sizes: set[int], *, is_measured: bool
    ) -> None:
        self._roots, self._unreadable = workspace.image_roots, unreadable
        self._sizes, self._is_measured = sizes, is_measured
        self._seen: dict[str, bytes | None] = {}

    def digest(self, reference: str, row_idx: int) -> bytes | None:
        """Return the digest of an image, None if it is unreadable or has another size."""
        if reference not in self._seen:
            try:
                self._seen[reference] = self._hash_image(reference)
            except (ImageProblem, EmbeddedProblem, OSError) as problem:
                self._seen[reference] = None
                self._unreadable.append(f"row {row_idx}: {problem}")
        return self._seen[reference]

    def _hash_image(self, reference: str) -> bytes | None:
        location = resolve_image(reference, self._roots)
        if location.member:
            content = read_embedded(location.path, location.member)
        elif not self._is_measured and location.path.stat().st_size not in self._sizes:
            return None
        else:
            content = location.path.read_bytes()
        if self._is_measured:
            self._sizes.add(len(content))
        return _hash(content) if len(content) in self._sizes else None


def check_leakage(
    workspace: Workspace,
    row_idx: Ints,
    evaluation: Sequence[OpenedSet],
    edited: Mapping[int, Sample] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LeakReport:
    """Compare evaluation sets with the rows of the dataset that any arm is trained on.

    ``edited`` are samples by row that are trained with an edit. Reads each image of the sets once,
    and of the dataset those with the size of one of them. ``progress`` is called with (rows done,
    rows in total).
    """
    sizes: set[int] = set()
    indexes = [_index_set(opened, sizes) for opened in evaluation]
    unreadable: list[str] = []
    reader = _ImageReader(workspace, unreadable, sizes, is_measured=False)
    for n_done, row in enumerate(_read_rows(workspace, row_idx, edited or {}), start=1):
        digests = [reader.digest(reference, row.row_idx) for reference in row.images]
        question, text = _hash_texts(row.question), _hash_texts(row.question, row.answer)
        for index in indexes:
            for digest in filter(None, digests):
                if (position := index.images.pop(digest, None)) is not None:
                    index.overlap.images.append((position, row.row_idx))
            if not row.images and (position := index.texts.pop(text, None)) is not None:
                index.overlap.texts.append((position, row.row_idx))
            if row.images:
                index.overlap.n_questions += index.questions.pop(question, 0)
        if progress and (n_done % 1000 == 0 or n_done == len(row_idx)):
            progress(n_done, len(row_idx))
    return LeakReport(tuple(index.overlap for index in indexes), tuple(unreadable))


def _index_set(opened: OpenedSet, sizes: set[int]) -> _SetIndex:
    """Index the usable records of an evaluation set; adds the sizes of its images to ``sizes``."""
    index = _SetIndex(Overlap(opened.planned.name))
    reader = _ImageReader(opened.workspace, index.overlap.unreadable, sizes, is_measured=True)
    for row in _read_rows(opened.workspace, None):
        for reference in row.images:
            if (digest := reader.digest(reference, row.row_idx)) is not None:
                index.images.setdefault(digest, row.row_idx)
        if row.images:
            question = _hash_texts(row.question)
            index.questions[question] = index.questions.get(question, 0) + 1
        else:
            index.texts.setdefault(_hash_texts(row.question, row.answer), row.row_idx)
    return index


def _read_rows(
    workspace: Workspace, row_idx: Ints | None, edited: Mapping[int, Sample] = MappingProxyType({})
) -> Iterator[_Row]:
    """Yield the rows of a dataset, or all rows with a usable record; edited ones as edited."""
    for table in read_columns(workspace, _COLUMNS, row_idx):
        for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
            *row, status = values
            if sample := edited.get(row[0]):
                yield _Row(sample.row_idx, sample.images, sample.question, sample.answer)
            elif row_idx is not None or status in USABLE:
                yield _Row(*row)


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _hash_texts(*texts: str) -> bytes:
    """Return a digest of texts that ignores case, spacing and the width of characters."""
    normal = "\n".join(map(normalize_text, texts))
    return _hash(normal.encode("utf-8", "surrogatepass"))


def _describe_pairs(pairs: Sequence[tuple[int, int]]) -> str:
    shown = ", ".join(f"row {ours} = row {theirs}" for ours, theirs in pairs[:_SHOWN])
    return f"its {shown} of the dataset{', ...' if len(pairs) > _SHOWN else ''}"
