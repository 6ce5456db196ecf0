"""The folders of the demo data and model, in an installed package or in the checkout."""

from __future__ import annotations

from pathlib import Path

BUNDLED_MODEL = "tiny-vlm"
MODEL_NOTICE = (
    "Made by the small demonstration model that comes with VisNec Studio; these scores mean "
    "something on the demo data only."
)


def bundled_folder(name: str) -> Path:
    """Return the folder of the demo dataset (``demo``) or of the demonstration model."""
    package = Path(__file__).parent
    installed = package / "bundled" / name
    return installed if installed.is_dir() else package.parent / "data" / name
