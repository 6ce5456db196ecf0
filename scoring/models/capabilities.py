"""Which shortcuts a loaded model takes without changing its numbers.

They are measured when the model is loaded (``probing``), never taken from a family's name; with
none of them every sample runs as a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What was found to give the same losses as one sample at a time with all logits.

    ``batched``: several rows, padded on the right and masked. ``maskless``: the same without the
    mask, so that the kernel for causal attention serves. ``feature_cache``: the vision tower runs
    once per distinct image. ``tree``: samples that begin alike share a row. ``causal_beginning``:
    what they share goes through the causal kernel. ``split_head``: the head is applied to the
    answer positions only, in chunks. ``short_last_layer``: so is the last layer's MLP.
    """

    batched: bool = False
    maskless: bool = False
    feature_cache: bool = False
    tree: bool = False
    causal_beginning: bool = False
    split_head: bool = False
    short_last_layer: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of those that hold, for the run record and for people."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


NONE = Capabilities()
"""One sample at a time."""
