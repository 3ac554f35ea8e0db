"""Single rows as they come in: their values and their conditions, without a table around them."""

from __future__ import annotations

__all__ = ["RowConditions", "row_values"]

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqae.anomaly.streams.clock import Clock, Stamp
from seqae.conditions import Calendar, Category, Conditions, Number
from seqae.errors import DataError
from seqae.series import Series

Floats = NDArray[np.float32]

AHEAD = 256
"""Steps that the calendar is worked out for at a time."""
_LARGEST = float(np.finfo(np.float32).max)


def row_values(row: Any, channels: Sequence[str]) -> Floats:
    """Return a row's values (C,), from an array or by name from a mapping, rounded as a Series holds them.

    None is missing. DataError for a channel that is not there, for text, and for what is not finite in float32.
    """
    if isinstance(row, Mapping | pd.Series):
        lacking = [name for name in channels if name not in row]
        if lacking:
            raise DataError(f"the row has no {', '.join(lacking)}. Give every channel; NaN where it is missing.")
        row = [row[name] for name in channels]
    array = np.atleast_1d(np.asarray(row))
    if array.shape != (len(channels),):
        raise DataError(f"a row of shape {array.shape} does not fit. Give ({len(channels)},): {', '.join(channels)}.")
    if array.dtype.kind not in "fiub":
        array = np.array([_number(one, name) for one, name in zip(row, channels, strict=True)])
    wide = array.astype(np.float64)
    infinite = np.abs(wide) > _LARGEST
    if infinite.any():
        at = int(infinite.argmax())
        raise DataError(
            f"{channels[at]} is {wide[at]}. Give finite numbers below 3.4e38; missing is NaN, or an empty field."
        )
    return wide.astype(np.float32)


def _number(value: Any, name: str) -> float:
    if value is None or value is pd.NA:
        return math.nan
    if isinstance(value, numbers.Real | np.bool_):
        return float(value)
    raise DataError(f"{name} is {value!r}, not a number. Give a number, or NaN where it is missing.")


class RowConditions:
    """The condition of one row after the other, as Conditions gives it for a whole series.

    clock: the steps that stamps come in, by which the calendar is worked out some steps ahead; None works out each.
    """

    def __init__(self, conditions: Conditions, channels: Sequence[str], clock: Clock | None) -> None:
        self.conditions, self.channels, self.clock = conditions, tuple(channels), clock
        self._ahead: dict[Any, Floats] = {}
        self._known: dict[str, tuple[Any, Floats]] = {}

    def __call__(
        self, row: Any, stamp: Stamp | None, *, last: Stamp | None, before: Floats, gap: int, filled: int
    ) -> Floats:
        """Return (filled + 1, K): the conditions of the last `filled` of `gap` missing rows, and of the row.

        last: the stamp before the gap; before: (n, K) the conditions up to there. DataError where the row lacks what
        its condition needs, or has it otherwise than the training data.
        """
        found, start = np.empty((filled + 1, self.conditions.size), dtype=np.float32), 0
        for part in self.conditions.parts:
            here = slice(start, start + len(part.names))
            start = here.stop
            if isinstance(part, Calendar):
                found[:filled, here] = self._between(part, last, gap, filled)
                found[filled, here] = self._calendar(part, stamp)
            else:
                found[:filled, here] = before[-1:, here]  # a gap carries on what was given before it
                found[filled, here] = self._column(part, row, stamp)
        return found

    def _between(self, part: Calendar, last: Stamp | None, gap: int, filled: int) -> Floats:
        if not filled:
            return np.empty((0, len(part.names)), dtype=np.float32)
        assert self.clock is not None
        return self._of(part, self.clock.after(last, np.arange(gap - filled + 1, gap + 1)))

    def _calendar(self, part: Calendar, stamp: Stamp | None) -> Floats:
        if not isinstance(stamp, pd.Timestamp):
            raise DataError("the model's calendar needs the date and time of every row. Give it (--time).")
        if stamp not in self._ahead:
            stamps: pd.Index = pd.DatetimeIndex([stamp])
            if self.clock is not None:
                stamps = stamps.append(pd.DatetimeIndex(self.clock.after(stamp, np.arange(1, AHEAD))))
            self._ahead = dict(zip(stamps, self._of(part, stamps), strict=True))
        return self._ahead[stamp]

    def _column(self, part: Number | Category, row: Any, stamp: Stamp | None) -> Floats:
        if not isinstance(row, Mapping | pd.Series) or part.column not in row:
            raise DataError(f"the row has no {part.column}, which the model's condition needs. Give it by name.")
        value = row[part.column]
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            raise DataError(f"{part.column!r} is missing, and the model's condition needs it in every row. Fill it in.")
        known = self._known.get(part.column)
        if known is None or type(known[0]) is not type(value) or known[0] != value:
            index = pd.Index([0 if stamp is None else stamp])
            known = value, self._of(part, index, pd.DataFrame({part.column: [value]}))[0]
            self._known[part.column] = known
        return known[1]

    def _of(
        self, part: Calendar | Number | Category, index: pd.Index, covariates: pd.DataFrame | None = None
    ) -> Floats:
        values = np.zeros((len(index), len(self.channels)), dtype=np.float32)
        series = Series(values, self.channels, index=index, covariates=covariates, name="the row")
        return part(series).astype(np.float32)
