from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import beta, betabinom, multivariate_normal, norm

from seqae.anomaly.thresholds.dependence import effective_number, expected_rate, rate_interval
from seqae.anomaly.thresholds.rules import Conformal


def autoregressive(n, phi, rng):
    return lfilter([1.0], [1.0, -phi], rng.standard_normal(n + 500) * np.sqrt(1 - phi**2))[500:]


def naive_effective(parts):
    """Return the effective number by double loops over the rows."""
    parts = [[value for value in part if not np.isnan(value)] for part in parts]
    everything = sorted(value for part in parts for value in part)
    n = len(everything)
    level = everything[n - max(1, round(n / 4))]
    share = sum(value >= level for value in everything) / n
    indicators = [[(value >= level) - share for value in part] for part in parts]
    covariances = []
    for lag in range(max(map(len, parts))):
        covariances.append(sum(x[i] * x[i + lag] for x in indicators for i in range(len(x) - lag)) / n)
    total, smallest, pairs = 0.0, np.inf, 0
    while 2 * pairs + 1 < len(covariances):
        pair = (covariances[2 * pairs] + covariances[2 * pairs + 1]) / covariances[0]
        if pair <= 0:
            break
        smallest = min(smallest, pair)
        total, pairs = total + smallest, pairs + 1
    time = (2 * total - 1) / max(1 - 4 * pairs / n, 0.1)
    return min(max(n / max(time, 1), 1), n)


@pytest.mark.parametrize("lengths", [[2], [7], [40], [41, 3, 1, 0], [25, 60, 25]])
def test_effective_number_is_the_naive_one(lengths):
    rng = np.random.default_rng(sum(lengths))
    for phi in (0.0, 0.7, 0.95):
        parts = [autoregressive(n, phi, rng) for n in lengths]
        if sum(lengths) > 10:
            parts[0][[1, 5]] = np.nan
        assert effective_number(parts) == pytest.approx(naive_effective(parts), rel=1e-9)


def test_independent_scores_are_worth_their_number():
    rng = np.random.default_rng(0)
    found = [effective_number([rng.standard_normal(2000)]) for _ in range(50)]
    assert max(found) == 2000
    assert np.median(found) > 1900


@pytest.mark.parametrize("repeats", [2, 10, 64])
def test_scores_that_repeat_are_worth_one_in_so_many(repeats):
    # ρ(k) = 1 − k / r, so that τ = r
    rng = np.random.default_rng(repeats)
    found = [effective_number([np.repeat(rng.standard_normal(1000), repeats)]) for _ in range(10)]
    assert np.median(found) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize("phi", [0.5, 0.9, 0.97])
def test_effective_number_of_an_autoregression(phi):
    """P(both above the 75 % quantile) of a bivariate normal pair gives ρ(k) of the indicator exactly."""
    level, time = norm.ppf(0.75), 1.0
    for lag in range(1, 400):
        rho = phi**lag
        if rho < 1e-4:
            break
        both = multivariate_normal.cdf([-level, -level], mean=[0, 0], cov=[[1, rho], [rho, 1]])
        time += 2 * (both - 0.0625) / (0.25 * 0.75)
    rng = np.random.default_rng(1)
    found = [effective_number([autoregressive(40_000, phi, rng)]) for _ in range(8)]
    assert np.mean(found) == pytest.approx(40_000 / time, rel=0.1)


def test_it_is_the_order_in_time_that_counts():
    rng = np.random.default_rng(2)
    scores = autoregressive(4000, 0.95, rng)
    assert effective_number([np.exp(scores)]) == effective_number([scores])  # and ranks alone
    assert effective_number([scores]) < 400
    assert effective_number([rng.permutation(scores)]) > 3500


def test_series_that_each_keep_their_own_level_are_worth_one_each():
    rng = np.random.default_rng(3)
    parts = [np.full(50, level) for level in rng.standard_normal(200)]
    assert effective_number(parts) == pytest.approx(200, rel=0.15)


