from __future__ import annotations

import warnings

import numpy as np
import pytest

from seqae.anomaly.thresholds import THRESHOLDS, Conformal, Quantile
from seqae.errors import DataError, OptionError, SeqaeWarning


@pytest.mark.parametrize("name", THRESHOLDS)
def test_p_value_is_its_definition_ties_included(name):
    rng = np.random.default_rng(0)
    calibration = rng.integers(-5, 5, 60).astype(float)
    threshold = THRESHOLDS[name](calibration, 0.1)
    scores = np.array([-9.0, -5, -1, 0, 0.5, 4, 4.1, np.inf])
    expected = [(1 + sum(c >= s for c in calibration)) / 61 for s in scores]
    assert threshold.p_value(scores).tolist() == expected
    assert np.isnan(threshold.p_value([np.nan])).all()
    assert not threshold.flag([np.nan]).any()


@pytest.mark.parametrize("n", [5, 19, 20, 99, 100, 101, 399])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.07, 0.1, 0.29, 0.33])
def test_conformal_flags_exactly_where_p_is_at_most_alpha(n, alpha):
    rng = np.random.default_rng(n)
    for calibration in (rng.standard_normal(n), rng.integers(0, 8, n).astype(float)):
        threshold = Conformal(calibration, alpha)
        scores = np.concatenate([calibration, rng.standard_normal(200) * 3, [calibration.max() + 1]])
        assert np.array_equal(threshold.flag(scores), threshold.p_value(scores) <= alpha)


def test_conformal_keeps_the_stated_rate_on_exchangeable_scores():
    rng = np.random.default_rng(1)
    rates, stated = [], []
    for _ in range(400):
        threshold = Conformal(rng.gumbel(size=150), 0.05)
        rates.append(threshold.flag(rng.gumbel(size=200)).mean())
        stated.append(threshold.false_alarm_rate)
    assert set(stated) == {7 / 151}  # floor(0.05 · 151) = 7
    standard_error = np.std(rates) / np.sqrt(len(rates))
    assert abs(np.mean(rates) - 7 / 151) < 4 * standard_error


def test_quantile_by_hand():
    threshold = Quantile(np.arange(101.0)[::-1], 0.05)
    assert threshold.value == pytest.approx(95.0)
    assert threshold.flag([94.9, 95.1]).tolist() == [False, True]
    assert threshold.false_alarm_rate == pytest.approx(6 / 102)


def test_too_few_scores_for_alpha_are_said_with_the_number_needed():
    with pytest.warns(SeqaeWarning, match=r"alpha=0.01 by 50 .*1/51 = 0.02\. Calibrate on at least 99 rows"):
        threshold = Conformal.calibrate(np.arange(50.0), 0.01)
    assert not threshold.flag([1e9]).any()
    assert threshold.false_alarm_rate == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Conformal.calibrate(np.arange(99.0), 0.01).value == 98.0  # and 99 are enough


@pytest.mark.parametrize("name", THRESHOLDS)
def test_severity_is_one_at_the_threshold_and_knows_no_scale(name):
    rng = np.random.default_rng(2)
    calibration = rng.standard_normal(500)
    threshold = THRESHOLDS[name](calibration, 0.02)
    middle = np.median(calibration)
    assert threshold.severity([middle, threshold.value]).tolist() == pytest.approx([0, 1])
    assert threshold.severity(middle + 7 * (threshold.value - middle)) == pytest.approx(7)
    moved = THRESHOLDS[name](calibration * 30 - 400, 0.02)  # negative throughout, as log densities may be
    scores = np.array([0.0, 3.0, 50.0, 500.0])
    assert moved.severity(scores * 30 - 400) == pytest.approx(threshold.severity(scores))
    assert np.all(np.diff(threshold.severity(scores)) > 0)  # goes on rising where p-values stay put
    assert len(set(threshold.p_value(scores[2:]))) == 1


def test_severity_of_calibration_scores_without_spread_is_finite():
    threshold = Quantile(np.full(200, 2.0), 0.01)
    assert threshold.severity([2.0, 5.0]).tolist() == [0.0, 3.0]


@pytest.mark.parametrize("alpha", [0, 0.5, 1, -0.1, float("nan")])
def test_alpha_must_be_a_share(alpha):
    with pytest.raises(OptionError, match="between 0 and"):
        Quantile([1.0, 2.0], alpha)


@pytest.mark.parametrize(("scores", "words"), [([], "no calibration score"), ([1.0, np.nan], "finite")])
def test_unusable_calibration_scores_are_refused(scores, words):
    with pytest.raises(DataError, match=words):
        Conformal(scores, 0.1)


def test_false_alarms_per_day():
    threshold = Conformal(np.arange(99.0), 0.01)
    assert threshold.false_alarms_per_day(300) == pytest.approx(2.88)  # 288 rows of 5 minutes
    assert threshold.false_alarms_per_day(None) is None
