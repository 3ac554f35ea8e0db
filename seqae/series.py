"""Series and panels: values (T, C) on a time axis, with what is known about each row."""

from __future__ import annotations

__all__ = ["Panel", "Series", "TableOptions", "as_panel", "concatenated", "from_table", "placed"]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self, Unpack, cast, overload

import numpy as np
import pandas as pd

from seqae.columns import GRID_OPTIONS, Columns, TableOptions, read_columns, warn_of_rounding
from seqae.errors import DataError, OptionError, TimeAxisError
from seqae.timeaxis import Layout, Origin, Step, lay_out

_UNNAMED = "series"


@dataclass(frozen=True, eq=False, repr=False)
class Series:
    """One multichannel series: values (T, C) float32, NaN where missing.

    index: unique, increasing stamps or numbers, evenly spaced unless read with irregular="keep"; None = no time axis.
    labels: (T,) bool, True = anomalous; never part of the values.
    covariates: condition columns as read, T rows.
    present: (T,) bool, False where a row was inserted to fill a gap of the time axis; None = every row was given.
    step: the sampling step; None without an index, or where it is irregular.
    Raises DataError where the parts do not fit each other or a value is infinite.
    """

    values: np.ndarray
    channels: tuple[str, ...]
    index: pd.Index | None = None
    labels: np.ndarray | None = None
    covariates: pd.DataFrame | None = None
    present: np.ndarray | None = None
    name: str = _UNNAMED
    step: Step | None = None

    def __post_init__(self) -> None:
        values = _float32(self.values, tuple(self.channels), self.name)
        rows = len(values)
        if self.index is not None and not (self.index.is_monotonic_increasing and self.index.is_unique):
            raise TimeAxisError(
                f"{self.name}: the stamps of a series must increase. Sort them and drop duplicates first."
            )
        settled: dict[str, Any] = {"values": values, "channels": tuple(map(str, self.channels))}
        for field in ("labels", "present"):
            flags = getattr(self, field)
            settled[field] = None if flags is None else np.asarray(flags, dtype=bool).reshape(-1)
        if self.covariates is not None:
            settled["covariates"] = self.covariates.reset_index(drop=True)
        for field in ("index", "labels", "covariates", "present"):
            part = settled.get(field, getattr(self, field))
            if part is not None and len(part) != rows:
                raise DataError(f"{self.name}: {field} has {len(part)} rows, the values have {rows}. Give one per row.")
        for field, part in settled.items():
            object.__setattr__(self, field, part)

    @classmethod
    def from_array(cls, array: Any, channels: Sequence[str] | None = None, *, name: str = _UNNAMED) -> Self:
        """Return a series without time axis from an array (T,) or (T, C), whose channels are `value` or c0, c1, ..."""
        values = _numbers(array, name)
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2:
            raise DataError(f"{name}: an array of shape {values.shape} is no series. Give (T,) or (T, C).")
        if channels is None:
            channels = ["value"] if values.shape[1] == 1 else [f"c{c}" for c in range(values.shape[1])]
        for column, channel in zip(values.T, channels, strict=False):
            warn_of_rounding(column, channel, name)
        return cls(values, tuple(channels), name=name)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, name: str = _UNNAMED, **options: Unpack[TableOptions]) -> Series:
        """Return a table's series: the time axis is its DatetimeIndex or a time column, and TableOptions apply."""
        return from_table(frame, name=name, **options)[0]

    @property
    def observed(self) -> np.ndarray:
        """(T, C) bool: where there is a value."""
        return ~np.isnan(self.values)

    @property
    def index_or_range(self) -> pd.Index:
        """The time axis, or the row numbers where there is none."""
        return pd.RangeIndex(len(self)) if self.index is None else self.index

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> Self:
        if not isinstance(rows, slice):
            raise TypeError(f"a Series takes a slice of rows, as in series[10:20]; got {rows!r}")
        start, stop, stride = rows.indices(len(self))
        if stride < 1:
            raise DataError(f"{self.name}: a slice with step {stride} turns time round. Use a step of 1 or more.")
        rows = slice(start, max(start, stop), stride)
        return replace(
            self,
            values=self.values[rows],
            index=None if self.index is None else self.index[rows],
            labels=None if self.labels is None else self.labels[rows],
            covariates=None if self.covariates is None else self.covariates.iloc[rows],
            present=None if self.present is None else self.present[rows],
            step=None if self.step is None else self.step * stride,
        )

    def split(self, *fractions: float) -> tuple[Self, ...]:
        """Cut in time order: split(0.7) gives the first 70 % and the rest, split(0.6, 0.2) gives three parts.

        Fractions that sum to 1 leave no rest. OptionError for other fractions, DataError where a part would be empty.
        """
        total = sum(fractions)
        if not fractions or min(fractions) <= 0 or total > 1 + 1e-9:
            raise OptionError(f"split{fractions} needs fractions above 0 that sum to at most 1, such as split(0.7).")
        shares = np.cumsum(fractions)
        cuts = [0, *(int(cut) for cut in np.rint(shares * len(self))), len(self)]
        if abs(total - 1) <= 1e-9:
            del cuts[-2]
        if any(start >= stop for start, stop in pairwise(cuts)):
            raise DataError(
                f"{self.name} has {len(self)} rows; split{fractions} would leave a part empty. Give more rows."
            )
        return tuple(self[start:stop] for start, stop in pairwise(cuts))

    def select(self, channels: Sequence[str]) -> Self:
        """Return the series with these channels, in this order; DataError names those that are not there."""
        missing = [name for name in channels if name not in self.channels]
        if missing:
            raise DataError(
                f"{self.name} has no channel {', '.join(missing)}. Select among these: {', '.join(self.channels)}."
            )
        if tuple(channels) == self.channels:
            return self
        where = [self.channels.index(name) for name in channels]
        return replace(self, values=self.values[:, where], channels=tuple(channels))

    def to_frame(self) -> pd.DataFrame:
        """Return the values as a table on index_or_range, with a `label` column where there are labels."""
        frame = pd.DataFrame(self.values, index=self.index_or_range, columns=list(self.channels))
        if self.labels is not None and "label" not in self.channels:
            frame["label"] = self.labels
        return frame

    def __repr__(self) -> str:
        span = "" if self.index is None or not len(self) else f", {self.index[0]} to {self.index[-1]}"
        return f"<Series {self.name}: {len(self)} rows of {', '.join(self.channels)}{span}>"


