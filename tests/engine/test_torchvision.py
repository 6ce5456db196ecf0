"""Families whose processors need torchvision, in a process that has it; see ``with_torchvision``.

Some others failed to load only there, because of requirements for videos: num2words, a font.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.with_torchvision import FAMILIES, require_torchvision

ROOT = Path(__file__).parents[2]
ALSO = ("smolvlm", "ernie4_5_vl_moe", "llava_next_video")


@pytest.mark.parametrize("marked", ["not long", pytest.param("long", marks=pytest.mark.long)])
def test_families_that_need_torchvision(marked: str) -> None:
    if find_spec("torchvision"):
        pytest.skip("torchvision is installed: test_families.py runs these families itself")
    require_torchvision()
    also = " or ".join(ALSO)
    chosen = " or ".join([*FAMILIES, f"(({also}) and losses)"])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.with_torchvision"]
    command += ["-p", "no:cacheprovider", "-m", marked, "-k", chosen]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    tests = subprocess.run(
        [*command, "tests/engine/test_families.py", "tests/training/test_collator.py"],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout[-8000:] + tests.stderr[-2000:]
    assert " skipped" not in tests.stdout
