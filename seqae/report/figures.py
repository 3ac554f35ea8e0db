"""One picture of a scored series: what was measured, what the model expected, how strange it was, and the events.

Drawn with matplotlib's object interface on the Agg canvas: no pyplot, no global state, no display.
Colours are those of Okabe and Ito (2008), told apart by colour-blind readers.
"""

from __future__ import annotations

__all__ = ["decimate", "figure_series"]

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from seqae.errors import DataError

if TYPE_CHECKING:
    from seqae.series import Series

Array = np.ndarray[Any, Any]

OBSERVED, EXPECTED, BAND, ALARM, LABELLED, QUIET = "#262626", "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#6E6E6E"
BUCKETS = 1500  # about one per pixel of the picture's width: more cannot be seen
DIGIT_WIDTH, DIGIT_GAP = 0.008, 0.007  # of the picture's width: a digit of an event's number, the room beside it


def figure_series(
    series: Series,
    *,
    reconstruction: pd.DataFrame | None = None,
    scores: pd.DataFrame | None = None,
    events: pd.DataFrame | None = None,
    threshold: float | None = None,
    labels: Array | None = None,
    title: str | None = None,
    max_channels: int = 12,
) -> Figure:
    """Draw a series over its reconstruction and band, the score with its threshold, and events shaded and numbered.

    series: (T, C); reconstruction: columns <channel>_reconstructed, _lower, _upper; scores: column score and,
    to choose among more than `max_channels` channels, score_<channel>; events: columns start, end, severity, in the
    order of their numbers; labels: (T,) bool, taken from the series where not given. Tables have T rows.
    """
    labels = series.labels if labels is None else labels
    for name, table in {"reconstruction": reconstruction, "scores": scores, "labels": labels}.items():
        if table is not None and len(table) != len(series):
            raise DataError(
                f"{name} has {len(table)} rows, the series {len(series)}. Draw what was made from this series."
            )
    shown = _chosen_channels(series.channels, scores, max_channels)
    x = _positions(series.index_or_range, series.index_or_range)
    heights = [max(0.95, 2.5 - 0.35 * len(shown))] * len(shown)
    heights += [1.7] * (scores is not None) + [0.2] * (labels is not None)
    figure = Figure(figsize=(12, max(3.2, sum(heights) + 1.1)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(hspace=0.015, h_pad=0.03)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]

    for axes, channel in zip(grid, shown, strict=False):
        _draw_channel(axes, x, series.values[:, series.channels.index(channel)], channel, reconstruction)
    row = len(shown)
    if scores is not None:
        _draw_score(grid[row], x, scores, threshold)
        row += 1
    if labels is not None:
        _draw_labels(grid[row], x, np.asarray(labels, bool))
    numbered = _draw_events(grid[: row if labels is not None else None], x, series.index_or_range, events)

    _format_time(grid[-1], x, series.index)
    pad = 19 if numbered else 8
    grid[0].set_title(
        _literal(series.name if title is None else title), loc="left", fontsize=11, weight="bold", pad=pad
    )
    notes = [f"{len(shown)} of {len(series.channels)} channels"] if len(shown) < len(series.channels) else []
    if events is not None and numbered < len(events):
        notes.append(f"{numbered} of {len(events)} events have room for their number")
    grid[0].set_title("; ".join(notes), loc="right", fontsize=8, color=QUIET, pad=pad)
    legend = _legend(reconstruction, events, labels)
    figure.legend(handles=legend, loc="outside lower right", ncols=6, frameon=False, fontsize=9)
    return figure


def decimate(x: Array, y: Array, buckets: int = BUCKETS) -> tuple[Array, Array]:
    """Thin (x, y), each (T,), to at most `2 * buckets` points: each bucket's minimum and maximum, in their own order.

    Peaks survive however thin they are. A bucket of NaN gives NaN, so gaps stay gaps. Few points stay as they are.
    """
    if len(y) <= 2 * buckets:
        return x, y
    edges = np.linspace(0, len(y), buckets + 1).astype(int)
    width = int(np.diff(edges).max())
    rows = np.minimum(edges[:-1, None] + np.arange(width), edges[1:, None] - 1)
    block = y[rows]
    low = np.where(np.isnan(block), np.inf, block).argmin(axis=1)
    high = np.where(np.isnan(block), -np.inf, block).argmax(axis=1)
    picked = np.sort(np.stack([low, high], axis=1), axis=1)
    kept = np.unique(np.take_along_axis(rows, picked, axis=1))
    return x[kept], y[kept]


def _envelope(x: Array, lower: Array, upper: Array, buckets: int = BUCKETS) -> tuple[Array, Array, Array]:
    """Thin a band to one point per bucket that still covers all of it."""
    if len(x) <= 2 * buckets:
        return x, lower, upper
    edges = np.linspace(0, len(x), buckets + 1).astype(int)[:-1]
    return x[edges], np.fmin.reduceat(lower, edges), np.fmax.reduceat(upper, edges)


def _chosen_channels(channels: tuple[str, ...], scores: pd.DataFrame | None, most: int) -> list[str]:
    """All channels, or the `most` of them with the highest single scores, in the series' order."""
    if len(channels) <= most:
        return list(channels)
    if scores is None or any(f"score_{name}" not in scores for name in channels):
        return list(channels[:most])
    peaks = {name: float(np.nan_to_num(scores[f"score_{name}"].max(), nan=-np.inf)) for name in channels}
    best = set(sorted(channels, key=lambda name: -peaks[name])[:most])
    return [name for name in channels if name in best]


def _positions(index: pd.Index, values: Any) -> Array:
    """Where `values` of the kind of `index` lie on the x axis: days since 1970 for stamps, otherwise the numbers."""
    if isinstance(index, pd.DatetimeIndex):
        stamps = pd.to_datetime(pd.Series(values))
        stamps = stamps.dt.tz_convert("UTC").dt.tz_localize(None) if stamps.dt.tz is not None else stamps
        return np.asarray(date2num(stamps.to_numpy()), float)
    return np.asarray(values, float)


def _draw_channel(axes: Axes, x: Array, values: Array, channel: str, reconstruction: pd.DataFrame | None) -> None:
    values = values.astype(float)
    heavy = len(x) > 2 * BUCKETS
    if reconstruction is not None:
        lower, upper = (reconstruction[f"{channel}_{edge}"].to_numpy(float) for edge in ("lower", "upper"))
        axes.fill_between(*_envelope(x, lower, upper), color=BAND, alpha=0.35, linewidth=0, zorder=1)
        axes.plot(
            *decimate(x, reconstruction[f"{channel}_reconstructed"].to_numpy(float)),
            color=EXPECTED,
            linewidth=0.6 if heavy else 1.4,
            alpha=0.85,
            zorder=3,
        )
    axes.plot(*decimate(x, values), color=OBSERVED, linewidth=0.5 if heavy else 0.9, zorder=2)
    gone = np.isnan(np.concatenate([[np.nan], values, [np.nan]]))
    alone = ~gone[1:-1] & gone[:-2] & gone[2:]  # a line shows nothing of a value between two missing ones
    axes.plot(x[alone], values[alone], linestyle="none", marker=".", markersize=3, color=OBSERVED, zorder=2)
    if np.isfinite(values).any():  # the measured values fill the picture; a wild band may leave it
        low, high = np.nanmin(values), np.nanmax(values)
        if reconstruction is not None:
            middle = reconstruction[f"{channel}_reconstructed"].to_numpy(float)
            band = np.concatenate([middle, lower, upper])
            band = band[np.isfinite(band)]
            if len(band):
                reach = 0.5 * (high - low) or 1.0
                low, high = max(min(low, band.min()), low - reach), min(max(high, band.max()), high + reach)
        margin = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)
    _plain(axes, channel)


