"""The ``visnec`` command, which first checks that Python imports the packages of this project.

Unrelated packages are also named ``scoring`` and ``dashboard``. This module has a name of its own,
so it is found where they are not.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def describe_conflict(package: str) -> str | None:
    """Return which other package Python imports as ``package``, or None if it is ours."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return f"The package {package!r} of VisNec Studio is missing. Install visnec-studio again."
    path = Path(spec.origin)
    if "VisNec Studio" in path.read_text("utf-8", "replace"):
        return None
    folder = path.parent if path.name == "__init__.py" else path
    return (
        f"Python imports another package named {package!r} from {folder} instead of VisNec "
        "Studio's. Install visnec-studio into an environment of its own."
    )


def main() -> None:
    """Run the command, unless another package is imported as ``scoring``."""
    if message := describe_conflict("scoring"):
        sys.stderr.write(f"error: {message}\n")
        sys.exit(2)
    if message := describe_conflict("dashboard"):
        sys.stderr.write(f"warning: {message}\n")
    try:  # the imports take a second, in which Ctrl-C may come
        from scoring.cli import main as run_command
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        sys.exit(130)
    run_command()
