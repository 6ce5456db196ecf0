"""Where the demo's data and model lie: inside an installed package, or in the checkout."""

from __future__ import annotations

from pathlib import Path

BUNDLED_MODEL = "tiny-vlm"
MODEL_NOTICE = (
    "Made by the small demonstration model that comes with VisNec Studio; these scores mean "
    "something on the demo data only."
)


def bundled_dataset() -> Path:
    """The folder of the demo dataset."""
    return _bundled("demo")


def bundled_model() -> Path:
    """The folder of the demonstration model."""
    return _bundled(BUNDLED_MODEL)


def _bundled(name: str) -> Path:
    package = Path(__file__).parent
    installed = package / "bundled" / name
    return installed if installed.is_dir() else package.parent / "data" / name
