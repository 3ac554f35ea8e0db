from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn

from seqae.errors import DataError, OptionError
from seqae.generative.quality import discriminative_score, generation_report, marginal_difference, predictive_score

QUICK = {"iterations": 50, "batch_size": 32, "hidden": 12}


def sines(n, seed, steps=8, channels=2):
    rng = np.random.default_rng(seed)
    speed, phase = rng.uniform(0.3, 1.0, (n, 1, channels)), rng.uniform(0, 2 * np.pi, (n, 1, channels))
    return np.sin(speed * np.arange(steps)[:, None] + phase)


def autoregressive(n, seed, phi=0.9, steps=10, channels=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, steps, channels))
    x[:, 0] /= np.sqrt(1 - phi**2)
    for t in range(1, steps):
        x[:, t] += phi * x[:, t - 1]
    return x


# ---- told apart ----


def test_windows_from_one_distribution_cannot_be_told_apart():
    found = discriminative_score(sines(1500, 0), sines(1500, 1), iterations=25, batch_size=32, hidden=8)
    assert found.score < 0.1
    assert found.baseline < 0.12
    assert found.accuracy == pytest.approx((found.real + found.synthetic) / 2)
    assert found.score == pytest.approx(abs(found.accuracy - 0.5))


def test_one_distribution_scores_as_a_coin_does():
    """.28 / √n in the mean, which is what the docstring says: here n = 40 tested windows of either kind."""
    n = 40
    coin = Fraction(sum(abs(k - n) * binomial(2 * n, k) for k in range(2 * n + 1)), 2 * n * 4**n)
    assert float(coin) == pytest.approx(0.282 / np.sqrt(n), rel=0.01)
    scores = [
        discriminative_score(
            sines(200, 2 * k), sines(200, 2 * k + 1), iterations=5, batch_size=16, hidden=4, seed=k
        ).score
        for k in range(9)
    ]
    assert np.mean(scores) < 2 * float(coin)


def binomial(n, k):
    result = 1
    for i in range(k):
        result = result * (n - i) // (i + 1)
    return result


@pytest.mark.parametrize(
    "fake",
    [
        lambda real, rng: np.full_like(real, real.mean()),
        lambda real, rng: rng.uniform(real.min(), real.max(), real.shape),
        lambda real, rng: real[:, rng.permutation(real.shape[1])],
        lambda real, rng: real[rng.integers(len(real), size=len(real))] + 5.0,
    ],
    ids=["constant", "noise", "time permuted", "shifted"],
)
def test_what_is_wrong_is_found(fake):
    """Constants aside, the values themselves are right or nearly so: it takes the order in time to find it."""
    found = discriminative_score(sines(300, 0), fake(sines(300, 1), np.random.default_rng(2)), **QUICK)
    assert found.score > 0.4
    assert min(found.real, found.synthetic) > 0.8


def test_kinds_weigh_the_same_whatever_their_numbers():
    """Half of the synthetic windows are right: 1/4 of all are recognised beyond chance, and 1/4 is the score."""
    mixed = np.concatenate([sines(1000, 1), np.zeros((1000, 8, 2))])
    found = discriminative_score(sines(200, 0), mixed[np.random.default_rng(0).permutation(2000)], **QUICK)
    assert found.score == pytest.approx(0.25, abs=0.1)
    assert found.score == pytest.approx(abs(found.real + found.synthetic - 1) / 2)


def test_constants_that_agree_are_a_coin_exactly():
    """One answer for all windows recognises one kind always and the other never."""
    found = discriminative_score(np.ones((30, 4, 1)), np.ones((50, 4, 1)), iterations=2)
    assert found.accuracy == 0.5
    assert found.score == 0
    assert found.baseline == 0
    assert {found.real, found.synthetic} == {0.0, 1.0}


def test_a_copy_is_not_seen():
    """What the module says that it cannot do."""
    real = sines(1000, 0)
    assert discriminative_score(real, real.copy(), **QUICK).score < 0.15


# ---- learned from ----


