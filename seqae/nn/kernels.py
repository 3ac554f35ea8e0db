"""All T steps of a stack of LSTM or GRU layers in one call, forward and backward.

A row is computed for itself: neither the other rows of the batch nor the number of threads change a bit of it.
Everything is float32, time-first, and H a multiple of 16. A row of gates has 4H numbers,

    LSTM  i | f | g | o            as the library has them
    GRU   n | r | z | q            likewise, with n = tanh(n's row + r ⊙ q), of which only q need have a recurrent part

and begins as given + x·V + h·W, where `given` (B, 4H) or (4H,) is the same at every step. In the lowest layer of a
closed loop h_top·E is added, what the top layer gave at the step before. Gates lie in panels (T, 4H / 16, B, 16), see
products.py. Without gradients `kept` is False, and gates and cell states are written over at each step.

Each task takes one argument, the address of whole numbers: a counter by which threads claim their parts, how many parts
there are, then sizes and addresses, in the order in which the task unpacks them. A part is `share` rows of the batch.
"""

from __future__ import annotations

__all__ = ["gradients", "gru_backward", "gru_forward", "lstm_backward", "lstm_forward"]

import functools
from collections.abc import Callable
from typing import Any

import numba
from numba.core import types

from seqae.nn.lanes import ADDRESS, LANES, claim, floats, load, mul_add, store, unit
from seqae.nn.products import ONE, gradient, product, sigmoid, tanh

_HEAD = 11
_LAYER = 7


def _task(function: Callable[[Any], None]) -> Callable[[], Any]:
    """Compile when first asked for; later processes load it, unless there is nowhere to write a cache."""

    @functools.cache
    def made() -> Any:
        try:
            return numba.cfunc(types.void(ADDRESS), cache=True, error_model="numpy")(function)
        except RuntimeError:
            return numba.cfunc(types.void(ADDRESS), error_model="numpy")(function)

    return made


@_task
def lstm_forward(d: Any) -> None:
    """Fill each layer's gates, and hidden and cells (T + 1, B, H), which begin with the initial state.

    x: (T, B, width). Not `kept`: gates (1, 4H / 16, B, 16), cells (1, B, H).
    """
    parts, share, batch, steps, size, width, kept, layers = d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8]
    state, ends, wide = batch * size, size // LANES, batch * LANES
    top = floats(d, _HEAD + (layers - 1) * _LAYER + 5)
    while True:
        low = claim(d) * share
        if low >= parts * share:
            break
        rows = min(share, batch - low)
        for t in range(steps):
            for layer in range(layers):
                own = _HEAD + layer * _LAYER
                gates, hidden, cells = floats(d, own + 4), floats(d, own + 5), floats(d, own + 6)
                gate = t * kept * 4 * state + low * LANES
                x, x_at, x_size = floats(d, 9), (t * batch + low) * width, width
                if layer > 0:
                    x, x_at, x_size = floats(d, own + 5 - _LAYER), (t + 1) * state + low * size, size
                product(
                    0, 4 * ends, rows, gates, gate, LANES, wide, floats(d, own), low * d[own + 1], d[own + 1], LANES,
                    x, x_at, x_size, floats(d, own + 2), 0,
                    hidden, t * state + low * size, size, LANES, size, floats(d, own + 3), 0,
                )  # fmt: skip
                if layer == 0 and d[10] != 0:
                    product(
                        0, 4 * ends, rows, gates, gate, LANES, wide, gates, gate, LANES, wide,
                        x, x_at, 0, floats(d, own + 2), 0,
                        top, t * state + low * size, size, LANES, size, floats(d, 10), 0,
                    )  # fmt: skip
                for p in range(ends):
                    for r in range(low, low + rows):
                        at = gate + p * wide + (r - low) * LANES
                        now = r * size + p * LANES
                        fi, gi, oi = at + ends * wide, at + 2 * ends * wide, at + 3 * ends * wide
                        i, f = sigmoid(load(gates, at)), sigmoid(load(gates, fi))
                        g, o = tanh(load(gates, gi)), sigmoid(load(gates, oi))
                        store(gates, at, i)
                        store(gates, fi, f)
                        store(gates, gi, g)
                        store(gates, oi, o)
                        c = mul_add(f, load(cells, now + t * kept * state), i * g)
                        store(cells, now + (t + 1) * kept * state, c)
                        store(hidden, now + (t + 1) * state, o * tanh(c))


