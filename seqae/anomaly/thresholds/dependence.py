"""Serial dependence: how many independent scores a run of related ones is worth, and what they promise.

Rows of one window have related scores, so that n calibration scores settle a threshold only about as well as a smaller
number of independent ones would.
"""

from __future__ import annotations

__all__ = ["LEVEL", "effective_number", "expected_rate", "rate_interval"]

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, betaln

Floats = NDArray[np.float64]

LEVEL = 0.9
LAGS = 1 << 12
"""Autocovariances that are looked at first."""
BLOCK = 1 << 18
"""Rows whose products with those ahead of them are summed at a time."""
TOP = 0.25
"""The share of the scores whose exceedances are followed. At the threshold itself there are too few to tell; among all
ranks scores depend on each other more than high ones do. By simulation (benchmarks/calibration.py) the highest quarter
gives intervals that hold."""


def effective_number(parts: Sequence[ArrayLike]) -> float:
    """Return the number of independent scores that tell as much of the upper tail as these; between 1 and their number.

    parts: the scores (n_i,) of each series in time order; what is NaN is left out. It is n / τ with the integrated
    autocorrelation time τ = 1 + 2 Σ ρ(k) of the indicator of the highest quarter of all scores. The sum ends by the
    initial monotone sequence (Geyer 1992, §3.3: as long as ρ(2k) + ρ(2k+1) is positive, made non-increasing), and is
    set right to first order for the mean's being estimated. Autocovariances are pooled over the series.
    """
    given = [np.asarray(part, dtype=np.float64).ravel() for part in parts]
    given = [part[~np.isnan(part)] for part in given if not np.isnan(part).all()]
    together = np.concatenate([*given, np.empty(0)])
    n = len(together)
    if n < 2:
        return float(n)
    rank = max(1, round(TOP * n))
    together.partition(n - rank)
    level = together[n - rank]
    share = float((together >= level).mean())
    if share == 1.0:  # the lower three quarters are all equal: what rises above them is followed
        level = np.nextafter(level, math.inf)
        share = float((together >= level).mean())
        if share == 0.0:
            return 1.0  # scores that never change tell no more than one
    del together
    rising = [part >= level for part in given]
    longest, lags = max(map(len, rising)), LAGS
    while True:  # most sums end soon, and few lags take little memory
        covariance = _autocovariance(rising, share, min(lags, longest))
        correlation = covariance / covariance[0]
        pairs = correlation[: len(correlation) // 2 * 2].reshape(-1, 2).sum(axis=1)
        ended = bool((pairs <= 0).any())
        if ended or lags >= longest:
            break
        lags *= 8
    stop = int(np.argmax(pairs <= 0)) if ended else len(pairs)
    time = 2 * float(np.minimum.accumulate(pairs[:stop]).sum()) - 1
    time /= max(1 - 4 * stop / n, 0.1)
    return min(max(n / max(time, 1.0), 1.0), float(n))


def _autocovariance(parts: Sequence[NDArray[np.bool_]], mean: float, lags: int) -> Floats:
    """Return the sums of (x(t) − mean)(x(t+k) − mean) over all parts, divided by all their rows, for k < lags."""
    total = np.zeros(lags)
    step = max(BLOCK, lags)
    for part in parts:
        size = 1 << (min(step, len(part)) + min(step + lags, len(part)) - 1).bit_length()
        for low in range(0, len(part), step):
            here, ahead = part[low : low + step] - mean, part[low : low + step + lags] - mean
            product = np.conj(np.fft.rfft(here, size)) * np.fft.rfft(ahead, size)
            sums = np.fft.irfft(product, size)[: min(lags, len(ahead))]  # the rest are of lags below 0
            total[: len(sums)] += sums
    return total / sum(map(len, parts))


def expected_rate(rate: float, effective: float) -> float:
    """Return the false-alarm rate to be expected of a threshold that `effective` scores set for this rate.

    No threshold by so many scores can expect less than 1 / (effective + 1): that is how often a new score is higher
    than all of them.
    """
    return max(rate, 1 / (effective + 1)) if rate > 0 else 0.0


def rate_interval(
    rate: float, effective: float, *, ahead: float = math.inf, level: float = LEVEL
) -> tuple[float, float]:
    """Return between which bounds the share of false alarms on new normal data will lie, with probability `level`.

    rate: what the threshold was set for; 0 gives (0, 0). effective: the calibration scores in independent ones.
    In the long run the share follows the Beta(k, n + 1 − k) law of conformal coverage, k = rate · (n + 1) (Vovk 2012;
    Angelopoulos & Bates 2023, §3.2), here with the effective number for n, and k at least 1: so few scores do not see
    as far as a smaller rate. ahead: the effective number of new scores; over so few the share scatters in addition
    (the beta-binomial law, here as the Beta law with its first two moments; 0 is the lower end where it is likely).
    Rates are those of data with the law of the calibration part: nothing here knows of drift.
    """
    if not rate > 0:
        return 0.0, 0.0
    total = max(effective, 1.0) + 1
    mean = min(expected_rate(rate, max(effective, 1.0)), 1 - 1 / total)
    tail, a, b = (1 - level) / 2, mean * total, (1 - mean) * total
    none_ahead = False
    if math.isfinite(ahead):
        count = max(ahead, 1.0)
        none_ahead = float(betaln(a, b + count) - betaln(a, b)) >= math.log(tail)
        spread = 1 / (total + 1) + total / ((total + 1) * count)
        scale = max(1 / spread - 1, 1e-9)
        a, b = mean * scale, (1 - mean) * scale
    low = 0.0 if none_ahead else float(betaincinv(a, b, tail))
    return low, float(betaincinv(a, b, 1 - tail))