class Panel(Sequence[Series]):
    """Several series with the same channels and unique names: panel[0], panel["id"], iteration; len = how many.

    Channels in another order are put in the first series' order. DataError where they differ or a name occurs twice.
    """

    def __init__(self, series: Iterable[Series]) -> None:
        held = list(series)
        if not held:
            raise DataError("A panel of no series cannot be used. Give at least one series.")
        self.channels = held[0].channels
        for one in held[1:]:
            if set(one.channels) != set(self.channels):
                raise DataError(
                    f"{one.name} has the channels {', '.join(one.channels)}; {held[0].name} has "
                    f"{', '.join(self.channels)}. Give every series of a panel the same, for example with --columns."
                )
        self._series = [one.select(self.channels) for one in held]
        self._rows = {one.name: row for row, one in enumerate(held)}
        if len(self._rows) < len(held):
            seen: set[str] = set()
            twice = next(one.name for one in held if one.name in seen or seen.add(one.name))  # type: ignore[func-returns-value]
            raise DataError(f"Two series of a panel are called {twice!r}. Give each its own name, as in name='pump-1'.")

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, id: str, **options: Unpack[TableOptions]) -> Panel:
        """Return the panel of a long table: one series per value of the column `id`, and TableOptions apply to each."""
        return from_table(frame, id=id, **options)

    @property
    def names(self) -> tuple[str, ...]:
        """The series' names, in order."""
        return tuple(self._rows)

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series)

    @overload
    def __getitem__(self, which: int | str) -> Series: ...
    @overload
    def __getitem__(self, which: slice) -> Panel: ...
    def __getitem__(self, which: int | str | slice) -> Series | Panel:
        if isinstance(which, slice):
            return Panel(self._series[which])
        if not isinstance(which, str):
            return self._series[which]
        if which not in self._rows:
            raise DataError(f"No series is called {which!r}. There are: {', '.join(self.names)}.")
        return self._series[self._rows[which]]

    def split(self, *fractions: float) -> tuple[Panel, ...]:
        """Cut every series in time order, as Series.split; returns one panel per part."""
        return tuple(Panel(part) for part in zip(*(one.split(*fractions) for one in self), strict=True))

    def select(self, channels: Sequence[str]) -> Panel:
        """Return the panel with these channels, in this order."""
        return Panel(one.select(channels) for one in self)

    def __repr__(self) -> str:
        return f"<Panel of {len(self)} series ({', '.join(self.names[:3])}{', ...' if len(self) > 3 else ''})>"


def as_panel(data: Any) -> Panel:
    """Return data as a panel.

    data: a Series, Panel, DataFrame, array (T,), (T, C) or (N, T, C), a sequence of those, or a mapping from names to
    those. Unnamed members of a sequence are called series-0, series-1, ... DataError for anything else.
    """
    if isinstance(data, Panel):
        return data
    if isinstance(data, Mapping):
        return Panel(_as_series(one, str(name), rename=True) for name, one in data.items())
    if isinstance(data, Series | pd.DataFrame | pd.Series):
        return Panel([_as_series(data, _UNNAMED)])
    if isinstance(data, Sequence) and not isinstance(data, str | bytes) and any(not np.isscalar(one) for one in data):
        return Panel(_as_series(one, f"{_UNNAMED}-{row}") for row, one in enumerate(data))
    array = _numbers(data, _UNNAMED)
    if not array.size:
        raise DataError(f"An array of shape {array.shape} holds no data. Give at least one row.")
    if array.ndim == 3:
        return Panel(Series.from_array(one, name=f"{_UNNAMED}-{row}") for row, one in enumerate(array))
    return Panel([Series.from_array(array)])


