"""Score heads: ways to say how strange a window is, all from one trained model. Higher is stranger.

A head gives a number for each value of a window, (B, W, C), or one for a whole window, which all its steps then get:
(B, 1, C) by channel, (B, 1, 1) where channels cannot be told apart. Some learn from normal windows first, and what
they learned is kept with the model.
"""

from __future__ import annotations

__all__ = [
    "Energy",
    "ErrorDistance",
    "Head",
    "Pointwise",
    "ReconstructionProbability",
    "Scorer",
    "WindowMean",
    "absolute_error",
    "blocks",
    "mean_observed",
    "nll",
    "outputs",
    "squared_error",
    "window_parts",
]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqae.errors import DataError, OptionError
from seqae.models import Autoencoder, Output
from seqae.windows import Batch, WindowSet

BLOCK = 512
DRAWS = 16
"""Draws of z for the reconstruction probability."""


class Head(ABC):
    """One kind of score.

    channelwise: False where it cannot say what each channel adds. explains: whether it is the squared error of a
    reconstruction, so that the variance it leaves says how much it has understood. joint: whether it looks for one
    neighbour in all channels at once, which is the farther the more there are.
    """

    channelwise: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    explains: bool = False

    def learn(self, model: Autoencoder, windows: WindowSet, index: Tensor) -> None:  # noqa: B027  (not every head learns)
        """Learn from the windows `index` (M,) of those that the model was trained on, taken as normal."""

    @abstractmethod
    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        """Return (B, W, C), (B, 1, C) or (B, 1, 1); values that were not observed may get anything."""

    def state(self) -> dict[str, Tensor]:
        """Return what was learned."""
        return {}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:  # noqa: B027
        """Take what `state` gave, onto a device; KeyError where something is missing."""


Scorer = Callable[[Tensor, Output], Tensor]
"""A function of x: (B, W, C), missing values 0, and the model's output at the mean of z, to (B, W, C)."""


def squared_error(x: Tensor, output: Output) -> Tensor:
    """Return (x − mean of p(x | z))², in squared scaled units."""
    return (x - output.likelihood.mean) ** 2


def absolute_error(x: Tensor, output: Output) -> Tensor:
    """Return |x − mean of p(x | z)|, in scaled units."""
    return (x - output.likelihood.mean).abs()


def nll(x: Tensor, output: Output) -> Tensor:
    """Return −log p(x | z), in nats of the scaled data; negative where the density is above 1."""
    return -output.likelihood.log_prob(x)


class Pointwise(Head):
    """A function of each value and its reconstruction."""

    def __init__(self, function: Scorer) -> None:
        self.function, self.explains = function, function is squared_error

    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        return self.function(batch.x, output)


class WindowMean(Head):
    """The mean of a function over a window's observed values, by channel: every step gets it.

    A strange shape makes all of its window hard to reconstruct, not only the steps that are off.
    """

    def __init__(self, function: Scorer) -> None:
        self.function, self.explains = function, function is squared_error

    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        return mean_observed(self.function(batch.x, output), batch.observed)


class ReconstructionProbability(Head):
    """−E log p(x | z) over draws of z from q(z | x), the reconstruction probability of An & Cho 2015 (algorithm 4).

    The draws use the same standard normal numbers for every window, so that a window's score does not depend on which
    others are scored with it. OptionError for an AE, whose z is a point.
    """

    def __init__(self, draws: int = DRAWS) -> None:
        self.draws = draws

    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        state = output.latent
        if state.log_var is None:
            raise OptionError(
                "the reconstruction probability draws z, which an AE does not. Use --model VAE, or --score nll."
            )
        noise = torch.randn(self.draws, state.mean.shape[1], generator=torch.Generator().manual_seed(0))
        spread = torch.exp(0.5 * state.log_var)
        total = torch.zeros_like(batch.x)
        for one in noise.to(state.mean):
            z = state.mean + spread * one
            decoded = model.decoder(z, batch.x.shape[1], batch.condition, batch.lengths, None, None)
            location, extra = (None if part is None else part.to(batch.x.dtype) for part in decoded)
            total -= model.likelihood(location, extra).log_prob(batch.x)
        return total / self.draws


