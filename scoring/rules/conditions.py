"""A rule that keeps every scored sample that meets conditions, joined by "and" and by "or"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import Rule
from scoring.rules.candidates import Candidates, Mask


@dataclass(frozen=True, slots=True)
class Conditions(Rule):
    """The scored samples that match every filter of ``all`` and at least one of ``any``.

    Each is a filter in its written form, such as ``visnec>=0.25 col:clip>=0.3``, whose parts are
    joined by "and". Without ``any``, a sample needs to match those of ``all`` only.
    """

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    name: ClassVar[str] = "filter"

    def __post_init__(self) -> None:
        for option in ("all", "any"):
            texts = getattr(self, option)
            is_list = isinstance(texts, list | tuple)
            if not is_list or not all(isinstance(text, str) for text in texts):
                raise RuleError(f"--{option} needs a list of filters, got {texts!r}")
            texts = tuple(text.strip() for text in texts)
            if "" in texts:
                raise RuleError(f"A filter of --{option} is empty: all samples match it")
            object.__setattr__(self, option, texts)
        if not self.all and not self.any:
            raise RuleError("Rule filter needs at least one --all FILTER or --any FILTER")

    def list_filters(self) -> tuple[str, ...]:
        """Return all filters."""
        return (*self.all, *self.any)

    def map_filters(self, convert: Callable[[str], str]) -> Rule:
        """Return the rule with each filter converted."""
        return replace(self, all=tuple(map(convert, self.all)), any=tuple(map(convert, self.any)))

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the samples that meet the conditions. Raises RuleError for filters not read."""
        for text in self.list_filters():
            if text not in candidates.matching:
                raise RuleError(f"The filter {text!r} was not applied to these candidates")
        mask = candidates.eligible
        for text in self.all:
            mask = mask & candidates.matching[text]
        if self.any:
            mask = mask & np.any([candidates.matching[text] for text in self.any], axis=0)
        return mask
