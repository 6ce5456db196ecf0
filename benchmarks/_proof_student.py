"""The small models that ``benchmarks.proof`` trains: their base, a training and a measurement.

The vision tower is the bundled model's and frozen, so its features are computed once. The lean
pass gives the loss of ``LlavaForConditionalGeneration`` from them, at answer tokens only.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

from data.build_demo import TURN_WEIGHTS, Record
from data.synthetic.dialogues import Mixture, random_dialogue
from data.synthetic.palette import seeded
from data.tiny_llava import IGNORED, IMAGE, PAD, Encoder, build_model, to_pixels
from data.train_tiny_vlm import Descent, Progress, adamw_descent, save, schedule
from scoring.bundled import bundled_folder
from scoring.training.weights import weighted_sampler

BASE_SEED, BASE_BATCH = 15, 64
CAPTIONS = Mixture(blind=0, text_only=0.4, listing=1, fact=0, stated=0, turn_weights=TURN_WEIGHTS)
"""The base has read captions and facts, and was never asked about a picture."""

BATCH, BATCHES_PER_SORT, WARM_UP = 16, 8, 20
TEST_BATCH = 128
TOWER_BATCH = 256

ANSWER_GROUPS = {
    "two-way": (
        "bar exists", "compare", "digit exists", "exists", "half", "parity", "says", "sign half",
    ),
    "lettered": ("choice",),
    "few values": (
        "bars", "board", "colour", "count", "count of colour", "count of shape", "digit place",
        "digits", "ink", "length", "position", "shape", "value",
    ),
}  # fmt: skip
"""Kinds of questions by how many answers are possible; all other kinds have many."""
MANY_VALUES = "many values"
GROUP_OF = {kind: group for group, kinds in ANSWER_GROUPS.items() for kind in kinds}
Counts = dict[str, list[int]]
"""(questions, right answers) by group."""


@dataclass(frozen=True, slots=True)
class Example:
    """An encoded record; ``image`` is a row of the features, or -1."""

    ids: Tensor  # (length,)
    labels: Tensor  # (length,)
    image: int
    made: str
    group: str  # of its first question


@dataclass(frozen=True, slots=True)
class Features:
    """What the tower sees in each image."""

    values: NDArray[np.float32]  # (images, patches, width)
    row_of: dict[str, int]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training took."""

    steps: int
    loss: float  # mean of the last tenth of the steps
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """How a model does on one kind of test questions. The loss is in nats per answer token."""

    n: int
    n_right: int
    loss: float
    groups: Counts


def load_student(folder: Path) -> LlavaForConditionalGeneration:
    """Load a model whose projector and language model are trained further."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, local_files_only=True).float()
    model.model.vision_tower.requires_grad_(False)
    return model


def load_encoder() -> Encoder:
    """Return the encoder of the bundled model, which all models here share."""
    folder = bundled_folder("tiny-vlm")
    return Encoder(PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True))


def save_student(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Write a model that ``visnec score`` loads."""
    processor = LlavaProcessor.from_pretrained(bundled_folder("tiny-vlm"), local_files_only=True)
    save(model, processor, folder)


