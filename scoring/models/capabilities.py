"""The shortcuts that a loaded model can use without changing its losses.

They are measured when the model is loaded (``probing``), never looked up by the family's name.
Without any of them every sample runs as a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Shortcuts that gave the same losses as one sample at a time with all logits.

    Attributes:
        batched: Several rows in a batch, padded on the right and masked.
        maskless: The same without the mask, which allows the kernel for causal attention.
        feature_cache: The vision tower runs once per distinct image.
        tree: Samples with the same beginning share a row.
        causal_beginning: The shared beginning goes through the causal kernel.
        split_head: The output head is applied to the answer positions only, in chunks.
        short_last_layer: The last layer's MLP runs at the answer positions only.
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
        """Names of the available shortcuts, for the run record and for display."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


NONE = Capabilities()
"""One sample at a time."""
