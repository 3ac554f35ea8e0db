"""Decoders: a latent (B, Z) and a condition to the likelihood's numbers for every step."""

from __future__ import annotations

__all__ = ["DECODERS", "FEEDBACKS", "Decoder", "RecurrentDecoder", "Wiring"]

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqae.errors import choose
from seqae.nn.recurrence import CELLS, Feedback, remember, run


@dataclass(frozen=True)
class Wiring:
    """What a decoder mode puts into the cell at step t, beside the condition c_t."""

    latent: bool
    """z at every step."""
    output: bool
    """o_{t−1}, what came out before; o_0 is computed from h_0, so there is no start token."""
    help: str


DECODERS: dict[str, Wiring] = {
    "repeat_latent": Wiring(latent=True, output=False, help="the latent at every step"),
    "concat_output_latent": Wiring(latent=True, output=True, help="the latent beside what came out before"),
    "output_as_input": Wiring(latent=False, output=True, help="only what came out before"),
}


# What is fed back: the top layer's hidden state, or its projection to the likelihood's location (the mean)?
FEEDBACKS: dict[str, bool] = {"hidden": False, "output": True}


class Decoder(nn.Module, ABC):
    """Turns a latent and a condition into the likelihood's numbers; it sees the window through these two alone."""

    channels: int
    feeds_mean: bool = False
    """Whether its own mean is fed back, so that the truth could be fed instead (teacher forcing)."""

    @abstractmethod
    def forward(
        self,
        z: Tensor,
        steps: int,
        condition: Tensor | None = None,
        lengths: Tensor | None = None,
        truth: Tensor | None = None,
        forced: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return location (B, T, C) and extra numbers (B, T, C, extras) or None, for z: (B, Z).

        condition: (B, T, K); lengths: (B,) of the windows that are shorter than T; truth: (B, T, C) and
        forced: (B, T, C) bool for teacher forcing: where forced[:, t], the step after t is fed truth[:, t].
        """


class RecurrentDecoder(Decoder):
    """A GRU or LSTM that starts from h_0 = tanh(A [z; c_1]).

    It sees the window through z and c alone. An LSTM's cell state starts likewise, and every layer, each with rows of
    A of its own. With `reverse` the last step comes first (Sutskever et al. 2014; Malhotra et al. 2016) and the result
    is turned back. steps: see `remember`; a decoder gives windows of any length.
    """

    def __init__(
        self,
        *,
        latent: int,
        condition: int,
        hidden: int,
        channels: int,
        cell: str,
        decoder_type: str,
        layers: int = 1,
        feedback: str = "hidden",
        reverse: bool = False,
        extras: int = 0,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        self.cell = choose(CELLS, cell, "cell")
        self.wiring = choose(DECODERS, decoder_type, "decoder_type")
        self.projected = choose(FEEDBACKS, feedback, "feedback")
        self.feeds_mean = self.wiring.output and self.projected
        self.layers, self.hidden, self.channels, self.extras, self.reverse = layers, hidden, channels, extras, reverse
        self.location = nn.Linear(hidden, channels)
        self.extra = nn.Linear(hidden, channels * extras) if extras else None
        self.start = nn.Linear(latent + condition, self.cell.states * layers * hidden)
        inputs = (latent if self.wiring.latent else 0) + condition
        if self.wiring.output:
            inputs += channels if self.projected else hidden
        self.rnn = self.cell.library(inputs, hidden, num_layers=layers)
        remember(self.rnn, steps)

    def forward(
        self,
        z: Tensor,
        steps: int,
        condition: Tensor | None = None,
        lengths: Tensor | None = None,
        truth: Tensor | None = None,
        forced: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        order = self._order(steps, lengths, z.device) if self.reverse else None
        if order is not None:
            condition, truth, forced = (_reorder(part, order) for part in (condition, truth, forced))
        first = z if condition is None else torch.cat([z, condition[:, 0]], dim=-1)
        start = torch.tanh(self.start(first)).view(len(z), self.cell.states, self.layers, self.hidden)
        state = tuple(part.contiguous() for part in start.permute(1, 2, 0, 3))
        hidden = run(self.cell, self.rnn, self._inputs(z, steps, condition), state, self._fed_back(truth, forced))
        # The heads take (T, B, H) as it is: what they give is smaller to turn round.
        location, extra = self.location(hidden).transpose(0, 1), None
        if self.extra is not None:
            extra = self.extra(hidden).transpose(0, 1)
        if order is not None:
            location, extra = _reorder(location, order), _reorder(extra, order)
        return location, None if extra is None else extra.unflatten(-1, (self.channels, self.extras))

    def _inputs(self, z: Tensor, steps: int, condition: Tensor | None) -> Tensor:
        parts = [z.expand(steps, *z.shape)] if self.wiring.latent else []
        if condition is not None:
            parts.append(condition.transpose(0, 1))
        if len(parts) == 1:  # an expanded latent stays one: the recurrence multiplies it once for all steps
            return parts[0]
        return torch.cat(parts, dim=-1) if parts else z.new_zeros(steps, len(z), 0)

    def _fed_back(self, truth: Tensor | None, forced: Tensor | None) -> Feedback | None:
        if not self.wiring.output:
            return None
        feedback = Feedback(self.location.weight, self.location.bias) if self.projected else Feedback()
        if truth is None or forced is None:
            return feedback
        # Step t is fed what came before it; at the first step that is o_0, whatever is forced.
        before, known = (torch.zeros_like(part) for part in (truth, forced))
        before[:, 1:], known[:, 1:] = truth[:, :-1], forced[:, :-1]
        return feedback._replace(truth=before.transpose(0, 1), forced=known.transpose(0, 1))

    @staticmethod
    def _order(steps: int, lengths: Tensor | None, device: torch.device) -> Tensor:
        """Return (B or 1, T) positions that turn each window's own length round and leave its padding in place."""
        position = torch.arange(steps, device=device)[None]
        if lengths is None:
            return position.flip(1)
        length = lengths.to(device)[:, None]
        return torch.where(position < length, length - 1 - position, position)


def _reorder(part: Tensor | None, order: Tensor) -> Tensor | None:
    if part is None:
        return None
    return part.gather(1, order.expand(len(part), -1)[..., None].expand(-1, -1, part.shape[-1]))
