"""The latent variable between encoder and decoder: q(z | x, c), its prior, and the divergence between them."""

from __future__ import annotations

__all__ = [
    "PRIORS",
    "ConditionalPrior",
    "Latent",
    "LatentState",
    "NormalLatent",
    "PointLatent",
    "StandardPrior",
    "chance",
    "normal_kl",
    "normal_noise",
]

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqae.errors import OptionError


def normal_kl(
    mean: Tensor, log_var: Tensor, prior_mean: Tensor | None = None, prior_log_var: Tensor | None = None
) -> Tensor:
    """Return KL(N(mean, e^log_var) ‖ prior) for each latent dimension, in nats; the prior defaults to N(0, 1).

    ½ (log σ_p² − log σ² + (σ² + (μ − μ_p)²)/σ_p² − 1); Kingma & Welling 2014, appendix B, for the standard prior.
    """
    if prior_mean is None or prior_log_var is None:
        return 0.5 * (mean.square() + log_var.exp() - log_var - 1.0)
    return 0.5 * (
        prior_log_var - log_var + (log_var.exp() + (mean - prior_mean).square()) * torch.exp(-prior_log_var) - 1.0
    )


class LatentState(NamedTuple):
    """q(z | x, c) of a batch: mean (B, Z), and log σ² (B, Z) or None where z is a point (AE)."""

    mean: Tensor
    log_var: Tensor | None = None
    prior_mean: Tensor | None = None
    prior_log_var: Tensor | None = None

    def to(self, dtype: torch.dtype) -> LatentState:
        """Return the same state in another floating-point type."""
        others = (None if part is None else part.to(dtype) for part in self[1:])
        return LatentState(self.mean.to(dtype), *others)

    def kl(self) -> Tensor:
        """Return KL(q ‖ prior) (B, Z) in nats; zeros where z is a point."""
        if self.log_var is None:
            return torch.zeros_like(self.mean)
        return normal_kl(self.mean, self.log_var, self.prior_mean, self.prior_log_var)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw z = μ + σ·ε (B, Z), differentiably (Kingma & Welling 2014, §2.4); a point is its own sample."""
        if self.log_var is None:
            return self.mean
        return self.mean + torch.exp(0.5 * self.log_var) * normal_noise(self.mean, generator)


def normal_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw N(0, 1) noise of a tensor's shape, dtype and device; the generator may live on another device."""
    where = like.device if generator is None else generator.device
    return torch.randn(like.shape, dtype=like.dtype, device=where, generator=generator).to(like.device)


def chance(shape: Sequence[int], share: float, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Draw a bool tensor that is True with probability `share`; the generator may live on another device."""
    where = device if generator is None else generator.device
    return (torch.rand(*shape, device=where, generator=generator) < share).to(device)


class Prior(nn.Module, ABC):
    """p(z | c)."""

    @abstractmethod
    def forward(self, summary: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return mean and log σ² (B, Z) for a condition summary (B, 3K), or (None, None) for N(0, I)."""


class StandardPrior(Prior):
    """N(0, I), whatever the condition."""

    def __init__(self, latent: int, summary: int) -> None:
        super().__init__()

    def forward(self, summary: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        return None, None


class ConditionalPrior(Prior):
    """A normal whose mean and σ are learned from the condition (Sohn, Lee & Yan 2015); it starts as N(0, I)."""

    def __init__(self, latent: int, summary: int) -> None:
        super().__init__()
        if not summary:
            raise OptionError(
                "prior 'conditional' needs a condition. Use the model CVAE with one, or prior 'standard'."
            )
        hidden = max(16, 2 * latent)
        last = nn.Linear(hidden, 2 * latent)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(summary, hidden), nn.Tanh(), last)

    def forward(self, summary: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        mean, log_var = self.network(summary).chunk(2, dim=-1)
        return mean, log_var


class Latent(nn.Module, ABC):
    """Turns the encoder's features (B, F) into q(z | x, c)."""

    size: int
    stochastic: bool

    @abstractmethod
    def forward(self, features: Tensor, summary: Tensor | None) -> LatentState:
        """Return q(z | x, c) for features (B, F) and a condition summary (B, 3K) or None."""

    @abstractmethod
    def prior(self, n: int, summary: Tensor | None) -> LatentState:
        """Return p(z | c) as a state of n rows; OptionError where there is none."""


class PointLatent(Latent):
    """z is a point: the plain autoencoder."""

    stochastic = False

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.size = latent
        self.mean = nn.Linear(features, latent)

    def forward(self, features: Tensor, summary: Tensor | None) -> LatentState:
        return LatentState(self.mean(features))

    def prior(self, n: int, summary: Tensor | None) -> LatentState:
        raise OptionError("an AE has no prior over its latent, so nothing can be sampled from it. Train a VAE or CVAE.")


class NormalLatent(Latent):
    """z is normal with a diagonal covariance: the variational autoencoder."""

    stochastic = True

    def __init__(self, features: int, latent: int, prior: Prior) -> None:
        super().__init__()
        self.size = latent
        self.mean = nn.Linear(features, latent)
        self.log_var = nn.Linear(features, latent)
        self.prior_network = prior

    def forward(self, features: Tensor, summary: Tensor | None) -> LatentState:
        return LatentState(self.mean(features), self.log_var(features), *self.prior_network(summary))

    def prior(self, n: int, summary: Tensor | None) -> LatentState:
        mean, log_var = self.prior_network(summary)
        if mean is None or log_var is None:
            mean = self.mean.bias.new_zeros(n, self.size)
            log_var = torch.zeros_like(mean)
        return LatentState(mean, log_var)


PRIORS: dict[str, type[Prior]] = {"standard": StandardPrior, "conditional": ConditionalPrior}
