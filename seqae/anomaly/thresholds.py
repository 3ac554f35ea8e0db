"""Thresholds: from the scores of normal, held-back rows to the score above which a row is flagged.

A menu entry is a final subclass of `Threshold` that implements `limit()`; p-values, flags and severity are common to
all. Higher scores are stranger. Rows that share a window have related scores: false alarms then come in bursts, and
the rate seen on a short stretch, or set by a short calibration part, scatters around the expected one.
"""

from __future__ import annotations

__all__ = ["THRESHOLDS", "Conformal", "Quantile", "Threshold"]

import math
import warnings
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.errors import DataError, OptionError, SeqaeWarning

Floats = NDArray[np.float64]


class Threshold(ABC):
    """A limit on scores, calibrated on scores (n,) of data that is taken as normal.

    scores: the calibration scores in increasing order (n,), float64; alpha: the wanted share of false alarms;
    value: a row is flagged where its score lies above it (inf: nothing can be flagged).
    """

    name: ClassVar[str]

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
        """Return the threshold for these scores; SeqaeWarning where they are too few to flag anything at this alpha."""
        threshold = cls(scores, alpha)
        if math.isinf(threshold.value):
            n = len(threshold.scores)
            warnings.warn(
                f"Nothing can be flagged at alpha={alpha:g} by {n} calibration scores: the smallest p-value is "
                f"1/{n + 1} = {1 / (n + 1):.2g}. Calibrate on at least {math.ceil(1 / alpha) - 1} rows or raise alpha.",
                SeqaeWarning,
                stacklevel=2,
            )
        return threshold

    @abstractmethod
    def limit(self) -> float:
        """Return the score above which a row is flagged."""

    def p_value(self, scores: ArrayLike) -> Floats:
        """Return the conformal p-value (1 + #{calibration ≥ s}) / (n + 1) (Vovk et al. 2005); NaN stays NaN."""
        given = np.asarray(scores, dtype=np.float64)
        at_least = len(self.scores) - np.searchsorted(self.scores, given, side="left")
        return np.where(np.isnan(given), np.nan, (1 + at_least) / (len(self.scores) + 1))

    def flag(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Return True where a score lies above the threshold; a NaN score is never flagged."""
        return np.asarray(scores, dtype=np.float64) > self.value

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
        """The expected share of normal rows that are flagged: at most alpha for `conformal`, about alpha for others."""
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


class Conformal(Threshold):
    """Flag where the conformal p-value is at most alpha: an exchangeable normal row is flagged no more often than that.

    Nothing can be flagged where alpha < 1 / (n + 1): the threshold is then infinite.
    """

    name = "conformal"

    def limit(self) -> float:
        """Return the k-th highest calibration score, k the largest integer with k / (n + 1) ≤ alpha."""
        n = len(self.scores)
        near = math.floor(self.alpha * (n + 1))  # rounding may put it one off
        k = max(k for k in (near - 1, near, near + 1) if k / (n + 1) <= self.alpha)
        return float(self.scores[n - k]) if k else math.inf


THRESHOLDS: dict[str, type[Threshold]] = {cls.name: cls for cls in (Quantile, Conformal)}
