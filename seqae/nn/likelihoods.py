"""What the decoder's numbers mean: p(x | z, c) for one window, every channel and step.

A likelihood turns what the decoder's head gives, a location and `extras` further numbers a value, into a
`torch.distributions.Distribution` over (B, T, C). Log densities are in nats of the scaled data.
"""

from __future__ import annotations

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Laplace",
    "Likelihood",
    "Normal",
    "NormalFixed",
    "NormalPerStep",
    "NormalShared",
    "StudentT",
]

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, distributions, nn
from torch.nn import functional as F

from seqae.nn import densities

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
    unit: bool = False
    """Whether it is one of values in [0, 1] and refuses all others."""
    discrete: bool = False
    """Whether log_prob is that of a probability, not of a density: only then are bits per dimension defined."""
    binary: bool = False
    """Whether only 0 and 1 have a probability; what lies between them has a cross-entropy at most."""

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
        return densities.Normal(location, _scale(self.log_scale))

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class NormalShared(Likelihood):
    """Normal with one σ for all values, learned with the weights (Rybkin et al. 2021, σ-VAE)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.zeros(1))

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return densities.Normal(location, _scale(self.log_scale))

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class NormalFixed(Likelihood):
    """Normal with σ fixed beforehand: squared error, up to constants."""

    def __init__(self, channels: int, sigma: float = 1.0) -> None:
        super().__init__(channels)
        self.sigma = float(sigma)

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return densities.Normal(location, location.new_full((), self.sigma))

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)

    def arguments(self) -> dict[str, Any]:
        return {"sigma": self.sigma}


class NormalPerStep(Likelihood):
    """Normal whose σ the decoder gives anew for every step and channel: for every pixel of an image."""

    extras = 1

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        assert extra is not None
        return densities.Normal(location, _scale(extra[..., 0]))

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class Laplace(Likelihood):
    """Laplace with one scale a channel, learned: absolute error, up to constants."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return densities.Laplace(location, _scale(self.log_scale))

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class StudentT(Likelihood):
    """Student's t with scale and degrees of freedom (above 2) learned a channel: outliers pull less."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.raw_df = nn.Parameter(torch.full((channels,), 3.0))

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return densities.StudentT(2.0 + F.softplus(self.raw_df), location, _scale(self.log_scale))

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        from scipy import stats  # torch's StudentT has no quantile function, and scipy.stats takes a second to load

        df = distribution.df.detach().cpu().double().numpy()
        half = torch.from_numpy(stats.t.ppf(0.5 + level / 2, df)).to(distribution.loc) * distribution.scale
        return distribution.loc - half, distribution.loc + half


class Bernoulli(Likelihood):
    """Bernoulli for values in [0, 1] (cross-entropy); the location is the logit."""

    linear, unit, discrete, binary = False, True, True, True

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return densities.UnitBernoulli(location)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        p, tail = distribution.mean, (1 - level) / 2
        return (tail > 1 - p).to(p), (1 - tail > 1 - p).to(p)


class ContinuousBernoulli(Likelihood):
    """Continuous Bernoulli: a density over [0, 1], for grey values (Loaiza-Ganem & Cunningham 2019)."""

    linear, unit = False, True

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return densities.UnitContinuousBernoulli(location)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class DiscretizedLogistic(Likelihood):
    """A logistic whose mass is collected in the levels of a pixel, 0, 1/255, … 1 (Kingma et al. 2016, appendix C).

    The decoder gives location and scale for every value; the first and the last level hold the tails, so that the
    levels' probabilities sum to 1. Values between the levels are refused.
    """

    extras = 1
    unit = discrete = True

    def __init__(self, channels: int, levels: int = 256) -> None:
        super().__init__(channels)
        self.levels = int(levels)

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        assert extra is not None
        return densities.LogisticLevels(location, _scale(extra[..., 0]), self.levels)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        tail = (1 - level) / 2
        return distribution.quantile(tail), distribution.quantile(1 - tail)

    def arguments(self) -> dict[str, Any]:
        return {"levels": self.levels}


def _central(distribution: Any, level: float) -> tuple[Tensor, Tensor]:
    tail = torch.tensor((1 - level) / 2, dtype=distribution.loc.dtype, device=distribution.loc.device)
    return distribution.icdf(tail), distribution.icdf(1 - tail)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": Normal,
    "normal_shared": NormalShared,
    "normal_fixed": NormalFixed,
    "normal_per_step": NormalPerStep,
    "laplace": Laplace,
    "student_t": StudentT,
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "discretized_logistic": DiscretizedLogistic,
}
