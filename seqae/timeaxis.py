"""The time axis: rows laid out on an even grid; seqae.stamps reads the stamps, seqae.steps finds the step.

Nothing is repaired unless an option asks for it: unsorted, duplicated and irregular stamps are refused with the
options that would read them. Only gaps are filled, with rows that are marked as not given. Times keep the resolution
they come in.
"""

from __future__ import annotations

__all__ = [
    "DUPLICATES",
    "IRREGULAR",
    "MOST_ADDED",
    "ORDERS",
    "TIME_UNITS",
    "Layout",
    "Origin",
    "Step",
    "find_step",
    "find_time",
    "index_from_ticks",
    "lay_out",
    "looks_like_time",
    "read_stamps",
    "spell",
    "step_seconds",
    "ticks_of",
]

import contextlib
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from seqae.errors import OptionError, SeqaeWarning, TimeAxisError, choose
from seqae.stamps import TIME_UNITS, Origin, find_time, looks_like_time, read_stamps
from seqae.steps import Grid, Step, find_grid, find_step, most_common, spell, step_seconds

ORDERS = {"refuse": "stamps must increase", "sort": "rows are put in the order of their stamps"}
DUPLICATES = {
    "refuse": "no stamp may occur twice",
    "first": "the first row of a stamp is kept",
    "last": "the last row of a stamp is kept",
    "mean": "the rows of a stamp are averaged",
}
IRREGULAR = {"refuse": "stamps must be even but for gaps", "keep": "rows are taken as even steps, gaps are not filled"}
MOST_ADDED = 10


