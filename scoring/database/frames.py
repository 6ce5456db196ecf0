"""Repairs of frames between the database and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


def nan_to_none(frame: pd.DataFrame) -> pd.DataFrame:
    """Replace NaN and NA outside float columns by None, so that ``if row.reason`` works."""
    for name in frame.columns:
        column = frame[name]
        if not isinstance(column.dtype, pd.api.extensions.ExtensionDtype):
            continue
        if isinstance(column.dtype, pd.StringDtype) or column.hasnans:
            frame[name] = column.astype(object).where(column.notna(), None)
        else:
            frame[name] = column.to_numpy(column.dtype.type)
    return frame


def records_to_frame(
    records: Sequence[Mapping[str, Any]], columns: Mapping[str, type]
) -> pd.DataFrame:
    """Return records as a frame with these columns and types; None is NaN in float columns."""
    return pd.DataFrame(
        {
            name: pd.Series([record[name] for record in records], dtype=kind)
            for name, kind in columns.items()
        }
    )
