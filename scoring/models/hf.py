"""Vision-language models of Hugging Face transformers, behind the seam of ``base``.

One path for all families: the processor's own call gives ids, pixels and where it expanded the
image placeholders, so nothing is known here by a family's name. Weights are safetensors only and
no code of a model repository is run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from huggingface_hub import snapshot_download
from numpy.typing import NDArray
from PIL import Image

from scoring.errors import ModelError
from scoring.losses import IGNORED, answer_mask, answer_token_losses, predicting_positions
from scoring.models.base import EncodedSample, ModelInfo, OutOfMemoryError
from scoring.prompting import (
    LLAVA_V1_TEMPLATE,
    AnswerSpan,
    Messages,
    PromptProblem,
    emits_end_marker,
    render_chat,
    to_messages,
    token_turns,
)
from scoring.samples import Status, Turn

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TURN_ENDS = ("</s>", "<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<end_of_utterance>", "<|end|>")
_WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_NOT_FED = ("offset_mapping", "text_replacement_offsets")
_HASH_CHUNK = 1 << 22
_LONGEST = 1 << 20  # tokenizers without a limit of their own report astronomical ones

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class HfModel:
    """A ``VisionLanguageModel`` made of a transformers model and its processor."""

    def __init__(self, model: Any, processor: Any, info: ModelInfo, render: Render) -> None:
        self._model, self._processor, self._info, self._render = model, processor, info, render
        self._tokenizer = processor.tokenizer
        self._ends = end_markers(processor, model)
        self._pad_id = self._tokenizer.pad_token_id or 0

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
        folder = folder or _folder(name, revision)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
        if dtype not in _DTYPES:
            raise ModelError(f"unknown dtype {dtype!r}; known are {', '.join(_DTYPES)}")
        model, processor = _load(folder, name, _DTYPES[dtype], device)
        chosen, render = _choose_template(processor, model, template)
        info = ModelInfo(
            name=name,
            fingerprint=weights_fingerprint(folder),
            family=str(model.config.model_type),
            template=chosen,
            dtype=dtype,
            device=device,
            max_length=_max_length(model, processor),
            score_eos=score_eos,
            notice=notice,
        )
        return cls(model, processor, info, render)

    @property
    def info(self) -> ModelInfo:
        """Identity and settings."""
        return self._info

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation, with its images or without any; see the protocol."""
        chat = render_chat(
            self._render, turns, bool(images), self._ends, score_eos=self._info.score_eos
        )
        inputs = self._process(chat.text, images)
        replaced = (inputs.pop("text_replacement_offsets", None) or [[]])[0]
        offsets = [(int(start), int(end)) for start, end in inputs.pop("offset_mapping")[0]]
        ids = inputs.pop("input_ids")[0].tolist()
        turn_ids = token_turns(offsets, _shifted(chat.answers, replaced))
        return EncodedSample(tuple(ids), turn_ids, inputs)

    def _process(self, text: str, images: Sequence[Image.Image]) -> dict[str, Any]:
        bos = self._tokenizer.bos_token
        try:
            batch = self._processor(
                text=[text],
                images=[self._prepared(images)] if images else None,
                return_tensors="pt",
                return_offsets_mapping=True,
                return_text_replacement_offsets=True,
                add_special_tokens=not (bos and text.startswith(bos)),
            )
        except (ValueError, IndexError) as error:
            raise PromptProblem(
                Status.PLACEHOLDER_MISMATCH, f"the processor refuses the sample: {error}"
            ) from error
        return dict(batch)

    def _prepared(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """LLaVA-1.5 was trained on images padded to a square with the processor's mean colour."""
        if self._info.template != "llava_v1":
            return list(images)
        mean = self._processor.image_processor.image_mean
        return [_padded_to_square(image, mean) for image in images]

    def answer_losses(self, batch: Sequence[EncodedSample]) -> list[NDArray[np.float32]]:
        """Losses of the answer tokens; logits are computed where they are needed only."""
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
        batch: Sequence[tuple[Sequence[Turn], Sequence[Image.Image]]],
        max_new_tokens: int,
    ) -> list[str]:
        """Greedy answers; prompts are padded on the left, so that all begin at one place."""
        encoded = [self._encode_prompt(turns, images) for turns, images in batch]
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

    def _encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        messages = to_messages(turns, with_images=bool(images))
        inputs = self._process(self._render(messages, prompt=True), images)
        ids = inputs.pop("input_ids")[0].tolist()
        return EncodedSample(tuple(ids), (IGNORED,) * len(ids), inputs)

    def _collate(
        self, batch: Sequence[EncodedSample], pad_left: bool = False
    ) -> dict[str, torch.Tensor]:
        """One set of model inputs for a batch.

        What is as long as a sample's ids is padded like them; the rest (pixels, sizes) is joined
        along the first dimension.
        """
        ids = [sample.input_ids for sample in batch]
        joined = {"input_ids": _padded(ids, self._pad_id, pad_left)}
        mask = [(1,) * len(sample.input_ids) for sample in batch]
        joined["attention_mask"] = _padded(mask, 0, pad_left)
        for key in dict.fromkeys(key for sample in batch for key in sample.inputs):
            if key in _NOT_FED or key in joined:
                continue
            values = [sample.inputs[key] for sample in batch if key in sample.inputs]
            joined[key] = _joined(values, batch, pad_left)
        return {key: self._to_device(value) for key, value in joined.items()}

    def _to_device(self, value: torch.Tensor) -> torch.Tensor:
        kind = self._model.dtype if value.is_floating_point() else value.dtype
        return value.to(self._model.device, kind)


