"""Calibration: the threshold, each channel's usual part, and where both come from."""

from __future__ import annotations

__all__ = ["Calibration"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqae.anomaly.fusion import Scored
from seqae.anomaly.provenance import span
from seqae.anomaly.thresholds.dependence import LEVEL, effective_number, expected_rate, rate_interval
from seqae.anomaly.thresholds.rules import THRESHOLDS, Threshold
from seqae.errors import DataError, ModelFileError, choose
from seqae.series import Panel

SCORES, BASELINE = "scores", "baseline"

GUESS = 2
"""A rate that is to be expected this many times as high as alpha, by so few scores, is a guess."""


@dataclass(frozen=True)
class Calibration:
    """A threshold set by the scores of normal data that the model was not fitted to.

    baseline: (C,) the median part of each channel, which events measure excess from. origin: what was scored, as JSON:
    source, series, first and last stamp, rows scored, how many windows without common rows they make, and `effective`,
    how many independent scores they are worth (`seqae.anomaly.thresholds.dependence`). All rows set the threshold:
    taking only every so many-th makes it no more certain (benchmarks/results/calibration.md).
    """

    threshold: Threshold
    baseline: NDArray[np.float64]
    origin: Mapping[str, Any]

    @classmethod
    def fit(
        cls, kind: type[Threshold], alpha: float, panel: Panel, found: Sequence[Scored], *, window: int, source: str
    ) -> Self:
        """Calibrate on the scores of a panel, in time order; DataError where no row has one. See `doubt`."""
        scores = np.concatenate([one.total[~np.isnan(one.total)] for one in found])
        if not len(scores):
            raise DataError(
                f"no row of {source} has a score to calibrate by. Calibrate on more rows, or on rows with values."
            )
        columns = (np.concatenate(parts) for parts in zip(*(one.parts.T for one in found), strict=True))
        given = (column[~np.isnan(column)] for column in columns)
        baseline = np.array([np.median(column, overwrite_input=True) if len(column) else 0.0 for column in given])
        disjoint = sum(len(series) // window for series in panel)
        origin = {
            "source": source,
            "series": len(panel),
            **span(panel),
            "rows": len(scores),
            "disjoint_windows": disjoint,
            "error_limit": _limit([one.error for one in found]),
            "effective": round(effective_number([one.total for one in found]), 1),
        }
        return cls(kind.calibrate(scores, alpha), baseline, origin)

    def again(self, kind: type[Threshold], alpha: float) -> Self:
        """Return another threshold by the same scores."""
        return type(self)(kind.calibrate(self.threshold.scores, alpha), self.baseline, self.origin)

    @property
    def rate_interval(self) -> tuple[float, float] | None:
        """Between which bounds the share of false alarms will lie (90 %) on as many new normal rows as calibrated.

        None where a file does not tell the effective number.
        """
        effective, rate = self.origin.get("effective"), self.threshold.false_alarm_rate
        return None if effective is None else rate_interval(rate, effective, ahead=effective)

    def doubt(self) -> str | None:
        """Return why the false-alarm rate is a guess, with the cure; None where it is not, or nothing is flagged."""
        effective, interval, alpha = self.origin.get("effective"), self.rate_interval, self.threshold.alpha
        if effective is None or interval is None or math.isinf(self.threshold.value):
            return None
        if expected_rate(alpha, effective) <= GUESS * alpha:
            return None
        rows = len(self.threshold.scores)
        wanted = float(f"{rows / effective / alpha:.2g}")
        return (
            f"The {rows} calibration scores are worth about {effective:.0f} independent ones, too few for "
            f"alpha={alpha:g}: the false-alarm rate may lie anywhere from {interval[0]:.2g} to {interval[1]:.2g} "
            f"({LEVEL:.0%}). Calibrate on about {wanted:.0f} rows or more, or raise alpha."
        )

    def provenance(self, step_seconds: float | None) -> dict[str, Any]:
        """Return the threshold and how it came about, as JSON; value None where nothing can be flagged.

        rate_interval: between which bounds the share of false alarms lies with 90 % on as many new rows as calibrated,
        as far as these are like those.
        """
        threshold, interval = self.threshold, self.rate_interval
        return {
            "method": threshold.name,
            "alpha": threshold.alpha,
            "value": None if math.isinf(threshold.value) else threshold.value,
            "false_alarm_rate": threshold.false_alarm_rate,
            "false_alarms_per_day": threshold.false_alarms_per_day(step_seconds),
            "rate_interval": None if interval is None else list(interval),
            **self.origin,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return what a model file holds beside the provenance."""
        return {SCORES: torch.from_numpy(self.threshold.scores), BASELINE: torch.from_numpy(self.baseline)}

    @classmethod
    def restore(cls, provenance: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Read what `provenance` and `tensors` wrote; raises ModelFileError where that cannot be."""
        try:
            kind = choose(THRESHOLDS, provenance["method"], "threshold")
            threshold = kind(tensors[SCORES].numpy(), provenance["alpha"])
            told = ("method", "alpha", "value", "false_alarm_rate", "false_alarms_per_day", "rate_interval")
            origin = {name: value for name, value in provenance.items() if name not in told}
            return cls(threshold, tensors[BASELINE].numpy(), origin)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"the model file's calibration cannot be read ({error}). Calibrate it again."
            ) from None


def _limit(errors: Sequence[NDArray[np.float64]]) -> float:
    """Return the 99% quantile of the rows' own errors, which says where within an event values are off."""
    given = np.concatenate([own[~np.isnan(own)] for own in errors])
    return float(np.quantile(given, 0.99, overwrite_input=True)) if len(given) else 0.0