def _draw_score(axes: Axes, x: Array, scores: pd.DataFrame, threshold: float | None) -> None:
    score = scores["score"].to_numpy(float)
    known = score[np.isfinite(score)]
    axes.plot(*decimate(x, score), color=QUIET, linewidth=0.8, zorder=2)
    if threshold is not None and np.isfinite(threshold):
        # Some thresholds flag by more than their limit.
        flagged = scores["is_anomaly"].fillna(False).to_numpy(bool) if "is_anomaly" in scores else score > threshold
        places, peaks = decimate(x, np.where(flagged, score, np.nan))
        axes.plot(places, peaks, color=ALARM, linewidth=1.3, marker=".", markersize=2.5, zorder=3)
        axes.axhline(threshold, color=ALARM, linestyle=(0, (5, 3)), linewidth=1, zorder=2)
    _plain(axes, "score")
    if len(known):
        _choose_scale(axes, known, threshold)
    if threshold is not None and np.isfinite(threshold):
        axes.annotate(
            f"threshold {threshold:.3g}",
            (1, threshold),
            xycoords=axes.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=ALARM,
        )


def _choose_scale(axes: Axes, known: Array, threshold: float | None) -> None:
    """Limits of the score axis, logarithmic where a linear one would press everything but the peaks onto the floor.

    Scores that can be negative (nats) get an axis that is linear up to a power of ten and logarithmic above it.
    """
    bound = [] if threshold is None or not np.isfinite(threshold) else [threshold]
    low, high = min([known.min(), *bound]), max([known.max(), *bound])
    typical = max([float(np.median(np.abs(known))), *np.abs(bound)])
    if typical <= 0 or high < 20 * typical:
        margin = 0.08 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)
    elif low > 0:
        axes.set_yscale("log")
        axes.set_ylim(max(float(np.quantile(known, 0.01)), high * 1e-8) / 2, high * 2)
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        knee = int(np.ceil(np.log10(typical)))
        powers = range(knee, int(np.ceil(np.log10(high))) + 1)
        axes.set_yscale("symlog", linthresh=10.0**knee)
        axes.yaxis.set_major_locator(FixedLocator([0, *(10.0**p for p in powers[:: 1 + len(powers) // 4])]))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if abs(value) < 1e5 else f"{value:.0e}")
        )
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(max(low, -(10.0**knee)) - 0.1 * 10.0**knee, high * 2)


def _draw_labels(axes: Axes, x: Array, labels: Array) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]]).astype(int)))
    _shade(axes, x, x[edges[::2]], x[edges[1::2] - 1], color=LABELLED)
    _plain(axes, "labelled")
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])


