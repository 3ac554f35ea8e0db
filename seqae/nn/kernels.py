"""All T steps of an LSTM or a GRU in one call, forward and backward, for some of the batch's rows.

A row is computed for itself: neither the other rows of the batch nor the number of threads change a bit of it.
Everything is float32, contiguous, time-first, and H a multiple of 16. A row of gates has 4H numbers,

    LSTM  i | f | g | o            as the library has them
    GRU   n | r | z | q            likewise, with n = tanh(n's row + r ⊙ q), of which only q need have a recurrent part

and begins as given + x·V + h·W, where `given` (B, 4H) or (4H,) is the same at every step. Weights come as panels of 16
columns, (columns / 16, rows, 16): each product is a tile of 4 rows × 16 columns that stays in registers. Without
gradients `kept` is False, and gates and cell states are written over at each step.
"""

from __future__ import annotations

__all__ = ["DEPTH", "gru_backward", "gru_forward", "lstm_backward", "lstm_forward", "outer", "sigmoid", "tanh"]

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from seqae.folding import kernel
from seqae.nn.lanes import LANES, fill, limit, load, mul_add, store, unit

Floats = NDArray[np.float32]
_BLOCK = 32
"""Rows that are taken through a step together: their gates stay in the nearest cache."""
DEPTH = 64
"""Rows that `outer` adds up before it adds them to the others."""
_ZERO, _HALF, _ONE, _FAR = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(8.193483)
# tanh(x) = x P(x²) / Q(x²), fitted for |x| ≤ 9 to a relative error of 2.1e-8 (linear programming, iterated as by
# Barrodale, Powell & Roberts 1972). Held where float32 first stays at exactly ±1, so that no gate leaves [0, 1].
_P0, _P1, _P2 = np.float32(0.999999979447667), np.float32(0.133810261428228), np.float32(0.003495588748762234)
_P3, _P4 = np.float32(2.0609092993087723e-05), np.float32(1.3354676508592195e-08)
_Q1, _Q2 = np.float32(0.46714341733329334), np.float32(0.025876984509573334)
_Q3, _Q4 = np.float32(0.0003285635859130692), np.float32(7.776564427620012e-07)


def _inline(function: Any) -> Any:
    return numba.njit(function, nogil=True, error_model="numpy", forceinline=True)


