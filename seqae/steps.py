"""The sampling step: the even grid that stamps lie on, by the clock or by the calendar."""

from __future__ import annotations

__all__ = [
    "Grid",
    "Step",
    "decimal_scale",
    "find_grid",
    "find_step",
    "last_digit",
    "most_common",
    "off_decimals",
    "spell",
    "step_seconds",
]

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from seqae.stamps import TIME_UNITS

Step = pd.Timedelta | pd.offsets.BaseOffset | float


class Grid(NamedTuple):
    """An even grid through the stamps: its step, the place of each stamp on it, and the ticks of other places."""

    step: Step
    places: np.ndarray
    ticks_at: Callable[[np.ndarray], np.ndarray]


def find_step(index: pd.Index) -> Step | None:
    """Return the sampling step of increasing stamps, gaps allowed; None where they are uneven or fewer than two.

    The step is the most common difference when all others are multiples of it; months, quarters and years are found by
    the calendar, days on local time. Stamps that are rounded (a 60 Hz signal written to the millisecond) are even when
    each lies within one unit of the last digit, at most a second, of an even grid.
    """
    grid = find_grid(index) if index.is_monotonic_increasing and index.is_unique else None
    return None if grid is None else grid.step


def step_seconds(step: Step | None) -> float | None:
    """Return a step's length in seconds (a mean month is 30.436875 days); None for plain numbers and for no step."""
    if isinstance(step, pd.Timedelta):
        return step / pd.Timedelta(seconds=1)
    months, days = _months_and_days(step)
    return 86400 * (months * 30.436875 + days) or None


def spell(step: Step | None) -> str:
    """Return a step in words that `resample` takes where it can: "5min", "1D", "1 month", "0.5"; "" for None."""
    if step is None:
        return ""
    if isinstance(step, pd.Timedelta):
        for unit in ("D", "h", "min", "s", "ms", "us"):
            if step % pd.Timedelta(1, unit) == pd.Timedelta(0):
                return f"{step // pd.Timedelta(1, unit)}{unit}"
        return f"{step.value}ns"
    months, days = _months_and_days(step)
    for count, word in ((months / 12, "year"), (months, "month"), (days, "day")):
        if count and count == int(count):
            return f"{int(count)} {word}{'s' if count > 1 else ''}"
    return str(step) if isinstance(step, pd.offsets.BaseOffset) else f"{step:g}"


def _months_and_days(step: Step | None) -> tuple[int, int]:
    if not isinstance(step, pd.offsets.BaseOffset):
        return 0, 0
    if isinstance(step, pd.offsets.MonthEnd):
        return step.n, 0
    named = getattr(step, "kwds", {})
    return step.n * named.get("months", 0), step.n * named.get("days", 0)


