"""Conditions: what is known beforehand about each row and explains the expected shape (for the CVAE)."""

from __future__ import annotations

__all__ = ["CYCLES", "Conditions"]

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from seqae.errors import DataError, ModelFileError, OptionError, SeqaeWarning
from seqae.scaling import Scaler
from seqae.series import Panel, Series, as_panel

DAY = 86_400.0  # seconds
MAX_CATEGORIES = 200


class Cycle(NamedTuple):
    """A calendar cycle: its length in seconds, and where in it a stamp lies (a phase in [0, 1)).

    `phase` takes naive local stamps (T,) and the seconds since their midnight (T,).
    """

    seconds: float
    phase: Callable[[pd.DatetimeIndex, np.ndarray], np.ndarray]


def _month(stamps: pd.DatetimeIndex, seconds: np.ndarray) -> np.ndarray:
    # Counted in months, so that monthly stamps lie evenly; day of the year would limp and jump in leap years.
    day = stamps.day.to_numpy() - 1 + seconds / DAY
    return (stamps.month.to_numpy() - 1 + day / stamps.days_in_month.to_numpy()) / 12


# The cycles that "calendar" chooses from: of the hour, of the day, of the week, of the year.
CYCLES: dict[str, Cycle] = {
    "minute": Cycle(3_600.0, lambda stamps, seconds: seconds % 3_600.0 / 3_600.0),
    "hour": Cycle(DAY, lambda stamps, seconds: seconds / DAY),
    "weekday": Cycle(7 * DAY, lambda stamps, seconds: (stamps.day_of_week.to_numpy() + seconds / DAY) / 7),
    "month": Cycle(365 * DAY, _month),
}


@dataclass(frozen=True)
class Calendar:
    """Sine and cosine of each cycle's phase on the local clock of the training data's time zone."""

    cycles: tuple[str, ...]
    timezone: str | None  # None: naive stamps, taken as they are

    def __post_init__(self) -> None:
        if not set(self.cycles) <= set(CYCLES):
            raise ValueError(f"calendar cycles {self.cycles}")
        object.__setattr__(self, "cycles", tuple(self.cycles))
        pd.Timestamp(0, tz=self.timezone)  # refuses a zone that this machine does not know

    @classmethod
    def fit(cls, panel: Panel) -> Self:
        """Take the cycles of which the sampling step is less than half and the time covered at least two."""
        calendar = cls((), _timezone(_stamps(panel[0])))
        step = max((_step(_stamps(series)) for series in panel if len(series) > 1), default=0.0)
        covered = _covered([calendar._local(series) for series in panel if len(series)], step)
        half = covered / 2 + 1e-3  # stamps in float seconds are exact to the microsecond only
        cycles = tuple(name for name, cycle in CYCLES.items() if 2 * step < cycle.seconds <= half)
        if not cycles:
            raise DataError(
                f"condition calendar: rows every {_spelled(step)} over {_spelled(covered)} show no hour, day, week or "
                "year twice. Give more data or --condition COLUMN, or take a model without condition."
            )
        return cls(cycles, calendar.timezone)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{cycle}_{wave}" for cycle in self.cycles for wave in ("sin", "cos"))

    def __call__(self, series: Series) -> np.ndarray:
        stamps = self._local(series)
        seconds = ((stamps - stamps.normalize()) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
        turns = [2 * np.pi * CYCLES[cycle].phase(stamps, seconds) for cycle in self.cycles]
        return np.column_stack([wave(turn) for turn in turns for wave in (np.sin, np.cos)])

    def _local(self, series: Series) -> pd.DatetimeIndex:
        """Bring the stamps to the training data's wall clock, without zone."""
        stamps = _stamps(series)
        if stamps.tz is None and self.timezone is None:
            return stamps
        if stamps.tz is None:
            raise DataError(
                f"{series.name}: the stamps have no time zone, the training data's had {self.timezone}. "
                f"Read them with --tz {self.timezone} (or the zone they were taken in)."
            )
        if self.timezone is None:
            raise DataError(
                f"{series.name}: the stamps are in {stamps.tz}, the training data's had no time zone. "
                "Give stamps without offset, or train with --tz."
            )
        return stamps.tz_convert(self.timezone).tz_localize(None)


@dataclass(frozen=True)
class Number:
    """A numeric column, standardised by the training data's mean and standard deviation."""

    column: str
    centre: float
    width: float

    @classmethod
    def fit(cls, panel: Panel, column: str) -> Self:
        values = np.concatenate([_floats(_column(series, column), series, column) for series in panel])
        if np.ptp(values) == 0:
            _warn_constant(column, values[0])
            return cls(column, float(values[0]), 1.0)
        scaler = Scaler.fit(values, channels=[column])
        return cls(column, float(scaler.centre[0]), float(scaler.width[0]))

    @property
    def names(self) -> tuple[str, ...]:
        return (self.column,)

    def __call__(self, series: Series) -> np.ndarray:
        values = _floats(_column(series, self.column), series, self.column)
        return ((values - self.centre) / self.width)[:, None]


@dataclass(frozen=True)
class Category:
    """A column of categories, one-hot in the order of the stored, sorted vocabulary."""

    column: str
    vocabulary: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))

    @classmethod
    def fit(cls, panel: Panel, column: str) -> Self:
        vocabulary = sorted({text for series in panel for text in set(_texts(_column(series, column)))})
        if len(vocabulary) > MAX_CATEGORIES:
            raise DataError(
                f"condition column {column!r} has {len(vocabulary)} different values, such as {vocabulary[0]!r}; "
                f"as categories at most {MAX_CATEGORIES} are taken. Group them, or give the column as numbers."
            )
        if len(vocabulary) == 1:
            _warn_constant(column, vocabulary[0])
        return cls(column, tuple(vocabulary))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.column}={word}" for word in self.vocabulary)

    def __call__(self, series: Series) -> np.ndarray:
        texts = _texts(_column(series, self.column))
        codes = pd.Index(self.vocabulary, dtype=object).get_indexer(pd.Index(texts, dtype=object))
        unseen = codes < 0
        if unseen.any():
            raise DataError(
                f"{series.name}: condition {self.column!r} is {texts[unseen][0]!r} {_at(series, unseen)}; the training "
                f"data knew {_listed(self.vocabulary)}. Correct it, or train again with data that has it."
            )
        return np.eye(len(self.vocabulary), dtype=np.float32)[codes]


