"""The four kinds of pictures with one interface, and the split between demo and training pictures.

Only what a picture shows decides whether it belongs to the demo or to the training data, so no
picture can occur on both sides, with any seeds. For digit sheets the scans decide.
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
    """A frozen dataclass that describes what a picture shows."""

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
    """Return a random picture of a source, on the demo's or the training's side of the split."""
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
    """Return whether a scene, chart or sign is reserved for the demo."""
    key = source + json.dumps(description, sort_keys=True)
    return is_held_out(key, DEMO_PICTURES_ONE_IN)
