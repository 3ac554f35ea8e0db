"""Which of many series need attention: one line for each, those that need it most first."""

from __future__ import annotations

__all__ = ["ATTENTION_COLUMNS", "attention_table", "summarise"]

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from seqae.anomaly.detector import Detection, Detector
from seqae.anomaly.fleets.fleet import Fleet, FleetDetection

ATTENTION_COLUMNS = (
    "series", "ongoing", "severity", "score", "events", "peak", "last_end", "channels", "rows", "scored", "flagged",
    "flagged_share", "expected_share", "note",
)  # fmt: skip
NO_THRESHOLD = "no threshold: nothing is flagged."
TOP, LEAST = 3, 0.1
"""Channels that are named, and the share of the score that each needs, as of events."""
ALONE = "series"
"""What the series of a Detection of one series is called."""


def attention_table(
    scores: Mapping[str, pd.DataFrame],
    events: pd.DataFrame,
    *,
    expected: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
    merge: int = 0,
) -> pd.DataFrame:
    """Return one row for each series, sorted by what needs attention (ATTENTION_COLUMNS).

    scores: a score table for each series; events: as of `detect` for a panel. expected: the share of normal rows that
    may be flagged; notes: what else is to be said of a series, also of one without a table. merge: normal rows between
    two events that are still one.

    severity, peak, channels: of the worst event; peak and channels of a series that was judged by no threshold (its
    rows are neither flagged nor not): of its highest score. score: the highest. last_end: of the event that ends last.
    ongoing: whether an event goes on at the end: at most `merge` scored rows follow it, so that one more flagged row
    could still belong to it. scored: the share of rows that have a score; flagged_share: flagged rows by scored ones,
    to be held against expected_share.

    First come series whose event is going on, then those with events that are over, then those not one row of which has
    a score (nobody knows how they are), then the rest. Within each: by severity, then by flagged_share, the highest
    first; then those judged by no threshold, first those with a note, by their score; then as given.
    """
    expected, notes = expected or {}, notes or {}
    names = [*scores, *(name for name in notes if name not in scores)]
    lines = [
        _line(name, scores.get(name), events[events["series"] == name], expected.get(name), notes.get(name, ""), merge)
        for name in names
    ]
    lines.sort(key=_urgency)
    columns = {name: [line[name] for line in lines] for name in ATTENTION_COLUMNS}
    return pd.DataFrame(columns | {name: _times(columns[name]) for name in ("peak", "last_end")})


def summarise(judge: Detector | Fleet, found: Detection | FleetDetection, *, merge: int | None = None) -> pd.DataFrame:
    """Return the attention table of what a Detector or a Fleet has found.

    Each series is held against the rate that its own threshold promises. merge: as given to `detect`; None takes the
    constructor's. A fleet's notes say why a series has no score, which models have no data, where nothing can be
    flagged, and what training and scoring warned of.
    """
    scores = {ALONE: found.scores} if isinstance(found.scores, pd.DataFrame) else found.scores
    events = found.events if "series" in found.events else found.events.assign(series=ALONE)
    limits = {name: one for name in scores if (one := judge.calibration_of(name)) is not None}
    notes: dict[str, list[str]] = {}
    if isinstance(found, FleetDetection):
        notes = {name: [f"not scored: {reason}"] for name, reason in found.unscored.items()}
        notes |= {name: ["no data for its model"] for name in found.absent}
    for name, one in limits.items():
        if math.isinf(one.threshold.value):
            notes.setdefault(name, []).append("nothing can be flagged: the threshold is out of reach.")
    if isinstance(judge, Fleet) and isinstance(found, FleetDetection):
        for name in scores:
            notes[name] = [*notes.get(name, []), *judge.remarks.get(name, []), *found.remarks.get(name, [])]
    for name, table in scores.items():
        if _unjudged(table):
            notes[name] = [*notes.get(name, []), NO_THRESHOLD]
    return attention_table(
        scores,
        events,
        expected={name: one.threshold.false_alarm_rate for name, one in limits.items()},
        notes={name: " ".join(texts) for name, texts in notes.items()},
        merge=judge.options["merge"] if merge is None else merge,
    )


