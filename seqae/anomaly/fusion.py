"""From several heads' scores to one: each is brought to how rare it is on normal data, then they are fused.

Heads have different units and scales; the tail probability of a score on normal data that no head has learned from is
what they have in common. These are not the rows that the threshold is set by: a maximum over heads is smaller on the
rows that it was settled by than on new ones. Evidence is −log10 of the probability: 2 is what one normal row in a
hundred reaches.
"""

from __future__ import annotations

__all__ = ["FUSIONS", "Fusion", "Scored", "Spread", "Tail", "combine"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from seqae.anomaly.heads import Head
from seqae.anomaly.scoring import Folded, total_score
from seqae.errors import DataError, choose

Floats = NDArray[np.float64]

LOW, HIGH = 0.01, 0.99
"""The quantiles of the scores that the tail beyond the upper one is drawn through."""
POWER = 4
"""A reconstruction's error counts by this power of the share of the variance that it explains."""
LEAST = 0.01
"""The weight of a head that explains nothing: a series must have some score."""
MOST = 32.0
"""What one channel can say at most, in its usual ranges: no channel speaks for all."""
SCORES = 1 << 16
"""What a tail keeps of its scores at most."""
NARROWEST = 1e-4
"""The least width of a usual range, in the variance of the scaled values: what is nearly constant has some room."""

_BLOCK = 1 << 16
"""Rows fused at a time, so that what is computed on the way is never held for all."""


class Tail:
    """The tail probability of a score on normal data: empirical within their range, exponential beyond it.

    scores: (n,) scores of normal data. Between their 1% and 99% quantiles the probability is (1 + #{≥ s}) / (n + 1).
    Outside it follows the exponential law that is 1 at the lower quantile and .01 at the upper: so evidence goes on
    rising, linearly in s, where the empirical one would end at log10(n + 1), no head's slope hangs on a few of its
    highest scores, and rows less strange than all of those are still told apart (by an evidence below 0). Of very many
    scores some 65,000 at even ranks are kept: what that changes of a probability is about 1e-5.
    """

    def __init__(self, scores: ArrayLike) -> None:
        self.scores: Floats = np.sort(np.asarray(scores, dtype=np.float64).ravel())
        if not len(self.scores) or not np.isfinite(self.scores).all():
            raise DataError(
                "a tail needs finite scores of normal rows. Hold back rows that have a score (--validation)."
            )
        if (n := len(self.scores)) > SCORES:
            self.scores = self.scores[(2 * np.arange(SCORES) + 1) * n // (2 * SCORES)]
        self._low, self._high = (float(edge) for edge in np.quantile(self.scores, [LOW, HIGH]))
        # Where all scores are equal nothing says how fast the tail falls: a millionth of their size is taken.
        self._width = max(self._high - self._low, 1e-6 * abs(self._high), 1e-12)

    def evidence(self, scores: ArrayLike) -> Floats:
        """Return −log10 of each score's tail probability, NaN for NaN."""
        given = np.asarray(scores, dtype=np.float64)
        n = len(self.scores)
        at_least = n - np.searchsorted(self.scores, given, side="left")
        inside = -np.log10((1 + at_least) / (n + 1))
        law = -np.log10(1 - HIGH) * (given - self._low) / self._width
        outside = (given < self._low) | (given > self._high)
        return np.where(np.isnan(given), np.nan, np.where(outside, law, inside))


class Spread(NamedTuple):
    """Each channel's usual range of an error: low (C,), and width (C,) from there to the upper end.

    Channels differ in how well they can be reconstructed. Their errors in usual ranges can be compared with each other,
    as in Garg et al. 2021 ("Gauss-S"); without that the worst channel is all that the mean over channels shows.
    """

    low: Floats
    width: Floats

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Self:
        """Return the range between the 1% and 99% quantiles of each column of values (N, C), NaN left out."""
        given = [column[~np.isnan(column)].astype(np.float64) for column in values.T]
        edges = np.array([np.quantile(one, [LOW, HIGH]) if len(one) else (0.0, 1.0) for one in given])
        return cls(edges[:, 0], np.maximum(edges[:, 1] - edges[:, 0], NARROWEST))

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (T, C): by how many usual ranges each value lies above the lower end, from 0 to MOST."""
        return np.clip((values - self.low) / self.width, 0.0, MOST).astype(np.float32)


def _sum(evidence: Floats) -> Floats:
    return np.nansum(evidence, axis=0)


def _maximum(evidence: Floats) -> Floats:
    return np.where(np.isnan(evidence), -np.inf, evidence).max(axis=0)


FUSIONS: dict[str, Callable[[Floats], Floats]] = {"max": _maximum, "sum": _sum}
"""name -> what becomes of the heads' evidence (H, T), NaN where a head has none: (T,). `max`: who is silent has no
vote; `sum`: as if heads were independent (Fisher's method, but for a factor)."""


class Scored(NamedTuple):
    """A series' scores: total (T,), each channel's part (T, C) whose mean is the total (NaN where no head tells
    channels apart), windows that cover a row (T,), each row's own mean squared error (T,), and each head's evidence
    (H, T), empty for one alone."""

    total: Floats
    parts: NDArray[np.float32]
    coverage: NDArray[np.int32]
    error: Floats
    evidence: Floats

    def slim(self) -> Scored:
        """Return the same without what a calibration has no use for: windows that cover a row, and the evidence."""
        return self._replace(coverage=self.coverage[:0].copy(), evidence=self.evidence[:, :0].copy())

    @classmethod
    def joined(cls, pieces: list[Self]) -> Self:
        """Return the scores of consecutive rows as one, and empty the list: what may be long is held once."""
        if len(pieces) == 1:
            return pieces.pop()
        fields = list(zip(*pieces, strict=True))
        pieces.clear()
        total, parts, coverage, error = (np.concatenate(fields.pop(0)) for _ in range(4))
        return cls(total, parts, coverage, error, np.concatenate(fields.pop(), axis=1))


class Fusion:
    """Heads brought together by their tails on normal data.

    names: the heads'; how: one of FUSIONS; tails: one per head; weights: what each head's evidence is multiplied by;
    spreads: each channel's usual range of a head, or None where its channels are not compared; usual: the median of
    each part, (C,) or (1,) per head, and last that of the squared errors.

    Chosen on invented series and NAB (benchmarks/results/choices.md): the error of a reconstruction counts by the
    fourth power of the share of the variance of normal data that it explains, since where that is little a high error
    is nothing strange, and of several channels each in its usual range. A head that looks for a neighbour in all
    channels at once counts by 1/C: the more channels, the farther is every neighbour.
    """

    def __init__(
        self, names: Sequence[str], how: str, tails: Sequence[Tail], weights: Sequence[float],
        spreads: Sequence[Spread | None], usual: Sequence[Floats],
    ) -> None:  # fmt: skip
        self.names, self.how, self.tails, self.weights = tuple(names), how, tuple(tails), tuple(weights)
        self.spreads, self.usual = tuple(spreads), tuple(usual)
        self._fuse = choose(FUSIONS, how, "fusion")

    @classmethod
    def fit(
        cls, heads: Mapping[str, Head], how: str, scored: Sequence[Sequence[Folded]], variance: float,
        known: Mapping[str, NDArray[np.float32]],
    ) -> Self:  # fmt: skip
        """Take the tails of what the heads say of normal series, a list of heads each; DataError if one is silent.

        variance: the mean squared distance of those series' scaled values from the channels' means. known: for the
        heads whose channels are compared, their parts (N, C) of windows that they have learned from; the usual ranges
        are of those and of the series together, so that what is rare but normal is seen.
        """
        tails, weights, spreads, usual = [], [], [], []
        *each, errors = (np.concatenate([one.values for one in parts]) for parts in zip(*scored, strict=True))
        channels = errors.shape[1]
        for (name, head), values in zip(heads.items(), each, strict=True):
            weights.append(_weight(head, values, variance, channels))
            spread = Spread.of(np.concatenate([known[name], values])) if name in known else None
            parts = values if spread is None else spread(values)
            totals = total_score(parts)
            totals = totals[~np.isnan(totals)]
            if not len(totals):
                raise DataError(f"score head {name} gives no row of the validation part a score. Give more rows.")
            tails.append(Tail(totals))
            spreads.append(spread)
            usual.append(_medians(parts))
        return cls(tuple(heads), how, tails, weights, spreads, [*usual, _medians(errors)])

    def __call__(self, heads: Sequence[Folded]) -> Scored:
        """Return the fused score of a series by what the heads say, and last its errors (see `score_windows`).

        A channel's part is the mean of two shares: in the row's own squared error, and in the parts of the surest head
        that can tell channels apart, both beyond the usual. Errors alone miss a channel that reconstructs well where it
        should not; a neighbour that is near in one channel may be far in the others.
        """
        *said, error = heads
        rows, channels = error.values.shape
        total, own = np.empty(rows), np.empty(rows)
        shares, evidence = np.empty((rows, channels), dtype=np.float32), np.empty((len(said), rows))
        for low in range(0, rows, _BLOCK):
            part = slice(low, low + _BLOCK)
            found = self._rows([one.values[part] for one in said], error.values[part])
            total[part], shares[part], own[part], evidence[:, part] = found
        return Scored(total, shares, error.coverage, own, evidence)

    def _rows(
        self, said: Sequence[NDArray[np.float32]], error: NDArray[np.float32]
    ) -> tuple[Floats, NDArray[np.float32], Floats, Floats]:
        """Return total (n,), shares (n, C), error (n,) and evidence (H, n) of some rows."""
        parts = [one if spread is None else spread(one) for one, spread in zip(said, self.spreads, strict=True)]
        evidence = np.stack(
            [
                weight * tail.evidence(total_score(one))
                for weight, tail, one in zip(self.weights, self.tails, parts, strict=True)
            ]
        )
        silent = np.isnan(evidence).all(axis=0)
        total = np.where(silent, np.nan, self._fuse(evidence))
        own = _shares(error - self.usual[-1])
        told, surest = own.copy(), np.full(len(total), -np.inf)
        for one, usual, sure in zip(parts, self.usual, evidence, strict=False):
            wins = sure > surest  # never where NaN
            if one.shape == own.shape and wins.any():
                surest[wins] = sure[wins]
                told[wins] = _shares(one[wins] - usual)
        return total, (0.5 * (own + told) * total[:, None]).astype(np.float32), total_score(error), evidence

    def to_document(self) -> dict[str, Any]:
        """Give what JSON can hold; `tensors` gives the rest."""
        return {
            "names": list(self.names),
            "how": self.how,
            "weights": list(self.weights),
            "rows": len(self.tails[0].scores),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return each head's scores of normal data, its channels' usual ranges, and the usual errors."""
        found = {
            f"{name}.tail": torch.from_numpy(tail.scores) for name, tail in zip(self.names, self.tails, strict=True)
        }
        for name, spread in zip(self.names, self.spreads, strict=True):
            if spread is not None:
                found |= {f"{name}.low": torch.from_numpy(spread.low), f"{name}.width": torch.from_numpy(spread.width)}
        return found | {f"usual.{number}": torch.from_numpy(one) for number, one in enumerate(self.usual)}

    @classmethod
    def restore(cls, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Read what `to_document` and `tensors` wrote; KeyError where something is missing."""
        names = document["names"]
        tails = [Tail(tensors[f"{name}.tail"].numpy()) for name in names]
        spreads = [
            Spread(tensors[f"{name}.low"].numpy(), tensors[f"{name}.width"].numpy())
            if f"{name}.low" in tensors
            else None
            for name in names
        ]
        usual = [tensors[f"usual.{number}"].numpy() for number in range(len(names) + 1)]
        return cls(names, document["how"], tails, document["weights"], spreads, usual)


def _weight(head: Head, values: NDArray[np.float32], variance: float, channels: int) -> float:
    """Return what a head's evidence is multiplied by, from its parts (N, C) of normal rows."""
    if head.joint:
        return 1 / channels
    if not head.explains:
        return 1.0
    left = total_score(values)
    explained = 1 - float(np.nanmean(left)) / variance if variance > 0 and not np.isnan(left).all() else 0.0
    return max(LEAST, max(explained, 0.0) ** POWER)


def _medians(values: NDArray[np.float32]) -> Floats:
    given = (column[~np.isnan(column)] for column in values.T)
    return np.array([np.median(column, overwrite_input=True) if len(column) else 0.0 for column in given])


def _shares(excess: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return (n, C) whose mean over the channels that have a value is 1, in proportion to their positive excess."""
    given = ~np.isnan(excess)
    positive = np.where(given, np.maximum(excess, 0.0), np.nan)
    total = np.nansum(positive, axis=1, keepdims=True)
    count = given.sum(axis=1, keepdims=True)
    even = np.where(given, 1.0, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, positive / total * count, even)


def combine(heads: Sequence[Folded], channels: int, fusion: Fusion | None) -> Scored:
    """Return a series' scores: by several heads fused, or by one alone, in its own units."""
    if fusion is not None:
        return fusion(heads)
    only, error = heads
    parts = only.values
    if parts.shape[1] != channels:
        parts = np.full((len(parts), channels), np.nan, dtype=np.float32)
    return Scored(total_score(only.values), parts, only.coverage, total_score(error.values), np.empty((0, len(parts))))
