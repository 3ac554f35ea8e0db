"""The decoders' recurrence: GRU and LSTM run open (inputs known) or closed (fed what came out before).

Closed loop: at step t the cell is given [u_t; o_{t−1}], where o_t = F h_t + f is linear in the top layer's hidden
state (F = I and f = 0 for feedback "hidden"). With one layer the loop collapses:

    gates_t = V u_t + W_o o_{t−1} + W_hh h_{t−1} + b = V u_t + (W_hh + W_o F) h_{t−1} + (b + W_o f)

For an LSTM that is an LSTM with another recurrent matrix, one call of the library's fused kernel instead of T steps.
A GRU's r and z gates merge likewise; its candidate does not, because r multiplies only the recurrent term:

    n = tanh(V_n u + W_on (F h + f) + b_in + r ⊙ (W_hn h + b_hn))

Deeper decoders, and those that are partly fed the truth (teacher forcing), go step by step.
Everything is time-first: u: (T, B, I), hidden states: (T, B, H).
"""

from __future__ import annotations

__all__ = ["CELLS", "Cell", "Feedback", "run"]

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]  # one (L, B, H) tensor for a GRU; hidden and cell for an LSTM


class Feedback(NamedTuple):
    """What the loop feeds back, o = matrix · h + offset, and the truth where it is fed instead."""

    matrix: Tensor | None = None  # (O, H); None: the identity
    offset: Tensor | None = None  # (O,); None: zero
    truth: Tensor | None = None  # (T, B, O): what came before step t, to be fed at t where `forced`
    forced: Tensor | None = None  # (T, B, O) bool

    def project(self, hidden: Tensor) -> Tensor:
        """Return o (..., O) for a hidden state (..., H)."""
        return hidden if self.matrix is None else nn.functional.linear(hidden, self.matrix, self.offset)


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: the library's module for it, its number of state tensors, its step and its closed loop."""

    library: Callable[..., nn.RNNBase]  # (inputs, hidden, num_layers=, bidirectional=)
    states: int
    step: Callable[..., State]  # (input, state, weights) -> state, one layer, one step
    collapsed: Callable[[nn.RNNBase, Tensor, State, Feedback], Tensor]  # the whole closed loop of one layer


def run(cell: Cell, rnn: nn.RNNBase, inputs: Tensor, state: State, feedback: Feedback | None) -> Tensor:
    """Return the top layer's hidden states (T, B, H) for inputs u: (T, B, I).

    `rnn` holds the weights; with feedback its input is [u; o], without it is u.
    """
    if feedback is None:
        return rnn(inputs, state[0] if cell.states == 1 else state)[0]
    if rnn.num_layers == 1 and feedback.forced is None:
        return cell.collapsed(rnn, inputs, state, feedback)
    return _stepwise(cell, rnn, inputs, state, feedback)


def _stepwise(cell: Cell, rnn: nn.RNNBase, inputs: Tensor, state: State, feedback: Feedback) -> Tensor:
    weights = rnn.all_weights
    layers = [tuple(part[layer] for part in state) for layer in range(rnn.num_layers)]
    hidden, outputs = layers[-1][0], []
    for t in range(inputs.shape[0]):
        fed = feedback.project(hidden)
        if feedback.forced is not None and feedback.truth is not None:
            fed = torch.where(feedback.forced[t], feedback.truth[t], fed)
        below = torch.cat([inputs[t], fed], dim=-1)
        for layer in range(rnn.num_layers):
            layers[layer] = cell.step(below, layers[layer], weights[layer])
            below = layers[layer][0]
        hidden = below
        outputs.append(hidden)
    return torch.stack(outputs)


def _collapse(rnn: nn.RNNBase, feedback: Feedback, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return V (G, I), W_hh (G, H), W_o F (G, H), the input bias with W_o f in it, and the recurrent bias (G,)."""
    weight, hidden_weight, bias, hidden_bias = rnn.all_weights[0]
    fed = weight[:, width:]
    moved = bias if feedback.offset is None else bias + fed @ feedback.offset
    recurrent = fed if feedback.matrix is None else fed @ feedback.matrix
    return weight[:, :width], hidden_weight, recurrent, moved, hidden_bias


def _lstm_collapsed(rnn: nn.RNNBase, inputs: Tensor, state: State, feedback: Feedback) -> Tensor:
    weight, hidden_weight, recurrent, bias, hidden_bias = _collapse(rnn, feedback, inputs.shape[-1])
    if inputs.shape[-1] == 0:  # the fused kernel wants at least one input
        inputs = inputs.new_zeros(*inputs.shape[:-1], 1)
        weight = weight.new_zeros(weight.shape[0], 1)
    parameters = [weight, hidden_weight + recurrent, bias, hidden_bias]
    with warnings.catch_warnings():
        # cuDNN compacts the merged weights at every call; there is no earlier moment at which they exist.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        return torch.lstm(inputs, list(state), parameters, True, 1, 0.0, rnn.training, False, False)[0]


def _gru_collapsed(rnn: nn.RNNBase, inputs: Tensor, state: State, feedback: Feedback) -> Tensor:
    weight, hidden_weight, recurrent, bias, hidden_bias = _collapse(rnn, feedback, inputs.shape[-1])
    h, size = state[0][0], rnn.hidden_size
    # One product a step gives, side by side: r and z whole, the candidate's gated and its ungated part.
    merged = torch.cat(
        [hidden_weight[: 2 * size] + recurrent[: 2 * size], hidden_weight[2 * size :], recurrent[2 * size :]]
    )
    ungated = torch.cat([bias[: 2 * size] + hidden_bias[: 2 * size], bias[2 * size :]])
    driven = (inputs @ weight.T + ungated).unbind(0)  # T × (B, 3H)
    candidate_bias, transposed, outputs = hidden_bias[2 * size :], merged.T, []
    for given in driven:
        product = h @ transposed
        r, z = torch.sigmoid(given[:, : 2 * size] + product[:, : 2 * size]).chunk(2, dim=-1)
        gated, free = product[:, 2 * size :].chunk(2, dim=-1)
        n = torch.tanh(given[:, 2 * size :] + free + r * (gated + candidate_bias))
        h = n + z * (h - n)
        outputs.append(h)
    return torch.stack(outputs)


def _lstm_step(below: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return torch.lstm_cell(below, state, *weights)


def _gru_step(below: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return (torch.gru_cell(below, state[0], *weights),)


CELLS: dict[str, Cell] = {
    "gru": Cell(nn.GRU, 1, _gru_step, _gru_collapsed),
    "lstm": Cell(nn.LSTM, 2, _lstm_step, _lstm_collapsed),
}
