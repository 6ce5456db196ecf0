"""Turns conversations into what a model is fed, with the answer tokens marked.

One path for all families: the processor's own call gives ids, pixels and where it expanded the
image placeholders, so nothing is known here by a family's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from scoring.models.base import EncodedSample, ModelInfo
from scoring.models.loading import Render, end_markers
from scoring.prompting import AnswerSpan, PromptProblem, render_chat, to_messages, token_turns
from scoring.samples import Status, Turn

_NO_TURN = -1


def encoder_for(model: Any, processor: Any, render: Render, info: ModelInfo) -> Encoder:
    """The encoder that suits a model of transformers and its processor."""
    return Encoder(
        processor,
        render,
        end_markers(processor, model),
        score_eos=info.score_eos,
        pad_to_square=info.template == "llava_v1",
    )


class Encoder:
    """Tokenises conversations for one model; the encoding half of a ``VisionLanguageModel``.

    ``ends`` are the end-of-turn tokens that a template may write after an answer.
    """

    def __init__(
        self,
        processor: Any,
        render: Render,
        ends: Sequence[str],
        *,
        score_eos: bool = True,
        pad_to_square: bool = False,
    ) -> None:
        self._processor, self._ends = processor, tuple(ends)
        self.render = render
        self._score_eos, self._pad_to_square = score_eos, pad_to_square

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation, with its images or without any; see the protocol."""
        chat = render_chat(self.render, turns, bool(images), self._ends, score_eos=self._score_eos)
        inputs = self._process(chat.text, images)
        replaced = (inputs.pop("text_replacement_offsets", None) or [[]])[0]
        offsets = [(int(start), int(end)) for start, end in inputs.pop("offset_mapping")[0]]
        ids = inputs.pop("input_ids")[0].tolist()
        inputs.pop("attention_mask", None)
        turn_ids = token_turns(offsets, _shifted(chat.answers, replaced))
        return EncodedSample(tuple(ids), turn_ids, inputs)

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenises a conversation for the ``reference`` baseline; see the protocol."""
        raise NotImplementedError(turns)

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation that the model is to go on from; it has no answer tokens."""
        messages = to_messages(turns, with_images=bool(images))
        inputs = self._process(self.render(messages, prompt=True), images)
        ids = inputs.pop("input_ids")[0].tolist()
        for key in ("offset_mapping", "text_replacement_offsets", "attention_mask"):
            inputs.pop(key, None)
        return EncodedSample(tuple(ids), (_NO_TURN,) * len(ids), inputs)

    def _process(self, text: str, images: Sequence[Image.Image]) -> dict[str, Any]:
        bos = self._processor.tokenizer.bos_token
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
        if not self._pad_to_square:
            return list(images)
        mean = self._processor.image_processor.image_mean
        return [_padded_to_square(image, mean) for image in images]


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


def _padded_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    side = max(image.size)
    colour = tuple(int(channel * 255) for channel in mean)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
