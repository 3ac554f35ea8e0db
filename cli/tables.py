"""Detector's tables as rows of a file: the time axis as a column, panels in one long table."""

from __future__ import annotations

__all__ = ["event_rows", "given_rows", "stacked", "with_time", "write_csv"]

from collections.abc import Mapping
from itertools import chain
from typing import Any, TextIO

import numpy as np
import pandas as pd

from seqae.series import Series, as_panel

_ROWS = 1 << 13
"""Rows that become text at a time."""


def stacked(tables: pd.DataFrame | Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one table; a panel's tables stand one after the other, the series' name in the first column."""
    if isinstance(tables, pd.DataFrame):
        return tables
    parts = []
    for name, table in tables.items():
        part = table.copy(deep=False)
        part.insert(0, "series", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def given_rows(tables: pd.DataFrame | Mapping[str, pd.DataFrame], data: object) -> pd.DataFrame:
    """Return a table with a row for each row that was given, its time (or row number, from 0) in the first column.

    Rows that were put in to fill gaps of the time axis are left out: line k of the file belongs to line k of the input.
    """
    if isinstance(tables, pd.DataFrame):
        return with_time(tables, as_panel(data)[0])
    return stacked({series.name: with_time(tables[series.name], series) for series in as_panel(data)})


def with_time(table: pd.DataFrame, series: Series, first_row: int = 0) -> pd.DataFrame:
    """Return a series' given rows, their time, or their number counted from first_row, in the first column."""
    name = "row" if series.index is None else str(series.index.name or "time")
    while name in table.columns:
        name += "_"
    timed = table.copy(deep=False)
    timed.insert(0, name, series.index_or_range)
    timed = timed if series.present is None else timed[series.present]
    if series.index is None:
        timed = timed.assign(**{name: range(first_row, first_row + len(timed))})
    return timed.reset_index(drop=True)


def event_rows(events: pd.DataFrame, first: int = 1) -> pd.DataFrame:
    """Return events with their numbers, from `first` on, in the first column, as pictures show them."""
    numbered = events.reset_index(drop=True)
    numbered.insert(0, "event", range(first, first + len(numbered)))
    return numbered


def write_csv(table: pd.DataFrame, out: TextIO, *, header: bool) -> None:
    """Write what `DataFrame.to_csv` does with numbers as "%.9g": one format for many rows takes half the time."""
    columns = [column for _, column in table.items()]
    formats = [_format(column) for column in columns]
    if len(columns) < 2 or None in formats:  # a line with nothing but a missing value is one of quotes
        table.to_csv(out, index=False, header=header, float_format="%.9g", lineterminator="\n")
        return
    if header:
        table.iloc[:0].to_csv(out, index=False, lineterminator="\n")
    for low in range(0, len(table), _ROWS):
        parts, line = [], []
        for column, each in zip(columns, formats, strict=True):
            values, missing = column.iloc[low : low + _ROWS].tolist(), column.iloc[low : low + _ROWS].isna()
            if missing.any():
                values = ["" if gone else str(each) % one for one, gone in zip(values, missing, strict=True)]
            parts.append(values)
            line.append("%s" if missing.any() else str(each))
        rows = zip(*parts, strict=True)
        out.write((",".join(line) + "\n") * len(parts[0]) % tuple(chain.from_iterable(rows)))


def _format(column: pd.Series) -> str | None:
    """Return how a column's cells are formatted; None where that is left to pandas."""
    kind: Any = column.dtype
    if isinstance(kind, np.dtype) and kind.kind in _FORMATS:
        return _FORMATS[kind.kind]
    if isinstance(kind, pd.BooleanDtype):
        return "%s"
    texts = column.dropna().unique() if kind == np.dtype(object) or isinstance(kind, pd.StringDtype) else [None]
    plain = all(isinstance(text, str) and not set(text) & set(',"\r\n') for text in texts)
    return "%s" if plain else None


_FORMATS = {"f": "%.9g", "i": "%d", "u": "%d", "b": "%s"}