@torch.inference_mode()
def see(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """Return the tower's features of images (n, 3, 64, 64) as (n, patches, width)."""
    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    layer = model.config.vision_feature_layer
    return torch.as_tensor(states[layer][:, 1:])  # without the class token


def compute_features(images: Path) -> Features:
    """Run the bundled tower over all images of a folder; the result is stored next to it."""
    stored = images.with_suffix(".npy")
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    if not stored.exists():
        model, blocks = load_student(bundled_folder("tiny-vlm")).eval(), []
        for start in range(0, len(names), TOWER_BATCH):
            opened = (Image.open(images / name) for name in names[start : start + TOWER_BATCH])
            blocks.append(see(model, to_pixels(image.convert("RGB") for image in opened)).numpy())
        partial = stored.with_suffix(".partial.npy")
        np.save(partial, np.concatenate(blocks))
        partial.replace(stored)
    values = np.load(stored, mmap_mode="r")
    return Features(values, {name: row for row, name in enumerate(names)})


def encode_records(
    records: Sequence[Record], encoder: Encoder, features: Features
) -> list[Example]:
    """Return the records as the scorer encodes them, with labels at all answer tokens."""
    examples = []
    for record in records:
        values = [turn["value"].replace("<image>", "") for turn in record["conversations"]]
        turns = zip(values[::2], values[1::2], strict=True)
        ids, labels = encoder.encode_turns(turns, with_image="image" in record)
        row = features.row_of[record["image"]] if "image" in record else -1
        group = GROUP_OF.get(record["asks"][0], MANY_VALUES)
        example = Example(torch.tensor(ids), torch.tensor(labels), row, record["made"], group)
        examples.append(example)
    return examples


def answer_logits(
    model: LlavaForConditionalGeneration, ids: Tensor, labels: Tensor, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logits (answer tokens, vocabulary) and targets (answer tokens,) of a batch.

    Rows are padded on the right, so attention that looks back needs no mask. ``features`` are
    those of the rows with an image, in order: (rows, patches, width).
    """
    embedded = model.get_input_embeddings()(ids)  # (batch, length, width)
    if len(features):
        projected = model.model.multi_modal_projector(features)
        embedded = embedded.masked_scatter((ids == IMAGE)[..., None], projected)
    hidden = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    is_answer = labels[:, 1:] != IGNORED
    return model.lm_head(hidden[:, :-1][is_answer]), labels[:, 1:][is_answer]


def make_batch(examples: Sequence[Example], features: Features) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, labels (batch, longest) and the features of the images."""
    ids = pad_sequence([example.ids for example in examples], True, PAD)
    labels = pad_sequence([example.labels for example in examples], True, IGNORED)
    rows = [example.image for example in examples if example.image >= 0]
    return ids, labels, torch.from_numpy(np.array(features.values[rows]))


def descend(model: LlavaForConditionalGeneration) -> Descent:
    """Return AdamW for the projector and the language model, whose output embeddings are tied."""
    return adamw_descent([model.model.multi_modal_projector, model.model.language_model])


def train_base(folder: Path, steps: int) -> None:
    """Train a projector and a language model from nothing to caption pictures and know facts."""
    expert, encoder = load_student(bundled_folder("tiny-vlm")).eval(), load_encoder()
    model = build_model(expert.config.text_config.vocab_size)
    model.model.vision_tower.load_state_dict(expert.model.vision_tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    descent, progress, rng = descend(model), Progress("base", steps), seeded(BASE_SEED)
    for step in range(steps):
        dialogues = [random_dialogue(rng, CAPTIONS) for _ in range(BASE_BATCH)]
        encoded = [encoder.encode(dialogue) for dialogue in dialogues]
        ids = pad_sequence([torch.tensor(each) for each, _ in encoded], True, PAD)
        labels = pad_sequence([torch.tensor(each) for _, each in encoded], True, IGNORED)
        pictures = [dialogue.picture for dialogue in dialogues if dialogue.picture is not None]
        pixels = to_pixels(picture.draw() for picture in pictures)
        logits, targets = answer_logits(model, ids, labels, see(expert, pixels).clone())
        progress.note(step, descent.step(cross_entropy(logits, targets), schedule(step, steps)))
    save_student(model, folder)


def train(
    model: LlavaForConditionalGeneration,
    examples: Sequence[Example],
    features: Features,
    steps: int,
    seed: int,
    weights: Sequence[float] | None = None,
) -> Trained:
    """Train projector and language model by AdamW, each sample in turn or by its weight."""
    start, losses = time.process_time(), []
    model.train()
    descent = descend(model)
    batches = draw_batches(examples, steps, seed, weights)
    for step, batch in enumerate(batches):
        logits, targets = answer_logits(model, *make_batch(batch, features))
        loss = cross_entropy(logits, targets)
        losses.append(descent.step(loss, schedule(step, steps, min(WARM_UP, steps))))
    last = losses[-max(1, steps // 10) :]
    return Trained(steps, sum(last) / len(last), time.process_time() - start)


def draw_batches(
    examples: Sequence[Example], steps: int, seed: int, weights: Sequence[float] | None = None
) -> Iterator[list[Example]]:
    """Yield ``steps`` batches in an order of the seed; similar lengths share a batch."""
    rng = np.random.default_rng(seed)
    n_drawn = steps * BATCH
    if weights is None:
        epochs = [rng.permutation(len(examples)) for _ in range(-(-n_drawn // len(examples)))]
        order = np.concatenate(epochs)[:n_drawn]
    else:
        order = np.array(list(weighted_sampler(weights, n_drawn, seed)))
    for start in range(0, n_drawn, BATCH * BATCHES_PER_SORT):
        window = order[start : start + BATCH * BATCHES_PER_SORT]
        window = window[np.argsort([len(examples[row].ids) for row in window], kind="stable")]
        for first in rng.permutation(range(0, len(window), BATCH)):
            yield [examples[row] for row in window[first : first + BATCH]]


@torch.inference_mode()
def measure(
    model: LlavaForConditionalGeneration, examples: Sequence[Example], features: Features
) -> dict[str, Measured]:
    """Return the accuracy of greedy answers by kind of sample.

    An answer is right if, after the reference so far, each of its tokens including the end is the
    most likely: exactly then greedy decoding writes the reference.
    """
    model.eval()
    losses, counts = defaultdict[str, list[float]](list), defaultdict[str, Counts](dict)
    ordered = sorted(examples, key=lambda example: len(example.ids))
    for start in range(0, len(ordered), TEST_BATCH):
        batch = ordered[start : start + TEST_BATCH]
        ids, labels, seen = make_batch(batch, features)
        logits, targets = answer_logits(model, ids, labels, seen)
        sizes = (labels != IGNORED).sum(1).tolist()
        token_losses = torch.split(cross_entropy(logits, targets, reduction="none"), sizes)
        hits = torch.split(logits.argmax(-1) == targets, sizes)
        for example, loss, hit in zip(batch, token_losses, hits, strict=True):
            losses[example.made] += loss.tolist()
            count = counts[example.made].setdefault(example.group, [0, 0])
            count[0] += 1
            count[1] += int(hit.all())
    return {made: _summarize(losses[made], counts[made]) for made in losses}


def _summarize(losses: Sequence[float], groups: Counts) -> Measured:
    n, n_right = (sum(count[place] for count in groups.values()) for place in (0, 1))
    return Measured(n, n_right, sum(losses) / len(losses), groups)


def count_by(examples: Sequence[Example], attribute: str) -> dict[str, Any]:
    """Return the number of examples by ``made`` or ``group``."""
    counts: dict[str, int] = defaultdict(int)
    for example in examples:
        counts[getattr(example, attribute)] += 1
    return dict(counts)
