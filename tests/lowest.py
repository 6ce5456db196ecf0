"""Prints the lowest version of every direct dependency as a pin, for pip's ``--constraint``.

    python tests/lowest.py > lowest.txt

The lowest versions are defined in ``pyproject.toml``: ``streamlit>=1.66,<2`` becomes
``streamlit==1.66``.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
_FLOOR = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?\s*[>=]=(?P<version>[0-9.]+)")


def lowest_versions(project: Path = PROJECT) -> dict[str, str]:
    """Return name -> lowest version of each dependency of the project and its extras.

    Raises:
        ValueError: A dependency has no lowest version.
    """
    table = tomllib.loads(project.read_text("utf-8"))["project"]
    lowest: dict[str, str] = {}
    for requirement in sum(table["optional-dependencies"].values(), table["dependencies"]):
        floor = _FLOOR.match(requirement)
        if floor is None:
            raise ValueError(f"{requirement!r} has no lowest version; write it as name>=version")
        lowest[floor["name"]] = floor["version"]
    return lowest


if __name__ == "__main__":
    for name, version in lowest_versions().items():
        print(f"{name}=={version}")  # noqa: T201 - a script
