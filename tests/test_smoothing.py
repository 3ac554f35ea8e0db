from __future__ import annotations

import numpy as np
import pytest

from seqae.errors import DataError, OptionError
from seqae.smoothing import moving_mean


def naive(values, steps, past_only):
    result = np.full_like(values, np.nan)
    before = steps - 1 if past_only else steps // 2
    for t in range(len(values)):
        for c in range(values.shape[1]):
            taken = values[max(t - before, 0) : t - before + steps, c]
            if not np.isnan(values[t, c]):
                result[t, c] = np.nanmean(taken.astype(np.float64))
    return result


@pytest.mark.parametrize("past_only", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 50])
@pytest.mark.parametrize("rows", [1, 7, 40])
def test_it_is_the_mean_of_the_rows_around_or_before(rows, steps, past_only):
    rng = np.random.default_rng(rows + steps)
    values = rng.standard_normal((rows, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    np.testing.assert_array_equal(moving_mean(values, steps, past_only=past_only), naive(values, steps, past_only))


def test_an_outlier_leaves_no_rounding_behind_and_a_piece_is_like_the_whole():
    values = np.random.default_rng(0).random((300, 1)).astype(np.float32)
    spoiled = values.copy()
    spoiled[100] = 1e30
    whole, other = moving_mean(values, 10), moving_mean(spoiled, 10)
    np.testing.assert_array_equal(whole[120:], other[120:])
    np.testing.assert_array_equal(moving_mean(values[50:150], 10)[10:-10], whole[60:140])
    past = moving_mean(values, 10, past_only=True)
    np.testing.assert_array_equal(moving_mean(values[:77], 10, past_only=True), past[:77])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(DataError, match=r"needs \(T, C\)"):
        moving_mean(np.zeros(5), 3)
    with pytest.raises(OptionError, match="at least 1"):
        moving_mean(np.zeros((5, 1)), 0)
