"""Reading stamps: text, numbers and dates of every resolution and zone as the time that they say."""

from __future__ import annotations

__all__ = ["TIME_UNITS", "Origin", "find_time", "looks_like_time", "read_stamps", "telling_rows"]

import datetime
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype, is_timedelta64_dtype

from seqae.errors import OptionError, TimeAxisError, choose

TIME_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_COUNTED = ("time", "timestamp", "ts", "epoch", "unixtime", "epochtime")
_NAMES = {*_COUNTED, "datetime", "date", "ds", "timeutc", "timestamputc"}
_NAMES |= {name + unit for name in _COUNTED for unit in TIME_UNITS}
_OFFSET = re.compile(r"\d[T ]\d.*?(\s*(?:Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))$")
_DAYS = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y"),
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d/%b/%Y"),
    *("%Y-%m-%d", "%Y/%m/%d"),
)
_HOURS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ":%H:%M:%S")


@dataclass(frozen=True)
class Origin:
    """Where rows come from, for messages: its name, and how a row is called there (by row number, from 0)."""

    name: str = "the table"
    line: Callable[[int], str] = "row {}".format

    def part(self, name: str, rows: np.ndarray) -> Origin:
        """Return the origin of some of the rows."""
        return Origin(f"{self.name}, {name}", lambda row: self.line(int(rows[row])))


def read_stamps(
    column: pd.Series, *, time_unit: str | None = None, time_format: str | None = None, origin: Origin | None = None
) -> pd.Index:
    """Return a column's stamps as a DatetimeIndex, or as a numeric Index where they are plain numbers.

    Text is ISO 8601 (to the nanosecond, with or without offset) or one of the common day-month-year forms where only
    one of them fits; `time_format` (strptime) names another. Offsets that differ give UTC. `time_unit` ("s", "ms",
    "us", "ns") reads numbers as the time since 1970-01-01 UTC. TimeAxisError names the row, OptionError the option.
    """
    origin = origin or Origin()
    if time_unit is not None:
        choose(TIME_UNITS, time_unit, "time unit")
    empty = column.isna().to_numpy()
    if empty.any():
        raise TimeAxisError(
            f"{origin.name}: column {column.name or 'index'!r} has no stamp in {origin.line(int(empty.argmax()))}. "
            "Every row needs one: fill it in, or delete the row."
        )
    if time_format is not None:
        return _formatted(column, time_format, origin)
    if is_datetime64_any_dtype(column.dtype):
        return pd.DatetimeIndex(column)
    if isinstance(column.dtype, pd.PeriodDtype):
        return pd.PeriodIndex(column).to_timestamp()
    if is_timedelta64_dtype(column.dtype):
        return pd.Index(column.dt.total_seconds().to_numpy(), name=column.name)
    if is_numeric_dtype(column.dtype) and not is_bool_dtype(column.dtype):
        return _epoch(column, time_unit, origin) if time_unit is not None else _plain(column, origin)
    if time_unit is not None:
        raise OptionError(
            f"{origin.name}: column {column.name or 'index'!r} is text, and --time-unit needs numbers. Leave it out."
        )
    return _text(column.astype(str), origin)


def looks_like_time(column: pd.Series) -> bool:
    """Tell whether a column is dates: of a date type, or text whose first fifty values all read as stamps."""
    if is_datetime64_any_dtype(column.dtype) or isinstance(column.dtype, pd.PeriodDtype):
        return True
    sample = column.dropna().iloc[:50]
    if is_numeric_dtype(column.dtype) or sample.empty:
        return False
    text = sample.astype(str)
    return not _spoken(text).any() and any(True for reader in _READERS for _ in reader(text))


def find_time(frame: pd.DataFrame, columns: Sequence[str], origin: Origin, *, numbers: bool = False) -> str | None:
    """Return the time column among `columns`: one with such a name, otherwise the first that looks like dates, or None.

    A column of numbers with such a name is taken only with `numbers=True`; otherwise TimeAxisError says that it must be
    told whether they are a time, and in which unit.
    """
    named = [name for name in columns if re.sub(r"[\s_()-]+", "", name).lower() in _NAMES]
    texts = [name for name in columns if not is_numeric_dtype(frame[name].dtype)]
    dated = [name for name in texts if looks_like_time(frame[name])]
    for name in named:
        if name in dated:
            return name
    for name in named:
        if name not in texts and numbers:
            return name
        if name not in texts and not frame[name].isna().all():
            held = frame[name].dropna()
            raise TimeAxisError(
                f"{origin.name}: column {name!r} is named like a time and holds numbers such as {held.iloc[0]:.15g}. "
                f"Use --time {name} {_number_cure(held)}, --time {name} alone for plain numbers, or --drop {name}."
            )
    if dated:
        return dated[0]
    return next((name for name in named if name in texts), None)


