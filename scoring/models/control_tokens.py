"""Decides which tokens of a tokenizer control the structure of a prompt.

Written in a sample's text, such a token would be read as an image, an end of a text or a turn of
its own, so texts may not contain it. Other special tokens are content: grounding markup such as
``<box>`` or ``<|object_ref_start|>`` belongs to answers, and is what the model was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from scoring.models.prompting import Messages, PromptProblem, render_messages
from scoring.thoughts import THOUGHT_MARKS

_MARKERS = ("\U000f0000", "\U000f0001")  # by these, transformers tells text from control tokens
_NOT_CONTROLLING = ("unk_token", "sep_token", "cls_token", "mask_token")
_MEDIA = re.compile(r"image|img|im_|vision|video|vid_|audio|frame|tile|row_\d|col_\d", re.I)
"""Matches names of tokens that represent pictures, sounds and their parts."""


def control_pattern(processor: Any, render: Any, end_markers: Sequence[str]) -> re.Pattern[str]:
    """Finds the control tokens of a model in a text.

    These are BOS, EOS and padding, the placeholders of images, videos and sounds, the
    ``end_markers``, and every special token that the chat template writes.
    """
    tokenizer = processor.tokenizer
    special = {str(one.content) for one in tokenizer.added_tokens_decoder.values() if one.special}
    special.difference_update(*THOUGHT_MARKS)
    written = "\n".join(_written_by_template(render))
    found = {token for token in special if token in written or _MEDIA.search(token)}
    found |= {*_named_tokens(processor), *end_markers, *_MARKERS}
    longest_first = sorted((token for token in found if token.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


def control_ids(tokenizer: Any, controls: re.Pattern[str]) -> frozenset[int]:
    """Ids of the tokens that ``controls`` finds."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(number for number, one in added if controls.fullmatch(str(one.content)))


def _written_by_template(render: Any) -> Iterator[str]:
    """The template's text, and conversations that it renders: it may build tokens from parts."""
    yield from render.sources
    for first, image in product((("system",), ()), (True, False)):
        question = [*([{"type": "image"}] if image else []), {"type": "text", "text": "a"}]
        messages: Messages = [
            {"role": role, "content": [{"type": "text", "text": "a"}]} for role in first
        ]
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
        ]
        try:
            yield render_messages(lambda chat: render(chat, prompt=True), messages)
        except PromptProblem:  # templates may refuse a system prompt or a missing image
            continue


def _named_tokens(processor: Any) -> Iterator[str]:
    """Tokens that the tokenizer or the processor names, such as ``bos_token``, ``image_token``."""
    tokenizer = processor.tokenizer
    names = {**vars(processor), **tokenizer.special_tokens_map}
    for name in ("image_token", "video_token"):  # of some processors these are properties
        names[name] = getattr(processor, name, None)
    for name, token in names.items():
        if name.endswith("_token") and name not in _NOT_CONTROLLING and token is not None:
            yield str(token)
    ids = [one for one in getattr(processor, "image_token_ids", []) if one is not None]
    yield from tokenizer.convert_ids_to_tokens(ids)