@dataclass(frozen=True)
class Layout:
    """Where rows go: row rows[i] goes to step steps[i] of index, in increasing order; rows of one step are averaged."""

    index: pd.Index
    step: Step | None
    rows: np.ndarray
    steps: np.ndarray

    @property
    def present(self) -> np.ndarray | None:
        """(T,) bool: steps that at least one row goes to; None where every step has one."""
        present = np.zeros(len(self.index), dtype=bool)
        present[self.steps] = True
        return None if present.all() else present

    @property
    def _single(self) -> bool:
        return bool(np.all(np.diff(self.steps) > 0))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Lay out values (N, C) as (T, C): the mean of the observed ones per step, NaN where there is none."""
        values = values[self.rows]
        if self._single:
            if len(values) == len(self.index):
                return values
            placed = np.full((len(self.index), values.shape[1]), np.nan, dtype=values.dtype)
            placed[self.steps] = values
            return placed
        seen = ~np.isnan(values)
        sums, counts = (np.zeros((len(self.index), values.shape[1])) for _ in range(2))
        starts = np.flatnonzero(np.diff(self.steps, prepend=-1))
        sums[self.steps[starts]] = np.add.reduceat(np.where(seen, values, 0.0), starts, axis=0, dtype=np.float64)
        counts[self.steps[starts]] = np.add.reduceat(seen, starts, axis=0, dtype=np.float64)
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    def any(self, flags: np.ndarray) -> np.ndarray:
        """Lay out flags (N,) as (T,): True where any row of the step is."""
        placed = np.zeros(len(self.index), dtype=bool)
        placed[self.steps[flags[self.rows]]] = True
        return placed

    def table(self, frame: pd.DataFrame, origin: Origin) -> pd.DataFrame:
        """Lay out a table of N rows as T rows: numbers averaged; TimeAxisError where text differs within a step."""
        frame = frame.iloc[self.rows]
        if not self._single:
            starts = np.flatnonzero(np.diff(self.steps, prepend=-1))
            groups = np.cumsum(np.diff(self.steps, prepend=self.steps[0]) > 0)
            merged = frame.iloc[starts].reset_index(drop=True)
            for name in frame.columns:
                if is_numeric_dtype(frame[name].dtype) and not is_bool_dtype(frame[name].dtype):
                    merged[name] = frame[name].groupby(groups).mean().to_numpy()
                elif (differs := (frame[name].groupby(groups).nunique(dropna=False) > 1).to_numpy()).any():
                    stamp = self.index[self.steps[starts[differs.argmax()]]]
                    raise TimeAxisError(
                        f"{origin.name}: column {name!r} holds different texts at {stamp}, and texts have no mean. "
                        f"Use --duplicates first, no --resample, or --drop {name}."
                    )
            frame, places = merged, self.steps[starts]
        else:
            places = self.steps
        frame = frame.set_axis(places, axis=0)
        return frame if len(frame) == len(self.index) else frame.reindex(range(len(self.index)))


def lay_out(
    index: pd.Index,
    *,
    tz: str | None = None,
    order: str = "refuse",
    duplicates: str = "refuse",
    irregular: str = "refuse",
    resample: str | None = None,
    origin: Origin | None = None,
) -> Layout:
    """Return the even time axis for rows with these stamps, and where each row goes on it.

    Done in this order: localise or convert to `tz`, sort, merge duplicates, average into bins (`resample`), fill gaps.
    TimeAxisError names the row and the options that would read it; OptionError for an option that does not exist.
    """
    origin = origin or Origin()
    for menu, choice, what in (
        (ORDERS, order, "order"),
        (DUPLICATES, duplicates, "duplicates"),
        (IRREGULAR, irregular, "irregular"),
    ):
        choose(menu, choice, what)
    if resample is not None and irregular == "keep":
        raise OptionError("--resample makes steps even and --irregular keep leaves them uneven. Use one of the two.")
    if tz is not None:
        index = _in_zone(index, tz, origin)
    ticks = ticks_of(index)
    rows = np.arange(len(index))

    def cure() -> str:
        return _cures(index, order=order, duplicates=duplicates, uneven=irregular == "refuse" and resample is None)

    backwards = np.diff(ticks) < 0
    if backwards.any():
        if order == "refuse":
            row = int(backwards.argmax()) + 1
            raise TimeAxisError(
                f"{origin.name}: {index[row]} in {origin.line(row)} comes after {index[row - 1]}. "
                f"Stamps must increase: use {cure()}{_clock_hint(index, row)}."
            )
        rows = np.argsort(ticks, kind="stable")
    ticks = ticks[rows]
    new = np.concatenate([[True], np.diff(ticks) > 0])
    if not new.all() and duplicates == "refuse":
        row = int(rows[new.argmin()])
        raise TimeAxisError(
            f"{origin.name}: {index[row]} in {origin.line(row)} occurs more than once (rows that repeat a stamp: "
            f"{int((~new).sum())}). Use {cure()}{_clock_hint(index, row)}."
        )
    unique = index[rows[new]]
    steps = np.cumsum(new) - 1
    if not new.all() and duplicates != "mean":
        kept = new if duplicates == "first" else np.append(new[1:], True)
        rows, steps = rows[kept], steps[kept]
    if resample is not None:
        unique, bins = _bins(unique, resample, origin)
        steps = bins[steps]
    grid = find_grid(unique)
    if resample is not None or irregular == "keep" or len(unique) == 1:
        full = grid is not None and len(unique) == grid.places[-1] + 1
        return Layout(unique, grid.step if grid is not None and full else None, rows, steps)
    if grid is None:
        raise TimeAxisError(_uneven(unique, rows[new], origin, cure()))
    return Layout(_fill(unique, grid, origin), grid.step, rows, grid.places[steps])


def _fill(index: pd.Index, grid: Grid, origin: Origin) -> pd.Index:
    length = int(grid.places[-1]) + 1
    added = length - len(index)
    if added == 0:
        return index
    if added > MOST_ADDED * len(index):
        gap = int(np.diff(grid.places).argmax())
        raise TimeAxisError(
            f"{origin.name}: steps of {spell(grid.step)} from {index[0]} to {index[-1]} would add {added} empty rows "
            f"to {len(index)}; the longest gap is {index[gap]} to {index[gap + 1]}. "
            "Use --resample with a longer step, --irregular keep, or cut the file at the gap."
        )
    if added > len(index):
        warnings.warn(
            f"{origin.name}: {len(index)} rows on steps of {spell(grid.step)} leave {added} steps empty. "
            "If that is not the sampling step, use --resample with a longer one.",
            SeqaeWarning,
            stacklevel=2,
        )
    ticks = np.empty(length, dtype=ticks_of(index).dtype)
    empty = np.ones(length, dtype=bool)
    empty[grid.places] = False
    ticks[grid.places] = ticks_of(index)
    ticks[empty] = grid.ticks_at(np.flatnonzero(empty))
    return index_from_ticks(ticks, index)


def ticks_of(index: pd.Index) -> np.ndarray:
    """Return stamps as whole units of their resolution since 1970, and numbers as they are."""
    return index.asi8 if isinstance(index, pd.DatetimeIndex) else index.to_numpy()


def index_from_ticks(ticks: np.ndarray, like: pd.Index) -> pd.Index:
    """Return the stamps of ticks_of, in the resolution, zone and name of an index."""
    if not isinstance(like, pd.DatetimeIndex):
        return pd.Index(ticks, name=like.name)
    stamps = pd.DatetimeIndex(ticks.view(f"M8[{like.unit}]"), name=like.name)
    return stamps if like.tz is None else stamps.tz_localize("UTC").tz_convert(like.tz)


def _bins(index: pd.Index, width: str, origin: Origin) -> tuple[pd.Index, np.ndarray]:
    """Return the stamps of all bins from the first to the last that holds a row, and the bin of every row."""
    most = (MOST_ADDED + 1) * len(index)
    too_fine = f"{origin.name}: --resample {width} would make more than {most} rows of {len(index)}. Use a longer step."
    if not isinstance(index, pd.DatetimeIndex):
        try:
            size = float(width)
        except (TypeError, ValueError):
            size = 0.0
        if not size > 0:
            raise OptionError(
                f"--resample {width} does not fit a time axis of plain numbers. Use a number, such as 0.5."
            )
        which = np.floor(index.to_numpy(dtype=np.float64) / size + 1e-9).astype(np.int64)
        if which[-1] - which[0] >= most:
            raise TimeAxisError(too_fine)
        return pd.Index(np.arange(which[0], which[-1] + 1) * size, name=index.name), which - which[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # "5T" and "H": pandas 2 announces the error of pandas 3
            offset = pd.tseries.frequencies.to_offset(width)
            length = pd.Timedelta(offset) if isinstance(offset, pd.offsets.Tick) else pd.Timedelta(days=1)
    except (TypeError, ValueError) as problem:
        raise OptionError(
            f"--resample {width} is no step. Use a number and a unit: 10s, 5min, 1h, 1D, 1W, 1MS."
        ) from problem
    if length <= pd.Timedelta(0):
        raise OptionError(f"--resample {width} is no step. It must be longer than nothing: 10s, 5min, 1h.")
    if (index[-1] - index[0]) / length >= most:
        raise TimeAxisError(too_fine)
    counts = pd.Series(1, index=index).resample(offset).sum()
    return counts.index.rename(index.name), np.repeat(np.arange(len(counts)), counts.to_numpy())


def _in_zone(index: pd.Index, tz: str, origin: Origin) -> pd.DatetimeIndex:
    """Convert aware stamps, localise naive ones; a repeated hour is told apart by the rows' order where it is plain."""
    if not isinstance(index, pd.DatetimeIndex):
        raise OptionError(
            f"{origin.name}: --tz {tz} needs stamps; the time axis holds plain numbers. Give --time-unit too."
        )
    try:
        pd.Timestamp(0).tz_localize(tz)
    except (LookupError, ValueError, OSError) as problem:
        raise OptionError(f"--tz {tz!r} is no time zone. Use a name such as Europe/Berlin, or UTC.") from problem
    if index.tz is not None:
        return index.tz_convert(tz)
    local = index.tz_localize(tz, ambiguous="NaT", nonexistent="NaT")
    unclear = local.isna()
    if not unclear.any():
        return local
    # ValueError in pandas 3, classes of pytz in pandas 2.
    with contextlib.suppress(Exception):
        local = index.tz_localize(tz, ambiguous="infer")
        if local.is_monotonic_increasing:
            return local
    skipped = (
        index[unclear]
        .tz_localize(tz, ambiguous=np.ones(np.count_nonzero(unclear), dtype=np.bool_), nonexistent="NaT")
        .isna()
    )
    row = int(np.flatnonzero(unclear)[skipped.argmax()])
    what = "does not exist" if skipped.any() else "occurs twice"
    raise TimeAxisError(
        f"{origin.name}: {index[row]} in {origin.line(row)} {what} in {tz}, where clocks change. "
        "Write the stamps with their UTC offset, or use --tz UTC if they are in UTC."
    )


