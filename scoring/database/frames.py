"""Small repairs of frames on their way from the database to a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


def nan_to_none(frame: pd.DataFrame) -> pd.DataFrame:
    """NaN and NA outside float columns as None, so that ``if row.reason`` means what it says."""
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
    """Records as a frame with these columns: floats with NaN for None, whole numbers, or what
    stays as it is."""
    return pd.DataFrame(
        {
            name: pd.Series([record[name] for record in records], dtype=kind)
            for name, kind in columns.items()
        }
    )


def sort_by_position(frame: pd.DataFrame, places: Sequence[int]) -> pd.DataFrame:
    """Rows by ascending place, one place per row; those with the same place stay in their order."""
    order = sorted(range(len(frame)), key=places.__getitem__)
    return frame.iloc[order].reset_index(drop=True)