@pytest.mark.parametrize("phi", [0.9, 0.5])
def test_predictions_from_the_own_past_reach_what_is_possible(phi):
    """x_t = φ x_{t-1} + e: the best prediction is φ x_{t-1}, with the mean error √(2/π); a constant's is that of x."""
    real = autoregressive(600, 0, phi)
    found = predictive_score(real, autoregressive(600, 1, phi), iterations=50, batch_size=32)
    width = real.max() - real.min()
    best = np.sqrt(2 / np.pi) / width
    assert found.baseline == pytest.approx(best, rel=0.1)
    assert found.score == pytest.approx(best, rel=0.1)
    assert found.constant == pytest.approx(best / np.sqrt(1 - phi**2), rel=0.1)


def test_the_last_channel_is_predicted_from_the_others():
    """It repeats the first a step later: to be learned without error, though its own past tells nothing."""
    rng = np.random.default_rng(0)

    def windows():
        first = rng.uniform(size=(400, 7, 1))
        return np.concatenate([first[:, 1:], first[:, :-1]], axis=2)

    found = predictive_score(windows(), windows(), iterations=90, batch_size=32)
    assert found.constant == pytest.approx(0.25, abs=0.025)
    assert found.baseline < 0.05
    assert found.score < 0.05
    own = predictive_score(windows()[..., ::-1], windows()[..., ::-1], iterations=40, batch_size=32)
    assert own.baseline == pytest.approx(own.constant, rel=0.1)  # a step ahead of the other: out of reach


def test_noise_teaches_nothing():
    real = autoregressive(400, 0)
    noise = np.random.default_rng(1).normal(0, real.std(), real.shape)
    found = predictive_score(real, noise, iterations=50, batch_size=32)
    assert found.score > 1.8 * found.baseline
    assert found.score == pytest.approx(found.constant, rel=0.1)  # the median is the best that noise can teach


def test_real_windows_in_another_order_teach_the_same():
    real = autoregressive(400, 0)
    found = predictive_score(real, np.random.default_rng(3).permutation(real), iterations=50, batch_size=32)
    assert found.score == pytest.approx(found.baseline, rel=0.1)


def test_the_baselines_do_not_depend_on_what_was_generated():
    real, one, other = sines(60, 0), sines(60, 1), np.zeros((90, 8, 2))
    for score in (discriminative_score, predictive_score):
        found = [score(real, synthetic, iterations=3, seed=5) for synthetic in (one, other)]
        assert found[0].baseline == found[1].baseline
        assert found[0].score != found[1].score


# ---- both ----


@pytest.mark.parametrize("score", [discriminative_score, predictive_score])
def test_units_do_not_matter(score):
    """Real minimum and maximum, channel by channel, scale both."""
    real, synthetic, unit = sines(40, 0), 0.5 * sines(40, 1), np.array([1024.0, 2.0**-30])
    plain = score(real, synthetic, iterations=3)
    assert score(real * unit, synthetic * unit, iterations=3) == plain
    assert score(real + 2.0**20, synthetic + 2.0**20, iterations=3) == pytest.approx(plain, abs=0.02)
    assert score(real, synthetic * unit, iterations=3) != plain


@pytest.mark.parametrize("score", [discriminative_score, predictive_score])
def test_the_seed_settles_it_and_nothing_of_the_caller_moves(score):
    real, synthetic = sines(40, 0), sines(40, 1)
    torch.manual_seed(77)
    random.seed(77)
    np.random.seed(77)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    kept = real.copy(), synthetic.copy()
    first = score(real, synthetic, iterations=5, seed=3)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert all(np.array_equal(a, b) for a, b in zip(before[2], after[2], strict=True))
    assert np.array_equal(real, kept[0])
    assert np.array_equal(synthetic, kept[1])
    torch.manual_seed(78)
    assert score(real, synthetic, iterations=5, seed=3) == first
    assert score(real, synthetic, iterations=5, seed=4) != first


