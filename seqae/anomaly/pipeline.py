"""From what a caller gives to what a model takes: series with the known channels, parts cut in time, scaled windows."""

from __future__ import annotations

__all__ = [
    "LABELLED",
    "Given",
    "Parts",
    "Preparation",
    "comparison",
    "cut",
    "drop_inserted",
    "match_channels",
    "read_given",
    "require_rows",
    "without_labelled",
]

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seqae.anomaly.drift import Reference
from seqae.anomaly.scoring import LEAST_OBSERVED
from seqae.conditions import Conditions
from seqae.errors import DataError, ModelFileError, OptionError, SeqaeWarning
from seqae.scaling import Scaler
from seqae.series import Panel, Series, as_panel
from seqae.timeaxis import Step, spell, step_seconds
from seqae.windows import WindowSet

STEP_TOLERANCE = 0.01


class Given(NamedTuple):
    """Data as a caller gave it, read."""

    panel: Panel
    single: bool
    """Whether it was one series, so that one table is the answer; otherwise one per series."""
    rows: dict[str, pd.Index]
    """The own index of each series that came as a table: the answer has these rows and no inserted ones."""

    def answer(self, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Return a table per row of each series as the caller shall have it."""
        return self.unpack({series.name: self._own_rows(series, tables[series.name]) for series in self.panel})

    def unpack(self, tables: dict[str, pd.DataFrame]) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Return the only table of a single series, otherwise all by name."""
        return next(iter(tables.values())) if self.single else tables

    def _own_rows(self, series: Series, table: pd.DataFrame) -> pd.DataFrame:
        if series.name not in self.rows:
            return table
        kept, own = drop_inserted(table, series), self.rows[series.name]
        answer = kept.set_axis(own, axis=0)
        if series.index is not None and not kept.index.equals(own):  # the time axis was a column
            answer.insert(0, str(kept.index.name or "time"), kept.index)
        return answer

    def for_events(self, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        """Return tables whose index says when an event was: the time axis, or else the table's own row labels."""
        own = {
            series.name: self.rows[series.name]
            for series in self.panel
            if series.index is None and series.name in self.rows
        }
        return {name: table.set_axis(own[name], axis=0) if name in own else table for name, table in tables.items()}


def drop_inserted(table: pd.DataFrame, series: Series) -> pd.DataFrame:
    """Return a table with a row for each row of the series without those that fill gaps of the time axis."""
    return table if series.present is None else table[series.present]


def read_given(data: Any, covariates: Sequence[str] = (), channels: tuple[str, ...] | None = None) -> Given:
    """Read a Series, Panel, DataFrame, array (T,), (T, C) or (N, T, C), or a sequence or mapping of those.

    covariates: the columns of tables that are conditions. channels: those that a model knows; they are matched by name,
    in any order, and lent to arrays, which have no names. DataError where they differ.
    """
    members, single = _members(data)
    read = [
        Series.from_frame(one, covariates=list(covariates)) if isinstance(one, pd.DataFrame) else one for one in members
    ]
    panel = as_panel(dict(zip(data, read, strict=True)) if isinstance(data, Mapping) else read[0] if single else read)
    if channels is not None:
        named = any(isinstance(one, Series | pd.DataFrame | pd.Series) for one in members)
        panel = match_channels(panel, channels, by_name=named)
    tables = zip(panel.names, members, strict=True)
    rows = {name: one.index for name, one in tables if isinstance(one, pd.DataFrame | pd.Series)}
    return Given(panel, single, rows)


def _members(data: Any) -> tuple[list[Any], bool]:
    """Return the single series of the data, and whether it is only one by its kind."""
    if isinstance(data, Mapping):
        return list(data.values()), False
    array = isinstance(data, np.ndarray)
    if (array and data.ndim == 3) or isinstance(data, Panel):
        return list(data), False
    if isinstance(data, Sequence) and not isinstance(data, str | bytes) and any(not np.isscalar(one) for one in data):
        return list(data), False
    return [data], True


def match_channels(panel: Panel, channels: tuple[str, ...], *, by_name: bool = True) -> Panel:
    """Return the panel with these channels in this order; DataError names what is missing and what is too many."""
    if not by_name and len(panel.channels) == len(channels):
        return Panel(replace(series, channels=channels) for series in panel)
    if set(panel.channels) != set(channels):
        missing = [name for name in channels if name not in panel.channels]
        extra = [name for name in panel.channels if name not in channels]
        parts = [f"{word}: {', '.join(names)}" for word, names in (("missing", missing), ("unknown", extra)) if names]
        raise DataError(
            f"{panel[0].name} has the channels {', '.join(panel.channels)}; the model was trained on "
            f"{', '.join(channels)} ({'; '.join(parts)}). Rename the columns, or choose them with --columns or --drop."
        )
    return panel.select(channels)


def without_labelled(panel: Panel) -> Panel:
    """Return the panel with the rows that are labelled anomalous made missing; OptionError where nothing has labels."""
    if all(series.labels is None for series in panel):
        raise OptionError("labelled='exclude' needs labels, and the data has none. Name their column with --label.")
    return Panel(
        series
        if series.labels is None
        else replace(series, values=np.where(series.labels[:, None], np.float32(np.nan), series.values))
        for series in panel
    )


LABELLED: dict[str, Callable[[Panel], Panel]] = {"keep": lambda panel: panel, "exclude": without_labelled}
"""What becomes of rows that are labelled anomalous, in training and calibration."""


class Parts(NamedTuple):
    """What a model is fitted to, what tells when to stop, and what the threshold is set by; in time order."""

    fit: Panel
    validation: Panel | None
    calibration: Panel | None

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows of each part."""
        return {name: sum(map(len, part or ())) for name, part in self._asdict().items()}


def cut(panel: Panel, window: int, *, validation: float = 0.1, calibration: float = 0.2) -> Parts:
    """Cut training data into parts that share no window.

    Each series is cut in time: first the fit part, then the shares `validation` and `calibration` of its rows (0: no
    such part), each at least one window long; series too short for that go whole into the fit. Where all are too short,
    the panel is cut by whole series instead: the last ones, in the panel's order, calibrate; those before them
    validate; one at least each. DataError where neither can be; OptionError for shares that leave nothing to fit.
    """
    shares = (validation, calibration)
    if min(shares) < 0 or not sum(shares) < 1:
        raise OptionError(
            f"validation={validation:g} and calibration={calibration:g} are shares of the training rows: "
            "give numbers from 0 that sum to less than 1."
        )
    wanted = 1 + sum(share > 0 for share in shares)
    longest = max(map(len, panel)) // wanted
    require_rows(panel, window, f"Use --window {longest} or less." if longest > 1 else "Give more rows.")
    if any(len(series) >= wanted * window for series in panel):
        pieces: list[list[Series]] = [[], [], []]
        for series in panel:
            whole = [(0, len(series)), (0, 0), (0, 0)]
            bounds = _bounds(len(series), shares, window) if len(series) >= wanted * window else whole
            for piece, (low, high) in zip(pieces, bounds, strict=True):
                piece.extend([series[low:high]] if high > low else [])
    elif len(panel) >= wanted:
        pieces = [list(panel)[low:high] for low, high in _bounds(len(panel), shares, 1)]
    else:
        one = max(panel, key=len)
        cure = "Give more rows."
        if longest > 1:
            cure = f"Use --window {longest} or less, --validation 0 or --calibration 0."
        raise DataError(
            f"{one.name} has {len(one)} rows; {wanted} parts (fit, validation, calibration) of window={window} "
            f"need {wanted * window}. {cure}"
        )
    fit, *others = (Panel(piece) if piece else None for piece in pieces)
    assert fit is not None
    return Parts(fit, *others)


def comparison(parts: Parts, window: int) -> tuple[Panel | None, Panel | None]:
    """Return the held-back series that score heads are compared by, and those that the threshold is set by.

    The validation part and the calibration part; without a validation part the first third of each calibration series
    and the rest of it, where that third is a window long. Not the same rows for both: a threshold is to be set by rows
    that no score was made with.
    """
    if parts.validation is not None or parts.calibration is None:
        return parts.validation, parts.calibration
    cuts = [(series, len(series) // 3) for series in parts.calibration]
    if min(third for _, third in cuts) < window:
        return parts.calibration, parts.calibration
    return Panel(series[:third] for series, third in cuts), Panel(series[third:] for series, third in cuts)


def _bounds(length: int, shares: tuple[float, float], least: int) -> list[tuple[int, int]]:
    """Return (first, stop) of the three parts of `length` rows; a part that is asked for has `least` rows or more.

    Needs length ≥ least for each such part and for the fit; a share too large for that gives way to the fit.
    """
    sizes = [max(round(length * share), least) if share > 0 else 0 for share in shares]
    while length - sum(sizes) < least:
        sizes[int(np.argmax(sizes))] -= 1
    stops = np.cumsum([length - sum(sizes), *sizes]).tolist()
    return list(zip([0, *stops[:-1]], stops, strict=True))


def require_rows(panel: Panel, window: int, cure: str) -> None:
    """Raise DataError where not one series is as long as a window; {rows} in the cure is the longest one's length."""
    longest = max(panel, key=len)
    rows = len(longest)
    if rows < window:
        raise DataError(
            f"{longest.name} has {rows} {'row' if rows == 1 else 'rows'}; window={window} needs at least {window}. "
            f"{cure.format(rows=rows)}"
        )


@dataclass(frozen=True)
class Preparation:
    """The way from a series to windows, as settled by the training data."""

    channels: tuple[str, ...]
    scaler: Scaler
    conditions: Conditions
    missing_rate: tuple[float, ...]
    """Each channel's share of missing values, by the rule of succession: (missing + 1) / (rows + 2)."""
    step: Mapping[str, Any] | None = None
    """{"text": "5min", "seconds": 300.0}, seconds None for plain numbers; None without an even time axis."""
    reference: Reference | None = None
    """What all of the training data were like, to tell when new data are not."""
    min_observed: float = LEAST_OBSERVED
    """The share of observed values that windows had in training: of steps with a value that they need in scoring."""

    @classmethod
    def fit(
        cls, panel: Panel, scaled: Panel, whole: Panel, *, scaling: str, condition: str | Sequence[str] | None
    ) -> Preparation:
        """Learn from the part that the model is fitted to; the scaling from `scaled`, the reference from `whole`."""
        scaler = Scaler.fit(scaled, scaling, channels=panel.channels)
        conditions, step = Conditions.fit(condition, panel), _step_document(panel[0].step)
        return cls(panel.channels, scaler, conditions, _missing(panel), step, Reference.fit(whole))

    def windows(self, panel: Panel, *, window: int, device: str | torch.device = "cpu", **options: Any) -> WindowSet:
        """Return the scaled windows of a panel with these channels; options: those of WindowSet."""
        arrays = [self.scaler.apply(series.values) for series in panel]
        conditions = [self.conditions(series) for series in panel] if self.conditions.size else None
        return WindowSet(arrays, window=window, conditions=conditions, ragged=True, device=device, **options)

    def condition_of(self, data: Any, steps: int) -> Tensor | None:
        """Return the condition (steps, K) of the first rows of data; None where the model has none."""
        if not self.conditions.size:
            return None
        if data is None:
            raise OptionError("a CVAE draws under a condition: give condition_from, data whose condition to take.")
        series = read_given(data, self.conditions.columns).panel[0][:steps]
        if len(series) < steps:
            raise DataError(f"{series.name} has {len(series)} rows to take a condition from; steps={steps} need more.")
        return torch.from_numpy(self.conditions(series))

    def check_step(self, panel: Panel) -> None:
        """Warn where a series has another sampling step than the training data."""
        for series in panel:
            step = _step_document(series.step)
            if self.step is not None and step is not None and not _same_step(self.step, step):
                warnings.warn(
                    f"{series.name} has a row every {step['text']}; the model was trained on one every "
                    f"{self.step['text']}. Its windows span another time: read it with --resample, or train anew.",
                    SeqaeWarning,
                    stacklevel=4,
                )

    def to_document(self) -> dict[str, Any]:
        """Give a JSON-able document."""
        return {
            "channels": list(self.channels),
            "scaler": self.scaler.to_document(),
            "conditions": self.conditions.to_document(),
            "missing_rate": list(self.missing_rate),
            "step": None if self.step is None else dict(self.step),
            "reference": None if self.reference is None else self.reference.to_document(),
            "min_observed": self.min_observed,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Preparation:
        """Read what to_document wrote; raises ModelFileError where that cannot be."""
        try:
            scaler, conditions = Scaler.from_document(document["scaler"]), document["conditions"]
            channels, rates = tuple(document["channels"]), tuple(map(float, document["missing_rate"]))
            known, least = document["reference"], float(document.get("min_observed", LEAST_OBSERVED))
            reference = None if known is None else Reference.from_document(known)
            return cls(
                channels, scaler, Conditions.from_document(conditions), rates, document["step"], reference, least
            )
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"the model file's preparation cannot be read ({error}). Train it again.") from None


def _missing(panel: Panel) -> tuple[float, ...]:
    # Rows labelled anomalous do not count: labelled="exclude" has made them missing.
    seen = [series.observed if series.labels is None else series.observed[~series.labels] for series in panel]
    rows, lost = sum(map(len, seen)), np.sum([np.count_nonzero(~one, axis=0) for one in seen], axis=0)
    return tuple(((lost + 1) / (rows + 2)).tolist())


def _step_document(step: Step | None) -> dict[str, Any] | None:
    return None if step is None else {"text": spell(step), "seconds": step_seconds(step)}


def _same_step(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one["seconds"] is None or other["seconds"] is None:
        return bool(one["text"] == other["text"])
    return abs(one["seconds"] - other["seconds"]) <= STEP_TOLERANCE * one["seconds"]
