"""Digests of a model's files that decide its numbers: weights, configuration, chat template.

Files are hashed byte by byte and one by one, so a change can be attributed to a file. A template
is hashed by its text, wherever it was stored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

_DECIDING_FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
)
_SHORT = 12  # hex digits that distinguish versions of one file


def weights_fingerprint(folder: Path) -> str:
    """Return the sha256 over the sha256 of each weight file, in order of their names.

    In a Hugging Face cache the files are links named by their sha256, so they need not be read.
    """
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        name = path.resolve().name
        digest = name if re.fullmatch(r"[0-9a-f]{64}", name) else _file_sha256(path)
        whole.update(digest.encode())
    return whole.hexdigest()


def adapter_fingerprint(folder: Path) -> str:
    """Return the sha256 over the configuration and the weights of a PEFT adapter."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    digests = "".join(_file_sha256(folder / name) for name in names)
    return hashlib.sha256(digests.encode()).hexdigest()


def hash_deciding_files(folder: Path) -> dict[str, str]:
    """Return file name -> short sha256 of the files besides weights that decide ids and pixels."""
    paths = sorted({path for name in _DECIDING_FILES for path in folder.glob(name)})
    return {path.name: _file_sha256(path)[:_SHORT] for path in paths}


def template_digest(template: object, end_markers: Sequence[str]) -> str:
    """Return the short sha256 of a chat template's text and of the possible end-of-turn tokens.

    ``template`` is as in transformers: the Jinja text, or several by name.
    """
    text = json.dumps([template, list(end_markers)], sort_keys=True, default=str)
    return text_digest(text)


def text_digest(text: str) -> str:
    """Return the short sha256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_SHORT]


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
