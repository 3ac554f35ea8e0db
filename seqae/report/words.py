"""Numbers, times and rates as a reader wants them: short, thousands apart, in words where words are shorter."""

from __future__ import annotations

__all__ = [
    "METRICS", "MODEL", "SCORING", "THRESHOLD", "TRAINING", "Clock", "alarm_words", "clock_of", "count", "number",
    "per_time", "rhythm", "share", "value_words",
]  # fmt: skip

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqae.anomaly.thresholds.rules import THRESHOLDS
from seqae.series import Series
from seqae.steps import spell

DAY = 86_400
MANY = 12
METRICS = {
    "vus_pr": "VUS-PR",
    "vus_roc": "VUS-ROC",
    "average_precision": "average precision",
    "auroc": "AUROC",
    "ucr_hit": "UCR hit",
    "best_pa20_f1": "PA%20 F1, threshold chosen by the labels",
    "event_precision": "event precision",
    "event_recall": "event recall",
    "false_alarms_per_thousand": "false alarms in 1,000 normal rows",
    "precision": "precision of rows",
    "composite_f1": "composite F1",
    "affiliation_precision": "affiliation precision",
    "affiliation_recall": "affiliation recall",
    "pa20_f1": "PA%20 F1",
}
THRESHOLD = {
    "method": "rule",
    "alpha": "false alarms asked for, of normal rows (alpha)",
    "value": "threshold: rows that score higher are flagged",
    "false_alarm_rate": "false alarms to be expected, of normal rows",
    "false_alarms_per_day": "false alarms to be expected a day",
    "rate_interval": "bounds of that share on as many new rows (90 %)",
    "source": "calibrated on",
    "series": "series",
    "first": "from",
    "last": "to",
    "rows": "calibration rows",
    "disjoint_windows": "windows without common rows in them",
    "effective": "independent scores they are worth",
    "error_limit": "error above which a row of an event is off",
}
TRAINING = {
    "first": "from",
    "last": "to",
    "sha256": "SHA-256",
    "parts: fit": "rows that were fitted",
    "parts: validation": "rows that said when to stop",
    "parts: calibration": "rows that set the threshold",
}
MODEL = {
    "model": "model",
    "cell": "recurrent cell",
    "decoder_type": "decoder is fed",
    "feedback": "fed back of the row before",
    "window": "window, rows",
    "window_reason": "window chosen because",
    "latent": "latent dimensions",
    "hidden": "units of a layer",
    "layers": "layers",
    "bidirectional": "encoder reads both ways",
    "reverse": "decodes from the last row",
    "likelihood": "distribution of a value",
    "prior": "prior of the latent",
    "condition": "told beforehand (condition)",
    "scaling": "scaling of the channels",
}
SCORING = {
    "scorer": "score heads",
    "fusion": "several heads are made one by",
    "mode": "windows that give a row its score",
    "smoothing": "rows of the moving mean over scores",
    "stride": "rows between scored windows",
    "missing": "missing values",
    "threshold": "threshold rule",
    "alpha": "false alarms asked for (alpha)",
    "per_series": "a threshold for each series",
    "merge": "normal rows within an event, at most",
    "min_length": "rows that an event needs",
}
"""What options and figures are called, in the order of the page."""
LONGER = (("year", 365.25), ("month", 30.436875), ("week", 7.0), ("day", 1.0))


class Clock(NamedTuple):
    """Where each row of a series lies on a page's time axis, and how its time is written.

    kind: "date" (positions in milliseconds since 1970, as the clock shows them) or "linear". title: what the axis says.
    days: whether every stamp is at midnight, so that a date says all.
    """

    kind: str
    title: str
    positions: NDArray[np.float64]
    texts: pd.Index
    days: bool = False

    def text(self, row: int) -> str:
        """Return the time of a row as it is written."""
        stamp = self.texts[row]
        if not isinstance(stamp, pd.Timestamp):
            return number(stamp) if isinstance(stamp, float | np.floating) else str(stamp)
        if self.days:
            return stamp.strftime("%Y-%m-%d")
        return stamp.isoformat(sep=" ", timespec="seconds" if stamp.nanosecond == stamp.microsecond == 0 else "auto")


