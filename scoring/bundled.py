"""The folders of the demo data and model, in an installed package or in the checkout."""

from __future__ import annotations

from pathlib import Path

BUNDLED_MODEL = "tiny-vlm"
MODEL_NOTICE = (
    "Made by the small demonstration model that comes with VisNec Studio; these scores mean "
    "something on the demo data only."
)


def bundled_dataset() -> Path:
    """Return the folder of the demo dataset."""
    return _bundled_folder("demo")


def bundled_model() -> Path:
    """Return the folder of the demonstration model."""
    return _bundled_folder(BUNDLED_MODEL)


def _bundled_folder(name: str) -> Path:
    package = Path(__file__).parent
    installed = package / "bundled" / name
    return installed if installed.is_dir() else package.parent / "data" / name
