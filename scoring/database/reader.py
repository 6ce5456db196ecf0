"""Statements with named parameters, each on a cursor of its own, and the forms of their results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.values import Record

Values = Mapping[str, Any] | None
_PARAMETER = re.compile(r"\$([a-z_][a-z0-9_]*)")


@dataclass(eq=False)
class Reader:
    """Runs statements with named parameters (``$run_id``) on a connection of its own.

    ``relations`` is put before each statement; ``values`` are those of its parameters. Values that
    a statement does not name are ignored.
    """

    connection: duckdb.DuckDBPyConnection
    relations: str = ""
    values: Record = field(default_factory=dict)

    def _complete(self, query: str, values: Values) -> tuple[str, Record]:
        statement = self.relations + query
        return statement, select_values(statement, self.values | dict(values or {}))

    def fetch_rows(self, query: str, values: Values = None) -> list[tuple[Any, ...]]:
        """Return all rows as tuples."""
        with closing(self.connection.cursor()) as cursor:
            return cursor.execute(*self._complete(query, values)).fetchall()

    def fetch_value(self, query: str, values: Values = None) -> Any:
        """Return the first column of the first row."""
        return self.fetch_rows(query, values)[0][0]

    def fetch_records(self, query: str, values: Values = None) -> list[Record]:
        """Return all rows by column name."""
        with closing(self.connection.cursor()) as cursor:
            rows = cursor.execute(*self._complete(query, values)).fetchall()
            names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def fetch_frame(self, query: str, values: Values = None) -> pd.DataFrame:
        """Return a frame; NULL is NaN in float columns and None everywhere else."""
        with closing(self.connection.cursor()) as cursor:
            frame: pd.DataFrame = cursor.execute(*self._complete(query, values)).df()
        for name, column in frame.items():
            if isinstance(column.dtype, pd.StringDtype) or (
                isinstance(column.dtype, pd.api.extensions.ExtensionDtype) and column.hasnans
            ):
                frame[name] = column.astype(object).where(column.notna(), None)
            elif isinstance(column.dtype, pd.api.extensions.ExtensionDtype):
                frame[name] = column.to_numpy(column.dtype.type)
        return frame

    def fetch_arrays(self, query: str, values: Values = None) -> dict[str, NDArray[Any]]:
        """Return one array per column; only float columns may contain NULL, as NaN."""
        with closing(self.connection.cursor()) as cursor:
            columns = cursor.execute(*self._complete(query, values)).fetchnumpy()
        return {name: np.ma.filled(column, np.nan) for name, column in columns.items()}

    def fetch_batches(
        self, query: str, values: Values = None, size: int = 1 << 18
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield arrays of ``size`` rows at a time, for results too large to have in two copies."""
        statement, used = self._complete(query, values)
        with closing(self.connection.cursor()) as cursor:
            for batch in cursor.sql(statement, params=used).to_arrow_reader(size):
                yield {
                    name: column.to_numpy(zero_copy_only=False)
                    for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }


def select_values(query: str, values: Values) -> dict[str, Any]:
    """Return the values of the parameters in a query; DuckDB refuses others."""
    named = _PARAMETER.findall(query)
    return {name: value for name, value in (values or {}).items() if name in named}
