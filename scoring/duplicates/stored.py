"""Store the groups of near-duplicates and other computed values as columns."""

from __future__ import annotations

from collections.abc import Sequence

from scoring.columns.computed import ComputedColumn, write_computed
from scoring.columns.parts import ColumnRecord
from scoring.database.build.build import build_database
from scoring.workspace import Workspace

QUESTIONS, SAMPLES, IMAGES = "questions", "samples", "images"
GROUP_COLUMNS = {QUESTIONS: "question_group", SAMPLES: "sample_group", IMAGES: "image_group"}
"""The columns of the groups of near-duplicates, by what is compared."""


def store_computed(
    workspace: Workspace, command: str, columns: Sequence[ComputedColumn]
) -> list[ColumnRecord]:
    """Store columns that a command computed, in place of its earlier ones; build the database."""
    records = write_computed(workspace, command, columns)
    build_database(workspace)
    return records
