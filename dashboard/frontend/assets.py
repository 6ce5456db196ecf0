"""Scripts and styles of the components, read from the package and joined.

A component's script is one module for the browser, so shared parts are put in front of it as text.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from PIL import Image, ImageDraw

from dashboard.charts.theme import CATEGORY_COLOURS, css_variables
from scoring.necessity import Category

HTML = '<div class="vn"></div>'


@cache
def script(*names: str) -> str:
    """The named scripts as one module; the last one holds the default export."""
    return "\n".join(_read(f"{name}.js") for name in ("dom", *names))


@cache
def style(*names: str) -> str:
    """The palette, the common style and the named ones."""
    return "\n".join(
        (f":host {{ {css_variables()} }}", *(_read(f"{n}.css") for n in ("base", *names)))
    )


@cache
def page_style() -> str:
    """The style of what pages write as HTML themselves."""
    return "\n".join((f":root {{ {css_variables()} }}", _read("figures.css"), _read("page.css")))


@cache
def logo() -> str:
    """The studio's name and mark as SVG."""
    return _read("logo.svg")


@cache
def icon() -> Image.Image:
    """The mark for the browser's tab; drawn here, because named icons are fetched from outside."""
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    colours = [CATEGORY_COLOURS[category].light for category in Category]
    for i, (colour, height) in enumerate(zip(colours, (22, 36, 54), strict=True)):
        left = 6 + 19 * i
        pen.rounded_rectangle((left, 60 - height, left + 14, 60), 4, fill=colour)
    return picture


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
