"""Invented series with labelled anomalies, that settings may be chosen on: no setting may see a collection's labels.

`waves`: one channel that repeats, as ECGs, gaits, demand and machines do, with one anomaly. `plants`: many channels
that hang together by a few hidden loads, some of them bursts, states or constants, with several anomalies in some of
them; in every other one the normal values drift in the test part. `commands`: one telemetry channel that answers to
commands on and off, which are the other channels; anomalies lie in the answer. Each is made from its number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from labelled import Case
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROWS, TRAIN = 6000, 2500
FIRST = 3000
"""The first row that an anomaly may lie at."""
KINDS = {"waves": 40, "plants": 24, "commands": 12}
"""How many series of each kind."""


def slow(rows: int, rng: np.random.Generator, width: float) -> Floats:
    """Return (rows,) of noise with unit variance that is smooth over about `width` rows."""
    kernel = np.hanning(max(3, int(width)) + 2)[1:-1]
    kernel /= np.linalg.norm(kernel)
    return np.convolve(rng.standard_normal(rows + len(kernel) - 1), kernel, "valid")


# ---- what repeats ----


def beats(rows: int, period: int, rng: np.random.Generator) -> Floats:
    """Return pulses of one shape at intervals that vary by a twenty-fifth."""
    at = np.linspace(0, 1, int(period * 0.6))
    places = rng.uniform(0.1, 0.9, 5)
    shape = sum(
        rng.uniform(0.3, 1.5) * rng.choice([-1, 1]) * np.exp(-(((at - place) / rng.uniform(0.02, 0.08)) ** 2))
        for place in places
    )
    x, start = np.zeros(rows), int(rng.integers(period))
    while start < rows - len(shape):
        x[start : start + len(shape)] += shape * rng.normal(1, 0.05)
        start += int(period * rng.normal(1, 0.04))
    return x + 0.007 * np.cumsum(rng.standard_normal(rows))


def harmonics(rows: int, period: int, rng: np.random.Generator) -> Floats:
    """Return a few harmonics whose frequency and amplitude wander."""
    phase = 2 * np.pi * np.cumsum(1 + 0.03 * slow(rows, rng, 5 * period)) / period
    x = sum(rng.uniform(0.3, 1) / k * np.sin(k * phase + rng.uniform(0, 6)) for k in (1, 2, 3, 5))
    return np.asarray(x * (1 + 0.15 * slow(rows, rng, 8 * period)))


def demand(rows: int, period: int, rng: np.random.Generator) -> Floats:
    """Return a daily profile with quiet weekends, and a level that wanders."""
    profile = np.convolve(rng.random(period), np.hanning(max(5, period // 6)), "same")
    week = np.repeat([1, 1, 1, 1, 1, 0.4, 0.3], period)
    daily = np.resize(profile / profile.std(), rows)
    return daily * np.resize(week, rows) + 0.2 * slow(rows, rng, 3 * period)


def resonance(rows: int, period: int, rng: np.random.Generator) -> Floats:
    """Return noise that swings at a period: an autoregression of order two."""
    x, noise = np.zeros(rows), rng.standard_normal(rows)
    for t in range(2, rows):
        x[t] = 1.8 * np.cos(2 * np.pi / period) * x[t - 1] - 0.81 * x[t - 2] + noise[t]
    return x


def gait(rows: int, period: int, rng: np.random.Generator) -> Floats:
    """Return strides whose second half varies."""
    phase = 2 * np.pi * np.cumsum(1 + 0.06 * slow(rows, rng, 3 * period)) / period
    stride = np.abs(np.sin(phase)) ** 3 + 0.4 * np.sin(2 * phase + 1) * (1 + 0.3 * slow(rows, rng, 2 * period))
    return stride + 0.2 * rng.standard_normal(rows) * np.abs(np.sin(phase))


REPEATING = (beats, harmonics, demand, resonance, gait)


def repeating(
    rows: int, rng: np.random.Generator, kind: Callable[[int, int, np.random.Generator], Floats]
) -> tuple[Floats, int]:
    """Return a series of mean 0 and variance 1 with a little noise, and its period."""
    period = int(rng.choice([25, 40, 60, 90, 130, 200]))
    x = kind(rows, period, rng)
    return (x - x.mean()) / x.std() + rng.uniform(0.01, 0.1) * rng.standard_normal(rows), period


# ---- what goes wrong ----


def spoil(x: Floats, rng: np.random.Generator, start: int, length: int) -> str:
    """Make rows start .. start + length of x (T,) anomalous, in place, by one of ten ways; return which."""
    part, rows = slice(start, start + length), len(x)
    was, sign, spread = x[part].copy(), rng.choice([-1, 1]), x[:TRAIN].std()
    at = start + rng.choice([0.6, 0.75, 1.4, 1.8]) * np.arange(length)
    donor = int(rng.integers(rows - length))
    ways: dict[str, Callable[[], Floats]] = {
        "speed": lambda: np.interp(at, np.arange(rows), x),
        "amplitude": lambda: was.mean() + (was - was.mean()) * rng.choice([0.4, 0.6, 1.5, 2.0]),
        "stuck": lambda: was[0] + 0.02 * spread * rng.standard_normal(length),
        "shift": lambda: was + sign * rng.uniform(0.5, 1.5) * spread,
        "noise": lambda: was + 0.35 * spread * rng.standard_normal(length),
        "smooth": lambda: np.convolve(np.pad(was, 15, "edge"), np.ones(31) / 31, "valid")[:length],
        "reversed": lambda: was[::-1].copy(),
        "bump": lambda: was + sign * rng.uniform(0.8, 2) * spread * np.hanning(length),
        "line": lambda: np.linspace(was[0], was[-1], length),
        "elsewhere": lambda: x[donor : donor + length] - x[donor] + was[0],
    }
    way = str(rng.choice(list(ways)))
    x[part] = ways[way]()
    return way


def places(rng: np.random.Generator, rows: int, longest: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of two to five anomalies that lie apart."""
    taken = np.zeros(rows, dtype=np.bool_)
    for _ in range(int(rng.integers(2, 6))):
        length = int(rng.integers(15, longest))
        start = int(rng.integers(FIRST, rows - length - 50))
        if not taken[max(0, start - 60) : start + length + 60].any():
            taken[start : start + length] = True
            yield start, length


