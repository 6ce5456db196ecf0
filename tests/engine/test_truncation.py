"""A truncated sample has the same losses for its first answer tokens as the whole one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scoring.engine.baselines import BaselineSettings
from scoring.engine.preparation import Prepared, Preparer
from scoring.models.base import EncodedSample, ModelInfo
from scoring.models.hf import HfModel
from scoring.samples import Role, Sample, Turn
from tests.families import family_model

FAMILIES = ("llava", "llava_onevision", "qwen2_5_vl", "idefics3", "gemma3", "mllama")
TURNS = (
    Turn(Role.HUMAN, "\nwhat colour is it?", (0,)),
    Turn(Role.ASSISTANT, "red and blue"),
    Turn(Role.HUMAN, "how many are there?"),
    Turn(Role.ASSISTANT, "two green squares and " * 8),
)


class Shorter:
    """A model with a shorter context; the rest is the model's own."""

    def __init__(self, model: HfModel, max_length: int) -> None:
        own = {name: getattr(model.info, name) for name in ModelInfo.__dataclass_fields__}
        self.info = ModelInfo(**{**own, "max_length": max_length})
        self.encode, self.encode_masked = model.encode, model.encode_masked
        self.neutral_colour = model.neutral_colour
        self.answer_losses, self.generate = model.answer_losses, model.generate


def prepared(model: HfModel, max_length: int, root: Path) -> Prepared:
    sample = Sample(0, None, "s", ("a.png",), TURNS, b"")
    settings = BaselineSettings(("none", "gray"))
    preparer = Preparer(Shorter(model, max_length), [root], settings, truncate=True)
    (found,) = preparer.prepare([sample])
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_of_a_truncated_sample_are_the_first_of_the_whole(
    family: str, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    model = family_model(family)
    whole = prepared(model, 1 << 20, tmp_path)
    assert whole.multimodal is not None
    cut = prepared(model, len(whole.multimodal.input_ids) - 12, tmp_path)
    assert cut.multimodal is not None
    pairs = [(whole.multimodal, cut.multimodal)]
    for before, after in zip(whole.blind, cut.blind, strict=True):
        assert isinstance(before, EncodedSample)
        assert isinstance(after, EncodedSample)
        assert (before.truncated, after.truncated) == (False, True)
        assert after.answer_ids == cut.multimodal.answer_ids
        pairs.append((before, after))
    for before, after in pairs:
        kept = len(after.answer_ids)
        assert 0 < kept < len(before.answer_ids)
        assert after.pieces == before.pieces[:kept]
        long, short = model.answer_losses([before, after])
        assert long is not None
        assert short is not None
        np.testing.assert_allclose(short, long[:kept], atol=1e-5)