def _line(
    name: str, table: pd.DataFrame | None, events: pd.DataFrame, expected: float | None, note: str, merge: int
) -> dict[str, Any]:
    if table is None:
        rows, given, flagged = 0, np.zeros(0, dtype=bool), 0
    else:
        rows, given, flagged = len(table), table["score"].notna().to_numpy(), int(table["is_anomaly"].sum())
    scored = int(given.sum())
    worst: dict[str, Any] = {"severity": math.nan, "peak": None, "channels": ""}
    highest, judged = math.nan, True
    if table is not None and scored:
        judged = not _unjudged(table)
        at = int(np.nanargmax(table["score"].to_numpy(np.float64)))
        highest = float(table["score"].iloc[at])
        worst |= {} if judged else {"peak": _axis(table)[at], "channels": _top(table.iloc[at])}
    last, ongoing = None, False
    if len(events):
        worst = dict(events.iloc[int(events["severity"].to_numpy().argmax())])
        last = events["end"].max()
        assert table is not None
        flags = table["is_anomaly"].to_numpy(dtype=bool, na_value=False)
        before = np.flatnonzero(_axis(table) <= last)  # an event may end in a gap, whose rows are not in the table
        end = int(before[-1]) if len(before) else -1
        # Its end is where values are off; flags may go on behind it, with at most `merge` normal rows between two.
        rest = np.flatnonzero(np.concatenate([[True], flags[end + 1 :][given[end + 1 :]], [True]]))
        ongoing = bool((np.diff(rest) - 1).max() <= merge)
    return {
        "series": name,
        "ongoing": ongoing,
        "severity": float(worst["severity"]),
        "score": highest,
        "events": len(events),
        "peak": worst["peak"],
        "last_end": last,
        "channels": worst["channels"],
        "rows": rows,
        "scored": scored / rows if rows else 0.0,
        "flagged": flagged,
        "flagged_share": flagged / scored if scored and judged else math.nan,
        "expected_share": math.nan if expected is None else expected,
        "note": note,
    }


def _unjudged(table: pd.DataFrame) -> bool:
    """Tell whether rows have a score and no threshold has judged them."""
    return bool(table["score"].notna().any() and table["is_anomaly"].isna().all())


def _top(row: pd.Series) -> str:
    """Return the channels with the largest shares of a row's score."""
    parts = {name.removeprefix("score_"): row[name] for name in row.index if str(name).startswith("score_")}
    positive = {name: float(part) for name, part in parts.items() if part > 0}
    total = sum(positive.values())
    best = sorted(positive, key=lambda name: -positive[name])[:TOP]
    return ", ".join(name for name in best if positive[name] >= LEAST * total)


def _axis(table: pd.DataFrame) -> pd.Index:
    """Return what says when a row was: the index, or a time axis that stands before the score."""
    return table.index if table.columns[0] == "score" else pd.Index(table.iloc[:, 0])


def _times(values: list[Any]) -> pd.Series:
    """Return stamps as such; row numbers as the whole numbers that they are, beside those that are missing."""
    column = pd.Series(values, dtype=object)
    inferred = column.infer_objects()
    return inferred if pd.api.types.is_datetime64_any_dtype(inferred) else column


def _urgency(line: Mapping[str, Any]) -> tuple[int, float, float, bool, float]:
    group = 0 if line["ongoing"] else 1 if line["events"] else 2 if line["scored"] == 0 else 3
    severity, share = (math.inf if math.isnan(line[name]) else -line[name] for name in ("severity", "flagged_share"))
    unjudged = group == 3 and math.isnan(line["flagged_share"])
    quiet = unjudged and line["note"] in ("", NO_THRESHOLD)
    return group, severity, share, quiet, -line["score"] if unjudged else 0.0
