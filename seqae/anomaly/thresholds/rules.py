"""Thresholds: from the scores of normal, held-back rows to the score above which a row is flagged.

A menu entry is a final subclass of `Threshold` that implements `limit()`; p-values, flags and severity are common to
all but where a method has its own. Higher scores are stranger. Rows that share a window have related scores: false
alarms then come in bursts, and the rate seen on a short stretch, or set by a short calibration part, scatters around
the expected one (`seqae.anomaly.thresholds.dependence`).
"""

from __future__ import annotations

__all__ = [
    "THRESHOLDS",
    "Adaptive",
    "BenjaminiHochberg",
    "Conformal",
    "MedianDeviation",
    "PeaksOverThreshold",
    "Quantile",
    "Threshold",
    "adjusted",
]

import math
import warnings
from abc import ABC, abstractmethod
from functools import cached_property
from statistics import NormalDist
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.anomaly.thresholds.pareto import Pareto, fit_pareto
from seqae.anomaly.thresholds.tracking import track
from seqae.errors import DataError, OptionError, SeqaeWarning

Floats = NDArray[np.float64]

NORMAL = 1.4826
"""Of a normal law: standard deviation / median absolute deviation, 1 / Φ⁻¹(¾)."""
TAIL = 0.1
FEWEST_PEAKS = 30
PACE = 0.01
"""A hundred flagged rows lift an adaptive limit by its distance from the usual score."""


