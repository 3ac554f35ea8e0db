from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, norm

from seqae.anomaly.thresholds.rules import (
    PACE,
    THRESHOLDS,
    Adaptive,
    BenjaminiHochberg,
    Conformal,
    MedianDeviation,
    PeaksOverThreshold,
    Quantile,
    adjusted,
)
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
    assert name == "pot" or len(set(threshold.p_value(scores[2:]))) == 1


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


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.integers(-6, 6), min_size=2, max_size=60),
    alpha=st.floats(0.01, 0.49),
)
def test_conformal_flags_no_more_than_alpha_of_exchangeable_rows_whatever_their_law(scores, alpha):
    """Each of n + 1 exchangeable scores is as likely the new one, so the mean over them is the exact rate."""
    flagged = [
        Conformal(scores[:new] + scores[new + 1 :], alpha).flag([scores[new]])[0].item() for new in range(len(scores))
    ]
    assert np.mean(flagged) <= alpha


@pytest.mark.parametrize("name", THRESHOLDS)
def test_the_order_of_the_calibration_scores_is_nothing_to_a_threshold(name):
    scores = np.random.default_rng(8).gumbel(size=600)
    one, other = THRESHOLDS[name](scores, 0.03), THRESHOLDS[name](np.sort(scores)[::-1], 0.03)
    assert one.value == other.value
    assert np.array_equal(one.p_value(scores), other.p_value(scores))


# Median absolute deviation


def test_median_deviation_by_hand():
    scores = [1.0, 2.0, 3.0, 4.0, 105.0]  # median 3, deviations 2 1 0 1 102, their median 1
    assert MedianDeviation(scores, 0.05).value == pytest.approx(3 + 1.6448536 * 1.4826)
    assert MedianDeviation([1.0, 2.0, 3.0, 4.0, 5.0], 0.05).value == MedianDeviation(scores, 0.05).value


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.2])
def test_median_deviation_has_the_rate_alpha_for_normally_distributed_scores(alpha):
    n = 200_000
    scores = 50 + 7 * norm.ppf((np.arange(n) + 0.5) / n)
    threshold = MedianDeviation(scores, alpha)
    assert norm.sf((threshold.value - 50) / 7) == pytest.approx(alpha, rel=1e-3)
    assert threshold.false_alarm_rate == pytest.approx(alpha, rel=0.02)


def test_without_median_deviation_the_quantile_is_taken_and_that_is_said():
    scores = np.concatenate([np.zeros(60), np.arange(1.0, 41.0)])
    with pytest.warns(SeqaeWarning, match=r"More than half of the 100 .* Use threshold quantile"):
        threshold = MedianDeviation.calibrate(scores, 0.1)
    assert threshold.value == Quantile(scores, 0.1).value
    assert threshold.flag([threshold.value, 41.0]).tolist() == [False, True]


# Peaks over threshold


def test_peaks_over_threshold_is_the_law_of_the_highest_tenth():
    scores = np.random.default_rng(3).gumbel(size=2000)
    threshold = PeaksOverThreshold(scores, 0.001)
    start, share, law = threshold.peaks
    assert (start, share) == (np.sort(scores)[-201], 0.1)
    # t + (σ/ξ) (r^(−ξ) − 1), r = alpha · n / N
    expected = start + law.scale / law.shape * ((0.001 * 2000 / 200) ** -law.shape - 1)
    assert threshold.value == pytest.approx(expected, rel=1e-12)
    assert threshold.p_value(threshold.value) == pytest.approx(0.001, rel=1e-12)
    assert threshold.false_alarm_rate == 0.001


def test_peaks_over_threshold_sees_beyond_the_calibration_scores():
    rates = []
    for seed in range(60):
        threshold = PeaksOverThreshold(np.random.default_rng(seed).exponential(size=2000), 1e-4)
        rates.append(np.exp(-threshold.value))  # the exact rate
    assert 0.5e-4 < np.exp(np.mean(np.log(rates))) < 2e-4
    assert np.isinf(Conformal(np.arange(2000.0), 1e-4).value)  # by ranks alone nothing can be said


