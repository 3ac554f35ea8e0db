from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import expon, genpareto

from seqae.anomaly.thresholds.pareto import LEAST_SHAPE, Pareto, fit_pareto
from seqae.errors import DataError

SHAPES = (-0.5, -0.2, 0.0, 0.3, 1.5)


def test_quantile_golden():
    # t=1, σ=.5, n=10⁴, N=200, q=1e−4
    r = 1e-4 * 1e4 / 200
    assert 1 + Pareto(0.1, 0.5).quantile(r) == pytest.approx(4.4932323232, abs=1e-10)
    assert 1 + Pareto(0.0, 0.5).quantile(r) == pytest.approx(3.6491586833, abs=1e-10)
    for tiny in (1e-7, 1e-9, -1e-9, 1e-12, 5e-324):  # the series and the formula meet
        expected = 0.5 * -math.log(r) * (1 + tiny * -math.log(r) / 2)
        assert Pareto(tiny, 0.5).quantile(r) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_law_is_scipys_and_quantile_inverts_survival(shape):
    law, peer = Pareto(shape, 3.0), genpareto(shape, scale=3.0)
    y = np.array([0.0, 1e-12, 0.1, 1.0, 5.9])
    assert law.survival(y) == pytest.approx(peer.sf(y), rel=1e-12)
    assert law.log_likelihood(y) == pytest.approx(peer.logpdf(y).sum(), rel=1e-12)
    for probability in (1.0, 0.5, 1e-3, 1e-12):
        assert law.quantile(probability) == pytest.approx(peer.isf(probability), rel=1e-9)
        assert law.survival(law.quantile(probability)) == pytest.approx(probability, rel=1e-6)
    assert np.isnan(law.survival(np.nan))


@pytest.mark.parametrize("shape", [1e-6, 1e-9, -1e-9, 1e-13])
def test_near_the_exponential_law_nothing_is_lost(shape):
    y = np.array([1e-9, 0.5, 4.0, 30.0])
    assert Pareto(shape, 2.0).survival(y) == pytest.approx(expon.sf(y, scale=2.0), rel=3e-4 if shape == 1e-6 else 1e-6)
    assert Pareto(shape, 2.0).log_likelihood(y) == pytest.approx(expon.logpdf(y, scale=2.0).sum(), rel=1e-4)


def test_a_short_tail_ends():
    law = Pareto(-0.5, 1.0)  # at 2
    assert law.survival([1.9, 2.0, 50.0]).tolist() == pytest.approx([0.0025, 0, 0])
    assert law.log_likelihood([2.1]) == -math.inf


@pytest.mark.parametrize("n", [1, 3, 30, 400])
def test_no_law_is_more_likely_than_the_fitted_one(n):
    rng = np.random.default_rng(n)
    for shape in (-0.9, -0.4, 0.0, 0.4, 1.3):
        y = genpareto.rvs(shape, scale=10.0 ** rng.integers(-4, 5), size=n, random_state=rng)
        law = fit_pareto(y)
        assert law.shape >= LEAST_SHAPE
        best = law.log_likelihood(y)
        assert math.isfinite(best)
        # scipy's own search, where it stays within the bound
        peer, _, scale = genpareto.fit(y, floc=0)
        if peer >= LEAST_SHAPE and n > 3:
            assert best >= genpareto.logpdf(y, peer, 0, scale).sum() - 1e-7 * n
        # a grid over both parameters
        for other in np.linspace(-0.5, 3, 36):
            for factor in np.geomspace(0.05, 20, 60):
                assert Pareto(other, y.mean() * factor).log_likelihood(y) <= best + 1e-9 * n
        # right beside it
        for one in (law.shape - 1e-4, law.shape, law.shape + 1e-4):
            for factor in (1 - 1e-4, 1, 1 + 1e-4):
                if one >= LEAST_SHAPE:
                    assert Pareto(one, law.scale * factor).log_likelihood(y) <= best + 1e-9 * n


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.25, 0.8])
def test_parameters_are_recovered_within_their_asymptotic_errors(shape):
    n = 20_000
    law = fit_pareto(genpareto.rvs(shape, scale=7.0, size=n, random_state=11))
    assert abs(law.shape - shape) < 4 * (1 + shape) / math.sqrt(n)  # Smith 1987
    assert abs(law.scale / 7 - 1) < 4 * math.sqrt(2 * (1 + shape) / n)


def test_units_do_not_matter():
    y = np.random.default_rng(1).gamma(2.0, size=100)
    one, other = fit_pareto(y), fit_pareto(y * 1e-30)
    assert other.shape == pytest.approx(one.shape, abs=1e-6)
    assert other.scale == pytest.approx(one.scale * 1e-30, rel=1e-6)


def test_equal_excesses_have_a_law():
    # with ξ = −½ the log likelihood of y = c is −log σ + log(1 − c / 2σ), highest at σ = c
    law = fit_pareto([4.0] * 30)
    assert law.shape == LEAST_SHAPE
    assert law.scale == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("excesses", [[], [1.0, 0.0], [1.0, -2.0], [1.0, np.nan], [np.inf]])
def test_what_is_no_excess_is_refused(excesses):
    with pytest.raises(DataError, match="above 0"):
        fit_pareto(excesses)
