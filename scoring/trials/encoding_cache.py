"""Encoded samples in memory: each epoch, unit and evaluation reads the same ones again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cachetools import LRUCache

from scoring.models.base import EncodedSample
from scoring.models.hf import HfModel
from scoring.samples import Sample
from scoring.training.collator import TrainingCollator
from scoring.workspace import Workspace

MAX_BYTES = 1 << 30  # of the training, and again of all evaluation sets, in each process
_BYTES_PER_TOKEN = 100  # of the lists that encoded tokens are kept in

Prepared = tuple[EncodedSample, tuple[bool, ...]]


def count_bytes(sample: EncodedSample) -> int:
    """Return about how much memory an encoded sample takes."""
    tensors = sum(getattr(value, "nbytes", 0) for value in sample.inputs.values())
    return int(tensors) + _BYTES_PER_TOKEN * len(sample.input_ids)


def shrink(sample: EncodedSample, image_key: object) -> EncodedSample:
    """Return what the model reads of an encoded sample; its images are not kept with the key."""
    key = None if sample.image_key is None else image_key
    return replace(sample, image_key=key, pieces=(), text="")


class CachingCollator(TrainingCollator):
    """A collator for the samples of a workspace that keeps those it has encoded."""

    def __init__(self, model: HfModel, workspace: Workspace, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(model, workspace.image_roots)
        self._prepared: LRUCache[int, Prepared] = LRUCache(
            max_bytes, getsizeof=lambda prepared: count_bytes(prepared[0])
        )

    def prepare(self, record: Mapping[str, object] | Sample) -> Prepared:
        """Return a sample encoded, and whether each of its answers is trained on."""
        if not isinstance(record, Sample):
            return super().prepare(record)
        prepared = self._prepared.get(record.row_idx)
        if prepared is None:
            encoded, trained = super().prepare(record)
            prepared = shrink(encoded, None), trained
            if self._prepared.getsizeof(prepared) <= self._prepared.maxsize:
                self._prepared[record.row_idx] = prepared
        return prepared
