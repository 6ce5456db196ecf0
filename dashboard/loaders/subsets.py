"""Saved subsets and what a definition comes to now."""

from __future__ import annotations

from dashboard.loaders.cache import OUTCOMES
from dashboard.loaders.context import Context, read_cached
from scoring.subsets import Outcome, SubsetDefinition, list_subsets, read_outcome
from scoring.workspace import Workspace


def read_subsets(workspace: Workspace) -> list[SubsetDefinition]:
    """The saved subsets, oldest first."""
    return list_subsets(workspace)


def read_subset_outcome(context: Context, definition: SubsetDefinition) -> Outcome:
    """What a definition comes to now."""
    return read_cached(
        context,
        "outcome",
        lambda: read_outcome(context.workspace, context.store, definition),
        *_deciding(definition),
        answers=OUTCOMES,
    )


def read_subset_size(context: Context, definition: SubsetDefinition) -> tuple[int, int]:
    """How many samples a definition takes now, and of how many; kept far longer than outcomes."""

    def read() -> tuple[int, int]:
        outcome = read_subset_outcome(context, definition)
        return len(outcome.subset.selected), len(outcome.candidates)

    return read_cached(context, "size", read, *_deciding(definition))


def _deciding(definition: SubsetDefinition) -> tuple[object, ...]:
    """All of a definition that decides its outcome, as a key."""
    rule = tuple(sorted((key, repr(value)) for key, value in definition.rule.to_dict().items()))
    choices = (definition.text_only, definition.unscored, definition.hand_wins)
    return rule, choices, definition.scope
