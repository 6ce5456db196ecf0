"""Vision-language models of Hugging Face transformers, behind the seam of ``base``.

One path for all families: nothing is known here by a family's name. Weights are safetensors only
and no code of a model repository is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scoring.batching import TokenBudget, run_batched
from scoring.errors import ModelError
from scoring.losses import IGNORED, answer_mask, answer_token_losses, predicting_positions
from scoring.models.base import EncodedSample, ModelInfo, OutOfMemoryError
from scoring.models.encoding import Encoder
from scoring.models.loading import (
    Render,
    choose_template,
    end_markers,
    load_parts,
    max_length,
    model_folder,
    weights_fingerprint,
)
from scoring.samples import Turn

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TOKEN_BUDGET = 8192  # padded tokens of a batch to begin with
_PROMPT_TOKENS = 512  # what a prompt is taken to cost of the budget: it is not tokenised yet


class HfModel:
    """A ``VisionLanguageModel`` made of a transformers model and its processor."""

    def __init__(self, model: Any, processor: Any, info: ModelInfo, render: Render) -> None:
        self._model, self._info = model, info
        self._tokenizer = processor.tokenizer
        self._encoder = Encoder(
            processor,
            render,
            end_markers(processor, model),
            score_eos=info.score_eos,
            pad_to_square=info.template == "llava_v1",
        )
        self._pad_id = self._tokenizer.pad_token_id or 0
        self._budget = TokenBudget(_TOKEN_BUDGET)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        folder: Path | None = None,
        template: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        score_eos: bool = True,
        revision: str | None = None,
        notice: str | None = None,
    ) -> HfModel:
        """Loads ``name``, a path or a Hugging Face id, or what lies in ``folder`` under that name.

        ``template``: ``own``, ``llava_v1`` or a file; by default the model's own, except where
        that one marks no end of an answer and the family is LLaVA's. ``dtype``: float32 on a CPU
        and bfloat16 on a GPU unless named. Raises ModelError.
        """
        folder = folder or model_folder(name, revision)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
        if dtype not in _DTYPES:
            raise ModelError(f"unknown dtype {dtype!r}; known are {', '.join(_DTYPES)}")
        model, processor = load_parts(folder, name, _DTYPES[dtype], device)
        chosen, render = choose_template(processor, model, template)
        info = ModelInfo(
            name=name,
            fingerprint=weights_fingerprint(folder),
            family=str(model.config.model_type),
            template=chosen,
            dtype=dtype,
            device=device,
            max_length=max_length(model, processor),
            score_eos=score_eos,
            mean_colour=_mean_colour(processor),
            notice=notice,
        )
        return cls(model, processor, info, render)

    @property
    def info(self) -> ModelInfo:
        """Identity and settings."""
        return self._info

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation, with its images or without any; see the protocol."""
        return self._encoder.encode(turns, images)

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenises a conversation for the ``reference`` baseline; see the protocol."""
        return self._encoder.encode_masked(turns)

    def answer_losses(self, samples: Sequence[EncodedSample]) -> list[NDArray[np.float32] | None]:
        """Losses of the answer tokens, in batches that fit; see the protocol."""
        lengths = [len(sample.input_ids) for sample in samples]
        return run_batched(samples, lengths, self._budget, self._batch_losses)

    def _batch_losses(self, batch: Sequence[EncodedSample]) -> list[NDArray[np.float32]]:
        """Logits are computed where they are needed only."""
        with _out_of_memory_named(), torch.inference_mode():
            inputs = self._collate(batch)
            turns = _padded([sample.turn_ids for sample in batch], IGNORED).to(self._model.device)
            answers = answer_mask(turns)
            keep = predicting_positions(answers)
            logits = self._model(**inputs, logits_to_keep=keep, use_cache=False).logits
            targets = inputs["input_ids"][answers]
            losses = answer_token_losses(logits.reshape(len(targets), -1), targets).cpu().numpy()
        counts = answers.sum(dim=1).tolist()
        return np.split(losses, np.cumsum(counts)[:-1])

    def generate(
        self,
        prompts: Sequence[tuple[Sequence[Turn], Sequence[Image.Image]]],
        max_new_tokens: int,
    ) -> list[str | None]:
        """Greedy answers, in batches that fit; see the protocol."""
        lengths = [_PROMPT_TOKENS] * len(prompts)
        return run_batched(
            prompts, lengths, self._budget, lambda batch: self._generate(batch, max_new_tokens)
        )

    def _generate(
        self,
        batch: Sequence[tuple[Sequence[Turn], Sequence[Image.Image]]],
        max_new_tokens: int,
    ) -> list[str]:
        """Prompts are padded on the left, so that all answers begin at one place."""
        encoded = [self._encoder.encode_prompt(turns, images) for turns, images in batch]
        with _out_of_memory_named(), torch.inference_mode():
            inputs = self._collate(encoded, pad_left=True)
            generated = self._model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=self._pad_id,
            )
        new = generated[:, inputs["input_ids"].shape[1] :]
        texts = self._tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _collate(
        self, batch: Sequence[EncodedSample], pad_left: bool = False
    ) -> dict[str, torch.Tensor]:
        """One set of model inputs for a batch.

        What is as long as a sample's ids is padded like them; the rest (pixels, sizes) is joined
        along the first dimension.
        """
        ids = [sample.input_ids for sample in batch]
        joined = {"input_ids": _padded(ids, self._pad_id, pad_left)}
        mask = [_own_mask(sample) for sample in batch]
        joined["attention_mask"] = _padded(mask, 0, pad_left)
        for key in dict.fromkeys(key for sample in batch for key in sample.inputs):
            if key in joined:
                continue
            values = [sample.inputs[key] for sample in batch if key in sample.inputs]
            joined[key] = _joined(values, batch, pad_left)
        return {key: self._to_device(value) for key, value in joined.items()}

    def _to_device(self, value: torch.Tensor) -> torch.Tensor:
        kind = self._model.dtype if value.is_floating_point() else value.dtype
        return value.to(self._model.device, kind)


def _own_mask(sample: EncodedSample) -> Sequence[int]:
    """A sample's attention mask; ``inputs`` holds one only where it hides tokens of its own."""
    own = sample.inputs.get("attention_mask")
    return (1,) * len(sample.input_ids) if own is None else own[0].tolist()


