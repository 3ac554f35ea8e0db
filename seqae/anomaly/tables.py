"""What a detector answers with: tables of scores, reconstructions, latents and samples, in the data's own terms."""

from __future__ import annotations

__all__ = ["event_table", "latent_table", "reconstruction_table", "sample_table", "score_table"]

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqae.anomaly.calibration import Calibration
from seqae.anomaly.events import find_events
from seqae.anomaly.scoring import Folded, total_score
from seqae.anomaly.thresholds import Threshold
from seqae.scaling import Scaler
from seqae.series import Panel, Series


def score_table(series: Series, folded: Folded, threshold: Threshold | None) -> pd.DataFrame:
    """Return score, p_value, is_anomaly, coverage and score_<channel>, a row for each row of the series.

    A row without a score has coverage 0, NaN, and is no anomaly. Without a threshold p_value is NaN and is_anomaly
    missing (pandas' nullable boolean) throughout.
    """
    score = total_score(folded.values)
    unknown = pd.array([pd.NA] * len(series), dtype="boolean")
    columns = {
        "score": score,
        "p_value": np.full(len(series), np.nan) if threshold is None else threshold.p_value(score),
        "is_anomaly": unknown if threshold is None else threshold.flag(score),
        "coverage": folded.coverage,
    }
    columns |= {f"score_{name}": folded.values[:, c] for c, name in enumerate(series.channels)}
    return pd.DataFrame(columns, index=series.index_or_range)


def reconstruction_table(series: Series, folded: Sequence[Folded], scaler: Scaler) -> pd.DataFrame:
    """Return <channel>, <channel>_reconstructed, _lower and _upper in the data's units, from those three folded."""
    values = [series.values, *(scaler.invert(one.values) for one in folded)]
    endings = ("", "_reconstructed", "_lower", "_upper")
    columns = {
        f"{name}{ending}": one[:, c]
        for c, name in enumerate(series.channels)
        for ending, one in zip(endings, values, strict=True)
    }
    return pd.DataFrame(columns, index=series.index_or_range)


def latent_table(series: Series, starts: NDArray, lengths: NDArray, latents: NDArray) -> pd.DataFrame:
    """Return start, end (a window's first and last stamp) and z0, z1, ...; starts count from the series' first row."""
    index = series.index_or_range
    columns = {"start": index[starts], "end": index[starts + lengths - 1]}
    return pd.DataFrame(columns | {f"z{d}": latents[:, d] for d in range(latents.shape[1])})


def event_table(
    panel: Panel, scores: Mapping[str, pd.DataFrame], calibration: Calibration, *, named: bool, **rules: int
) -> pd.DataFrame:
    """Return the events of all series, with a column `series` first where they are to be named."""
    found = []
    for series in panel:
        table = scores[series.name]
        parts = table[[f"score_{name}" for name in series.channels]]
        events = find_events(
            table["is_anomaly"], table["score"], table.index, parts, series.channels,
            threshold=calibration.threshold, baseline=calibration.baseline, **rules,
        )  # fmt: skip
        if named:
            events.insert(0, "series", pd.Series([series.name] * len(events), dtype="str"))
        found.append(events)
    return pd.concat([events for events in found if len(events)] or found[:1], ignore_index=True)


def sample_table(values: NDArray, channels: Sequence[str]) -> pd.DataFrame:
    """Return sample, step and the channels for values (n, steps, C)."""
    n, steps, width = values.shape
    counts = {"sample": np.repeat(np.arange(n), steps), "step": np.tile(np.arange(steps), n)}
    rows = values.reshape(-1, width)
    return pd.DataFrame(counts | {name: rows[:, c] for c, name in enumerate(channels)})
