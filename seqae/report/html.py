"""The report: one HTML page that says what a detector found in a series, and why one may believe it.

The page is a single file with everything in it, plotly.js included; a policy in its head forbids browsers to fetch
anything. What it draws travels as JSON, thinned by `seqae.report.aggregate`.
"""

from __future__ import annotations

__all__ = ["report_html", "write_report"]

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqae.anomaly.detector import Detection, Detector
from seqae.anomaly.events import EVENT_COLUMNS
from seqae.anomaly.pipeline import read_given
from seqae.anomaly.settings import NETWORK
from seqae.anomaly.thresholds.calibration import Calibration
from seqae.anomaly.thresholds.rules import Threshold
from seqae.errors import DataError
from seqae.report.aggregate import BUDGET, Plan, pack, packed_band, packed_curve, plan
from seqae.report.page import Facts, page
from seqae.report.words import Clock, clock_of
from seqae.series import Series
from seqae.steps import step_seconds

SHOWN = 6  # channels that are drawn at first
TOLD = 60  # channels that are in the page at all
LISTED = 500  # events in the table, the most severe ones
BARS = 12  # channels whose share in an event is told
BINS = 60


class _Spans(NamedTuple):
    """The rows of events: first, last and strangest, and the neighbourhood [start, stop) that a click zooms to."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    peak: NDArray[np.int64]
    near: list[tuple[int, int]]


def write_report(
    detector: Detector,
    data: Any,
    path: str | os.PathLike[str],
    *,
    found: Detection | None = None,
    labels: Any = None,
    level: float = 0.95,
    title: str | None = None,
    names: Mapping[str, str] | None = None,
    budget: int = BUDGET,
) -> None:
    """Write the report of one series as a self-contained HTML file, whole or not at all; see `report_html`."""
    text = report_html(detector, data, found=found, labels=labels, level=level, title=title, names=names, budget=budget)
    target = Path(path)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        part = Path(folder) / target.name
        part.write_text(text, encoding="utf-8")
        part.replace(target)


def report_html(
    detector: Detector,
    data: Any,
    *,
    found: Detection | None = None,
    labels: Any = None,
    level: float = 0.95,
    title: str | None = None,
    names: Mapping[str, str] | None = None,
    budget: int = BUDGET,
) -> str:
    """Return the report of one series as the text of an HTML page.

    data: a Series, or a table or array (T,), (T, C) that makes one. found: what `detector.detect` says of it, made here
    where not given. labels: (T,) bool, True = anomalous, taken from the series where not given; with them the page
    tells how the detector did. level: the share of the band. title: the heading, the series' name where not given.
    names: what the page calls the `model` and the `data`, such as their files. budget: bytes of data in the page,
    beside 4.8 MB of plotly.js; the page says what it leaves out. A detector without a threshold has no events.
    """
    given = read_given(data, detector.preparation.conditions.columns, detector.preparation.channels)
    if len(given.panel) != 1:
        raise DataError(
            f"a report is about one series; {len(given.panel)} were given. Pick one, as in panel['pump-1']."
        )
    series = given.panel[0]
    found = _found(detector, series) if found is None else found
    scores, events = cast(pd.DataFrame, found.scores), found.events
    truth = series.labels if labels is None else np.asarray(labels, dtype=bool).reshape(-1)
    for name, table in {"found.scores": scores, "labels": truth}.items():
        if table is not None and len(table) != len(series):
            raise DataError(f"{name} has {len(table)} rows, the series {len(series)}. Give what was made from it.")
    expected = cast(pd.DataFrame, detector.reconstruct(series, level))

    calibration = detector.calibration_of(series.name)
    limit = None if calibration is None else _finite(calibration.threshold.value)
    clock = clock_of(series)
    spans = _spans(events, scores.index, detector.window)
    listed = np.argsort(-events["severity"].to_numpy(float), kind="stable")[:LISTED]
    shares = _shares(calibration, scores, series.channels, spans, listed)
    order = _order(series.channels, scores, shares, events["severity"].to_numpy(float)[listed])
    told = order[:TOLD]
    fineness = plan(
        len(series), min(SHOWN, len(told)), max(len(told) - SHOWN, 0), [spans.near[e] for e in listed], budget=budget
    )
    facts = Facts(
        series=series, clock=clock, scores=scores, events=events, listed=listed, first=spans.first, last=spans.last,
        peak=spans.peak, threshold=None if calibration is None else calibration.provenance(step_seconds(series.step)),
        options=_options(detector), window=detector.window, reason=_reason(detector),
        history=detector.history, training_data=detector.training_data, level=level,
        title=series.name if title is None else title, names=dict(names or {}), shown=min(SHOWN, len(told)),
        told=len(told), detailed=len(listed) if fineness.buckets >= len(series) else len(fineness.details),
        labelled=truth is not None, metrics=_metrics(series, scores, truth, calibrated=calibration is not None),
    )  # fmt: skip
    payload = {
        "axis": _axis(clock),
        "rows": len(series),
        "shown": min(SHOWN, len(told)),
        "names": series.channels,
        "channels": _channels(series, expected, told, fineness),
        "score": _score(scores["score"].to_numpy(float), limit, fineness)
        | {"fixed": calibration is not None and not calibration.threshold.batchwise},
        "events": _events(events, spans, listed, shares, clock),
        "shading": _edges(clock, spans.first, spans.last),
        "labelled": None if truth is None else _edges(clock, *_runs(truth)),
        "epochs": _epochs(detector.history),
        "calibration": None if calibration is None else _histogram(calibration.threshold),
    }
    return page(facts, style=_asset("report.css"), script=_asset("report.js"), library=_plotly(), data=_json(payload))


def _found(detector: Detector, series: Series) -> Detection:
    if detector.calibration is not None:
        return detector.detect(series)
    return Detection(detector.score(series), pd.DataFrame({name: [] for name in EVENT_COLUMNS}), math.inf)


def _spans(events: pd.DataFrame, index: pd.Index, window: int) -> _Spans:
    first, last, peak = (index.get_indexer(pd.Index(events[name])) for name in ("start", "end", "peak"))
    if len(events) and min(first.min(), last.min(), peak.min()) < 0:
        raise DataError("an event lies outside of the scores' time axis. Give events and scores of the same series.")
    margin = np.maximum(window, (last - first + 1) // 2)
    near = zip(np.maximum(first - margin, 0), np.minimum(last + margin, len(index) - 1) + 1, strict=True)
    return _Spans(first, last, peak, [(int(start), int(stop)) for start, stop in near])


def _shares(
    calibration: Calibration | None, scores: pd.DataFrame, channels: Sequence[str], spans: _Spans,
    listed: NDArray[np.int64],
) -> NDArray[np.float64]:  # fmt: skip
    """Return each channel's share of the listed events (E, C), as `find_events` defines it; NaN where there is none."""
    columns = [f"score_{name}" for name in channels]
    shares = np.full((len(listed), len(channels)), np.nan)
    if calibration is None:
        return shares
    parts, flags = scores[columns].to_numpy(float), scores["is_anomaly"].to_numpy(dtype=bool)
    for place, event in enumerate(listed):
        rows = spans.first[event] + np.flatnonzero(flags[spans.first[event] : spans.last[event] + 1])
        excess = np.maximum(np.nansum(parts[rows] - calibration.baseline, axis=0), 0.0)
        if excess.sum() > 0:
            shares[place] = excess / excess.sum()
    return shares


