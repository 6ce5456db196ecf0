"""Shapes of SVG plots, rounded to tenths. Colours are readable on light and dark pages."""

from __future__ import annotations

from html import escape

WIDTH = 720
INK = "#7a828c"
_FONT = "font-family='system-ui,sans-serif' font-size='12'"


def draw_rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    """Return a rectangle, at least half a unit wide and high."""
    size = f"width='{max(width, 0.5):.1f}' height='{max(height, 0.5):.1f}'"
    return f"<rect x='{x:.1f}' y='{y:.1f}' {size} fill='{colour}'/>"


def draw_dot(x: float, y: float, radius: float, colour: str) -> str:
    """Return a filled circle."""
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius:.1f}' fill='{colour}'/>"


def draw_text(x: float, y: float, text: str, anchor: str = "start") -> str:
    """Return one line of text; characters that are not printable become spaces."""
    printable = escape("".join(c if c.isprintable() else " " for c in text))
    position = f"x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'"
    return f"<text {position} fill='{INK}' {_FONT}>{printable}</text>"


def draw_document(height: int, title: str, shapes: list[str]) -> bytes:
    """Return an SVG file of these shapes."""
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' "
        f"width='{WIDTH}' height='{height}' role='img'><title>{escape(title)}</title>"
    )
    return ("\n".join([head, *shapes, "</svg>"]) + "\n").encode()
