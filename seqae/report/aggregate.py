"""Long series made small enough for a page: no spike is lost, gaps stay gaps, and events keep all their rows.

A curve is kept as some of its rows. The overview holds the lowest and the highest row of each of many equal stretches;
rows near events are all kept, for as many events as a budget of bytes allows. The page thins what it shows once more.
"""

from __future__ import annotations

__all__ = ["BUDGET", "CURVE_ROWS", "Plan", "extreme_rows", "outer_band", "pack", "packed_band", "packed_curve", "plan"]

import base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BUDGET = 2_100_000
"""Bytes of rows and values in a page; as base64 text they are a third more, 2.8 MB."""

CURVE_ROWS = 1500
"""Stretches of a neighbourhood that is longer than twice as many rows; it is thinned, too."""

FEWEST, MOST = 300, 6000  # stretches of an overview: a screen's width should stay filled, and zooming has an end
OVERVIEW = 0.6  # of the budget
FAINT = 4  # channels that are not shown at first have so many times fewer stretches
CURVE, BAND = 8, 12  # bytes: a row's number and one or two values of four bytes each
CHANNEL = 2 * CURVE + BAND  # observed and expected, and the band
Rows = NDArray[np.int64]
Span = tuple[int, int]


class Plan(NamedTuple):
    """How finely a page tells a series: stretches of the overview, and the spans [start, stop) kept in full."""

    buckets: int
    faint_buckets: int
    details: tuple[Span, ...]


def plan(rows: int, primary: int, others: int, neighbourhoods: Iterable[Span], *, budget: int = BUDGET) -> Plan:
    """Share the budget between the overview of a score and its channels and the neighbourhoods, the first first.

    primary: channels shown at first, which are told finely; others: those told coarsely, without neighbourhoods. The
    overview has at least `FEWEST` stretches, whatever they take. A series that fits in whole is kept in whole.
    """
    if rows * (4 + 16 * (primary + others)) <= budget:  # row numbers need not be written then
        return Plan(rows, rows, ())
    stretch = 2 * CURVE + (2 * 2 * CURVE + BAND) * (primary + others / FAINT)
    buckets = int(np.clip(OVERVIEW * budget / stretch, FEWEST, MOST))
    left = budget - buckets * stretch
    details: list[Span] = []
    for start, stop in neighbourhoods:
        left -= min(stop - start, 2 * CURVE_ROWS) * (CURVE + CHANNEL * primary)
        if left < 0:
            break
        details.append((start, stop))
    return Plan(buckets, max(FEWEST, buckets // FAINT), tuple(details))


def extreme_rows(values: NDArray[Any], buckets: int) -> Rows:
    """Return the rows, at most 2 · buckets, of the lowest and highest value of each of `buckets` equal stretches.

    values: (T,). A stretch without any value gives its first row, which is NaN. Few values are all returned.
    """
    if len(values) <= 2 * buckets:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), buckets + 1).astype(np.int64)
    places = np.arange(int(np.diff(edges).max()))
    rows = np.minimum(edges[:-1, None] + places, edges[1:, None] - 1)
    block = values[rows]
    gone = np.isnan(block)
    low = np.where(gone, np.inf, block).argmin(axis=1)
    high = np.where(gone, -np.inf, block).argmax(axis=1)
    return np.unique(np.take_along_axis(rows, np.stack([low, high], axis=1), axis=1))


def outer_band(lower: NDArray[Any], upper: NDArray[Any], buckets: int) -> tuple[Rows, NDArray[Any], NDArray[Any]]:
    """Return rows, lower and upper ends of a band (T,) that covers all of the given one, a row for each stretch."""
    if len(lower) <= 2 * buckets:
        return np.arange(len(lower)), lower, upper
    edges = np.linspace(0, len(lower), buckets + 1).astype(np.int64)
    middles = (edges[:-1] + edges[1:] - 1) // 2
    return middles, np.fmin.reduceat(lower, edges[:-1]), np.fmax.reduceat(upper, edges[:-1])


def packed_curve(values: NDArray[Any], buckets: int, details: Sequence[Span] = ()) -> dict[str, str | None]:
    """Return a curve (T,) as text: `rows` (None: all of them) and `values` of its overview and its details."""
    kept = [extreme_rows(values, buckets)]
    kept += [start + extreme_rows(values[start:stop], CURVE_ROWS) for start, stop in details]
    rows = np.unique(np.concatenate(kept))
    return {"rows": _pack_rows(rows, len(values)), "values": pack(values[rows], "<f4")}


def packed_band(
    lower: NDArray[Any], upper: NDArray[Any], buckets: int, details: Sequence[Span] = ()
) -> dict[str, str | None]:
    """Return a band (T,) as text: `rows`, `lower` and `upper`; in a detail there is no row of the overview."""
    rows, low, high = outer_band(lower, upper, buckets)
    inside = np.zeros(len(rows), dtype=bool)
    for start, stop in details:
        inside |= (rows >= start) & (rows < stop)
    parts = [(rows[~inside], low[~inside], high[~inside])]
    for start, stop in details:
        near, low, high = outer_band(lower[start:stop], upper[start:stop], CURVE_ROWS)
        parts.append((start + near, low, high))
    rows, low, high = (np.concatenate(part) for part in zip(*parts, strict=True))
    rows, first = np.unique(rows, return_index=True)
    return {
        "rows": _pack_rows(rows, len(lower)),
        "lower": pack(low[first], "<f4"),
        "upper": pack(high[first], "<f4"),
    }


def pack(numbers: NDArray[Any], kind: str) -> str:
    """Return numbers as base64 text of a kind that numpy names, such as "<f4"."""
    return base64.b64encode(np.ascontiguousarray(numbers, dtype=kind).tobytes()).decode("ascii")


def _pack_rows(rows: Rows, total: int) -> str | None:
    return None if len(rows) == total else pack(rows, "<u4")
