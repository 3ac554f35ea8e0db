"""Volume under the surface: precision-recall and ROC with a soft margin around every anomaly, over all its widths.

Paparrizos et al., "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly Detection",
VLDB 2022. Implementations differ; this is the variant of TSB-AD (Liu & Paparrizos 2024), whose leaderboard is public:
name it wherever a figure is shown.

A margin has weight sqrt(1 − d/w) at the distance d ≤ w//2 from an anomaly, so at least sqrt(1/2): a row in the margins
of two anomalies has weight 1, and its two smallest distances say all about it. Rows are therefore counted once, by
distance and by the first threshold that their score reaches; what remains for every width w is a small product of
matrices. Time O(T log T + S·W + W²·K) for S anomalies, widths up to W and K thresholds.
"""

from __future__ import annotations

__all__ = ["FALLBACK", "THRESHOLDS", "VARIANT", "Vus", "vus", "vus_window"]

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.anomaly.metrics.segments import Flags, Floats, Ints, Ranking, both_classes, checked_scores, segments
from seqae.errors import DataError, OptionError

VARIANT = "TSB-AD"
THRESHOLDS = 250
"""Thresholds, evenly spaced by rank."""
FALLBACK = 125
"""The window where the autocorrelation shows no period."""
ROWS, LAGS, FIRST_LAG, SHORTEST, LONGEST = 20_000, 400, 3, 6, 303


class Vus(NamedTuple):
    """Volumes under the precision-recall and under the ROC surface, each at most about 1."""

    pr: float
    roc: float


def vus(scores: ArrayLike | Ranking, labels: ArrayLike, window: int) -> Vus:
    """Return VUS-PR and VUS-ROC (TSB-AD's variant) of scores (T,) against labels (T,), for margins of 0 to `window`.

    Higher scores are stranger; ties share their threshold. Raises DataError where labels are all equal or a score is
    NaN, OptionError for a negative window.
    """
    if window != int(window) or window < 0:
        raise OptionError(f"window={window!r}: the widest margin of VUS is a whole number of rows, at least 0.")
    values, marks = checked_scores(scores, labels)
    both_classes(marks, "VUS")
    level = _ranked_thresholds(scores) if isinstance(scores, Ranking) else _first_thresholds(values)
    predicted = np.cumsum(np.bincount(level, minlength=THRESHOLDS)).astype(np.float64)  # (K,)
    hits = np.cumsum(np.bincount(level[marks], minlength=THRESHOLDS)).astype(np.float64)
    positives = float(marks.sum())
    weights, touched = _margins(marks, level, int(window))  # (W + 1, K) each
    true = hits + weights
    real = positives + weights / 2
    recall = np.minimum(true / real, 1) * touched
    fall_out = (predicted - true) / (len(marks) - real)
    precision = true / predicted
    pr = (np.diff(recall, axis=1, prepend=0) * precision).sum(axis=1)
    x = np.pad(fall_out, ((0, 0), (1, 1)), constant_values=(0, 1))
    y = np.pad(recall, ((0, 0), (1, 1)), constant_values=(0, 1))
    roc = (np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1]) / 2).sum(axis=1)
    return Vus(float(pr.mean()), float(roc.mean()))


def _first_thresholds(values: Floats) -> Ints:
    """Return for each row the first of the falling thresholds that its score reaches (T,)."""
    falling = -np.sort(-values)[np.linspace(0, len(values) - 1, THRESHOLDS).astype(np.int64)]
    return np.searchsorted(-falling, -values, side="left")


def _ranked_thresholds(scores: Ranking) -> Ints:
    """Return the same of scores whose order is known."""
    falling = -scores.falling
    level = np.empty(len(falling), dtype=np.int64)
    thresholds = falling[np.linspace(0, len(falling) - 1, THRESHOLDS).astype(np.int64)]
    level[scores.order] = np.searchsorted(thresholds, falling, side="left")
    return level