PARTS: dict[str, type[Any]] = {"calendar": Calendar, "number": Number, "category": Category}


@dataclass(frozen=True)
class Conditions:
    """Turns a series into its condition (T, K): calendar cycles and covariate columns, as the training data had them.

    A column with a numeric dtype (integers and floats, not booleans) enters as one standardised number. Anything
    else (text, booleans, pandas categoricals, mixtures) is a set of categories, one-hot; to have numbers taken as
    categories, give them as text or as a categorical.
    """

    parts: tuple[Calendar | Number | Category, ...] = ()

    @classmethod
    def fit(cls, spec: str | Sequence[str] | None, panel: Series | Panel) -> Conditions:
        """Learn the condition from training data.

        spec: None, "calendar", the name of a covariate column, or a sequence of those.
        Raises DataError where a column is not there or has missing values, or where "calendar" finds no time index
        or no cycle; OptionError where something is named twice. SeqaeWarning for a column that never varies.
        """
        names = [spec] if isinstance(spec, str) else list(spec or ())
        if len(set(names)) < len(names):
            raise OptionError(f"condition {', '.join(names)}: something is named twice. Name each once.")
        panel = as_panel(panel)
        if names and not any(map(len, panel)):
            raise DataError(f"condition {', '.join(names)}: there are no rows to learn it from. Give training data.")
        if "calendar" in names and any("calendar" in _there(series) for series in panel):
            raise OptionError("condition calendar: a column is called calendar too. Rename that column.")
        return cls(tuple(Calendar.fit(panel) if name == "calendar" else _fit_column(panel, name) for name in names))

    @property
    def names(self) -> tuple[str, ...]:
        """The K features' names: hour_sin, hour_cos, load, state=off, state=on, ..."""
        return tuple(name for part in self.parts for name in part.names)

    @property
    def size(self) -> int:
        """K, the number of features; 0 without condition."""
        return len(self.names)

    @property
    def columns(self) -> tuple[str, ...]:
        """The covariate columns that a series must bring."""
        return tuple(part.column for part in self.parts if not isinstance(part, Calendar))

    def __call__(self, series: Series) -> np.ndarray:
        """Give the condition of each row, (T, K) float32, without missing values.

        Rows that were inserted to fill a gap of the time axis carry the last given row's value forward (before the
        first given row: that row's). Raises DataError for other missing values, unseen categories, text in a numeric
        column, a missing time index, and stamps with a zone where the training data had none or the other way round.
        """
        features = [part(series).astype(np.float32) for part in self.parts]
        return np.concatenate([np.empty((len(series), 0), np.float32), *features], axis=1)

    def to_document(self) -> dict[str, Any]:
        """Give a JSON-able document; from_document brings back an equal object."""
        return {"parts": [_document(part) for part in self.parts]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Conditions:
        """Read what to_document wrote; raises ModelFileError where that cannot be."""
        try:
            given = [dict(part) for part in document["parts"]]
            return cls(tuple(PARTS[part.pop("kind")](**part) for part in given))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the model file's conditions cannot be read ({error}). Train it again.") from None


def _document(part: Calendar | Number | Category) -> dict[str, Any]:
    kind = next(kind for kind, cls in PARTS.items() if isinstance(part, cls))
    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(part).items()}
    return {"kind": kind, **fields}


