"""The way back: what the windows say of their steps, folded onto the time axis.

A fold takes windows block by block, each one once and in the order of their starts. It carries only the W steps that
later windows can still reach, (W, C) numbers (the median: (W, C, number of windows over a step)), beside its result
(T, C); the (N, W, C) parts need never exist at once, and how they are cut into blocks changes nothing. NaN says
nothing: a step that no window gives a value stays NaN.
"""

from __future__ import annotations

__all__ = [
    "FOLDS", "Centred", "Fold", "Last", "OverlapMean", "OverlapMedian",
    "centred", "last", "overlap_mean", "overlap_median",
]  # fmt: skip

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.errors import DataError, OptionError

Counts = NDArray[np.int32]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_PLAIN: Any = ("C", "W", "E")  # one kind of array, so that each kernel is compiled once
_BLOCK = 1 << 20
"""Values that the functions fold at a time, so that a view's windows are never copied all at once."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile at the first call; later processes load it, unless the installation leaves nowhere to write a cache."""
    try:
        return numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:
        return numba.njit(function, nogil=True, error_model="numpy")


class Fold(ABC):
    """Windows on their way back onto one time axis of `length` steps (T) and `channels` (C).

    Abstract: each way to make one value of what several windows say of a step is a class in FOLDS.
    """

    def __init__(self, length: int, channels: int, window: int) -> None:
        if length < 0 or channels < 1 or window < 1:
            raise OptionError(f"length={length}, channels={channels}, window={window}: give at least 0, 1 and 1.")
        self.length, self.channels, self.window = int(length), int(channels), int(window)
        self._values = np.full((self.length, self.channels), np.nan, dtype=np.float32)
        self._coverage = np.zeros(self.length, dtype=np.int32)
        self._reached = -1

    def add(self, starts: ArrayLike, parts: ArrayLike, lengths: ArrayLike | None = None) -> None:
        """Take the next windows: starts (B,), parts (B, W, C) with NaN where a window says nothing.

        lengths: (B,) rows of each window that are its own; None = all W. What lies beyond, or beyond T, is ignored.
        Raises DataError where shapes do not fit or a window does not start after the one before it.
        """
        starts, parts = np.require(starts, np.int64, _PLAIN), np.require(parts, np.float32, _PLAIN)
        own = np.full(starts.shape, self.window) if lengths is None else np.asarray(lengths, dtype=np.int64)
        if parts.shape != (starts.size, self.window, self.channels) or own.shape != (starts.size,) or np.any(own < 0):
            what = f"{starts.size} windows of {self.window} steps and {self.channels} channels"
            raise DataError(f"got parts {parts.shape} for {what}. Give (B, W, C), B starts, B lengths of 0 or more.")
        if not starts.size:
            return
        if starts[0] <= self._reached or np.any(np.diff(starts) <= 0) or starts[-1] >= self.length:
            raise DataError(
                f"windows are folded once each, in the order of their starts, from 0 to {self.length - 1}; got starts "
                f"{starts.min()} to {starts.max()} after {self._reached}. Sort starts and parts alike."
            )
        own = np.minimum(np.minimum(own, self.window), self.length - starts)
        self._take(starts, own, parts, max(self._reached, 0))
        self._reached = int(starts[-1])

    def result(self) -> Floats:
        """Return (T, C), NaN where nothing was said. It is the fold's own array: a later `add` goes on in it."""
        self._settle(max(self._reached, 0), min(max(self._reached, 0) + self.window, self.length))
        return self._values

    @property
    def coverage(self) -> Counts:
        """(T,) number of windows that gave a step at least one value."""
        return self._coverage

    @abstractmethod
    def _take(self, starts: Ints, lengths: Ints, parts: Floats, done: int) -> None:
        """Work windows in, no length beyond T, where `done` is the first step still carried."""

    def _settle(self, done: int, stop: int) -> None:  # noqa: B027  (not every fold has something to settle)
        """Write what is carried of the steps from `done` to `stop` into the result, and go on carrying it."""


class OverlapMean(Fold):
    """The mean over all windows that give a step a value, added up in float64."""

    def __init__(self, length: int, channels: int, window: int) -> None:
        super().__init__(length, channels, window)
        # -0.0 is what adding leaves unchanged: 0.0 would turn a mean of -0.0 into 0.0.
        self._total = np.full(window * channels, -0.0)
        self._count = np.zeros(window * channels, dtype=np.int32)

    def _take(self, starts: Ints, lengths: Ints, parts: Floats, done: int) -> None:
        _take_mean(starts, lengths, parts, done, self._total, self._count, self._values, self._coverage)

    def _settle(self, done: int, stop: int) -> None:
        _settle_mean(done, stop, False, self._total, self._count, self._values)


