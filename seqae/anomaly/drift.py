"""Drift: whether new data still look like the training data, channel by channel, with figures."""

from __future__ import annotations

__all__ = ["LEVELS", "STATISTICS", "Reference", "Tally", "drift", "warning"]

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from seqae.errors import DataError, ModelFileError
from seqae.scaling import SCALINGS
from seqae.series import Panel, Series, as_panel

Floats = NDArray[np.float64]

_LOWER = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45)
LEVELS = (*_LOWER, 0.5, *(round(1 - level, 6) for level in reversed(_LOWER)))
"""The shares of the training values below the stored quantiles."""
STATISTICS = {"mean": 0.4, "spread": 0.35, "distribution": 0.2, "missing": 0.2}
"""What is compared, and by how much it must differ at least: mean and standard deviation of the normal scores, the
Kolmogorov-Smirnov distance, the share missing. Chosen on simulated series and NAB, as all below (test_drift.py)."""
MARGIN = 0.05
"""The training range is extended on both sides by this share of itself."""
FAR = 3.5
"""The normal score of a value outside that range: bounded, so that a few strange rows move little."""
OUTSIDE = 0.25
"""The share of values that may lie outside the range, at least."""
RATE = 0.005
"""The share of false warnings aimed at, over all channels and statistics of a table."""
STRANGE = 0.03
"""The share of rows that may be strange without being a drift of the spread."""
BEYOND = 1.25
"""How far beyond the extremes of the training blocks a statistic may lie."""
BLOCKS, LEAST, DEPTH, FINEST = 8, 8, 9, 32768
"""The longest training blocks compared with the whole are 8 or more, the shortest have 8 rows; lengths are halved at
most 9 times, and blocks are at most so many."""
COLUMNS = ("rows", "mean", "mean_training", "std", "std_training", "shift", "spread_ratio", "outside", "distance",
           "missing", "missing_training", "drifted", "reasons")  # fmt: skip
SCALES = ("lengths", "blocks", "centre", "spread", "low", "high", "outside", "still")


