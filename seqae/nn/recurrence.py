"""The decoders' recurrence: GRU and LSTM run open (inputs known) or closed (fed what came out before).

Closed loop: at step t the cell is given [u_t; o_{t−1}], where o_t = F h_t + f is linear in the top layer's hidden
state (F = I and f = 0 for feedback "hidden"). With one layer the loop collapses:

    gates_t = V u_t + W_o o_{t−1} + W_hh h_{t−1} + b = V u_t + (W_hh + W_o F) h_{t−1} + (b + W_o f)

For an LSTM that is an LSTM with another recurrent matrix, one call of the library's fused kernel instead of T steps.
A GRU's r and z gates merge likewise; its candidate does not, because r multiplies only the recurrent term:

    n = tanh(V_n u + W_on (F h + f) + b_in + r ⊙ (W_hn h + b_hn))

Float32 on the CPU goes through the kernels of compiled.py, one layer or several. What does not fit them goes through
the library's, and closed loops of several layers step by step, as do those that are fed the truth (teacher forcing).
Everything is time-first: u: (T, B, I), hidden states: (T, B, H).
"""

from __future__ import annotations

__all__ = ["CELLS", "Cell", "Feedback", "last", "remember", "run"]

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from seqae.nn import compiled
from seqae.nn.compiled import Layer

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
    compiled: Callable[..., tuple[Tensor, ...]]  # (x, layers, state, steps, fed): hidden states, last state
    layer: Callable[..., Layer]  # a layer's four weights as `compiled` wants them
    fed: Callable[[Tensor], Tensor]  # likewise the weights of what is fed back
    collapsed: Callable[[nn.RNNBase, Tensor, State, Feedback], Tensor]  # the whole closed loop of one layer


MEMORY = 64
"""Steps that memories span where a window's length is not told."""


def remember(rnn: nn.RNNBase, steps: int | None) -> None:
    """Draw the biases of the gates that keep a unit's state so that it lasts from 1 to T = `steps` steps.

    Chrono initialisation (Tallec & Ollivier 2018, §3): log u with u uniform over [1, T − 1], for the GRU's z and the
    LSTM's forget gate; the LSTM's input gate has the opposite. With the library's biases, about 0, half of the state is
    gone after a step, and as long a training explains less of the data (benchmarks/results/choices.md).
    """
    with torch.no_grad():
        for name, bias in rnn.named_parameters():
            if not name.startswith("bias"):
                continue
            gates = bias.view(-1, rnn.hidden_size)  # i, f, g, o; r, z, n
            drawn = "_ih_" in name  # the other bias of each gate, which is added, is 0
            gates[1] = gates[1].uniform_(1.0, max((steps or MEMORY) - 1.0, 1.0)).log() if drawn else 0.0
            if isinstance(rnn, nn.LSTM):
                gates[0] = -gates[1]


def run(cell: Cell, rnn: nn.RNNBase, inputs: Tensor, state: State, feedback: Feedback | None) -> Tensor:
    """Return the top layer's hidden states (T, B, H) for inputs u: (T, B, I).

    `rnn` holds the weights; with feedback its input is [u; o], without it is u.
    """
    weights = rnn.all_weights
    if feedback is None:
        if compiled.fits(inputs, *state, *chain(*weights)):
            return cell.compiled(_once(inputs), [cell.layer(*each) for each in weights], state, len(inputs))[0]
        return rnn(inputs, state[0] if cell.states == 1 else state)[0]
    if feedback.forced is not None:
        return _stepwise(cell, rnn, inputs, state, feedback)
    if rnn.num_layers == 1:
        return cell.collapsed(rnn, inputs, state, feedback)
    if compiled.fits(inputs, *state, *chain(*weights)):
        weight, hidden_weight, recurrent, bias, hidden_bias = _collapse(rnn, feedback, inputs.shape[-1])
        lowest = cell.layer(weight, hidden_weight, bias, hidden_bias)
        layers = [lowest, *(cell.layer(*each) for each in weights[1:])]
        return cell.compiled(_once(inputs), layers, state, len(inputs), cell.fed(recurrent))[0]
    return _stepwise(cell, rnn, inputs, state, feedback)