def test_p_values_of_peaks_are_empirical_below_and_go_on_falling_above():
    scores = np.random.default_rng(4).standard_t(4, 1000)
    threshold = PeaksOverThreshold(scores, 0.01)
    start = threshold.peaks.start
    below, above = np.linspace(scores.min() - 1, start, 50), start + np.geomspace(1e-9, 1e3, 50)
    assert np.array_equal(threshold.p_value(below), Conformal(scores, 0.01).p_value(below))
    p = threshold.p_value(np.concatenate([below, above]))
    assert (np.diff(p) <= 0).all()
    assert (np.diff(p[50:]) < 0).all()
    assert p[50] == pytest.approx(0.1)
    assert np.array_equal(threshold.flag(above), threshold.p_value(above) < 0.01)
    assert np.isnan(threshold.p_value(np.nan))
    bounded = PeaksOverThreshold(np.random.default_rng(4).uniform(size=1000), 0.01)
    assert 0 < bounded.p_value(9.0) < 1e-300  # beyond the end of a short tail: logs stay finite


@pytest.mark.parametrize("scores", [np.arange(299.0), np.zeros(5000), np.repeat([0.0, 1.0], [5000, 29])])
def test_too_few_peaks_are_said_and_the_empirical_quantile_is_taken(scores):
    with pytest.warns(SeqaeWarning, match=r"pot needs at least 30 .*Calibrate on at least 300 rows"):
        threshold = PeaksOverThreshold.calibrate(scores, 0.01)
    assert threshold.value == Quantile(scores, 0.01).value
    assert np.array_equal(
        threshold.p_value([-1.0, 0.0, 1.0, 1e9]), Quantile(scores, 0.01).p_value([-1.0, 0.0, 1.0, 1e9])
    )
    assert threshold.false_alarm_rate == Quantile(scores, 0.01).false_alarm_rate


def test_where_alpha_is_below_the_tail_peaks_give_the_empirical_quantile():
    scores = np.random.default_rng(5).gumbel(size=400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threshold = PeaksOverThreshold.calibrate(scores, 0.2)
    assert threshold.value == Quantile(scores, 0.2).value
    assert threshold.false_alarm_rate == Quantile(scores, 0.2).false_alarm_rate


# Benjamini and Hochberg


def test_adjusted_p_values_golden():
    p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]
    expected = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.1057, 0.216, 0.216, 0.216]
    assert adjusted(p) == pytest.approx(expected, abs=5e-5)
    assert adjusted(p[::-1]) == pytest.approx(expected[::-1], abs=5e-5)
    assert adjusted([]).tolist() == []
    assert adjusted([np.nan]).tolist() == pytest.approx([np.nan], nan_ok=True)


