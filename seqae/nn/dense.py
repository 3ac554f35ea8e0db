"""The multilayer perceptron: an encoder and a decoder of fully connected layers over a whole window or image."""

from __future__ import annotations

__all__ = ["DenseDecoder", "DenseEncoder", "check_steps", "split"]

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqae.errors import DataError
from seqae.nn.decoders import Decoder
from seqae.nn.encoders import Encoder


def flat(x: Tensor, condition: Tensor | None, known: int) -> Tensor:
    """Return x: (B, ...) and the first `known` steps of condition: (B, T, K) in one row a window."""
    rows = x.flatten(1)
    return rows if condition is None else torch.cat([rows, condition[:, :known].flatten(1)], dim=-1)


def layers(sizes: Sequence[int]) -> nn.Sequential:
    """Return fully connected layers of these sizes with a ReLU after each."""
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts)


class DenseEncoder(Encoder):
    """Fully connected layers with ReLU over all T · C values; its features are the last layer's.

    known: the steps of the condition that enter, 1 where it does not change within a window (a label). With `masked`
    the mask of observed values enters beside the values, so that a missing one differs from an observed 0; without, a
    missing value is a 0, as a masked pixel is (Vincent et al. 2008).
    """

    def __init__(
        self, *, steps: int, channels: int, condition: int, known: int, hidden: Sequence[int], masked: bool
    ) -> None:
        super().__init__()
        self.steps, self.known, self.masked = steps, known, masked
        self.layers = layers([steps * channels * (2 if masked else 1) + known * condition, *hidden])
        self.features = hidden[-1]

    def forward(self, x: Tensor, observed: Tensor, condition: Tensor | None, lengths: Tensor | None) -> Tensor:
        check_steps(x.shape[1], self.steps)
        seen = torch.cat([x, observed.to(x.dtype)], dim=-1) if self.masked else x
        features: Tensor = self.layers(flat(seen, condition, self.known))
        return features


class DenseDecoder(Decoder):
    """The encoder's layers the other way round, then a linear layer to the likelihood's numbers of all T · C values."""

    def __init__(
        self, *, latent: int, steps: int, channels: int, condition: int, known: int, hidden: Sequence[int], extras: int
    ) -> None:
        super().__init__()
        self.steps, self.channels, self.known, self.extras = steps, channels, known, extras
        self.layers = layers([latent + known * condition, *reversed(hidden)])
        self.head = nn.Linear(hidden[0], steps * channels * (1 + extras))

    def forward(
        self,
        z: Tensor,
        steps: int,
        condition: Tensor | None = None,
        lengths: Tensor | None = None,
        truth: Tensor | None = None,
        forced: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        check_steps(steps, self.steps)
        numbers = self.head(self.layers(flat(z, condition, self.known)))
        return split(numbers.view(len(z), 1 + self.extras, steps, self.channels))


def split(numbers: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return location (B, T, C) and extra (B, T, C, extras) or None from numbers (B, 1 + extras, T, C)."""
    return numbers[:, 0], numbers[:, 1:].permute(0, 2, 3, 1) if numbers.shape[1] > 1 else None


def check_steps(given: int, built: int) -> None:
    """Raise DataError for a window that is not as long as those that a body was built for."""
    if given != built:
        raise DataError(
            f"this model takes and gives windows of {built} steps, no others; got {given}. Cut the data so, or use a "
            "model with the body rnn, which takes any length."
        )
