"""Runs tests with torchvision, which is not in the environment of the other tests.

``make`` installs it, and timm for Perception-LM's images, into a separate folder (or into the
one in ``VISNEC_TORCHVISION``). As a pytest plugin (``-p tests.with_torchvision``) this
module adds that folder to the path. The wheel on PyPI is built for CUDA: if its compiled part does
not load, the two operators that its import needs are declared without code, and everything in
Python works on a CPU.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("VISNEC_TORCHVISION") or Path(sys.prefix) / "torchvision")
_INSTALLED = FOLDER.with_name(f".{FOLDER.name}-installed")  # written by the set-up
_CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
_OPERATORS = ("nms", "qnms")


FAMILIES = (
    "llama4",
    "perception_lm",
    "mistral3",
    "pixtral",
    "cohere2_vision",
    "lfm2_vl",
    "kimi_k25",
)
"""Those of ``newer_families`` whose processors exist with torchvision only."""


def pytest_configure() -> None:
    import torch

    sys.path.append(str(FOLDER))
    try:
        torch.ops.load_library(str(FOLDER / "torchvision" / "_C.so"))
    except OSError:
        for name in _OPERATORS:
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", signature)


def require_torchvision() -> None:
    """Skip the test if torchvision was never installed; fail it if the folder is missing."""
    if is_installed():
        return
    reason = f"no torchvision in {FOLDER}: run `make torchvision`"
    if _INSTALLED.exists():
        pytest.fail(reason)
    pytest.skip(reason)


def is_installed() -> bool:
    pinned = _CONSTRAINTS.read_text("utf-8")
    versions = dict(re.findall(r"^(torchvision|timm)==(\S+)$", pinned, re.MULTILINE))
    return all(
        any(FOLDER.glob(f"{name}-{version}*.dist-info")) for name, version in versions.items()
    )


def install() -> bool:
    if not is_installed():
        options = ["--quiet", "--no-deps", "--upgrade", "--target", str(FOLDER)]
        command = [sys.executable, "-m", "pip", "install", *options, "--constraint"]
        subprocess.run([*command, str(_CONSTRAINTS), "torchvision", "timm"], check=False)
    if is_installed():
        _INSTALLED.touch()
    return is_installed()


if __name__ == "__main__" and sys.argv[1:]:  # python -m tests.with_torchvision MODULE
    pytest_configure()
    runpy.run_module(sys.argv[1], run_name="__main__")
elif __name__ == "__main__":
    found = install()
    print(  # noqa: T201 - a script
        f"Tests use the torchvision in {FOLDER}"
        if found
        else "No torchvision could be installed: tests that need it are skipped"
    )
