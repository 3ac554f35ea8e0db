"""Affiliation precision and recall: how near flags and anomalies lie to each other, against a random flag.

Huet, Navarro & Rossi, "Local Evaluation of Time Series Anomaly Detection Algorithms", KDD 2022. Time is continuous: row
t is the interval [t, t + 1). The zone of an anomaly is the time that is nearer to it than to any other; within a zone a
distance counts by the probability that a uniformly random point is at least as far away. All integrals are exact.
"""

from __future__ import annotations

__all__ = ["Affiliation", "affiliation"]

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seqae.anomaly.metrics.segments import Floats, Ints, checked_flags, segments
from seqae.errors import DataError


class Affiliation(NamedTuple):
    """Precision, a mean over the zones that hold a flag, and recall, a mean over all zones; about .5 by chance."""

    precision: float
    recall: float


class Pieces(NamedTuple):
    """Flagged intervals cut at the zones' borders (P,), with the anomaly [first, last) and the zone [low, high)."""

    start: Floats
    end: Floats
    zone: Ints
    first: Floats
    last: Floats
    low: Floats
    high: Floats


def affiliation(flags: ArrayLike, labels: ArrayLike) -> Affiliation:
    """Return affiliation precision and recall of flags (T,) against labels (T,).

    Raises DataError where no row is labelled (there is no zone) or none is flagged (precision has no value).
    """
    flagged, marks = checked_flags(flags, labels)
    if not marks.any():
        raise DataError("affiliation is undefined: no row is labelled anomalous.")
    if not flagged.any():
        raise DataError("affiliation is undefined: no row is flagged.")
    starts, ends = segments(marks)
    first, last = starts.astype(np.float64), (ends + 1).astype(np.float64)
    borders = np.r_[0.0, (last[:-1] + first[1:]) / 2, len(marks)]
    pieces = _cut(flagged, first, last, borders)
    lengths = np.bincount(pieces.zone, pieces.end - pieces.start, minlength=len(first))
    near = np.bincount(pieces.zone, _nearness(pieces), minlength=len(first))
    found = lengths > 0
    reached = np.bincount(pieces.zone, _reach(pieces), minlength=len(first)) / (last - first)
    return Affiliation(float((near[found] / lengths[found]).mean()), float(reached.mean()))


def _cut(flagged: ArrayLike, first: Floats, last: Floats, borders: Floats) -> Pieces:
    """Cut the flagged intervals where zones meet."""
    begins, ends = segments(flagged)
    stops = (ends + 1).astype(np.float64)
    lowest = np.searchsorted(borders, begins, side="right") - 1
    count = np.searchsorted(borders, stops, side="left") - lowest
    which = np.repeat(np.arange(len(begins)), count)
    zone = lowest[which] + np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    low, high = borders[zone], borders[zone + 1]
    start, end = np.maximum(begins[which], low), np.minimum(stops[which], high)
    return Pieces(start, end, zone, first[zone], last[zone], low, high)


def _nearness(p: Pieces) -> Floats:
    """Return the integral over each piece of P(|U − anomaly| ≥ distance), U uniform in the zone (P,)."""
    inside = np.maximum(np.minimum(p.end, p.last) - np.maximum(p.start, p.first), 0)
    before = _tail(p, np.maximum(p.first - p.start, 0)) - _tail(p, np.maximum(p.first - p.end, 0))
    after = _tail(p, np.maximum(p.end - p.last, 0)) - _tail(p, np.maximum(p.start - p.last, 0))
    return inside + before + after


def _tail(p: Pieces, distance: Floats) -> Floats:
    """Return the integral from 0 to `distance` of the share of the zone that is farther from the anomaly."""
    left, right = np.minimum(distance, p.first - p.low), np.minimum(distance, p.high - p.last)
    area = (p.first - p.low) * left - left**2 / 2 + (p.high - p.last) * right - right**2 / 2
    return area / (p.high - p.low)


def _reach(p: Pieces) -> Floats:
    """Return the integral over the anomaly's points whose nearest piece this is of P(|U − y| ≥ distance) (P,)."""
    inside = np.maximum(np.minimum(p.end, p.last) - np.maximum(p.start, p.first), 0)
    joined = p.zone[1:] == p.zone[:-1]
    middles = (p.end[:-1] + p.start[1:]) / 2
    upper = np.r_[np.where(joined, middles, p.high[:-1]), p.high[-1]]
    lower = np.r_[p.low[0], np.where(joined, middles, p.low[1:])]
    width = p.high - p.low
    after = _ramp(np.maximum(p.end, p.first), np.minimum(upper, p.last), p.end, p.low, p.high)
    # The other side is the same in a mirror.
    before = _ramp(-np.minimum(p.start, p.last), -np.maximum(lower, p.first), -p.start, -p.high, -p.low)
    return inside + (after + before) / width


def _ramp(start: Floats, end: Floats, edge: Floats, low: Floats, high: Floats) -> Floats:
    """Integrate the length of [low, high) that is at least y − edge from y, over y from start to end, edge ≤ start."""
    length = np.maximum(end - start, 0)
    turn = np.clip((high + edge) / 2, start, start + length)
    upper_side = (high + edge) * (turn - start) - (turn**2 - start**2)
    return (edge - low) * length + upper_side