def _margins(marks: Flags, level: Ints, window: int) -> tuple[Floats, Floats]:
    """Return the margins' weight above each threshold, and the share of anomalies touched, both (W + 1, K)."""
    starts, ends = segments(marks)
    reach = window // 2
    nearest, second, near_level = _near_rows(marks, level, starts, ends, reach)
    single = np.zeros((reach + 1, THRESHOLDS))  # rows in one margin, by distance and threshold
    double = np.zeros(THRESHOLDS)  # rows in several margins
    weights, touched = np.zeros((2, window + 1, THRESHOLDS))
    first = np.minimum.reduceat(level, np.stack([starts, np.minimum(ends + 1, len(level) - 1)], axis=1).ravel())[::2]
    first = np.minimum(first, level[ends])  # an anomaly's end may be the last row
    by_nearest, by_second = _groups(nearest, reach), _groups(second, reach)
    for half in range(reach + 1):
        if half:
            arrived, met = by_nearest[half], by_second[half]
            single[half] += np.bincount(near_level[arrived], minlength=THRESHOLDS)
            both = np.bincount(near_level[met], minlength=THRESHOLDS)
            np.subtract.at(single, (nearest[met], near_level[met]), 1)
            double += both
            before, after = starts - half, ends + half
            first = np.where(before >= 0, np.minimum(first, level[np.maximum(before, 0)]), first)
            first = np.where(after < len(level), np.minimum(first, level[np.minimum(after, len(level) - 1)]), first)
        share = _touched(starts, ends, first, half)
        for width in range(2 * half, min(2 * half + 1, window) + 1):
            touched[width] = share
            if half:
                slope = np.sqrt(1 - np.arange(half + 1) / width)
                weights[width] = np.cumsum(slope @ single[: half + 1] + double)
    return weights, touched


def _near_rows(marks: Flags, level: Ints, starts: Ints, ends: Ints, reach: int) -> tuple[Ints, Ints, Ints]:
    """Return, for the normal rows within `reach` of an anomaly, the distances to the nearest two, and the threshold."""
    change = np.zeros(len(marks) + 1, dtype=np.int64)
    np.add.at(change, np.maximum(starts - reach, 0), 1)
    np.add.at(change, np.minimum(ends + reach + 1, len(marks)), -1)
    rows = np.flatnonzero((np.cumsum(change[:-1]) > 0) & ~marks)
    far = len(marks) + reach + 1
    left = np.r_[-2 * far, -2 * far, ends]
    right = np.r_[starts, 2 * far, 2 * far]
    passed = np.searchsorted(ends, rows)
    distances = np.stack([rows - left[passed + 1], rows - left[passed], right[passed] - rows, right[passed + 1] - rows])
    distances.partition(1, axis=0)
    return distances[0], distances[1], level[rows]


def _groups(distances: Ints, reach: int) -> list[NDArray[np.int64]]:
    """Return for each distance 0 to `reach` the positions that have it."""
    order = np.argsort(distances, kind="stable")
    bounds = np.searchsorted(distances[order], np.arange(reach + 2))
    return [order[start:end] for start, end in pairwise(bounds)]


def _touched(starts: Ints, ends: Ints, first: Ints, half: int) -> Floats:
    """Return the share of anomalies, those whose margins meet taken as one, that each threshold touches (K,)."""
    apart = np.r_[True, ends[:-1] + half < starts[1:] - half]
    reached = np.minimum.reduceat(first, np.flatnonzero(apart))
    return np.cumsum(np.bincount(reached, minlength=THRESHOLDS)) / len(reached)


def vus_window(values: ArrayLike) -> int:
    """Return the widest margin for VUS: the period of values (T,), or of the first channel of (T, C), as TSB-AD has it.

    The lag, from 6 to 303, of the autocorrelation's highest local maximum among lags 3 to 400, by the first 20,000
    rows; 125 where there is none or it lies elsewhere. A missing value counts as the mean. DataError for other shapes.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim not in (1, 2) or not given.size:
        raise DataError(f"values of the shape {given.shape} have no period. Give at least one row: (T,) or (T, C).")
    channel = given[:ROWS] if given.ndim == 1 else given[:ROWS, 0]
    finite = np.isfinite(channel)
    if not finite.any():
        return FALLBACK
    centred = np.where(finite, channel - channel[finite].mean(), 0.0)
    if not np.ptp(channel[finite]) > 0:
        return FALLBACK
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: min(LAGS + 1, len(centred))][FIRST_LAG:]
    inner = correlation[1:-1]
    peaks = 1 + np.flatnonzero((inner > correlation[:-2]) & (inner > correlation[2:]))
    if not len(peaks):
        return FALLBACK
    lag = FIRST_LAG + int(peaks[np.argmax(correlation[peaks])])
    return lag if SHORTEST <= lag <= LONGEST else FALLBACK