class Render:
    """Renders messages by one chat template (a callable of ``prompting``)."""

    def __init__(self, processor: Any, template: str | None) -> None:
        self._processor, self._template = processor, template

    def __call__(self, messages: Messages, *, prompt: bool = False) -> str:
        """The text of ``messages``; with ``prompt`` the model is asked for the next answer."""
        text = self._processor.apply_chat_template(
            messages,
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=prompt,
        )
        return str(text)


def end_markers(processor: Any, model: Any) -> tuple[str, ...]:
    """Tokens that may end an answer: the tokenizer's, the generation's, and the common ones."""
    tokenizer = processor.tokenizer
    ids = getattr(model.generation_config, "eos_token_id", None)
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    vocabulary = tokenizer.get_vocab()
    found = [tokenizer.eos_token, *tokenizer.convert_ids_to_tokens(listed)]
    found += [token for token in _TURN_ENDS if token in vocabulary]
    return tuple(dict.fromkeys(token for token in found if token))


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


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _folder(name: str, revision: str | None) -> Path:
    path = Path(name)
    if path.is_dir():
        if not any(path.glob("*.safetensors")):
            raise ModelError(f"{path} holds no *.safetensors; other weight formats are not loaded")
        return path
    if path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ModelError(f"the model folder {name} does not exist")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED_FILES))
    except Exception as error:
        raise ModelError(
            f"the model {name!r} is neither a folder nor in the local cache, and could not be "
            f"downloaded ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error


def _load(folder: Path, name: str, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    try:
        processor = transformers.AutoProcessor.from_pretrained(folder)
        model = transformers.AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, use_safetensors=True
        )
        model = model.to(device).eval()
    except Exception as error:
        raise ModelError(f"the model {name!r} cannot be loaded: {error}") from error
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise ModelError(f"the model {name!r} has no processor for images and text")
    if not processor.tokenizer.is_fast:
        raise ModelError(f"the tokenizer of {name!r} is not a fast one and gives no offsets")
    return model, processor


def _choose_template(processor: Any, model: Any, template: str | None) -> tuple[str, Render]:
    """(name for the run record, renderer). Raises ModelError where there is no template."""
    if template == "llava_v1":
        return "llava_v1", Render(processor, LLAVA_V1_TEMPLATE)
    if template not in (None, "own"):
        try:
            text = Path(template).read_text("utf-8")
        except OSError as error:
            raise ModelError(
                f"no template {template!r}: give own, llava_v1 or a Jinja file ({error.strerror})"
            ) from error
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"file:{digest}", Render(processor, text)
    llava = model.config.model_type == "llava"
    own = Render(processor, None)
    if getattr(processor, "chat_template", None) is None:
        if llava:
            return "llava_v1", Render(processor, LLAVA_V1_TEMPLATE)
        raise ModelError("the model brings no chat template; name one with --template FILE")
    if template is None and llava and not emits_end_marker(own, end_markers(processor, model)):
        return "llava_v1", Render(processor, LLAVA_V1_TEMPLATE)
    return "own", own


def _max_length(model: Any, processor: Any) -> int:
    config = model.config.get_text_config()
    limits = [
        getattr(config, "max_position_embeddings", None),
        processor.tokenizer.model_max_length,
    ]
    return int(min([limit for limit in limits if limit] or [_LONGEST], default=_LONGEST))


def _shifted(
    answers: Sequence[AnswerSpan], replaced: Sequence[Mapping[str, Any]]
) -> list[AnswerSpan]:
    """Answer spans in the text after image placeholders were expanded."""

    def shift(position: int) -> int:
        gain = 0
        for item in replaced:
            if item["span"][1] <= position:
                gain = item["new_span"][1] - item["span"][1]
        return position + gain

    return [AnswerSpan(span.turn, shift(span.start), shift(span.end)) for span in answers]


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


def _padded_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    side = max(image.size)
    colour = tuple(int(channel * 255) for channel in mean)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


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
