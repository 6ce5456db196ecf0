"""Scripts and styles of the components, read from the package and joined.

A component's script is one module for the browser, so shared parts are put in front of it as text.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from dashboard.theme import css_variables

HTML = '<div class="vn"></div>'


@cache
def script(*names: str) -> str:
    """The named scripts as one module; the last one holds the default export."""
    return "\n".join(_read(f"{name}.js") for name in ("dom", *names))


@cache
def style(*names: str) -> str:
    """The palette, the common style and the named ones."""
    return "\n".join((f":host {{ {css_variables()} }}", *(_read(f"{n}.css") for n in ("base", *names))))


@cache
def page_style() -> str:
    """The style of what pages write as HTML themselves."""
    return f":root {{ {css_variables()} }}\n{_read('page.css')}"


def _read(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text("utf-8")
