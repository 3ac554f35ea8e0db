"""Numbers that change during training: the KL term's weight, teacher forcing, the learning rate.

A schedule of the first two kinds is a callable of the epoch (fractional, from 0) with two attributes: `final`, its
value once it has settled, and `warmup_epochs`, the epoch at which it has.
"""

from __future__ import annotations

__all__ = [
    "FORCINGS",
    "LEARNING_RATES",
    "SCHEDULES",
    "WHOLE_RUN",
    "Schedule",
    "constant",
    "cosine_rate",
    "cyclical",
    "inverse_sigmoid",
    "linear",
    "linear_decay",
    "plateau_rate",
    "steady_rate",
]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from seqae.errors import OptionError


class Schedule(Protocol):
    """A number that depends on the epoch."""

    @property
    def final(self) -> float:
        """Return the value once it has settled."""

    @property
    def warmup_epochs(self) -> float:
        """Return the epoch at which it has settled."""

    def __call__(self, epoch: float) -> float:
        """Return the value at a fractional epoch, from 0."""


@dataclass(frozen=True)
class _Ramp:
    """From `start` to `final`, linearly in `rise` epochs, again at each of `cycles` periods; then `final` for good."""

    start: float
    final: float
    rise: float
    period: float = math.inf
    cycles: int = 1

    @property
    def warmup_epochs(self) -> float:
        return self.rise + (self.period * (self.cycles - 1) if self.cycles > 1 else 0.0)

    def __call__(self, epoch: float) -> float:
        if epoch >= self.warmup_epochs:
            return self.final
        share = min(1.0, math.fmod(epoch, self.period) / self.rise)
        return self.start + (self.final - self.start) * share


@dataclass(frozen=True)
class _InverseSigmoid:
    """start · k / (k + exp(epoch / k)), scaled to be `start` at epoch 0."""

    start: float
    k: float
    final: float = 0.0

    @property
    def warmup_epochs(self) -> float:
        return self.k * math.log(99.0 * self.k + 100.0)

    def __call__(self, epoch: float) -> float:
        # Divided through by the exponential, which would overflow in a long run.
        return self.start * (self.k + 1.0) / (self.k * math.exp(-epoch / self.k) + 1.0) * math.exp(-epoch / self.k)


def constant(value: float, epochs: float = 0.0) -> Schedule:
    """Return `value` at every epoch; `epochs` changes nothing: the entries of a menu are called alike."""
    return _Ramp(value, value, 0.0)


def linear(value: float, epochs: float, start: float = 0.0) -> Schedule:
    """Return a rise from `start` to `value` within `epochs` epochs (KL annealing, Bowman et al. 2016)."""
    _positive(epochs=epochs)
    return _Ramp(start, value, epochs)


def cyclical(value: float, period: float, ratio: float = 0.5, cycles: int = 4) -> Schedule:
    """Return rises from 0 to `value`, one each `period` epochs (Fu et al. 2019, who take four cycles).

    The rise takes the first `ratio` of a period, the rest of it stays at `value`, and so does all after the last rise.
    """
    _positive(period=period, ratio=ratio, cycles=cycles)
    if ratio > 1:
        raise OptionError(f"ratio is the rising share of a cycle, at most 1; got {ratio}.")
    return _Ramp(0.0, value, ratio * period, period, cycles)


def linear_decay(value: float, epochs: float) -> Schedule:
    """Return a fall from `value` to 0 within `epochs` epochs (scheduled sampling, Bengio et al. 2015)."""
    return linear(0.0, epochs, start=value)


def inverse_sigmoid(value: float, k: float) -> Schedule:
    """Return value · (k + 1) / (k + exp(epoch / k)) (Bengio et al. 2015, section 2.4, scaled to start at `value`).

    Half of the fall is over near epoch k·ln(k + 2). Its warm-up ends where 1% of `value` is left.
    """
    _positive(k=k)
    return _InverseSigmoid(value, k)


def _positive(**given: float) -> None:
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise OptionError(f"{name} must be greater than 0; got {value!r}.")


SCHEDULES: dict[str, Callable[[float, float], Schedule]] = {
    "constant": constant,
    "linear": linear,
    "cyclical": cyclical,
}
"""What the KL term's weight can follow: f(value, epochs), with the length of a cycle for "cyclical"."""

FORCINGS: dict[str, Callable[[float, float], Schedule]] = {
    "constant": constant,
    "linear": linear_decay,
    "inverse_sigmoid": inverse_sigmoid,
}
"""What teacher forcing can follow: f(value, epochs), with k for "inverse_sigmoid"."""


# A learning rate is a pure function of what has happened, so that a resumed run needs no state for it:
# f(rate, epoch, epochs, totals) with the complete epochs so far, the epochs of the whole run, and the losses of
# the complete epochs since the warm-up.
LearningRate = Callable[[float, int, int, Sequence[float]], float]


def steady_rate(rate: float, epoch: int, epochs: int, totals: Sequence[float]) -> float:
    """Return the rate as it is."""
    return rate


def cosine_rate(rate: float, epoch: int, epochs: int, totals: Sequence[float]) -> float:
    """Return half a cosine, from `rate` at the first epoch to 0 after the last (Loshchilov & Hutter 2017, eq. 5)."""
    return rate * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))


def plateau_rate(rate: float, epoch: int, epochs: int, totals: Sequence[float]) -> float:
    """Halve the rate each time that four epochs in a row have brought no new lowest loss."""
    lowest, waited = math.inf, 0
    for total in totals:
        waited = 0 if total < lowest else waited + 1
        lowest = min(lowest, total)
        if waited == 4:
            rate, waited = rate / 2.0, 0
    return rate


LEARNING_RATES: dict[str, LearningRate] = {"constant": steady_rate, "cosine": cosine_rate, "plateau": plateau_rate}

WHOLE_RUN: tuple[LearningRate, ...] = (cosine_rate,)
"""The learning rates that are laid out over the whole run: its number of epochs cannot change on the way."""
