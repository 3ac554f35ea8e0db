"""Detector's tables as rows of a file: the time axis as a column, panels in one long table."""

from __future__ import annotations

__all__ = ["event_rows", "given_rows", "iso_text", "shortest", "stacked", "with_time", "write_csv"]

from collections.abc import Mapping
from itertools import chain
from typing import Any, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqae.series import Series, as_panel
from seqae.stamps import TIME_UNITS

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
    if kind != np.dtype(object) and not isinstance(kind, pd.StringDtype):
        return None
    try:
        texts = "".join(column.dropna().tolist())
    except TypeError:  # not all are text
        return None
    return None if any(sign in texts for sign in ',"\r\n') else "%s"


_FORMATS = {"f": "%.9g", "i": "%d", "u": "%d", "b": "%s"}


def iso_text(index: pd.DatetimeIndex, unit: str | None = None) -> NDArray[np.object_]:
    """Return what `Timestamp.isoformat` gives each stamp (N,), "" for none; unit "D": the dates alone."""
    wall = index.tz_localize(None)
    stamps = wall.to_numpy()
    missing = np.isnat(stamps)
    text = np.datetime_as_string(stamps.astype(f"M8[{unit or 's'}]")).astype(object)
    if unit is None:
        second = TIME_UNITS[index.unit]
        fraction = wall.asi8 % second
        nano = fraction % max(second // 10**6, 1) > 0
        for finer, rows in (("us", (fraction > 0) & ~nano & ~missing), ("ns", nano & ~missing)):
            if rows.any():
                text[rows] = np.datetime_as_string(stamps[rows].astype(f"M8[{finer}]"))
        if index.tz is not None:
            ahead = (wall - index.tz_convert(None)).total_seconds().to_numpy(na_value=0.0)
            for seconds in np.unique(ahead):
                rows = ahead == seconds
                text[rows] = text[rows] + _offset(round(seconds))
    text[missing] = ""
    return text


def _offset(seconds: int) -> str:
    """Return the distance from UTC as in ISO 8601, with seconds where there are any."""
    minutes, rest = divmod(abs(seconds), 60)
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}" + (f":{rest:02}" if rest else "")


def shortest(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the shortest decimals (N,) that are the same float32: 23.11, not 23.1100006."""
    with np.errstate(invalid="ignore"):
        found = values.astype(np.float64)
    size = np.abs(found)
    subnormal = (size > 0) & (size < np.finfo(np.float32).tiny)  # they have fewer digits
    found[subnormal] = values[subnormal].astype(str).astype(np.float64)
    left = np.flatnonzero(np.isfinite(found) & (size > 0) & ~subnormal)
    power = np.floor(np.log10(np.abs(found[left]))).astype(np.int64)
    for digits in range(6, 11):  # every float32 has at most 9; its power of ten may be told one too high
        own, shift = found[left], digits - 1 - power
        scale = 10.0 ** np.abs(shift)
        rounded = np.rint(np.where(shift >= 0, own * scale, own / scale))
        short = np.where(shift >= 0, rounded / scale, rounded * scale)
        same = short.astype(np.float32) == values[left]
        found[left[same]] = short[same]
        left, power = left[~same], power[~same]
    return found