def _number_cure(column: pd.Series) -> str:
    whole = column[column % 1 == 0].abs()
    for form, size in (("%Y", 4), ("%Y%m%d", 8), ("%Y%m%d%H%M", 12), ("%Y%m%d%H%M%S", 14)):
        text = whole.map("{:.0f}".format)
        fits = len(text) == len(column) and text.str.len().eq(size).all()
        if fits and pd.to_datetime(text, format=form, errors="coerce").dt.year.between(1900, 2100).all():
            return f"--time-format {form}"
    return "--time-unit s (or ms, us, ns)"


def _formatted(column: pd.Series, time_format: str, origin: Origin) -> pd.DatetimeIndex:
    text = column.astype(str)
    parsed = pd.to_datetime(text, format=time_format, errors="coerce", utc="%z" in time_format)
    bad = parsed.isna().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise TimeAxisError(
            f"{origin.name}: {text.iloc[row]!r} in {origin.line(row)}, column {column.name or 'index'!r}, does not fit "
            f"--time-format {time_format!r}. Correct the format or the row."
        )
    return pd.DatetimeIndex(parsed)


def _plain(column: pd.Series, origin: Origin) -> pd.Index:
    numbers = column.to_numpy(dtype=np.int64 if column.dtype.kind in "iu" else np.float64)
    _refuse(~np.isfinite(numbers), column, origin, "is not a time", "Correct or delete the row")
    return pd.Index(numbers, name=column.name)


