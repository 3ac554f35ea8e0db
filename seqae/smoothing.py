"""Moving means over a series' rows."""

from __future__ import annotations

__all__ = ["moving_mean"]

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.errors import DataError, OptionError
from seqae.folding import kernel

Floats = NDArray[np.float32]


def moving_mean(values: ArrayLike, steps: int, *, past_only: bool = False) -> Floats:
    """Return the mean of values (T, C) over `steps` rows, of those that have one, (T, C) float32; NaN stays NaN.

    past_only: over the row and those before it, else around it (of an even number, one row more before than after). At
    the ends and beside a gap it is the mean of what there is. Each mean is a sum of its own, in float64: an outlier
    leaves no rounding behind, and a piece of the series gives the same numbers as the whole.
    """
    rows = np.ascontiguousarray(values, dtype=np.float32)
    if rows.ndim != 2:
        raise DataError(f"moving_mean got an array of shape {rows.shape}; it needs (T, C).")
    if steps < 1:
        raise OptionError(f"steps={steps} is not possible. Give a whole number of at least 1.")
    if steps == 1:
        return rows
    before = steps - 1 if past_only else steps // 2
    result = np.empty_like(rows)
    _moving_mean(rows, before, steps - 1 - before, result)
    return result


@kernel
def _moving_mean(values: Floats, before: int, after: int, result: Floats) -> None:
    length, channels = values.shape
    for t in range(length):
        low, high = max(t - before, 0), min(t + after + 1, length)
        for c in range(channels):
            if values[t, c] != values[t, c]:
                result[t, c] = values[t, c]
                continue
            total, count = 0.0, 0
            for i in range(low, high):
                if values[i, c] == values[i, c]:
                    total += values[i, c]
                    count += 1
            result[t, c] = total / count