def _order(
    channels: Sequence[str], scores: pd.DataFrame, shares: NDArray[np.float64], severity: NDArray[np.float64]
) -> list[int]:
    """Return the channels as the page orders them: as they are where few, else those that matter to events first."""
    if len(channels) <= SHOWN:
        return list(range(len(channels)))
    peaks = np.array([scores[f"score_{name}"].max() for name in channels])
    weight = (np.nan_to_num(shares) * np.nan_to_num(severity)[:, None]).sum(axis=0)
    return [int(c) for c in np.lexsort((np.arange(len(channels)), -np.nan_to_num(peaks, nan=-np.inf), -weight))]


def _channels(series: Series, expected: pd.DataFrame, told: Sequence[int], fineness: Plan) -> list[dict[str, Any]]:
    drawn = []
    for place, c in enumerate(told):
        name = series.channels[c]
        buckets = fineness.buckets if place < SHOWN else fineness.faint_buckets
        details = fineness.details if place < SHOWN else ()
        lower, upper = (expected[f"{name}_{end}"].to_numpy(np.float32) for end in ("lower", "upper"))
        middle = expected[f"{name}_reconstructed"].to_numpy(np.float32)
        drawn.append(
            {
                "name": name,
                "observed": packed_curve(series.values[:, c], buckets, details),
                "expected": packed_curve(middle, buckets, details),
                "band": packed_band(lower, upper, buckets, details),
            }
        )
    return drawn


def _score(score: NDArray[np.float64], limit: float | None, fineness: Plan) -> dict[str, Any]:
    """Return the score's curve and what a logarithmic axis needs: `knee`, the power of ten above which it is one.

    log: whether the axis begins as one, because a linear one would press everything but the peaks onto the floor.
    """
    known = score[np.isfinite(score)]
    typical = max([float(np.median(np.abs(known))) if len(known) else 0.0, abs(limit or 0.0)])
    high, low = (float(known.max()), float(known.min())) if len(known) else (0.0, 0.0)
    return {
        **packed_curve(score, fineness.buckets, fineness.details),
        "threshold": limit,
        "knee": 10.0 ** math.ceil(math.log10(typical)) if typical > 0 and high > 0 else None,
        "positive": min(low, low if limit is None else limit) > 0,
        "log": bool(0 < 20 * typical <= high),
    }


