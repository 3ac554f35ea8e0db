"""The table of all metrics for one score, with a random score and the plain energy of the values beside it."""

from __future__ import annotations

__all__ = ["FLAG_METRICS", "SCORE_METRICS", "energy", "evaluate"]

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from seqae.anomaly.metrics.affiliation import affiliation
from seqae.anomaly.metrics.measures import (
    auroc,
    average_precision,
    best_pa_k,
    composite_f1,
    event_precision,
    event_recall,
    false_alarms_per_thousand,
    pa_k,
    ucr_hit,
)
from seqae.anomaly.metrics.segments import Flags, Floats, Ranking, checked_flags, checked_marks, segments
from seqae.anomaly.metrics.vus import vus, vus_window
from seqae.errors import DataError

DRAWS = 10
K = 20
"""Percent of an anomaly that must be hit for PA%K."""

SCORE_METRICS: dict[tuple[str, ...], Callable[[ArrayLike | Ranking, Flags, int], Iterable[float]]] = {
    ("vus_pr", "vus_roc"): vus,
    ("average_precision",): lambda scores, labels, _: (average_precision(scores, labels),),
    ("auroc",): lambda scores, labels, _: (auroc(scores, labels),),
    ("ucr_hit",): lambda scores, labels, _: (float(ucr_hit(scores, labels)),),
    ("best_pa20_f1",): lambda scores, labels, _: (best_pa_k(scores, labels, K).f1,),
}
"""Columns, and the function of scores, labels and the VUS window that fills them."""

FLAG_METRICS: dict[tuple[str, ...], Callable[[Flags, Flags], Iterable[float]]] = {
    ("event_precision",): lambda flags, labels: (event_precision(flags, labels),),
    ("event_recall",): lambda flags, labels: (event_recall(flags, labels),),
    ("false_alarms_per_thousand",): lambda flags, labels: (false_alarms_per_thousand(flags, labels),),
    ("precision", "composite_f1"): lambda flags, labels: composite_f1(flags, labels)[::2],
    ("affiliation_precision", "affiliation_recall"): affiliation,
    ("pa20_f1",): lambda flags, labels: (pa_k(flags, labels, K).f1,),
}
"""Columns, and the function of flags and labels that fills them."""


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    flags: ArrayLike | None = None,
    events: ArrayLike | None = None,
    values: ArrayLike | None = None,
    window: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the metrics of scores (T,) against labels (T,), and those of two baselines that learn nothing.

    Rows: score; random (the mean over 10 draws); energy, where values (T, C) are given. flags (T,): the rows that were
    flagged; a baseline then flags its highest ones, as many. events (E, 2): the rows of listed events, from the first
    up to but not the second, in place of flags: their rows are flagged then, and each counts once in event_precision,
    which otherwise counts runs of flagged rows. window: the widest margin of VUS; None takes that of
    `vus_window`, by the values or else the scores. Rows without a score (NaN) are left out for all three.

    Columns: those of SCORE_METRICS, with flags those of FLAG_METRICS, then window, rows (those measured), unscored
    (those left out), anomalies, and note: why a metric is NaN, where it is not defined. VUS is TSB-AD's variant.
    Raises DataError where the parts do not fit each other.
    """
    marks = checked_marks(labels, "the labels")
    given = np.asarray(scores, dtype=np.float64)
    if given.shape != marks.shape:
        raise DataError(f"there are {len(marks)} labels for scores of the shape {given.shape}. Give one for each row.")
    scored = ~np.isnan(given)
    listed = np.asarray([] if events is None else events, dtype=np.int64).reshape(-1, 2)
    if events is not None:
        flags = np.zeros(len(given), dtype=bool)
        for first, stop in listed:
            flags[first:stop] = True
    met = [bool((marks & scored)[first:stop].any()) for first, stop in listed]
    raised = None if flags is None else checked_flags(flags, marks)[0][scored]
    rows, marks = int(scored.sum()), marks[scored]
    if window is None:
        window = vus_window(values if values is not None else given[scored] if rows else given)
    draw = np.random.default_rng(seed)
    methods = {
        "score": [given[scored]],
        "random": [draw.random(rows) for _ in range(DRAWS)],
    }
    if values is not None:
        plain = energy(values, max(1, window // 2))
        if len(plain) != len(given):
            raise DataError(f"there are {len(plain)} rows of values for {len(given)} scores. Give one for each row.")
        methods["energy"] = [plain[scored]]
    lines = {}
    for name, drawn in methods.items():
        measured = []
        for one in map(Ranking.of, drawn):
            own = raised if name == "score" or raised is None else one.highest(int(raised.sum()))
            measured.append(_measured(one, own, marks, window))
        results, notes = zip(*measured, strict=True)
        means = {column: float(np.mean([one[column] for one in results])) for column in results[0]}
        counts = {"window": window, "rows": rows, "unscored": len(given) - rows, "anomalies": len(segments(marks)[0])}
        lines[name] = means | counts | {"note": "; ".join(dict.fromkeys(note for one in notes for note in one))}
    if met:
        lines["score"]["event_precision"] = float(np.mean(met))
    return pd.DataFrame.from_dict(lines, orient="index")


def energy(values: ArrayLike, width: int) -> Floats:
    """Return the smoothed energy (T,) of values (T,) or (T, C): z², its mean over channels, a centred moving average.

    z: by the values' own mean and standard deviation, 0 where a value is missing or its channel constant; the average
    is over `width` rows, fewer at the ends.
    """
    given = np.asarray(values, dtype=np.float64)
    given = given[:, None] if given.ndim == 1 else given
    if given.ndim != 2 or not given.size:
        raise DataError(f"values of the shape {given.shape} have no energy. Give at least one row: (T,) or (T, C).")
    seen = np.isfinite(given)
    count = np.maximum(seen.sum(axis=0), 1)
    centred = np.where(seen, given, 0.0)
    centred = np.where(seen, centred - centred.sum(axis=0) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    varied = np.max(np.where(seen, given, -np.inf), axis=0) > np.min(np.where(seen, given, np.inf), axis=0)
    z = np.divide(centred, spread, out=np.zeros_like(centred), where=varied & (spread > 0))
    total = np.r_[0.0, np.cumsum((z**2).mean(axis=1))]
    low = np.maximum(np.arange(len(given)) - (width - 1) // 2, 0)
    high = np.minimum(np.arange(len(given)) + width // 2 + 1, len(given))
    return (total[high] - total[low]) / (high - low)


def _measured(scores: Ranking, flags: Flags | None, labels: Flags, window: int) -> tuple[dict[str, float], list[str]]:
    """Return every metric, NaN where it is not defined, and the reasons."""
    asked: list[tuple[tuple[str, ...], Callable[..., Iterable[float]], tuple[object, ...]]]
    asked = [(names, metric, (scores, labels, window)) for names, metric in SCORE_METRICS.items()]
    if flags is not None:
        asked += [(names, metric, (flags, labels)) for names, metric in FLAG_METRICS.items()]
    results: dict[str, float] = {}
    notes = [] if len(scores.values) else ["no row has a score"]
    for names, metric, given in asked:
        found: Iterable[float] = [np.nan] * len(names)
        try:
            found = metric(*given) if len(scores.values) else found
        except DataError as problem:
            notes.append(str(problem).rstrip("."))
        results |= dict(zip(names, map(float, found), strict=True))
    return results, notes
