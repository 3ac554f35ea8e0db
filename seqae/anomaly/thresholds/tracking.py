"""A limit that follows the scores it is held against."""

from __future__ import annotations

__all__ = ["track"]

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.folding import kernel

Floats = NDArray[np.float64]


def track(
    scores: ArrayLike, limit: float, *, least: float, pace: float, alpha: float
) -> tuple[NDArray[np.bool_], float]:
    """Return which of the scores (m,), in time order, lie above the limit of their moment, and the limit after them.

    After each row limit ← max(least, limit + pace · ({score > limit} − alpha)); a NaN score is not flagged and moves
    nothing.
    """
    given = np.ascontiguousarray(scores, dtype=np.float64)
    flags, limits = np.zeros(given.shape, dtype=np.bool_), np.array([limit], dtype=np.float64)
    _track(given, least, pace, alpha, limits, flags)
    return flags, float(limits[0])


@kernel
def _track(scores: Floats, least: float, pace: float, alpha: float, limits: Floats, flags: NDArray[np.bool_]) -> None:
    limit = limits[0]
    for t in range(len(scores)):
        if scores[t] == scores[t]:
            flags[t] = scores[t] > limit
            limit = max(least, limit + pace * ((1.0 if flags[t] else 0.0) - alpha))
    limits[0] = limit