@dataclass(frozen=True, eq=False)
class _Channel:
    """What one channel was like in training, and how much its blocks differ from the whole.

    quantiles: at LEVELS. shares (Q,): of the training values in each bin between them. scales: by the length of blocks,
    rising, their `lengths` in rows and number `blocks` (J,); `centre`, `spread`, `low`, `high` (J, 4): mean, standard
    deviation and extremes of each of STATISTICS over the blocks; `outside` (J,): the greatest share of a block beyond
    the range of all others; `still` (J,): 1 where some block holds one value only. Empty with too few rows.
    """

    mean: float
    std: float
    missing: float
    rows: int
    quantiles: Floats
    shares: Floats
    scales: dict[str, Floats]

    @classmethod
    def fit(cls, arrays: list[Floats], name: str) -> _Channel:
        given = np.concatenate([array[~np.isnan(array)] for array in arrays])
        if not len(given):
            raise DataError(f"channel {name!r} has no observed value to compare with. Leave it out (--drop {name}).")
        quantiles = np.quantile(given, LEVELS)
        shares = _counts(_edges(quantiles)[0], given[None])[0] / len(given)
        (mean,), (std,) = SCALINGS["standard"](given[:, None])
        rows = sum(map(len, arrays))
        whole = cls(float(mean), float(std), 1 - len(given) / rows, rows, quantiles, shares, {})
        return replace(whole, scales=whole._compare_blocks(arrays))

    @cached_property
    def scores(self) -> Floats:
        """The normal score of each bin (Q,): Φ⁻¹ of the share of training values below its middle (van der Waerden)."""
        middle = np.clip(ndtri(np.cumsum(self.shares) - self.shares / 2), -FAR, FAR)
        return np.concatenate([[-FAR], middle[1:-1], [FAR]])

    def statistics(self, counts: Floats, rows: float) -> Floats:
        """Return how each of STATISTICS (K, 4) differs from training; counts: in the bins (K, Q); rows: in all."""
        observed = counts.sum(axis=1)
        share = np.vstack([self.shares, counts / np.maximum(observed, 1)[:, None]])
        mean = share @ self.scores
        spread = np.sqrt(np.maximum(share @ self.scores**2 - mean**2, 0))
        distance = np.abs(np.cumsum(share - self.shares, axis=1)).max(axis=1)
        missing = np.append(self.missing, 1 - observed / max(rows, 1))
        table = np.stack([mean, spread, distance, missing], axis=1)
        return table[1:] - table[0]

    def _compare_blocks(self, arrays: list[Floats]) -> dict[str, Floats]:
        edges, margin = _edges(self.quantiles)
        finest, depth = _block_lengths([len(array) for array in arrays])
        held = [_counts(edges, _blocks(array, finest)) for array in arrays] if finest else []
        found: list[tuple[Any, ...]] = []
        short = np.vectorize(lambda value: float(f"{value:.5g}"), otypes=[np.float64])  # for short documents
        for length in (finest << level for level in range(depth + 1 if finest else 0)):
            counts = np.concatenate(held)
            table = self.statistics(counts, length)
            told = table[counts.sum(axis=1) >= length * (1 - self.missing) / 2]  # others hold too little to tell
            if len(told) >= BLOCKS // 2:
                figures = told.mean(axis=0), told.std(axis=0, ddof=1), told.min(axis=0), told.max(axis=0)
                found.append((length, len(told), *figures, *_extremes(arrays, length, margin)))
            held = [one[: len(one) // 2 * 2].reshape(-1, 2, one.shape[1]).sum(axis=1) for one in held]
        scales = {name: short(one) for name, one in zip(SCALES, zip(*found, strict=True), strict=False)}
        if scales:  # what moves long blocks apart moves short ones, too, even where these happen to miss it
            scales["spread"] = np.maximum.accumulate(scales["spread"][::-1])[::-1]
        return scales

    def beyond(self, found: Floats, outside: float, rows: float, tests: int, *, still: bool = False) -> list[str]:
        """Return which of STATISTICS (4,) found are more than chance, "range" where too many values lie outside it, and
        "still" where there is one value only, but in no training block of a quarter of the rows.

        rows: how many were compared; tests: how many statistics share RATE. How far blocks of so many rows lie apart is
        interpolated; for more rows than in the longest block it shrinks by the power law that these follow.
        """
        if not self.scales:
            return ["range"] * (outside > 0.5)
        lengths = self.scales["lengths"]
        power = _power(lengths, self.scales["spread"][:, 0])
        factor = (rows / lengths[-1]) ** -power if rows > lengths[-1] else max(lengths[0] / rows, 1.0) ** 0.5
        columns = {name: _interpolated(rows, lengths, column) for name, column in self.scales.items()}
        centre = columns["centre"]
        own = self.scales["spread"][-1] * self.scales["blocks"][-1] ** -power  # training might have come out otherwise
        quantile = float(stdtrit(columns["blocks"][0] - 1, 1 - RATE / tests / 2))
        reach = quantile * np.hypot(factor * columns["spread"], own)
        least = np.array(list(STATISTICS.values()))
        width = float(np.sqrt(np.maximum(self.shares @ self.scores**2 - (self.shares @ self.scores) ** 2, 0)))
        least[1] = max(least[1], math.hypot(width, FAR * math.sqrt(STRANGE)) - width)
        low = np.minimum(centre + np.minimum(-reach, BEYOND * factor * (columns["low"] - centre)), -least)
        high = np.maximum(centre + np.maximum(reach, BEYOND * factor * (columns["high"] - centre)), least)
        most = min(max(OUTSIDE, 1.5 * float(columns["outside"][0])), 0.5 if rows >= lengths[-1] else 1.0)
        over = (found < low) | (found > high)
        reasons = [name for name, is_over in zip(STATISTICS, over, strict=True) if is_over]
        shorter = self.scales["still"][lengths <= rows / 4]
        return reasons + ["range"] * (outside > most) + ["still"] * (still and len(shorter) > 0 and not shorter[-1])

    def to_document(self) -> dict[str, Any]:
        scales = {name: one.tolist() for name, one in self.scales.items()}
        plain = {name: getattr(self, name) for name in ("mean", "std", "missing", "rows")}
        return plain | {"quantiles": self.quantiles.tolist(), "shares": self.shares.tolist(), "scales": scales}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> _Channel:
        quantiles, shares = (np.array(document[name], dtype=np.float64) for name in ("quantiles", "shares"))
        mean, std, missing = (float(document[name]) for name in ("mean", "std", "missing"))
        scales = {name: np.array(document["scales"][name], dtype=np.float64) for name in SCALES if document["scales"]}
        return cls(mean, std, missing, int(document["rows"]), quantiles, shares, scales)


@dataclass(frozen=True, eq=False)
class Reference:
    """What the training data were like, by channel, and how their blocks differ: at most some 300 numbers for each."""

    channels: dict[str, _Channel]

    @classmethod
    def fit(cls, data: Any) -> Self:
        """Learn from what `as_panel` takes, less labelled rows without a value; DataError for a channel without any."""
        panel = as_panel(data)
        kept = [
            one.values if one.labels is None else one.values[~one.labels | one.observed.any(axis=1)] for one in panel
        ]
        columns = zip(panel.channels, zip(*(values.T for values in kept), strict=True), strict=True)
        return cls({name: _Channel.fit(list(parts), name) for name, parts in columns})

    def to_document(self) -> dict[str, Any]:
        """Give a JSON-able document."""
        return {"levels": list(LEVELS), "channels": {name: one.to_document() for name, one in self.channels.items()}}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what to_document wrote; raises ModelFileError where that cannot be."""
        try:
            return cls({name: _Channel.from_document(one) for name, one in document["channels"].items()})
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            told = f"the model file's picture of the training data cannot be read ({error!r}). Train the model again."
            raise ModelFileError(told) from None


class Tally:
    """A running comparison with the training data: takes data piece by piece and ends with the table of `drift`."""

    def __init__(self, reference: Reference) -> None:
        self._channels = reference.channels
        self._rows = 0
        self._edges = {name: _edges(one.quantiles)[0] for name, one in reference.channels.items()}
        self._counts = {name: np.zeros(len(one.shares)) for name, one in reference.channels.items()}
        self._moments = dict.fromkeys(reference.channels, (0, 0.0, 0.0))
        self._ends = dict.fromkeys(reference.channels, (math.inf, -math.inf))

    def add(self, data: Series | Panel) -> None:
        """Count a piece of a series, or several; in any order. DataError where a channel is missing."""
        for series in [data] if isinstance(data, Series) else data:
            self._rows += len(series)
            for name, column in zip(self._channels, series.select(tuple(self._channels)).values.T, strict=True):
                self._count(name, column[~np.isnan(column)].astype(np.float64))

    def _count(self, name: str, values: Floats) -> None:
        if not len(values):
            return
        (n, mean, square), (low, high), new = self._moments[name], self._ends[name], float(values.mean())
        self._counts[name] += _counts(self._edges[name], values[None])[0]
        self._ends[name] = min(low, float(values.min())), max(high, float(values.max()))
        step, total = new - mean, n + len(values)
        square += float(((values - new) ** 2).sum()) + step**2 * n * len(values) / total  # Chan et al. 1979
        self._moments[name] = total, mean + step * len(values) / total, square

    def table(self) -> pd.DataFrame:
        """Return the table of `drift` for all that was added."""
        rows = [self._row(name, channel) for name, channel in self._channels.items()]
        return pd.DataFrame(rows, index=pd.Index(self._channels, name="channel"), columns=list(COLUMNS))

    def _row(self, name: str, channel: _Channel) -> tuple[Any, ...]:
        (n, mean, square), counts = self._moments[name], self._counts[name]
        mean, std = (mean, math.sqrt(square / n)) if n else (math.nan, math.nan)
        found = channel.statistics(counts[None], self._rows)[0] if self._rows else np.full(4, math.nan)
        outside, unit = float(counts[0] + counts[-1]) / n if n else math.nan, channel.std or math.nan
        distance, missing = float(found[2]) if n else math.nan, float(found[3]) + channel.missing
        ratios = (mean - channel.mean) / unit, std / unit, outside, distance
        reasons = self._reasons(name, channel, found, outside)
        sizes = self._rows, mean, channel.mean, std, channel.std
        return *sizes, *ratios, missing, channel.missing, bool(reasons), ", ".join(reasons)

    def _reasons(self, name: str, channel: _Channel, found: Floats, outside: float) -> list[str]:
        n, tests, (low, high) = self._moments[name][0], (len(STATISTICS) - 1) * len(self._channels), self._ends[name]
        given = channel.beyond(found, outside, self._rows, tests) if self._rows >= LEAST else []
        reasons = [one for one in given if one == "missing"]
        if n < LEAST:
            return reasons
        more = channel.beyond(found, outside, n / (1 - channel.missing), tests, still=low == high)
        return reasons + [one for one in more if one != "missing"]


def drift(reference: Reference, data: Any) -> pd.DataFrame:
    """Return one row per channel: what new data are like beside the training data, and whether they have drifted.

    data: what `as_panel` takes, with the reference's channels in any order; a panel counts as one whole, so give each
    series by itself to learn which has moved. Columns: rows; mean, std, and both in training; shift: the difference of
    the means in training standard deviations; spread_ratio: of the standard deviations; outside: the share of values
    beyond the training range and 5 % of it; distance: the two-sample Kolmogorov-Smirnov distance, at the stored
    quantiles; missing, the share of missing values, and in training; drifted; reasons: which of mean, spread,
    distribution, missing, range, still (one value only) told so. NaN where nothing can be told: without a value, and
    for ratios without any spread in training.

    Drift is a mean, spread or distribution that differs from training by more than blocks of the training data of the
    same length do (Student's t at RATE, and at least by STATISTICS). These three are measured on normal scores, which
    are bounded, so that a short anomaly is no drift. Fewer than 8 rows tell nothing.
    """
    tally = Tally(reference)
    tally.add(as_panel(data))
    return tally.table()


def warning(table: pd.DataFrame, name: str, *, most: int = 3) -> str | None:
    """Return a line with the figures of the `most` channels that have drifted most, or None where none has."""
    drifted = table[table["drifted"]]
    if drifted.empty:
        return None
    change = (drifted["missing"] - drifted["missing_training"]).abs()
    order = drifted["distance"].fillna(0.0).combine(change, max).sort_values(ascending=False, kind="stable").index
    told = "; ".join(f"channel {channel}: {_figures(drifted.loc[channel])}" for channel in order[:most])
    more = f"; and {len(order) - most} more" if len(order) > most else ""
    return (
        f"{name} is unlike the training data in {len(drifted)} of {len(table)} "
        f"{'channel' if len(table) == 1 else 'channels'}: {told}{more}. "
        "Train on newer data (seqae train --from MODEL), or calibrate again (--calibrate)."
    )


def _figures(row: pd.Series) -> str:
    reasons = row["reasons"].split(", ")
    mean = f"mean {row['mean']:.4g}, in training {row['mean_training']:.4g} ± {row['std_training']:.2g}"
    shift = f" (shift {row['shift']:.1f} standard deviations)" if not math.isnan(row["shift"]) else ""
    spread = f"standard deviation {row['spread_ratio']:.2g} times that in training"
    figures = {
        "one value only": "still" in reasons,
        mean + shift: not math.isnan(row["mean"]),
        spread: "spread" in reasons and row["spread_ratio"] > 0 and abs(math.log(row["spread_ratio"])) > 0.2,
        f"{row['outside']:.0%} of values outside the training range": row["outside"] >= 0.01,
        f"distance of the distributions {row['distance']:.2f}": "distribution" in reasons,
        f"{row['missing']:.0%} missing, in training {row['missing_training']:.0%}": "missing" in reasons,
    }
    return ", ".join(figure for figure, is_told in figures.items() if is_told)


def _edges(quantiles: Floats) -> tuple[Floats, float]:
    """Return the borders of the bins (Q - 1,): the quantiles, the outer two moved out by the margin; and the margin."""
    low, high = float(quantiles[0]), float(quantiles[-1])
    margin = max(MARGIN * (high - low), 1e-6 * max(abs(low), abs(high)), 1e-12)  # for a constant: the last digits
    return np.unique([low - margin, *quantiles[quantiles < high], high + margin]), margin


def _counts(edges: Floats, values: Floats, most: int = 1 << 18) -> Floats:
    """Return how many observed values of (K, n) lie in each bin (K, Q); the first and the last bin are outside."""
    bins, flat = len(edges) + 1, values.reshape(-1)
    counts = np.zeros(len(values) * bins)
    for low in range(0, len(flat), most):  # the places of all at once would take four times their room
        piece = flat[low : low + most]
        places = np.searchsorted(edges, piece) + bins * (np.arange(low, low + len(piece)) // values.shape[1])
        counts += np.bincount(places[~np.isnan(piece)], minlength=len(counts))
    return counts.reshape(len(values), bins)


def _block_lengths(lengths: list[int]) -> tuple[int, int]:
    """Return the shortest block's rows and how often they can be doubled; (0, 0) where there are too few rows."""
    candidates = (max(lengths) // parts for parts in range(1, BLOCKS + 1))
    length = next((one for one in candidates if one > 1 and sum(rows // one for rows in lengths) >= BLOCKS), 0)
    depth = min(DEPTH, max(0, int(math.log2(max(length, 1) / LEAST))))
    while depth and sum(lengths) / (length >> depth) > FINEST:
        depth -= 1
    return length >> depth, depth


def _blocks(array: Floats, length: int) -> Floats:
    """Return the whole blocks (K, length) of an array."""
    return array[: len(array) // length * length].reshape(-1, length)


def _extremes(arrays: list[Floats], length: int, margin: float) -> tuple[float, float]:
    """Return the greatest share of a block beyond the range of all others, and 1 if one holds one value only."""
    blocks = [row for array in arrays for row in _blocks(array, length)]
    low, high = (
        np.concatenate([end.reduce(_blocks(one, length), axis=1) for one in arrays]) for end in (np.fmin, np.fmax)
    )
    beyond = []
    for ends, sign in ((-low, -1.0), (high, 1.0)):
        ends = np.where(np.isnan(ends), -np.inf, ends)
        top, second = np.argmax(ends), np.partition(ends, -2)[-2]
        beyond.append((sign * blocks[top][~np.isnan(blocks[top])] > second + margin).mean())
    return float(max(beyond)), float((low == high).any())


def _power(lengths: Floats, spread: Floats) -> float:
    """Return p where the means of blocks vary as length ** -p: 1/2 for independent rows, 0 for lasting levels."""
    if len(lengths) < 2 or not (spread[-4:] > 0).all():
        return 0.5
    return float(np.clip(-np.polyfit(np.log(lengths[-4:]), np.log(spread[-4:]), 1)[0], 0.0, 0.5))


def _interpolated(rows: float, lengths: Floats, table: Floats) -> Floats:
    """Return the row of a table (J,) or (J, S) for blocks of so many rows, between those with the lengths (J,)."""
    columns = table.reshape(len(lengths), -1).T
    return np.array([np.interp(math.log(rows), np.log(lengths), column) for column in columns])
