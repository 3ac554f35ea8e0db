"""Labels from a file, brought onto the rows of a table of scores: a column, intervals, or NAB's JSON.

Rows are matched by stamp where both sides have stamps, otherwise by row number, from 0. What does not fit is refused.
"""

from __future__ import annotations

__all__ = [
    "LABEL_NAMES",
    "ColumnLabels",
    "IntervalLabels",
    "Labels",
    "marks_of",
    "nab_key",
    "read_events",
    "read_labels",
]

import difflib
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from seqae.anomaly.metrics.rows import Table, read_parts, read_rows, same_kind, span
from seqae.anomaly.metrics.segments import Flags, Floats
from seqae.errors import DataError, OptionError, SeqaeWarning
from seqae.stamps import Origin, read_stamps

LABEL_NAMES = ("label", "labels", "is_anomaly", "anomaly", "anomalous", "is_outlier", "outlier")
"""Columns that are taken for labels where none is named, the likeliest first."""
BOUNDS = ("start", "end")
_WORDS = {"0": False, "1": True, "false": False, "true": True}


class Labels(ABC):
    """Which rows are anomalous, as a file has it; `name` is the file's, for messages."""

    name: str

    @abstractmethod
    def on(self, axis: pd.Index) -> Flags:
        """Return the labels (T,) of the rows of `axis`: stamps, numbers of time, or a RangeIndex of row numbers."""

    def values_on(self, axis: pd.Index) -> Floats | None:
        """Return the numbers (T, C) that stand beside the labels; None where there are none."""
        return None


class ColumnLabels(Labels):
    """One label for each row of a table, in `column`."""

    def __init__(self, table: Table, column: str) -> None:
        self.name, self.table = table.name, table
        self.column, self.marks = column, marks_of(table.frame[column], table.name)

    def on(self, axis: pd.Index) -> Flags:
        """Return each row's label; DataError where a row has none. A stamp is anomalous where any of its rows is."""
        return self.marks[self.table.rows_at(axis, prefer=self.marks)]

    def values_on(self, axis: pd.Index) -> Floats | None:
        """Return the table's other numeric columns."""
        values = self.table.numbers(leave_out=[self.column, *LABEL_NAMES])
        return None if values is None else values[self.table.rows_at(axis, prefer=self.marks)]


class IntervalLabels(Labels):
    """Anomalies from starts to ends (S,), both included: stamps, numbers of time, or row numbers."""

    def __init__(self, starts: pd.Index, ends: pd.Index, name: str) -> None:
        self.starts, self.ends, self.name = starts, ends, name

    def on(self, axis: pd.Index) -> Flags:
        """Return which rows lie in an interval; DataError where no interval holds any, a warning where some do not."""
        flags = np.zeros(len(axis), dtype=bool)
        for first, stop in self.rows_on(axis):
            flags[first:stop] = True
        return flags

    def rows_on(self, axis: pd.Index) -> NDArray[np.int64]:
        """Return the rows (S, 2) of each interval, from the first up to but not the second; errors as of `on`."""
        if not len(self.starts):
            return np.empty((0, 2), dtype=np.int64)
        dated = isinstance(self.starts, pd.DatetimeIndex)
        if dated and isinstance(axis, pd.RangeIndex):
            raise DataError(
                f"{self.name} has intervals of stamps, such as {self.starts[0]} to {self.ends[0]}, and the scores have "
                "none. Give intervals of row numbers, from 0."
            )
        if not dated and isinstance(axis, pd.DatetimeIndex):
            axis = pd.RangeIndex(len(axis))
        same_kind(axis, self.starts, self.name)
        if not axis.is_monotonic_increasing:
            raise DataError("the stamps of the scores do not increase. Sort the table of scores by time.")
        firsts, lasts = axis.searchsorted(self.starts, side="left"), axis.searchsorted(self.ends, side="right")
        outside = int((firsts >= lasts).sum())
        if outside == len(firsts):
            raise DataError(
                f"{self.name}: no scored row lies in an interval; they are {span(self.starts.append(self.ends))}, the "
                f"scores {span(axis)}. Give the labels of the scored table."
            )
        if outside:
            warnings.warn(
                f"{self.name}: {outside} of {len(firsts)} intervals hold no scored row.", SeqaeWarning, stacklevel=2
            )
        return np.stack([firsts, np.maximum(firsts, lasts)], axis=1)


