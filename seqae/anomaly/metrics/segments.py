"""What every metric starts from: scores, flags and labels of the same rows, checked, and labels as segments."""

from __future__ import annotations

__all__ = ["Ranking", "both_classes", "checked_flags", "checked_marks", "checked_scores", "ranked", "segments"]

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.errors import DataError

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Ranking(NamedTuple):
    """Scores (T,) and their order, found once for all metrics, which take it in place of the scores.

    order: the rows (T,) from the highest score down, in any order where equal; falling: the scores in that order; last:
    the position of the last row of each distinct score.
    """

    values: Floats
    order: Ints
    falling: Floats
    last: Ints

    @classmethod
    def of(cls, values: Floats) -> Ranking:
        """Rank scores (T,), none of them NaN."""
        order = np.argsort(-values)
        falling = values[order]
        return cls(values, order, falling, np.flatnonzero(np.r_[falling[1:] != falling[:-1], True]))

    def highest(self, count: int) -> Flags:
        """Flag the `count` highest scores (T,), of equal ones the first."""
        flags = np.zeros(len(self.values), dtype=bool)
        if count > 0:
            least = self.falling[count - 1]
            flags = self.values > least
            flags[np.flatnonzero(self.values == least)[: count - int(flags.sum())]] = True
        return flags


def segments(marks: ArrayLike) -> tuple[Ints, Ints]:
    """Return the first and the last row of each run of True in marks (T,): two arrays (S,), both ends included."""
    given = np.asarray(marks, dtype=bool)
    edges = np.diff(np.r_[False, given, False].astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1


def checked_marks(marks: ArrayLike, what: str) -> Flags:
    """Return marks (T,) as bool; DataError where they are none: another shape, no row, or not all of them 0 or 1."""
    given = np.asarray(marks)
    if given.ndim != 1:
        raise DataError(f"{what} have the shape {given.shape}. Give one value for each row: shape (T,).")
    if not len(given):
        raise DataError(f"{what} have no row, so nothing can be measured. Give at least one.")
    if given.dtype == bool:
        return given
    try:
        numbers = given.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} are {given.dtype}, neither 0 and 1 nor True and False.") from None
    odd = numbers[(numbers != 0) & (numbers != 1)]
    if len(odd):
        raise DataError(f"{what} hold {odd[0]:g}. Give 0 or False for a normal row, 1 or True for an anomalous one.")
    return numbers == 1


def checked_scores(scores: ArrayLike | Ranking, labels: ArrayLike) -> tuple[Floats, Flags]:
    """Return scores (T,) and labels (T,); DataError where they do not fit or a score is NaN (±inf has a rank)."""
    marks = checked_marks(labels, "the labels")
    values = scores.values if isinstance(scores, Ranking) else np.asarray(scores, dtype=np.float64)
    if values.shape != marks.shape:
        raise DataError(f"there are {len(marks)} labels for scores of the shape {values.shape}. Give one for each row.")
    missing = int(np.isnan(values).sum())
    if missing:
        raise DataError(f"{missing} of {len(values)} rows have no score (NaN). Leave them out, and say how many.")
    return values, marks


def ranked(scores: ArrayLike | Ranking, labels: ArrayLike) -> tuple[Ranking, Flags]:
    """Return the ranking of scores (T,) and labels (T,); errors as checked_scores."""
    values, marks = checked_scores(scores, labels)
    return scores if isinstance(scores, Ranking) else Ranking.of(values), marks


def checked_flags(flags: ArrayLike, labels: ArrayLike) -> tuple[Flags, Flags]:
    """Return flags (T,) and labels (T,) as bool; DataError where they do not fit."""
    flagged, marks = checked_marks(flags, "the flags"), checked_marks(labels, "the labels")
    if len(flagged) != len(marks):
        raise DataError(f"there are {len(marks)} labels for {len(flagged)} flags. Give one for each row.")
    return flagged, marks


def both_classes(labels: Flags, what: str) -> None:
    """Raise DataError where labels are all normal or all anomalous, and `what` is not defined."""
    if not labels.any():
        raise DataError(f"{what} is undefined: no row is labelled anomalous.")
    if labels.all():
        raise DataError(f"{what} is undefined: every row is labelled anomalous.")
