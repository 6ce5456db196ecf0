"""Vision-language models of Hugging Face transformers, behind the interface of ``base``.

All families share one code path: nothing depends on a family's name. Weights are safetensors only
and no code from a model repository is run.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scoring.errors import ModelError
from scoring.models.base import Colour, EncodedSample, ModelInfo
from scoring.models.batching import TokenBudget, run_batched
from scoring.models.collate import input_device, prompt_inputs, to_device
from scoring.models.encoding import create_encoder
from scoring.models.features import image_token_id, pad_lone_token
from scoring.models.fingerprints import (
    adapter_fingerprint,
    hash_deciding_files,
    template_digest,
    weights_fingerprint,
)
from scoring.models.forward import LossEngine
from scoring.models.loading import (
    TemplateRenderer,
    choose_template,
    end_markers,
    greedy_generation_config,
    load_model_and_processor,
    max_context_length,
    resolve_device,
)
from scoring.models.memory import translate_out_of_memory
from scoring.models.neutral_colour import measure_neutral_colour
from scoring.models.options import LoadOptions, ModelOptions
from scoring.models.probing import measure_capabilities, measure_token_budget
from scoring.models.processors import image_processor_backend
from scoring.samples import Turn
from scoring.thoughts import opened_thought

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CPU_INFO = Path("/proc/cpuinfo")  # on Linux
_PROMPT_END = 32  # tokens; the last of them may open a thought
_PROMPT_BUDGET = 8192  # initial budget: padded tokens of a batch of prompts and answers


class HfModel:
    """A ``VisionLanguageModel`` from a transformers model and its processor."""

    def __init__(
        self, model: Any, processor: Any, info: ModelInfo, render: TemplateRenderer
    ) -> None:
        self._model, self._info = model, info
        model.generation_config = greedy_generation_config(model.generation_config)
        self._tokenizer = processor.tokenizer
        self._encoder = create_encoder(model, processor, render, info)
        self._render = render
        self._pad_id = self._tokenizer.pad_token_id or 0
        probing = (model, self._encoder.encode, self._pad_id)
        self.capabilities = measure_capabilities(*probing)
        self._info = replace(info, shortcuts=self.capabilities.names)
        self._budget = TokenBudget(measure_token_budget(*probing, self.capabilities))
        self._engine = LossEngine(model, self._pad_id, self.capabilities, self._budget)
        batched = self.capabilities.batched  # otherwise prompts are answered one by one as well
        self._neutral_colour = cache(lambda: measure_neutral_colour(model, self._encoder.encode))
        self._prompt_budget = TokenBudget(_PROMPT_BUDGET if batched else 1)

    @classmethod
    def load(
        cls,
        options: ModelOptions,
        folder: Path,
        load_options: LoadOptions,
        notice: str | None = None,
    ) -> HfModel:
        """Load a model from ``folder``.

        Args:
            options: The model's name for the run record, and how it computes and prompts.
            folder: Folder with the weights and the processor.
            load_options: The parsed options for loading.
            notice: A notice to show with the scores.

        Raises:
            ModelError: The model cannot be loaded or cannot be scored.
        """
        name, device = options.name, resolve_device(options.device)
        dtype = options.dtype or ("float32" if device == "cpu" else "bfloat16")
        if dtype not in _DTYPES:
            raise ModelError(f"Unknown dtype {dtype!r}. Choose one of: {', '.join(_DTYPES)}")
        model, processor = load_model_and_processor(
            folder, name, _DTYPES[dtype], device, load_options
        )
        template, render = choose_template(
            processor, model, options.template, options.chat_template_kwargs
        )
        parts = [processor, getattr(processor, "image_processor", None), processor.tokenizer]
        backend = image_processor_backend(processor)
        adapter = load_options.adapter
        info = ModelInfo(
            name=name,
            fingerprint=weights_fingerprint(folder),
            family=str(model.config.model_type),
            template=template,
            dtype=dtype,
            device=device,
            max_length=max_context_length(model, processor),
            score_eos=options.score_eos,
            template_digest=template_digest(render.template, end_markers(processor, model)),
            files=hash_deciding_files(folder),
            revision=options.revision,
            processor=", ".join(type(part).__name__ for part in parts if part is not None),
            device_name=_device_name(device),
            image_processor=f"{type(processor.image_processor).__name__} ({backend})",
            adapter=None if adapter is None else str(adapter),
            adapter_fingerprint=None if adapter is None else adapter_fingerprint(adapter),
            quantization=load_options.quantization,
            device_map=load_options.device_map,
            chat_template_kwargs=render.variables,
            notice=notice,
        )
        return cls(model, processor, info, render)

    @property
    def info(self) -> ModelInfo:
        """Identity and settings."""
        return self._info

    def neutral_colour(self) -> Colour | None:
        """Return the colour that the model maps to zero, measured on the first call."""
        return self._neutral_colour()

    def freeze_date(self, moment: datetime) -> None:
        """Make ``moment`` the date that the chat template may write; see the protocol."""
        self._render.freeze_date(moment)

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenise a conversation, with or without its images; see the protocol."""
        return self._encoder.encode(turns, images)

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenise a conversation for the ``reference`` baseline; see the protocol."""
        return self._encoder.encode_masked(turns)

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenise a conversation that the model will continue; see the protocol."""
        return self._encoder.encode_prompt(turns, images)

    def answer_losses(self, samples: Sequence[EncodedSample]) -> list[NDArray[np.float32] | None]:
        """Return the losses of the answer tokens, in batches that fit; see the protocol."""
        return self._engine.answer_losses(samples)

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        """Return greedy answers, in batches that fit; see the protocol."""
        answers: list[str | None] = [None] * len(prompts)
        for indices in self._engine.group_for_batches(prompts):
            group = [prompts[index] for index in indices]
            group_answers = run_batched(
                group,
                [len(prompt.input_ids) + max_new_tokens for prompt in group],
                self._prompt_budget,
                lambda batch: self._generate_batch(batch, max_new_tokens),
            )
            for index, answer in zip(indices, group_answers, strict=True):
                answers[index] = answer
        return answers

    def _generate_batch(self, batch: Sequence[EncodedSample], max_new_tokens: int) -> list[str]:
        """Prompts are padded on the left, so all answers start at the same position."""
        with translate_out_of_memory(), torch.inference_mode():
            padded = pad_lone_token(batch, image_token_id(self._model))
            tensors = prompt_inputs(padded, self._pad_id)
            device, dtype = input_device(self._model), self._model.dtype
            inputs = {key: to_device(value, device, dtype) for key, value in tensors.items()}
            generated = self._model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                pad_token_id=self._pad_id,
            )  # (batch, longest + new_tokens)
        new = generated[
            : len(batch), inputs["input_ids"].shape[1] :
        ].tolist()  # (batch, new_tokens)
        return [self._decode_answer(*pair) for pair in zip(batch, new, strict=True)]

    def _decode_answer(self, prompt: EncodedSample, new: Sequence[int]) -> str:
        """Return the text after ``prompt`` up to the first end token, without control tokens.

        Other special tokens, such as grounding marks, are part of an answer. If the prompt itself
        opens a thought, the answer starts with the opening mark.
        """
        ends = self._model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        answer = takewhile(lambda token: token not in ends, new)
        controls = self._encoder.control_ids
        text = self._tokenizer.decode([token for token in answer if token not in controls])
        opening = opened_thought(self._tokenizer.decode(prompt.input_ids[-_PROMPT_END:]))
        return f"{opening}\n{text}".strip()


def _device_name(device: str) -> str:
    """Return the vendor's name of the device, if the system provides one."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with suppress(OSError):
        match = re.search(r"^model name\s*: (.+)$", _CPU_INFO.read_text("utf-8"), re.MULTILINE)
        if match:
            return match[1]
    return platform.processor() or platform.machine()