def last(cell: Cell, rnn: nn.RNNBase, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the top layer's last hidden state (B, H), or both directions' (B, 2H), started from zeros.

    lengths: (B,) steps of each row that are its own, on any device; what lies beyond has no say. None = all T.
    """
    weights = rnn.all_weights
    lengths = None if lengths is None else lengths.to(inputs.device)
    if compiled.fits(inputs, *chain(*weights)):
        zeros = (inputs.new_zeros(len(weights), inputs.shape[1], rnn.hidden_size),) * cell.states
        if rnn.bidirectional:
            return _both_ways(cell, weights, inputs, zeros, lengths)
        layers = [cell.layer(*each) for each in weights]
        return _end(lengths, *cell.compiled(_once(inputs), layers, zeros, len(inputs))[:2])
    if rnn.bidirectional and lengths is not None:
        _, state = rnn(pack_padded_sequence(inputs, lengths.cpu(), enforce_sorted=False))
    else:
        outputs, state = rnn(inputs)
    hidden = state[0] if isinstance(state, tuple) else state  # (layers · directions, B, H)
    return torch.cat([hidden[-2], hidden[-1]], dim=-1) if rnn.bidirectional else _end(lengths, outputs, hidden[-1])


def _both_ways(
    cell: Cell, weights: Sequence[Sequence[Tensor]], inputs: Tensor, state: State, lengths: Tensor | None
) -> Tensor:
    """Return the last hidden states (B, 2H) of the top layer, forwards and backwards; weights: as the library's."""
    for low in range(0, len(weights), 2):
        there, back = (
            cell.compiled(way, [cell.layer(*weights[k])], [part[k : k + 1] for part in state], len(inputs))[:2]
            for k, way in ((low, inputs), (low + 1, _turned(inputs, lengths)))
        )
        inputs = torch.cat([there[0], _turned(back[0], lengths)], dim=-1)
    return torch.cat([_end(lengths, *there), _end(lengths, *back)], dim=-1)


def _end(lengths: Tensor | None, hidden: Tensor, final: Tensor) -> Tensor:
    """Return each row's hidden state (B, H) at its own last step, of all (T, B, H) and the last ones."""
    if lengths is None:
        return final
    return hidden.gather(0, (lengths - 1)[None, :, None].expand(1, -1, hidden.shape[2]))[0]


def _turned(part: Tensor, lengths: Tensor | None) -> Tensor:
    """Return (T, B, I) with each row's own steps turned round and what lies beyond left in place."""
    if lengths is None:
        return part.flip(0)
    step = torch.arange(len(part), device=part.device)[:, None]
    order = torch.where(step < lengths, lengths - 1 - step, step)
    return part.gather(0, order[..., None].expand_as(part))


def _once(inputs: Tensor) -> Tensor:
    """Return (1, B, I) of inputs that are one step's, expanded."""
    return inputs if inputs.stride(0) else inputs[:1]


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
    merged = hidden_weight + recurrent
    if compiled.fits(inputs, *state, weight, merged, bias):
        return compiled.lstm(_once(inputs), [_lstm_layer(weight, merged, bias, hidden_bias)], state, len(inputs))[0]
    if inputs.shape[-1] == 0:  # the fused kernel wants at least one input
        inputs = inputs.new_zeros(*inputs.shape[:-1], 1)
        weight = weight.new_zeros(weight.shape[0], 1)
    parameters = [weight, merged, bias, hidden_bias]
    with warnings.catch_warnings():
        # cuDNN compacts the merged weights at every call; there is no earlier moment at which they exist.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        return torch.lstm(inputs, list(state), parameters, True, 1, 0.0, rnn.training, False, False)[0]


def _gru_collapsed(rnn: nn.RNNBase, inputs: Tensor, state: State, feedback: Feedback) -> Tensor:
    weight, hidden_weight, recurrent, bias, hidden_bias = _collapse(rnn, feedback, inputs.shape[-1])
    h, size, two = state[0][0], rnn.hidden_size, 2 * rnn.hidden_size
    # One product a step gives, side by side: the candidate's ungated part, r and z whole, and its gated part.
    merged = torch.cat([recurrent[two:], hidden_weight[:two] + recurrent[:two], hidden_weight[two:]])
    driving, _, given = _gru_layer(weight, hidden_weight, bias, hidden_bias)
    if compiled.fits(inputs, h, driving, merged, given):
        return compiled.gru(_once(inputs), [Layer(driving, merged, given)], state, len(inputs))[0]
    driven = (inputs @ driving.T + given[:-size]).unbind(0)  # T × (B, 3H)
    candidate_bias, transposed, outputs = given[-size:], merged.T, []
    for entering in driven:
        product = h @ transposed
        free, both, gated = product.split([size, two, size], dim=-1)
        r, z = torch.sigmoid(entering[:, size:] + both).chunk(2, dim=-1)
        n = torch.tanh(entering[:, :size] + free + r * (gated + candidate_bias))
        h = n + z * (h - n)
        outputs.append(h)
    return torch.stack(outputs)


def _lstm_step(below: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return torch.lstm_cell(below, state, *weights)


def _gru_step(below: Tensor, state: State, weights: Sequence[Tensor]) -> State:
    return (torch.gru_cell(below, state[0], *weights),)


def _lstm_layer(weight: Tensor, hidden_weight: Tensor, bias: Tensor, hidden_bias: Tensor) -> Layer:
    return Layer(weight, hidden_weight, bias + hidden_bias)


def _gru_layer(weight: Tensor, hidden_weight: Tensor, bias: Tensor, hidden_bias: Tensor) -> Layer:
    two = 2 * hidden_weight.shape[1]
    biases = torch.cat([bias[two:], bias[:two] + hidden_bias[:two], hidden_bias[two:]])
    return Layer(_candidate_first(weight), hidden_weight, biases)


def _candidate_first(part: Tensor) -> Tensor:
    """Return rows n, r, z of the library's r, z, n."""
    size = len(part) // 3
    return torch.cat([part[2 * size :], part[: 2 * size]])


def _as_it_is(part: Tensor) -> Tensor:  # no lambda: a model must be picklable
    return part


CELLS: dict[str, Cell] = {
    "gru": Cell(nn.GRU, 1, _gru_step, compiled.gru, _gru_layer, _candidate_first, _gru_collapsed),
    "lstm": Cell(nn.LSTM, 2, _lstm_step, compiled.lstm, _lstm_layer, _as_it_is, _lstm_collapsed),
}
