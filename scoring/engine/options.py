"""The options of scoring: what belongs to a run, and which samples a call works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from scoring.engine.baselines import BaselineSettings
from scoring.errors import InputError
from scoring.option_descriptions import Option
from scoring.reviews.pinned_edits import PinnedEdit
from scoring.samples import Status

_RETRYABLE = [status.value for status in Status if status not in (Status.SCORED, Status.PENDING)]


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What to score and how; ``baselines``, ``tokens`` and ``truncate`` are part of the run.

    ``baselines`` may be given as a sequence of names. With ``edits``, from ``pin_edits``, the
    edited samples are scored with them, as a run of edits. Raises InputError for an unknown
    baseline, a status that scoring again cannot change, or what a run of edits does not keep.
    """

    run_id: Annotated[
        str | None, Option("Name of the run. Default: a digest of its settings.", "--run")
    ] = None
    baselines: BaselineSettings = field(default_factory=BaselineSettings)
    tokens: Annotated[bool, Option("Also keep the loss of every answer token.")] = False
    leave_one_out: Annotated[
        bool,
        Option(
            "Also score each sample with several images without each of them in turn, to show and "
            "store as columns how much each image matters."
        ),
    ] = False
    limit: Annotated[
        int | None,
        Option(
            "Score at most this many samples, for a first look: the first of the dataset, with "
            "the samples of an image together.",
            min=1,
        ),
    ] = None
    truncate: Annotated[
        bool, Option("Truncate samples that are too long and score the part that fits.")
    ] = False
    retry: Annotated[
        tuple[str, ...],
        Option(
            "Also score the run's samples with one of these statuses again, for example "
            "missing_image,bad_image once the images are available.",
            parse=lambda text: tuple(status.strip() for status in text.split(",")),
            metavar="STATUS,...",
        ),
    ] = ()
    edits: tuple[PinnedEdit, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.baselines, BaselineSettings):
            names: Sequence[str] = self.baselines
            object.__setattr__(self, "baselines", BaselineSettings(tuple(names)))
        object.__setattr__(self, "retry", tuple(self.retry))
        for status in self.retry:
            if status not in _RETRYABLE:
                known = ", ".join(_RETRYABLE)
                raise InputError(f"Cannot retry status {status!r}. Choose from: {known}")
        if self.edits and (self.tokens or self.leave_one_out):
            flag = "--tokens" if self.tokens else "--leave-one-out"
            raise InputError(f"A run of edits keeps scores only. Leave out {flag}.")
