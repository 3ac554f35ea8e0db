"""Synthetic series, and anomalies of named kinds put into any series; everything is settled by the seed."""

from __future__ import annotations

__all__ = ["INJECTIONS", "SYNTHETIC", "inject", "multichannel", "regime_switching", "seasonal", "trending"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from seqae.errors import DataError, OptionError, choose
from seqae.series import Series


def seasonal(
    length: int = 2000,
    channels: int = 1,
    *,
    period: float = 50,
    harmonics: int = 3,
    noise: float = 0.1,
    trend: float = 0.0,
    seed: int = 0,
    index: pd.Index | None = None,
) -> Series:
    """Return waves of unit variance that repeat every `period` rows, with white noise.

    Each channel has its own shape, made of `harmonics` sines. noise: its standard deviation; trend: the rise from the
    first row to the last.
    """
    rng = _begin(length=length, channels=channels, period=period, harmonics=harmonics, seed=seed)
    rise = trend * np.linspace(0, 1, length)[:, None]
    return _series(_waves(rng, length, channels, period, harmonics) + rise, noise, rng, "seasonal", index)


def trending(
    length: int = 2000,
    channels: int = 1,
    *,
    knots: int = 4,
    slope: float = 3.0,
    period: float = 50,
    noise: float = 0.1,
    seed: int = 0,
    index: pd.Index | None = None,
) -> Series:
    """Return waves as in `seasonal` on a line that breaks `knots` times and moves by about `slope` between breaks."""
    rng = _begin(length=length, channels=channels, knots=knots, period=period, seed=seed)
    corners = np.linspace(0, length - 1, knots + 2)
    heights = np.cumsum(slope * rng.standard_normal((knots + 2, channels)), axis=0)
    line = np.stack([np.interp(np.arange(length), corners, height) for height in heights.T], axis=1)
    return _series(_waves(rng, length, channels, period, 3) + line, noise, rng, "trending", index)


def regime_switching(
    length: int = 2000,
    channels: int = 1,
    *,
    regimes: int = 3,
    dwell: float = 200,
    period: float = 50,
    noise: float = 0.1,
    seed: int = 0,
    index: pd.Index | None = None,
) -> Series:
    """Return waves whose level, amplitude and speed belong to a regime that lasts `dwell` rows in the mean.

    The regime of each row (a Markov chain) is the covariate column `regime` ("r0", "r1", ...), fit for a condition.
    """
    rng = _begin(length=length, channels=channels, regimes=regimes, dwell=dwell, period=period, seed=seed)
    moves = np.where(rng.random(length) < 1 / dwell, rng.integers(1, max(regimes, 2), size=length), 0)
    state = (rng.integers(regimes) + np.cumsum(moves)) % regimes
    level = 2.0 * np.stack([rng.permutation(regimes) for _ in range(channels)], axis=1)
    amplitude = rng.uniform(0.5, 1.5, size=(regimes, channels))
    speed = rng.permutation(np.geomspace(0.6, 1.6, regimes))
    turn = 2 * np.pi * np.cumsum(speed[state] / period)[:, None] + rng.uniform(0, 2 * np.pi, size=channels)
    series = _series(level[state] + amplitude[state] * np.sin(turn), noise, rng, "regime_switching", index)
    return replace(series, covariates=pd.DataFrame({"regime": [f"r{one}" for one in state]}))


def multichannel(
    length: int = 2000,
    channels: int = 4,
    *,
    factors: int = 2,
    period: float = 50,
    noise: float = 0.1,
    seed: int = 0,
    index: pd.Index | None = None,
) -> Series:
    """Return channels of unit variance that mix the same latent factors, so that each can be told from the others.

    A factor is a wave with a period of its own and a slow random part. All channels lean mostly on the first factor,
    with either sign: any two are clearly correlated, none is a copy of another.
    """
    rng = _begin(length=length, channels=channels, factors=factors, period=period, seed=seed)
    golden = (1 + math.sqrt(5)) / 2  # periods in this ratio never fall into step
    waves = [_waves(rng, length, 1, period * golden**factor, 2)[:, 0] for factor in range(factors)]
    latent = np.stack([0.8 * wave + 0.6 * _slow(rng, length, period) for wave in waves], axis=1)
    loadings = rng.choice([-1, 1], size=(factors, channels)) * rng.uniform(0.8, 1.0, size=(factors, channels))
    loadings[1:] *= 0.5 / math.sqrt(max(1, factors - 1))
    return _series(latent @ (loadings / np.linalg.norm(loadings, axis=0)), noise, rng, "multichannel", index)


SYNTHETIC: dict[str, Callable[..., Series]] = {
    "seasonal": seasonal,
    "trending": trending,
    "regime_switching": regime_switching,
    "multichannel": multichannel,
}


class Site(NamedTuple):
    """Where an anomaly goes: one channel's values (T,) with gaps interpolated, their standard deviation, the rows."""

    values: np.ndarray
    spread: float
    rows: slice

    @property
    def own(self) -> np.ndarray:
        """The values in the rows, (n,)."""
        return self.values[self.rows]


def _spike(site: Site, strength: float, rng: np.random.Generator) -> np.ndarray:
    bump = np.hanning(len(site.own) + 2)[1:-1]
    return site.own + rng.choice([-1, 1]) * strength * site.spread * bump / bump.max()


def _level_shift(site: Site, strength: float, rng: np.random.Generator) -> np.ndarray:
    return site.own + rng.choice([-1, 1]) * strength * site.spread


def _frequency_change(site: Site, strength: float, rng: np.random.Generator) -> np.ndarray:
    # Time runs at another speed from the last untouched row on, which is where the two clocks agree.
    clock = site.rows.start - 1 + strength * np.arange(1, len(site.own) + 1)
    return np.interp(clock, np.arange(len(site.values)), site.values)


def _amplitude_change(site: Site, strength: float, rng: np.random.Generator) -> np.ndarray:
    return site.own.mean() + strength * (site.own - site.own.mean())


def _flatline(site: Site, strength: float, rng: np.random.Generator) -> np.ndarray:
    return np.full(len(site.own), site.values[site.rows.start - 1])


def _missing_pattern(site: Site, strength: float, rng: np.random.Generator) -> np.ndarray:
    lost = rng.permutation(len(site.own))[: max(1, round(strength * len(site.own)))]
    values = site.own.copy()
    values[lost] = np.nan
    return values


def _channel_decoupling(site: Site, strength: float, rng: np.random.Generator) -> np.ndarray:
    # A stretch of the channel's own past or future looks right by itself; of 64 the one least like the truth is taken.
    stretches = np.lib.stride_tricks.sliding_window_view(site.values, len(site.own))
    donors = stretches[rng.integers(len(stretches), size=64)]
    donors = donors - donors.mean(axis=1, keepdims=True)
    own = site.own - site.own.mean()
    size = np.linalg.norm(donors, axis=1) * np.linalg.norm(own)
    likeness = np.divide(np.abs(donors @ own), size, out=np.full(len(size), 2.0), where=size > 0)
    return site.own + strength * (donors[likeness.argmin()] - own)


@dataclass(frozen=True)
class Injection:
    """One kind of anomaly: what it does to one channel's rows, its defaults, and what its strength may be."""

    change: Callable[[Site, float, np.random.Generator], np.ndarray]
    length: int
    strength: float
    meaning: str
    allowed: Callable[[float], bool]
    needs_others: bool = False
    reads_ahead: bool = False


_SIGMAS = ("standard deviations of the channel, not 0", lambda strength: strength != 0)
_FACTOR = ("a factor above 0, not 1", lambda strength: strength > 0 and strength != 1)
_SHARE = ("a share above 0 and up to 1", lambda strength: 0 < strength <= 1)

# Strengths are in standard deviations of the channel where a distance is meant, else plain factors or shares.
INJECTIONS: dict[str, Injection] = {
    "spike": Injection(_spike, 1, 6.0, *_SIGMAS),
    "level_shift": Injection(_level_shift, 50, 3.0, *_SIGMAS),
    "frequency_change": Injection(_frequency_change, 50, 2.0, *_FACTOR, reads_ahead=True),
    "amplitude_change": Injection(_amplitude_change, 50, 2.5, *_FACTOR),
    "flatline": Injection(_flatline, 50, 1.0, "left out: a flatline has none", lambda strength: strength == 1),
    "missing_pattern": Injection(_missing_pattern, 50, 1.0, *_SHARE),
    "channel_decoupling": Injection(_channel_decoupling, 50, 1.0, *_SHARE, needs_others=True),
}


def inject(
    series: Series,
    kind: str,
    *,
    count: int = 1,
    length: int | None = None,
    strength: float | None = None,
    start: int | float | None = None,
    channels: str | Sequence[str] | None = None,
    seed: int = 0,
) -> Series:
    """Return a copy with `count` anomalies of one kind in intervals of `length` rows, labelled True there.

    spike               a bump, up or down, of `strength` standard deviations of the channel at its peak
    level_shift         `strength` standard deviations up or down
    frequency_change    time runs `strength` times as fast, in phase with the row before; ends where it ends
    amplitude_change    `strength` times as far from the interval's mean
    flatline            the value of the row before, held
    missing_pattern     a random share `strength` of the values is missing (the whole interval is labelled)
    channel_decoupling  the channel's own values from another time, `strength` 1 being all of them

    channels: all; for channel_decoupling, one at random per interval. start: the first row that may be touched, or a
    fraction of the series; row 0 never is. Intervals are random, at least one row apart, clear of rows that are
    labelled already, and at least half observed; what is missing stays missing, rows outside stay as they are.
    Raises OptionError for what does not exist or makes no sense, DataError where the intervals do not fit or an anomaly
    would change nothing.
    """
    injection = choose(INJECTIONS, kind, "injection")
    length = injection.length if length is None else length
    strength = injection.strength if strength is None else strength
    if not (math.isfinite(strength) and injection.allowed(strength)):
        raise OptionError(f"{kind} with strength={strength}: the strength must be {injection.meaning}.")
    if count < 1 or length < 1:
        raise OptionError(f"{kind} with count={count}, length={length}: both must be 1 or more.")
    if injection.needs_others and len(series.channels) < 2:
        raise DataError(f"{kind} needs at least two channels; {series.name} has 1 ({series.channels[0]}).")
    named = _named(series, channels)
    rng = np.random.default_rng(seed)
    reach = max(length, math.ceil(strength * length)) if injection.reads_ahead else length
    places = _places(series, named, count, length, reach, _first_row(series, start), rng)
    columns = {c: _filled(series.values[:, c]) for c in named}
    values = series.values.copy()
    labels = np.zeros(len(series), bool) if series.labels is None else series.labels.copy()
    for first in places:
        rows = slice(first, first + length)
        one_of_all = injection.needs_others and channels is None
        for c in [rng.choice(named)] if one_of_all else named:
            changed = injection.change(Site(*columns[c], rows), strength, rng).astype(np.float32)
            changed[np.isnan(values[rows, c])] = np.nan
            if np.array_equal(changed, values[rows, c], equal_nan=True):
                raise DataError(
                    f"{kind} changes nothing in rows {first} to {rows.stop - 1} of {series.channels[c]}, which may be "
                    "constant there. Choose another strength, length, channel or seed."
                )
            values[rows, c] = changed
        labels[rows] = True
    return replace(series, values=values, labels=labels)


def _filled(column: np.ndarray) -> tuple[np.ndarray, float]:
    """Give the values with gaps interpolated, in float64, and their standard deviation."""
    observed = np.flatnonzero(~np.isnan(column))
    given = column[observed].astype(np.float64)
    return np.interp(np.arange(len(column)), observed, given), float(given.std())


def _named(series: Series, channels: str | Sequence[str] | None) -> list[int]:
    names = series.channels if channels is None else [channels] if isinstance(channels, str) else list(channels)
    unknown = [name for name in names if name not in series.channels]
    if unknown or not names:
        raise DataError(f"{series.name} has no channel {', '.join(unknown)!r}. It has: {', '.join(series.channels)}.")
    return [series.channels.index(name) for name in names]


def _first_row(series: Series, start: int | float | None) -> int:
    row = 0 if start is None else round(start * len(series)) if isinstance(start, float) else start
    if not 0 <= row < len(series):
        raise OptionError(f"start={start}: {series.name} has {len(series)} rows. Give a row, or a fraction below 1.")
    return max(row, 1)


def _places(
    series: Series, named: list[int], count: int, length: int, reach: int, first: int, rng: np.random.Generator
) -> list[int]:
    """Draw the intervals' first rows, in order of time."""
    rows = np.arange(first, max(first, len(series) - reach + 1))
    taken = np.zeros(len(series), bool) if series.labels is None else series.labels
    beside = taken | np.append(taken[1:], False) | np.append(False, taken[:-1])
    clear = _sums(beside, length)[rows] == 0
    seen = (2 * _sums(series.observed[:, named], length)[rows] >= length).all(axis=1)
    free = rows[clear & seen]
    packed: list[int] = []  # from the left as tight as can be: no other choice holds more
    for row in free:
        if not packed or row > packed[-1] + length:
            packed.append(int(row))
    if len(packed) < count:
        raise DataError(
            f"{series.name} has room for {len(packed)} of {count} interval(s) of {length} unlabelled, observed rows "
            f"from row {first} on ({len(series)} rows in all). Use a smaller count, length or start."
        )
    for _ in range(50):
        drawn: list[int] = []
        left = free
        while len(drawn) < count and len(left):
            drawn.append(int(rng.choice(left)))
            left = left[np.abs(left - drawn[-1]) > length]
        if len(drawn) == count:
            return sorted(drawn)
    return sorted(rng.choice(packed, size=count, replace=False).tolist())


def _sums(flags: np.ndarray, length: int) -> np.ndarray:
    """Count the flags in each interval [t, t + length), for all t that leave room."""
    total = np.concatenate([np.zeros_like(flags[:1], dtype=np.int64), np.cumsum(flags, axis=0)])
    return total[length:] - total[:-length]


def _begin(*, seed: int, **sizes: float) -> np.random.Generator:
    for name, size in sizes.items():
        if not size > 0:
            raise OptionError(f"{name}={size}: it must be above 0.")
    return np.random.default_rng(seed)


def _waves(rng: np.random.Generator, length: int, channels: int, period: float, harmonics: int) -> np.ndarray:
    """Sums of sines, (length, channels), of unit variance over a whole period."""
    order = np.arange(1, harmonics + 1)
    weight = rng.uniform(0.5, 1.0, size=(channels, harmonics)) / order
    phase = rng.uniform(0, 2 * np.pi, size=(channels, harmonics))
    turns = 2 * np.pi * np.arange(length)[:, None, None] * order / period + phase
    return (weight * np.sin(turns)).sum(axis=2) / np.sqrt((weight**2).sum(axis=1) / 2)


def _slow(rng: np.random.Generator, length: int, period: float) -> np.ndarray:
    """White noise smoothed over half a period, (length,), of unit variance."""
    kernel = np.hanning(max(3, round(period / 2)) + 2)[1:-1]
    kernel /= np.linalg.norm(kernel)
    return np.convolve(rng.standard_normal(length + len(kernel) - 1), kernel, mode="valid")


def _series(clean: np.ndarray, noise: float, rng: np.random.Generator, name: str, index: pd.Index | None) -> Series:
    values = clean + noise * rng.standard_normal(clean.shape)
    if index is not None and len(index) != len(values):
        raise OptionError(f"index has {len(index)} stamps for length={len(values)}. Give one per row.")
    series = Series.from_array(values, name=name)
    return series if index is None else Series.from_frame(series.to_frame().set_axis(index), name=name)
