"""Encoders: a window (B, T, C) to features (B, F)."""

from __future__ import annotations

__all__ = ["Encoder", "RecurrentEncoder"]

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from seqae.errors import choose
from seqae.nn.recurrence import CELLS, last, remember


class Encoder(nn.Module, ABC):
    """Turns a window and its condition into features (B, F)."""

    features: int

    @abstractmethod
    def forward(self, x: Tensor, observed: Tensor, condition: Tensor | None, lengths: Tensor | None) -> Tensor:
        """Return features (B, F) of x: (B, T, C) with observed: (B, T, C) bool, condition: (B, T, K), lengths: (B,)."""


class RecurrentEncoder(Encoder):
    """A GRU or LSTM over [value; observed?; condition]; its features are the last hidden state of the top layer.

    A missing value enters as 0 beside a 0 in its channel's mask, so that it differs from an observed 0.
    With `bidirectional` the features are both directions' last states, (B, 2H). steps: see `remember`.
    """

    def __init__(
        self, *, channels: int, condition: int, hidden: int, cell: str, layers: int = 1, bidirectional: bool = False,
        steps: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features = hidden * (2 if bidirectional else 1)
        self.cell = choose(CELLS, cell, "cell")
        self.rnn = self.cell.library(2 * channels + condition, hidden, num_layers=layers, bidirectional=bidirectional)
        remember(self.rnn, steps)

    def forward(self, x: Tensor, observed: Tensor, condition: Tensor | None, lengths: Tensor | None) -> Tensor:
        parts = [x, observed.to(x.dtype)] + ([] if condition is None else [condition])
        inputs = torch.cat(parts, dim=-1).transpose(0, 1)  # (T, B, 2C + K)
        return last(self.cell, self.rnn, inputs, lengths)