@pytest.mark.filterwarnings("ignore:.*are few for Benjamini:seqae.errors.SeqaeWarning")
@pytest.mark.parametrize("m", [1, 2, 7, 40, 300])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_step_up_is_scipys(m, alpha):
    rng = np.random.default_rng(m)
    for spread in (1.0, 3.0):
        threshold = BenjaminiHochberg(rng.standard_normal(399), alpha)
        scores = np.round(rng.standard_normal(m) * spread, 1)
        p = threshold.p_value(scores)
        assert adjusted(p) == pytest.approx(false_discovery_control(p), rel=1e-12)
        flags = threshold.flag(scores)
        assert np.array_equal(flags, false_discovery_control(p) <= alpha)
        assert (scores[flags] > threshold.value).all()
        gaps = np.insert(scores, [0, m // 2], np.nan)
        assert np.array_equal(threshold.flag(gaps), np.insert(flags, [0, m // 2], False))


@pytest.mark.filterwarnings("ignore:.*are few for Benjamini:seqae.errors.SeqaeWarning")
def test_a_row_on_its_own_needs_the_conformal_limit_and_more_in_company():
    calibration = np.arange(999.0)
    alone, limit = BenjaminiHochberg(calibration, 0.05), Conformal(calibration, 0.05)
    scores = np.linspace(900, 1000, 37)
    assert alone.value == limit.value
    assert [alone.flag([score])[0] for score in scores] == limit.flag(scores).tolist()
    assert limit.flag([990.0]).all()
    assert alone.flag([990.0, *np.zeros(3)]).tolist() == [True, False, False, False]
    assert not alone.flag([990.0, *np.zeros(9)]).any()
    assert alone.flag([990.0, *np.full(9, 985.0)]).all()
    assert BenjaminiHochberg.batchwise
    assert not Conformal.batchwise


def test_the_share_of_false_flags_is_kept():
    rng = np.random.default_rng(6)
    false = []
    for _ in range(300):
        threshold = BenjaminiHochberg(rng.standard_normal(1500), 0.1)
        strange = np.arange(100) < 10
        flags = threshold.flag(rng.standard_normal(100) + 4 * strange)
        false.append((flags & ~strange).sum() / max(flags.sum(), 1))
    error = np.std(false) / np.sqrt(len(false))
    assert 0.04 < np.mean(false) < 0.1 + 3 * error


def test_a_batch_too_large_for_the_calibration_scores_is_said():
    threshold = BenjaminiHochberg.calibrate(np.arange(99.0), 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert threshold.flag([1e9, 0, 0, 0, 0]).tolist() == [True, False, False, False, False]  # n + 1 = m / alpha
    with pytest.warns(SeqaeWarning, match=r"unless 2 or more lie above .* at least 119 rows"):
        assert not threshold.flag([1e9, 0, 0, 0, 0, 0]).any()
    with pytest.warns(SeqaeWarning, match=r"unless 2 or more lie above"):
        assert threshold.flag([1e9, 1e9, 0, 0, 0, 0]).tolist() == [True, True, False, False, False, False]
    with pytest.warns(SeqaeWarning, match=r"even if all lie above"):
        assert not BenjaminiHochberg(np.arange(9.0), 0.05).flag([1e9, 1e9]).any()
    with pytest.warns(SeqaeWarning, match="Nothing can be flagged"):
        BenjaminiHochberg.calibrate(np.arange(9.0), 0.05)


# Adaptive


def follow_slowly(scores, threshold, alpha):
    """The tracker as its definition has it, one row after the other."""
    eta = PACE * (threshold.value - np.median(threshold.scores))
    limit, flags = threshold.value, []
    for score in scores:
        flags.append(bool(score > limit))
        if not np.isnan(score):
            limit = max(threshold.value, limit + eta * (flags[-1] - alpha))
    return flags, limit


def test_an_adaptive_limit_is_its_definition_row_by_row_and_in_parts():
    rng = np.random.default_rng(0)
    threshold = Adaptive(rng.gumbel(size=400), 0.02)
    scores = rng.gumbel(size=3000) + np.repeat([0, 4, 1], 1000)
    scores[rng.random(3000) < 0.1] = np.nan
    flags, limit = follow_slowly(scores, threshold, 0.02)
    assert threshold.flag(scores).tolist() == flags
    assert threshold.follow(scores, threshold.value)[1] == pytest.approx(limit)
    before, between = threshold.follow(scores[:1234], threshold.value)
    after, last = threshold.follow(scores[1234:], between)
    assert [*before, *after] == flags
    assert last == pytest.approx(limit)


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.floats(-50, 50), min_size=1, max_size=400),
    alpha=st.floats(0.01, 0.3),
)
def test_an_adaptive_limit_flags_no_more_than_it_promises_whatever_comes(scores, alpha):
    threshold = Adaptive(np.random.default_rng(1).standard_normal(200), alpha)
    most = alpha * len(scores) + max(max(scores) - threshold.value, 0) / threshold.pace + 1
    assert threshold.flag(scores).sum() <= most + 1e-9


def test_after_a_lasting_change_of_level_an_adaptive_limit_has_the_stated_rate_again():
    rng = np.random.default_rng(2)
    calibration = rng.standard_normal(2000)
    threshold, fixed = Adaptive(calibration, 0.01), Conformal(calibration, 0.01)
    assert threshold.value == fixed.value
    scores = rng.standard_normal(60_000) + np.where(np.arange(60_000) < 10_000, 0.0, 5.0)
    flags = threshold.flag(scores)
    assert flags[:10_000].mean() <= fixed.flag(scores[:10_000]).mean() <= 0.02
    assert fixed.flag(scores[10_000:]).mean() > 0.95
    assert flags[10_000:10_100].mean() > 0.9
    assert 0.008 < flags[12_000:].mean() < 0.012
    assert not Adaptive(np.arange(20.0), 0.01).flag([1e9] * 50).any()
    assert Adaptive(np.full(200, 3.0), 0.01).flag([4.0, 3.0]).tolist() == [True, False]
