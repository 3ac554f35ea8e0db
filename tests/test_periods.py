from __future__ import annotations

import numpy as np
import pytest

from seqae.errors import DataError
from seqae.periods import LEAST, MOST, PLAIN, autocorrelation, choose_window, dominant_period


def wave(period, rows=3000, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * np.arange(rows) / period
    return (np.sin(turn) + 0.5 * np.sin(2 * turn + 1) + noise * rng.standard_normal(rows))[:, None]


@pytest.mark.parametrize("period", [16, 25, 40, 97, 144, 230])
def test_the_period_of_a_wave_is_found(period):
    assert abs(dominant_period(wave(period)) - period) <= 1
    assert abs(choose_window(wave(period)).window - period) <= 1


def test_a_drift_an_offset_and_gaps_hide_no_period():
    rows = wave(48)
    rows[:, 0] += np.linspace(0, 40, len(rows)) + 1e6
    rows[500:520] = np.nan
    assert dominant_period(rows) == 48


def test_a_period_that_only_one_channel_shows_counts_and_flat_channels_do_not():
    rng = np.random.default_rng(1)
    rows = np.hstack([wave(60), wave(60, seed=2) + 0.3 * rng.standard_normal((3000, 1)), np.full((3000, 1), 7.0)])
    assert abs(dominant_period(rows) - 60) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_what_does_not_repeat_has_no_period(seed):
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((3000, 1))
    assert dominant_period(noise) is None
    assert dominant_period(np.cumsum(noise, axis=0)) is None
    assert choose_window(noise) == (PLAIN, None, "nothing repeats within reach")
    assert dominant_period(np.ones((3000, 1))) is None
    assert dominant_period(np.full((3000, 1), np.nan)) is None


def test_windows_stay_within_bounds_and_say_why():
    short, long = choose_window(wave(6)), choose_window(wave(400))
    assert (short.window, short.reason) == (18, "the period is 6 steps, taken 3 times")
    assert short.window >= LEAST
    assert long.window == MOST
    assert abs(long.period - 400) <= 1
    assert "more than 256 are not taken" in long.reason
    # a tenth of the rows at most, so that parts can be held back
    assert choose_window(wave(48, rows=300)).window == 30
    assert choose_window(np.zeros((12, 1))).window == 2


def test_several_series_are_asked_and_the_middle_period_is_taken():
    chosen = choose_window([wave(30), wave(50), wave(200), np.random.default_rng(0).standard_normal((500, 1))])
    assert abs(chosen.window - 50) <= 1
    with pytest.raises(DataError, match="no rows"):
        choose_window([])


def test_the_autocorrelation_is_that_of_its_definition():
    rows, lags = np.random.default_rng(3).standard_normal((200, 1)), 20
    level = (rows[:, 0] - rows[:, 0].mean()) / rows[:, 0].std()
    level = np.array([level[t] - level[max(t - lags, 0) : t + lags + 1].mean() for t in range(200)])
    naive = [np.sum(level[k:] * level[: 200 - k]) / np.sum(level**2) for k in range(lags + 1)]
    np.testing.assert_allclose(autocorrelation(rows, lags), naive, atol=1e-12)
