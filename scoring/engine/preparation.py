"""Samples made ready for the two passes: images decoded, conversations tokenised, lengths settled.

Which answer tokens count is decided here, once per blind baseline, on the longer sequence, and
both passes get exactly those. What rules a score out becomes a status with its reason, for one
baseline or for all of them; nothing that a sample holds may stop a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from PIL import Image

from scoring.engine.baselines import GRAY, NONE, REFERENCE, BaselineImages, BaselineSettings
from scoring.engine.shuffled_images import ShuffledImages
from scoring.images.decode import ImageLocation, ImageProblem, open_image, resolve_image
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.models.prompting import PromptProblem
from scoring.samples import Role, Sample, Status, Turn

# The most text that is tokenised: 16 characters for each token that the model takes, within limits.
# Natural text has 1 to 5 characters per token, and a tokenizer takes up to 600 bytes per character:
# without a limit, one text of 80 MB would end a run at the same sample each time.
_CHARACTERS_PER_TOKEN = 16
_LEAST_LIMIT, _MOST_LIMIT = 1_000_000, 16_000_000


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no score: a status and its reason in words."""

    status: Status
    reason: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Blind:
    """A sample encoded for the pass of one blind baseline; ``truncated``: some answers were cut."""

    encoded: EncodedSample
    truncated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A sample ready for the passes, or what became of it, under each blind baseline in order.

    ``multimodal`` is None where no baseline needs it. It reaches as far as the baseline that
    keeps most of it: the losses of its first tokens do not depend on what follows them.
    """

    row_idx: int
    multimodal: EncodedSample | None
    blind: tuple[Blind | Problem, ...]

    def encoded(self) -> Iterator[EncodedSample]:
        """What is fed to the model, pass by pass."""
        if self.multimodal is not None:
            yield self.multimodal
        yield from (one.encoded for one in self.blind if isinstance(one, Blind))


Shown = Sequence[Image.Image] | Problem
Encoded = EncodedSample | Problem
OnOpened = Callable[[ImageLocation, Image.Image], None]
"""Gets each image that is decoded, and where it lies."""


class ImageLoader:
    """The images of neighbouring samples, each decoded once; no more than one sample's are held."""

    def __init__(self, roots: Sequence[Path], on_opened: OnOpened | None = None) -> None:
        self._roots, self._on_opened = roots, on_opened
        self._opened: dict[str, Image.Image] = {}

    def of(self, references: Sequence[str]) -> Shown:
        """The images that ``references`` name: the very same objects as before, where they were."""
        opened = {name: image for name, image in self._opened.items() if name in references}
        self._opened = opened
        try:
            for reference in references:
                if reference not in opened:
                    place = resolve_image(reference, self._roots)
                    opened[reference] = open_image(place)
                    if self._on_opened is not None:
                        self._on_opened(place, opened[reference])
        except ImageProblem as problem:
            return Problem(problem.status, problem.reason)
        return [opened[reference] for reference in references]


def try_encode(encode: Callable[[], EncodedSample]) -> Encoded:
    """What ``encode`` gives, or why it does not: one odd sample must not end a run of millions."""
    try:
        return encode()
    except PromptProblem as problem:
        return Problem(problem.status, problem.reason)
    except MemoryError:
        reason = "preparing it takes more memory than this machine has"
        return Problem(Status.OUT_OF_MEMORY, reason)
    except Exception as error:  # noqa: BLE001 - processors raise whatever they like
        reason = f"the model's processor fails on it: {type(error).__name__}: {error}"
        return Problem(Status.BAD_RECORD, reason)