def read_labels(
    path: str | Path,
    *,
    column: str | None = None,
    key: str | None = None,
    series: Iterable[str] | None = None,
    id: str | None = None,
    time: str | bool | None = None,
    time_unit: str | None = None,
    likely: str | None = None,
) -> dict[str, Labels]:
    """Read a file of labels for one series, called "", or with `series` for each of several.

    A .json file is NAB's form {"folder/file.csv": [[start, end], ...]} or a list of such pairs; `key` names the entry
    for a single series, several are found by their names. Any other is a table: of intervals where it has the columns
    start and end and no `column` is named, otherwise with a label for each row in `column` (None: the first of
    LABEL_NAMES that is there). id: the column of a table that says which series a row belongs to; a folder has a file
    for each. time, time_unit, likely: as in `Table.of`. Raises DataError and OptionError, which name what is there.
    """
    shown = Path(path).name
    names = None if series is None else list(series)
    if shown.lower().endswith(".json"):
        if column is not None:
            raise OptionError(f"{shown} is JSON and has no column {column!r}. Leave out --label-column.")
        return _json_labels(Path(path), key, names)
    if key is not None:
        raise OptionError(f"{shown} has no key {key!r}: it is a table. Leave out --key, or name a JSON file.")
    parts = read_parts(path, names, id)
    if not parts:
        raise DataError(f"{shown} has no row for any of the series {', '.join((names or [])[:8])}. Check --id.")
    lower = {name.lower(): name for name in next(iter(parts.values())).columns}
    if column is None and all(bound in lower for bound in BOUNDS):
        first, last = (lower[bound] for bound in BOUNDS)
        found = {name: _intervals(part[first], part[last], shown, "row") for name, part in parts.items()}
        return {name: found.get(name, _no_interval(shown)) for name in names or [""]}
    missing = [name for name in names or [] if name not in parts]
    if missing:
        raise DataError(f"{shown} has no row for the series {missing[0]!r}. It has {', '.join([*parts][:8])}.")
    axis: dict[str, Any] = {"time": time, "time_unit": time_unit, "likely": likely}
    return {
        name: ColumnLabels(Table.of(part, shown, **axis), _label_column(part, column, shown))
        for name, part in parts.items()
    }


def read_events(
    path: str | Path, *, series: Iterable[str] | None = None, id: str | None = None
) -> dict[str, IntervalLabels]:
    """Read listed events, as `seqae score --events` writes them, of one series, called "", or of each of several.

    They are a table, also JSON Lines, with the columns start and end; id: the column that says whose each is. A table
    without rows lists none. DataError where it does not fit.
    """
    shown, names = Path(path).name, None if series is None else list(series)
    frame = read_rows(path, empty=True)
    if frame.empty:
        return {name: _no_interval(shown) for name in names or [""]}
    lacking = [one for one in (*BOUNDS, *([] if names is None or id is None else [id])) if one not in frame.columns]
    if lacking:
        raise DataError(
            f"{shown} has no column {lacking[0]!r}; the columns are {', '.join(frame.columns)}. Give what seqae score "
            "--events wrote."
        )
    parts = {"": frame} if names is None else {str(one): part for one, part in frame.groupby(id, sort=False)}
    if names is None and id in frame.columns and frame[id].nunique() > 1:
        raise DataError(f"{shown} lists events of {frame[id].nunique()} series, the scores are of one. Give its own.")
    first, last = BOUNDS
    found = {name: _intervals(part[first], part[last], shown, "event") for name, part in parts.items()}
    return {name: found.get(name, _no_interval(shown)) for name in names or [""]}


def marks_of(column: pd.Series, shown: str) -> Flags:
    """Return a column of 0 and 1, or false and true, as bool (N,); DataError names what else it holds."""
    if is_bool_dtype(column.dtype) and not column.isna().any():
        return column.to_numpy(dtype=bool)
    if is_numeric_dtype(column.dtype):
        wrong = ~column.isin([0, 1]).to_numpy()
        marks = column.isin([1]).to_numpy()
    else:
        words = column.astype(str).str.strip().str.lower()
        wrong = ~words.isin(list(_WORDS)).to_numpy()
        marks = words.isin([word for word, anomalous in _WORDS.items() if anomalous]).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{shown}: column {column.name!r} holds {str(column.iloc[row])!r} in row {row}, counted from 0. "
            "It must hold 0 or 1, or false or true, in every row."
        )
    return marks


