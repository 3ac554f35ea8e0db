"""Densities and intervals against scipy."""

import numpy as np
import pytest
import torch
from scipy import stats

from seqae.errors import DataError
from seqae.nn.densities import LogisticLevels
from seqae.nn.likelihoods import (
    LIKELIHOODS,
    SMALLEST_SCALE,
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    NormalFixed,
    NormalShared,
)


def made(name, channels=2, seed=0):
    torch.manual_seed(seed)
    likelihood = LIKELIHOODS[name](channels)
    for parameter in likelihood.parameters():
        torch.nn.init.normal_(parameter)
    location = torch.randn(3, 4, channels)
    extra = torch.randn(3, 4, channels, likelihood.extras) if likelihood.extras else None
    return likelihood, likelihood(location, extra), location


def oracle(name, distribution):
    loc = distribution.loc.detach().double().numpy()
    scale = distribution.scale.detach().double().numpy()
    if name == "student_t":
        return stats.t(distribution.df.detach().double().numpy(), loc, scale)
    return (stats.laplace if name == "laplace" else stats.norm)(loc, scale)


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if not LIKELIHOODS[name].unit])
def test_density_mean_and_interval_are_scipys(name):
    likelihood, distribution, location = made(name)
    truth = oracle(name, distribution)
    x = torch.randn(3, 4, 2)
    np.testing.assert_allclose(
        distribution.log_prob(x).detach().numpy(), truth.logpdf(x.double().numpy()), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(distribution.mean.detach().numpy(), location.numpy(), rtol=1e-6)
    for level in (0.5, 0.95):
        low, high = likelihood.interval(distribution, level)
        np.testing.assert_allclose(truth.cdf(high.detach().double().numpy()), 0.5 + level / 2, atol=1e-5)
        np.testing.assert_allclose(truth.cdf(low.detach().double().numpy()), 0.5 - level / 2, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if not LIKELIHOODS[name].unit])
def test_densities_and_their_gradients_are_pytorchs_own(name):
    likelihood, distribution, _ = made(name)
    x, weights = torch.randn(3, 4, 2), list(likelihood.parameters())
    own = type(distribution).__mro__[1]
    expected = own(**{key: getattr(distribution, key) for key in own.arg_constraints}).log_prob(x)
    torch.testing.assert_close(distribution.log_prob(x), expected)
    torch.testing.assert_close(distribution.expand((5, 3, 4, 2)).log_prob(x), expected.expand(5, 3, 4, 2))
    if weights:
        found, truth = (
            torch.autograd.grad(each.sum(), weights, retain_graph=True) for each in (distribution.log_prob(x), expected)
        )
        torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name != "discretized_logistic"])
def test_samples_have_the_mean(name):
    _, distribution, _ = made(name)
    torch.manual_seed(1)
    draws = distribution.sample((20_000,))
    spread = draws.std(0) / 20_000**0.5
    assert ((draws.mean(0) - distribution.mean).abs() < 6 * spread + 1e-6).all()


def test_scale_is_the_exponential_well_above_the_floor_and_never_below_it():
    likelihood = LIKELIHOODS["normal"](1)
    for raw, expected in ((0.0, 1.0), (1.0, np.e), (-100.0, SMALLEST_SCALE)):
        torch.nn.init.constant_(likelihood.log_scale, raw)
        scale = likelihood(torch.zeros(1, 1, 1), None).scale.item()
        assert scale == pytest.approx(expected, rel=2e-3)


def test_the_learned_sigma_of_a_fit_is_the_root_mean_square_error():
    torch.manual_seed(0)
    likelihood, x = LIKELIHOODS["normal"](1), 0.3 * torch.randn(500, 4, 1)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-likelihood(torch.zeros_like(x), None).log_prob(x).mean()).backward()
        optimizer.step()
    assert likelihood(x, None).scale[0, 0, 0].item() == pytest.approx(x.square().mean().sqrt().item(), rel=1e-3)


def test_bernoulli_is_the_cross_entropy_and_refuses_the_rest():
    distribution = Bernoulli(1)(torch.tensor([[[0.7]]]), None)
    p = 1 / (1 + np.exp(-0.7))
    for x in (0.0, 0.25, 1.0):
        expected = x * np.log(p) + (1 - x) * np.log(1 - p)
        assert distribution.log_prob(torch.full((1, 1, 1), x)).item() == pytest.approx(expected, rel=1e-5)
    for x in (-0.01, 1.01):
        with pytest.raises(DataError, match="minmax"):
            distribution.log_prob(torch.full((1, 1, 1), x))


def test_bernoulli_interval_is_its_quantiles():
    likelihood = Bernoulli(1)
    for p in (0.001, 0.3, 0.999):
        low, high = likelihood.interval(likelihood(torch.logit(torch.tensor([[[p]]])), None), 0.95)
        assert (low.item(), high.item()) == (stats.bernoulli(p).ppf(0.025), stats.bernoulli(p).ppf(0.975))


