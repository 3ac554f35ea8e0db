"""Events: flagged rows that stand together become one line with a start, an end, a peak and its reasons."""

from __future__ import annotations

__all__ = ["EVENT_COLUMNS", "find_events"]

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from seqae.anomaly.thresholds import Threshold
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
    merge: int = 0,
    min_length: int = 1,
) -> pd.DataFrame:
    """Return one row per event: start, end, peak, steps, severity, score, channels, shares.

    flags (T,), scores (T,), parts (T, C): what each channel adds to the score (their mean over the observed channels);
    baseline (C,): the usual part of each channel. Two flagged steps belong to one event when at most `merge` scored
    steps and at most `merge` steps without a score lie between them; an event then needs `min_length` steps from its
    start to its end.

    errors (T,): each row's own error. Scores spread over whole windows, so that rows around what is strange are flagged
    with it: where the highest own error of an event is clearly above error_limit (CLEARLY times), the event is narrowed
    to the rows above both that limit and a quarter of that error, and its peak is the highest of those. Otherwise the
    peak is the highest score.

    start, end, peak: entries of `index`, both ends included. steps: from start to end. score: the event's highest;
    severity: `Threshold.severity` of it, 1 at the threshold. channels: up to three names, the largest share first,
    leaving out any below 10%; shares: their shares of the parts' excess over the baseline, summed over the event's
    flagged steps (a negative sum counts as 0; both are empty where no channel has any).
    """
    if merge < 0 or min_length < 1:
        raise OptionError(f"merge={merge} must be at least 0 and min_length={min_length} at least 1.")
    values = np.asarray(scores, dtype=np.float64)
    flagged = np.asarray(flags, dtype=bool) & ~np.isnan(values)
    excess = np.asarray(parts, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    own = values if errors is None else np.nan_to_num(np.asarray(errors, dtype=np.float64))
    starts, ends = _spans(flagged, values, merge, min_length)
    peaks, scored = np.zeros(len(starts), dtype=np.int64), np.zeros(len(starts))
    named: list[str] = []
    shared: list[str] = []
    for event, (start, end) in enumerate(zip(starts, ends, strict=True)):
        steps = start + np.flatnonzero(flagged[start : end + 1])
        scored[event] = values[steps].max()
        highest = own[steps].max() if errors is not None else 0.0
        if highest > CLEARLY * error_limit:
            narrow = steps[own[steps] > max(error_limit, highest / 4)]
            steps = steps[(steps >= narrow[0]) & (steps <= narrow[-1])]
            starts[event], ends[event] = narrow[0], narrow[-1]
            peaks[event] = narrow[np.argmax(own[narrow])]
        else:
            peaks[event] = steps[np.argmax(values[steps])]
        names, shares = _top(np.nansum(excess[steps], axis=0), channels)
        named.append(", ".join(names))
        shared.append(", ".join(f"{share:.2f}" for share in shares))
    where = (index[starts], index[ends], index[peaks], ends - starts + 1)
    size = (threshold.severity(scored), scored)
    why = (pd.Series(named, dtype="str"), pd.Series(shared, dtype="str"))
    return pd.DataFrame(dict(zip(EVENT_COLUMNS, (*where, *size, *why), strict=True)))


def _spans(flagged: NDArray[np.bool_], scores: Floats, merge: int, min_length: int) -> tuple[NDArray, NDArray]:
    """Return the first and the last step of each event."""
    steps = np.flatnonzero(flagged)
    if not len(steps):
        return steps, steps
    unscored = np.cumsum(np.isnan(scores))[steps]
    missing = np.diff(unscored)
    normal = np.diff(steps) - 1 - missing
    breaks = (normal > merge) | (missing > merge)
    starts, ends = steps[np.r_[True, breaks]], steps[np.r_[breaks, True]]
    long = ends - starts + 1 >= min_length
    return starts[long], ends[long]


def _top(excess: Floats, channels: tuple[str, ...]) -> tuple[list[str], list[float]]:
    """Return the channels with the largest shares of the excess (C,), and those shares."""
    positive = np.maximum(excess, 0.0)
    total = positive.sum()
    if not total > 0:
        return [], []
    shares = positive / total
    order = [i for i in np.argsort(-shares, kind="stable")[:TOP_CHANNELS] if shares[i] >= MIN_SHARE]
    return [channels[i] for i in order], [float(shares[i]) for i in order]
