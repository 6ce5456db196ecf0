"""Colours have contrast, text on them is readable, and categories differ for every eye."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import pytest
from numpy.typing import NDArray

from dashboard.charts.style import set_layout
from dashboard.charts.theme import (
    ACCENT,
    CATEGORY_COLOURS,
    DECISION_COLOURS,
    DENSITY_DARK,
    DENSITY_LIGHT,
    PANEL,
    PAPER,
    SOURCE_COLOURS,
    Shade,
)


def linear_rgb(colour: str) -> NDArray[np.float64]:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear_rgb(colour) @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio as defined by WCAG 2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# Linear RGB as dichromats see it, by Machado, Oliveira and Fernandes (2009), severity 1.
EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
# Linear RGB to CIE XYZ, each row over its white.
_TO_XYZ = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0177, 0.1095, 0.8729))


def lightness_and_hue(colour: str, eye: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return CIE Lab of a colour as an eye sees it."""
    seen = np.clip(np.asarray(eye) @ linear_rgb(colour), 0, 1)
    xyz = np.asarray(_TO_XYZ) @ seen
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("ground", [PAPER, PANEL])
def test_categories_stand_out_from_paper_and_panel(ground: Shade, dark: bool) -> None:
    for shade in CATEGORY_COLOURS.values():
        assert contrast(shade.of(dark), ground.of(dark)) >= 3


@pytest.mark.parametrize("dark", [False, True])
def test_sources_stand_out_from_the_paper(dark: bool) -> None:
    for shade in SOURCE_COLOURS:
        assert contrast(shade.of(dark), PAPER.of(dark)) >= 3


@pytest.mark.parametrize("dark", [False, True])
def test_text_on_decision_colours_is_readable(dark: bool) -> None:
    """Marks and selected buttons have paper-coloured text."""
    for shade in (*DECISION_COLOURS.values(), ACCENT):
        assert contrast(shade.of(dark), PAPER.of(dark)) >= 4.5


@pytest.mark.parametrize("dark", [False, True])
def test_categories_differ_for_every_eye(dark: bool) -> None:
    """Also without the cones for red, green or blue; black to white is 100."""
    for eye in EYES.values():
        seen = [lightness_and_hue(shade.of(dark), eye) for shade in CATEGORY_COLOURS.values()]
        for one, other in itertools.combinations(seen, 2):
            assert math.dist(one, other) >= 30


@pytest.mark.parametrize("dark", [False, True])
def test_bins_with_one_sample_are_visible(dark: bool) -> None:
    assert contrast((DENSITY_DARK if dark else DENSITY_LIGHT)[0], PAPER.of(dark)) >= 1.5


@pytest.mark.parametrize("dark", [False, True])
def test_axes_have_readable_text(dark: bool) -> None:
    figure = go.Figure()
    set_layout(figure, dark, 300)
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        for font in (axis.tickfont, axis.title.font):
            assert contrast(font.color, PAPER.of(dark)) >= 4.5
