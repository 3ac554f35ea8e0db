"""Distributions over (B, T, C) that PyTorch has not, or has only at a higher price.

A scale or another parameter may be narrower than the location, (C,) or (1,): what of the density hangs on it alone is
then computed once a channel, not once a value, which PyTorch's own do.
"""

from __future__ import annotations

__all__ = ["Laplace", "LogisticLevels", "Normal", "StudentT", "UnitBernoulli", "UnitContinuousBernoulli"]

import math
from typing import Any

import torch
from torch import Tensor, distributions
from torch.distributions.utils import broadcast_all
from torch.nn import functional as F

from seqae.errors import DataError


class Normal(distributions.Normal):
    """PyTorch's normal, for a scale that may be narrower than the location."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self._narrow = scale
        super().__init__(loc, scale, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats."""
        away = (value - self.loc) / self._narrow
        return -0.5 * away.square() - (self._narrow.log() + 0.5 * math.log(2 * math.pi))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Normal:
        """Return the same for a larger batch."""
        return Normal(self.loc.expand(batch_shape), self._narrow)


class Laplace(distributions.Laplace):
    """PyTorch's Laplace, for a scale that may be narrower than the location."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self._narrow = scale
        super().__init__(loc, scale, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats."""
        return -((value - self.loc) / self._narrow).abs() - (2 * self._narrow).log()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Laplace:
        """Return the same for a larger batch."""
        return Laplace(self.loc.expand(batch_shape), self._narrow)


class StudentT(distributions.StudentT):
    """PyTorch's t, for degrees of freedom and a scale that may be narrower than the location."""

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor) -> None:
        self._narrow = df, scale
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = distributions.Chi2(self.df, validate_args=False)  # PyTorch's own looks at every df
        distributions.Distribution.__init__(self, self.df.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density in nats."""
        df, scale = self._narrow
        half = 0.5 * (df + 1)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * df) - 0.5 * (math.pi * df).log() - scale.log()
        return constant - half * torch.log1p(((value - self.loc) / scale).square() / df)

    def expand(self, batch_shape: Any, _instance: Any = None) -> StudentT:
        """Return the same for a larger batch."""
        df, scale = self._narrow
        return StudentT(df, self.loc.expand(batch_shape), scale)


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
        value = _within_unit(value, "Bernoulli")
        return -F.binary_cross_entropy_with_logits(self.logits, value, reduction="none")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(*sample_shape, *self.logits.shape))


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
        density: Tensor = self._inner.log_prob(_within_unit(value, "continuous Bernoulli"))
        return density

    def icdf(self, value: Tensor) -> Tensor:
        return self._inner.icdf(value)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._inner.sample(sample_shape)


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
        value = _within_unit(value, "discretized logistic")
        steps = value * self.last
        between = (steps - steps.round()).abs() > 1e-3
        if _is_costly_to_ask(value):
            value = value.masked_fill(between, math.nan)
        elif bool(between.any()):
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


def _is_costly_to_ask(value: Tensor) -> bool:
    """Tell whether a look at the values would make training wait for its device."""
    return torch.is_grad_enabled() and not value.is_cpu


def _within_unit(value: Tensor, name: str) -> Tensor:
    """Return the values, all in [0, 1]; DataError for others, which become NaN where it is costly to ask."""
    if _is_costly_to_ask(value):
        return value.masked_fill((value < 0.0) | (value > 1.0), math.nan)
    low, high = float(value.min()), float(value.max())
    if low < 0.0 or high > 1.0:
        raise DataError(
            f"the {name} likelihood needs values in [0, 1]; got {low:.4g} to {high:.4g}. "
            "Use --likelihood normal, or for series --scaling minmax (with data inside the training range)."
        )
    return value
