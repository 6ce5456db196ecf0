"""Vision-language models of Hugging Face transformers, behind the interface of ``base``.

All families share one code path: nothing depends on a family's name. Weights are safetensors only
and no code from a model repository is run.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig

from scoring.errors import ModelError
from scoring.models.base import Colour, EncodedSample, ModelInfo
from scoring.models.batching import TokenBudget, run_batched
from scoring.models.encoding import create_encoder
from scoring.models.features import image_token_id, pad_lone_token
from scoring.models.forward import LossEngine
from scoring.models.loading import (
    TemplateRenderer,
    adapter_fingerprint,
    choose_template,
    end_markers,
    hash_deciding_files,
    load_model_and_processor,
    max_context_length,
    resolve_device,
    template_digest,
    weights_fingerprint,
)
from scoring.models.losses import answer_token_hits
from scoring.models.memory import translate_out_of_memory
from scoring.models.neutral_colour import measure_neutral_colour
from scoring.models.options import LoadOptions, ModelOptions
from scoring.models.probing import measure_capabilities, measure_token_budget
from scoring.models.processors import image_processor_backend
from scoring.models.rows import input_device, prompt_inputs, to_device
from scoring.thoughts import opened_thought

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CPU_INFO = Path("/proc/cpuinfo")  # on Linux
_GENERATION_KEPT = ("bos_token_id", "eos_token_id", "pad_token_id")
_PROMPT_END = 32  # tokens; the last of them may open a thought
_PROMPT_BUDGET = 8192  # initial budget: padded tokens of a batch of prompts and answers


class HfModel:
    """A ``VisionLanguageModel`` from a transformers model and its processor; see the protocol.

    ``network`` and ``processor`` are those two. A trainer may train ``network`` in place: losses
    and answers are always those of its current weights, without an adapter of LoRA or with it.
    """

    def __init__(
        self, model: Any, processor: Any, info: ModelInfo, render: TemplateRenderer
    ) -> None:
        self.network, self._tokenizer = model, processor.tokenizer
        self.processor = processor
        # Greedy decoding: published beams and penalties are ignored.
        kept = {name: getattr(model.generation_config, name, None) for name in _GENERATION_KEPT}
        model.generation_config = GenerationConfig(do_sample=False, num_beams=1, **kept)
        self.freeze_date = render.freeze_date
        self._encoder = create_encoder(model, processor, render, info)
        self.encode, self.encode_masked = self._encoder.encode, self._encoder.encode_masked
        self.encode_prompt = self._encoder.encode_prompt
        self.encode_without_image = self._encoder.encode_without_image
        self.neutral_colour = cache(lambda: measure_neutral_colour(model, self.encode))
        self.pad_id = self._tokenizer.pad_token_id or 0
        probing = (model, self.encode, self.pad_id)
        self.capabilities = measure_capabilities(*probing)
        self.info = replace(info, shortcuts=self.capabilities.names)
        budget = TokenBudget(measure_token_budget(*probing, self.capabilities))
        self._engine = LossEngine(model, self.pad_id, self.capabilities, budget)
        self.answer_losses = self._engine.answer_losses
        batched = self.capabilities.batched  # otherwise prompts are answered one by one as well
        self._prompt_budget = TokenBudget(_PROMPT_BUDGET if batched else 1)

    @classmethod
    def load(
        cls,
        options: ModelOptions,
        folder: Path,
        load_options: LoadOptions,
        notice: str | None = None,
    ) -> HfModel:
        """Load a model from ``folder``; ``notice`` is shown with the scores. Raises ModelError."""
        return cls(*load_parts(options, folder, load_options, notice))

    def answer_hits(self, samples: Sequence[EncodedSample]) -> list[NDArray[np.float32] | None]:
        """Return (answer_tokens, 2) per sample, None as in ``answer_losses``.

        For each answer token its loss, and 1 if it is the likeliest after the tokens before it,
        else 0. Greedy decoding writes exactly the answer if all of its tokens have a 1.
        """
        return self._engine.read_answers(samples, answer_token_hits)

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        """Return greedy answers, in batches that fit; see the protocol."""
        self.network.eval()  # it may be in training
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
            padded = pad_lone_token(batch, image_token_id(self.network))
            tensors = prompt_inputs(padded, self.pad_id)
            device, dtype = input_device(self.network), self.network.dtype
            inputs = {key: to_device(value, device, dtype) for key, value in tensors.items()}
            generated = self.network.generate(
                **inputs, max_new_tokens=max_new_tokens, pad_token_id=self.pad_id
            )  # (batch, longest + new_tokens)
        new = generated[: len(batch), inputs["input_ids"].shape[1] :]  # (batch, new_tokens)
        return [self._decode_answer(*pair) for pair in zip(batch, new.tolist(), strict=True)]

    def _decode_answer(self, prompt: EncodedSample, new: Sequence[int]) -> str:
        """Return the text after ``prompt`` up to the first end token, without control tokens.

        Other special tokens, such as grounding marks, are part of an answer. If the prompt itself
        opens a thought, the answer starts with the opening mark.
        """
        ends = self.network.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        answer = takewhile(lambda token: token not in ends, new)
        controls = self._encoder.control_ids
        text = self._tokenizer.decode([token for token in answer if token not in controls])
        opening = opened_thought(self._tokenizer.decode(prompt.input_ids[-_PROMPT_END:]))
        return f"{opening}\n{text}".strip()


class PromptEncoder:
    """The encoding half of ``HfModel``: it needs the files of a model, but not its weights."""

    def __init__(
        self, model: Any, processor: Any, info: ModelInfo, render: TemplateRenderer
    ) -> None:
        self.info, self.freeze_date = info, render.freeze_date
        encoder = create_encoder(model, processor, render, info)
        self.encode, self.encode_masked = encoder.encode, encoder.encode_masked

    def neutral_colour(self) -> Colour | None:
        """Return None: measuring the colour would take the weights."""
        return None


def load_parts(
    options: ModelOptions, folder: Path, load_options: LoadOptions, notice: str | None = None
) -> tuple[Any, Any, ModelInfo, TemplateRenderer]:
    """Load (model, processor, description, template) from ``folder``. Raises ModelError."""
    name, device = options.name, resolve_device(options.device)
    dtype = options.dtype or ("float32" if device == "cpu" else "bfloat16")
    if dtype not in _DTYPES:
        raise ModelError(f"Unknown dtype {dtype!r}. Choose one of: {', '.join(_DTYPES)}")
    model, processor = load_model_and_processor(folder, name, _DTYPES[dtype], device, load_options)
    template, render = choose_template(
        processor, model, options.template, options.chat_template_kwargs
    )
    parts = [processor, getattr(processor, "image_processor", None), processor.tokenizer]
    backend = image_processor_backend(processor)
    adapter = load_options.adapter
    device_name = platform.processor() or platform.machine()
    if torch.device(device).type == "cuda":
        device_name = str(torch.cuda.get_device_name(device))
    elif _CPU_INFO.is_file():
        match = re.search(r"^model name\s*: (.+)$", _CPU_INFO.read_text("utf-8"), re.MULTILINE)
        device_name = match[1] if match else device_name
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
        device_name=device_name,
        image_processor=f"{type(processor.image_processor).__name__} ({backend})",
        adapter=None if adapter is None else str(adapter),
        adapter_fingerprint=None if adapter is None else adapter_fingerprint(adapter),
        quantization=load_options.quantization,
        device_map=load_options.device_map,
        chat_template_kwargs=render.variables,
        notice=notice,
        image_token_id=image_token_id(model),
    )
    return model, processor, info, render