@_inline
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent of lanes, to 3.2e-7 of its value."""
    x = limit(x, unit(_FAR))
    y = x * x
    above = mul_add(mul_add(unit(_P4), y, unit(_P3)), y, unit(_P2))
    above = mul_add(mul_add(above, y, unit(_P1)), y, unit(_P0))
    below = mul_add(mul_add(unit(_Q4), y, unit(_Q3)), y, unit(_Q2))
    below = mul_add(mul_add(below, y, unit(_Q1)), y, unit(_ONE))
    return x * above / below


@_inline
def sigmoid(x: Any) -> Any:
    """Return the logistic function of lanes, to 2e-7."""
    half = unit(_HALF)
    return mul_add(half, tanh(half * x), half)


@_inline
def _row(
    first: int, last: int, out: Floats, out_at: int, given: Floats, given_at: int,
    x: Floats, x_at: int, x_size: int, x_panels: Floats, x_first: int,
    h: Floats, h_at: int, h_size: int, h_panels: Floats, h_first: int,
) -> None:  # fmt: skip
    """Do what `_product` does for one row, which alone would leave three quarters of its tile unused."""
    for p in range(first, last, 4):
        # Past the last panel it is computed once more, to the same numbers.
        second, third, fourth = min(p + 1, last - 1), min(p + 2, last - 1), min(p + 3, last - 1)
        a, b = load(given, given_at + LANES * p), load(given, given_at + LANES * second)
        c, d = load(given, given_at + LANES * third), load(given, given_at + LANES * fourth)
        wide = x_size * LANES
        i, j, k, m = (
            (p - x_first) * wide,
            (second - x_first) * wide,
            (third - x_first) * wide,
            (fourth - x_first) * wide,
        )
        for n in range(x_size):
            value, at = fill(x, x_at + n), n * LANES
            a, b = mul_add(value, load(x_panels, i + at), a), mul_add(value, load(x_panels, j + at), b)
            c, d = mul_add(value, load(x_panels, k + at), c), mul_add(value, load(x_panels, m + at), d)
        wide = h_size * LANES
        i, j, k, m = (
            (p - h_first) * wide,
            (second - h_first) * wide,
            (third - h_first) * wide,
            (fourth - h_first) * wide,
        )
        for n in range(h_size):
            value, at = fill(h, h_at + n), n * LANES
            a, b = mul_add(value, load(h_panels, i + at), a), mul_add(value, load(h_panels, j + at), b)
            c, d = mul_add(value, load(h_panels, k + at), c), mul_add(value, load(h_panels, m + at), d)
        store(out, out_at + LANES * p, a)
        store(out, out_at + LANES * second, b)
        store(out, out_at + LANES * third, c)
        store(out, out_at + LANES * fourth, d)


@_inline
def _product(
    first: int, last: int, rows: int,
    out: Floats, out_at: int, out_row: int, given: Floats, given_at: int, given_row: int,
    x: Floats, x_at: int, x_row: int, x_size: int, x_panels: Floats, x_first: int,
    h: Floats, h_at: int, h_row: int, h_size: int, h_panels: Floats, h_first: int,
) -> None:  # fmt: skip
    """Write given + x · x_panels + h · h_panels to the panels first … last − 1 of each row of `out`."""
    if rows == 1:
        _row(
            first, last, out, out_at, given, given_at,
            x, x_at, x_size, x_panels, x_first, h, h_at, h_size, h_panels, h_first,
        )  # fmt: skip
        return
    for p in range(first, last):
        for row in range(0, rows, 4):
            # Past the last row it is computed once more, to the same numbers.
            second, third, fourth = min(row + 1, rows - 1), min(row + 2, rows - 1), min(row + 3, rows - 1)
            at = given_at + LANES * p
            a, b = load(given, at + row * given_row), load(given, at + second * given_row)
            c, d = load(given, at + third * given_row), load(given, at + fourth * given_row)
            i, j = x_at + row * x_row, x_at + second * x_row
            k, m = x_at + third * x_row, x_at + fourth * x_row
            at = (p - x_first) * x_size * LANES
            for n in range(x_size):
                column = load(x_panels, at + n * LANES)
                a, b = mul_add(fill(x, i + n), column, a), mul_add(fill(x, j + n), column, b)
                c, d = mul_add(fill(x, k + n), column, c), mul_add(fill(x, m + n), column, d)
            i, j = h_at + row * h_row, h_at + second * h_row
            k, m = h_at + third * h_row, h_at + fourth * h_row
            at = (p - h_first) * h_size * LANES
            for n in range(h_size):
                column = load(h_panels, at + n * LANES)
                a, b = mul_add(fill(h, i + n), column, a), mul_add(fill(h, j + n), column, b)
                c, d = mul_add(fill(h, k + n), column, c), mul_add(fill(h, m + n), column, d)
            at = out_at + LANES * p
            store(out, at + row * out_row, a)
            store(out, at + second * out_row, b)
            store(out, at + third * out_row, c)
            store(out, at + fourth * out_row, d)


@kernel
def lstm_forward(
    low: int, high: int, batch: int, steps: int, size: int, width: int, kept: bool,
    given: Floats, given_row: int, x: Floats, x_panels: Floats, h_panels: Floats,
    gates: Floats, hidden: Floats, cells: Floats,
) -> None:  # fmt: skip
    """Fill gates (T, B, 4H), hidden and cells (T + 1, B, H), which begin with the initial state; rows low … high − 1.

    x: (T, B, width). Not `kept`: gates (B, 4H), cells (B, H).
    """
    four, state = 4 * size, batch * size
    for t in range(steps):
        for row in range(low, high, _BLOCK):
            rows = min(_BLOCK, high - row)
            gate = (t * batch * kept + row) * four
            _product(
                0, four // LANES, rows, gates, gate, four, given, row * given_row, given_row,
                x, (t * batch + row) * width, width, width, x_panels, 0,
                hidden, t * state + row * size, size, size, h_panels, 0,
            )  # fmt: skip
            for r in range(row, row + rows):
                now = (t * kept * batch + r) * size
                for j in range(0, size, LANES):
                    at = gate + (r - row) * four + j
                    i, f = sigmoid(load(gates, at)), sigmoid(load(gates, at + size))
                    g, o = tanh(load(gates, at + 2 * size)), sigmoid(load(gates, at + 3 * size))
                    store(gates, at, i)
                    store(gates, at + size, f)
                    store(gates, at + 2 * size, g)
                    store(gates, at + 3 * size, o)
                    c = mul_add(f, load(cells, now + j), i * g)
                    store(cells, now + j + kept * state, c)
                    store(hidden, (t + 1) * state + r * size + j, o * tanh(c))


@kernel
def lstm_backward(
    low: int, high: int, batch: int, steps: int, size: int,
    above: Floats, above_step: int, gates: Floats, cells: Floats, panels: Floats, nothing: Floats,
    before: Floats, total: Floats, hidden: Floats, cell: Floats,
) -> None:  # fmt: skip
    """Fill `before` (T, B, 4H), the gradient of what enters the gates, and total (B, 4H), its sum over the steps.

    above: (T, B, H) or, with above_step = 0, (B, H), the gradient of every hidden state; hidden and cell (B, H) come
    with the last state's gradient and leave with the first's. nothing: (H,) zeros.
    """
    four, state = 4 * size, batch * size
    one = unit(_ONE)
    for t in range(steps - 1, -1, -1):
        for row in range(low, high, _BLOCK):
            rows = min(_BLOCK, high - row)
            for r in range(row, row + rows):
                for j in range(0, size, LANES):
                    at, part = (t * batch + r) * four + j, r * size + j
                    i, f = load(gates, at), load(gates, at + size)
                    g, o = load(gates, at + 2 * size), load(gates, at + 3 * size)
                    dh = load(hidden, part) + load(above, t * above_step + part)
                    squashed = tanh(load(cells, (t + 1) * state + part))
                    dc = mul_add(dh * o, one - squashed * squashed, load(cell, part))
                    store(cell, part, dc * f)
                    di, df = dc * g * i * (one - i), dc * load(cells, t * state + part) * f * (one - f)
                    dg, do = dc * i * (one - g * g), dh * squashed * o * (one - o)
                    store(before, at, di)
                    store(before, at + size, df)
                    store(before, at + 2 * size, dg)
                    store(before, at + 3 * size, do)
                    at = r * four + j
                    store(total, at, load(total, at) + di)
                    store(total, at + size, load(total, at + size) + df)
                    store(total, at + 2 * size, load(total, at + 2 * size) + dg)
                    store(total, at + 3 * size, load(total, at + 3 * size) + do)
            _product(
                0, size // LANES, rows, hidden, row * size, size, nothing, 0, 0,
                before, 0, 0, 0, panels, 0, before, (t * batch + row) * four, four, four, panels, 0,
            )  # fmt: skip


@kernel
def gru_forward(
    low: int, high: int, batch: int, steps: int, size: int, width: int, kept: bool, free: bool,
    given: Floats, given_row: int, x: Floats, x_panels: Floats, h_panels: Floats, gates: Floats, hidden: Floats,
) -> None:  # fmt: skip
    """Fill gates (T, B, 4H) and hidden (T + 1, B, H), which begins with the initial state; rows low … high − 1.

    x: (T, B, width), its panels those of n, r, z; the hidden state's those of r, z, q and, with `free`, of n before
    them. Not `kept`: gates (B, 4H).
    """
    four, state = 4 * size, batch * size
    ends = size // LANES
    for t in range(steps):
        for row in range(low, high, _BLOCK):
            rows = min(_BLOCK, high - row)
            gate = (t * batch * kept + row) * four
            for part in range(3):
                first, last = (0, ends) if part == 0 else (ends, 3 * ends) if part == 1 else (3 * ends, 4 * ends)
                _product(
                    first, last, rows, gates, gate, four, given, row * given_row, given_row,
                    x, (t * batch + row) * width, width, width if part < 2 else 0, x_panels, 0,
                    hidden, t * state + row * size, size, size if free or part > 0 else 0,
                    h_panels, 0 if free else ends,
                )  # fmt: skip
            for r in range(row, row + rows):
                now = (t * batch + r) * size
                for j in range(0, size, LANES):
                    at = gate + (r - row) * four + j
                    r_, z = sigmoid(load(gates, at + size)), sigmoid(load(gates, at + 2 * size))
                    n = tanh(mul_add(r_, load(gates, at + 3 * size), load(gates, at)))
                    store(gates, at, n)
                    store(gates, at + size, r_)
                    store(gates, at + 2 * size, z)
                    store(hidden, now + state + j, mul_add(z, load(hidden, now + j) - n, n))


@kernel
def gru_backward(
    low: int, high: int, batch: int, steps: int, size: int, free: bool,
    above: Floats, above_step: int, gates: Floats, states: Floats, panels: Floats,
    before: Floats, total: Floats, hidden: Floats,
) -> None:  # fmt: skip
    """Fill before (T, B, 4H) and total (B, 4H) as `lstm_backward` does; states: (T + 1, B, H); hidden: (B, H)."""
    four = 4 * size
    one = unit(_ONE)
    for t in range(steps - 1, -1, -1):
        for row in range(low, high, _BLOCK):
            rows = min(_BLOCK, high - row)
            for r in range(row, row + rows):
                for j in range(0, size, LANES):
                    at, part = (t * batch + r) * four + j, r * size + j
                    n, r_ = load(gates, at), load(gates, at + size)
                    z, q = load(gates, at + 2 * size), load(gates, at + 3 * size)
                    dh = load(hidden, part) + load(above, t * above_step + part)
                    dn = dh * (one - z) * (one - n * n)
                    dr, dq = dn * q * r_ * (one - r_), dn * r_
                    dz = dh * (load(states, (t * batch + r) * size + j) - n) * z * (one - z)
                    store(hidden, part, dh * z)
                    store(before, at, dn)
                    store(before, at + size, dr)
                    store(before, at + 2 * size, dz)
                    store(before, at + 3 * size, dq)
                    at = r * four + j
                    store(total, at, load(total, at) + dn)
                    store(total, at + size, load(total, at + size) + dr)
                    store(total, at + 2 * size, load(total, at + 2 * size) + dz)
                    store(total, at + 3 * size, load(total, at + 3 * size) + dq)
            skip = 0 if free else size
            _product(
                0, size // LANES, rows, hidden, row * size, size, hidden, row * size, size,
                before, 0, 0, 0, panels, 0, before, (t * batch + row) * four + skip, four, four - skip, panels, 0,
            )  # fmt: skip


@kernel
def outer(
    low: int, high: int, depth: int, columns: int, width: int, x: Floats, before: Floats, found: Floats, panel: Floats
) -> None:
    """Add the columns low … high − 1 of xᵀ · before to found (width, columns): a weight's gradient.

    x: (depth, width); before: (depth, columns); low and high: multiples of 16; panel: (columns / 16, DEPTH, 16), room
    to work in.
    """
    for start in range(0, depth, DEPTH):
        rows = min(DEPTH, depth - start)
        for p in range(low, high, LANES):
            own = p * DEPTH
            for n in range(rows):
                store(panel, own + n * LANES, load(before, (start + n) * columns + p))
            for row in range(0, width, 4):
                second, third, fourth = min(row + 1, width - 1), min(row + 2, width - 1), min(row + 3, width - 1)
                a = b = c = d = unit(_ZERO)
                at = start * width
                for n in range(rows):
                    entering = load(panel, own + n * LANES)
                    a, b = mul_add(fill(x, at + row), entering, a), mul_add(fill(x, at + second), entering, b)
                    c, d = mul_add(fill(x, at + third), entering, c), mul_add(fill(x, at + fourth), entering, d)
                    at += width
                a, b = a + load(found, row * columns + p), b + load(found, second * columns + p)
                c, d = c + load(found, third * columns + p), d + load(found, fourth * columns + p)
                store(found, row * columns + p, a)
                store(found, second * columns + p, b)
                store(found, third * columns + p, c)
                store(found, fourth * columns + p, d)
