"""The products that the compiled recurrences are made of, in tiles that stay in registers, and their two functions.

Weights (N, K) come as panels of 16 rows, (N / 16, K, 16): a tile is 4 rows of what is multiplied × one panel. Numbers
that a product reads or writes lie in panels too: row r, column n at first + (n // 16) · panel + r · row + n % 16, with
panel = 16 where rows are contiguous.
"""

from __future__ import annotations

__all__ = ["HALF", "ONE", "gradient", "inline", "product", "sigmoid", "tanh"]

from typing import Any

import numba
import numpy as np

from seqae.nn.lanes import LANES, fill, limit, load, mul_add, store, unit

DEPTH = 64
"""Rows that a weight's gradient adds up in registers before it adds them to the others."""
ZERO, HALF, ONE, _FAR = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(8.193483)
# tanh(x) = x P(x²) / Q(x²), fitted for |x| ≤ 9 to a relative error of 2.1e-8 (linear programming, iterated as by
# Barrodale, Powell & Roberts 1972). Held where float32 first stays at exactly ±1, so that no gate leaves [0, 1].
_P0, _P1, _P2 = np.float32(0.999999979447667), np.float32(0.133810261428228), np.float32(0.003495588748762234)
_P3, _P4 = np.float32(2.0609092993087723e-05), np.float32(1.3354676508592195e-08)
_Q1, _Q2 = np.float32(0.46714341733329334), np.float32(0.025876984509573334)
_Q3, _Q4 = np.float32(0.0003285635859130692), np.float32(7.776564427620012e-07)


def inline(function: Any) -> Any:
    """Compile a function into each of its callers."""
    return numba.njit(function, nogil=True, error_model="numpy", forceinline=True)


def _once(function: Any) -> Any:
    return numba.njit(function, nogil=True, error_model="numpy")


