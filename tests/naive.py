"""Slow, obvious reference versions: loops over single values, written from the definitions, never from the library."""

import statistics

import numpy as np
import torch

# Windows


def window_starts(length, window, stride, tail="drop"):
    starts, start = [], 0
    while start + window <= length:
        starts.append(start)
        start += stride
    covered = starts[-1] + window if starts else 0
    if tail == "align" and starts and covered < length:
        starts.append(length - window)
    if tail == "pad" and covered < length and start < length:
        starts.append(start)
    return starts


def windows_of_panel(arrays, window, stride, tail="drop", min_observed=0.0):
    """Return (series, start within it, rows) of each window; a series shorter than one gives one of all its rows."""
    found = []
    for number, values in enumerate(arrays):
        length = len(values)
        starts = window_starts(length, window, stride, tail) if length >= window else [0] * (length > 0)
        for start in starts:
            part = values[start : start + window]
            observed = sum(1 for value in part.ravel() if not np.isnan(value))
            if observed / part.size >= min_observed:
                found.append((number, start, len(part)))
    return found


# Folds: parts (N, W, C), NaN = nothing said; window n begins at starts[n] and has sizes[n] rows of its own.


def overlap_mean(said, step, window):
    total = np.float64(said[0].value)
    for other in said[1:]:
        total = total + np.float64(other.value)
    return total / len(said)


def overlap_median(said, step, window):
    return statistics.median(float(one.value) for one in said)


def centred(said, step, window):
    nearest = said[0]
    for one in said[1:]:
        if abs(step - one.centre) < abs(step - nearest.centre):
            nearest = one
    return nearest.value


def last(said, step, window):
    for one in said:
        if one.ends_at(step, window):
            return one.value
    return np.nan


class Said:
    """What one window says of one value."""

    def __init__(self, start, size, value):
        self.start, self.size, self.value = start, size, value
        self.centre = start + (size - 1) / 2

    def ends_at(self, step, window):
        return self.size == window and self.start + window - 1 == step


def fold(rule, parts, starts, sizes, length):
    """Return values (T, C) and coverage (T,): `rule` gets what is said of a value, in the order of the windows."""
    _, window, channels = parts.shape
    values = np.full((length, channels), np.nan, dtype=np.float32)
    coverage = np.zeros(length, dtype=int)
    for step in range(length):
        speakers = set()
        for channel in range(channels):
            said = []
            for n, start in enumerate(starts):
                size = min(sizes[n], length - start)
                if start <= step < start + size and not np.isnan(parts[n, step - start, channel]):
                    said.append(Said(start, size, parts[n, step - start, channel]))
                    if rule is not last or said[-1].ends_at(step, window):
                        speakers.add(n)
            if said:
                values[step, channel] = rule(said, step, window)
        coverage[step] = len(speakers)
    return values, coverage


# --- decoders: one step, one equation, one window at a time -----------------------------------------------------------


def sigmoid(a):
    return 1 / (1 + torch.exp(-a))


def gru_step(x, h, weights):
    """Cho et al. 2014, in the library's variant: r multiplies the recurrent term of the candidate."""
    w_ih, w_hh, b_ih, b_hh = weights
    size = len(h)
    given, back = w_ih @ x + b_ih, w_hh @ h + b_hh
    r = sigmoid(given[:size] + back[:size])
    z = sigmoid(given[size : 2 * size] + back[size : 2 * size])
    n = torch.tanh(given[2 * size :] + r * back[2 * size :])
    return (1 - z) * n + z * h


def lstm_step(x, h, c, weights):
    """Hochreiter & Schmidhuber 1997, with a forget gate (Gers et al. 2000)."""
    w_ih, w_hh, b_ih, b_hh = weights
    size = len(h)
    gates = w_ih @ x + b_ih + w_hh @ h + b_hh
    i, f = sigmoid(gates[:size]), sigmoid(gates[size : 2 * size])
    g, o = torch.tanh(gates[2 * size : 3 * size]), sigmoid(gates[3 * size :])
    c = f * c + i * g
    return o * torch.tanh(c), c


def decode(decoder, z, steps, condition=None, lengths=None, truth=None, forced=None):
    """The decoder as DESIGN.md has it, written out: returns location (B, T, C) and hidden states (B, T, H)."""
    layers, size = decoder.layers, decoder.hidden
    lstm = decoder.cell.states == 2
    locations, hiddens = [], []
    for b in range(len(z)):
        length = steps if lengths is None else int(lengths[b])
        order = list(range(steps))
        if decoder.reverse:
            order = [*reversed(range(length)), *range(length, steps)]
        c = None if condition is None else condition[b][order]
        first = z[b] if c is None else torch.cat([z[b], c[0]])
        start = torch.tanh(decoder.start.weight @ first + decoder.start.bias)
        h = [start[k * size : (k + 1) * size] for k in range(layers)]
        cells = [start[(layers + k) * size : (layers + k + 1) * size] for k in range(layers)] if lstm else None
        location, hidden = [None] * steps, [None] * steps
        for step in range(steps):
            parts = [z[b]] if decoder.wiring.latent else []
            if c is not None:
                parts.append(c[step])
            if decoder.wiring.output:
                o = decoder.location.weight @ h[-1] + decoder.location.bias if decoder.projected else h[-1]
                if forced is not None and step > 0:
                    before = order[step - 1]
                    o = torch.where(forced[b, before], truth[b, before], o)
                parts.append(o)
            below = torch.cat(parts)
            for k in range(layers):
                if lstm:
                    h[k], cells[k] = lstm_step(below, h[k], cells[k], decoder.rnn.all_weights[k])
                else:
                    h[k] = gru_step(below, h[k], decoder.rnn.all_weights[k])
                below = h[k]
            hidden[order[step]] = h[-1]
            location[order[step]] = decoder.location.weight @ h[-1] + decoder.location.bias
        locations.append(torch.stack(location))
        hiddens.append(torch.stack(hidden))
    return torch.stack(locations), torch.stack(hiddens)


def encode(encoder, x, observed, condition=None, lengths=None):
    """The encoder's features (B, F), one window and one step at a time."""
    features = []
    for b in range(len(x)):
        length = x.shape[1] if lengths is None else int(lengths[b])
        parts = [x[b, :length], observed[b, :length].to(x.dtype)]
        if condition is not None:
            parts.append(condition[b, :length])
        below = torch.cat(parts, dim=-1)
        for layer in range(encoder.rnn.num_layers):
            above, last = [], []
            for direction in range(1 + encoder.rnn.bidirectional):
                weights = encoder.rnn.all_weights[layer * (1 + encoder.rnn.bidirectional) + direction]
                steps = range(length) if direction == 0 else reversed(range(length))
                h = c = torch.zeros(encoder.rnn.hidden_size, dtype=x.dtype)
                states = [None] * length
                for t in steps:
                    if isinstance(encoder.rnn, torch.nn.LSTM):
                        h, c = lstm_step(below[t], h, c, weights)
                    else:
                        h = gru_step(below[t], h, weights)
                    states[t] = h
                above.append(torch.stack(states))
                last.append(h)
            below = torch.cat(above, dim=-1)
        features.append(torch.cat(last))
    return torch.stack(features)
