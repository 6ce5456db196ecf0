"""Prepares samples for the two passes: decodes images, tokenises conversations, limits lengths.

The answer tokens that count are determined here, once per blind baseline, on the longer sequence,
and both passes score exactly those. A sample that cannot be scored gets a status with its reason,
for one baseline or for all of them; no content of a sample may stop a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import is_
from pathlib import Path

from PIL import Image

from scoring.engine.baselines import (
    GRAY,
    NONE,
    REFERENCE,
    BaselineImages,
    BaselineSettings,
    ShuffledImages,
)
from scoring.images.decode import (
    ImageLocation,
    ImageProblem,
    open_image,
    read_ahead,
    resolve_image,
)
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.models.prompting import PromptProblem
from scoring.samples import Role, Sample, Status, Turn

# Longest text that is tokenised: 16 characters per token that the model accepts, within limits.
# Natural text has 1 to 5 characters per token, and a tokenizer uses up to 600 bytes per character:
# without a limit, one text of 80 MB would end a run at the same sample each time.
_CHARACTERS_PER_TOKEN = 16
_MIN_CHARACTERS, _MAX_CHARACTERS = 1_000_000, 16_000_000


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no score: a status and its reason in words."""

    status: Status
    reason: str | None


Images = Sequence[Image.Image] | Problem
Encoded = EncodedSample | Problem


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A sample encoded for the passes, or its problem, under each blind baseline in order.

    ``multimodal`` is None if no baseline needs it. It extends as far as the baseline that keeps
    most of it: the losses of its first tokens do not depend on later ones.
    """

    row_idx: int
    multimodal: EncodedSample | None
    blind: tuple[Encoded, ...]


OnOpened = Callable[[ImageLocation, Image.Image], None]
"""Gets each decoded image and where it is stored."""


@dataclass(frozen=True, slots=True, eq=False)
class _OpenedImage:
    """A decoded image and what it was decoded from."""

    location: ImageLocation
    image: Image.Image

    def is_copy(self, location: ImageLocation) -> bool:
        """Return whether an image has the same bytes, and is the same part of them."""
        known, other = self.location.content, location.content
        return known is not None and known == other and self.location.box == location.box


class ImageLoader:
    """Decodes the images of neighbouring samples once; keeps no more than one sample's images.

    Images are the same if they have the same encoded bytes, under any reference. The bytes are
    read for each reference and compared, so no image replaces a different one, and the
    problem of a reference is its own.
    """

    def __init__(self, roots: Sequence[Path], on_opened: OnOpened | None = None) -> None:
        self._roots, self._on_opened = roots, on_opened
        self._opened: dict[str, _OpenedImage] = {}

    def load_images(self, references: Sequence[str]) -> Images:
        """Return the images for ``references``: the same objects as in the last call, if any."""
        locations: dict[str, ImageLocation] = {}
        missing: ImageProblem | None = None
        try:
            for reference in references:
                if reference not in self._opened and reference not in locations:
                    locations[reference] = read_ahead(resolve_image(reference, self._roots))
        except ImageProblem as problem:
            missing = problem  # unless an image before it cannot be decoded
        opened = {name: each for name, each in self._opened.items() if name in references}
        for reference, location in locations.items():
            if copy := next(
                (each for each in self._opened.values() if each.is_copy(location)), None
            ):
                opened[reference] = _OpenedImage(location, copy.image)
        self._opened = opened
        try:
            for reference, location in locations.items():
                if reference not in opened:
                    opened[reference] = self._open(location)
            if missing is not None:
                raise missing
        except ImageProblem as problem:
            return Problem(problem.status, problem.reason)
        return [opened[reference].image for reference in references]

    def _open(self, location: ImageLocation) -> _OpenedImage:
        """Return an image of the sample, or that of an earlier copy among its images."""
        for each in self._opened.values():
            if each.is_copy(location):
                return _OpenedImage(location, each.image)
        image = open_image(location)
        if self._on_opened is not None:
            self._on_opened(location, image)
        return _OpenedImage(location, image)


def try_encode(encode: Callable[[], EncodedSample]) -> Encoded:
    """Return the result of ``encode`` or why it failed: one odd sample must not end a run."""
    try:
        return encode()
    except PromptProblem as problem:
        return Problem(problem.status, problem.reason)
    except MemoryError:
        reason = "preparing it takes more memory than this machine has"
        return Problem(Status.OUT_OF_MEMORY, reason)
    except Exception as error:  # noqa: BLE001 - processors raise any exception
        reason = f"the model's processor failed: {type(error).__name__}: {error}"
        return Problem(Status.BAD_RECORD, reason)


class Preparer:
    """Prepares samples for one model and its blind baselines. Safe to share between threads."""

    def __init__(
        self,
        model: VisionLanguageModel,
        image_roots: Sequence[Path],
        baselines: BaselineSettings | None = None,
        shuffled: ShuffledImages | None = None,
        *,
        truncate: bool = False,
        on_opened: OnOpened | None = None,
    ) -> None:
        settings = baselines or BaselineSettings()
        self.model, self.baselines = model, settings.names
        self._roots, self._truncate, self._on_opened = image_roots, truncate, on_opened
        neutral = model.neutral_colour() if GRAY in self.baselines else None
        self._baseline_images = BaselineImages(settings, neutral, image_roots, shuffled)

    def prepare(self, samples: Sequence[Sample]) -> list[Prepared]:
        """Prepare each sample and return them in order.

        Neighbours with the same images are prepared together: the images are decoded once, and
        those of two such groups are held at most.
        """
        problems = [self._find_problem(sample) for sample in samples]
        pending = [s for s, problem in zip(samples, problems, strict=True) if problem is None]
        ready = (
            item for group in self._group_by_images(pending) for item in self._prepare_group(*group)
        )
        return [
            next(ready)
            if problem is None
            else Prepared(sample.row_idx, None, (problem,) * len(self.baselines))
            for sample, problem in zip(samples, problems, strict=True)
        ]

    def _group_by_images(
        self, samples: Sequence[Sample]
    ) -> Iterator[tuple[Sequence[Sample], Images]]:
        """Yield neighbours with the same images, under any references, with these images."""
        loader = ImageLoader(self._roots, self._on_opened)
        group: list[Sample] = []
        shared: Images = []
        for references, neighbours in groupby(samples, key=lambda sample: sample.images):
            images = loader.load_images(references)
            if group and not _are_same(images, shared):
                yield group, shared
                group = []
            group, shared = [*group, *neighbours], images
        if group:
            yield group, shared

    def _find_problem(self, sample: Sample) -> Problem | None:
        """Return why a sample is not encoded at all, or None."""
        if sample.status is not Status.PENDING:
            return Problem(sample.status, sample.reason)
        n_characters = sum(len(turn.text) for turn in sample.turns)
        max_length = self.model.info.max_length
        limit = min(max(_CHARACTERS_PER_TOKEN * max_length, _MIN_CHARACTERS), _MAX_CHARACTERS)
        if n_characters <= limit:  # not truncated: where to do so depends on all of its tokens
            return None
        reason = (
            f"{n_characters:,} characters; at most {limit:,} are tokenised for a model that takes "
            f"{max_length:,} tokens"
        )
        return Problem(Status.TOO_LONG, reason)

    def _prepare_group(self, samples: Sequence[Sample], images: Images) -> list[Prepared]:
        """Prepare samples with the same images: one baseline after the other, to hold few."""
        multimodal = [self._encode(sample.turns, images) for sample in samples]
        blind: list[list[Encoded]] = [[] for _ in samples]
        for baseline in self.baselines:
            replacements, first_key = images, None
            for sample, seen, passes in zip(samples, multimodal, blind, strict=True):
                if isinstance(seen, EncodedSample):
                    key = self._baseline_images.replaced_image(baseline, sample.images)
                    if key != first_key:  # else the same for all of the group
                        replacements = self.replace_images(baseline, sample.images, images)
                        first_key = key
                    encoded = self._encode(sample.turns, replacements, baseline)
                    passes.append(self._match_answers(sample, seen, encoded, baseline))
                else:
                    passes.append(seen)
        prepared = []
        for sample, seen, passes in zip(samples, multimodal, blind, strict=True):
            kept = [len(each.answer_ids) for each in passes if isinstance(each, EncodedSample)]
            longest = None
            if isinstance(seen, EncodedSample) and kept:
                longest = _truncate_answers(seen, max(kept))
            prepared.append(Prepared(sample.row_idx, longest, tuple(passes)))
        return prepared

    def replace_images(self, baseline: str, references: Sequence[str], images: Images) -> Images:
        """Return the images of a blind pass; none for a baseline that shows none."""
        if isinstance(images, Problem):
            return images
        try:
            return self._baseline_images.make_images(baseline, references, images)
        except ImageProblem as problem:
            return Problem(problem.status, f"{baseline}: {problem.reason}")

    def _encode(self, turns: Sequence[Turn], images: Images, baseline: str = "") -> Encoded:
        if isinstance(images, Problem):
            return images
        if baseline == REFERENCE:
            return try_encode(lambda: self.model.encode_masked(turns))
        return try_encode(lambda: self.model.encode(turns, images))

    def _match_answers(
        self, sample: Sample, multimodal: EncodedSample, blind: Encoded, baseline: str
    ) -> Encoded:
        """Return the blind pass, truncated if needed, or why it cannot be compared."""
        if isinstance(blind, Problem):
            return blind
        if multimodal.answer_ids != blind.answer_ids:
            without = "without the image" if baseline == NONE else f"under baseline {baseline}"
            reason = f"the answers are tokenised differently {without}"
            return Problem(Status.TOKEN_MISMATCH, reason)
        if not multimodal.answer_ids:
            return Problem(Status.NO_ANSWER, "no answer token is left to score")
        limit = self.model.info.max_length
        longest = max(len(multimodal.input_ids), len(blind.input_ids))
        if longest <= limit:
            return blind
        if not self._truncate:
            return Problem(
                Status.TOO_LONG,
                f"{longest:,} tokens, but the model accepts {limit:,}; use --truncate to score the "
                "part that fits",
            )
        kept = min(
            sum(turn >= 0 for turn in encoded.turn_ids[:limit]) for encoded in (multimodal, blind)
        )
        if not kept:
            reason = f"no answer token fits within the model's {limit:,} tokens"
            return Problem(Status.TOO_LONG, reason)
        answers = [index for index, turn in enumerate(sample.turns) if turn.role is Role.ASSISTANT]
        last_turn = answers[multimodal.answer_turns[kept - 1]]
        if any(turn.image_offsets for turn in sample.turns[last_turn:]):
            reason = f"an image comes after the truncation at the model's {limit:,} tokens"
            return Problem(Status.TOO_LONG, reason)
        return _truncate_answers(blind, kept)


def _are_same(images: Images, others: Images) -> bool:
    """Return whether two samples have the same images; problems are those of each sample."""
    if isinstance(images, Problem) or isinstance(others, Problem):
        return False
    return len(images) == len(others) and all(map(is_, images, others))


def _truncate_answers(encoded: EncodedSample, n_answers: int) -> EncodedSample:
    """Return ``encoded`` up to and including its ``n_answers``-th answer token."""
    answers = [index for index, turn in enumerate(encoded.turn_ids) if turn >= 0]
    if n_answers == len(answers):
        return encoded
    end = answers[n_answers - 1] + 1
    inputs = dict(encoded.inputs)
    for key, value in inputs.items():  # those with one value per token, (1, length, ...)
        if tuple(getattr(value, "shape", ())[:2]) == (1, len(encoded.input_ids)):
            inputs[key] = value[:, :end]
    return replace(
        encoded,
        input_ids=encoded.input_ids[:end],
        turn_ids=encoded.turn_ids[:end],
        inputs=inputs,
        pieces=encoded.pieces[:n_answers],
        segments=encoded.segments[:n_answers],
        truncated=True,
    )
