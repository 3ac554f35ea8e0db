"""The columns of a table: which are time, channels, labels, covariates, and whether they hold what they should."""

from __future__ import annotations

__all__ = [
    "GRID_OPTIONS",
    "Columns",
    "MissingCodes",
    "Ranges",
    "TableOptions",
    "joined",
    "read_columns",
    "warn_of_rounding",
]

import re
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from pandas.api.types import is_complex_dtype, is_datetime64_any_dtype, is_numeric_dtype

from seqae.errors import DataError, OptionError, SeqaeWarning, choose
from seqae.timeaxis import Origin, find_time, looks_like_time, read_stamps

_LARGEST = float(np.finfo(np.float32).max)
_WORDS = 3
"""Different words amid numbers up to which they are taken for those of a missing value."""
GRID_OPTIONS = ("tz", "order", "duplicates", "irregular", "resample")


class TableOptions(TypedDict, total=False):
    """How a table's columns become a series; every default refuses what would have to be guessed.

    time: the time column, "date+hour" for two that belong together, None = found by itself, False = none.
    columns: the channels; None = all numeric columns that have no other role. drop: columns to leave out.
    label: a 0/1 column, kept apart; None = none. covariates: columns kept apart for conditions, as read.
    na_values: numbers or words that mean a missing value of a channel, such as -9999, beside an empty field.
    time_unit, time_format, tz: how stamps are read (timeaxis.read_stamps). order, duplicates, irregular, resample: what
    to do about stamps that do not lie on an even grid (timeaxis.lay_out).
    """

    time: str | bool | None
    columns: Sequence[str] | str | None
    drop: Sequence[str] | str | None
    label: str | None
    covariates: Sequence[str] | str | None
    na_values: Sequence[str | float] | str | float | None
    time_unit: str | None
    time_format: str | None
    tz: str | None
    order: str
    duplicates: str
    irregular: str
    resample: str | None


@dataclass(frozen=True, eq=False)
class Columns:
    """A table by what its columns are: N rows, as given."""

    channels: tuple[str, ...]
    values: np.ndarray
    index: pd.Index | None
    labels: np.ndarray | None
    covariates: pd.DataFrame | None
    groups: list[tuple[Any, np.ndarray]]


@dataclass
class Ranges:
    """The lowest, highest and first number of each column, over as many tables as have been read."""

    name: str
    held: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def add(self, values: np.ndarray, column: str) -> None:
        """Take note of a column's numbers (N,) float64."""
        seen = values[np.isfinite(values)]
        if seen.size:
            low, high, first = self.held.get(column, (np.inf, -np.inf, seen[0]))
            self.held[column] = min(low, seen.min()), max(high, seen.max()), first

    def judge(self, channels: Sequence[str]) -> None:
        """Raise DataError where no channel has a number; warn where float32 would blur what a column does."""
        if not any(name in self.held for name in channels):
            raise DataError(
                f"{self.name}: every value of {', '.join(channels)} is missing. At least one number is needed."
            )
        for column, (low, high, first) in self.held.items():
            if 0 < high - low < max(abs(low), abs(high)) * 2**-24 * 1e3:
                warnings.warn(
                    f"{self.name}: channel {column!r} varies by {high - low:.3g} around {first:.9g}, which the 7 "
                    "digits of float32 blur. Subtract a constant from it first.",
                    SeqaeWarning,
                    stacklevel=3,
                )


class MissingCodes:
    """The numbers and words that mean a missing value; given: as in TableOptions."""

    def __init__(self, given: Sequence[str | float] | str | float | None) -> None:
        listed = [] if given is None else given.split(",") if isinstance(given, str) else np.atleast_1d(given).tolist()
        self.words = {str(one).strip() for one in listed}
        numbers = pd.to_numeric(pd.Series([*self.words], dtype=object), errors="coerce").to_numpy(dtype=np.float64)
        self._numbers = numbers[np.abs(numbers) <= _LARGEST].astype(np.float32)

    def __contains__(self, number: float) -> bool:
        """Tell whether a number, as a series holds it, is among them."""
        return bool(abs(number) <= _LARGEST and np.float32(number) in self._numbers)

    def without_words(self, column: pd.Series) -> pd.Series:
        """Return a column in which these words are missing."""
        if not self.words or is_numeric_dtype(column.dtype) or is_datetime64_any_dtype(column.dtype):
            return column
        return column.astype(object).mask(column.astype(str).str.strip().isin(self.words))

    def without_numbers(self, column: pd.Series) -> pd.Series:
        """Return a numeric column in which these numbers are missing; equal is what is so as a series holds it."""
        if not len(self._numbers):
            return column
        with np.errstate(over="ignore"):
            held = column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
        return column.astype(np.float64).mask(np.isin(held, self._numbers))