def _fit_column(panel: Panel, column: str) -> Number | Category:
    dtypes = [_column(series, column).dtype for series in panel]
    numeric = all(pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype) for dtype in dtypes)
    return Number.fit(panel, column) if numeric else Category.fit(panel, column)


def _there(series: Series) -> list[str]:
    return [] if series.covariates is None else list(map(str, series.covariates.columns))


def _column(series: Series, column: str) -> pd.Series:
    """Return a covariate column, carried forward over the rows that fill gaps of the time axis."""
    if series.covariates is None or column not in series.covariates:
        raise DataError(
            f"{series.name} has no condition column {column!r}; it has {_listed(_there(series))}. "
            f"Read it with --covariates {column}, or name another --condition."
        )
    values = series.covariates[column]
    missing = values.isna().to_numpy()
    if not missing.any():
        return values
    bad = missing if series.present is None or missing.all() else missing & series.present
    if bad.any():
        raise DataError(
            f"{series.name}: condition column {column!r} is missing {_at(series, bad)} ({bad.sum()} rows in all). "
            "Fill it in, or leave the condition out."
        )
    rows = np.where(missing, np.argmin(missing), np.arange(len(missing)))
    return values.iloc[np.maximum.accumulate(rows)]


def _floats(values: pd.Series, series: Series, column: str) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise DataError(
            f"{series.name}: condition column {column!r} holds {str(values[bad].iloc[0])!r} {_at(series, bad)}; "
            "in training it held finite numbers only. Correct it, or train again."
        )
    return numbers


def _texts(values: pd.Series) -> np.ndarray:
    """Give each value as text, (T,) object; whole floats as integers, since a gap turns 7 into 7.0."""
    codes, different = pd.factorize(values)
    texts = [str(int(one)) if isinstance(one, float) and one.is_integer() else str(one) for one in different]
    return np.array(texts, dtype=object)[codes]


def _stamps(series: Series) -> pd.DatetimeIndex:
    if not isinstance(series.index, pd.DatetimeIndex):
        raise DataError(
            f"{series.name}: condition calendar needs a time index. Name the time column with --time, or give "
            "--condition COLUMN."
        )
    return series.index


def _timezone(stamps: pd.DatetimeIndex) -> str | None:
    """Name the stamps' zone so that another machine can read it: Europe/Berlin, UTC+02:00; None for naive stamps."""
    if stamps.tz is None:
        return None
    name = str(stamps.tz)
    try:
        pd.Timestamp(0, tz=name)
    except (KeyError, ValueError):
        raise DataError(f"the time zone {name} is this machine's own. Convert with --tz, as in Europe/Paris.") from None
    return name


def _step(stamps: pd.DatetimeIndex) -> float:
    """Return the sampling step in seconds: the median, since months differ."""
    return float(np.median((stamps[1:] - stamps[:-1]) / pd.Timedelta(seconds=1)))


def _covered(panel: Iterable[pd.DatetimeIndex], step: float) -> float:
    """Return the seconds of wall-clock time that the series cover together; what several cover counts once."""
    covered, end = 0.0, -np.inf
    for first, last in sorted((stamps[0].timestamp(), stamps[-1].timestamp() + step) for stamps in panel):
        covered += max(0.0, last - max(first, end))
        end = max(end, last)
    return covered


def _spelled(seconds: float) -> str:
    units = {"days": DAY, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0}
    name = next((name for name, unit in units.items() if seconds >= unit), "seconds")
    return f"{seconds / units[name]:.3g} {name}"


def _at(series: Series, rows: np.ndarray) -> str:
    """Say where the first of these rows lies."""
    row = int(np.argmax(rows))
    return f"in row {row}" if series.index is None else f"at {series.index[row]}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"


def _warn_constant(column: str, value: object) -> None:
    warnings.warn(
        f"condition column {column!r} is {value} throughout the training data, so it can explain nothing.",
        SeqaeWarning,
        stacklevel=2,
    )
