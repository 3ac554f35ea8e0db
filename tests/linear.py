"""The linear-Gaussian VAE, whose optimum is probabilistic PCA: its marginal likelihood is known exactly."""

import math

import numpy as np
import torch
from torch import nn

from seqae.models import Autoencoder
from seqae.nn.decoders import Decoder
from seqae.nn.encoders import Encoder
from seqae.nn.latents import NormalLatent, StandardPrior
from seqae.nn.likelihoods import Normal


class LinearEncoder(Encoder):
    def __init__(self, steps):
        super().__init__()
        self.features = steps

    def forward(self, x, observed, condition, lengths):
        return x[..., 0]


class LinearDecoder(Decoder):
    def __init__(self, latent, steps):
        super().__init__()
        self.channels = 1
        self.map = nn.Linear(latent, steps)

    def forward(self, z, steps, condition=None, lengths=None, truth=None, forced=None):
        return self.map(z)[..., None], None


def linear_vae(steps, latent):
    torch.manual_seed(0)
    return Autoencoder(
        LinearEncoder(steps),
        NormalLatent(steps, latent, StandardPrior(latent, 0)),
        LinearDecoder(latent, steps),
        Normal(1),
    ).double()


def ppca(x, latent):
    """Tipping & Bishop 1999: the maximum-likelihood W, μ, σ² and the mean log marginal likelihood of x: (N, D)."""
    mean, size = x.mean(0), x.shape[1]
    covariance = np.cov(x.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    noise = values[latent:].mean()
    weight = vectors[:, :latent] * np.sqrt(values[:latent] - noise)
    model = weight @ weight.T + noise * np.eye(size)
    log_likelihood = -0.5 * (
        size * np.log(2 * np.pi) + np.linalg.slogdet(model)[1] + np.trace(np.linalg.solve(model, covariance))
    )
    return weight, mean, noise, log_likelihood


def correlated(n=2000, size=6, latent=2):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, latent)) @ rng.normal(size=(latent, size)) * 1.5 + rng.normal(size=(n, size)) * 0.7 + 1.0


def optimal_vae():
    """Return a linear VAE at pPCA's optimum, where its posterior is the true one, its data, their log likelihood."""
    data = correlated()
    weight, mean, noise, log_likelihood = ppca(data, 2)
    model = linear_vae(6, 2)
    m = weight.T @ weight + noise * np.eye(2)  # diagonal, since the columns of W are orthogonal
    posterior = np.linalg.solve(m, weight.T)
    with torch.no_grad():
        model.decoder.map.weight.copy_(torch.from_numpy(weight))
        model.decoder.map.bias.copy_(torch.from_numpy(mean))
        model.latent.mean.weight.copy_(torch.from_numpy(posterior))
        model.latent.mean.bias.copy_(torch.from_numpy(-posterior @ mean))
        model.latent.log_var.weight.zero_()
        model.latent.log_var.bias.copy_(torch.from_numpy(np.log(noise / np.diag(m))))
        model.likelihood.log_scale.fill_(0.5 * math.log(noise))
    return model, data, log_likelihood
