"""Models with random weights, and samples with real JPEG files, for ``benchmarks.scoring``.

Throughput needs no trained weights, so each LLaVA here is created from its configuration on its
device, with a tokenizer trained on the spot.
"""

from __future__ import annotations

import json
import math
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import score_dataset
from scoring.models.base import ModelInfo
from scoring.models.hf import HfModel
from scoring.models.loading import choose_template
from scoring.samples import Role, Sample, Turn
from scoring.workspace import Workspace, create_workspace, open_workspace

SEED = 0
_SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
_NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_WORDS = [
    consonant + rest for consonant in "bklmtrsndpgvfzh" for rest in ("an", "est", "ick", "osh")
]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a LLaVA: (width, layers, inner width, heads) of both halves."""

    text: tuple[int, int, int, int]
    vision: tuple[int, int, int, int]
    vocabulary: int
    image_size: int
    patch: int

    @property
    def image_tokens(self) -> int:
        """Tokens of one image."""
        return (self.image_size // self.patch) ** 2


SHAPES = {
    "tiny": Shape((64, 2, 128, 4), (32, 3, 64, 2), 1600, 56, 14),
    "mid": Shape((512, 8, 1376, 8), (256, 6, 1024, 4), 32000, 336, 14),
    "7b": Shape((4096, 32, 11008, 32), (1024, 24, 4096, 16), 32064, 336, 14),
}


def build_model(shape: Shape, device: str, dtype: str) -> HfModel:
    """Build a LLaVA-1.5 of ``shape`` with random weights on ``device``."""
    transformers.logging.set_verbosity_error()
    torch.manual_seed(SEED)
    with torch.device(device):
        model = transformers.AutoModelForImageTextToText.from_config(
            _build_config(shape), dtype=getattr(torch, dtype)
        )
    processor = _build_processor(shape)
    template, render = choose_template(processor, model, "llava_v1")
    info = ModelInfo(
        name="random LLaVA",
        fingerprint="random",
        family="llava",
        template=template,
        dtype=dtype,
        device=device,
        max_length=4096,
    )
    return HfModel(model.eval(), processor, info, render)


def _build_config(shape: Shape) -> Any:
    width, layers, inner, heads = shape.text
    text = {
        "model_type": "llama",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 4096,
        "bos_token_id": _SPECIAL.index("<s>"),
        "eos_token_id": _SPECIAL.index("</s>"),
        "pad_token_id": _SPECIAL.index("<pad>"),
    }
    width, layers, inner, heads = shape.vision
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "image_size": shape.image_size,
        "patch_size": shape.patch,
        "projection_dim": width,
    }
    return transformers.LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=_SPECIAL.index("<image>"),
        image_seq_length=shape.image_tokens,
        vision_feature_layer=-2,
    )


def _build_processor(shape: Shape) -> Any:
    side = shape.image_size
    images = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_train_tokenizer(),
        **_NAMED,
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=4096,
    )
    return transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=shape.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def _train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = random.Random(SEED)  # noqa: S311 - not for secrets
    system = "A chat between a curious user and an artificial intelligence assistant. "
    corpus = [
        f"{system}The assistant gives helpful, detailed, and polite answers to the user's "
        f"questions. USER: {' '.join(words.choices(_WORDS, k=12))} ASSISTANT: "
        for _ in range(2000)
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", _SPECIAL.index("<s>"))]
    )
    return tokenizer


def make_samples(folder: Path, n_samples: int, n_images: int) -> list[Sample]:
    """Make conversations of one to three turns about 640 x 480 JPEG files in ``folder``.

    The samples of an image are adjacent, as in the plan of a run.
    """
    words = random.Random(SEED)  # noqa: S311 - not for secrets
    for number in range(n_images):
        _write_jpeg(folder / f"{number}.jpg", number)
    samples = []
    for row in range(n_samples):
        image = row * n_images // n_samples
        samples.append(
            Sample(
                row_idx=row,
                id=str(row),
                source="random",
                images=(f"{image}.jpg",),
                turns=_random_conversation(words),
                original=b"{}",
            )
        )
    return samples


def _write_jpeg(path: Path, seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    image.save(path, quality=90)


def _random_conversation(words: random.Random) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for number in range(words.choice([1, 1, 2, 3])):
        question = " ".join(words.choices(_WORDS, k=words.randint(8, 18)))
        answer = " ".join(words.choices(_WORDS, k=words.choice([1, 2, 3, 8, 20, 60])))
        turns.append(Turn(Role.HUMAN, question, () if number else (0,)))
        turns.append(Turn(Role.ASSISTANT, answer))
    return tuple(turns)


def run_scores(
    model: HfModel, folder: Path, samples: Sequence[Sample], *, embedded: bool = False
) -> list[tuple[float, float]]:
    """Return (multimodal loss, text-only loss) of each sample, from a run of the product.

    The samples are imported on the first call, in random order; every call is a new run. With
    ``embedded`` each record has its own copy of its image, inside a Parquet file.
    """
    order = random.Random(SEED).sample(range(len(samples)), len(samples))  # noqa: S311
    workspace = _import_samples(folder, [samples[row] for row in order], embedded)
    run = score_dataset(workspace, model, run_id=uuid.uuid4().hex, build=False).run_id
    losses = [(math.nan, math.nan)] * len(samples)
    for part in (workspace.run_dir(run) / "scores").glob("part-*.parquet"):
        for row in pq.read_table(part, columns=["row_idx", "turns"]).to_pylist():
            losses[order[row["row_idx"]]] = _mean_losses(row["turns"])
    return losses


def _import_samples(folder: Path, samples: Sequence[Sample], embedded: bool) -> Workspace:
    n_images = len({sample.images for sample in samples})
    kind = "embedded" if embedded else "files"
    root = folder / f"workspace-{kind}-{len(samples)}-{n_images}"
    if not root.exists():
        records = [_to_record(sample) for sample in samples]
        if embedded:
            for record in records:
                content = (folder / str(record["image"])).read_bytes()
                record["image"] = {"bytes": content, "path": None}
            data = root.with_suffix(".parquet")
            pq.write_table(pa.Table.from_pylist(records), data)
        else:
            data = root.with_suffix(".json")
            data.write_text(json.dumps(records))
        import_dataset(create_workspace(root), [data], [folder])
    return open_workspace(root)


def _to_record(sample: Sample) -> dict[str, object]:
    names = {Role.HUMAN: "human", Role.ASSISTANT: "gpt"}
    turns = [
        {"from": names[turn.role], "value": "<image>" * len(turn.image_offsets) + turn.text}
        for turn in sample.turns
    ]
    return {"id": sample.id, "image": sample.images[0], "conversations": turns}


def _mean_losses(turns: Sequence[dict[str, Any]]) -> tuple[float, float]:
    tokens = sum(turn["n_answer_tokens"] for turn in turns)
    if not tokens:
        return math.nan, math.nan
    multimodal = sum(turn["loss_multimodal_sum"] for turn in turns) / tokens
    return multimodal, sum(turn["loss_text_sum"] for turn in turns) / tokens
