"""The length of a window, chosen from the data: one period of what repeats in it, within bounds."""

from __future__ import annotations

__all__ = ["LEAST", "MOST", "WindowChoice", "autocorrelation", "choose_window", "dominant_period"]

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from seqae.errors import DataError

Floats = NDArray[np.float64]

LEAST, MOST, PLAIN = 16, 256, 64
"""The bounds of a chosen window, and what is taken where nothing repeats."""
ROWS = 50_000
"""Rows of a series that are looked at: the last ones."""
HEIGHT, RISE, NEAR = 0.2, 0.1, 0.85
"""A peak of the autocorrelation counts from this height on, if it rises so far above the lowest point before it; of
those, the first that comes so near to the highest is the period: later ones are its multiples."""


class WindowChoice(NamedTuple):
    """A window's length in steps, the period that it follows (None: none was found), and why in words."""

    window: int
    period: int | None
    reason: str


def autocorrelation(values: ArrayLike, lags: int) -> Floats:
    """Return the autocorrelation at lags 0 to `lags` of values (T, C), averaged over the channels that vary.

    Before that each channel loses its moving mean over 2·lags + 1 rows, so that a drift hides no period; missing values
    are interpolated. The biased estimator of the autocovariance is taken (Box & Jenkins 1976, eq. 2.1.10). All NaN
    where nothing varies.
    """
    rows = np.asarray(values, dtype=np.float64)[-ROWS:]
    rows = rows[:, None] if rows.ndim == 1 else rows
    found = []
    for column in rows.T:
        given = np.flatnonzero(~np.isnan(column))
        if len(given) < 2:
            continue
        level = _level(np.interp(np.arange(len(column)), given, column[given]), lags)
        power = np.abs(fft.rfft(level, fft.next_fast_len(2 * len(level), real=True))) ** 2
        covariance = fft.irfft(power)[: lags + 1]
        if covariance[0] > 1e-12 * len(level):  # unit variance before the drift was taken out
            found.append(covariance / covariance[0])
    return np.mean(found, axis=0) if found else np.full(lags + 1, np.nan)


def _level(column: Floats, lags: int) -> Floats:
    """Return a column in its own standard deviations, without its moving mean."""
    spread = column.std()
    scaled = (column - column.mean()) / (spread if spread > 0 else 1.0)
    reach = min(lags, (len(column) - 1) // 2)
    total = np.concatenate([[0.0], np.cumsum(scaled)])
    place = np.arange(len(column))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(column))
    return scaled - (total[high] - total[low]) / (high - low)


def dominant_period(values: ArrayLike, most: int = 2 * MOST) -> int | None:
    """Return the period of values (T, C) in steps, 2 to `most`, by the autocorrelation; None where nothing repeats.

    A series must show a period three times.
    """
    rows = len(np.asarray(values))
    lags = min(most, rows // 3)
    if lags < 3:
        return None
    course = autocorrelation(values, lags + 1)
    inner = course[1:-1]
    peaks = 1 + np.flatnonzero((inner > course[:-2]) & (inner >= course[2:]))
    lowest = np.minimum.accumulate(course)
    peaks = peaks[(course[peaks] >= HEIGHT) & (course[peaks] - lowest[peaks] >= RISE)]
    if not len(peaks):
        return None
    return int(peaks[course[peaks] >= NEAR * course[peaks].max()][0])


def choose_window(series: ArrayLike | Sequence[ArrayLike], *, least: int = LEAST, most: int = MOST) -> WindowChoice:
    """Return a window for one series (T, C) or several, of `least` to `most` steps.

    It is the median period of the series that have one: whole multiples of a short one, `most` for one that is longer;
    64 steps where nothing repeats. It is at most a tenth of the longest series, so that parts can be held back.
    """
    given = [series] if isinstance(series, np.ndarray) and series.ndim <= 2 else list(series)  # type: ignore[arg-type]
    arrays = [np.asarray(one) for one in given]
    rows = max((len(one) for one in arrays), default=0)
    if not rows:
        raise DataError("there are no rows to choose a window from. Give data, or a window.")
    limit = max(2, min(most, rows // 10))
    least = min(least, limit)
    periods = [period for period in map(dominant_period, arrays) if period is not None]
    if not periods:
        return WindowChoice(min(PLAIN, limit), None, "nothing repeats within reach")
    period = int(np.median(periods))
    if period > limit:
        return WindowChoice(limit, period, f"the period is {period} steps; more than {limit} are not taken")
    times = max(1, min(-(-least // period), limit // period))
    reason = f"the period is {period} steps" + (f", taken {times} times" if times > 1 else "")
    return WindowChoice(period * times, period, reason)
