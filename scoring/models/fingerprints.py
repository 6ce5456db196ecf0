"""What a model's folder holds that decides its numbers, as digests: weights, files, template.

The one decision behind it: files are compared by their bytes, one by one, so that a change can be
named by its file; a template counts by its text, wherever that was kept.
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
_HASH_CHUNK = 1 << 22
_SHORT = 12  # hex digits that tell versions of one file apart


def weights_fingerprint(folder: Path) -> str:
    """sha256 over the sha256 of each weight file, in order of their names.

    In a Hugging Face cache the files are links named by their sha256, which spares the reading.
    """
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        name = path.resolve().name
        digest = name if re.fullmatch(r"[0-9a-f]{64}", name) else _file_sha256(path)
        whole.update(digest.encode())
    return whole.hexdigest()


def adapter_fingerprint(folder: Path) -> str:
    """sha256 over the configuration and the weights of a PEFT adapter."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    digests = "".join(_file_sha256(folder / name) for name in names)
    return hashlib.sha256(digests.encode()).hexdigest()


def deciding_files(folder: Path) -> dict[str, str]:
    """File name -> short sha256, of the files besides the weights that decide ids and pixels."""
    found = sorted({path for name in _DECIDING_FILES for path in folder.glob(name)})
    return {path.name: _file_sha256(path)[:_SHORT] for path in found}


def template_digest(template: object, end_markers: Sequence[str]) -> str:
    """Short sha256 of a chat template's text and of the tokens that may end an answer.

    ``template`` is what transformers holds: the Jinja text, or several of them by name.
    """
    text = json.dumps([template, list(end_markers)], sort_keys=True, default=str)
    return text_digest(text)


def text_digest(text: str) -> str:
    """Short sha256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_SHORT]


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
