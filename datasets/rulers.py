"""Even grids that go on: the grid that the first rows of a file lie on, for the rows that are read after them."""

from __future__ import annotations

__all__ = ["Ruler", "find_ruler", "read_step"]

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from seqae.errors import OptionError, TimeAxisError
from seqae.stamps import TIME_UNITS, Origin
from seqae.steps import Step, decimal_scale, find_grid, last_digit, most_common, off_decimals, spell
from seqae.timeaxis import lay_out, ticks_of

_TELLING = 1000
_DAY = 86400


class Ruler(Protocol):
    """Where ticks lie on an even grid."""

    @property
    def step(self) -> Step:
        """The sampling step."""

    def places(self, ticks: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of increasing ticks (N,) from the first tick of all, and which do not lie on the grid.

        last: the tick before them and its place, (2,), or nothing (0,).
        """

    def ticks_at(self, places: np.ndarray) -> np.ndarray:
        """Return the ticks of places."""


@dataclass(frozen=True)
class _Exact:
    """Whole multiples of a width; of values times `scale` where they are decimal fractions."""

    step: Step
    start: int
    width: int
    scale: float | None = None

    def places(self, ticks: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        off = np.zeros(len(ticks), dtype=bool) if self.scale is None else off_decimals(ticks, self.scale)
        whole = ticks if self.scale is None else np.rint(ticks * self.scale).astype(np.int64)
        places, rest = np.divmod(whole - self.start, self.width)
        return places, off | (rest != 0)

    def ticks_at(self, places: np.ndarray) -> np.ndarray:
        ticks = self.start + places * self.width
        return ticks if self.scale is None else ticks / self.scale


@dataclass(frozen=True)
class _Bins:
    """Bins of stamps: every tick lies in one."""

    step: Step
    start: int
    width: int

    def places(self, ticks: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (ticks - self.start) // self.width, np.zeros(len(ticks), dtype=bool)

    def ticks_at(self, places: np.ndarray) -> np.ndarray:
        return self.start + places * self.width


@dataclass(frozen=True)
class _NumberBins:
    """Bins of plain numbers, as timeaxis.lay_out makes them."""

    step: Step
    start: int
    width: float

    def places(self, ticks: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bins = np.floor(ticks.astype(np.float64) / self.width + 1e-9).astype(np.int64)
        return bins - self.start, np.zeros(len(ticks), dtype=bool)

    def ticks_at(self, places: np.ndarray) -> np.ndarray:
        return (places + self.start) * self.width


@dataclass(frozen=True)
class _Rounded:
    """Stamps that are rounded to a digit; every one follows the one before: only the end shows where a gap's rows lie.

    Each stretch must lie within two digits of an even grid of its own; whether all lie on one cannot be seen from it.
    """

    step: Step
    width: float
    digit: float
    scale: float | None = None

    def places(self, ticks: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        all_ticks = np.concatenate([last[:1].astype(ticks.dtype), ticks])
        if self.scale is not None:
            all_ticks = np.rint(all_ticks * self.scale)
        elapsed = (all_ticks - all_ticks[0]).astype(np.float64)
        off = np.concatenate([[False], np.rint(np.diff(elapsed) / self.width) != 1])
        if not off.any() and len(elapsed) > 2:
            order = np.arange(len(elapsed))
            line = np.polynomial.Polynomial.fit(order, elapsed, 1)
            off = np.abs(elapsed - line(order)) > 2 * self.digit
        first = int(last[1]) + 1 if len(last) else 0
        return first + np.arange(len(ticks)), off[len(all_ticks) - len(ticks) :]

    def ticks_at(self, places: np.ndarray) -> np.ndarray:
        raise AssertionError("a rounded grid has no gaps to fill")


def read_step(step: Step | str | None) -> Step | None:
    """Return a step from words such as "5min" or "0.5"; OptionError where they are none, None for the calendar's."""
    if not isinstance(step, str):
        return step
    if not step or step.split()[-1].rstrip("s") in {"month", "year"}:
        return None
    try:
        return float(step)
    except ValueError:
        pass
    try:
        return pd.Timedelta(step if step[0].isdigit() else f"1{step}")
    except ValueError as problem:
        raise OptionError(f"step {step!r} is no step. Use a number and a unit, such as 5min, or a number.") from problem


def find_ruler(index: pd.Index, *, step: Step | None, resample: str | None, origin: Origin) -> Ruler:
    """Return the grid that the first stamps of a file lie on, and all others must; increasing and unique.

    step: the known one; None finds the most common one. resample: the width of bins to put the stamps in.
    TimeAxisError where the stamps are uneven or too few, or lie on months or local days, which are not fixed steps.
    """
    if resample is not None:
        return _bins(index, resample, origin)
    ticks = ticks_of(index)
    second = TIME_UNITS[index.unit] if isinstance(index, pd.DatetimeIndex) else None
    width, scale = None, None
    if second is not None and isinstance(step, pd.Timedelta):
        width = step / pd.Timedelta(seconds=1) * second
    elif second is None and isinstance(step, int | float):
        width = float(step)
    if ticks.dtype.kind == "f":
        scale = decimal_scale(ticks if width is None else np.append(ticks, width))
        width = None if width is None or scale is None else width * scale
    if scale is not None or ticks.dtype.kind != "f":
        exact = _exact(ticks, second, width, scale, origin)
        if exact is not None:
            return exact
    grid = find_grid(index)
    if grid is None:
        if len(index) > 1:
            lay_out(index, origin=origin)  # says where they are uneven
        raise TimeAxisError(
            f"{origin.name}: {len(index)} different stamps do not show the sampling step. "
            "Read more rows at once with --chunk-rows, or the file whole: --chunk-rows 0."
        )
    if not isinstance(grid.step, pd.Timedelta | float):
        raise TimeAxisError(
            f"{origin.name}: steps of {spell(grid.step)} go by the calendar. Read the file whole: --chunk-rows 0."
        )
    if second is not None:
        digit: float = last_digit(ticks, second)
    else:
        digit = 1.0 if scale is not None else 1e-6 * float(np.median(np.diff(ticks)))
    found = float(ticks[-1] - ticks[0]) / int(grid.places[-1]) * (scale or 1.0)
    if width is not None and abs(found - width) > 0.01 * width:
        raise _unexpected(origin, grid.step, step)
    return _Rounded(grid.step, found, digit, scale)


def _unexpected(origin: Origin, found: Step, expected: Step | None) -> TimeAxisError:
    return TimeAxisError(
        f"{origin.name} has steps of {spell(found)} where {spell(expected)} was expected. "
        f"Use --resample {spell(expected)}, or read it whole as it is: --chunk-rows 0."
    )


def _exact(
    ticks: np.ndarray, second: int | None, width: float | None, scale: float | None, origin: Origin
) -> Ruler | None:
    """Return the exact grid of the ticks, with this width if it is a whole number of them."""
    whole = ticks if scale is None else np.rint(ticks * scale).astype(np.int64)
    differences = np.diff(whole)
    usual = most_common(differences) if len(differences) else None
    wide = usual if width is None else round(width)
    if wide is None or wide < 1 or (width is not None and abs(width - wide) > 1e-6) or np.any(differences % wide):
        return None

    def as_step(size: int) -> Step:
        if second is not None:
            return pd.Timedelta(size * (10**9 // second), "ns")
        return size / (scale or 1.0)

    if width is not None and len(differences) >= _TELLING and usual != wide:
        assert usual is not None
        raise _unexpected(origin, as_step(usual), as_step(wide))
    if second is not None and wide >= 27 * _DAY * second:
        return None
    return _Exact(as_step(wide), int(whole[0]), wide, scale)


def _bins(index: pd.Index, width: str, origin: Origin) -> Ruler:
    lay_out(index[:1], resample=width, origin=origin)  # says what is wrong with the width
    if not isinstance(index, pd.DatetimeIndex):
        size = float(width)
        first = math.floor(float(index[0]) / size + 1e-9)
        return _NumberBins(size, first, size)
    offset = pd.tseries.frequencies.to_offset(width)
    fixed = index.tz is None or index.tz.utcoffset(None) is not None
    if isinstance(offset, pd.offsets.Day) and fixed:
        length = pd.Timedelta(days=offset.n)
    elif isinstance(offset, pd.offsets.Tick):
        length = pd.Timedelta(offset)
    else:
        raise OptionError(
            f"--resample {width} goes by the calendar, which needs the whole file. Use --chunk-rows 0 to read it whole."
        )
    unit = pd.Timedelta(1, index.unit)
    if length % unit != pd.Timedelta(0):
        raise OptionError(f"--resample {width} is finer than the stamps of {origin.name}. Use a longer step.")
    size, midnight = length // unit, ticks_of(index[:1].normalize())[0]
    # As pandas does: bins count from the midnight before the first stamp.
    return _Bins(length, int(midnight + (ticks_of(index[:1])[0] - midnight) // size * size), size)
