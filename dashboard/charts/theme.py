"""The colours and their meaning, in light and dark, and Streamlit's theme.

The three categories have the same colour on every page, in every chart and in every component. The
colours differ in lightness as well as in hue, so that they remain distinct for colour-blind users
and in print, and each comes with a symbol or a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scoring.necessity import Category


@dataclass(frozen=True, slots=True)
class Shade:
    """One colour in a light and a dark version."""

    light: str
    dark: str

    def of(self, dark: bool) -> str:
        """Return the version for the current theme."""
        return self.dark if dark else self.light

    @property
    def css(self) -> str:
        """The colour for CSS, which follows the page's colour scheme."""
        return f"light-dark({self.light}, {self.dark})"


CATEGORY_COLOURS: dict[Category, Shade] = {
    Category.MISALIGNED: Shade("#C2512F", "#F0845F"),
    Category.REDUNDANT: Shade("#8E8C83", "#8C8F98"),
    Category.VISION_CRITICAL: Shade("#2A6DB0", "#6AAEEA"),
}
# Streamlit's named text colours for the categories in labels: ":red[■] misaligned".
CATEGORY_MARKUP: dict[str, Category] = {
    "red": Category.MISALIGNED,
    "gray": Category.REDUNDANT,
    "blue": Category.VISION_CRITICAL,
}
DECISION_COLOURS: dict[str, Shade] = {
    "keep": Shade("#1B7F5F", "#4CC29A"),
    "drop": Shade("#8A4B8F", "#CF93D4"),
    "unsure": Shade("#94700C", "#DDB64A"),
}
# Sources by size, the rest of them last; paler than categories and decisions.
SOURCE_COLOURS = (
    Shade("#40547A", "#8EA3C8"),
    Shade("#5C9186", "#74B3A6"),
    Shade("#7A6496", "#B19CCB"),
    Shade("#A07C4C", "#CFAE83"),
    Shade("#7389AB", "#6C82A8"),
    Shade("#3F7168", "#57897F"),
    Shade("#9A7FA8", "#8A76A3"),
    Shade("#8A8F98", "#7C8490"),
)
ABSENT = Shade("#A6ADBA", "#626C7B")  # points without a value
DIMMED = Shade("#E3E6EB", "#2A313C")  # points outside the filter
ACCENT = Shade("#3E54A3", "#93A5F0")
INK = Shade("#1C2330", "#E4E8EF")
QUIET_INK = Shade("#5E6674", "#A0A9B8")
LINE = Shade("#DFE2E8", "#313947")
PAPER = Shade("#FFFFFF", "#12161D")
PANEL = Shade("#F5F6F9", "#1B212B")

# Counts in the loss plane, from one sample, which must be visible on the page, to many.
DENSITY_LIGHT = ("#C6D3E8", "#8FACD3", "#4F7CB5", "#1E4C86", "#0B2748")
DENSITY_DARK = ("#2F4A6E", "#38618F", "#5089C4", "#86B7E6", "#D5E8FA")


def mix_shades(start: Shade, end: Shade, share: float) -> Shade:
    """Return the colour at this share of the way from one to another."""

    def mix(a: str, b: str) -> str:
        pairs = ((int(a[n : n + 2], 16), int(b[n : n + 2], 16)) for n in (1, 3, 5))
        return "#" + "".join(f"{round(low + share * (high - low)):02X}" for low, high in pairs)

    return Shade(mix(start.light, end.light), mix(start.dark, end.dark))


def category_label(category: Category) -> str:
    """Return a category's swatch and name for a widget's label."""
    colour = next(name for name, named in CATEGORY_MARKUP.items() if named is category)
    return f":{colour}[■] {category}"


def css_variables() -> str:
    """Return the palette as CSS custom properties that follow the page's colour scheme."""
    colours: dict[str, Shade] = {
        **{str(category): shade for category, shade in CATEGORY_COLOURS.items()},
        **DECISION_COLOURS,
        "accent": ACCENT,
        "ink": INK,
        "quiet": QUIET_INK,
        "line": LINE,
        "paper": PAPER,
        "panel": PANEL,
        **{f"source-{number}": shade for number, shade in enumerate(SOURCE_COLOURS)},
    }
    return "".join(f"--vn-{name}:{shade.css};" for name, shade in colours.items())


def streamlit_theme() -> dict[str, Any]:
    """Return Streamlit's theme options for both colour schemes; the browser chooses."""
    options: dict[str, Any] = {
        "theme.baseFontSize": 15,
        "theme.baseRadius": "8px",
        "theme.showWidgetBorder": True,
        "theme.headingFontSizes": ["1.4rem", "1.2rem", "1.05rem", "1rem", "0.95rem", "0.9rem"],
        "theme.headingFontWeights": [650, 600, 600, 600, 600, 600],
    }
    for scheme, dark in (("light", False), ("dark", True)):
        options |= {
            f"theme.{scheme}.primaryColor": ACCENT.of(dark),
            f"theme.{scheme}.backgroundColor": PAPER.of(dark),
            f"theme.{scheme}.secondaryBackgroundColor": PANEL.of(dark),
            f"theme.{scheme}.textColor": INK.of(dark),
            f"theme.{scheme}.borderColor": LINE.of(dark),
            f"theme.{scheme}.chartCategoricalColors": [
                CATEGORY_COLOURS[category].of(dark) for category in Category
            ],
        }
        for name, category in CATEGORY_MARKUP.items():
            options[f"theme.{scheme}.{name}TextColor"] = CATEGORY_COLOURS[category].of(dark)
    return options
