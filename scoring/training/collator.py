"""Batches for a trainer, whose labels are the answer tokens that were scored and nothing else.

A sample is encoded by the model that scores it: the same chat template, token ids and pixels. Its
mean cross-entropy at the labels is its ``loss_multimodal``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.errors import InputError
from scoring.image_references import ImageRoots
from scoring.models.base import EncodedSample
from scoring.models.hf import HfModel
from scoring.models.prompting import PromptProblem
from scoring.models.rows import Tensors, collate_inputs, input_shapes, pad_rows
from scoring.readers.options import ReadOptions
from scoring.samples import Sample
from scoring.training.records import RecordReader, TrainingSample

IGNORED = -100
"""Label of a token that is not trained on: the default of PyTorch's cross-entropy."""


class TrainingCollator:
    """A ``data_collator`` of ``transformers.Trainer`` for records of an export.

    Records are those of any format with conversations, as ``datasets`` or ``json`` load them, or
    samples of a workspace. Answers that the export masked have no labels. A record that cannot be
    trained on exactly (a missing image, too many tokens) raises InputError.
    """

    def __init__(
        self,
        model: HfModel,
        image_folders: Path | str | Sequence[Path | str] = (),
        *,
        options: ReadOptions | None = None,
        mask_key: str = "loss",
    ) -> None:
        """Create a collator for the trainer of ``model.network``.

        Args:
            model: As loaded by ``load_model``. Weights may change, the chat template may not.
            image_folders: Where image paths are looked up: the folder ``images`` of the export, or
                the ``image_roots`` of a workspace. Not needed for embedded images.
            options: How to read the records, if not by automatic detection.
            mask_key: Key that is false in a masked answer.
        """
        roots = [image_folders] if isinstance(image_folders, Path | str) else image_folders
        if not isinstance(roots, ImageRoots):
            roots = ImageRoots(map(Path, roots))
            if missing := [str(root) for root in roots if not root.exists()]:
                raise InputError(f"There is no image folder {', '.join(missing)}.")
        self.read = RecordReader(roots, options or ReadOptions(), mask_key).read
        self._model = model

    def __call__(self, records: Sequence[Mapping[str, object] | Sample]) -> Tensors:
        """Return the batch of ``records``; see ``collate_training``."""
        prepared = [self.prepare(record) for record in records]
        encoded = [sample for sample, _ in prepared]
        self._warn_if_inexact(encoded)
        return collate_training(
            encoded,
            [trained for _, trained in prepared],
            pad_id=self._model.pad_id,
            dtype=self._model.network.dtype,
        )

    def prepare(
        self, record: Mapping[str, object] | Sample
    ) -> tuple[EncodedSample, tuple[bool, ...]]:
        """Return a record encoded, and whether each of its answers is trained on."""
        sample = self.read(record)
        return self.encode(sample), sample.trained

    def encode(self, sample: TrainingSample) -> EncodedSample:
        """Return ``sample`` encoded as for the multimodal pass. Raises InputError."""
        try:
            encoded = self._model.encode(sample.turns, sample.images)
        except PromptProblem as problem:
            raise InputError(f"Cannot train on {sample.name}: {problem.reason}.") from problem
        limit = self._model.info.max_length
        if len(encoded.input_ids) > limit:
            raise InputError(
                f"Cannot train on {sample.name}: {len(encoded.input_ids):,} tokens, but the model "
                f"accepts {limit:,}."
            )
        if not any(sample.trained[turn] for turn in set(encoded.answer_turns)):
            raise InputError(f"Cannot train on {sample.name}: no answer token is left to train on.")
        return encoded

    def _warn_if_inexact(self, samples: Sequence[EncodedSample]) -> None:
        """Warn once of a batch in which samples change each other's losses in this model."""
        attends = any("cross_attention_mask" in sample.inputs for sample in samples)
        is_mixed = attends and len(set(map(input_shapes, samples))) > 1
        if is_mixed or (len(samples) > 1 and not self._model.capabilities.batched):
            warnings.warn(
                f"In batches, samples change each other's losses in models of the family "
                f"{self._model.info.family!r}. Train with a batch size of 1 for the scored losses.",
                stacklevel=3,
            )


def collate_training(
    samples: Sequence[EncodedSample],
    trained: Sequence[Sequence[bool]] | None = None,
    *,
    pad_id: int = 0,
    dtype: torch.dtype | None = None,
) -> Tensors:
    """Return the model inputs of ``samples`` as a batch, one per row, padded on the right.

    Args:
        samples: From ``VisionLanguageModel.encode``, with or without images.
        trained: Whether each answer of each sample is trained on; None for all answers.
        pad_id: Token id of the padding.
        dtype: Of inputs that are not integers (pixels); None to keep theirs.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``, (batch, longest) each, and the other
        inputs of the model by name. Labels are the token ids at answer tokens, -100 elsewhere.
    """
    masks: Sequence[Sequence[bool] | None] = trained or [None] * len(samples)
    rows = [np.asarray(sample.input_ids) for sample in samples]  # (length,) each
    batch = {
        "input_ids": pad_rows(rows, pad_id),
        "attention_mask": pad_rows([np.ones(len(row)) for row in rows], 0),
        "labels": pad_rows(list(map(answer_labels, samples, masks)), IGNORED),
    }
    inputs = collate_inputs(samples)
    if dtype is not None:
        inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    return batch | inputs


def answer_labels(
    sample: EncodedSample, trained: Sequence[bool] | None = None
) -> NDArray[np.int64]:
    """Return (length,) token ids at the answer tokens of trained answers, -100 elsewhere."""
    turns = np.asarray(sample.turn_ids)  # (length,)
    is_label = turns >= 0
    if trained is not None:
        is_label &= np.array([*trained, False])[turns]  # no answer, -1, is the last
    return np.where(is_label, np.asarray(sample.input_ids), IGNORED)
