"""Lines of CSV as rows, one at a time: what the fields of a line are, and whether they hold what they should."""

from __future__ import annotations

__all__ = ["Line", "Lines", "numbered_lines"]

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd

from seqae.anomaly.pipeline import Preparation
from seqae.anomaly.streams.clock import Stamp, read_stamp
from seqae.columns import MissingCodes
from seqae.conditions import Calendar, Category
from seqae.datasets.rows import read_header, settled_delimiter
from seqae.errors import DataError, OptionError, TimeAxisError
from seqae.stamps import Origin, find_time

LONGEST = 1 << 20
"""Bytes of a line; a longer one is refused, so that memory stays bounded."""
SHOWN = "standard input"
_MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""What means a missing value, as in reading a table."""


class Line(NamedTuple):
    """What a line says: its stamp, None where rows have no time, and the row by name."""

    stamp: Stamp | None
    row: dict[str, Any]


def numbered_lines(source: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line that is not blank with its number, from 1, as soon as it is there; None for one too long."""
    number = 0
    while line := source.readline(LONGEST):
        number += 1
        whole = len(line) < LONGEST or line.endswith(b"\n")
        while not whole:
            rest = source.readline(LONGEST)
            whole = not rest or rest.endswith(b"\n")
            line = b""
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line or line.strip():
            yield number, line or None


class Lines:
    """Reads lines as a model's rows.

    reading: the options of `read_table` that were given or are kept with the model. names: what the fields are called
    where no header says so. series: whose lines are to be read, where a column `id` says whose each is. The time column
    is found when the first line is read; `time` is its name, or None.
    """

    def __init__(
        self,
        preparation: Preparation,
        reading: Mapping[str, Any],
        names: Sequence[str] | None = None,
        series: str | None = None,
    ) -> None:
        self.preparation, self.reading, self.series = preparation, reading, series
        self.decimal = reading.get("decimal", ".")
        self.delimiter = settled_delimiter(reading.get("delimiter", ","), self.decimal)
        self.missing = MissingCodes(reading.get("na_values"))
        self.stamping = {name: reading.get(name) for name in ("time_unit", "time_format")}
        self.names: list[str] = []
        self.time: str | None = None
        self.id: str | None = None
        self.settled = False
        _check_zone(reading.get("tz"))
        if names is not None:
            self._name(list(names), "--columns names")

    @property
    def named(self) -> bool:
        """Whether it is known what the fields are called; until then the next line is the header."""
        return bool(self.names)

    def header(self, line: bytes) -> None:
        """Take the names of the fields; DataError where one that the model needs is not among them."""
        try:
            text = _text(line)
        except DataError as problem:
            raise DataError(f"the header cannot be read: {problem}") from problem
        try:
            names = read_header(text.encode() + b"\n", SHOWN, self.delimiter)
        except DataError as problem:
            cure = "Add a line of column names"
            raise DataError(str(problem).replace(f"{cure}.", f"{cure}, or give --no-header.")) from problem
        self._name(names, "its header names")

    def is_other(self, fields: Sequence[str]) -> bool:
        """Tell whether a line is of another series than the one to be read."""
        if self.id is None or self.series is None:
            return False
        return fields[self.names.index(self.id)].strip() != self.series

    def fields(self, line: bytes | None) -> list[str]:
        """Return the fields of a line, and settle by the first which one is the time; DataError for a bad line."""
        if line is None:
            raise DataError(f"it is longer than {LONGEST} bytes. Give rows of CSV.")
        try:
            reader = csv.reader([_text(line)], delimiter=self.delimiter, skipinitialspace=True, strict=True)
            fields = next(reader, [])
        except csv.Error as problem:
            raise DataError(f"it cannot be read as CSV: {problem}. Check its quotes.") from problem
        if len(fields) != len(self.names):
            had = f"{len(fields)} {'field' if len(fields) == 1 else 'fields'}"
            wanted = f"{len(self.names)}: {', '.join(self.names)}"
            raise DataError(f"it has {had}, not {wanted}. Correct it; --delimiter says what parts the fields.")
        return fields

    def settle(self, fields: Sequence[str]) -> None:
        """Find the time column by the options, or by the names and the first line."""
        self.settled = True
        if self.time is None and self.reading.get("time") is not False:
            drop = self.reading.get("drop") or ()
            taken = {*self.preparation.channels, *self.preparation.conditions.columns}
            taken |= {self.reading.get("label", "label"), *((drop,) if isinstance(drop, str) else drop)}
            taken |= set() if self.id is None else {self.id}
            free = [name for name in self.names if name not in taken]
            frame = pd.DataFrame({name: [_guessed(field)] for name, field in zip(self.names, fields, strict=True)})
            try:
                self.time = find_time(frame, free, Origin(SHOWN), numbers=any(self.stamping.values()))
            except TimeAxisError as problem:  # a table's columns can be dropped, a stream's only go unnamed
                raise TimeAxisError(re.sub(r"--drop .*", "--no-time where it is none.", str(problem))) from problem
        if self.time is None and any(isinstance(part, Calendar) for part in self.preparation.conditions.parts):
            raise DataError(
                f"the model's calendar needs the time of every row, and {', '.join(self.names)} has none. "
                "Name its column with --time."
            )

    def read(self, fields: Sequence[str], last: Stamp | None) -> Line:
        """Return what a line's fields say; last: the stamp before, which tells apart an hour that clocks repeat."""
        held = dict(zip(self.names, map(str.strip, fields), strict=True))
        row: dict[str, Any] = {name: self._number(held[name], name, self.missing) for name in self.preparation.channels}
        for part in self.preparation.conditions.parts:
            if isinstance(part, Category):
                row[part.column] = _word(held[part.column], part.vocabulary)
            elif not isinstance(part, Calendar):
                row[part.column] = self._number(held[part.column], part.column)
        if self.time is None:
            return Line(None, row)
        written = " ".join(held[name] for name in self._parts())
        if written in _MISSING:
            raise TimeAxisError(f"{self.time} is empty. Every row needs its time.")
        try:
            stamp = read_stamp(written, **self.stamping)
        except TimeAxisError as problem:
            raise TimeAxisError(f"{self.time}: {problem}") from problem
        return Line(_in_zone(stamp, self.reading.get("tz"), last), row)

    def _name(self, names: list[str], told: str) -> None:
        needed = [*self.preparation.channels, *self.preparation.conditions.columns]
        lacking = [name for name in needed if name not in names]
        if lacking:
            raise DataError(
                f"{SHOWN} has no {', '.join(lacking)}, which the model needs; {told} {', '.join(names)}. Name the "
                "fields as in training, in the header, or where there is none with --no-header --columns."
            )
        self.names = names
        self.id = name if isinstance(name := self.reading.get("id"), str) and name in names else None
        if isinstance(self.reading.get("time"), str):
            self.time = self.reading["time"]
            self._parts()

    def _parts(self) -> list[str]:
        """Return the columns that the time is written in."""
        if self.time is None:
            return []
        parts = [self.time] if self.time in self.names else [one.strip() for one in self.time.split("+")]
        for name in parts:
            if name not in self.names:
                raise DataError(f"{SHOWN} has no column {name!r}. Correct --time; there are {', '.join(self.names)}.")
        return parts

    def _number(self, text: str, name: str, missing: MissingCodes | None = None) -> float:
        if text in _MISSING or (missing is not None and text in missing.words):
            return np.nan
        plain = text if self.decimal == "." else text.replace(".", "_").replace(self.decimal, ".")
        try:
            if "_" in plain:  # which Python would read past
                raise ValueError
            number = float(plain)
            return np.nan if missing is not None and number in missing else number
        except ValueError:
            comma = self.decimal == "." and "," in text
            cure = f"Correct it, or {'use --decimal ,' if comma else 'leave it empty if missing'}."
            raise DataError(f"{name} is {text[:60]!r}, not a number. {cure}") from None


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as problem:
        raise DataError(
            f"it is not UTF-8 (byte 0x{line[problem.start]:02x}). Convert it, as with iconv -f CP1252 -t UTF-8."
        ) from problem


