"""Bounds, bits, active units and mutual information against what is known exactly."""

import math

import numpy as np
import pytest
import torch
from linear import optimal_vae

import seqae
from seqae.errors import DataError, OptionError
from seqae.generative.bounds import evaluate, mutual_information
from seqae.nn.latents import LatentState, normal_kl
from seqae.objectives import Objective, iwae, log_weights
from seqae.windows import Batch, WindowSet


class Rows:
    """Windows of one step size, as `evaluate` takes them, in double."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def to(self, device):
        return self

    def blocks(self, size):
        for low in range(0, len(self.x), size):
            x = self.x[low : low + size]
            yield torch.arange(low, low + len(x)), Batch(x, torch.ones_like(x, dtype=torch.bool))


def test_at_the_true_posterior_every_weight_is_the_marginal_likelihood():
    model, data, log_likelihood = optimal_vae()
    x = torch.from_numpy(data)[..., None]
    batch = Batch(x, torch.ones_like(x, dtype=torch.bool))
    with torch.no_grad():
        weights, _ = log_weights(model, batch, model.posterior(x), 7, torch.Generator().manual_seed(0))
    assert weights.std(0).max() < 1e-2  # log_scale's soft floor moves σ by less than 0.1 %
    assert weights.mean().item() == pytest.approx(log_likelihood, abs=2e-3)
    found = evaluate(model, Rows(x), samples=(1, 4))
    assert found.bounds[4] == pytest.approx(log_likelihood, abs=2e-3)
    assert found.elbo == pytest.approx(log_likelihood, abs=0.1)  # its reconstruction is drawn, its KL is not
    assert found.kl == pytest.approx(float(model.posterior(x).kl().sum(-1).detach().mean()))
    assert found.squared_error == pytest.approx(float((model.reconstruct(x) - x).detach().square().mean()))
    assert (found.windows, found.values, found.active_units, found.bits_per_dimension) == (len(data), 6.0, 2, None)


def loosened():
    """A linear VAE whose posterior is twice too wide: its ELBO is far below log p(x), which is still known."""
    model, data, log_likelihood = optimal_vae()
    with torch.no_grad():
        model.latent.log_var.bias += 2 * math.log(2)
    return model, torch.from_numpy(data)[..., None], log_likelihood


def test_the_importance_weighted_bound_rises_with_k_to_the_likelihood():
    model, x, log_likelihood = loosened()
    bounds = evaluate(model, Rows(x), samples=(1, 5, 50, 500)).bounds
    values = list(bounds.values())
    assert values == sorted(values)
    assert values[0] < log_likelihood - 0.5
    assert values[-1] == pytest.approx(log_likelihood, abs=0.01)
    assert values[-1] <= log_likelihood + 0.01


def test_iwae_at_one_draw_is_the_bound_with_a_sampled_kl_and_its_gradient_trains():
    model, x, log_likelihood = loosened()
    batch = Batch(x, torch.ones_like(x, dtype=torch.bool))
    generator = torch.Generator().manual_seed(1)
    terms = [iwae(model, batch, model.posterior(x), 1, generator) for _ in range(200)]
    elbo = np.mean([(t.reconstruction + t.kl).item() for t in terms])
    assert np.mean([t.total.item() for t in terms]) == pytest.approx(elbo, abs=0.05)
    objective = Objective(importance_samples=20)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    before = objective.evaluate(model, batch, generator=generator).total.item()
    for _ in range(60):
        optimizer.zero_grad()
        objective(model, batch, epoch=0.0, generator=generator).total.backward()
        optimizer.step()
    after = objective.evaluate(model, batch, generator=generator).total.item()
    assert -log_likelihood - 0.05 < after < before - 0.02


def test_weights_with_a_learned_prior_masks_and_lengths_are_the_naive_ones():
    torch.manual_seed(0)
    model = seqae.CVAE(channels=2, condition=2, latent=3, hidden=5, prior="conditional")
    torch.nn.init.normal_(model.latent.prior_network.network[-1].weight)
    x = torch.randn(4, 6, 2)
    lengths = torch.tensor([6, 4, 2, 6])
    observed = (torch.rand(4, 6, 2) < 0.7) & (torch.arange(6)[None, :, None] < lengths[:, None, None])
    batch = Batch(torch.where(observed, x, 0.0), observed, torch.randn(4, 6, 2), lengths)
    state = model.posterior(*batch)
    weights, log_x = log_weights(model, batch, state, 3, torch.Generator().manual_seed(5))
    drawn = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(5))
    for k in range(3):
        z = state.mean + torch.exp(0.5 * state.log_var) * drawn[k]
        for b in range(4):
            steps = int(lengths[b])
            emitted = model.emit(z[b : b + 1], steps, batch.condition[b : b + 1, :steps])
            log_p = emitted.log_prob(batch.x[b : b + 1, :steps])[observed[b : b + 1, :steps]].sum()
            prior = torch.distributions.Normal(state.prior_mean[b], torch.exp(0.5 * state.prior_log_var[b]))
            posterior = torch.distributions.Normal(state.mean[b], torch.exp(0.5 * state.log_var[b]))
            expected = log_p + prior.log_prob(z[b]).sum() - posterior.log_prob(z[b]).sum()
            assert weights[k, b].item() == pytest.approx(expected.item(), abs=1e-4)
            assert log_x[k, b].item() == pytest.approx(log_p.item(), abs=1e-4)


def test_mutual_information_of_separate_and_of_equal_posteriors():
    mean = 100.0 * torch.arange(50.0)[:, None]
    narrow = torch.zeros(50, 1)
    assert mutual_information(mean, narrow) == pytest.approx(math.log(50), abs=1e-6)  # each code tells its window
    assert mutual_information(torch.zeros(50, 3), torch.zeros(50, 3)) == pytest.approx(0.0, abs=1e-6)
    # q(z | x) = N(x, 1), x ~ N(0, s²): I = ½ log(1 + s²)
    generator = torch.Generator().manual_seed(0)
    codes = 3.0 * torch.randn(2000, 1, generator=generator)
    found = mutual_information(codes, torch.zeros(2000, 1), generator)
    assert found == pytest.approx(0.5 * math.log(10), abs=0.05)


def test_kl_is_mutual_information_and_marginal_kl():
    model, x, _ = loosened()
    found = evaluate(model, Rows(x))
    assert found.mutual_information + found.marginal_kl == pytest.approx(found.kl)
    assert found.marginal_kl > 0


def test_bits_per_dimension_of_a_model_that_knows_nothing():
    # A Bernoulli of probability ½ spends exactly one bit a pixel, whatever z says.
    model = seqae.VAE(image=(4, 4, 1), latent=2, body="mlp", likelihood="bernoulli")
    torch.nn.init.zeros_(model.decoder.head.weight)
    torch.nn.init.zeros_(model.decoder.head.bias)
    torch.nn.init.zeros_(model.latent.mean.weight)
    torch.nn.init.zeros_(model.latent.mean.bias)
    torch.nn.init.zeros_(model.latent.log_var.weight)
    torch.nn.init.zeros_(model.latent.log_var.bias)
    binary = (torch.rand(20, 4, 4) < 0.3).float()
    found = evaluate(model, Rows(binary))
    assert found.bits_per_dimension == pytest.approx(1.0)
    assert found.active_units == 0
    assert found.mutual_information == pytest.approx(0.0, abs=1e-6)
    assert not found.cross_entropy
    grey = evaluate(model, Rows(0.5 * binary))
    assert grey.bits_per_dimension is None
    assert grey.cross_entropy  # which is no probability


def test_an_autoencoder_has_errors_but_no_bound():
    torch.manual_seed(0)
    model = seqae.AE(channels=1, latent=2, hidden=4)
    found = evaluate(model, WindowSet([np.sin(np.arange(60.0))[:, None]], window=8))
    assert (found.elbo, found.kl, found.bounds, found.per_dimension_kl) == (None, None, {}, [])
    assert len(found.per_dimension_variance) == 2
    assert found.to_document()["bounds"] == {}
    with pytest.raises(OptionError, match="no posterior to draw from"):
        log_weights(model, None, LatentState(torch.zeros(1, 2)), 3)


def test_missing_values_count_for_nothing():
    torch.manual_seed(0)
    model = seqae.VAE(channels=1, latent=2, hidden=4)
    values = np.sin(np.arange(40.0))[:, None]
    values[5:9] = np.nan
    found = evaluate(model, WindowSet([values], window=10, stride=10))
    assert found.values == pytest.approx((40 - 4) / 4)
    assert found.windows == 4


def test_what_cannot_be_evaluated_is_refused():
    model, x, _ = loosened()
    with pytest.raises(OptionError, match="divide the largest"):
        evaluate(model, Rows(x), samples=(3, 10))
    with pytest.raises(DataError, match="no windows"):
        evaluate(model, Rows(x[:0]))
    for options in ({"importance_samples": 0}, {"importance_samples": 5, "beta": 2.0}):
        with pytest.raises(OptionError, match="importance_samples"):
            Objective(**options)


def test_per_dimension_kl_is_the_closed_form():
    model, x, _ = loosened()
    state = model.posterior(x)
    found = evaluate(model, Rows(x)).per_dimension_kl
    np.testing.assert_allclose(found, normal_kl(state.mean, state.log_var).mean(0).detach(), rtol=1e-6)