def _events(
    events: pd.DataFrame, spans: _Spans, listed: NDArray[np.int64], shares: NDArray[np.float64], clock: Clock
) -> list[dict[str, Any]]:
    """Return the listed events in the order of their numbers, which are those of the events' table."""
    told = []
    starts, ends = _edges(clock, spans.first, spans.last)
    for place in np.argsort(listed, kind="stable"):
        event = int(listed[place])
        start, stop = spans.near[event]
        best = [int(c) for c in np.argsort(-shares[place], kind="stable")[:BARS] if shares[place, c] >= 0.005]
        told.append(
            {
                "number": event + 1,
                "severity": _finite(events["severity"].iloc[event]),
                "span": [starts[event], ends[event]],
                "view": [clock.positions[start], clock.positions[stop - 1]],
                "channels": best,
                "shares": [round(float(shares[place, c]), 6) for c in best],
            }
        )
    return told


def _edges(clock: Clock, first: NDArray[np.int64], last: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Return where spans of rows begin and end on the axis: half a step before the first and after the last row."""
    half = float(np.median(np.diff(clock.positions))) / 2 if len(clock.positions) > 1 else 0.5
    return (clock.positions[first] - half).tolist(), (clock.positions[last] + half).tolist()


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(np.int8), 0]))
    return edges[::2], edges[1::2] - 1


def _axis(clock: Clock) -> dict[str, Any]:
    """Return how rows lie on the axis: start and step where it is even, otherwise every position."""
    at = clock.positions
    step = float(at[1] - at[0]) if len(at) > 1 else 1.0
    even = len(at) < 2 or bool(np.abs(at - (at[0] + step * np.arange(len(at)))).max() <= 1e-6 * abs(step))
    ends = [float(at[0]), float(at[-1])]
    told = {"kind": clock.kind, "title": clock.title, "ends": ends}
    return told | ({"start": float(at[0]), "step": step} if even else {"at": pack(at, "<f8")})


def _epochs(history: Mapping[str, Any]) -> dict[str, Any]:
    records = history.get("epochs", [])
    curves = {
        f"{part}_{term}": [_finite(record.get(f"{part}_{term}")) for record in records]
        for part in ("train", "validation")
        for term in ("total", "kl")
    }
    return {"epoch": [record["epoch"] for record in records], "best": history.get("best_epoch") or None, **curves}


def _histogram(threshold: Threshold) -> dict[str, Any]:
    """Return the calibration scores' histogram, cut where a few far ones would press the others into one bar."""
    scores, limit = threshold.scores, threshold.value
    low, high = float(scores[0]), float(scores[-1])
    if math.isfinite(limit):
        usual = max(limit, float(np.quantile(scores, 0.99)))
        high = min(high, usual + (usual - low))
        low = min(low, limit)
    counts, edges = np.histogram(scores, bins=BINS, range=(low, high if high > low else low + 1.0))
    beyond = int((scores > edges[-1]).sum())
    return {"counts": counts.tolist(), "edges": edges.tolist(), "threshold": _finite(limit), "beyond": beyond}


def _metrics(
    series: Series, scores: pd.DataFrame, labels: NDArray[np.bool_] | None, *, calibrated: bool
) -> pd.DataFrame | str | None:
    """Return how the scores do against labels, or why that cannot be said; None without labels."""
    if labels is None:
        return None
    from seqae.anomaly.metrics.evaluation import evaluate

    flags = scores["is_anomaly"].to_numpy(dtype=bool) if calibrated else None
    try:
        return evaluate(scores["score"].to_numpy(float), labels, flags=flags, values=series.values)
    except DataError as problem:
        return str(problem)


def _reason(detector: Detector) -> str:
    """Return why the window is as long as it is, where the data settled it."""
    return "" if detector.options["window"] else str(detector.window_choice.get("reason") or "")


def _options(detector: Detector) -> dict[str, Any]:
    """Return the options as they hold: a model of the caller's own says itself what it is."""
    options, recipe = dict(detector.options), detector.model.recipe
    if not isinstance(options["model"], str):
        own = {} if recipe is None else {name: recipe["arguments"].get(name) for name in NETWORK}
        options |= {name: own.get(name) for name in NETWORK} | {"model": None if recipe is None else recipe["builder"]}
    settled = {"window": detector.window, "stride": detector.stride, "smoothing": detector.smoothing}
    return options | settled | {"condition": list(detector.preparation.conditions.names)}


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _asset(name: str) -> str:
    return (files("seqae.report") / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _json(payload: Mapping[str, Any]) -> str:
    """Return JSON that cannot end the script element it stands in, whatever names it holds."""
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