def test_fixed_sigma_is_squared_error():
    likelihood = NormalFixed(1, sigma=2.0)
    distribution, x = likelihood(torch.zeros(1, 3, 1), None), torch.tensor([[[0.0], [1.0], [2.0]]])
    constant = 0.5 * np.log(2 * np.pi) + np.log(2.0)
    np.testing.assert_allclose(-distribution.log_prob(x), x**2 / 8 + constant, rtol=1e-6)
    assert likelihood.arguments() == {"sigma": 2.0}
    assert not list(likelihood.parameters())


def test_shared_sigma_is_one_for_all():
    likelihood = NormalShared(5)
    torch.nn.init.constant_(likelihood.log_scale, np.log(0.2))
    assert likelihood.log_scale.numel() == 1
    distribution, x = likelihood(torch.zeros(1, 2, 5), None), torch.full((1, 2, 5), 0.1)
    np.testing.assert_allclose(
        distribution.log_prob(x).detach(), stats.norm(0, distribution.scale[0, 0, 0].item()).logpdf(0.1), rtol=1e-5
    )


@pytest.mark.parametrize("logit", [-4.0, -0.5, 0.001, 2.0])
def test_continuous_bernoulli_is_the_density_of_its_paper(logit):
    # Loaiza-Ganem & Cunningham 2019, eq. 8: p(x) = C λ^x (1 − λ)^(1 − x), C = 2 atanh(1 − 2λ) / (1 − 2λ)
    rate = 1 / (1 + np.exp(-logit))
    constant = 2 * np.arctanh(1 - 2 * rate) / (1 - 2 * rate)
    likelihood = ContinuousBernoulli(1)
    distribution = likelihood(torch.tensor([[[logit]]]), None)
    grid = np.linspace(0, 1, 2001)
    density = np.array([distribution.log_prob(torch.full((1, 1, 1), x)).exp().item() for x in grid[::100]])
    np.testing.assert_allclose(density, constant * rate ** grid[::100] * (1 - rate) ** (1 - grid[::100]), rtol=1e-3)
    truth = constant * rate**grid * (1 - rate) ** (1 - grid)
    assert distribution.mean.item() == pytest.approx(np.trapezoid(grid * truth, grid), abs=1e-4)
    low, high = likelihood.interval(distribution, 0.9)
    between = (grid >= low.item()) & (grid <= high.item())
    assert np.trapezoid(truth[between], grid[between]) == pytest.approx(0.9, abs=2e-3)
    with pytest.raises(DataError, match=r"continuous Bernoulli likelihood needs values in \[0, 1\]"):
        distribution.log_prob(torch.full((1, 1, 1), 1.5))


@pytest.mark.parametrize(("loc", "scale"), [(0.5, 0.05), (-0.3, 0.2), (1.2, 0.002), (0.31, 0.9)])
def test_the_levels_of_a_discretized_logistic_are_scipys_and_sum_to_one(loc, scale):
    levels = torch.arange(256)[:, None, None].double() / 255
    distribution = LogisticLevels(torch.full_like(levels, loc), torch.full_like(levels, scale), 256)
    found = distribution.log_prob(levels).flatten().numpy()
    edges = (np.arange(257) - 0.5) / 255
    edges[0], edges[-1] = -np.inf, np.inf
    truth = stats.logistic(loc, scale)
    expected = truth.cdf(edges[1:]) - truth.cdf(edges[:-1])
    some = expected > 1e-9
    np.testing.assert_allclose(np.exp(found)[some], expected[some], rtol=1e-5)
    assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-9)
    assert np.isfinite(found).all()
    for share in (0.025, 0.5, 0.975):
        level = round(float(distribution.quantile(share)[0]) * 255)
        assert expected[: level + 1].sum() >= share - 1e-9
        assert expected[:level].sum() < share + 1e-9


def test_a_discretized_logistic_draws_its_levels_and_refuses_what_is_none():
    likelihood = DiscretizedLogistic(1)
    assert likelihood.arguments() == {"levels": 256}
    assert likelihood.discrete
    distribution = likelihood(torch.full((1, 1, 1), 0.02), torch.full((1, 1, 1, 1), np.log(0.01)))
    torch.manual_seed(0)
    draws = distribution.sample((40_000,)).flatten().double() * 255
    np.testing.assert_allclose(draws, draws.round(), atol=1e-4)
    seen = np.bincount(draws.round().long(), minlength=256) / len(draws)
    levels = (torch.arange(256) / 255)[:, None, None]
    expected = LogisticLevels(distribution.loc.expand(256, 1, 1), distribution.scale.expand(256, 1, 1), 256).log_prob(
        levels
    )
    assert np.abs(seen - expected.exp().flatten().detach().numpy()).max() < 0.01
    for value, words in ((0.5 / 255, "multiples of 1/255"), (1.1, r"\[0, 1\]")):
        with pytest.raises(DataError, match=words):
            distribution.log_prob(torch.full((1, 1, 1), value))
