"""The time axis of a stream: one stamp at a time, and how many of a model's steps it comes after the one before."""

from __future__ import annotations

__all__ = ["Clock", "Stamp", "clock_of", "read_stamp"]

import datetime
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from seqae.errors import TimeAxisError
from seqae.stamps import TIME_UNITS, read_stamps
from seqae.steps import decimal_scale, last_digit

Stamp = pd.Timestamp | float
"""A time, or a plain number where the time axis has no dates."""

_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CALENDAR = re.compile(r"(\d+) (day|month|year)s?")
_SPAN = 8e9
"""Seconds since 1970 that stamps of every resolution can hold, as in seqae.stamps."""
_SPELLING = 1e-5
"""What a step of plain numbers may be off, as a share, since a model file has it with six digits."""


class Clock(Protocol):
    """The even steps that a model was trained on."""

    dated: bool
    """Whether its stamps are dates and times; otherwise plain numbers."""

    def steps(self, last: Any, now: Any) -> int:
        """Return how many steps a stamp comes after an earlier one; 0 where it is off the step."""

    def after(self, last: Any, places: np.ndarray) -> pd.Index:
        """Return the stamps so many steps (N,) after one."""


@dataclass(frozen=True)
class _Fixed:
    """Steps of a fixed time; a stamp may be off by one unit of the last digit it is written with, at most a second."""

    width: pd.Timedelta
    dated = True

    def steps(self, last: pd.Timestamp, now: pd.Timestamp) -> int:
        count, rest = divmod(now - last, self.width)
        if rest == pd.Timedelta(0):
            return int(count)
        count, off = (count + 1, self.width - rest) if 2 * rest > self.width else (count, rest)
        both = pd.DatetimeIndex([last, now])
        second = TIME_UNITS[both.unit]
        digit = pd.Timedelta(last_digit(both.asi8, second) * (10**9 // second), "ns")
        # A width such as a sixtieth of a second is itself rounded to the nanosecond.
        allowed = (digit if 2 * digit <= self.width else pd.Timedelta(0)) + pd.Timedelta(int(count), "ns")
        return int(count) if off <= allowed else 0

    def after(self, last: pd.Timestamp, places: np.ndarray) -> pd.Index:
        return last + pd.to_timedelta(places * self.width)


@dataclass(frozen=True)
class _Numbers:
    """Steps of plain numbers; decimal fractions may be off by one in their last digit."""

    width: float
    dated = False

    def steps(self, last: float, now: float) -> int:
        count = round((now - last) / self.width)
        scale = decimal_scale(np.array([last, now], dtype=np.float64))
        digit = 1 / scale if scale is not None and scale > 1 and self.width * scale >= 2 else 0.0
        allowed = digit * (1 + 1e-9) + _SPELLING * count * self.width + 4 * math.ulp(max(abs(last), abs(now)))
        return count if abs(now - last - count * self.width) <= allowed else 0

    def after(self, last: float, places: np.ndarray) -> pd.Index:
        return pd.Index(last + places * self.width)


@dataclass(frozen=True)
class _Days:
    """Steps of local days: the same time of day, be the days 23, 24 or 25 hours long."""

    count: int
    dated = True

    def steps(self, last: pd.Timestamp, now: pd.Timestamp) -> int:
        count, rest = divmod(_wall(now) - _wall(last), pd.Timedelta(days=self.count))
        return int(count) if rest == pd.Timedelta(0) else 0

    def after(self, last: pd.Timestamp, places: np.ndarray) -> pd.Index:
        return _zoned(_wall(last) + pd.to_timedelta(places * self.count, "D"), last)


@dataclass(frozen=True)
class _Months:
    """Steps of months: the same day of the month, or its last one where a month is too short or all stamps are ends."""

    count: int
    dated = True

    def steps(self, last: pd.Timestamp, now: pd.Timestamp) -> int:
        one, other = _wall(last), _wall(now)
        apart = (other.year - one.year) * 12 + other.month - one.month
        cut_short = other.day == other.days_in_month and one.day >= other.day
        after_short = one.day == one.days_in_month and other.day >= one.day
        same_time = other - other.normalize() == one - one.normalize()
        on_day = other.day == one.day or cut_short or after_short
        return apart // self.count if same_time and on_day and apart % self.count == 0 else 0

    def after(self, last: pd.Timestamp, places: np.ndarray) -> pd.Index:
        wall = _wall(last)
        kind = pd.offsets.MonthEnd if wall.is_month_end else pd.DateOffset
        months = [int(place) * self.count for place in places]
        later = [wall + (kind(n) if kind is pd.offsets.MonthEnd else pd.DateOffset(months=n)) for n in months]
        return _zoned(pd.DatetimeIndex(later), last)


def clock_of(step: Mapping[str, Any] | None) -> Clock | None:
    """Return the clock of a step as `Preparation` keeps it, {"text": "5min", "seconds": 300.0}; None without a step."""
    if step is None:
        return None
    if step["seconds"] is None:
        return _Numbers(float(step["text"]))
    by_calendar = _CALENDAR.fullmatch(step["text"])
    if by_calendar is None:
        return _Fixed(pd.Timedelta(step["text"]))
    count, unit = int(by_calendar[1]), by_calendar[2]
    kinds: dict[str, Clock] = {"day": _Days(count), "month": _Months(count), "year": _Months(12 * count)}
    return kinds[unit]


def read_stamp(given: Any, *, time_unit: str | None = None, time_format: str | None = None) -> Stamp:
    """Return a stamp from text, a number, or a date of any kind, as `seqae.stamps.read_stamps` reads a column.

    A number, or text that is one, is a plain number without time_unit and time_format. Raises TimeAxisError.
    """
    if isinstance(given, str):
        text = given.strip()
        if time_format is None and _NUMBER.fullmatch(text):
            number = float(text)
            given = int(text) if number.is_integer() and text.lstrip("+-").isdigit() else number
        else:
            return _dated(text, time_unit, time_format)
    if isinstance(given, bool | np.bool_):
        raise TimeAxisError(f"{given} is no stamp. Give a date and time, or a number, for every row.")
    if isinstance(given, numbers.Real) and math.isfinite(given):
        number = int(given) if isinstance(given, numbers.Integral) else float(given)
        if time_unit is None:
            return number
        if isinstance(number, int) and abs(number) < _SPAN * TIME_UNITS.get(time_unit, 0):
            return pd.Timestamp(number, unit=time_unit, tz="UTC")
        return _by_column(number, time_unit, None)
    if isinstance(given, datetime.date | np.datetime64) and not pd.isna(given):
        return pd.Timestamp(given)
    raise TimeAxisError(f"{given!r} is no stamp. Give a date and time, or a number, for every row.")


def _dated(text: str, time_unit: str | None, time_format: str | None) -> Stamp:
    if time_unit is not None and time_format is None:
        raise TimeAxisError(
            f"{text[:60]!r} is no number, as --time-unit {time_unit} has them. Write one, or leave out --time-unit."
        )
    if time_unit is None and time_format is None and _ISO.fullmatch(text):
        try:
            return pd.Timestamp(text)
        except ValueError:
            pass  # such as the 30th of February; what reads columns says what is wrong
    return _by_column(text or None, time_unit, time_format)


def _by_column(value: Any, time_unit: str | None, time_format: str | None) -> Stamp:
    """Read one stamp as a column of its own; TimeAxisError in words that suit a single row."""
    try:
        stamp: Stamp = read_stamps(pd.Series([value], name="time"), time_unit=time_unit, time_format=time_format)[0]
    except TimeAxisError as problem:
        shown = repr(value[:60]) if isinstance(value, str) else value
        if value is None:
            why = "there is no stamp. Every row needs its time"
        elif time_format is not None:
            why = f"{shown} does not fit --time-format {time_format!r}. Correct the row, or the format"
        elif time_unit is not None:
            fits = [unit for unit, ticks in TIME_UNITS.items() if abs(value) < _SPAN * ticks]
            cure = f"Use --time-unit {fits[0]}, or correct the row" if fits else "Correct the row"
            why = f"{shown} with --time-unit {time_unit} is outside the years 1717 to 2223. {cure}"
        else:
            why = (
                f"{shown} is no date and time that can be read in one way. Write ISO 8601, such as 2020-01-31 "
                "14:05:00, or name the form with --time-format, such as '%d/%m/%Y %H:%M'"
            )
        raise TimeAxisError(f"{why}.") from problem
    return stamp


def _wall(stamp: pd.Timestamp) -> pd.Timestamp:
    return stamp.tz_localize(None)


def _zoned(wall: pd.DatetimeIndex, like: pd.Timestamp) -> pd.DatetimeIndex:
    ambiguous = np.ones(len(wall), dtype=np.bool_)
    return wall if like.tz is None else wall.tz_localize(like.tz, ambiguous=ambiguous, nonexistent="shift_forward")
