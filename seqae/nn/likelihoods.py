"""What the decoder's numbers mean: p(x | z, c) for one window, every channel and step.

A likelihood turns what the decoder's head gives, a location and `extras` further numbers a value, into a
`torch.distributions.Distribution` over (B, T, C). Log densities are in nats of the scaled data.
"""

from __future__ import annotations

__all__ = ["LIKELIHOODS", "Bernoulli", "Laplace", "Likelihood", "Normal", "NormalFixed", "NormalPerStep", "StudentT"]

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, distributions, nn
from torch.nn import functional as F

from seqae.errors import DataError

# σ below this (in scaled units) would let a noiseless stretch of training data dominate every score.
SMALLEST_SCALE = 1e-3


def _scale(raw: Tensor) -> Tensor:
    """Map any real to a scale: about exp(raw), softly bounded below (Rybkin et al. 2021, σ-VAE, §3)."""
    floor = math.log(SMALLEST_SCALE)
    return torch.exp(floor + F.softplus(raw - floor))


class Likelihood(nn.Module, ABC):
    """p(x | z, c), from the decoder head's numbers."""

    extras: int = 0
    """Numbers a value that the head gives beside the location."""
    linear: bool = True
    """Whether the location is the mean itself, on the data's scale; teacher forcing needs that."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    @abstractmethod
    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        """Return the distribution for location (B, T, C) and extra (B, T, C, extras)."""

    @abstractmethod
    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return the lower and upper end (B, T, C) of the central interval that holds `level` of the mass."""

    def arguments(self) -> dict[str, Any]:
        """Return what, beside the channels, makes this likelihood again (JSON)."""
        return {}


class Normal(Likelihood):
    """Normal with one σ a channel, learned with the weights."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return distributions.Normal(location, _scale(self.log_scale).expand_as(location), validate_args=False)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class NormalFixed(Likelihood):
    """Normal with σ fixed beforehand: squared error, up to constants."""

    def __init__(self, channels: int, sigma: float = 1.0) -> None:
        super().__init__(channels)
        self.sigma = float(sigma)

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return distributions.Normal(location, torch.full_like(location, self.sigma), validate_args=False)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)

    def arguments(self) -> dict[str, Any]:
        return {"sigma": self.sigma}


class NormalPerStep(Likelihood):
    """Normal whose σ the decoder gives anew for every step and channel."""

    extras = 1

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        assert extra is not None
        return distributions.Normal(location, _scale(extra[..., 0]), validate_args=False)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class Laplace(Likelihood):
    """Laplace with one scale a channel, learned: absolute error, up to constants."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return distributions.Laplace(location, _scale(self.log_scale).expand_as(location), validate_args=False)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class StudentT(Likelihood):
    """Student's t with scale and degrees of freedom (above 2) learned a channel: outliers pull less."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.raw_df = nn.Parameter(torch.full((channels,), 3.0))

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        df = 2.0 + F.softplus(self.raw_df)
        scale = _scale(self.log_scale).expand_as(location)
        return distributions.StudentT(df.expand_as(location), location, scale, validate_args=False)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        from scipy import stats  # torch's StudentT has no quantile function, and scipy.stats takes a second to load

        df = distribution.df.detach().cpu().double().numpy()
        half = torch.from_numpy(stats.t.ppf(0.5 + level / 2, df)).to(distribution.loc) * distribution.scale
        return distribution.loc - half, distribution.loc + half


class Bernoulli(Likelihood):
    """Bernoulli for values in [0, 1] (cross-entropy); the location is the logit."""

    linear = False

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return UnitBernoulli(location)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        p, tail = distribution.mean, (1 - level) / 2
        return (tail > 1 - p).to(p), (1 - tail > 1 - p).to(p)


class UnitBernoulli(distributions.Distribution):
    """Bernoulli that also takes grey values in [0, 1], as the cross-entropy, and refuses all others."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own protocol

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return x·log p + (1 − x)·log(1 − p) in nats; DataError outside [0, 1]."""
        low, high = float(value.min()), float(value.max())
        if low < 0.0 or high > 1.0:
            raise DataError(
                f"the Bernoulli likelihood needs values in [0, 1]; got {low:.4g} to {high:.4g}. "
                "Use --scaling minmax (with data inside the training range), or --likelihood normal."
            )
        return -F.binary_cross_entropy_with_logits(self.logits, value, reduction="none")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(*sample_shape, *self.logits.shape))


def _central(distribution: Any, level: float) -> tuple[Tensor, Tensor]:
    tail = torch.tensor((1 - level) / 2, dtype=distribution.loc.dtype, device=distribution.loc.device)
    return distribution.icdf(tail), distribution.icdf(1 - tail)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": Normal,
    "normal_fixed": NormalFixed,
    "normal_per_step": NormalPerStep,
    "laplace": Laplace,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
}
