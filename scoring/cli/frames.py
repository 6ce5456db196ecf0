"""Frames as the command tells them: as rows of a table, as JSON records."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd


def frame_rows(frame: pd.DataFrame) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names, the index first, and the rows as plain values."""
    flat = frame.reset_index()
    rows = [
        tuple(value.item() if hasattr(value, "item") else value for value in row)
        for row in flat.itertuples(index=False)
    ]
    return [str(column) for column in flat.columns], rows


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; what is no number is null."""
    columns, rows = frame_rows(frame)
    return [
        {name: None if _is_nan(value) else value for name, value in zip(columns, row, strict=True)}
        for row in rows
    ]


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