def nab_key(keys: Iterable[str], name: str, shown: str) -> str:
    """Return the key that is `name`, or the only one whose path ends with it (with or without .csv).

    DataError lists the near ones otherwise.
    """
    known = list(keys)
    if name in known:
        return name
    short = name.removesuffix(".gz").removesuffix(".csv")
    ends = [key for key in known if f"/{key.removesuffix('.csv')}".endswith(f"/{short}")]
    if len(ends) == 1:
        return ends[0]
    stems = {key.rpartition("/")[2].removesuffix(".csv"): key for key in known}
    near = ends or [stems[stem] for stem in difflib.get_close_matches(short.rpartition("/")[2], stems, 3, 0.5)]
    what = f"{len(ends)} entries" if ends else "no entry"
    listed = ", ".join(near[:5]) if near else f"such as {', '.join(known[:3])}"
    raise DataError(f"{shown} has {what} for {name!r}. Name one with --key: {listed}.")


def _json_labels(path: Path, key: str | None, series: list[str] | None) -> dict[str, Labels]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise DataError(f"There is no file {path}. Check the path.") from problem
    except (OSError, ValueError) as problem:
        raise DataError(f"{path.name} cannot be read as JSON: {problem}. Give NAB's labels, or a table.") from problem
    if isinstance(held, list) and key is None and series is None:
        return {"": _pairs(held, path.name)}
    if not isinstance(held, Mapping) or not held:
        raise DataError(f'{path.name} is not in NAB\'s form, {{"folder/file.csv": [[start, end], ...]}}. Correct it.')
    if series is not None:
        if key is not None:
            raise OptionError("--key names the entry of one series, and there are several. Leave it out.")
        return {one: _entry(held, one, path.name) for one in series}
    if key is None and len(held) > 1:
        raise OptionError(
            f"{path.name} has labels of {len(held)} files. Name one with --key, such as {next(iter(held))}."
        )
    return {"": _entry(held, next(iter(held)) if key is None else key, path.name)}


def _entry(held: Mapping[str, Any], name: str, shown: str) -> Labels:
    key = nab_key(held, name, shown)
    return _pairs(held[key], f"{shown}, {key}")


def _pairs(held: Any, shown: str) -> Labels:
    if not isinstance(held, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in held):
        raise DataError(f"{shown}: labels are pairs, [[start, end], ...]. Correct what is not.")
    frame = pd.DataFrame(held, columns=list(BOUNDS))
    return _intervals(frame[BOUNDS[0]], frame[BOUNDS[1]], shown, "pair")


def _intervals(starts: pd.Series, ends: pd.Series, shown: str, each: str) -> IntervalLabels:
    count = len(starts)
    if not count:
        return _no_interval(shown)
    origin = Origin(shown, lambda row: f"{each} {row % count}")
    both = read_stamps(pd.concat([starts, ends], ignore_index=True).rename("start or end"), origin=origin)
    first, last = both[:count], both[count:]
    wrong = np.asarray(last < first)
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(f"{shown}: {origin.line(at)} ends at {last[at]}, before it starts at {first[at]}. Correct it.")
    return IntervalLabels(first, last, shown)


def _no_interval(shown: str) -> IntervalLabels:
    return IntervalLabels(pd.RangeIndex(0), pd.RangeIndex(0), shown)


def _label_column(frame: pd.DataFrame, column: str | None, shown: str) -> str:
    there = f"the columns are {', '.join(frame.columns)}"
    if column is not None:
        if column not in frame.columns:
            raise DataError(f"{shown} has no column {column!r} for --label-column; {there}.")
        return column
    lower = {name.lower(): name for name in reversed(list(frame.columns))}
    for name in LABEL_NAMES:
        if name in lower:
            return lower[name]
    raise DataError(f"{shown} has no column that looks like labels. Name it with --label-column; {there}.")