class OverlapMedian(Fold):
    """The median over all windows that give a step a value; of an even number, the mean of the middle two."""

    def __init__(self, length: int, channels: int, window: int) -> None:
        super().__init__(length, channels, window)
        self._carried = np.empty((window * channels, 1), dtype=np.float32)
        self._count = np.zeros(window * channels, dtype=np.int32)
        self._recent = np.empty(0, dtype=np.int64)

    def _take(self, starts: Ints, lengths: Ints, parts: Floats, done: int) -> None:
        recent = np.concatenate([self._recent, starts])
        over = np.arange(recent.size) - np.searchsorted(recent, recent - self.window, side="right") + 1
        given, need = self._carried.shape[1], int(over.max())
        if need > given:
            wider = np.empty((len(self._carried), min(max(need, 2 * given), self.window)), dtype=np.float32)
            wider[:, :given] = self._carried
            self._carried = wider
        self._recent = recent[recent > recent[-1] - self.window]
        _take_median(starts, lengths, parts, done, self._carried, self._count, self._values, self._coverage)

    def _settle(self, done: int, stop: int) -> None:
        _settle_median(done, stop, False, self._carried, self._count, self._values)


class Centred(Fold):
    """The value of the window whose centre is nearest, among those that give one; of two as near, the earlier.

    A window's centre is the middle of its own rows, without padding.
    """

    def __init__(self, length: int, channels: int, window: int) -> None:
        super().__init__(length, channels, window)
        self._distance = np.full(window * channels, 2 * window, dtype=np.int32)

    def _take(self, starts: Ints, lengths: Ints, parts: Floats, done: int) -> None:
        _take_centred(starts, lengths, parts, done, self._distance, self._values, self._coverage)


class Last(Fold):
    """The value of the window that ends at a step: of the past and the present only.

    A window of fewer than W rows has no say, as a longer series would have none there; so the first W − 1 steps of a
    series stay NaN, and a step's value never depends on how the series goes on.
    """

    def _take(self, starts: Ints, lengths: Ints, parts: Floats, done: int) -> None:
        full = lengths == self.window
        ends = starts[full] + self.window - 1
        self._values[ends] = parts[full, -1]
        self._coverage[ends] = ~np.isnan(parts[full, -1]).all(axis=1)


FOLDS: dict[str, Callable[[int, int, int], Fold]]
FOLDS = {"overlap": OverlapMean, "last": Last, "centred": Centred, "median": OverlapMedian}


def overlap_mean(parts: ArrayLike, starts: ArrayLike, length: int) -> Floats:
    """Fold parts (N, W) or (N, W, C) back to (T,) or (T, C) by the mean; see OverlapMean."""
    return _fold(OverlapMean, parts, starts, length)


def overlap_median(parts: ArrayLike, starts: ArrayLike, length: int) -> Floats:
    """Fold parts (N, W) or (N, W, C) back to (T,) or (T, C) by the median; see OverlapMedian."""
    return _fold(OverlapMedian, parts, starts, length)


def centred(parts: ArrayLike, starts: ArrayLike, length: int) -> Floats:
    """Fold parts (N, W) or (N, W, C) back to (T,) or (T, C) by the nearest centre; see Centred."""
    return _fold(Centred, parts, starts, length)


def last(parts: ArrayLike, starts: ArrayLike, length: int) -> Floats:
    """Fold parts (N, W) or (N, W, C) back to (T,) or (T, C) by each window's last step; see Last."""
    return _fold(Last, parts, starts, length)