@pytest.mark.parametrize("score", [discriminative_score, predictive_score])
def test_it_does_not_matter_in_what_mode_it_is_called(score):
    real, synthetic = sines(40, 0).astype(np.float32), sines(40, 1).astype(np.float32)
    plain = score(real, synthetic, iterations=5)
    grown = torch.from_numpy(synthetic).requires_grad_()
    assert score(torch.from_numpy(real), grown, iterations=5) == plain
    assert score(real.tolist(), synthetic.astype(np.float64), iterations=5) == plain
    with torch.inference_mode():
        assert score(real, synthetic, iterations=5) == plain
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        assert score(real, synthetic, iterations=5) == plain
    torch.set_default_dtype(torch.float64)
    try:
        assert score(real, synthetic, iterations=5) == plain
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_networks_are_the_ones_that_are_described(monkeypatch):
    """Two layers; 2 C units between 16 and 64, or as told; the predictor does not see the last channel."""
    made = []

    class Spy(nn.GRU):
        def __init__(self, channels, hidden, **options):
            made.append((channels, hidden, options["num_layers"]))
            super().__init__(channels, hidden, **options)

    monkeypatch.setattr(nn, "GRU", Spy)
    for channels, hidden, expected in [(3, None, 16), (10, None, 20), (50, None, 64), (1, 5, 5)]:
        made.clear()
        windows = np.random.default_rng(0).normal(size=(20, 3, channels))
        discriminative_score(windows, windows, iterations=1, hidden=hidden)
        predictive_score(windows, windows, iterations=1, hidden=hidden)
        assert made == [(channels, expected, 2)] * 2 + [(max(channels - 1, 1), expected, 2)] * 2


# ---- only counted ----


def naive_kolmogorov(one, other):
    return max(abs(np.mean(one <= v) - np.mean(other <= v)) for v in [*one, *other])


def naive_autocorrelation(windows, lag):
    deviations = windows - windows.mean()
    pairs = [w[t] * w[t + lag] for w in deviations for t in range(windows.shape[1] - lag)]
    return np.mean(pairs) / windows.var()