@inline
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent of lanes, to 3.2e-7 of its value."""
    x = limit(x, unit(_FAR))
    y = x * x
    above = mul_add(mul_add(unit(_P4), y, unit(_P3)), y, unit(_P2))
    above = mul_add(mul_add(above, y, unit(_P1)), y, unit(_P0))
    below = mul_add(mul_add(unit(_Q4), y, unit(_Q3)), y, unit(_Q2))
    below = mul_add(mul_add(below, y, unit(_Q1)), y, unit(ONE))
    return x * above / below


@inline
def sigmoid(x: Any) -> Any:
    """Return the logistic function of lanes, to 2e-7."""
    half = unit(HALF)
    return mul_add(half, tanh(half * x), half)


@inline
def _row(
    first: int, last: int,
    out: Any, out_at: int, out_panel: int, given: Any, given_at: int, given_panel: int,
    x: Any, x_at: int, x_size: int, x_panels: Any, x_first: int,
    h: Any, h_at: int, h_panel: int, h_size: int, h_panels: Any, h_first: int,
) -> None:  # fmt: skip
    """Do what `product` does for one row, which alone would leave three quarters of its tile unused."""
    for p in range(first, last, 4):
        # Past the last panel it is computed once more, to the same numbers.
        second, third, fourth = min(p + 1, last - 1), min(p + 2, last - 1), min(p + 3, last - 1)
        a, b = load(given, given_at + p * given_panel), load(given, given_at + second * given_panel)
        c, d = load(given, given_at + third * given_panel), load(given, given_at + fourth * given_panel)
        wide = x_size * LANES
        i, j = (p - x_first) * wide, (second - x_first) * wide
        k, m = (third - x_first) * wide, (fourth - x_first) * wide
        for n in range(x_size):
            value, at = fill(x, x_at + n), n * LANES
            a, b = mul_add(value, load(x_panels, i + at), a), mul_add(value, load(x_panels, j + at), b)
            c, d = mul_add(value, load(x_panels, k + at), c), mul_add(value, load(x_panels, m + at), d)
        wide = h_size * LANES
        i, j = (p - h_first) * wide, (second - h_first) * wide
        k, m = (third - h_first) * wide, (fourth - h_first) * wide
        for q in range(h_size // LANES):
            for n in range(LANES):
                value, at = fill(h, h_at + q * h_panel + n), (q * LANES + n) * LANES
                a, b = mul_add(value, load(h_panels, i + at), a), mul_add(value, load(h_panels, j + at), b)
                c, d = mul_add(value, load(h_panels, k + at), c), mul_add(value, load(h_panels, m + at), d)
        store(out, out_at + p * out_panel, a)
        store(out, out_at + second * out_panel, b)
        store(out, out_at + third * out_panel, c)
        store(out, out_at + fourth * out_panel, d)


@_once
def product(
    first: int, last: int, rows: int,
    out: Any, out_at: int, out_row: int, out_panel: int,
    given: Any, given_at: int, given_row: int, given_panel: int,
    x: Any, x_at: int, x_size: int, x_panels: Any, x_first: int,
    h: Any, h_at: int, h_row: int, h_panel: int, h_size: int, h_panels: Any, h_first: int,
) -> None:  # fmt: skip
    """Write given + x · x_panels + h · h_panels to the panels first … last − 1 of each row of `out`.

    x: rows of x_size numbers, one behind the other; h_size: a multiple of 16. x_first and h_first: the panel of `out`
    that the first panel of weights gives. `out` may be `given`.
    """
    if rows == 1:
        _row(
            first, last, out, out_at, out_panel, given, given_at, given_panel,
            x, x_at, x_size, x_panels, x_first, h, h_at, h_panel, h_size, h_panels, h_first,
        )  # fmt: skip
        return
    for p in range(first, last):
        for row in range(0, rows, 4):
            # Past the last row it is computed once more, to the same numbers.
            second, third, fourth = min(row + 1, rows - 1), min(row + 2, rows - 1), min(row + 3, rows - 1)
            at = given_at + p * given_panel
            a, b = load(given, at + row * given_row), load(given, at + second * given_row)
            c, d = load(given, at + third * given_row), load(given, at + fourth * given_row)
            i, j, k, m = x_at + row * x_size, x_at + second * x_size, x_at + third * x_size, x_at + fourth * x_size
            at = (p - x_first) * x_size * LANES
            for n in range(x_size):
                column = load(x_panels, at + n * LANES)
                a, b = mul_add(fill(x, i + n), column, a), mul_add(fill(x, j + n), column, b)
                c, d = mul_add(fill(x, k + n), column, c), mul_add(fill(x, m + n), column, d)
            i, j, k, m = h_at + row * h_row, h_at + second * h_row, h_at + third * h_row, h_at + fourth * h_row
            at = (p - h_first) * h_size * LANES
            for _ in range(h_size // LANES):
                for n in range(LANES):
                    column = load(h_panels, at + n * LANES)
                    a, b = mul_add(fill(h, i + n), column, a), mul_add(fill(h, j + n), column, b)
                    c, d = mul_add(fill(h, k + n), column, c), mul_add(fill(h, m + n), column, d)
                i, j, k, m, at = i + h_panel, j + h_panel, k + h_panel, m + h_panel, at + LANES * LANES
            at = out_at + p * out_panel
            store(out, at + row * out_row, a)
            store(out, at + second * out_row, b)
            store(out, at + third * out_row, c)
            store(out, at + fourth * out_row, d)


@_once
def gradient(p: int, steps: int, batch: int, panels: int, width: int, x: Any, before: Any, found: Any) -> None:
    """Add column panel p of xᵀ · before over all steps to panel p of found (panels, width, 16).

    x: (T, B, width); before: (T, panels, B, 16).
    """
    together = max(1, DEPTH // batch)
    for first in range(0, steps, together):
        last = min(first + together, steps)
        for low in range(0, batch, DEPTH):
            high = min(low + DEPTH, batch)
            for row in range(0, width, 4):
                # Past the last number it is computed once more, to the same sums.
                second, third, fourth = min(row + 1, width - 1), min(row + 2, width - 1), min(row + 3, width - 1)
                to = p * width * LANES
                a, b = load(found, to + row * LANES), load(found, to + second * LANES)
                c, d = load(found, to + third * LANES), load(found, to + fourth * LANES)
                for t in range(first, last):
                    at, own = (t * batch + low) * width, ((t * panels + p) * batch + low) * LANES
                    for _ in range(low, high):
                        entering = load(before, own)
                        a, b = mul_add(fill(x, at + row), entering, a), mul_add(fill(x, at + second), entering, b)
                        c, d = mul_add(fill(x, at + third), entering, c), mul_add(fill(x, at + fourth), entering, d)
                        at, own = at + width, own + LANES
                store(found, to + row * LANES, a)
                store(found, to + second * LANES, b)
                store(found, to + third * LANES, c)
                store(found, to + fourth * LANES, d)