# ---- the series ----


def wave(number: int) -> Case:
    rng = np.random.default_rng([1, number])
    kind = REPEATING[number % len(REPEATING)]
    x, period = repeating(ROWS, rng, kind)
    length = int(np.clip(rng.uniform(0.4, 2) * period, 12, 250))
    start = int(rng.integers(FIRST, ROWS - length - 100))
    way = spoil(x, rng, start, length)
    labels = np.zeros(ROWS, dtype=np.bool_)
    labels[start : start + length] = True
    return _case("waves", f"{number:02d}-{kind.__name__}-{way}", x[:, None], labels)


def _special(rows: int, rng: np.random.Generator) -> Floats:
    """Return a channel that hangs on no load: bursts, a state, nearly nothing, a random walk, or rare ones."""
    ways: tuple[Callable[[], Floats], ...] = (
        lambda: (rng.random(rows) < 0.02) * rng.exponential(1, rows),
        lambda: np.cumsum(rng.random(rows) < 0.01) % 2.0,
        lambda: 0.05 * rng.standard_normal(rows),
        lambda: 0.02 * np.cumsum(rng.standard_normal(rows)),
        lambda: (rng.random(rows) < 0.002) * 1.0,
    )
    return ways[int(rng.integers(len(ways)))]()


def plant(number: int) -> Case:
    rng = np.random.default_rng([2, number])
    channels, loads = int(rng.choice([6, 12, 24, 36])), int(rng.integers(2, 5))
    hidden = np.stack([repeating(ROWS, rng, REPEATING[k])[0] for k in rng.integers(1, 5, loads)], 1)
    mix = rng.normal(size=(loads, channels)) * (rng.random((loads, channels)) < 0.6)
    x = hidden @ mix
    for c in range(channels):
        if rng.random() < 0.3:  # counts and rates: mostly low, at times high
            x[:, c] = np.exp(x[:, c])
        x[:, c] = _special(ROWS, rng) if x[:, c].std() == 0 or rng.random() < 0.25 else x[:, c] / x[:, c].std()
    scatter = rng.uniform(0.02, 0.3, channels) * np.where(rng.random(channels) < 0.1, 0.0, 1.0)
    x += scatter * np.where(rng.random((ROWS, channels)) < 0.01, 4, 1) * rng.standard_normal((ROWS, channels))
    if number % 2:
        moving = rng.random(channels) < 0.3
        x[TRAIN:, moving] += np.linspace(0, 1, ROWS - TRAIN)[:, None] * rng.uniform(-1.5, 1.5, moving.sum())
    labels = np.zeros(ROWS, dtype=np.bool_)
    for start, length in places(rng, ROWS, 200):
        for c in rng.choice(channels, rng.integers(1, max(2, channels // 3)), replace=False):
            column = x[:, c].copy()
            spoil(column, rng, start, length)
            x[:, c] = column
        labels[start : start + length] = True
    return _case("plants", f"{number:02d}-{channels}ch{'-drift' if number % 2 else ''}", x, labels)


def command(number: int) -> Case:
    rng = np.random.default_rng([3, number])
    commands = int(rng.choice([4, 10, 24]))
    rate = rng.choice([0.0, 0.002, 0.01, 0.03], commands)
    later = rate * rng.uniform(0.3, 3, commands)  # in the test part commands come more or less often
    chance = np.where(np.arange(ROWS)[:, None] < TRAIN, rate, later)
    given = np.zeros((ROWS, commands))
    for c in range(commands):
        lasting = int(rng.integers(1, 20))
        for start in np.flatnonzero(rng.random(ROWS) < chance[:, c]):
            given[start : start + lasting, c] = 1.0
    answer = repeating(ROWS, rng, REPEATING[int(rng.integers(1, 5))])[0] * rng.uniform(0.2, 1)
    for c in rng.choice(commands, min(4, commands), replace=False):
        response = rng.normal() * np.exp(-np.arange(60) / rng.uniform(5, 20))
        answer += np.convolve(given[:, c], response)[:ROWS]
    labels = np.zeros(ROWS, dtype=np.bool_)
    for start, length in places(rng, ROWS, 300):
        spoil(answer, rng, start, length)
        labels[start : start + length] = True
    return _case("commands", f"{number:02d}-{commands}ch", np.column_stack([answer, given]), labels)


MAKERS: dict[str, Callable[[int], Case]] = {"waves": wave, "plants": plant, "commands": command}


def keys() -> list[str]:
    """Return the names of all invented series: `invented/<kind>/<number>`."""
    return [f"invented/{kind}/{number}" for kind, many in KINDS.items() for number in range(many)]


def load(key: str) -> Case:
    """Return the series of a key."""
    _, kind, number = key.split("/")
    return MAKERS[kind](int(number))


def _case(kind: str, name: str, x: Floats, labels: NDArray[np.bool_]) -> Case:
    return Case(kind, name, x.astype(np.float32), labels, TRAIN)