@_task
def lstm_backward(d: Any) -> None:
    """Turn each layer's gates into the gradient of what enters them, and fill `total`, its sum over the steps.

    total: (4H / 16, B, 16). above: (T, B, H) or, with above_step = 0, (B, H), the gradient of every hidden state of the
    top layer; hidden and cell (B, H) come with the last states' gradients and leave with the first ones'. Panels are
    those of the transposed weights: a layer's own, then those of what enters it from below.
    """
    parts, share, batch, steps, size, above_step, layers = d[1], d[2], d[3], d[4], d[5], d[6], d[8]
    above, nothing = floats(d, 7), floats(d, 9)
    state, ends, wide = batch * size, size // LANES, batch * LANES
    top = floats(d, _HEAD + (layers - 1) * _LAYER + 3)
    one = unit(ONE)
    while True:
        low = claim(d) * share
        if low >= parts * share:
            break
        rows = min(share, batch - low)
        for t in range(steps - 1, -1, -1):
            for layer in range(layers - 1, -1, -1):
                own = _HEAD + layer * _LAYER
                gates, cells, total = floats(d, own), floats(d, own + 1), floats(d, own + 2)
                hidden, cell = floats(d, own + 3), floats(d, own + 4)
                first = low * LANES
                gate = t * 4 * state + first
                for p in range(ends):
                    for r in range(low, low + rows):
                        at, part = (r - low) * LANES + p * wide, r * size + p * LANES
                        fi, gi, oi = at + ends * wide, at + 2 * ends * wide, at + 3 * ends * wide
                        i, f = load(gates, gate + at), load(gates, gate + fi)
                        g, o = load(gates, gate + gi), load(gates, gate + oi)
                        dh = load(hidden, part)
                        if layer == layers - 1:
                            dh = dh + load(above, t * above_step + part)
                        squashed = tanh(load(cells, (t + 1) * state + part))
                        dc = mul_add(dh * o, one - squashed * squashed, load(cell, part))
                        store(cell, part, dc * f)
                        di, df = dc * g * i * (one - i), dc * load(cells, t * state + part) * f * (one - f)
                        dg, do = dc * i * (one - g * g), dh * squashed * o * (one - o)
                        store(gates, gate + at, di)
                        store(gates, gate + fi, df)
                        store(gates, gate + gi, dg)
                        store(gates, gate + oi, do)
                        store(total, first + at, load(total, first + at) + di)
                        store(total, first + fi, load(total, first + fi) + df)
                        store(total, first + gi, load(total, first + gi) + dg)
                        store(total, first + oi, load(total, first + oi) + do)
                product(
                    0, ends, rows, hidden, low * size, size, LANES, nothing, 0, 0, LANES,
                    nothing, 0, 0, nothing, 0, gates, gate, LANES, wide, 4 * size, floats(d, own + 5), 0,
                )  # fmt: skip
                if layer > 0 or d[10] != 0:
                    below, panels = top, floats(d, 10)
                    if layer > 0:
                        below, panels = floats(d, own + 3 - _LAYER), floats(d, own + 6)
                    product(
                        0, ends, rows, below, low * size, size, LANES, below, low * size, size, LANES,
                        nothing, 0, 0, nothing, 0, gates, gate, LANES, wide, 4 * size, panels, 0,
                    )  # fmt: skip


@_task
def gru_forward(d: Any) -> None:
    """Do what `lstm_forward` does.

    What enters from below, and E, have panels of n, r, z; the layer's own hidden state has those of r, z, q and, with
    `free`, of n before them.
    """
    parts, share, batch, steps, size, width, kept, layers = d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8]
    state, ends, wide = batch * size, size // LANES, batch * LANES
    top = floats(d, _HEAD + (layers - 1) * _LAYER + 5)
    while True:
        low = claim(d) * share
        if low >= parts * share:
            break
        rows = min(share, batch - low)
        for t in range(steps):
            for layer in range(layers):
                own = _HEAD + layer * _LAYER
                gates, hidden, free = floats(d, own + 4), floats(d, own + 5), d[own + 6]
                gate = t * kept * 4 * state + low * LANES
                x, x_at, x_size = floats(d, 9), (t * batch + low) * width, width
                if layer > 0:
                    x, x_at, x_size = floats(d, own + 5 - _LAYER), (t + 1) * state + low * size, size
                for part in range(3):
                    first, last = (0, ends) if part == 0 else (ends, 3 * ends) if part == 1 else (3 * ends, 4 * ends)
                    product(
                        first, last, rows, gates, gate, LANES, wide,
                        floats(d, own), low * d[own + 1], d[own + 1], LANES,
                        x, x_at, x_size if part < 2 else 0, floats(d, own + 2), 0,
                        hidden, t * state + low * size, size, LANES, size if free or part > 0 else 0,
                        floats(d, own + 3), 0 if free else ends,
                    )  # fmt: skip
                if layer == 0 and d[10] != 0:
                    product(
                        0, 3 * ends, rows, gates, gate, LANES, wide, gates, gate, LANES, wide,
                        x, x_at, 0, floats(d, own + 2), 0,
                        top, t * state + low * size, size, LANES, size, floats(d, 10), 0,
                    )  # fmt: skip
                for p in range(ends):
                    for row in range(low, low + rows):
                        at = gate + p * wide + (row - low) * LANES
                        now = (t * batch + row) * size + p * LANES
                        ri, zi, qi = at + ends * wide, at + 2 * ends * wide, at + 3 * ends * wide
                        r, z = sigmoid(load(gates, ri)), sigmoid(load(gates, zi))
                        n = tanh(mul_add(r, load(gates, qi), load(gates, at)))
                        store(gates, at, n)
                        store(gates, ri, r)
                        store(gates, zi, z)
                        store(hidden, now + state, mul_add(z, load(hidden, now) - n, n))


