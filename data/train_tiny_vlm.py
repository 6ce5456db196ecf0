"""Trains the bundled model: a LLaVA of about a million parameters, from nothing, on any machine.

    python -m data.train_tiny_vlm [--out data/tiny-vlm] [--steps N] [--tower-steps N]

Three stages, each with a fixed seed and a fixed number of steps: a tokenizer is learnt from
training dialogues; the vision tower learns to name what each patch shows; then the whole model
learns to answer, with the loss on answer tokens alone. Every picture is drawn afresh, so none is
seen twice. It runs on a GPU if there is one.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessorPil,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from data.synthetic.dialogues import Dialogue, random_dialogue
from data.synthetic.labels import LABEL_SIZES, complete_labels
from data.synthetic.palette import seeded
from data.synthetic.pictures import SOURCES, random_picture

HERE = Path(__file__).parent

PIXELS, PATCH = 64, 16
IMAGE_TOKENS = (PIXELS // PATCH) ** 2
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<user>", "<assistant>")
PAD, BOS, EOS, _, IMAGE, USER, ASSISTANT = range(len(SPECIAL_TOKENS))
IGNORED = -100

VOCABULARY = 1280
WORD_PATTERN = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s"
"""Words with the space before them; digits one by one, so that numbers are read digit by digit."""

BATCH, BATCHES_PER_SORT = 64, 4
TOWER_BATCH, TOWER_RATE = 128, 2e-3
RATE, WEIGHT_DECAY, CLIP = 1e-3, 0.02, 1.0
WARM_UP = 100
TOKENIZER_SEED, TOWER_SEED, MODEL_SEED, DIALOGUE_SEED = 1, 2, 3, 4

CHAT_TEMPLATE = """\
{%- macro show(content) -%}
  {%- if content is string -%}{{ content }}
  {%- else -%}
    {%- for part in content -%}
      {%- if part['type'] == 'image' -%}{{ '<image>' }}
      {%- elif part['type'] == 'text' -%}{{ part['text'] }}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message['role'] == 'assistant' -%}
    {{- '<assistant>' -}}
    {%- generation -%}{{- ' ' + show(message['content']) + eos_token -}}{%- endgeneration -%}
  {%- elif message['role'] == 'user' -%}{{- '<user>' + show(message['content']) -}}
  {%- else -%}{{- show(message['content']) -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<assistant>' -}}{%- endif -%}
"""


@dataclass(frozen=True)
class Batch:
    """Padded token ids, labels and mask, each (B, L), and pixels (B with image, 3, 64, 64)."""

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    pixel_values: Tensor | None


class Encoder:
    """Turns dialogues into token ids; remembers texts that it has seen."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""
        if text not in self._known:
            self._known[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._known[text]

    def encode(self, dialogue: Dialogue) -> tuple[list[int], list[int]]:
        """Return ids and labels; the labels hold answer tokens, end tokens included."""
        ids, labels = [BOS], [IGNORED]
        image = [IMAGE] * IMAGE_TOKENS if dialogue.picture is not None else []
        for question, answer in dialogue.turns:
            asked = [USER, *image, *self.ids(question), ASSISTANT]
            answered = [*self.ids(" " + answer), EOS]
            ids += asked + answered
            labels += [IGNORED] * len(asked) + answered
            image = []
        return ids, labels


def build_tokenizer(n_dialogues: int = 20_000) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE from training dialogues."""
    rng = seeded(TOKENIZER_SEED)

    def texts() -> Iterator[str]:
        for _ in range(n_dialogues):
            for question, answer in random_dialogue(rng).turns:
                yield question
                yield " " + answer

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=512,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Return the processor: shortest side to 64 pixels, centre crop, one token per patch."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": PIXELS},
        crop_size={"height": PIXELS, "width": PIXELS},
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_STD] * 3,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(vocabulary: int) -> LlavaForConditionalGeneration:
    """Return the untrained model: CLIP tower 3 x 128, Llama 4 x 128, tied embeddings."""
    # 0.08 instead of the customary 0.02: at this width the smaller one hardly learns to see.
    text = {
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": vocabulary,
        "initializer_range": 0.08,
        "max_position_embeddings": 512,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "tie_word_embeddings": True,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": PIXELS,
        "patch_size": PATCH,
        "projection_dim": 128,
    }
    config = LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
        pad_token_id=PAD,
    )
    torch.manual_seed(MODEL_SEED)
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, max_new_tokens=32, do_sample=False
    )
    return model


def to_pixels(images: Iterable[Image.Image]) -> Tensor:
    """Return (N, 3, 64, 64) as the processor would: bicubic, then mean and deviation."""
    size = (PIXELS, PIXELS)
    small = [np.asarray(image.resize(size, Image.Resampling.BICUBIC)) for image in images]
    stacked = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2)
    return (stacked.float() / 255 - PIXEL_MEAN) / PIXEL_STD


def make_batch(dialogues: list[Dialogue], encoder: Encoder) -> Batch:
    """Pad dialogues on the right to the longest one."""
    encoded = [encoder.encode(dialogue) for dialogue in dialogues]
    shape = (len(encoded), max(len(ids) for ids, _ in encoded))
    input_ids, labels = torch.full(shape, PAD), torch.full(shape, IGNORED)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, (ids, targets) in enumerate(encoded):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        labels[row, : len(ids)] = torch.tensor(targets)
        mask[row, : len(ids)] = 1
    images = [dialogue.picture.draw() for dialogue in dialogues if dialogue.picture is not None]
    return Batch(input_ids, labels, mask, to_pixels(images) if images else None)


def draw_batches(encoder: Encoder) -> Iterator[Batch]:
    """Yield batches for ever; dialogues of like length share one, which saves padding."""
    rng = seeded(DIALOGUE_SEED)
    while True:
        dialogues = [random_dialogue(rng) for _ in range(BATCH * BATCHES_PER_SORT)]
        dialogues.sort(key=lambda dialogue: len(encoder.encode(dialogue)[0]))
        starts = list(range(0, len(dialogues), BATCH))
        rng.shuffle(starts)
        for start in starts:
            yield make_batch(dialogues[start : start + BATCH], encoder)


def schedule(step: int, steps: int) -> float:
    """Return the share of the full rate: a linear start, then half a cosine down to 1 %."""
    return min(1.0, (step + 1) / WARM_UP) * (
        0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
    )


def build_optimizer(modules: Iterable[nn.Module], rate: float) -> torch.optim.AdamW:
    """Return AdamW that lets biases and norms be."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def descend(loss: Tensor, optimizer: torch.optim.AdamW, rate: float) -> float:
    """Take one step at this rate; return the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, CLIP)
    optimizer.step()
    return float(loss.detach())


def train_tower(model: LlavaForConditionalGeneration, steps: int, device: str) -> None:
    """Teach the vision tower what each patch shows: shape, colour, letter, digit, bar, place."""
    tower = model.model.vision_tower
    torch.manual_seed(TOWER_SEED)
    width = tower.config.hidden_size
    heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in LABEL_SIZES.items()})
    heads.to(device)
    optimizer = build_optimizer([tower, heads], TOWER_RATE)
    rng, progress = seeded(TOWER_SEED), Progress("tower", steps)
    for step in range(steps):
        pixels, labels = draw_patches(rng, device)
        features = tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:]
        losses = [
            nn.functional.cross_entropy(head(features).flatten(0, 1), labels[name])
            for name, head in heads.items()
        ]
        loss = torch.stack(losses).sum()
        progress.note(step, descend(loss, optimizer, TOWER_RATE * schedule(step, steps)))


def draw_patches(rng: random.Random, device: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return pixels (B, 3, 64, 64) and, for each lesson, labels (B * 16)."""
    pictures = [random_picture(rng, rng.choice(SOURCES), False) for _ in range(TOWER_BATCH)]
    labels = [complete_labels(picture.patch_labels()) for picture in pictures]
    stacked = {
        name: torch.from_numpy(np.concatenate([label[name] for label in labels])).to(device)
        for name in LABEL_SIZES
    }
    return to_pixels(picture.draw() for picture in pictures).to(device), stacked


def train_model(
    model: LlavaForConditionalGeneration, encoder: Encoder, steps: int, device: str
) -> None:
    """Train the whole model to answer."""
    model.train()
    optimizer, progress = build_optimizer([model], RATE), Progress("model", steps)
    batches = draw_batches(encoder)
    for step in range(steps):
        batch = next(batches)
        pixels = None if batch.pixel_values is None else batch.pixel_values.to(device)
        loss = model(
            input_ids=batch.input_ids.to(device),
            attention_mask=batch.attention_mask.to(device),
            pixel_values=pixels,
            labels=batch.labels.to(device),
        ).loss
        progress.note(step, descend(loss, optimizer, RATE * schedule(step, steps)))


class Progress:
    """Prints a running mean of the loss now and then, to standard error."""

    def __init__(self, name: str, steps: int) -> None:
        self._name, self._steps = name, steps
        self._start, self._mean = time.monotonic(), float("nan")

    def note(self, step: int, loss: float) -> None:
        """Take in the loss of a step."""
        self._mean = loss if math.isnan(self._mean) else 0.98 * self._mean + 0.02 * loss
        if (step + 1) % 50 == 0 or step + 1 == self._steps:
            seconds = time.monotonic() - self._start
            text = f"{self._name} {step + 1}/{self._steps} loss {self._mean:.4f} {seconds:.0f} s"
            print(text, file=sys.stderr, flush=True)


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, out: Path) -> None:
    """Write weights (float32 safetensors), configuration, tokenizer and processor."""
    out.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(out)
    model.to("cpu").eval().save_pretrained(out)


def main() -> None:
    """Train, save, and print one line of JSON about the run."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = time.monotonic()
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer)
    model = build_model(len(tokenizer)).to(device)
    train_tower(model, arguments.tower_steps, device)
    train_model(model, Encoder(tokenizer), arguments.steps, device)
    save(model, processor, arguments.out)
    about: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(tokenizer),
        "tower_steps": arguments.tower_steps,
        "steps": arguments.steps,
        "device": device,
        "threads": arguments.threads,
        "seconds": round(time.monotonic() - start),
    }
    print(json.dumps(about))


def read_arguments() -> argparse.Namespace:
    """Return the command line's choices; the defaults made the committed weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "tiny-vlm")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--tower-steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