def read_columns(
    frame: pd.DataFrame, *, id: str | None, origin: Origin, options: TableOptions, ranges: Ranges | None = None
) -> Columns:
    """Return what each column is, by the options or by its name and content; DataError names what does not fit.

    ranges: where the table is a part of one, those of the whole, to be added to here and judged by the caller.
    """
    for option in options:
        choose(TableOptions.__annotations__, option, "option")
    time, label = options.get("time"), options.get("label", "label") or None
    frame, stamps = _with_names(frame, time, origin)
    roles = {
        option: _names(given, frame)
        for option, given in (
            ("--columns", options.get("columns")),
            ("--drop", options.get("drop")),
            ("--covariates", options.get("covariates")),
            ("--id", id),
            ("--time", time if isinstance(time, str) and stamps is None else None),
        )
    }
    if label != "label" or ("label" in frame.columns and not any("label" in names for names in roles.values())):
        roles["--label"] = _names(label, frame)
    free = _unclaimed(frame, roles, origin)
    reading = {"time_unit": options.get("time_unit"), "time_format": options.get("time_format")}
    if time in (None, True) and stamps is None:
        found = find_time(frame, free, origin, numbers=any(reading.values()))
        free = [one for one in free if one != found]
        stamps = None if found is None else frame[found]
    elif roles["--time"]:
        stamps = frame[time]
    for option, value in {**reading, "tz": options.get("tz"), "resample": options.get("resample")}.items():
        if stamps is None and value is not None:
            option = "--" + option.replace("_", "-")
            raise OptionError(f"{origin.name} has no time axis, which {option} {value} needs. Name it with --time.")
    channels = roles["--columns"] or free
    kept = Ranges(origin.name) if ranges is None else ranges
    for one in roles["--covariates"]:
        if is_numeric_dtype(frame[one].dtype):
            kept.add(_finite(frame[one], origin), one)
    values = _values(frame, channels, stamps, origin, kept, MissingCodes(options.get("na_values")))
    if ranges is None:
        kept.judge(channels)
    return Columns(
        tuple(channels),
        values,
        None if stamps is None else read_stamps(stamps, origin=origin, **reading),
        _flags(frame[label], origin) if roles.get("--label") else None,
        frame[roles["--covariates"]] if roles["--covariates"] else None,
        [] if id is None else _groups(frame[id], origin),
    )


def _groups(column: pd.Series, origin: Origin) -> list[tuple[Any, np.ndarray]]:
    """Return the values of the column in the order they first occur, each with its rows."""
    codes, values = pd.factorize(column)
    if (codes < 0).any():
        row = origin.line(int((codes < 0).argmax()))
        raise DataError(
            f"{origin.name}: column {column.name!r} is empty in {row}. Every row needs its series; fill it in."
        )
    return list(
        zip(values, np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]), strict=True)
    )


def _with_names(frame: pd.DataFrame, time: str | bool | None, origin: Origin) -> tuple[pd.DataFrame, pd.Series | None]:
    """Return the table with unique text names, and its stamps where they are its index or columns joined."""
    if frame.empty:
        raise DataError(
            f"{origin.name} has {len(frame)} rows and {len(frame.columns)} columns. Give one of each at least."
        )
    names: list[str] = [str(one) for one in frame.columns.tolist()]
    twice = [one for one in names if names.count(one) > 1]
    if twice:
        raise DataError(f"{origin.name} has more than one column {twice[0]!r}. Rename all but one.")
    index, frame = frame.index, frame.set_axis(names, axis=1).reset_index(drop=True)
    stamps = None if index.nlevels > 1 else pd.Series(index, name=index.name)
    if isinstance(time, str) and time not in names:
        parts = [one.strip() for one in time.split("+")]
        if len(parts) > 1 and all(one in names for one in parts):
            return frame.drop(columns=parts), joined(frame, parts).rename(time)
        return frame, stamps if time == index.name else None
    if time not in (None, True):
        return frame, None
    if stamps is None:
        raise DataError(f"{origin.name} has an index of {index.nlevels} levels. Use reset_index(), then time= and id=.")
    if is_numeric_dtype(index.dtype):
        # Whole numbers without a name are what filtering leaves of row numbers.
        return frame, stamps if index.name is not None or index.dtype.kind == "f" else None
    if not (looks_like_time(stamps) or isinstance(index, pd.TimedeltaIndex)):
        raise DataError(f"{origin.name} has an index of text such as {str(index[0])!r}. Use reset_index(drop=True).")
    return frame, stamps