def _padded(rows: Sequence[Sequence[int]], value: int, left: bool = False) -> torch.Tensor:
    """(batch, longest) of integers."""
    width = max(len(row) for row in rows)
    out = torch.full((len(rows), width), value, dtype=torch.long)
    for index, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(len(row))
        out[index, where] = torch.tensor(row, dtype=torch.long)
    return out


def _joined(
    values: Sequence[torch.Tensor], batch: Sequence[EncodedSample], pad_left: bool
) -> torch.Tensor:
    first = values[0]
    if first.ndim == 2 and first.shape == (1, len(batch[0].input_ids)):  # one value per token
        return _padded([value[0].tolist() for value in values], 0, pad_left)
    widest = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
    return torch.cat([_grown(value, widest) for value in values])


def _grown(value: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """``value`` padded with zeros up to ``shape`` behind its first dimension."""
    missing = [large - small for small, large in zip(value.shape[1:], shape, strict=True)]
    if not any(missing):
        return value
    padding = [size for gap in reversed(missing) for size in (0, gap)]
    return torch.nn.functional.pad(value, padding)


def _mean_colour(processor: Any) -> tuple[int, int, int]:
    """The colour that the processor's normalisation turns into zeros; grey where it has none."""
    mean = getattr(processor.image_processor, "image_mean", None) or (0.5, 0.5, 0.5)
    red, green, blue = (round(float(channel) * 255) for channel in mean)
    return red, green, blue


@contextmanager
def _out_of_memory_named() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemoryError(str(error)) from error
    except RuntimeError as error:
        if "alloc" in str(error) and "memory" in str(error):  # how a CPU says it
            raise OutOfMemoryError(str(error)) from error
        raise