@pytest.mark.parametrize("steps", [2, 7, 10])
def test_the_differences_are_those_of_the_definitions(steps):
    rng = np.random.default_rng(steps)
    real, synthetic = rng.normal(size=(9, steps, 3)).cumsum(axis=1) + 1e4, rng.integers(0, 4, (5, steps, 3))
    found = marginal_difference(real, synthetic)
    assert found.autocorrelation.shape == (3, steps // 2)
    for c in range(3):
        one, other = real[..., c], synthetic[..., c]
        assert found.kolmogorov[c] == naive_kolmogorov(one.ravel(), other.ravel())
        assert found.kolmogorov[c] == pytest.approx(ks_2samp(one.ravel(), other.ravel()).statistic, abs=1e-12)
        for lag in range(1, steps // 2 + 1):
            expected = abs(naive_autocorrelation(one, lag) - naive_autocorrelation(other, lag))
            assert found.autocorrelation[c, lag - 1] == pytest.approx(expected, abs=1e-10)


def test_the_differences_of_known_processes():
    """φ^k - ψ^k for autoregressive ones; a level per window has 1 at all lags; uniform on [0, 1] and [.3, 1.3]: .3."""
    real, other = autoregressive(20000, 0, 0.9, 10), autoregressive(20000, 1, 0.5, 10)
    lags = np.arange(1, 6)
    np.testing.assert_allclose(marginal_difference(real, other).autocorrelation[0], 0.9**lags - 0.5**lags, atol=0.02)
    rng = np.random.default_rng(2)
    level, noise = np.repeat(rng.uniform(size=(20000, 1, 1)), 8, axis=1), rng.uniform(size=(20000, 8, 1)) + 0.3
    found = marginal_difference(level, noise)
    np.testing.assert_allclose(found.autocorrelation, 1, atol=0.02)
    np.testing.assert_allclose(found.kolmogorov, 0.3, atol=0.01)


def test_the_same_values_do_not_differ_and_far_ones_differ_by_1():
    real = sines(30, 0)
    assert np.array_equal(marginal_difference(real, real[::-1]).kolmogorov, [0, 0])
    np.testing.assert_allclose(marginal_difference(real, real[::-1]).autocorrelation, 0, atol=1e-12)
    assert np.array_equal(marginal_difference(real, real + 9).kolmogorov, [1, 1])
    np.testing.assert_allclose(marginal_difference(real, 1e-200 * real).autocorrelation, 0, atol=1e-12)
    np.testing.assert_allclose(marginal_difference(real, 1e200 * real).autocorrelation, 0, atol=1e-12)


def test_a_constant_has_no_autocorrelation():
    real = sines(30, 0)
    flat = real.copy()
    flat[..., 1] = 0.1
    found = marginal_difference(real, flat).autocorrelation
    assert np.isnan(found[1]).all()
    assert np.array_equal(found[0], np.zeros(4))


# ---- the report ----


def test_the_report_is_the_mean_and_deviation_of_the_scores():
    real, synthetic = sines(40, 0), sines(50, 1) ** 3
    chosen = {"iterations": 4, "batch_size": 16, "hidden": 6}
    report = generation_report(real, synthetic, seed=8, repeats=3, **chosen)
    assert set(report) == {"discriminative", "predictive", "kolmogorov", "autocorrelation"}
    for name, score in (("discriminative", discriminative_score), ("predictive", predictive_score)):
        found = [score(real, synthetic, seed=seed, **chosen) for seed in (8, 9, 10)]
        assert list(report[name]) == list(found[0]._fields)
        for field, figures in report[name].items():
            values = [getattr(one, field) for one in found]
            mean = sum(values) / 3
            deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
            assert figures == pytest.approx({"mean": mean, "sd": deviation})
    difference = marginal_difference(real, synthetic)
    assert report["kolmogorov"] == difference.kolmogorov.tolist()
    assert report["autocorrelation"] == pytest.approx([np.mean(lags) for lags in difference.autocorrelation])


# ---- what is refused ----

SCORES = [discriminative_score, predictive_score, marginal_difference, generation_report]


@pytest.mark.parametrize("score", SCORES)
def test_data_that_cannot_be_used_are_refused_with_a_cure(score):
    good = sines(40, 0)
    holed, endless = good.copy(), good.copy()
    holed[[3, 7], 2, 1] = np.nan
    endless[5, 0, 0] = np.inf
    ragged = [[[1.0]], [[1.0], [2.0]]]
    for real, synthetic, message in [
        (good, holed, "2 of 40 synthetic windows hold missing or infinite values. Leave them out or fill them"),
        (endless, good, "1 of 40 real windows hold missing or infinite values"),
        (good, good[:, :5], "real windows are 8 steps of 2 channel.s., synthetic ones 5 of 2; both must be alike"),
        (good, good[..., :1], "8 steps of 2 channel.s., synthetic ones 8 of 1"),
        (good[0], good, r"real has the shape \(8, 2\). Give windows \(N, T, C\)"),
        (good[:, :1], good[:, :1], "at least 2 steps"),
        (good[..., :0], good[..., :0], r"real has the shape \(40, 8, 0\)"),
        (good, good[:0], "synthetic has 0 window.s.; .* Give more"),
        (good, ragged, "synthetic is no array of numbers"),
        (good, "windows", "synthetic is no array of numbers"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            score(real, synthetic)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", [discriminative_score, predictive_score])
def test_too_few_windows_and_a_generator_that_diverged_are_refused(score):
    with pytest.raises(DataError, match=r"real has 19 window.s.; 20 are needed at least"):
        score(sines(19, 0), sines(40, 1))
    with pytest.raises(DataError, match=r"synthetic has 19 window.s.; 20 are needed at least"):
        score(sines(40, 0), sines(19, 1))
    assert np.isfinite(score(sines(20, 0), 1e14 * sines(20, 1), iterations=3)).all()
    for size in (1e17, 1e305):
        with pytest.raises(DataError, match=r"real ranges away.* has diverged. Train it anew"):
            score(1e-9 * sines(40, 0), size * sines(40, 1))


@pytest.mark.parametrize("score", [discriminative_score, predictive_score, generation_report])
@pytest.mark.parametrize(
    ("name", "value"),
    [("iterations", 0), ("iterations", 2.5), ("batch_size", 0), ("hidden", 0), ("seed", -1), ("seed", None)],
)
def test_settings_that_make_no_sense_are_refused(score, name, value):
    with pytest.raises(OptionError, match=f"{name} must be a whole number of at least .*got {value}"):
        score(sines(20, 0), sines(20, 1), **{name: value})


def test_one_repeat_has_no_deviation():
    with pytest.raises(OptionError, match="repeats must be a whole number of at least 2; got 1"):
        generation_report(sines(20, 0), sines(20, 1), repeats=1)