@pytest.mark.parametrize(("parts", "expected"), [([], 0), ([[]], 0), ([[np.nan, 3.0]], 1), ([np.ones(90)], 1)])
def test_what_has_nothing_to_tell(parts, expected):
    assert effective_number(parts) == expected


def test_scores_of_which_most_are_equal():
    scores = np.zeros(1000)
    scores[[100, 500, 900]] = 1.0
    assert effective_number([scores]) > 900
    scores[100:200] = 1.0  # one burst
    assert effective_number([scores]) < 30


def test_interval_is_the_beta_law_of_conformal_coverage():
    for n, k in ((100, 1), (999, 10), (50, 12)):
        low, high = rate_interval(k / (n + 1), n)
        assert (low, high) == pytest.approx(beta(k, n + 1 - k).ppf([0.05, 0.95]))
        assert rate_interval(k / (n + 1), n, level=0.5) == pytest.approx(beta(k, n + 1 - k).ppf([0.25, 0.75]))
    assert rate_interval(0.001, 20) == pytest.approx(beta(1, 20).ppf([0.05, 0.95]))  # they do not see that far
    assert rate_interval(0, 20) == (0, 0)
    assert rate_interval(0.3, 1)[1] < 1
    assert (expected_rate(0.05, 99), expected_rate(0.001, 99), expected_rate(0, 99)) == (0.05, 0.01, 0)


def test_interval_for_a_stretch_has_the_moments_of_the_beta_binomial():
    for n, k, m in ((200, 20, 50), (40, 3, 500), (2000, 100, 2000)):
        peer = betabinom(m, k, n + 1 - k)
        mean, variance = peer.mean() / m, peer.var() / m**2
        size = mean * (1 - mean) / variance - 1
        low, high = rate_interval(k / (n + 1), n, ahead=m)
        assert high == pytest.approx(beta(mean * size, (1 - mean) * size).ppf(0.95), rel=1e-6)
        assert (low == 0) == (peer.pmf(0) >= 0.05)
        inside = peer.cdf(np.floor(high * m)) - peer.cdf(np.ceil(low * m) - 1)
        assert inside > 0.87
    assert rate_interval(0.05, 300, ahead=1e9) == pytest.approx(rate_interval(0.05, 300), rel=1e-3)


def test_intervals_hold_the_rate_of_independent_and_of_related_scores():
    rng = np.random.default_rng(4)
    for phi, n in ((0.0, 400), (0.9, 3000)):
        long_run, stretch = [], []
        for _ in range(400):
            scores = autoregressive(2 * n, phi, rng)
            threshold = Conformal(scores[:n], 0.05)
            effective, rate = effective_number([scores[:n]]), threshold.false_alarm_rate
            low, high = rate_interval(rate, effective)
            long_run.append(low <= norm.sf(threshold.value) <= high)
            low, high = rate_interval(rate, effective, ahead=effective)
            stretch.append(low <= threshold.flag(scores[n:]).mean() <= high)
        for held in (long_run, stretch):  # 0.9, and three standard errors
            assert 0.855 < np.mean(held) < 0.97
    # taken for independent, the related scores would promise far too much
    low, high = rate_interval(0.05, 3000)
    rates = [norm.sf(Conformal(autoregressive(3000, 0.9, rng), 0.05).value) for _ in range(100)]
    assert np.mean([low <= rate <= high for rate in rates]) < 0.6


@pytest.mark.parametrize("lengths", [(300,), (120, 7, 250)])
def test_few_lags_and_rows_at_a_time_give_the_same_number(lengths, monkeypatch):
    """Slow scores, so that the first lags do not settle it."""
    rng = np.random.default_rng(1)
    parts = [autoregressive(n, 0.97, rng) for n in lengths]
    expected = effective_number(parts)
    monkeypatch.setattr("seqae.anomaly.thresholds.dependence.LAGS", 4)
    monkeypatch.setattr("seqae.anomaly.thresholds.dependence.BLOCK", 16)
    assert effective_number(parts) == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(naive_effective(parts), rel=1e-9)