def joined(frame: pd.DataFrame, parts: Sequence[str]) -> pd.Series:
    """Return columns as one of text, a blank between what each row holds."""
    text = frame[parts[0]].astype(str)
    for one in parts[1:]:
        text = text + " " + frame[one].astype(str)
    return text


def _names(given: Sequence[str] | str | None, frame: pd.DataFrame) -> list[str]:
    """Return column names from one, several, or several joined by commas."""
    listed = [] if given is None else [given] if isinstance(given, str) else list(given)
    parted = [[one] if one in frame.columns else str(one).split(",") for one in listed]
    return [name if name in frame.columns else name.strip() for names in parted for name in names]


def _unclaimed(frame: pd.DataFrame, roles: dict[str, list[str]], origin: Origin) -> list[str]:
    """Return the columns without a role; DataError where a named one is missing, OptionError where it has two."""
    taken: dict[str, str] = {}
    for option, names in roles.items():
        for name in names:
            if name not in frame.columns:
                there = ", ".join(frame.columns)
                raise DataError(f"{origin.name} has no column {name!r}. Correct {option}; the columns are {there}.")
            if taken.get(name) == option:
                raise OptionError(f"{option} names {name!r} twice. Name it once.")
            if name in taken:
                raise OptionError(f"Column {name!r} is given to both {taken[name]} and {option}. Use one of them.")
            taken[name] = option
    return [name for name in frame.columns if name not in taken]


def _values(
    frame: pd.DataFrame, channels: list[str], stamps: pd.Series | None, origin: Origin, ranges: Ranges,
    codes: MissingCodes,
) -> np.ndarray:  # fmt: skip
    """Return the channels as (N, C) float32; DataError names the first text or infinite value."""
    if not channels:
        raise DataError(
            f"{origin.name} has no column left to be a channel. Name one of {', '.join(frame.columns)} with --columns."
        )
    values = np.empty((len(frame), len(channels)), dtype=np.float32)
    wrong: dict[str, tuple[int, list[str]]] = {}
    for at, name in enumerate(channels):
        column = codes.without_words(frame[name])
        numbers = column if is_numeric_dtype(column.dtype) else pd.to_numeric(column.astype(object), errors="coerce")
        no_number = is_datetime64_any_dtype(column.dtype) or is_complex_dtype(column.dtype)
        text = (numbers.isna() & column.notna()).to_numpy() | no_number
        if text.any():
            words = [] if text.all() or no_number else column[text].astype(str).unique().tolist()
            wrong[name] = int(text.argmax()), words
            continue
        double = _finite(codes.without_numbers(numbers), origin)
        ranges.add(double, name)
        values[:, at] = double
    if wrong:
        name, (row, words) = next(iter(wrong.items()))
        held = str(frame[name].iloc[row])
        cure = f"--drop {','.join(wrong)}, --covariates {','.join(wrong)}, or name the channels with --columns"
        if re.fullmatch(r"[+-]?\d*,\d+", held):
            cure = f"--decimal ',', or {cure}"
        elif 0 < len(words) <= _WORDS and not any("," in word for word in words):
            cure = f"--na-values {shlex.quote(','.join(words))} if that means a missing value, or {cure}"
        if stamps is not None and re.match(r"\d{1,2}:\d\d", held):
            cure = f"--time {stamps.name}+{name} if it is the time of day, or {cure}"
        raise DataError(
            f"{origin.name}: column {name!r} holds {held[:60]!r} in {origin.line(row)}, not a number. Use {cure}."
        )
    return values


def _finite(column: pd.Series, origin: Origin) -> np.ndarray:
    """Return a column's numbers as float64, none of them beyond float32."""
    double = column.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.abs(double) > _LARGEST
    if infinite.any():
        row = int(infinite.argmax())
        raise DataError(
            f"{origin.name}: column {column.name!r} holds {double[row]} in {origin.line(row)}. "
            "Numbers must be finite and below 3.4e38; leave a missing value empty."
        )
    return double


def warn_of_rounding(values: np.ndarray, channel: str, name: str) -> None:
    """Warn where float32 would blur what a channel does; values: (N,) float64."""
    ranges = Ranges(name)
    ranges.add(values, channel)
    if ranges.held:
        ranges.judge([channel])


def _flags(column: pd.Series, origin: Origin) -> np.ndarray:
    wrong = ~column.isin([0, 1]).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{origin.name}: label column {column.name!r} holds {str(column.iloc[row])!r} in {origin.line(row)}, "
            f"not 0 or 1. Correct it, use --drop {column.name}, or take it as a channel with --columns."
        )
    return column.to_numpy(dtype=bool)