def _draw_events(grid: Any, x: Array, index: pd.Index, events: pd.DataFrame | None) -> int:
    """Shade every event on all axes and number as many as fit above the first, the most severe first; how many did."""
    if events is None or len(events) == 0:
        return 0
    starts, ends = _positions(index, events["start"]), _positions(index, events["end"])
    for axes in grid:
        _shade(axes, x, starts, ends, color=ALARM, alpha=0.18, zorder=0)
    span = float(x[-1] - x[0]) or 1.0
    placed: list[tuple[float, float]] = []
    for event in np.argsort(-events["severity"].to_numpy(float), kind="stable"):
        middle, half = (starts[event] + ends[event]) / 2, span * (DIGIT_WIDTH * len(str(event + 1)) + DIGIT_GAP) / 2
        if all(abs(middle - other) >= half + room for other, room in placed):
            placed.append((middle, half))
            grid[0].annotate(
                str(event + 1),
                (middle, 1),
                xycoords=grid[0].get_xaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=ALARM,
                annotation_clip=False,
            )
    return len(placed)


def _shade(axes: Axes, x: Array, starts: Array, ends: Array, **style: Any) -> None:
    """Shade the steps from each start to its end over the full height, however short they are still visible."""
    step = float(np.median(np.diff(x))) if len(x) > 1 else 1.0
    limits = axes.get_ylim()
    spans = list(zip(starts - step / 2, ends - starts + step, strict=True))
    axes.broken_barh(spans, (0, 1), transform=axes.get_xaxis_transform(), linewidth=0.8, **style)
    axes.set_ylim(limits)


def _plain(axes: Axes, name: str) -> None:
    """A quiet frame: two spines, a light grid, a short name at the left."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E3E3E3", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=3)
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    short = name if len(name) <= 18 else f"{name[:8]}…{name[-9:]}"
    axes.set_ylabel(_literal(short), rotation=0, ha="right", va="center", fontsize=9)


def _literal(text: str) -> str:
    """Text as it is: a dollar sign starts no formula."""
    return text.replace("$", r"\$")


def _format_time(axes: Axes, x: Array, index: pd.Index | None) -> None:
    margin = 0.004 * float(x[-1] - x[0]) or 0.5
    axes.set_xlim(x[0] - margin, x[-1] + margin)
    if isinstance(index, pd.DatetimeIndex):
        locator = AutoDateLocator(tz=index.tz, minticks=4, maxticks=10)
        axes.xaxis_date(index.tz)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=index.tz))
        if index.tz is not None:
            axes.set_xlabel(str(index.tz), fontsize=8, loc="left")
    else:
        formatter = ScalarFormatter(useOffset=False)
        formatter.set_scientific(False)
        axes.xaxis.set_major_formatter(formatter)
        axes.set_xlabel("row" if index is None else str(index.name or "time"), fontsize=8, loc="left")


def _legend(reconstruction: pd.DataFrame | None, events: pd.DataFrame | None, labels: Array | None) -> list[Any]:
    entries: list[Any] = [Line2D([], [], color=OBSERVED, label="observed")]
    if reconstruction is not None:
        entries.append(Line2D([], [], color=EXPECTED, label="reconstruction"))
        entries.append(Patch(color=BAND, alpha=0.35, label="its band"))
    if events is not None and len(events):
        entries.append(Patch(color=ALARM, alpha=0.35, label="event"))
    if labels is not None:
        entries.append(Patch(color=LABELLED, label="labelled"))
    return entries