@_task
def gru_backward(d: Any) -> None:
    """Do what `lstm_backward` does; states: (T + 1, B, H)."""
    parts, share, batch, steps, size, above_step, layers = d[1], d[2], d[3], d[4], d[5], d[6], d[8]
    above, nothing = floats(d, 7), floats(d, 9)
    state, ends, wide = batch * size, size // LANES, batch * LANES
    top = floats(d, _HEAD + (layers - 1) * _LAYER + 3)
    one = unit(ONE)
    while True:
        low = claim(d) * share
        if low >= parts * share:
            break
        rows = min(share, batch - low)
        for t in range(steps - 1, -1, -1):
            for layer in range(layers - 1, -1, -1):
                own = _HEAD + layer * _LAYER
                gates, states, total = floats(d, own), floats(d, own + 1), floats(d, own + 2)
                hidden, free = floats(d, own + 3), d[own + 4]
                first = low * LANES
                gate = t * 4 * state + first
                for p in range(ends):
                    for row in range(low, low + rows):
                        at, part = (row - low) * LANES + p * wide, row * size + p * LANES
                        ri, zi, qi = at + ends * wide, at + 2 * ends * wide, at + 3 * ends * wide
                        n, r = load(gates, gate + at), load(gates, gate + ri)
                        z, q = load(gates, gate + zi), load(gates, gate + qi)
                        dh = load(hidden, part)
                        if layer == layers - 1:
                            dh = dh + load(above, t * above_step + part)
                        dn = dh * (one - z) * (one - n * n)
                        dr, dq = dn * q * r * (one - r), dn * r
                        dz = dh * (load(states, t * state + part) - n) * z * (one - z)
                        store(hidden, part, dh * z)
                        store(gates, gate + at, dn)
                        store(gates, gate + ri, dr)
                        store(gates, gate + zi, dz)
                        store(gates, gate + qi, dq)
                        store(total, first + at, load(total, first + at) + dn)
                        store(total, first + ri, load(total, first + ri) + dr)
                        store(total, first + zi, load(total, first + zi) + dz)
                        store(total, first + qi, load(total, first + qi) + dq)
                skip = 0 if free else 1
                product(
                    0, ends, rows, hidden, low * size, size, LANES, hidden, low * size, size, LANES,
                    nothing, 0, 0, nothing, 0,
                    gates, gate + skip * ends * wide, LANES, wide, (4 - skip) * size, floats(d, own + 5), 0,
                )  # fmt: skip
                if layer > 0 or d[10] != 0:
                    below, panels = top, floats(d, 10)
                    if layer > 0:
                        below, panels = floats(d, own + 3 - _LAYER), floats(d, own + 6)
                    product(
                        0, ends, rows, below, low * size, size, LANES, below, low * size, size, LANES,
                        nothing, 0, 0, nothing, 0, gates, gate, LANES, wide, 3 * size, panels, 0,
                    )  # fmt: skip


@_task
def gradients(d: Any) -> None:
    """Add weights' gradients, xᵀ · before over all steps; see `gradient`.

    A part is one panel of one weight. For each weight: its first and last panel, T, the width of x, then x, before and
    found.
    """
    parts, batch, panels = d[1], d[2], d[3]
    while True:
        part = claim(d)
        if part >= parts:
            break
        own = 4
        while part >= d[own + 1] - d[own]:
            part -= d[own + 1] - d[own]
            own += _LAYER
        p, steps, width = d[own] + part, d[own + 2], d[own + 3]
        gradient(p, steps, batch, panels, width, floats(d, own + 4), floats(d, own + 5), floats(d, own + 6))