def _epoch(column: pd.Series, unit: str, origin: Origin) -> pd.DatetimeIndex:
    numbers = _plain(column, origin).to_numpy()
    # Every resolution holds these years; milliseconds read as seconds fall outside.
    likely = [name for name, ticks in TIME_UNITS.items() if np.all(np.abs(numbers) < 8e9 * ticks)]
    if unit not in likely:
        cure = f"Use --time-unit {likely[0]}" if likely else f"Correct or delete the row, or use --drop {column.name}"
        far = np.abs(numbers) >= 8e9 * TIME_UNITS[unit]
        _refuse(far, column, origin, f"read with --time-unit {unit} is outside the years 1717 to 2223", cure)
    if numbers.dtype.kind == "f":
        # A double holds today's time to about 0.2 µs: anything finer would be rounding noise.
        fine = "ns" if unit == "ns" else "us"
        numbers, unit = np.rint(numbers * (TIME_UNITS[fine] // TIME_UNITS[unit])).astype(np.int64), fine
    return pd.DatetimeIndex(numbers.view(f"M8[{unit}]"), name=column.name).tz_localize("UTC")


def _text(text: pd.Series, origin: Origin) -> pd.DatetimeIndex:
    column = text.name or "index"
    for reader in () if _spoken(text).any() else _READERS:
        readings = list(reader(text))
        if len(readings) > 1 and any(not readings[0].equals(other) for other in readings[1:]):
            raise TimeAxisError(
                f"{origin.name}: stamps such as {text.iloc[0]!r} in column {column!r} can be day or month first. "
                "Name the form, as in --time-format '%d/%m/%Y', or write ISO 8601 (2020-01-31)."
            )
        if readings:
            return readings[0].rename(text.name)
    sample = text.iloc[:200]
    forms = ["ISO8601", *(day + hour for day in _DAYS for hour in _HOURS)]
    best = max(forms, key=lambda form: pd.to_datetime(sample, format=form, errors="coerce", utc=True).notna().sum())
    bad = pd.to_datetime(text, format=best, errors="coerce", utc=True).isna() | _spoken(text)
    row = int(bad.to_numpy().argmax())
    with_offset = text.map(lambda stamp: bool(_OFFSET.search(stamp))).to_numpy()
    if not bad.any() and with_offset.any():
        aware, naive = int(with_offset.argmax()), int(with_offset.argmin())
        raise TimeAxisError(
            f"{origin.name}: column {column!r} has a UTC offset in {origin.line(aware)} ({text.iloc[aware]!r}) "
            f"and none in {origin.line(naive)} ({text.iloc[naive]!r}). Write it in every stamp or in none."
        )
    raise TimeAxisError(
        f"{origin.name}: {text.iloc[row]!r} in {origin.line(row)}, column {column!r}, is no date and time such as "
        f"2020-01-31 14:05:00.250+01:00. Correct the row, name another form with --time-format, or --drop {column}."
    )


def _spoken(text: pd.Series) -> pd.Series:
    # pandas reads these as the moment of reading.
    return text.str.strip().str.lower().isin(["now", "today"])


def _read_iso(text: pd.Series) -> Iterator[pd.DatetimeIndex]:
    """Yield the reading of ISO 8601 stamps, where all are that: one call for the whole column."""
    if _OFFSET.search(text.iloc[0]):
        yield from _read_offsets(text)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pandas 2 announces the error that pandas 3 raises
        try:
            parsed = pd.to_datetime(text, format="ISO8601")
        except (ValueError, OverflowError):
            return
    if is_datetime64_any_dtype(parsed.dtype) and parsed.dt.tz is None and not parsed.isna().any():
        yield pd.DatetimeIndex(parsed)


def _read_offsets(text: pd.Series) -> Iterator[pd.DatetimeIndex]:
    """Yield the reading of stamps that all have a UTC offset: local where it is one, UTC where they differ."""
    # One search per distinct ending instead of one per row.
    endings = pd.factorize(text.str.slice(start=-6))[0]
    first = np.unique(endings, return_index=True)[1]
    found = [match[1] for match in map(_OFFSET.search, text.iloc[first]) if match]
    if len(found) < len(first):
        return
    which, suffixes = pd.factorize(np.array(found, dtype=object)[endings])
    seconds = np.array([_offset_seconds(suffix) for suffix in suffixes])
    bare = text.copy()
    for number, suffix in enumerate(suffixes):
        bare = bare.where(which != number, text.str.slice(stop=-len(suffix)))
    for local in _read_iso(bare):
        if len(set(seconds)) == 1:
            zone = datetime.timezone(datetime.timedelta(seconds=int(seconds[0])))
            yield local.tz_localize("UTC" if seconds[0] == 0 else zone)
        else:
            utc = local.asi8 - seconds[which] * TIME_UNITS[local.unit]
            yield pd.DatetimeIndex(utc.view(f"M8[{local.unit}]")).tz_localize("UTC")


def _offset_seconds(suffix: str) -> int:
    digits = re.sub(r"\D", "", suffix).ljust(4, "0")
    return (-1 if "-" in suffix else 1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _read_loose_iso(text: pd.Series) -> Iterator[pd.DatetimeIndex]:
    """Yield the reading of ISO 8601 with blanks around it, or with a comma before the fraction of a second."""
    loose = text.str.strip().str.replace(",", ".", regex=False)
    if not loose.equals(text):
        yield from _read_iso(loose)


def _read_quarters(text: pd.Series) -> Iterator[pd.DatetimeIndex]:
    """Yield the reading of quarters such as 2020Q1 or 2020-Q1, as their first day."""
    if text.str.fullmatch(r"\d{4}[- ]?[Qq][1-4]").all():
        months = (text.str.slice(stop=4).astype(int) - 1970) * 12 + (text.str.slice(start=-1).astype(int) - 1) * 3
        yield pd.DatetimeIndex(months.to_numpy(dtype=np.int64).view("M8[M]").astype("M8[s]"))


def _read_forms(text: pd.Series) -> Iterator[pd.DatetimeIndex]:
    """Yield every reading as one of the common day-month-year forms."""
    text = text.str.strip()
    for day in _DAYS:
        for hour in _HOURS:
            if pd.to_datetime(text.iloc[:20], format=day + hour, errors="coerce").notna().all():
                parsed = pd.to_datetime(text, format=day + hour, errors="coerce")
                if parsed.notna().all():
                    yield pd.DatetimeIndex(parsed)


_READERS = (_read_iso, _read_loose_iso, _read_quarters, _read_forms)


def telling_rows(column: pd.Series) -> tuple[np.ndarray, bool]:
    """Return the rows of text stamps that tell, as all do, which form they are in, and whether it is but one.

    What the rows of one part rule out, such as days before months, they rule out in the parts that are read with them.
    """
    text = column.astype(str)
    if any(True for reader in (_read_iso, _read_loose_iso, _read_quarters) for _ in reader(text)):
        return np.array([0]), True
    text = text.str.strip()
    telling, left = set(range(min(len(text), 20))), 0
    for form in (day + hour for day in _DAYS for hour in _HOURS):
        if pd.to_datetime(text.iloc[:20], format=form, errors="coerce").notna().all():
            bad = pd.to_datetime(text, format=form, errors="coerce").isna().to_numpy()
            telling.update([int(bad.argmax())] if bad.any() else [])
            left += not bad.any()
    return np.array(sorted(telling)), left < 2


def _refuse(bad: np.ndarray, column: pd.Series, origin: Origin, why: str, cure: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        name = column.name or "index"
        raise TimeAxisError(f"{origin.name}: {column.iloc[row]} in {origin.line(row)}, column {name!r}, {why}. {cure}.")
