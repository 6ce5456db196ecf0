"""Vision-language models of Hugging Face transformers, behind the seam of ``base``.

One path for all families: nothing is known here by a family's name. Weights are safetensors only
and no code of a model repository is run.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
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
    deciding_files,
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
from scoring.models.options import LoadOptions, resolve_model_folder
from scoring.models.probing import measure_capabilities, measure_token_budget
from scoring.models.processors import image_processor_backend
from scoring.samples import Turn
from scoring.thoughts import opened_thought

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CPU_INFO = Path("/proc/cpuinfo")  # of Linux
_PROMPT_END = 32  # tokens, of which the last may open a thought
_PROMPT_BUDGET = 8192  # padded tokens of a batch of prompts and answers to begin with


class HfModel:
    """A ``VisionLanguageModel`` made of a transformers model and its processor."""

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
        batched = self.capabilities.batched  # else prompts are answered one by one as well
        self._neutral_colour = cache(lambda: measure_neutral_colour(model, self._encoder.encode))
        self._prompt_budget = TokenBudget(_PROMPT_BUDGET if batched else 1)

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
        options: LoadOptions | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> HfModel:
        """Loads ``name``, a path or a Hugging Face id, or what lies in ``folder`` under that name.

        ``template``: ``own``, ``llava_v1`` or a file; by default the model's own, except where
        that one marks no end of an answer and the family is LLaVA's. ``dtype``: float32 on a CPU
        and bfloat16 on a GPU unless named. ``chat_template_kwargs``: variables for the template.
        Raises ModelError.
        """
        folder = folder or resolve_model_folder(name, revision)
        device, options = resolve_device(device), options or LoadOptions()
        dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
        if dtype not in _DTYPES:
            raise ModelError(f"unknown dtype {dtype!r}; known are {', '.join(_DTYPES)}")
        model, processor = load_model_and_processor(folder, name, _DTYPES[dtype], device, options)
        chosen, render = choose_template(processor, model, template, chat_template_kwargs)
        info = ModelInfo(
            name=name,
            fingerprint=weights_fingerprint(folder),
            family=str(model.config.model_type),
            template=chosen,
            dtype=dtype,
            device=device,
            max_length=max_context_length(model, processor),
            score_eos=score_eos,
            template_digest=template_digest(render.template, end_markers(processor, model)),
            files=deciding_files(folder),
            revision=revision,
            processor=_class_names(processor),
            device_name=_device_name(device),
            image_processor=_image_processor(processor),
            adapter=None if options.adapter is None else str(options.adapter),
            adapter_fingerprint=(
                None if options.adapter is None else adapter_fingerprint(options.adapter)
            ),
            quantization=options.quantization,
            device_map=options.device_map,
            chat_template_kwargs=render.variables,
            notice=notice,
        )
        return cls(model, processor, info, render)

    @property
    def info(self) -> ModelInfo:
        """Identity and settings."""
        return self._info

    def neutral_colour(self) -> Colour | None:
        """The colour that the model maps to zero, measured when first asked for."""
        return self._neutral_colour()

    def freeze_date(self, moment: datetime) -> None:
        """Makes ``moment`` the date that the chat template may write; see the protocol."""
        self._render.freeze_date(moment)

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation, with its images or without any; see the protocol."""
        return self._encoder.encode(turns, images)

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenises a conversation for the ``reference`` baseline; see the protocol."""
        return self._encoder.encode_masked(turns)

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation that the model is to go on from; see the protocol."""
        return self._encoder.encode_prompt(turns, images)

    def answer_losses(self, samples: Sequence[EncodedSample]) -> list[NDArray[np.float32] | None]:
        """Losses of the answer tokens, in batches that fit; see the protocol."""
        return self._engine.losses(samples)

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        """Greedy answers, in batches that fit; see the protocol."""
        answers: list[str | None] = [None] * len(prompts)
        for places in self._engine.joinable(prompts):
            alike = [prompts[place] for place in places]
            found = run_batched(
                alike,
                [len(prompt.input_ids) + max_new_tokens for prompt in alike],
                self._prompt_budget,
                lambda batch: self._generate(batch, max_new_tokens),
            )
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return answers

    def _generate(self, batch: Sequence[EncodedSample], max_new_tokens: int) -> list[str]:
        """Prompts are padded on the left, so that all answers begin at one place."""
        with translate_out_of_memory(), torch.inference_mode():
            fed = pad_lone_token(batch, image_token_id(self._model))
            batch_inputs = prompt_inputs(fed, self._pad_id)
            device, kind = input_device(self._model), self._model.dtype
            inputs = {key: to_device(value, device, kind) for key, value in batch_inputs.items()}
            generated = self._model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                pad_token_id=self._pad_id,
            )
        new = generated[: len(batch), inputs["input_ids"].shape[1] :].tolist()  # (batch, tokens)
        return [self._answer(*pair) for pair in zip(batch, new, strict=True)]

    def _answer(self, prompt: EncodedSample, new: Sequence[int]) -> str:
        """The text that follows ``prompt``: up to the first end token, without control tokens.

        Other special tokens, such as grounding marks, are part of an answer. Where the prompt
        itself opens a thought, so does the answer.
        """
        ends = self._model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        own = list(takewhile(lambda token: token not in ends, new))
        text = self._tokenizer.decode([one for one in own if one not in self._encoder.control_ids])
        opening = opened_thought(self._tokenizer.decode(prompt.input_ids[-_PROMPT_END:]))
        return f"{opening}\n{text}".strip()


def _class_names(processor: Any) -> str:
    """The processor and what it makes pixels and ids with: these decide what a model is fed."""
    parts = [processor, getattr(processor, "image_processor", None), processor.tokenizer]
    return ", ".join(type(part).__name__ for part in parts if part is not None)


def _image_processor(processor: Any) -> str:
    """Class and backend: two backends differ in how they resize."""
    backend = image_processor_backend(processor)
    return f"{type(processor.image_processor).__name__} ({backend})"


def _device_name(device: str) -> str:
    """What the device's maker calls it, as far as the system tells."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", _CPU_INFO.read_text("utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()
