"""The generalised Pareto law of the excesses over a high threshold: fit, tail probability and quantile.

Excesses y > 0 have the survival function (1 + ξy/σ)^(−1/ξ), exp(−y/σ) at ξ = 0 (Pickands 1975). ξ is the shape, σ the
scale; a tail with ξ < 0 ends at −σ/ξ.
"""

from __future__ import annotations

__all__ = ["LEAST_SHAPE", "Pareto", "fit_pareto"]

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.errors import DataError

Floats = NDArray[np.float64]

LEAST_SHAPE = -0.5
"""Below it maximum likelihood is not regular (Smith 1985), below −1 the likelihood has no maximum at all."""
ROUNDS = 16
"""Grids, each four times as fine as the one before and around its best point: to ten digits of the first one's step."""
SMALL = 1e-8
"""Where |ξ · log| is smaller, the first terms of its series are exact to double precision."""


class Pareto(NamedTuple):
    """A generalised Pareto law: its shape ξ and its scale σ, in units of the excesses."""

    shape: float
    scale: float

    def survival(self, excesses: ArrayLike) -> Floats:
        """Return P(Y > y) for y ≥ 0; 0 beyond the end that a tail with ξ < 0 has, NaN stays NaN."""
        y = np.asarray(excesses, dtype=np.float64) / self.scale
        x = self.shape * y
        near = np.abs(x) < SMALL
        with np.errstate(divide="ignore"):
            far = np.log1p(np.maximum(x, -1.0)) / (self.shape or 1.0)
        return np.exp(-np.where(near, y * (1 - x / 2), far))

    def quantile(self, probability: float) -> float:
        """Return the excess that is exceeded with this probability, in (0, 1]: σ (r^(−ξ) − 1) / ξ."""
        length = -math.log(probability)
        power = self.shape * length
        if abs(power) < SMALL:
            return self.scale * length * (1 + power / 2)
        return self.scale * math.expm1(power) / self.shape

    def log_likelihood(self, excesses: ArrayLike) -> float:
        """Return the sum of the log densities, −inf where an excess lies beyond the law's end."""
        y = np.asarray(excesses, dtype=np.float64) / self.scale
        x = self.shape * y
        if (x <= -1).any():
            return -math.inf
        # (1 + 1/ξ) log(1 + ξy); its limit at ξ = 0 is y
        each = y + x * (1 - y / 2) if np.abs(x).max() < SMALL else (1 + 1 / self.shape) * np.log1p(x)
        return float(-len(y) * math.log(self.scale) - each.sum())


def fit_pareto(excesses: ArrayLike) -> Pareto:
    """Return the law of highest likelihood with ξ ≥ −½ for excesses (N,), all above 0; DataError for others.

    With θ = ξ/σ the likelihood is highest at ξ = mean log(1 + θy) (Davison 1984), where that is at least −½, otherwise
    at −½, so that θ alone is searched: over a grid between its bounds (Grimshaw 1993), then over ever finer ones.
    """
    given = np.asarray(excesses, dtype=np.float64).ravel()
    if not len(given) or not (np.isfinite(given).all() and (given > 0).all()):
        raise DataError("A Pareto law is fitted to excesses: one or more finite numbers above 0.")
    unit = float(given.mean())
    y = given / unit  # makes the grid fit any units

    def shape_of(theta: float) -> tuple[float, float]:
        middle = float(np.log1p(theta * y).mean())
        return max(middle, LEAST_SHAPE), middle

    def loss(theta: float) -> float:
        if theta == 0:
            return 1.0  # the exponential law, whose scale is the mean
        shape, middle = shape_of(theta)
        return math.log(shape / theta) + middle + middle / shape

    grid = _grid(float(y.min()), float(y.max()))
    for _ in range(ROUNDS):
        best = int(np.argmin([loss(theta) for theta in grid]))
        theta = grid[best]
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 9).tolist()
    if theta == 0:
        return Pareto(0.0, unit)
    shape = shape_of(theta)[0]
    return Pareto(shape, shape / theta * unit)


def _grid(least: float, most: float) -> list[float]:
    """Return values of θ in increasing order, for excesses of mean 1: from near the end −1/most to Grimshaw's bound."""
    share = 1 / (1 + np.exp(-np.linspace(-8.0, 25.0, 60)))
    upper = 2 * (1 - least) / max(least, 1e-6) ** 2
    above = np.geomspace(1e-4, max(upper, 1.0), 60)
    return [*(-share[::-1] / most).tolist(), 0.0, *above.tolist()]
