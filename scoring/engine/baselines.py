"""Blind baselines: what replaces the image in the pass without it.

A replacement depends only on the sample, the settings and the dataset, never on the process or the
order and progress of the work, so all processes that share a run score the same thing. ``none`` and
``reference`` need no image; the model encodes them. Disagreement between baselines is a signal in
itself: no single baseline is right for all questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from scoring.errors import InputError
from scoring.images.decode import ImageProblem, open_reference
from scoring.option_descriptions import Option
from scoring.samples import Status
from scoring.schemas import IMAGE_DIGESTS
from scoring.workspace import open_atomic

NONE = "none"  # the placeholder and its tokens are removed: the paper's text, the default
REFERENCE = "reference"  # the placeholder is masked and keeps its position: the paper's code
GRAY = "gray"  # an image of the same size in the colour that the model maps to zero
BLUR = "blur"  # the image itself, with a Gaussian blur
SHUFFLED = "shuffled"  # the same number of images from other samples

BASELINES = (NONE, REFERENCE, GRAY, BLUR, SHUFFLED)
DEFAULT_BLUR_SIGMA = 0.05  # of the longer side: wider than a patch of the common vision towers
DEFAULT_SHUFFLE_SEED = 42

_CACHED_GRAYS = 16
_CACHED_PIXELS = 4_000_000
_TRIALS = 32  # images tried in the shuffled order before a sample is left without a partner
_BATCH_ROWS = 65_536
_SHUFFLED_SCHEMA = pa.schema(
    [
        ("image", pa.string()),  # in the order of the dataset
        ("key", pa.uint64()),  # ascending: the shuffled order
        ("place", pa.int64()),  # index into the column image of the one with this key
        ("path_key", pa.uint64()),  # ascending: the digest of each image's own path
        ("first_key", pa.uint64()),  # and the key of its first copy
    ]
)


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """The blind baselines of a run, in the order of ``BASELINES``, each once.

    ``blur_sigma`` is the standard deviation of the Gaussian as a share of the image's longer
    side. Raises InputError for an unknown baseline or a number out of range.
    """

    names: Annotated[
        tuple[str, ...],
        Option(
            "What replaces the image: none (it is removed), reference (masked), gray, blur, or "
            "shuffled (another sample's image). Repeat the option for several; they share the pass "
            "with the image. The list is part of the run: another list makes another run.",
            "--baseline",
            "Blind baselines",
        ),
    ] = (NONE,)
    blur_sigma: Annotated[
        float,
        Option(
            "For --baseline blur: sigma as a share of the image's longer side.",
            panel="Blind baselines",
        ),
    ] = DEFAULT_BLUR_SIGMA
    shuffle_seed: Annotated[
        int,
        Option(
            "For --baseline shuffled: seed of the order of the images.", panel="Blind baselines"
        ),
    ] = DEFAULT_SHUFFLE_SEED

    def __post_init__(self) -> None:
        known = ", ".join(BASELINES)
        for name in self.names:
            if name not in BASELINES:
                raise InputError(f"Unknown baseline {name!r}. Choose from: {known}")
        if not self.names:
            raise InputError(f"A run needs a baseline. Choose from: {known}")
        if not 0 < self.blur_sigma <= 1:
            raise InputError(
                "The blur sigma is a share of the image's longer side, above 0 and at most 1; "
                f"got {self.blur_sigma}"
            )
        ordered = tuple(name for name in BASELINES if name in self.names)
        object.__setattr__(self, "names", ordered)  # the class is frozen

    @property
    def primary(self) -> str:
        """The baseline that counts where only one can be shown: ``none`` if it is among them."""
        return self.names[0]

    def run_parameters(self) -> dict[str, float]:
        """Return the settings that decide the numbers of these baselines, for the run record."""
        parameters: dict[str, float] = {}
        if BLUR in self.names:
            parameters["blur_sigma"] = self.blur_sigma
        if SHUFFLED in self.names:
            parameters["shuffle_seed"] = self.shuffle_seed
        return parameters


class BaselineImages:
    """Makes the images that replace a sample's own. Safe to share between threads.

    ``neutral_colour`` is the colour of ``gray``, ``shuffled`` the order of the dataset's images for
    the baseline of that name.
    """

    def __init__(
        self,
        settings: BaselineSettings,
        neutral_colour: tuple[int, int, int] | None,
        image_roots: Sequence[Path],
        shuffled: ShuffledImages | None = None,
    ) -> None:
        self._settings, self._neutral_colour = settings, neutral_colour
        self._roots, self._shuffled = image_roots, shuffled
        # One object per common size: a model processes the same object once.
        self._cached_gray = lru_cache(_CACHED_GRAYS)(self._new_gray)

    def make_images(
        self, baseline: str, references: Sequence[str], images: Sequence[Image.Image]
    ) -> list[Image.Image]:
        """Return a replacement for each of ``images``, named by ``references``.

        Returns nothing for a baseline that shows no image. Raises ImageProblem.
        """
        if baseline == GRAY:
            grays = []
            for image in images:
                is_common = image.width * image.height <= _CACHED_PIXELS
                grays.append((self._cached_gray if is_common else self._new_gray)(image.size))
            return grays
        if baseline == BLUR:
            share = self._settings.blur_sigma
            blurs = [ImageFilter.GaussianBlur(share * max(image.size)) for image in images]
            return [image.filter(blur) for image, blur in zip(images, blurs, strict=True)]
        return self._other_images(references, images) if baseline == SHUFFLED else []

    def replaced_image(self, baseline: str, references: Sequence[str]) -> int:
        """Return what besides the images themselves decides by which ones they are replaced."""
        if baseline != SHUFFLED or self._shuffled is None or not references:
            return 0
        return self._shuffled.key_of(references[0])

    def _new_gray(self, size: tuple[int, int]) -> Image.Image:
        if self._neutral_colour is None:
            reason = "the colour that the model maps to zero is not known"
            raise ImageProblem(Status.BAD_IMAGE, reason)
        return Image.new("RGB", size, self._neutral_colour)

    def _other_images(
        self, references: Sequence[str], images: Sequence[Image.Image]
    ) -> list[Image.Image]:
        """Return the images after the sample's first one in the dataset's shuffled order.

        Skips images that cannot be opened and images that are equal to one of the sample's own,
        pixel by pixel, under any name.
        """
        if self._shuffled is None:
            raise ImageProblem(Status.MISSING_IMAGE, "the shuffled order of the images is missing")
        others: list[Image.Image] = []
        reason = "the dataset has too few other images to replace it"
        problem = ImageProblem(Status.MISSING_IMAGE, reason)
        candidates = self._shuffled.images_after(references[0])
        for reference in islice(candidates, _TRIALS + len(images)):
            try:
                image = open_reference(reference, self._roots)
                alike = (own for own in images if own.size == image.size)
                if all(own.tobytes() != image.tobytes() for own in alike):
                    others.append(image)
            except ImageProblem as error:
                reason = f"no other image could replace it; last problem: {error.reason}"
                problem = ImageProblem(error.status, reason)
            if len(others) == len(images):
                return others
        raise problem


class ShuffledImages:
    """The distinct first images of a dataset's samples in a circular, shuffled order.

    They are sorted by a keyed digest of their paths, so the order depends only on the set of paths
    and the seed. An image whose content is known has the place of its first copy. The order is
    stored in a memory-mapped Arrow file.
    """

    def __init__(self, path: Path, seed: int) -> None:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._seed, self._images = seed, table.column("image")
        self._keys: NDArray[np.uint64] = table.column("key").to_numpy()
        self._indices: NDArray[np.int64] = table.column("place").to_numpy()
        has_copies = "path_key" in table.column_names  # earlier versions knew of none
        self._path_keys = table.column("path_key").to_numpy() if has_copies else self._keys
        self._first_keys = table.column("first_key").to_numpy() if has_copies else self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def key_of(self, image: str) -> int:
        """Return the key of an image; copies have the same."""
        (key,) = _image_keys([image], self._seed)
        index = int(np.searchsorted(self._path_keys, key))
        is_listed = index < len(self._path_keys) and self._path_keys[index] == key
        return int(self._first_keys[index] if is_listed else key)

    def images_after(self, image: str) -> Iterator[str]:
        """Yield every other image once, starting after ``image`` in the shuffled order.

        Of several copies only one is yielded, and none of ``image``.
        """
        own = last = self.key_of(image)
        start = int(np.searchsorted(self._keys, np.uint64(own), side="right"))
        for step in range(len(self._keys)):
            position = (start + step) % len(self._keys)
            key = int(self._keys[position])
            if key not in (own, last):
                other: str = self._images[int(self._indices[position])].as_py()
                last = key
                if other != image:
                    yield other


def write_shuffled_images(
    path: Path,
    first_images: Iterable[list[str | None]],
    seed: int,
    digests: Iterable[pa.Table] = (),
) -> None:
    """Write the shuffled order of the images, atomically.

    ``first_images`` is the first image of every sample, None for samples without, in pieces;
    ``digests`` are known contents, as ``schemas.IMAGE_DIGESTS``.
    """
    pieces = (pa.array(piece, pa.large_string()).drop_null() for piece in first_images)
    images = pc.unique(pa.chunked_array(pieces, pa.large_string()))  # (images,)
    batches = [slice(at, at + _BATCH_ROWS) for at in range(0, len(images), _BATCH_ROWS)]
    path_keys = np.empty(len(images), np.uint64)
    for batch in batches:
        path_keys[batch] = _image_keys(images[batch].to_pylist(), seed)
    first_keys = path_keys[find_first_copies(images, digests)]
    order = np.argsort(first_keys, kind="stable")
    by_path = np.argsort(path_keys)
    with open_atomic(path) as file, pa.ipc.new_file(file, _SHUFFLED_SCHEMA) as writer:
        for batch in batches:
            columns = [
                images[batch].cast(pa.string()),
                first_keys[order[batch]],
                order[batch],
                path_keys[by_path[batch]],
                first_keys[by_path[batch]],
            ]
            writer.write_batch(pa.record_batch(columns, _SHUFFLED_SCHEMA))


def find_first_copies(images: pa.Array, digests: Iterable[pa.Table]) -> NDArray[np.int64]:
    """Return (images,) the index of the first image with the same content; its own if unknown.

    Of several digests of an image, the last one counts.
    """
    first = np.arange(len(images))
    contents = np.zeros((len(images), 2), np.uint64)  # the 16 bytes of each digest
    is_known = np.zeros(len(images), np.bool_)
    table = pa.concat_tables([IMAGE_DIGESTS.empty_table(), *digests])
    references = table.column("reference").cast(images.type)
    listed = pc.fill_null(pc.index_in(references, value_set=images), -1).to_numpy()  # (digests,)
    is_used = listed >= 0
    digests_used = table.column("digest").filter(pa.array(is_used))
    content = b"".join(b"".join(chunk.to_pylist()) for chunk in digests_used.chunks)
    contents[listed[is_used]] = np.frombuffer(content, np.uint64).reshape(-1, 2)  # the last stays
    is_known[listed[is_used]] = True
    known = np.flatnonzero(is_known)
    _, firsts, inverse = np.unique(contents[known], axis=0, return_index=True, return_inverse=True)
    first[known] = known[firsts[inverse.reshape(-1)]]
    return first


def _image_keys(images: Iterable[str], seed: int) -> NDArray[np.uint64]:
    """Return eight bytes of a digest of each image's path, keyed with the seed."""
    key = str(seed).encode()
    digests = [hashlib.blake2b(image.encode(), digest_size=8, key=key).digest() for image in images]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