class Threshold(ABC):
    """A limit on scores, calibrated on scores (n,) of data that is taken as normal.

    scores: the calibration scores in increasing order (n,), float64; alpha: the wanted share of false alarms;
    value: a row is flagged where its score lies above it (inf: nothing can be flagged). batchwise: whether a row's flag
    depends on the rows it is scored together with; value is then the limit for a row on its own, the lowest there is.
    sequential: whether those are the rows before it alone.
    """

    name: ClassVar[str]
    batchwise: ClassVar[bool] = False
    sequential: ClassVar[bool] = False

    def __init__(self, scores: ArrayLike, alpha: float = 0.01) -> None:
        if not 0 < alpha < 0.5:
            raise OptionError(f"alpha={alpha!r} is the share of false alarms: give a number between 0 and 0.5.")
        self.scores: Floats = np.sort(np.asarray(scores, dtype=np.float64).ravel())
        if not len(self.scores):
            raise DataError("There is no calibration score to set a threshold by. Calibrate on more rows.")
        if not np.isfinite(self.scores).all():
            raise DataError("Calibration scores must be finite. Leave out the rows that could not be scored.")
        self.alpha = float(alpha)
        self.value = float(self.limit())

    @classmethod
    def calibrate(cls, scores: ArrayLike, alpha: float = 0.01) -> Self:
        """Return the threshold for these scores; SeqaeWarning where they cannot give what the method promises."""
        threshold = cls(scores, alpha)
        doubt = threshold.doubt()
        if doubt is not None:
            warnings.warn(doubt, SeqaeWarning, stacklevel=2)
        return threshold

    @abstractmethod
    def limit(self) -> float:
        """Return the score above which a row is flagged."""

    def doubt(self) -> str | None:
        """Return what these scores cannot give at this alpha, with the cure; None where nothing is amiss."""
        if not math.isinf(self.value):
            return None
        n, alpha = len(self.scores), self.alpha
        return (
            f"Nothing can be flagged at alpha={alpha:g} by {n} calibration scores: the smallest p-value is "
            f"1/{n + 1} = {1 / (n + 1):.2g}. Calibrate on at least {math.ceil(1 / alpha) - 1} rows or raise alpha."
        )

    def p_value(self, scores: ArrayLike) -> Floats:
        """Return the conformal p-value (1 + #{calibration ≥ s}) / (n + 1) (Vovk et al. 2005); NaN stays NaN."""
        given = np.asarray(scores, dtype=np.float64)
        at_least = len(self.scores) - np.searchsorted(self.scores, given, side="left")
        return np.where(np.isnan(given), np.nan, (1 + at_least) / (len(self.scores) + 1))

    def flag(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Return True where a score lies above the threshold; a NaN score is never flagged."""
        return np.asarray(scores, dtype=np.float64) > self.value

    def follow(self, scores: ArrayLike, limit: float) -> tuple[NDArray[np.bool_], float]:
        """Return flags (m,) of rows in time order, and the limit after them; limit: that before them, at first `value`.

        For a threshold that is not sequential the limit stays where it is.
        """
        return self.flag(scores), limit

    def severity(self, scores: ArrayLike) -> Floats:
        """Return (s − median) / (threshold − median), the median being that of the calibration scores.

        0 is the usual level, 1 the threshold, 3 three times as far from the usual level as the threshold is: it goes on
        rising beyond the highest calibration score, where p-values stay put, and holds for scores of either sign.
        """
        median = float(np.median(self.scores))
        spread = self.value - median
        return (np.asarray(scores, dtype=np.float64) - median) / (spread if spread > 0 else 1.0)

    @property
    def false_alarm_rate(self) -> float:
        """The share of normal rows that are expected to be flagged, by the calibration scores above the threshold.

        At most alpha for `conformal`, about alpha for `quantile`; for `benjamini_hochberg` an upper bound.
        """
        if math.isinf(self.value):
            return 0.0
        above = len(self.scores) - int(np.searchsorted(self.scores, self.value, side="right"))
        return (1 + above) / (len(self.scores) + 1)

    def false_alarms_per_day(self, step_seconds: float | None) -> float | None:
        """Return how many normal rows a day are expected to be flagged; None where the step in seconds is not known."""
        return None if step_seconds is None else 86_400 / step_seconds * self.false_alarm_rate


class Quantile(Threshold):
    """The (1 − alpha) quantile of the calibration scores, linear between neighbours."""

    name = "quantile"

    def limit(self) -> float:
        """Return the empirical quantile."""
        return float(np.quantile(self.scores, 1 - self.alpha))


class MedianDeviation(Threshold):
    """Median + k · 1.4826 · MAD with k = Φ⁻¹(1 − alpha), MAD the median absolute deviation from the median.

    1.4826 · MAD is the standard deviation of normally distributed scores: the rate is alpha for those alone, and higher
    where scores have a longer upper tail, as most have. In return the highest tenths of the calibration scores, errors
    among them, have no say (Leys et al. 2013). Where MAD = 0 the quantile takes its place.
    """

    name = "mad"

    def limit(self) -> float:
        """Return the limit by the median deviation, or the empirical quantile without any."""
        if not self.deviation > 0:
            return float(np.quantile(self.scores, 1 - self.alpha))
        return float(np.median(self.scores)) + NormalDist().inv_cdf(1 - self.alpha) * NORMAL * self.deviation

    @cached_property
    def deviation(self) -> float:
        """The median absolute deviation of the calibration scores from their median."""
        return float(np.median(np.abs(self.scores - np.median(self.scores))))

    def doubt(self) -> str | None:
        """Say where more than half of the scores are equal."""
        if self.deviation > 0:
            return None
        return (
            f"More than half of the {len(self.scores)} calibration scores are equal, so that their median absolute "
            "deviation is 0: the empirical quantile is taken instead. Use threshold quantile or conformal."
        )


class Conformal(Threshold):
    """Flag where the conformal p-value is at most alpha: an exchangeable normal row is flagged no more often than that.

    Nothing can be flagged where alpha < 1 / (n + 1): the threshold is then infinite.
    """

    name = "conformal"

    def limit(self) -> float:
        """Return the k-th highest calibration score, k the largest integer with k / (n + 1) ≤ alpha."""
        return _conformal_limit(self.scores, self.alpha)


class Peaks(NamedTuple):
    """The scores above an initial threshold: where it lies, which share of the scores is above, and their law."""

    start: float
    share: float
    law: Pareto


class PeaksOverThreshold(Threshold):
    """The (1 − alpha) quantile of a generalised Pareto law fitted to the highest tenth of the calibration scores.

    The law describes the excesses over a high threshold (Pickands 1975; for streams Siffer et al. 2017), so that
    alpha may be smaller than one in so many scores as there are, and p-values go on falling beyond the highest one. The
    initial threshold is the 90 % quantile, as an order statistic; with fewer than 30 excesses, or alpha of a tenth or
    more, the empirical quantile is taken.
    """

    name = "pot"

    def limit(self) -> float:
        """Return the law's quantile, t + σ/ξ ((alpha · n / N)^(−ξ) − 1) with N of n scores above t."""
        peaks = self.peaks
        if peaks is None or self.alpha >= peaks.share:
            return float(np.quantile(self.scores, 1 - self.alpha))
        return peaks.start + peaks.law.quantile(self.alpha / peaks.share)

    @cached_property
    def peaks(self) -> Peaks | None:
        """The tail of the calibration scores; None with fewer than 30 excesses."""
        n = len(self.scores)
        start = float(self.scores[n - 1 - math.floor(TAIL * n)])
        excesses = self.scores[np.searchsorted(self.scores, start, side="right") :] - start
        return Peaks(start, len(excesses) / n, fit_pareto(excesses)) if len(excesses) >= FEWEST_PEAKS else None

    def doubt(self) -> str | None:
        """Say where there are too few excesses for a law."""
        if self.peaks is not None:
            return None
        return (
            f"Threshold pot needs at least {FEWEST_PEAKS} distinct excesses over the 90 % quantile, and "
            f"{len(self.scores)} calibration scores have fewer: the empirical quantile is taken instead. "
            f"Calibrate on at least {round(FEWEST_PEAKS / TAIL)} rows, or use threshold conformal."
        )

    def p_value(self, scores: ArrayLike) -> Floats:
        """Return the conformal p-value up to the initial threshold and the fitted tail's beyond it; never 0."""
        given = np.asarray(scores, dtype=np.float64)
        empirical = super().p_value(given)
        if self.peaks is None:
            return empirical
        excess = given - self.peaks.start
        tail = self.peaks.share * self.peaks.law.survival(np.maximum(excess, 0.0))
        return np.where(excess > 0, np.maximum(tail, np.finfo(np.float64).tiny), empirical)

    @property
    def false_alarm_rate(self) -> float:
        """Alpha, by the fitted tail; without one, the share that is above the empirical quantile."""
        by_law = self.peaks is not None and self.alpha < self.peaks.share
        return self.alpha if by_law else super().false_alarm_rate


class BenjaminiHochberg(Threshold):
    """Of the rows that are scored together, flag those by which the expected share of false flags is at most alpha.

    The step-up rule of Benjamini & Hochberg (1995) on conformal p-values, with which it holds (Bates et al. 2023): of m
    rows the k most unusual are flagged, k the largest for which the k-th smallest p-value is at most alpha · k / m. So
    alpha is the share of the *flags* that may be false, and normal rows are flagged far less often. `flag` takes its
    argument as the batch. Nothing up to `value` can be flagged; how much higher a score must be depends on the others.
    """

    name = "benjamini_hochberg"
    batchwise = True

    def limit(self) -> float:
        """Return the conformal limit, which a row on its own needs."""
        return _conformal_limit(self.scores, self.alpha)

    def flag(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Return which of the scores (m,) are flagged; SeqaeWarning where a single one among so many cannot be."""
        p_values = self.p_value(scores)
        n, m = len(self.scores), int(np.count_nonzero(~np.isnan(p_values)))
        if n + 1 < m / self.alpha:
            least = math.ceil(m / self.alpha / (n + 1))
            warnings.warn(
                f"{n} calibration scores are few for Benjamini-Hochberg over {m} rows at alpha={self.alpha:g}: "
                f"{f'unless {least} or more' if least <= m else 'even if all'} lie above all of them, nothing is "
                f"flagged. Calibrate on at least {math.ceil(m / self.alpha) - 1} rows, or use threshold conformal.",
                SeqaeWarning,
                stacklevel=2,
            )
        return adjusted(p_values) <= self.alpha


class Adaptive(Threshold):
    """A conformal limit that follows the scores: after each flagged row it rises, after each other it falls a little.

    limit ← max(value, limit + η ({score > limit} − alpha)), η = PACE times the distance from the usual score to value:
    the quantile tracker of Angelopoulos, Candès & Tibshirani 2023, after Gibbs & Candès 2021, held from below. Of m
    rows at most alpha · m + (highest score − value) / η + 1 are flagged, whatever the scores do: after a lasting change
    of level the flags cease, where a fixed limit flags every row. In return of an anomaly that lasts the beginning
    alone is flagged, and the next one has to be as strange for a while; each series begins anew at `value`.
    """

    name = "adaptive"
    batchwise = True
    sequential = True

    def limit(self) -> float:
        """Return the conformal limit, which the first row needs, and no row less."""
        return _conformal_limit(self.scores, self.alpha)

    def flag(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Return which of the scores (m,), in time order, lie above the limit of their moment."""
        return self.follow(scores, self.value)[0]

    def follow(self, scores: ArrayLike, limit: float) -> tuple[NDArray[np.bool_], float]:
        """Return flags (m,) and the limit after the last row; a NaN score is not flagged and moves nothing."""
        return track(scores, limit, least=self.value, pace=self.pace, alpha=self.alpha)

    @cached_property
    def pace(self) -> float:
        """η: by 1 − alpha of it the limit rises after a flagged row, by alpha of it it falls after another."""
        if math.isinf(self.value):
            return 0.0
        spread = self.value - float(np.median(self.scores))
        return PACE * (spread if spread > 0 else max(abs(self.value), 1.0))


def adjusted(p_values: ArrayLike) -> Floats:
    """Return Benjamini & Hochberg's adjusted p-values, min over j ≥ k of p(j) · m / j; NaN stays NaN and out of m."""
    given = np.asarray(p_values, dtype=np.float64)
    answer = np.full(given.shape, np.nan)
    told = ~np.isnan(given)
    p = given[told]
    order = np.argsort(p)
    stepped = np.minimum.accumulate((p[order] * (len(p) / np.arange(1, len(p) + 1)))[::-1])[::-1]
    back = np.empty(len(p))
    back[order] = np.minimum(stepped, 1.0)
    answer[told] = back
    return answer


def _conformal_limit(scores: Floats, alpha: float) -> float:
    """Return the k-th highest of sorted scores, k the largest integer with k / (n + 1) ≤ alpha; inf where that is 0."""
    n = len(scores)
    near = math.floor(alpha * (n + 1))  # rounding may put it one off
    k = max(k for k in (near - 1, near, near + 1) if k / (n + 1) <= alpha)
    return float(scores[n - k]) if k else math.inf


THRESHOLDS: dict[str, type[Threshold]] = {
    cls.name: cls for cls in (Quantile, MedianDeviation, Conformal, PeaksOverThreshold, BenjaminiHochberg, Adaptive)
}
