"""LLaMA-Factory's own loading code reads an export for it.

It runs where the package is installed, with any versions of its dependencies.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from scoring.exports.manifest import read_manifest
from scoring.models import load_model
from tests.training.conftest import Export

pytestmark = pytest.mark.long
if importlib.util.find_spec("llamafactory") is None:
    pytest.skip("LLaMA-Factory is not installed", allow_module_level=True)
IGNORED = -100


@pytest.fixture
def llamafactory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Its package for data, without torchaudio where that is not installed: no test has sounds."""
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")
    for name in ("transformers", "peft"):  # before: these look for torchaudio too
        importlib.import_module(name)
    if importlib.util.find_spec("torchaudio") is None:
        empty = ModuleType("torchaudio")
        empty.__spec__ = ModuleSpec("torchaudio", None)
        monkeypatch.setitem(sys.modules, "torchaudio", empty)
    return importlib.import_module("llamafactory.data")


def load_rows(llamafactory: ModuleType, folder: Path, **options: Any) -> tuple[Any, Any]:
    """Its training rows of an export, and the tokenizer."""
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments

    processor = load_model("tiny-vlm", device="cpu").processor
    tokenizer = processor.tokenizer
    data = DataArguments(
        template="llava", dataset_dir=str(folder), overwrite_cache=True, cutoff_len=8192, **options
    )
    template = llamafactory.get_template_and_fix_tokenizer(tokenizer, data)
    arguments = Seq2SeqTrainingArguments(str(folder.parent / "out"), use_cpu=True, seed=7)
    model = ModelArguments(model_name_or_path="tiny-vlm")
    module = llamafactory.get_dataset(
        template, model, data, arguments, stage="sft", tokenizer=tokenizer, processor=processor
    )
    return module["train_dataset"], tokenizer


def read_options(command: str, *names: str) -> dict[str, str]:
    """The options of these names in a start command."""
    words = command.split()
    return {name: words[words.index(f"--{name}") + 1] for name in names}


def test_it_trains_on_every_answer_and_opens_every_image(
    export: Export, llamafactory: ModuleType
) -> None:
    folder = export("above", "--for", "llamafactory", "--turns", "drop", "--turn-min", "0")
    command = read_manifest(folder).start_command(str(folder))
    rows, tokenizer = load_rows(llamafactory, folder, **read_options(command, "dataset"))
    expected = pq.read_table(folder / "samples.parquet").to_pylist()
    assert len(rows) == len(expected) > 100
    for row, sample in zip(rows, expected, strict=True):
        assert (row["images"] or []) == sample["images"]
        assert all(Path(path).is_file() for path in sample["images"])
        trained = [token for token in row["labels"] if token != IGNORED]
        answers = [turn["value"] for turn in sample["conversations"] if turn["from"] == "gpt"]
        text = tokenizer.decode(trained, skip_special_tokens=True)
        assert "".join(text.split()) == "".join("".join(answers).split())


def test_it_draws_sources_by_their_weights(export: Export, llamafactory: ModuleType) -> None:
    folder = export("often", "--for", "llamafactory", "--weights", "source")
    manifest = read_manifest(folder)
    names = ("dataset", "mix_strategy", "interleave_probs")
    options = read_options(manifest.start_command(str(folder)), *names)
    rows, _ = load_rows(llamafactory, folder, **options)
    assert len(manifest.source_files) > 1
    drawn = Counter(map(tuple, rows["images"]))
    n_drawn = count_by_file(folder, manifest.source_files, drawn)
    total = sum(n_drawn.values())
    assert total == len(rows)
    for file in manifest.source_files:
        error = 4 * (file["setting"] * (1 - file["setting"]) / total) ** 0.5
        assert n_drawn[file["file"]] / total == pytest.approx(file["setting"], abs=error)


def count_by_file(
    folder: Path, files: list[Mapping[str, Any]], drawn: Counter[tuple[str, ...]]
) -> dict[str, int]:
    """How many of the drawn images are in each file."""
    counts = {}
    for file in files:
        images = pq.read_table(folder / file["file"]).column("images").to_pylist()
        counts[file["file"]] = sum(drawn[images] for images in set(map(tuple, images)))
    return counts