def _guessed(field: str) -> Any:
    """Return a field as a table would hold it: a number where it is one."""
    try:
        return float(field)
    except ValueError:
        return field.strip() or None


def _word(text: str, vocabulary: Sequence[str]) -> str | None:
    """Return a category as training knew it: a table reads true and TRUE as True."""
    if text in vocabulary or text.lower() not in {"true", "false"}:
        return None if text in _MISSING else text
    return text.capitalize()


def _check_zone(tz: str | None) -> None:
    try:
        pd.Timestamp(0).tz_localize(tz)
    except (LookupError, ValueError, OSError) as problem:
        raise OptionError(f"--tz {tz!r} is no time zone. Use a name such as Europe/Berlin, or UTC.") from problem


def _in_zone(stamp: Stamp, tz: str | None, last: Any) -> Stamp:
    """Convert an aware stamp, localise a naive one; of an hour that occurs twice take the first that is still ahead."""
    if tz is None or not isinstance(stamp, pd.Timestamp):
        return stamp
    if stamp.tz is not None:
        return stamp.tz_convert(tz)
    summer: Any = stamp.tz_localize(tz, ambiguous=True, nonexistent="NaT")
    winter: Any = stamp.tz_localize(tz, ambiguous=False, nonexistent="NaT")
    cure = "Write stamps with their UTC offset."
    if pd.isna(summer):
        raise TimeAxisError(f"{stamp} does not exist in {tz}, where clocks change. {cure}")
    if summer == winter:
        return summer
    if not isinstance(last, pd.Timestamp) or last.tz is None:
        raise TimeAxisError(f"{stamp} occurs twice in {tz}, where clocks change. {cure}")
    return summer if summer > last else winter
