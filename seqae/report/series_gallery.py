"""The pictures of what a Detector's model has learned of windows: its latent space, walks, samples, interpolations."""

from __future__ import annotations

__all__ = ["GALLERY", "Look"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from seqae.anomaly.detector import Detector
from seqae.anomaly.pipeline import require_rows
from seqae.errors import DataError
from seqae.generative.series import decode_windows, evaluate_series, real_and_drawn, windows_of
from seqae.report.latent_space import latent_scatter
from seqae.report.window_pictures import series_interpolation, series_samples, series_traversals
from seqae.series import Panel, Series

Array = np.ndarray[Any, Any]
REACH, STEPS = 2.5, 9
"""Standard deviations that a walk goes to either way, and its steps."""
ROWS = 6
"""Latent dimensions that are walked along: those with the largest KL."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LABELS = ("normal", "labelled anomalous")


@dataclass(frozen=True)
class Look:
    """What to draw: the series, the first rows of the two windows to go between, how many samples, seed and title.

    Of samples by month as many as come nearest, at least one for each month. title: None says what is shown.
    """

    series: Series
    rows: tuple[int, ...] = ()
    count: int = 50
    seed: int = 0
    title: str | None = None


def _codes(detector: Detector, series: Series) -> tuple[Array, Array]:
    """Return the codes of a series' windows (N, Z) and each one's first row (N,)."""
    _, windows = windows_of(detector, series)
    with torch.no_grad():
        codes = [detector.model.encode(*batch).float().cpu() for _, batch in windows.blocks(512)]
    return torch.cat(codes).numpy(), windows.starts


def _names(detector: Detector) -> list[str]:
    return [f"z{d}" for d in range(detector.model.latent.size)]


def _latent(detector: Detector, look: Look) -> Figure:
    """Draw the codes of all windows, coloured by label where there are any of both kinds, otherwise by time."""
    z, starts = _codes(detector, look.series)
    series, names = look.series, _names(detector)
    if series.labels is not None and series.labels.any():
        ends = np.minimum(starts + detector.window, len(series))
        marked = np.array([series.labels[a:b].any() for a, b in zip(starts, ends, strict=True)]).astype(int)
        if 0 < marked.sum() < len(marked):
            return latent_scatter(z, marked, names=LABELS, axis_names=names, title=look.title or "Latent space")
    when = series.index_or_range[starts]
    if isinstance(when, pd.DatetimeIndex):
        times = when.tz_localize(None).to_numpy("datetime64[ns]")
    else:
        times = np.asarray(when, dtype=float)
    return latent_scatter(z, times, label="window begins", axis_names=names, title=look.title or "Latent space")


def _walk(detector: Detector, look: Look) -> Figure:
    """Draw what changes along the latent dimensions with the largest KL, from the mean code of the series."""
    z, _ = _codes(detector, look.series)
    found = evaluate_series(detector, look.series, samples=(1,))
    stochastic = detector.model.latent.stochastic
    weight = np.array(found.per_dimension_kl if stochastic else found.per_dimension_variance)
    order = np.argsort(-weight, kind="stable")[:ROWS]
    values = np.linspace(-REACH, REACH, STEPS)
    # In an AE a dimension has no unit of its own: its steps are standard deviations of the codes.
    scale = np.ones(z.shape[1]) if stochastic else z.std(0)
    path = np.tile(z.mean(0), (len(order), STEPS, 1))
    for row, d in enumerate(order):
        path[row, :, d] = (0.0 if stochastic else z.mean(0)[d]) + values * scale[d]
    decoded = decode_windows(detector, path.reshape(-1, z.shape[1]), _condition(detector, look.series))
    frames = decoded.reshape(len(order), STEPS, detector.window, -1)
    return series_traversals(
        frames, values, look.series.channels, names=[f"z{d}" for d in order], kl=weight[order] if stochastic else None,
        x_label="step", title=look.title or "Latent traversals",
    )  # fmt: skip


def _samples(detector: Detector, look: Look) -> Figure:
    """Draw new windows over real ones; of a model that knows the month, by the month in which they begin."""
    series = look.series
    if isinstance(series.index, pd.DatetimeIndex) and "month_sin" in detector.preparation.conditions.names:
        return _by_month(detector, look, series.index)
    real, drawn = real_and_drawn(detector, series, look.count, seed=look.seed)
    return series_samples(drawn, series.channels, real=real, x_label="step", title=look.title or "Samples")


def _by_month(detector: Detector, look: Look, index: pd.DatetimeIndex) -> Figure:
    """Draw new windows under the conditions of real ones that begin in the same month."""
    window = detector.window
    require_rows(Panel([look.series]), window, "Give longer data.")
    starts = np.arange(len(look.series) - window + 1)
    month = np.asarray(index.month)[starts]
    real, drawn, groups = [], [], []
    for number in np.unique(month):
        own = starts[(month == number) & (index.day[starts] == index.day[starts[month == number]].min())]
        for place, start in enumerate(own[:: max(1, len(own) * 12 // look.count)]):
            part = look.series[int(start) : int(start) + window]
            table = detector.sample(1, condition_from=part, seed=look.seed + place)
            drawn.append(table[list(part.channels)].to_numpy())
            real.append(part.values)
            groups.append(MONTHS[number - 1])
    return series_samples(
        np.stack(drawn), look.series.channels, real=np.stack(real), groups=groups, real_groups=groups, x_label="step",
        title=look.title or "Samples by the month in which they begin",
    )  # fmt: skip


def _interpolation(detector: Detector, look: Look) -> Figure:
    """Draw what is decoded on the straight way between two windows' codes: those named, or the two ends."""
    z, starts = _codes(detector, look.series)
    if len(z) < 2:
        raise DataError(f"{look.series.name} has one window, and an interpolation goes between two. Give more rows.")
    if look.rows:
        first, last = (int(np.abs(starts - row).argmin()) for row in (look.rows[0], look.rows[-1]))
    else:
        centred = z - z.mean(0)
        along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
        first, last = int(along.argmin()), int(along.argmax())
    share = np.linspace(0, 1, STEPS)[:, None]
    path = (1 - share) * z[first] + share * z[last]
    begin = int(starts[first])
    condition = _condition(detector, look.series[begin : begin + detector.window])
    decoded = decode_windows(detector, path, condition)
    when = look.series.index_or_range[[begin, int(starts[last])]]
    begins = when
    if isinstance(when, pd.DatetimeIndex) and (when == when.normalize()).all():
        begins = when.strftime("%Y-%m-%d")
    title = f"From the window that begins at {begins[0]} to the one at {begins[1]}"
    return series_interpolation(decoded, look.series.channels, x_label="step", title=look.title or title)


def _condition(detector: Detector, series: Series) -> torch.Tensor | None:
    return detector.preparation.condition_of(Panel([series]), detector.window)


GALLERY: dict[str, Callable[[Detector, Look], Figure]] = {
    "latent": _latent,
    "traversals": _walk,
    "samples": _samples,
    "interpolation": _interpolation,
}