class Energy(Head):
    """The squared distance of each value from its channel's mean, in variances of the normal windows: no model at all.

    Strong where an anomaly is one of level, and the yardstick that every other score has to beat elsewhere.
    """

    def __init__(self) -> None:
        self._moments = torch.empty(0)

    def learn(self, model: Autoencoder, windows: WindowSet, index: Tensor) -> None:
        total, square, count = (torch.zeros(windows.channels, dtype=torch.float64) for _ in range(3))
        for batch in blocks(windows, index):
            x = batch.x.cpu().double()
            total += x.sum((0, 1))
            square += x.square().sum((0, 1))
            count += batch.observed.sum((0, 1)).cpu().double()
        count.clamp_(min=1)
        mean = total / count
        variance = (square / count - mean**2).clamp(min=0)
        variance[variance == 0] = 1.0
        self._moments = torch.stack([mean, variance]).float().to(windows.device)

    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        mean, variance = self._moments
        return (batch.x - mean) ** 2 / variance

    def state(self) -> dict[str, Tensor]:
        return {"moments": self._moments}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self._moments = state["moments"].to(device)


class ErrorDistance(Head):
    """The squared Mahalanobis distance of a step's error vector from those of normal data (EncDec-AD, Malhotra 2016).

    Its parts are the squares of the whitened error, with the symmetric root Σ^(−½), the whitening that stays closest to
    the channels (Kessy, Lewin & Strimmer 2018: ZCA); they sum to the distance. Errors of missing values count as the
    usual error. Σ is shrunk as in Ledoit & Wolf 2004.
    """

    def __init__(self) -> None:
        self._mean, self._root = torch.empty(0), torch.empty(0)

    def learn(self, model: Autoencoder, windows: WindowSet, index: Tensor) -> None:
        from sklearn.covariance import ledoit_wolf

        found = []
        for batch, output in outputs(model, windows, index):
            whole = batch.observed.all(-1)
            found.append((batch.x - output.likelihood.mean)[whole].cpu().double())
        errors = torch.cat(found)
        if len(errors) < 2:
            raise DataError("no two training rows have a value in every channel. Use --score nll.")
        mean = errors.mean(0)
        covariance = torch.from_numpy(ledoit_wolf((errors - mean).numpy(), assume_centered=True)[0])
        value, vector = torch.linalg.eigh(covariance)
        root = vector @ torch.diag(value.clamp(min=1e-12).rsqrt()) @ vector.T
        self._mean, self._root = mean.float().to(windows.device), root.float().to(windows.device)

    def parts(self, model: Autoencoder, batch: Batch, output: Output) -> Tensor:
        error = batch.x - output.likelihood.mean - self._mean
        return (torch.where(batch.observed, error, 0.0) @ self._root) ** 2

    def state(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "root": self._root}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self._mean, self._root = state["mean"].to(device), state["root"].to(device)


def mean_observed(values: Tensor, observed: Tensor) -> Tensor:
    """Return the mean over the steps of (B, W, C) where observed, (B, 1, C); 0 where nothing was."""
    count = observed.sum(1, keepdim=True)
    return torch.where(observed, values, 0.0).sum(1, keepdim=True) / count.clamp(min=1)


def window_parts(
    model: Autoencoder, windows: WindowSet, index: Tensor, heads: Mapping[str, Head]
) -> dict[str, NDArray[np.float32]]:
    """Return each head's parts of the windows `index` (N,), as means over their observed steps: (N, C) by name."""
    found: dict[str, list[Tensor]] = {name: [] for name in heads}
    for batch, output in outputs(model, windows, index) if heads else ():
        for name, head in heads.items():
            mean = mean_observed(head.parts(model, batch, output).expand_as(batch.x), batch.observed)
            found[name].append(torch.where(batch.observed.any(1, keepdim=True), mean, torch.nan)[:, 0])
    return {name: torch.cat(parts).float().cpu().numpy() for name, parts in found.items()}


def blocks(windows: WindowSet, index: Tensor) -> Iterator[Batch]:
    """Gather the windows `index`, some at a time."""
    return map(windows.gather, index.split(BLOCK))


def outputs(model: Autoencoder, windows: WindowSet, index: Tensor) -> Iterator[tuple[Batch, Output]]:
    """Run the model over the windows `index`, some at a time, z at its mean."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in blocks(windows, index):
                yield batch, model(batch.x, batch.observed, batch.condition, batch.lengths, sample=False)
    finally:
        model.train(training)