def concatenated(pieces: Sequence[Series]) -> Series:
    """Return consecutive stretches of one series as one."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    parts: dict[str, Any] = {"values": np.concatenate([one.values for one in pieces])}
    for field, usual in (("labels", False), ("present", True)):
        if any(getattr(one, field) is not None for one in pieces):
            flags = [np.full(len(one), usual) if getattr(one, field) is None else getattr(one, field) for one in pieces]
            parts[field] = np.concatenate(flags)
    if first.index is not None:
        parts["index"] = first.index.append([cast(pd.Index, one.index) for one in pieces[1:]])
    if first.covariates is not None:
        parts["covariates"] = pd.concat([cast(pd.DataFrame, one.covariates) for one in pieces], ignore_index=True)
    return replace(first, **parts)


def from_table(
    frame: pd.DataFrame,
    *,
    id: str | None = None,
    name: str = _UNNAMED,
    origin: Origin | None = None,
    **options: Unpack[TableOptions],
) -> Panel:
    """Return a table's series: one, or one per value of the column `id`.

    DataError (TimeAxisError for stamps) names the column, the row as `origin` calls it, and the cure.
    """
    origin = origin or Origin(name)
    read = read_columns(frame, id=id, origin=origin, options=options)
    grid = {key: options[key] for key in GRID_OPTIONS if key in options}  # type: ignore[literal-required]
    if id is None:
        return Panel([_laid_out(read, slice(None), name, origin, grid)])
    parts = ((str(one), rows) for one, rows in read.groups)
    return Panel(_laid_out(read, rows, one, origin.part(one, rows), grid) for one, rows in parts)


def _laid_out(read: Columns, rows: np.ndarray | slice, name: str, origin: Origin, grid: dict[str, Any]) -> Series:
    read = replace(
        read,
        values=read.values[rows],
        index=None if read.index is None else read.index[rows],
        labels=None if read.labels is None else read.labels[rows],
        covariates=None if read.covariates is None else read.covariates.iloc[rows],
    )
    return placed(read, None if read.index is None else lay_out(read.index, origin=origin, **grid), name, origin)


def placed(read: Columns, layout: Layout | None, name: str, origin: Origin) -> Series:
    """Return the series of a table's rows by where they go on the time axis; without one, of the rows as they are."""
    if layout is None:
        return Series(read.values, read.channels, labels=read.labels, covariates=read.covariates, name=name)
    return Series(
        layout.mean(read.values),
        read.channels,
        index=layout.index,
        labels=None if read.labels is None else layout.any(read.labels),
        covariates=None if read.covariates is None else layout.table(read.covariates, origin),
        present=layout.present,
        name=name,
        step=layout.step,
    )


def _as_series(data: Any, name: str, *, rename: bool = False) -> Series:
    if isinstance(data, Series):
        return replace(data, name=name) if rename or data.name == _UNNAMED else data
    if isinstance(data, pd.Series):
        data = data.to_frame("value" if data.name is None else str(data.name))
    if isinstance(data, pd.DataFrame):
        return Series.from_frame(data, name=name)
    return Series.from_array(data, name=name)


def _numbers(array: Any, name: str) -> np.ndarray:
    if isinstance(array, str | bytes):
        raise DataError(f"{str(array)[:60]!r} is text, not data. Read a file first, as in seqae.read_csv(path).")
    try:
        numbers = np.asarray(array)
        if numbers.dtype.kind == "c":
            raise TypeError("complex numbers")
        return numbers if numbers.dtype.kind == "f" else numbers.astype(np.float64)
    except (TypeError, ValueError) as problem:
        raise DataError(
            f"{name}: {type(array).__name__} cannot be read as numbers. Give a Series, DataFrame or numeric array."
        ) from problem


def _float32(values: Any, channels: tuple[str, ...], name: str) -> np.ndarray:
    values = _numbers(values, name)
    if values.ndim != 2 or values.shape[1] != len(channels):
        raise DataError(f"{name}: values of shape {values.shape} do not fit {len(channels)} channels. Give (T, C).")
    if len(set(channels)) < len(channels):
        raise DataError(f"{name}: a channel name occurs twice in {', '.join(channels)}. Give each its own name.")
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, dtype=np.float32)
    infinite = np.isinf(single)
    if infinite.any():
        row, channel = np.argwhere(infinite)[0]
        raise DataError(
            f"{name}: channel {channels[channel]} holds {values[row, channel]} in row {row}. "
            "Values must be finite float32 numbers; write a missing value as NaN."
        )
    return single
