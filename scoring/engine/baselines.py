"""Blind baselines: what stands in for the image in the pass that must do without it.

The one decision behind it: a stand-in depends on the sample, the settings and the dataset alone,
never on the process, the order of the work or how much of it is done, so that every process that
shares a run scores the same thing. ``none`` and ``reference`` need no picture; the model encodes
them. Their disagreement is itself a signal: no baseline is the right one for all questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from PIL import Image, ImageFilter

from scoring.engine.shuffled_images import ShuffledImages
from scoring.errors import InputError
from scoring.images.decode import ImageProblem, open_reference
from scoring.options import Option
from scoring.samples import Status

NONE = "none"  # the placeholder and its tokens are removed: the paper's text, the default
REFERENCE = "reference"  # the placeholder is masked and keeps its position: the paper's code
GRAY = "gray"  # an image of the same size in the colour that the model maps to zero
BLUR = "blur"  # the image itself, under a Gaussian
SHUFFLED = "shuffled"  # as many images of other samples

BASELINES = (NONE, REFERENCE, GRAY, BLUR, SHUFFLED)
DEFAULT_BLUR_SIGMA = 0.05  # of the longer side: wider than a patch of the common vision towers
DEFAULT_SHUFFLE_SEED = 42

_KEPT_GRAYS = 16
_KEPT_PIXELS = 4_000_000
_TRIALS = 32  # images tried in a shuffled order before a sample goes without a partner


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """The blind baselines of a run, in the order of ``BASELINES``, each once.

    ``blur_sigma`` is the standard deviation of the Gaussian as a share of the image's longer
    side. Raises InputError for a baseline that is none and for a number out of its range.
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
        for name in self.names:
            if name not in BASELINES:
                known = ", ".join(BASELINES)
                raise InputError(f"unknown baseline {name!r}; known are {known}")
        if not self.names:
            raise InputError(f"a run needs a baseline; known are {', '.join(BASELINES)}")
        if not 0 < self.blur_sigma <= 1:
            raise InputError(
                f"the blur's sigma is a share of the image's longer side, above 0 and at most 1; "
                f"got {self.blur_sigma}"
            )
        ordered = tuple(name for name in BASELINES if name in self.names)
        object.__setattr__(self, "names", ordered)  # frozen for everybody else

    @property
    def primary(self) -> str:
        """The baseline that counts where only one can be told: ``none`` if it is among them."""
        return self.names[0]

    def parameters(self) -> dict[str, float]:
        """What decides the numbers of these baselines, for the run record."""
        found: dict[str, float] = {}
        if BLUR in self.names:
            found["blur_sigma"] = self.blur_sigma
        if SHUFFLED in self.names:
            found["shuffle_seed"] = self.shuffle_seed
        return found


class BaselineImages:
    """Makes the pictures that stand in for a sample's own. Safe to share between threads.

    ``neutral_colour`` is what ``gray`` shows, ``cycle`` the order of the dataset's images, which
    ``shuffled`` needs.
    """

    def __init__(
        self,
        settings: BaselineSettings,
        neutral_colour: tuple[int, int, int] | None,
        image_roots: Sequence[Path],
        cycle: ShuffledImages | None = None,
    ) -> None:
        self._settings, self._neutral_colour = settings, neutral_colour
        self._roots, self._cycle = image_roots, cycle
        # One object per common size: a model looks at the same object once.
        self._kept_gray = lru_cache(_KEPT_GRAYS)(self._new_gray)
        self._makers: dict[str, Callable[..., list[Image.Image]]] = {
            GRAY: self._gray,
            BLUR: self._blurred,
            SHUFFLED: self._shuffled,
        }

    def shows_pictures(self, baseline: str) -> bool:
        """Whether something is shown in the blind pass at all."""
        return baseline in self._makers

    def make(
        self, baseline: str, references: Sequence[str], images: Sequence[Image.Image]
    ) -> list[Image.Image]:
        """As many pictures as ``images``, which ``references`` name. Raises ImageProblem."""
        return self._makers[baseline](references, images)

    def _gray(self, _: Sequence[str], images: Sequence[Image.Image]) -> list[Image.Image]:
        return [self._gray_of(image.size) for image in images]

    def _gray_of(self, size: tuple[int, int]) -> Image.Image:
        return (self._kept_gray if size[0] * size[1] <= _KEPT_PIXELS else self._new_gray)(size)

    def _new_gray(self, size: tuple[int, int]) -> Image.Image:
        if self._neutral_colour is None:
            raise ImageProblem(Status.BAD_IMAGE, "no colour is known that the model maps to zero")
        return Image.new("RGB", size, self._neutral_colour)

    def _blurred(self, _: Sequence[str], images: Sequence[Image.Image]) -> list[Image.Image]:
        share = self._settings.blur_sigma
        return [image.filter(ImageFilter.GaussianBlur(share * max(image.size))) for image in images]

    def _shuffled(
        self, references: Sequence[str], images: Sequence[Image.Image]
    ) -> list[Image.Image]:
        """The next images behind the sample's first one in the dataset's shuffled order.

        Images that cannot be opened are passed over, and so are those that show the same as one
        of the sample's own, pixel by pixel, whatever their name.
        """
        if self._cycle is None:
            raise ImageProblem(Status.MISSING_IMAGE, "no shuffled order of the images is at hand")
        found: list[Image.Image] = []
        problem = None
        for trial, other in enumerate(self._cycle.after(references[0])):
            if len(found) == len(images) or trial >= _TRIALS + len(images):
                break
            try:
                image = open_reference(other, self._roots)
                if not any(_show_the_same(image, own) for own in images):
                    found.append(image)
            except ImageProblem as error:
                problem = error
        if len(found) == len(images):
            return found
        if problem is None:
            raise ImageProblem(
                Status.MISSING_IMAGE, "the dataset has too few other images to take its place"
            )
        raise ImageProblem(
            problem.status, f"no other image could take its place, lastly: {problem.reason}"
        )


def _show_the_same(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and first.tobytes() == second.tobytes()