def find_grid(index: pd.Index) -> Grid | None:
    """Return the even grid that increasing, unique stamps lie on, as find_step describes it."""
    if len(index) < 2:
        return None
    if not isinstance(index, pd.DatetimeIndex):
        return _numeric_grid(index.to_numpy())
    ticks, second = index.asi8, TIME_UNITS[index.unit]
    if np.diff(ticks).min() >= 27 * 86400 * second:
        grid = _monthly_grid(index)
        if grid is not None:
            return grid

    def as_step(width: float) -> pd.Timedelta:
        return pd.Timedelta(round(width * (10**9 // second)), "ns")

    exact = _exact_grid(ticks, as_step)
    if exact is not None:
        return exact
    if index.tz is not None:
        daily = _local_daily_grid(index)
        if daily is not None:
            return daily
    return _rounded_grid(ticks, last_digit(ticks, second), as_step)


def last_digit(ticks: np.ndarray, second: int) -> int:
    """Return the place of the last digit that ticks are written with, in ticks: at most a second."""
    while np.any(ticks % second):
        second //= 10
    return second


def _numeric_grid(values: np.ndarray) -> Grid | None:
    if values.dtype.kind in "iu":
        return _exact_grid(values.astype(np.int64), float)
    scale = decimal_scale(values)
    if scale is not None:
        return _decimal_grid(np.rint(values * scale).astype(np.int64), scale)
    return _rounded_grid(values, 1e-6 * float(np.median(np.diff(values))), float)


def decimal_scale(values: np.ndarray) -> float | None:
    """Return the smallest power of ten that makes whole numbers of all values; None where none up to 1e9 does."""
    for digits in range(10):
        scale = 10.0**digits
        if not off_decimals(values, scale).any() and np.abs(values * scale).max() < 2**53:
            return scale
    return None


def off_decimals(values: np.ndarray, scale: float) -> np.ndarray:
    """Tell which values are no whole numbers when multiplied by a power of ten."""
    scaled = values * scale
    # A decimal fraction is off by about one unit in the last place of a double.
    return np.abs(scaled - np.rint(scaled)) > 4 * np.spacing(np.abs(scaled)) + 1e-9


def _decimal_grid(ticks: np.ndarray, scale: float) -> Grid | None:
    def as_step(width: float) -> float:
        return width / scale

    grid = _exact_grid(ticks, as_step)
    if grid is None and scale > 1:
        grid = _rounded_grid(ticks, 1, as_step)
    return None if grid is None else grid._replace(ticks_at=lambda places: grid.ticks_at(places) / scale)


def most_common(differences: np.ndarray) -> int:
    """Return the most common of the differences, the smallest where several are."""
    values, counts = np.unique(differences, return_counts=True)
    return int(values[counts.argmax()])


def _exact_grid(ticks: np.ndarray, as_step: Callable[[float], Step]) -> Grid | None:
    differences = np.diff(ticks)
    width = most_common(differences)
    if np.any(differences % width):
        return None
    return Grid(as_step(width), (ticks - ticks[0]) // width, lambda places: ticks[0] + places * width)


def _rounded_grid(ticks: np.ndarray, digit: float, as_step: Callable[[float], Step]) -> Grid | None:
    """Return the even grid that every tick lies within one `digit` of; the step must be at least two digits wide."""
    differences = np.diff(ticks)
    usual = np.median(differences)
    near = differences[np.abs(differences - usual) <= digit]
    if not len(near) or near.mean() < 2 * digit:
        return None
    width = near.mean()
    places = np.concatenate([[0], np.cumsum(np.maximum(np.rint(differences / width), 1))])
    elapsed = (ticks - ticks[0]).astype(np.float64)
    slope = np.polynomial.Polynomial.fit(places, elapsed, 1).convert()
    start, width = slope.coef[0], slope.coef[1]
    if np.abs(elapsed - start - width * places).max() > digit * (1 + 1e-9):
        return None

    def at(where: np.ndarray) -> np.ndarray:
        offsets = np.rint((start + width * where) / digit) * digit
        return ticks[0] + offsets.astype(ticks.dtype)

    return Grid(as_step(width), places.astype(np.int64), at)


def _monthly_grid(index: pd.DatetimeIndex) -> Grid | None:
    """Return the grid of stamps on the same day of the month (or its last day, where it is shorter) and time of day."""
    wall = index.tz_localize(None)
    months = wall.year.to_numpy(dtype=np.int64) * 12 + wall.month.to_numpy() - 1 - 1970 * 12
    days = wall.day.to_numpy()
    of_day = wall.asi8 - wall.normalize().asi8
    anchor = days.max()
    if np.any(days != np.minimum(anchor, wall.days_in_month)) or np.any(of_day != of_day[0]):
        return None
    differences = np.diff(months)
    count = most_common(differences)
    if np.any(differences % count):
        return None

    def at(places: np.ndarray) -> np.ndarray:
        month = (months[0] + count * places).astype("M8[M]")
        first = month.astype("M8[D]")
        length = ((month + 1).astype("M8[D]") - first).astype(np.int64)
        stamps = (first + np.minimum(anchor, length) - 1).astype(f"M8[{index.unit}]").astype(np.int64) + of_day[0]
        return _absolute(stamps, index)

    step = pd.offsets.MonthEnd(count) if np.all(wall.is_month_end) else pd.DateOffset(months=count)
    return Grid(step, (months - months[0]) // count, at)


def _local_daily_grid(index: pd.DatetimeIndex) -> Grid | None:
    """Return the grid of stamps at the same local time of day, which are 23 or 25 hours apart when clocks change."""
    wall = index.tz_localize(None).asi8
    day = 86400 * TIME_UNITS[index.unit]
    differences = np.diff(wall)
    if np.any(differences % day):
        return None
    days = most_common(differences // day)
    if np.any(differences % (days * day)):
        return None
    places = (wall - wall[0]) // (days * day)
    return Grid(pd.DateOffset(days=days), places, lambda where: _absolute(wall[0] + where * days * day, index))


def _absolute(wall: np.ndarray, like: pd.DatetimeIndex) -> np.ndarray:
    stamps = pd.DatetimeIndex(wall.view(f"M8[{like.unit}]"))
    local = stamps.tz_localize(like.tz, ambiguous=np.ones(len(wall), dtype=np.bool_), nonexistent="shift_forward")
    return local.asi8
