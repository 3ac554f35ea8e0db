"""What a detector answers with: tables of scores, reconstructions, latents and samples, in the data's own terms."""

from __future__ import annotations

__all__ = ["draw", "event_table", "latent_tables", "reconstruction_table", "score_table"]

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqae.anomaly.events import find_events
from seqae.anomaly.fusion import Scored
from seqae.anomaly.pipeline import Preparation, read_given
from seqae.anomaly.scoring import Folded
from seqae.anomaly.streams.clock import clock_of, read_stamp
from seqae.anomaly.thresholds.calibration import Calibration
from seqae.errors import OptionError
from seqae.models import Autoencoder
from seqae.scaling import Scaler
from seqae.series import Panel, Series
from seqae.windows import WindowSet


def score_table(series: Series, scored: Scored, calibration: Calibration | None, heads: Sequence[str]) -> pd.DataFrame:
    """Return score, p_value, is_anomaly, coverage, error, score_<channel> and, of several, head_<name>, for each row.

    A row without a score has coverage 0, NaN, and is no anomaly. Without a threshold p_value is NaN and is_anomaly
    missing (pandas' nullable boolean) throughout.
    """
    score, threshold = scored.total, None if calibration is None else calibration.threshold
    unknown = pd.array([pd.NA] * len(series), dtype="boolean")
    columns = {
        "score": score,
        "p_value": np.full(len(series), np.nan) if threshold is None else threshold.p_value(score),
        "is_anomaly": unknown if threshold is None else threshold.flag(score),
        "coverage": scored.coverage,
        "error": scored.error,
    }
    columns |= {f"score_{name}": scored.parts[:, c] for c, name in enumerate(series.channels)}
    columns |= {f"head_{name}": own for name, own in zip(heads, scored.evidence, strict=False)}
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


def latent_tables(panel: Panel, windows: WindowSet, latents: NDArray) -> dict[str, pd.DataFrame]:
    """Return for each series start, end (each window's first and last stamp) and z0, z1, ...; latents: (N, Z)."""
    tables = {}
    for number, series in enumerate(panel):
        own, index = windows.series == number, series.index_or_range
        starts = windows.starts[own] - windows.offsets[number]
        columns = {"start": index[starts], "end": index[starts + windows.lengths[own] - 1]}
        columns |= {f"z{d}": latents[own, d] for d in range(latents.shape[1])}
        tables[series.name] = pd.DataFrame(columns)
    return tables


def event_table(
    panel: Panel,
    scores: Mapping[str, pd.DataFrame],
    calibration_of: Callable[[str], Calibration | None],
    *,
    named: bool,
    reach: int,
    **rules: int,
) -> pd.DataFrame:
    """Return the events of all series, with a column `series` first where they are to be named."""
    found = []
    for series in panel:
        table, calibration = scores[series.name], calibration_of(series.name)
        assert calibration is not None
        parts = table[[f"score_{name}" for name in series.channels]]
        events = find_events(
            table["is_anomaly"], table["score"], table.index, parts, series.channels,
            threshold=calibration.threshold, baseline=calibration.baseline, errors=table["error"],
            error_limit=calibration.origin["error_limit"], reach=reach, **rules,
        )  # fmt: skip
        if named:
            events.insert(0, "series", pd.Series([series.name] * len(events), dtype="str"))
        found.append(events)
    return pd.concat([events for events in found if len(events)] or found[:1], ignore_index=True)


def draw(
    model: Autoencoder, preparation: Preparation, n: int, steps: int, *, condition_from: Any, start: Any, noise: bool,
    seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Return n new stretches of `steps` rows: sample, step, time where known, the channels in the data's units."""
    if n < 1 or steps < 1:
        raise OptionError(f"n={n} and steps={steps} must be at least 1.")
    if start is not None:
        if condition_from is not None:
            raise OptionError("start and condition_from both say when the samples are. Give one of the two.")
        condition_from = _from(start, preparation, steps)
    condition = preparation.condition_of(condition_from, steps)
    if condition is not None:
        condition = condition.to(next(model.parameters()).device).expand(n, -1, -1)
    generator = torch.Generator().manual_seed(seed)
    drawn = model.sample(n, steps, condition, noise=noise, generator=generator).float().cpu().numpy()
    rows = preparation.scaler.invert(drawn).reshape(n * steps, -1)
    columns: dict[str, Any] = {"sample": np.repeat(np.arange(n), steps), "step": np.tile(np.arange(steps), n)}
    index = (
        None if condition_from is None else read_given(condition_from, preparation.conditions.columns).panel[0].index
    )
    if index is not None:
        columns[str(index.name or "time")] = index[np.tile(np.arange(steps), n)]
    return pd.DataFrame(columns | {name: rows[:, c] for c, name in enumerate(preparation.channels)})


def _from(start: Any, preparation: Preparation, steps: int) -> Series:
    """Return an empty series of `steps` rows that begins at a stamp, in the steps of the training data."""
    clock = clock_of(preparation.step)
    if clock is None:
        raise OptionError(
            "the model was trained without an even time axis, so nothing can start at a time. Leave it out."
        )
    stamp = read_stamp(start)
    if clock.dated != isinstance(stamp, pd.Timestamp):
        wanted = "a date and time" if clock.dated else "a plain number"
        raise OptionError(f"the model's time axis has {wanted} for each row; got start={start!r}. Give one like it.")
    values = np.full((steps, len(preparation.channels)), np.nan, dtype=np.float32)
    return Series(values, preparation.channels, clock.after(stamp, np.arange(steps)))
