"""What is to be doubted in training data, each in one line: what was met, what it means, and the cure."""

from __future__ import annotations

__all__ = ["CODES", "find_codes", "find_fault", "warn_of_codes", "warn_of_fault", "warn_of_short"]

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqae.anomaly.fusion import Scored
from seqae.anomaly.pipeline import Parts
from seqae.errors import SeqaeWarning
from seqae.series import Panel

_NINES = (99.9, 999, 999.9, 9999, 9999.9, 99999, 99999.9, 999999, 9999999, 99999999)
_ENDS = (32767, 65535, 2147483647, 4294967295, 3.4028234663852886e38, 9.969209968386869e36)
_POWERS = tuple(float(f"1e{power}") for power in (15, 20, 25, 30, 31, 32, 33, 34, 35, 36, 37, 38))
CODES = tuple(sorted({sign * one for sign in (1, -1) for one in (*_NINES, *_ENDS, *_POWERS)} | {-99, -888, -32768}))
"""Numbers that are customary for a missing value: nines, the ends of integers and floats, powers of ten."""
FAR = 5
"""How many ranges of the other values such a number lies away from them."""
TWICE = 2
"""Rows of a channel that hold it, at least."""
STRAYED = 8
"""How many times as far from the usual score a fault has put the threshold. The constants of this rule were chosen on
synthetic series and labelled ones, with the aim of few false doubts: what shows little in the scores goes unsaid."""
EVIDENCE, ROWS = 4, 100
"""What a threshold of fused scores must be above for that, about −log10 of a probability, and scores of other rows."""
MOST = 5
_PIECE = 1 << 18  # rows that are looked through at a time
"""What one warning names of many, at most."""


class Code(NamedTuple):
    """A number that looks like a code for missing values: its channel, rows, and the range of the other values."""

    channel: str
    number: float
    rows: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.channel!r} holds {self.number:.10g} in {self.rows} rows (else {self.low:.4g} to {self.high:.4g})"


def find_codes(values: NDArray[np.float32], channel: str) -> list[Code]:
    """Return what of a channel's values (N,) looks like a code for missing ones.

    A number of CODES that at least two rows hold, more than FAR times the range of the others away from them; others
    that are all alike have no range to tell by.
    """
    codes = np.array(CODES).astype(np.float32)
    held, low, high = np.zeros(len(codes), dtype=np.int64), math.inf, -math.inf
    for start in range(0, len(values), _PIECE):
        given = values[start : start + _PIECE]
        coded = np.isin(given, codes)
        if coded.any():
            held += [int((given == code).sum()) for code in codes]
        others = given[~coded & ~np.isnan(given)]
        if len(others):
            low, high = min(low, float(others.min())), max(high, float(others.max()))
    if not held.any() or low > high:
        return []
    reach = FAR * (high - low)
    found = zip(CODES, held.tolist(), strict=True)
    return [
        Code(channel, float(number), rows, low, high)
        for number, rows in found
        if rows >= TWICE and reach > 0 and max(low - number, number - high) > reach
    ]


def warn_of_codes(panel: Panel) -> None:
    """Warn where channels hold numbers that look like codes for missing values."""
    columns = zip(panel.channels, zip(*(series.values.T for series in panel), strict=True), strict=True)
    joined = ((name, parts[0] if len(parts) == 1 else np.concatenate(parts)) for name, parts in columns)
    found = [code for name, values in joined for code in find_codes(values, name)]
    if found:
        numbers = ",".join(dict.fromkeys(f"{code.number:.10g}" for code in found))
        warnings.warn(
            f"the training data seem to hold codes for missing values, which count as values: {_listed(found)}. Read "
            f"them as missing (--na-values {numbers}), or make them NaN.",
            SeqaeWarning,
            stacklevel=5,
        )


class Fault(NamedTuple):
    """A stretch of scores that alone sets the threshold: its series, first and last row, that threshold, and another
    without it."""

    series: int
    first: int
    last: int
    limit: float
    limit_without: float