def clock_of(series: Series) -> Clock:
    """Return the clock of a series: its own time zone's where its offset stays the same, otherwise UTC; or row numbers.

    Stamps finer than a millisecond lie on an axis of seconds since the first, since browsers' dates are no finer.
    """
    index = series.index
    if not isinstance(index, pd.DatetimeIndex):
        title = "row" if index is None else str(index.name or "time")
        return Clock("linear", title, series.index_or_range.to_numpy(float), series.index_or_range)
    title = ""
    if index.tz is not None:
        universal, wall = index.tz_convert("UTC").tz_localize(None), index.tz_localize(None)
        steady = len(index) == 0 or bool((wall - universal == wall[0] - universal[0]).all())
        title = str(index.tz) if steady else f"UTC (the data's zone is {index.tz})"
        index = wall if steady else universal
    ticks = index.as_unit("ns").asi8
    if len(ticks) > 1 and np.median(np.diff(ticks)) < 1_000_000:
        title = f"seconds since {index[0]}" + (f" {title}" if title else "")
        return Clock("linear", title, (ticks - ticks[0]) / 1e9, index)
    return Clock("date", title, ticks / 1e6, index, days=not np.any(ticks % (DAY * 1_000_000_000)))


def number(value: Any, digits: int = 4) -> str:
    """Return a number with `digits` that count, thousands apart, and a true minus; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "–" if value is None or np.isnan(value) else ("∞" if value > 0 else "−∞")
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}".replace("-", "−")
    size = abs(value)
    whole = f"{value:,.0f}" if 10**digits <= size < 1e9 else f"{value:.{digits}g}"
    return whole.replace("-", "−") if "e" not in whole else whole


def count(amount: int, thing: str) -> str:
    """Return "1 row", "2,000 rows" or "no rows"."""
    return f"{amount:,} {thing}{'' if amount == 1 else 's'}" if amount else f"no {thing}s"


def share(value: float) -> str:
    """Return a share in per cent, three digits at most."""
    return f"{100 * value:.3g} %"


def per_time(per_day: float) -> str:
    """Return a rate in words: "about 14 a day", "about one every 3.2 weeks"."""
    if per_day >= 1:
        return f"about {number(per_day, 2)} a day"
    days = 1 / per_day
    unit, length = next((unit, length) for unit, length in LONGER if days >= length or length == 1.0)
    every = number(days / length, 2)
    return f"about one a {unit}" if every == "1" else f"about one every {every} {unit}s"


def alarm_words(threshold: Mapping[str, Any] | None) -> str:
    """Return what a threshold promises, from `Calibration.provenance`; None: there is none."""
    if threshold is None:
        return "The model has no threshold: nothing is flagged. Calibrate it on normal data."
    if threshold["value"] is None:
        return (
            f"Nothing can be flagged: {number(threshold.get('rows'))} calibration scores are too few for alpha "
            f"{threshold['alpha']:g}."
        )
    rate, per_day = threshold["false_alarm_rate"], threshold.get("false_alarms_per_day")
    often = f", {per_time(per_day)}" if per_day else ""
    interval = threshold.get("rate_interval")
    bounds = f"; the calibration rows leave room for {share(interval[0])} to {share(interval[1])}" if interval else ""
    flagged = f"Rows whose score is above {number(threshold['value'])} are flagged."
    kind = THRESHOLDS[threshold["method"]]
    if kind.batchwise:
        others = "the rows before it" if kind.sequential else "the rows it is scored with"
        flagged = f"A row needs a score above {number(threshold['value'])} to be flagged; how much, {others} say."
    return f"{flagged} Of normal rows, {share(rate)} are expected to be flagged by chance{often}{bounds}."


def value_words(value: Any) -> str:
    """Return a setting as text: none, yes, numbers, lists."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return "∞" if math.isinf(value) else number(value, 6)
        case Mapping():
            return ", ".join(f"{key} {value_words(part)}" for key, part in value.items()) or "none"
        case list() | tuple() if len(value) > MANY:
            return f"{value_words(value[:MANY])}, … ({len(value)} in all)"
        case list() | tuple():
            return ", ".join(map(value_words, value)) or "none"
        case str():
            return value or "none"
        case _:  # a part of the caller's own
            return str(getattr(value, "__name__", type(value).__name__))


def rhythm(series: Series) -> str:
    """Return the sampling step in words, with a comma before it; "" where there is none."""
    if not isinstance(series.index, pd.DatetimeIndex) or series.step is None:
        return ""
    return f", one every {spell(series.step).removeprefix('1 ')}"
