"""The four kinds of pictures behind one name, and the rule that keeps the demo's apart.

The decision here: a picture is the demo's or the training's by what it shows (its
``picture_key``) and by nothing else. So no picture of one side can come up on the other, whatever
the seeds. A digit sheet goes by its scans.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from PIL import Image

from data.synthetic.charts import random_chart
from data.synthetic.digit_sheets import random_digit_sheet
from data.synthetic.labels import PatchLabels
from data.synthetic.palette import is_held_out
from data.synthetic.questions import Question
from data.synthetic.scenes import random_scene
from data.synthetic.signs import random_sign

DEMO_PICTURES_ONE_IN = 8


class Picture(Protocol):
    """A frozen dataclass that says what a picture shows."""

    def draw(self) -> Image.Image:
        """Return the picture, 256 x 256 pixels."""
        ...

    def patch_labels(self) -> PatchLabels:
        """Return what each of the 16 cells shows."""
        ...

    def questions(self, rng: random.Random) -> list[Question]:
        """Return questions that need the picture."""
        ...

    def listing_question(self, rng: random.Random) -> Question:
        """Return the request to list everything that the picture shows."""
        ...

    def stated_questions(self, rng: random.Random) -> list[Question]:
        """Return questions that state their own answer, which is true of the picture."""
        ...


_MAKERS: dict[str, Callable[[random.Random], Picture]] = {
    "scenes": random_scene,
    "charts": random_chart,
    "words": random_sign,
}
SOURCES = ("scenes", "charts", "words", "digits")


def random_picture(rng: random.Random, source: str, for_demo: bool) -> Picture:
    """Draw pictures of a source until one is on the wanted side of the hold-out."""
    if source == "digits":
        return random_digit_sheet(rng, for_demo)
    while True:
        picture = _MAKERS[source](rng)
        if is_demo_picture(source, describe_picture(picture)) == for_demo:
            return picture


def describe_picture(picture: Picture) -> dict[str, Any]:
    """Return what a picture shows as plain values, ready for JSON."""
    description: dict[str, Any] = json.loads(json.dumps(asdict(picture)))  # type: ignore[call-overload]
    return description


def is_demo_picture(source: str, description: dict[str, Any]) -> bool:
    """Say whether a scene, chart or sign is kept for the demo."""
    key = source + json.dumps(description, sort_keys=True)
    return is_held_out(key, DEMO_PICTURES_ONE_IN)