class Preparer:
    """Prepares samples for one model and its blind baselines. Safe to share between threads.

    ``cycle`` is the order of the dataset's images that the baseline ``shuffled`` needs.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        image_roots: Sequence[Path],
        baselines: BaselineSettings,
        cycle: ShuffledImages | None = None,
        *,
        truncate: bool = False,
        on_opened: OnOpened | None = None,
    ) -> None:
        self._model, self._roots, self._truncate = model, image_roots, truncate
        self._on_opened = on_opened
        self._baselines = baselines.names
        neutral = model.neutral_colour() if GRAY in baselines.names else None
        self._stand_ins = BaselineImages(baselines, neutral, image_roots, cycle)

    def prepare(self, samples: Sequence[Sample]) -> list[Prepared]:
        """Each sample prepared, in their order.

        Neighbours on the same images are prepared together: these are decoded once, and no more
        than one such group's are held at a time.
        """
        prepared: list[Prepared] = []
        opened = ImageLoader(self._roots, self._on_opened)
        for references, group in groupby(samples, key=lambda sample: sample.images):
            mine = list(group)
            ruled_out = {sample.row_idx: self._ruled_out(sample) for sample in mine}
            pending = [sample for sample in mine if ruled_out[sample.row_idx] is None]
            found = self._prepare_group(pending, references, opened) if pending else {}
            for sample in mine:
                problem = ruled_out[sample.row_idx]
                prepared.append(
                    found[sample.row_idx] if problem is None else self._without(sample, problem)
                )
        return prepared

    def _ruled_out(self, sample: Sample) -> Problem | None:
        """Return why a sample is not encoded at all, or None.

        Too much text is not truncated either: where to cut depends on the tokens of all of it.
        """
        if sample.status is not Status.PENDING:
            return Problem(sample.status, sample.reason)
        n_characters = sum(len(turn.text) for turn in sample.turns)
        max_length = self._model.info.max_length
        limit = min(max(_CHARACTERS_PER_TOKEN * max_length, _LEAST_LIMIT), _MOST_LIMIT)
        if n_characters <= limit:
            return None
        reason = (
            f"{n_characters:,} characters; at most {limit:,} are tokenised for a model that takes "
            f"{max_length:,} tokens"
        )
        return Problem(Status.TOO_LONG, reason)

    def _without(self, sample: Sample, problem: Problem) -> Prepared:
        return Prepared(sample.row_idx, None, (problem,) * len(self._baselines))

    def _prepare_group(
        self, samples: Sequence[Sample], references: Sequence[str], opened: ImageLoader
    ) -> dict[int, Prepared]:
        """row_idx -> samples on the same images."""
        images = opened.of(references)
        multimodal = {sample.row_idx: self._encode(sample.turns, images) for sample in samples}
        blind: dict[int, list[Encoded]] = {sample.row_idx: [] for sample in samples}
        for baseline in self._baselines:
            shown = self._shown(baseline, references, images)
            for sample in samples:
                ready = not isinstance(multimodal[sample.row_idx], Problem)
                encoded = self._encode(sample.turns, shown, baseline) if ready else None
                blind[sample.row_idx].append(encoded or multimodal[sample.row_idx])
        return {
            sample.row_idx: self._settled(sample, multimodal[sample.row_idx], blind[sample.row_idx])
            for sample in samples
        }

    def _shown(self, baseline: str, references: Sequence[str], images: Shown) -> Shown:
        """The pictures of a blind pass, or none where its baseline shows nothing."""
        if not self._stand_ins.shows_pictures(baseline) or isinstance(images, Problem):
            return ()
        try:
            return self._stand_ins.make(baseline, references, images)
        except ImageProblem as problem:
            return Problem(problem.status, f"{baseline}: {problem.reason}")

    def _encode(self, turns: Sequence[Turn], images: Shown, baseline: str = "") -> Encoded:
        if isinstance(images, Problem):
            return images
        if baseline == REFERENCE:
            return try_encode(lambda: self._model.encode_masked(turns))
        return try_encode(lambda: self._model.encode(turns, images))

    def _settled(self, sample: Sample, multimodal: Encoded, blind: Sequence[Encoded]) -> Prepared:
        """Decides which answer tokens both passes of each baseline score, and cuts them there."""
        if isinstance(multimodal, Problem):
            return self._without(sample, multimodal)
        compared = [
            self._compared(sample, multimodal, one, baseline)
            for baseline, one in zip(self._baselines, blind, strict=True)
        ]
        kept = [len(one.encoded.answer_ids) for one in compared if isinstance(one, Blind)]
        reach = _cut(multimodal, max(kept)) if kept else None
        return Prepared(sample.row_idx, reach, tuple(compared))

    def _compared(
        self, sample: Sample, multimodal: EncodedSample, blind: Encoded, baseline: str
    ) -> Blind | Problem:
        if isinstance(blind, Problem):
            return blind
        if multimodal.answer_ids != blind.answer_ids:
            without = "without the image" if baseline == NONE else f"under baseline {baseline}"
            reason = f"the answers are tokenised differently {without}"
            return Problem(Status.TOKEN_MISMATCH, reason)
        if not multimodal.answer_ids:
            return Problem(Status.NO_ANSWER, "no answer token is left to score")
        limit = self._model.info.max_length
        longest = max(len(multimodal.input_ids), len(blind.input_ids))
        if longest <= limit:
            return Blind(blind)
        if not self._truncate:
            return Problem(
                Status.TOO_LONG,
                f"{longest:,} tokens, the model takes {limit:,}; --truncate scores what fits",
            )
        return _truncated(sample, multimodal, blind, limit)


def _truncated(
    sample: Sample, multimodal: EncodedSample, blind: EncodedSample, limit: int
) -> Blind | Problem:
    """Cut behind the last answer token that fits in both passes."""
    kept = min(_answers_within(multimodal, limit), _answers_within(blind, limit))
    if not kept:
        reason = f"no answer token fits within the model's {limit:,} tokens"
        return Problem(Status.TOO_LONG, reason)
    if _image_behind(sample.turns, multimodal.answer_turns[kept - 1]):
        reason = f"an image stands behind the cut at the model's {limit:,} tokens"
        return Problem(Status.TOO_LONG, reason)
    return Blind(_cut(blind, kept), truncated=kept < len(blind.answer_ids))


def _answers_within(encoded: EncodedSample, limit: int) -> int:
    return sum(turn >= 0 for turn in encoded.turn_ids[:limit])


def _image_behind(turns: Sequence[Turn], last_answer: int) -> bool:
    """Whether an image stands in the answer that is cut or behind it."""
    answers = [place for place, turn in enumerate(turns) if turn.role is Role.ASSISTANT]
    return any(turn.image_offsets for turn in turns[answers[last_answer] :])


def _cut(encoded: EncodedSample, n_answers: int) -> EncodedSample:
    """``encoded`` up to and including its ``n_answers``-th answer token."""
    answers = [index for index, turn in enumerate(encoded.turn_ids) if turn >= 0]
    if n_answers == len(answers):
        return encoded
    end = answers[n_answers - 1] + 1
    return replace(
        encoded,
        input_ids=encoded.input_ids[:end],
        turn_ids=encoded.turn_ids[:end],
        inputs=_cut_inputs(encoded.inputs, len(encoded.input_ids), end),
        pieces=encoded.pieces[:n_answers],
        segments=encoded.segments[:n_answers],
    )


def _cut_inputs(inputs: Mapping[str, object], length: int, end: int) -> dict[str, object]:
    """What holds one value per token is cut like the tokens; pixels and sizes stay."""
    return {
        key: value[:, :end]  # type: ignore[index]
        if tuple(getattr(value, "shape", ())[:2]) == (1, length)
        else value
        for key, value in inputs.items()
    }
