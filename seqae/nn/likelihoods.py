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
        return distributions.Normal(location, _scale(self.log_scale).expand_as(location), validate_args=False)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class NormalShared(Likelihood):
    """Normal with one σ for all values, learned with the weights (Rybkin et al. 2021, σ-VAE)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.zeros(1))

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
    """Normal whose σ the decoder gives anew for every step and channel: for every pixel of an image."""

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

    linear, unit, discrete, binary = False, True, True, True

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
        _within_unit(value, "Bernoulli")
        return -F.binary_cross_entropy_with_logits(self.logits, value, reduction="none")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(*sample_shape, *self.logits.shape))


class ContinuousBernoulli(Likelihood):
    """Continuous Bernoulli: a density over [0, 1], for grey values (Loaiza-Ganem & Cunningham 2019)."""

    linear, unit = False, True

    def forward(self, location: Tensor, extra: Tensor | None) -> distributions.Distribution:
        return UnitContinuousBernoulli(location)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        return _central(distribution, level)


class UnitContinuousBernoulli(distributions.Distribution):
    """PyTorch's continuous Bernoulli, which would give a density to any value, held to [0, 1]."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own protocol

    def __init__(self, logits: Tensor) -> None:
        self._inner = distributions.ContinuousBernoulli(logits=logits, validate_args=False)
        self.loc = logits
        super().__init__(logits.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self._inner.mean

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats; DataError outside [0, 1]."""
        _within_unit(value, "continuous Bernoulli")
        density: Tensor = self._inner.log_prob(value)
        return density

    def icdf(self, value: Tensor) -> Tensor:
        return self._inner.icdf(value)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._inner.sample(sample_shape)


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
        return LogisticLevels(location, _scale(extra[..., 0]), self.levels)

    def interval(self, distribution: Any, level: float = 0.95) -> tuple[Tensor, Tensor]:
        tail = (1 - level) / 2
        return distribution.quantile(tail), distribution.quantile(1 - tail)

    def arguments(self) -> dict[str, Any]:
        return {"levels": self.levels}


class LogisticLevels(distributions.Distribution):
    """A logistic collected in evenly spaced levels over [0, 1]; its mean is taken as the location, held to [0, 1]."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own protocol

    def __init__(self, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.loc, self.scale, self.last = loc, scale, levels - 1
        super().__init__(loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc.clamp(0.0, 1.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability of the level in nats; DataError for what is no level."""
        _within_unit(value, "discretized logistic")
        steps = value * self.last
        if bool(((steps - steps.round()).abs() > 1e-3).any()):
            raise DataError(
                f"the discretized logistic is for pixels, multiples of 1/{self.last}; got values between them. "
                "Use --likelihood normal_per_step, or another one of densities."
            )
        half = 0.5 / self.last
        above, below = (value + half - self.loc) / self.scale, (value - half - self.loc) / self.scale
        # log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − e^(b − a)), exact also far out in the tails
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-2 * half / self.scale))
        lowest, highest = F.logsigmoid(above), F.logsigmoid(-below)
        return torch.where(value <= half, lowest, torch.where(value >= 1 - half, highest, inside))

    def quantile(self, share: float) -> Tensor:
        """Return the first level up to which there is this share of the mass."""
        point = self.loc + self.scale * math.log(share / (1 - share))
        return torch.ceil(point * self.last - 0.5).clamp(0, self.last) / self.last

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            share = torch.rand(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
            point = self.loc + self.scale * torch.logit(share, eps=1e-7)
            return torch.round(point * self.last).clamp(0, self.last) / self.last


def _within_unit(value: Tensor, name: str) -> None:
    low, high = float(value.min()), float(value.max())
    if low < 0.0 or high > 1.0:
        raise DataError(
            f"the {name} likelihood needs values in [0, 1]; got {low:.4g} to {high:.4g}. "
            "Use --likelihood normal, or for series --scaling minmax (with data inside the training range)."
        )


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
