"""Events: flagged rows that stand together become one line with a start, an end, a peak and its reasons."""

from __future__ import annotations

__all__ = ["EVENT_COLUMNS", "find_events"]

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from seqae.anomaly.thresholds.rules import Threshold
from seqae.errors import OptionError

EVENT_COLUMNS = ("start", "end", "peak", "steps", "severity", "score", "channels", "shares")
Floats = NDArray[np.float64]
TOP_CHANNELS = 3
MIN_SHARE = 0.1
CLEARLY = 2.0


def find_events(
    flags: ArrayLike,
    scores: ArrayLike,
    index: pd.Index,
    parts: ArrayLike,
    channels: tuple[str, ...],
    *,
    threshold: Threshold,
    baseline: ArrayLike = 0.0,
    errors: ArrayLike | None = None,
    error_limit: float = 0.0,
    reach: int = 0,
    merge: int = 0,
    min_length: int = 1,
) -> pd.DataFrame:
    """Return one row per event: start, end, peak, steps, severity, score, channels, shares.

    flags (T,), scores (T,), parts (T, C): what each channel adds to the score (their mean over the observed channels);
    baseline (C,): the usual part of each channel. Two flagged steps belong to one event when at most `merge` scored
    steps and at most `merge` steps without a score lie between them. An event needs `min_length` steps from its start
    to its end, once it is narrowed.

    errors (T,): each row's own error; reach: how far around a strange row scores may be high because of it. Scores
    spread over whole windows, so that a flagged stretch is wider than what is strange in it and may hold several such
    places: rows whose own error is clearly above error_limit (CLEARLY times) make an event of their own where they are
    more than `reach` steps apart, narrowed to the rows above both that limit and a quarter of its highest error, where
    its peak is. What of the stretch lies beyond their reach is an event too, as wide as it is flagged, its peak the
    highest score; so is all of a stretch without such a row, and every stretch where errors are None.

    start, end, peak: entries of `index`, both ends included. steps: from start to end. score: the event's highest;
    severity: `Threshold.severity` of it, 1 at the threshold. channels: up to three names, the largest share first,
    leaving out any below 10%; shares: their shares of the parts' excess over the baseline, summed over the
    flagged steps that are left (a negative sum counts as 0; both are empty where no channel has any).
    """
    if merge < 0 or min_length < 1:
        raise OptionError(f"merge={merge} must be at least 0 and min_length={min_length} at least 1.")
    values = np.asarray(scores, dtype=np.float64)
    flagged = np.asarray(flags, dtype=bool) & ~np.isnan(values)
    excess = np.asarray(parts, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    own = np.zeros_like(values) if errors is None else np.nan_to_num(np.asarray(errors, dtype=np.float64))
    found: list[tuple[NDArray[np.int64], Floats]] = []
    for start, end in zip(*_spans(flagged, values, merge), strict=True):
        steps = start + np.flatnonzero(flagged[start : end + 1])
        found.extend([(steps, values)] if errors is None else _places(steps, values, own, error_limit, reach))
    found.sort(key=lambda place: place[0][0])
    starts, ends = (np.array([steps[k] for steps, _ in found], dtype=np.int64) for k in (0, -1))
    peaks = np.array([steps[np.argmax(by[steps])] for steps, by in found], dtype=np.int64)
    scored = np.array([values[steps].max() for steps, _ in found])
    reasons = [_top(np.nansum(excess[steps], axis=0), channels) for steps, _ in found]
    named = [", ".join(names) for names, _ in reasons]
    shared = [", ".join(f"{share:.2f}" for share in shares) for _, shares in reasons]
    long = ends - starts + 1 >= min_length
    starts, ends, peaks, scored = starts[long], ends[long], peaks[long], scored[long]
    named, shared = ([text for text, kept in zip(texts, long, strict=True) if kept] for texts in (named, shared))
    where = (index[starts], index[ends], index[peaks], ends - starts + 1)
    size = (threshold.severity(scored), scored)
    why = (pd.Series(named, dtype="str"), pd.Series(shared, dtype="str"))
    return pd.DataFrame(dict(zip(EVENT_COLUMNS, (*where, *size, *why), strict=True)))


def _places(
    steps: NDArray[np.int64], scores: Floats, own: Floats, limit: float, reach: int
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Yield the flagged steps of each event in a stretch of them, and by what its peak is settled."""
    clear = steps[own[steps] > CLEARLY * limit]
    left = np.ones(len(steps), dtype=bool)
    for place in np.split(clear, np.flatnonzero(np.diff(clear) > reach) + 1) if len(clear) else ():
        around = (steps >= place[0] - reach) & (steps <= place[-1] + reach)
        left &= ~around
        near = steps[around]
        yield near[own[near] > max(limit, own[place].max() / 4)], own
    rest = steps[left]
    if len(rest):
        for part in np.split(rest, np.flatnonzero(np.diff(np.flatnonzero(left)) > 1) + 1):
            yield part, scores


def _spans(flagged: NDArray[np.bool_], scores: Floats, merge: int) -> tuple[NDArray, NDArray]:
    """Return the first and the last step of each event."""
    steps = np.flatnonzero(flagged)
    if not len(steps):
        return steps, steps
    unscored = np.cumsum(np.isnan(scores))[steps]
    missing = np.diff(unscored)
    normal = np.diff(steps) - 1 - missing
    breaks = (normal > merge) | (missing > merge)
    return steps[np.r_[True, breaks]], steps[np.r_[breaks, True]]


def _top(excess: Floats, channels: tuple[str, ...]) -> tuple[list[str], list[float]]:
    """Return the channels with the largest shares of the excess (C,), and those shares."""
    positive = np.maximum(excess, 0.0)
    total = positive.sum()
    if not total > 0:
        return [], []
    shares = positive / total
    order = [i for i in np.argsort(-shares, kind="stable")[:TOP_CHANNELS] if shares[i] >= MIN_SHARE]
    return [channels[i] for i in order], [float(shares[i]) for i in order]
