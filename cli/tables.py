"""Detector's tables as rows of a file: the time axis as a column, panels in one long table."""

from __future__ import annotations

__all__ = ["event_rows", "given_rows", "stacked", "with_time"]

from collections.abc import Mapping

import pandas as pd

from seqae.series import Series, as_panel


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
