"""Metrics: what scores and flags are worth against labels.

scores (T,): float, higher is stranger; flags (T,), labels (T,): bool, or 0 and 1. A metric that is not defined for what
it is given (no anomaly, nothing but anomalies, no flag, a missing score) raises DataError with the reason. Scores are
compared by rank: infinite ones are the highest or lowest.
"""

from __future__ import annotations

__all__ = [
    "Found", "auroc", "average_precision", "best_pa_k", "composite_f1", "event_precision", "event_recall",
    "false_alarms_per_thousand", "pa_k", "ucr_hit",
]  # fmt: skip

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seqae.anomaly.metrics.segments import (
    Flags,
    Ranking,
    both_classes,
    checked_flags,
    checked_scores,
    ranked,
    segments,
)
from seqae.errors import DataError, OptionError

UCR_TOLERANCE = 100


class Found(NamedTuple):
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float
    f1: float


# ---- scores ----


def auroc(scores: ArrayLike | Ranking, labels: ArrayLike) -> float:
    """Return the area under the ROC curve: the chance that an anomalous row scores above a normal one, a tie half."""
    ranking, marks = ranked(scores, labels)
    both_classes(marks, "AUROC")
    anomalous, last = int(marks.sum()), ranking.last
    hits = np.diff(np.cumsum(marks[ranking.order])[last], prepend=0)
    first = np.concatenate([[0], last[:-1] + 1])
    ranks = len(marks) - (first + last) / 2  # from 1 upwards, those of a tie their mean
    above = (hits * ranks).sum() - anomalous * (anomalous + 1) / 2
    return float(above / (anomalous * (len(marks) - anomalous)))


def average_precision(scores: ArrayLike | Ranking, labels: ArrayLike) -> float:
    """Return the area under the precision-recall curve as Σ (R_n − R_{n−1}) P_n: steps, one for each distinct score."""
    ranking, marks = ranked(scores, labels)
    both_classes(marks, "average precision")
    hits = np.cumsum(marks[ranking.order])[ranking.last]
    return float((np.diff(hits, prepend=0) * hits / (ranking.last + 1)).sum() / marks.sum())


def ucr_hit(scores: ArrayLike | Ranking, labels: ArrayLike) -> bool:
    """Tell whether the highest score lies within max(100, length) rows of the one anomaly (UCR Anomaly Archive 2021).

    scores and labels are those of the test part. Where several rows share the highest score, all must lie there: a
    constant score finds nothing. Raises DataError for labels with more than one anomaly.
    """
    values, marks = checked_scores(scores, labels)
    both_classes(marks, "UCR hit")
    starts, ends = segments(marks)
    if len(starts) != 1:
        raise DataError(f"UCR hit is undefined: it is for one anomaly, and there are {len(starts)}.")
    reach = max(UCR_TOLERANCE, int(ends[0] - starts[0] + 1))
    highest = np.flatnonzero(values == values.max())
    return bool(highest[0] >= starts[0] - reach and highest[-1] <= ends[0] + reach)


def best_pa_k(scores: ArrayLike | Ranking, labels: ArrayLike, k: float = 20) -> Found:
    """Return PA%K at the threshold with the highest F1, the strictest such one, among all thresholds on the scores.

    That threshold is chosen by the labels: never a headline, only beside the same figure of a random score, which
    reaches .95 at k = 0 where a twentieth of the rows is anomalous in long runs.
    """
    ranking, marks = ranked(scores, labels)
    both_classes(marks, "PA%K")
    starts, ends = segments(marks)
    lengths = ends - starts + 1
    needed = _hits_needed(lengths, k)
    order, last = ranking.order, ranking.last
    # Rows of anomalies, the highest first: each counts one, the one that makes its anomaly found counts all the rest.
    hit = order[marks[order]]
    own = np.searchsorted(starts, hit, side="right") - 1
    nth = np.empty(len(hit), dtype=np.int64)
    nth[np.argsort(own, kind="stable")] = 1 + np.arange(len(hit)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    gain = np.zeros(len(marks), dtype=np.int64)
    gain[hit] = np.where(nth < needed[own], 1, np.where(nth == needed[own], lengths[own] - nth + 1, 0))
    true = np.cumsum(gain[order])[last]
    false = np.cumsum(~marks[order])[last]
    f1 = 2 * true / (marks.sum() + true + false)
    best = int(np.argmax(f1))
    return Found(float(true[best] / (true[best] + false[best])), float(true[best] / marks.sum()), float(f1[best]))


# ---- flags ----


def pa_k(flags: ArrayLike, labels: ArrayLike, k: float = 20) -> Found:
    """Return PA%K (Kim et al., "Towards a Rigorous Evaluation of Time-Series Anomaly Detection", AAAI 2022).

    Precision, recall and F1 by rows, where an anomaly of which more than k percent is flagged counts as flagged
    throughout. k = 0 is point adjustment, k = 100 plain F1.
    """
    flagged, marks = _some_of_both(flags, labels, "PA%K")
    starts, ends = segments(marks)
    hits = _within(flagged, starts, ends)
    lengths = ends - starts + 1
    true = np.where(hits >= _hits_needed(lengths, k), lengths, hits).sum()
    return _found(true / (true + (flagged & ~marks).sum()), true / marks.sum())


def composite_f1(flags: ArrayLike, labels: ArrayLike) -> Found:
    """Return precision by rows, recall by anomalies and their harmonic mean (Garg et al., IEEE TNNLS 2021)."""
    flagged, marks = _some_of_both(flags, labels, "composite F1")
    return _found(float(marks[flagged].mean()), event_recall(flagged, marks))


def event_precision(flags: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of flagged runs that meet an anomaly."""
    flagged, marks = checked_flags(flags, labels)
    if not flagged.any():
        raise DataError("event precision is undefined: no row is flagged.")
    return float((_within(marks, *segments(flagged)) > 0).mean())


def event_recall(flags: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of anomalies that a flag meets."""
    flagged, marks = checked_flags(flags, labels)
    if not marks.any():
        raise DataError("event recall is undefined: no row is labelled anomalous.")
    return float((_within(flagged, *segments(marks)) > 0).mean())


def false_alarms_per_thousand(flags: ArrayLike, labels: ArrayLike) -> float:
    """Return how many of 1,000 normal rows are flagged."""
    flagged, marks = checked_flags(flags, labels)
    if marks.all():
        raise DataError("false alarms are undefined: every row is labelled anomalous.")
    return float(1000 * flagged[~marks].mean())


def _some_of_both(flags: ArrayLike, labels: ArrayLike, what: str) -> tuple[Flags, Flags]:
    flagged, marks = checked_flags(flags, labels)
    if not marks.any():
        raise DataError(f"{what} is undefined: no row is labelled anomalous.")
    if not flagged.any():
        raise DataError(f"the precision of {what} is undefined: no row is flagged.")
    return flagged, marks


def _within(marks: Flags, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return how many rows of each run from starts to ends (S,) are marked."""
    counts = np.r_[0, np.cumsum(marks)]
    return counts[ends + 1] - counts[starts]


def _hits_needed(lengths: np.ndarray, k: float) -> np.ndarray:
    """Return the fewest rows that are more than k percent of each length (S,)."""
    if not 0 <= k <= 100:
        raise OptionError(f"k={k!r} is the percentage of an anomaly that must be hit: give a number from 0 to 100.")
    return np.floor(lengths * k / 100).astype(np.int64) + 1


def _found(precision: float, recall: float) -> Found:
    both = precision + recall
    return Found(float(precision), float(recall), float(2 * precision * recall / both) if both > 0 else 0.0)