def find_fault(
    totals: Sequence[NDArray[np.float64]], alpha: float, reach: int, least: float = -math.inf
) -> Fault | None:
    """Return the one stretch that has put the 1 − alpha quantile of calibration scores STRAYED times too high, or None.

    totals: each series' scores (T,); reach: rows that a single one can colour; least: what that quantile must be above.
    The stretch is that of the highest
    score: of rows above the middle between it and the median, up to `reach` apart. What lies within half a reach of it
    is left out with it; ROWS and half of all scores must remain, so that what is usual is known.
    """
    tops = [-np.inf if np.isnan(own).all() else np.nanmax(own) for own in totals]
    which = int(np.argmax(tops))
    own, scores = totals[which], np.concatenate(totals)
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return None
    count, middle = len(scores), (float(np.median(scores, overwrite_input=True)) + tops[which]) / 2
    limit = float(np.quantile(scores, 1 - alpha, overwrite_input=True))
    del scores  # of what may be long one copy at a time is enough
    high = np.flatnonzero(np.nan_to_num(own, nan=-np.inf) > middle)
    if not len(high):  # all scores are alike
        return None
    parts = np.split(high, np.flatnonzero(np.diff(high) > reach) + 1)
    stretch = next(part for part in parts if tops[which] in own[part])
    first, last = int(stretch[0]), int(stretch[-1])
    outside = np.concatenate([own[: max(first - reach // 2, 0)], own[last + reach // 2 + 1 :]])
    rest = np.concatenate([*totals[:which], outside, *totals[which + 1 :]])
    rest = rest[~np.isnan(rest)]
    if len(rest) < max(ROWS, count / 2):
        return None
    usual = float(np.median(rest, overwrite_input=True))
    without = float(np.quantile(rest, 1 - alpha, overwrite_input=True))
    strayed = without > usual and limit - usual > STRAYED * (without - usual)
    return Fault(which, first, last, limit, without) if strayed and limit > least else None


def warn_of_fault(panel: Panel, found: Sequence[Scored], alpha: float, reach: int, source: str) -> None:
    """Warn where one stretch of the rows that set the threshold looks like a fault."""
    least = EVIDENCE if len(found[0].evidence) else -math.inf
    fault = find_fault([one.total for one in found], alpha, reach, least)
    if fault is not None:
        series = panel[fault.series]
        index = series.index_or_range
        rows = "rows " if series.index is None else ""
        warnings.warn(
            f"{rows}{index[fault.first]} to {index[fault.last]} of {series.name} look like a fault amid the rows that "
            f"set the threshold ({source}): without them it would be about {fault.limit_without:.3g} and not "
            f"{fault.limit:.3g}, and what is less strange than they are is not flagged. Look at them (seqae plot); if "
            "they are not normal leave them out, or label them and use --labelled exclude.",
            SeqaeWarning,
            stacklevel=4,
        )


def warn_of_short(panel: Panel, parts: Parts, window: int) -> None:
    """Warn where series are too short to be cut in time as the others of their panel are."""
    held = [part for part in (parts.validation, parts.calibration) if part is not None]
    whole = [name for name in parts.fit.names if held and name not in held[0].names]
    if not whole or len(whole) == len(parts.fit):  # where no series is long enough, they are parted as wholes
        return
    wanted, rows = len(held) + 1, min(len(panel[name]) for name in whole)
    cure = f"Use --window {rows // wanted} or less, or leave them out." if rows >= 2 * wanted else "Leave them out."
    warnings.warn(
        f"{len(whole)} of {len(panel)} series are too short to hold rows back ({_listed(whole)}): {wanted} parts of "
        f"window={window} need {wanted * window} rows. They are fitted whole, and the threshold knows nothing of them. "
        f"{cure}",
        SeqaeWarning,
        stacklevel=5,
    )


def _listed(things: list[str] | list[Code]) -> str:
    more = f" and {len(things) - MOST} more" if len(things) > MOST else ""
    return ", ".join(map(str, things[:MOST])) + more
