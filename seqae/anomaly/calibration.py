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

from seqae.anomaly.pipeline import span
from seqae.anomaly.scoring import total_score
from seqae.anomaly.thresholds import THRESHOLDS, Threshold
from seqae.errors import DataError, ModelFileError, choose
from seqae.series import Panel

SCORES, BASELINE = "calibration.scores", "calibration.baseline"


@dataclass(frozen=True)
class Calibration:
    """A threshold set by the scores of normal data that the model was not fitted to.

    baseline: (C,) the median part of each channel, which events measure excess from. origin: what was scored, as JSON:
    source, series, first and last stamp, rows scored, and how many windows without common rows they make. Rows of one
    window have related scores, so that the threshold is only about as certain as by so many independent ones.
    """

    threshold: Threshold
    baseline: NDArray[np.float64]
    origin: Mapping[str, Any]

    @classmethod
    def fit(
        cls, kind: type[Threshold], alpha: float, panel: Panel, parts: Sequence[NDArray], *, window: int, source: str
    ) -> Self:
        """Calibrate on the parts (T_i, C) of a panel's scores; DataError where no row has a score."""
        together = np.concatenate(parts)
        scores = total_score(together)
        scored = ~np.isnan(scores)
        if not scored.any():
            raise DataError(
                f"no row of {source} has a score to calibrate by. Calibrate on more rows, or on rows with values."
            )
        given = [column[~np.isnan(column)] for column in together.T]
        baseline = np.array([np.median(column) if len(column) else 0.0 for column in given])
        disjoint = sum(len(series) // window for series in panel)
        origin = {
            "source": source,
            "series": len(panel),
            **span(panel),
            "rows": int(scored.sum()),
            "disjoint_windows": disjoint,
        }
        return cls(kind.calibrate(scores[scored], alpha), baseline, origin)

    def again(self, kind: type[Threshold], alpha: float) -> Self:
        """Return another threshold by the same scores."""
        return type(self)(kind.calibrate(self.threshold.scores, alpha), self.baseline, self.origin)

    def provenance(self, step_seconds: float | None) -> dict[str, Any]:
        """Return the threshold and how it came about, as JSON; value None where nothing can be flagged."""
        threshold = self.threshold
        return {
            "method": threshold.name,
            "alpha": threshold.alpha,
            "value": None if math.isinf(threshold.value) else threshold.value,
            "false_alarm_rate": threshold.false_alarm_rate,
            "false_alarms_per_day": threshold.false_alarms_per_day(step_seconds),
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
            told = ("method", "alpha", "value", "false_alarm_rate", "false_alarms_per_day")
            origin = {name: value for name, value in provenance.items() if name not in told}
            return cls(threshold, tensors[BASELINE].numpy(), origin)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"the model file's calibration cannot be read ({error}). Calibrate it again."
            ) from None
