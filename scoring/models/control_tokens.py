"""Determines which tokens of a tokenizer control the structure of a prompt.

In a sample's text such a token would be read as an image, an end of text or a turn of its own, so
texts may not contain it. Other special tokens are content: grounding markup such as ``<box>`` or
``<|object_ref_start|>`` belongs to answers, and models are trained on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from scoring.models.prompting import Messages, PromptProblem, render_messages
from scoring.thoughts import THOUGHT_MARKS

_MARKERS = ("\U000f0000", "\U000f0001")  # transformers marks text and control tokens with these
_NOT_CONTROLLING = ("unk_token", "sep_token", "cls_token", "mask_token")
_MEDIA = re.compile(r"image|img|im_|vision|video|vid_|audio|frame|tile|row_\d|col_\d", re.I)
"""Matches names of tokens that represent images, sounds and their parts."""


def control_pattern(processor: Any, render: Any, end_markers: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern that finds a model's control tokens in a text.

    These are BOS, EOS and padding, the placeholders of images, videos and sounds, the
    ``end_markers``, and every special token that the chat template writes.
    """
    tokenizer = processor.tokenizer
    added = tokenizer.added_tokens_decoder.values()
    special = {str(token.content) for token in added if token.special}
    special.difference_update(*THOUGHT_MARKS)
    written = "\n".join(_template_outputs(render))
    controls = {token for token in special if token in written or _MEDIA.search(token)}
    # tokens that the tokenizer or processor names, such as bos_token and image_token
    named = {**vars(processor), **tokenizer.special_tokens_map}
    for name in ("image_token", "video_token"):  # properties in some processors
        named[name] = getattr(processor, name, None)
    for name, token in named.items():
        if name.endswith("_token") and name not in _NOT_CONTROLLING and token is not None:
            controls.add(str(token))
    ids = [number for number in getattr(processor, "image_token_ids", []) if number is not None]
    controls |= {*tokenizer.convert_ids_to_tokens(ids), *end_markers, *_MARKERS}
    longest_first = sorted((token for token in controls if token.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


def _template_outputs(render: Any) -> Iterator[str]:
    """Yield the template's text and rendered conversations: it may build tokens from parts."""
    yield from render.template_texts
    text = {"type": "text", "text": "a"}
    for has_system, has_image in product((True, False), (True, False)):
        messages: Messages = [{"role": "system", "content": [text]}] if has_system else []
        messages += [
            {"role": "user", "content": [*([{"type": "image"}] if has_image else []), text]},
            {"role": "assistant", "content": [text]},
            {"role": "user", "content": [text]},
        ]
        try:
            yield render_messages(lambda chat: render(chat, prompt=True), messages)
        except PromptProblem:  # templates may refuse a system prompt or a missing image
            continue