def _fold(kind: Callable[[int, int, int], Fold], parts: ArrayLike, starts: ArrayLike, length: int) -> Floats:
    parts, starts = np.asarray(parts), np.asarray(starts, dtype=np.int64)
    if parts.ndim not in (2, 3) or 0 in parts.shape[1:] or starts.shape != parts.shape[:1]:
        raise DataError(f"got parts {parts.shape}, starts {starts.shape}. Give (N, W) or (N, W, C), and (N,).")
    deep = parts if parts.ndim == 3 else parts[..., None]
    window, channels = deep.shape[1:]
    fold = kind(length, channels, window)
    size = max(_BLOCK // (window * channels), 1)
    for low in range(0, len(starts), size):
        fold.add(starts[low : low + size], deep[low : low + size])
    return fold.result() if parts.ndim == 3 else fold.result()[:, 0]


# The kernels. What is carried of step t lies at t % W, channels side by side, in rings without a second axis, so that
# the inner loops run over contiguous memory and vectorise for one channel as for many. A ring is at most met twice per
# window: up to its end (`cut`) and from its beginning.


@kernel
def _cover(part: Floats, coverage: Counts) -> None:
    if part.shape[1] == 1:  # without the inner loop it vectorises
        for j in range(len(part)):
            coverage[j] += part[j, 0] == part[j, 0]
    else:
        for j in range(len(part)):
            given = False
            for c in range(part.shape[1]):
                given |= part[j, c] == part[j, c]
            coverage[j] += given


@kernel
def _settle_mean(done: int, stop: int, forget: bool, total: Doubles, count: Counts, values: Floats) -> None:
    channels = values.shape[1]
    window = len(total) // channels
    for t in range(done, stop):
        for c in range(channels):
            i = t % window * channels + c
            if count[i] > 0:
                values[t, c] = total[i] / count[i]
            if forget:
                total[i], count[i] = -0.0, 0


@kernel
def _add(part: Floats, total: Doubles, count: Counts) -> None:
    for i in range(len(part)):
        given = part[i] == part[i]
        total[i] += part[i] if given else np.float32(-0.0)
        count[i] += given


@kernel
def _take_mean(
    starts: Ints, lengths: Ints, parts: Floats, done: int, total: Doubles, count: Counts, values: Floats, cover: Counts
) -> None:
    _, window, channels = parts.shape
    for n in range(len(starts)):
        start, size = starts[n], lengths[n] * channels
        _settle_mean(done, min(start, done + window), True, total, count, values)
        done = start
        part = parts[n].reshape(-1)
        low = start % window * channels
        cut = min(len(total) - low, size)
        _add(part[:cut], total[low:], count[low:])
        _add(part[cut:size], total, count)
        _cover(parts[n, : lengths[n]], cover[start:])


@kernel
def _nearer(part: Floats, away: Counts, distance: Counts, values: Floats) -> None:
    for i in range(len(part)):
        if part[i] == part[i] and away[i] < distance[i]:
            distance[i] = away[i]
            values[i] = part[i]


@kernel
def _take_centred(
    starts: Ints, lengths: Ints, parts: Floats, done: int, distance: Counts, values: Floats, cover: Counts
) -> None:
    _, window, channels = parts.shape
    flat = values.reshape(-1)
    away = np.empty(window * channels, dtype=np.int32)
    known = 0
    for n in range(len(starts)):
        start, size = starts[n], lengths[n] * channels
        if size != known:  # twice the distance from the centre, in whole numbers
            for i in range(size):
                away[i] = abs(2 * (i // channels) - (lengths[n] - 1))
            known = size
        for t in range(done, min(start, done + window)):
            low = t % window * channels
            distance[low : low + channels] = 2 * window
        done = start
        part = parts[n].reshape(-1)
        low, to = start % window * channels, start * channels
        cut = min(len(distance) - low, size)
        _nearer(part[:cut], away, distance[low:], flat[to:])
        _nearer(part[cut:size], away[cut:], distance, flat[to + cut :])
        _cover(parts[n, : lengths[n]], cover[start:])


@kernel
def _select(values: Floats, k: int) -> None:
    """Move the k-th smallest to place k, nothing larger before it: FIND (Hoare 1961)."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[k]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if k < i:
            high = j


@kernel
def _settle_median(done: int, stop: int, forget: bool, carried: Floats, count: Counts, values: Floats) -> None:
    channels = values.shape[1]
    window = len(carried) // channels
    for t in range(done, stop):
        for c in range(channels):
            i = t % window * channels + c
            if count[i] > 0:
                given = carried[i, : count[i]]
                middle = len(given) // 2
                _select(given, middle)
                upper = np.float64(given[middle])
                values[t, c] = upper if len(given) % 2 else (np.float64(given[:middle].max()) + upper) / 2
            if forget:
                count[i] = 0


@kernel
def _take_median(
    starts: Ints, lengths: Ints, parts: Floats, done: int, carried: Floats, count: Counts, values: Floats, cover: Counts
) -> None:
    _, window, channels = parts.shape
    for n in range(len(starts)):
        start = starts[n]
        _settle_median(done, min(start, done + window), True, carried, count, values)
        done = start
        i = start % window * channels
        for j in range(lengths[n]):
            for c in range(channels):
                if parts[n, j, c] == parts[n, j, c]:
                    carried[i, count[i]] = parts[n, j, c]
                    count[i] += 1
                i += 1
            if i == len(carried):
                i = 0
        _cover(parts[n, : lengths[n]], cover[start:])
