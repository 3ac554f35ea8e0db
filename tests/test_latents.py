"""Closed forms against Monte Carlo, and the priors."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from seqae.errors import OptionError
from seqae.nn.latents import ConditionalPrior, LatentState, NormalLatent, PointLatent, StandardPrior, normal_kl


def test_kl_closed_form_by_hand():
    # ½(μ² + σ² − log σ² − 1) at μ = 1, σ² = e: ½(1 + e − 1 − 1)
    assert normal_kl(torch.tensor(1.0), torch.tensor(1.0)).item() == pytest.approx(0.5 * (torch.e - 1.0))
    assert normal_kl(torch.tensor(0.0), torch.tensor(0.0)).item() == 0.0


def test_kl_against_monte_carlo_and_torch():
    torch.manual_seed(0)
    mean, log_var, prior_mean, prior_log_var = torch.randn(4, 6, dtype=torch.float64)
    q, p = Normal(mean, (0.5 * log_var).exp()), Normal(prior_mean, (0.5 * prior_log_var).exp())
    z = q.sample((400_000,))
    closed = normal_kl(mean, log_var, prior_mean, prior_log_var)
    draws = q.log_prob(z) - p.log_prob(z)
    assert ((draws.mean(0) - closed).abs() < 5 * draws.std(0) / 400_000**0.5).all()
    torch.testing.assert_close(closed, kl_divergence(q, p))
    standard = q.log_prob(z) - Normal(torch.zeros(6, dtype=torch.float64), 1.0).log_prob(z)
    assert ((standard.mean(0) - normal_kl(mean, log_var)).abs() < 5 * standard.std(0) / 400_000**0.5).all()


def test_samples_have_the_stated_moments():
    """σ is exp(½ log_var): reading the head as log σ, or noise scaled by the variance, fails here."""
    generator = torch.Generator().manual_seed(0)
    state = LatentState(torch.tensor([[1.0, -2.0]]).expand(200_000, 2), torch.tensor([[1.2, -1.0]]).expand(200_000, 2))
    z = state.sample(generator)
    torch.testing.assert_close(z.mean(0), state.mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), state.log_var[0].exp(), rtol=0.02, atol=0)


def test_gradients_pass_through_the_sample():
    mean, log_var = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1, requires_grad=True)
    generator = torch.Generator().manual_seed(3)
    z = LatentState(mean, log_var).sample(generator)
    epsilon = torch.randn(1, 1, generator=torch.Generator().manual_seed(3))
    z.backward()
    assert mean.grad.item() == 1.0
    assert log_var.grad.item() == pytest.approx(0.5 * epsilon.item())  # d/d log σ² of σ ε at σ = 1


def test_a_point_has_no_divergence_and_is_its_own_sample():
    latent = PointLatent(3, 2)
    state = latent(torch.randn(5, 3), None)
    assert state.sample() is state.mean
    assert not state.kl().any()
    with pytest.raises(OptionError, match="Train a VAE or CVAE"):
        latent.prior(3, None)


def test_conditional_prior_starts_at_the_standard_one_and_can_leave_it():
    torch.manual_seed(0)
    prior = ConditionalPrior(latent=2, summary=6)
    latent = NormalLatent(3, 2, prior)
    features, summary = torch.randn(5, 3), torch.randn(5, 6)
    state = latent(features, summary)
    plain = LatentState(state.mean, state.log_var)
    torch.testing.assert_close(state.kl(), plain.kl())
    torch.nn.init.normal_(prior.network[-1].weight)
    moved = latent(features, summary)
    q, p = Normal(moved.mean, (0.5 * moved.log_var).exp()), Normal(moved.prior_mean, (0.5 * moved.prior_log_var).exp())
    torch.testing.assert_close(moved.kl(), kl_divergence(q, p))
    assert not torch.allclose(moved.kl(), plain.kl())
    torch.testing.assert_close(latent.prior(5, summary).mean, moved.prior_mean)


def test_conditional_prior_needs_a_condition():
    with pytest.raises(OptionError, match="needs a condition"):
        ConditionalPrior(latent=2, summary=0)
    state = NormalLatent(3, 2, StandardPrior(2, 0)).prior(4, None)
    assert state.mean.shape == (4, 2)
    assert not state.mean.any()
    assert not state.log_var.any()
