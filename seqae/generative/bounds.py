"""What a trained model's likelihood and latent are worth: bounds on log p(x), active units, mutual information.

All in nats a window (or image), summed over its observed values and averaged over windows, as in training.
"""

from __future__ import annotations

__all__ = ["ACTIVE", "Evaluation", "evaluate", "mutual_information"]

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from seqae.autoencoder import Autoencoder
from seqae.errors import DataError, OptionError
from seqae.nn.latents import normal_noise
from seqae.objectives import log_weights
from seqae.training.devices import generator as generator_of
from seqae.training.tracking import Windows

ACTIVE = 0.01
"""The variance over data of a latent dimension's posterior mean above which it counts as active (Burda et al. 2016)."""
LARGEST = 1 << 24
"""Values that are decoded in one go."""
COMPARED = 2000
"""Windows that the aggregated posterior is taken over."""


@dataclass(frozen=True)
class Evaluation:
    """What a model made of data. A model without a posterior (AE) has None where there is no bound."""

    windows: int
    values: float
    """Observed values a window, the mean."""
    reconstruction: float
    """E_q[−log p(x | z, c)]; at the posterior's mean for an AE."""
    squared_error: float
    """The mean squared difference of observed values and their reconstruction from the posterior's mean."""
    kl: float | None
    """KL(q(z | x, c) ‖ p(z | c))."""
    elbo: float | None
    """−reconstruction − kl, a lower bound of log p(x)."""
    bounds: dict[int, float]
    """The importance-weighted bound by its number of draws k, all from the same draws; the largest k is the estimate of
    log p(x) (Burda et al. 2016)."""
    standard_error: float | None
    """Of the bound with the largest k, over windows."""
    bits_per_dimension: float | None
    """−bound / (values · log 2) where the likelihood is one of discrete values and these are its own."""
    per_dimension_kl: list[float]
    per_dimension_variance: list[float]
    """Of the posterior's mean, over the data."""
    active_units: int
    """Dimensions whose variance is above ACTIVE."""
    mutual_information: float | None
    """I(x; z) under q (Hoffman & Johnson 2016), at most log of the windows compared."""
    marginal_kl: float | None
    """KL(q(z) ‖ p(z)) = kl − mutual information: how far the codes of the data are from the prior that samples use."""
    cross_entropy: bool = False
    """Whether a Bernoulli was given values between 0 and 1: all figures are then of a cross-entropy, none of log p."""

    def to_document(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        document = asdict(self)
        document["bounds"] = {str(k): bound for k, bound in self.bounds.items()}
        return document


def evaluate(
    model: Autoencoder, data: Windows, *, samples: Sequence[int] = (1, 10, 100), batch_size: int = 256, seed: int = 0
) -> Evaluation:
    """Measure a model on windows or images.

    samples: the k of the importance-weighted bounds, each a divisor of the largest: the draws are divided into groups
    of k, so that every bound is a mean over as many draws. Raises DataError without windows, OptionError for other k.
    """
    ks = sorted({int(k) for k in samples})
    if not ks or ks[0] < 1 or any(ks[-1] % k for k in ks):
        raise OptionError(
            f"samples={tuple(samples)} must be at least 1 and divide the largest of them, as (1, 10, 100)."
        )
    if not len(data):
        raise DataError("there are no windows to evaluate on. Give more rows.")
    device = next(model.parameters()).device
    data = data.to(device)
    noise = generator_of(seed, "noise", device)
    tally = _Tally(ks)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for _, batch in data.blocks(batch_size):
                _add(tally, model, batch, noise)
    finally:
        model.train(training)
    return tally.result(model, noise)


class _Tally:
    """What is kept of each window while blocks go by."""

    def __init__(self, ks: list[int]) -> None:
        self.ks = ks
        self.bounds: list[Tensor] = []
        self.reconstruction: list[Tensor] = []
        self.squared: list[Tensor] = []
        self.values: list[Tensor] = []
        self.kl: list[Tensor] = []
        self.mean: list[Tensor] = []
        self.log_var: list[Tensor] = []
        self.standard_prior = True
        self.levels = True

    def result(self, model: Autoencoder, noise: torch.Generator) -> Evaluation:
        """Return the means over windows."""
        mean, values = torch.cat(self.mean), torch.cat(self.values)
        reconstruction = float(torch.cat(self.reconstruction).double().mean())
        variance = mean.var(0, unbiased=False)
        shared: dict[str, Any] = {
            "windows": len(mean),
            "values": float(values.double().mean()),
            "reconstruction": reconstruction,
            "squared_error": float(torch.cat(self.squared).double().sum() / values.double().sum().clamp(min=1)),
            "per_dimension_variance": variance.tolist(),
            "active_units": int((variance > ACTIVE).sum()),
        }
        if not self.kl:
            nothing: dict[str, Any] = dict.fromkeys(
                ("kl", "elbo", "standard_error", "bits_per_dimension", "mutual_information", "marginal_kl")
            )
            return Evaluation(**shared, bounds={}, per_dimension_kl=[], **nothing)
        per_dimension = torch.cat(self.kl).double().mean(0)
        kl = float(per_dimension.sum())
        bounds = torch.cat(self.bounds, dim=1).double()
        largest = bounds[-1]
        known = mutual_information(mean, torch.cat(self.log_var), noise) if self.standard_prior else None
        bits = model.likelihood.discrete and self.levels
        return Evaluation(
            **shared,
            kl=kl,
            elbo=-reconstruction - kl,
            bounds=dict(zip(self.ks, bounds.mean(1).tolist(), strict=True)),
            standard_error=float(largest.std() / math.sqrt(len(largest))) if len(largest) > 1 else None,
            bits_per_dimension=float(-largest.sum() / values.double().sum() / math.log(2)) if bits else None,
            per_dimension_kl=per_dimension.tolist(),
            mutual_information=known,
            marginal_kl=None if known is None else kl - known,
            cross_entropy=model.likelihood.binary and not self.levels,
        )


def _add(tally: _Tally, model: Autoencoder, batch: Any, noise: torch.Generator) -> None:
    """Measure one block."""
    state = model.posterior(batch.x, batch.observed, batch.condition, batch.lengths)
    plain = model.emit(state.mean, batch.x.shape[1], batch.condition, batch.lengths)
    apart = torch.where(batch.observed, batch.x - plain.mean, 0.0).square().sum((-2, -1))
    tally.squared.append(apart.cpu())
    tally.values.append(batch.observed.sum((-2, -1)).cpu())
    tally.mean.append(state.mean.float().cpu())
    if state.log_var is None:
        log_x = torch.where(batch.observed, plain.log_prob(batch.x), 0.0).sum((-2, -1))
        tally.reconstruction.append(-log_x.cpu())
        return
    tally.standard_prior &= state.prior_mean is None
    tally.log_var.append(state.log_var.float().cpu())
    tally.kl.append(state.kl().cpu())
    if model.likelihood.discrete:  # grey values have a cross-entropy under a Bernoulli, but no probability
        tally.levels &= not model.likelihood.binary or bool(((batch.x == 0) | (batch.x == 1)).all())
    most = tally.ks[-1]
    at_once = max(1, LARGEST // batch.x.numel())
    parts: list[tuple[Tensor, Tensor]] = []
    for done in range(0, most, at_once):
        parts.append(log_weights(model, batch, state, min(at_once, most - done), noise))
    all_weights, log_x = (torch.cat(part) for part in zip(*parts, strict=True))  # (K, B)
    groups = [all_weights.view(most // k, k, -1) for k in tally.ks]
    tally.bounds.append(
        torch.stack([(torch.logsumexp(group, 1) - math.log(group.shape[1])).mean(0) for group in groups]).cpu()
    )
    tally.reconstruction.append(-log_x.mean(0).cpu())


def mutual_information(mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> float:
    """Estimate I(x; z) of q(z | x), given as mean and log σ² (N, Z), in nats.

    E[log q(z | x) − log q(z)] with q(z) the mixture of the posteriors of up to COMPARED windows, one draw for each
    (Hoffman & Johnson 2016; He et al. 2019, §4.1); it cannot exceed the logarithm of their number.
    """
    if len(mean) > COMPARED:
        chosen = torch.linspace(0, len(mean) - 1, COMPARED).long()
        mean, log_var = mean[chosen], log_var[chosen]
    mean, log_var = mean.double(), log_var.double()
    z = mean + torch.exp(0.5 * log_var) * normal_noise(mean, generator)
    precision = torch.exp(-log_var)
    # −½ Σ (z_i − μ_j)²/σ_j² + log σ_j² as matrix products, (N, N)
    far = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(1)
    log_q = -0.5 * (far + log_var.sum(1))
    own = -0.5 * ((z - mean).square() * precision + log_var).sum(1)
    return float((own - torch.logsumexp(log_q, 1) + math.log(len(mean))).mean())
