"""Measures the bundled model on the demo in the simplest way: one sample at a time.

    python -m data.evaluate_tiny_vlm [--model data/tiny-vlm] [--demo data/demo] [--no-generate]

Each sample is run with and without its image, with full logits; the loss is the mean over all
answer tokens, including end tokens (nats per token). The scoring engine is not used, so its results
can be compared with these. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText, AutoProcessor

from scoring.demo.digits import write_digit_images

HERE = Path(__file__).parent
PAIRS = (
    ("vision_critical", "redundant"),
    ("redundant", "misaligned"),
    ("vision_critical", "misaligned"),
)
USER, ASSISTANT = "<user>", "<assistant>"

Record = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """Losses of a sample (nats per answer token) and which of its turns were predicted."""

    record: Record
    loss_text: float
    loss_multimodal: float
    right: tuple[bool, ...]
    generated: str | None

    @property
    def visnec(self) -> float:
        """Loss without the image minus loss with it."""
        return self.loss_text - self.loss_multimodal


class PlainModel:
    """The model and its processor, used one sample at a time."""

    def __init__(self, folder: Path) -> None:
        self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        loaded = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
        self._model = loaded.float().eval()
        self._tokenizer = self._processor.tokenizer

    @torch.inference_mode()
    def answer_losses(self, record: Record, image: Image.Image | None) -> tuple[Tensor, Tensor]:
        """Return the loss of every answer token, and whether it was the most likely token."""
        text, spans = self._render(record, with_image=image is not None)
        inputs = self._inputs(text, image)
        logits = self._model(**inputs).logits[0, :-1].float()
        targets = inputs["input_ids"][0, 1:]
        losses = cross_entropy(logits, targets, reduction="none")
        hits = logits.argmax(-1) == targets
        answers = self._answer_positions(inputs["input_ids"][0].tolist(), len(spans))
        return losses[answers], hits[answers]

    @torch.inference_mode()
    def generate(self, record: Record, image: Image.Image) -> str:
        """Return the greedy answer to the first question."""
        text, _ = self._render(record, with_image=True)
        inputs = self._inputs(text.split(ASSISTANT)[0] + ASSISTANT, image)
        output = self._model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        return str(self._tokenizer.decode(output, skip_special_tokens=True)).strip()

    def _render(self, record: Record, with_image: bool) -> tuple[str, list[str]]:
        """Return the chat as text, and the answers; the template is written out here."""
        end = self._tokenizer.eos_token
        text, answers = self._tokenizer.bos_token, []
        for turn in record["conversations"]:
            if turn["from"] == "human":
                asked = turn["value"] if with_image else turn["value"].replace("<image>", "")
                text += USER + asked
            else:
                text += f"{ASSISTANT} {turn['value']}{end}"
                answers.append(turn["value"])
        return text, answers

    def _inputs(self, text: str, image: Image.Image | None) -> Any:
        images = {} if image is None else {"images": image}
        return self._processor(text=text, return_tensors="pt", **images)

    def _answer_positions(self, ids: list[int], turns: int) -> Tensor:
        """Return the positions of answer tokens in the targets: after each assistant marker, up to
        and including the end token.
        """
        marker = self._tokenizer.convert_tokens_to_ids(ASSISTANT)
        positions, inside, seen = [], False, 0
        for place, token in enumerate(ids):
            if inside:
                positions.append(place - 1)
            if token == marker:
                inside, seen = True, seen + 1
            elif token == self._tokenizer.eos_token_id:
                inside = False
        if seen != turns:
            raise ValueError(f"{seen} answers in the token ids, {turns} in the record")
        return torch.tensor(positions)

    def turn_hits(self, record: Record, hits: Tensor) -> tuple[bool, ...]:
        """Return for each turn whether all of its answer tokens were the most likely ones."""
        answers = [turn["value"] for turn in record["conversations"] if turn["from"] == "gpt"]
        encoded = [self._tokenizer(" " + answer)["input_ids"] for answer in answers]
        parts = torch.split(hits, [len(ids) + 1 for ids in encoded])
        return tuple(bool(part.all()) for part in parts)


def measure(model: PlainModel, record: Record, roots: Iterable[Path], generate: bool) -> Measured:
    """Run one sample with and without its image."""
    path = next(root / record["image"] for root in roots if (root / record["image"]).exists())
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    multimodal, hits = model.answer_losses(record, image)
    text, _ = model.answer_losses(record, None)
    if len(multimodal) != len(text):
        raise ValueError(f"{record['id']}: {len(multimodal)} and {len(text)} answer tokens")
    generated = model.generate(record, image) if generate else None
    return Measured(
        record,
        text.mean().item(),
        multimodal.mean().item(),
        model.turn_hits(record, hits),
        generated,
    )


def describe_groups(measured: list[Measured]) -> dict[str, Any]:
    """Return the distribution of the score for each value of ``made``."""
    groups: dict[str, list[float]] = defaultdict(list)
    for one in measured:
        groups[one.record["made"]].append(one.visnec)
    return {
        made: {
            "samples": len(scores),
            "mean": rounded(np.mean(scores)),
            "p5": rounded(np.quantile(scores, 0.05)),
            "median": rounded(np.median(scores)),
            "p95": rounded(np.quantile(scores, 0.95)),
        }
        for made, scores in groups.items()
    }


def separation(measured: list[Measured]) -> dict[str, float]:
    """Return the AUC of the score for each pair of groups."""
    result = {}
    for high, low in PAIRS:
        chosen = [one for one in measured if one.record["made"] in (high, low)]
        is_high = [one.record["made"] == high for one in chosen]
        area = roc_auc_score(is_high, [one.visnec for one in chosen])
        result[f"{high} > {low}"] = rounded(area)
    return result


def accuracy_by_question(measured: list[Measured]) -> dict[str, dict[str, Any]]:
    """Return for each kind of question how often the right answer was the most likely one, with the
    image, and the mean score of samples that ask only it.
    """
    hits: dict[str, list[bool]] = defaultdict(list)
    scores: dict[str, list[float]] = defaultdict(list)
    for one in measured:
        if one.record["made"] == "misaligned":
            continue
        for kind, right in zip(one.record["asks"], one.right, strict=True):
            hits[kind].append(right)
        if len(one.record["asks"]) == 1:
            scores[one.record["asks"][0]].append(one.visnec)
    return {
        kind: {
            "turns": len(hits[kind]),
            "accuracy": rounded(np.mean(hits[kind])),
            "visnec": rounded(np.mean(scores[kind])) if scores[kind] else None,
        }
        for kind in sorted(hits)
    }


def generation_accuracy(measured: list[Measured]) -> dict[str, float]:
    """Return how often greedy generation gave the reference answer of the first turn."""
    right: dict[str, list[bool]] = defaultdict(list)
    for one in measured:
        if one.generated is not None:
            answer = one.record["conversations"][1]["value"]
            right[one.record["made"]].append(normal(one.generated) == normal(answer))
    return {made: rounded(np.mean(values)) for made, values in right.items()}


def normal(text: str) -> str:
    """Return the words of a text in lower case."""
    return " ".join(re.findall(r"\w+", text.lower()))


def rounded(value: Any) -> float:
    """Return a float with four decimals."""
    return round(float(value), 4)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE / "tiny-vlm")
    parser.add_argument("--demo", type=Path, default=HERE / "demo")
    parser.add_argument("--no-generate", action="store_true", help="losses only")
    parser.add_argument("--scores", type=Path, help="also write each sample's losses, as JSON")
    arguments = parser.parse_args()
    records = json.loads((arguments.demo / "records.json").read_text(encoding="utf-8"))
    usable = [record for record in records if "image" in record and "broken" not in record]
    model = PlainModel(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        write_digit_images(Path(folder), arguments.demo)
        roots = (arguments.demo / "images", Path(folder))
        generate = not arguments.no_generate
        measured = [measure(model, record, roots, generate) for record in usable]
    if arguments.scores:
        write_scores(arguments.scores, measured)
    print(json.dumps(report(measured), indent=1))


def report(measured: list[Measured]) -> dict[str, Any]:
    """Return all figures."""
    return {
        "samples": len(measured),
        "auc": separation(measured),
        "visnec": describe_groups(measured),
        "greedy_answers_right": generation_accuracy(measured),
        "questions": accuracy_by_question(measured),
    }


def write_scores(path: Path, measured: list[Measured]) -> None:
    """Write the losses of each sample by its id."""
    scores = {
        one.record["id"]: {"loss_text": one.loss_text, "loss_multimodal": one.loss_multimodal}
        for one in measured
    }
    path.write_text(json.dumps(scores, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