def _cures(index: pd.Index, *, order: str, duplicates: str, uneven: bool) -> str:
    """Return every option these stamps need, so that the first refusal is the last."""
    ticks = np.sort(ticks_of(index))
    cures = ["--order sort"] if order == "refuse" and np.any(np.diff(ticks_of(index)) < 0) else []
    if duplicates == "refuse" and np.any(np.diff(ticks) == 0):
        cures.append("--duplicates mean (or first, last)")
    unique = np.unique(ticks)
    if uneven and len(unique) > 1 and find_grid(index_from_ticks(unique, index)) is None:
        cures.append(f"--resample {_usual_step(unique, index)}")
    return " ".join(cures)


def _usual_step(ticks: np.ndarray, like: pd.Index) -> str:
    """Return a step to resample by: the most common difference, or a round one near the median where none is common."""
    differences = np.diff(ticks)
    values, counts = np.unique(differences, return_counts=True)
    usual = float(values[counts.argmax()] if counts.max() >= 0.1 * len(differences) else np.median(differences))
    # Half of the rows may be closer than the median; never so fine that most bins stay empty.
    usual = max(usual, float(ticks[-1] - ticks[0]) / (5 * len(ticks)))
    if not isinstance(like, pd.DatetimeIndex):
        return f"{usual:.3g}"
    seconds = usual / TIME_UNITS[like.unit]
    if seconds in (round(seconds), round(seconds * 1e3) / 1e3):
        return spell(pd.Timedelta(round(seconds * 1e3), "ms"))
    nice = [count * unit for unit in (1e-9, 1e-6, 1e-3) for count in (1, 2, 5, 10, 20, 50, 100, 200, 500)]
    nice += [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200]
    nice += [86400 * days for days in (1, 2, 7, 14, 28)]
    return spell(pd.Timedelta(round(min(nice, key=lambda size: abs(np.log(size / seconds))) * 1e9), "ns"))


def _clock_hint(index: pd.Index, row: int) -> str:
    if isinstance(index, pd.DatetimeIndex) and index.tz is None:
        stamp = index[row]
        if stamp.month in (4, 10, 11) and stamp.weekday() == 6 and stamp.hour <= 3:
            return ", or --tz with the time zone (as in Europe/Berlin) if clocks were set back there"
    return ""


def _uneven(index: pd.Index, rows: np.ndarray, origin: Origin, cure: str) -> str:
    differences = np.diff(ticks_of(index))
    off = int((differences % most_common(differences) != 0).argmax()) + 1
    gap = index[off] - index[off - 1]
    return (
        f"{origin.name}: {index[off]} in {origin.line(int(rows[off]))} comes {spell(gap)} after the stamp before it, "
        f"where {_usual_step(ticks_of(index), index)} is usual; steps must be even but for gaps. "
        f"Use {cure} (mean per step), or --irregular keep to take rows as even steps."
    )
