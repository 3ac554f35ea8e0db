"""CSV files in pieces: what read_csv makes of the whole file, at a memory that does not grow with it.

What read_csv decides from all rows (the columns, the form of the stamps, the sampling step) is decided from the first
rows here. A later row that contradicts them is refused; nothing is read otherwise than read_csv would.
"""

from __future__ import annotations

__all__ = ["CHUNK_ROWS", "Piece", "count_rows", "in_pieces", "read_csv_chunks"]

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from seqae.columns import GRID_OPTIONS, Columns, Ranges, TableOptions, joined, read_columns
from seqae.datasets.axis import Axis
from seqae.datasets.content import PathLike, count_lines, row_stretches
from seqae.datasets.rows import (
    listed,
    parse_rows,
    read_header,
    refuse_nameless,
    row_lines,
    settled_delimiter,
    shown_name,
    stem,
)
from seqae.datasets.rulers import read_step
from seqae.errors import DataError, OptionError, TimeAxisError
from seqae.series import Series, from_table
from seqae.stamps import Origin, read_stamps, telling_rows
from seqae.timeaxis import Step

CHUNK_ROWS = 1 << 16
LARGE = 100_000_000
"""Bytes from which on a file is read in pieces; packed, a fifth of that."""
_HEAD = 1 << 14
_MOST_HELD = 1 << 16
_WHOLE = "Read the file whole: --chunk-rows 0."


class Piece(NamedTuple):
    """A stretch of a file's series, and how many of the series' rows come before it."""

    series: Series
    first_row: int


def read_csv_chunks(
    path: PathLike,
    *,
    rows: int = CHUNK_ROWS,
    step: Step | str | None = None,
    id: str | None = None,
    delimiter: str = ",",
    decimal: str = ".",
    name: str | None = None,
    **options: Unpack[TableOptions],
) -> Iterator[Piece]:
    """Yield a CSV file's series in consecutive pieces of at most `rows` rows, which together are what read_csv gives.

    path, delimiter, decimal, name, options: as in read_csv. step: the sampling step, as from a trained model; None
    takes the most common one of the first rows (`rows`, at least 16384). A piece's `present` is None where all its
    rows were given; `step` of irregular="keep" is the one given here. A file that ends in the first rows is read as
    read_csv does. Raises what read_csv raises, later at times, and DataError where a row contradicts the first ones;
    OptionError at once for options that need the whole file: id, order="sort".
    """
    if rows < 1:
        raise OptionError(f"--chunk-rows {rows} reads nothing. Use 1 or more.")
    for option, value in (("id", id), ("order sort", options.get("order") == "sort" or None)):
        if value is not None:
            raise OptionError(f"--{option} needs the whole file in memory. Use --chunk-rows 0 to read it whole.")
    if os.fspath(path).lower().endswith((".parquet", ".pq")):
        raise OptionError("A Parquet file is read whole, not in pieces. Use --chunk-rows 0, or give CSV.")
    if os.fspath(path).lower().endswith((".tsv", ".tsv.gz")) and delimiter == ",":
        delimiter = "tab"
    table = _Table(shown_name(path), settled_delimiter(delimiter, decimal), decimal, options)
    grid = {key: options[key] for key in GRID_OPTIONS if key in options}  # type: ignore[literal-required]
    axis = Axis(
        name or stem(path),
        table.shown,
        rows=rows,
        limit=max(rows, _MOST_HELD),
        step=read_step(step),
        count=lambda: None if os.fspath(path) == "-" else count_lines(path),
        **grid,
    )
    return _pieces(path, rows, table, axis)


def in_pieces(path: PathLike, options: Mapping[str, Any]) -> bool:
    """Tell whether a file is so large that it is read in pieces, and no option of read_csv needs all rows at once."""
    where = Path(path)
    if options.get("id") or options.get("order") == "sort" or options.get("resample") or not where.is_file():
        return False
    packed = where.suffix == ".gz"
    return where.suffix not in (".parquet", ".pq") and where.stat().st_size > LARGE / (5 if packed else 1)


def count_rows(path: PathLike) -> int:
    """Return about how many rows a CSV file has, quickly: its lines but one, blank ones included, gaps not."""
    return max(count_lines(path) - 1, 0)


def _pieces(path: PathLike, rows: int, table: _Table, axis: Axis) -> Iterator[Piece]:
    stretches = row_stretches(path, table.shown, table.delimiter, first=max(rows, _HEAD) + 1, rows=rows)
    _, head = next(stretches)
    later = next(stretches, None)
    if later is None:
        series = table.whole(head, axis.name)
        yield from (Piece(series[at : at + rows], at) for at in range(0, len(series), rows))
        return
    first_row = 0
    table.begin(head)
    tables = chain([table.first()], (table.more(*one) for one in chain([later], stretches)))
    read, lines = next(tables)
    while True:
        following = next(tables, None)
        parts = axis.lay(read, lines, end=following is None) if read.index is not None else iter(())
        if read.index is None:
            parts = (table.unstamped(read, slice(at, at + rows), axis.name) for at in range(0, len(lines), rows))
        for series in parts:
            yield Piece(series, first_row)
            first_row += len(series)
        if following is None:
            break
        read, lines = following
    table.ranges.judge(read.channels)
    axis.finish()


class _Table:
    """What the first rows say about a file's columns, for the rows that are read after them."""

    def __init__(self, shown: str, delimiter: str, decimal: str, options: TableOptions) -> None:
        self.shown, self.delimiter, self.decimal, self.options = shown, delimiter, decimal, options
        self.reading = {"time_unit": options.get("time_unit"), "time_format": options.get("time_format")}
        self.ranges = Ranges(shown)
        time = options.get("time")
        self.as_text = [time] if isinstance(time, str) and options.get("time_format") else []
        self.parts: list[str] = []
        self.form_is_known = True
        self.used: list[str] = []
        self.evidence = pd.Series(dtype=object)
        self.evidence_lines = np.empty(0, dtype=np.int64)

    def whole(self, text: bytes, name: str) -> Series:
        """Return the series of a file that has no further rows."""
        frame, lines = self._frame(text)
        return from_table(frame, name=name, origin=self._origin(lines), **self.options)[0]

    def begin(self, text: bytes) -> None:
        """Decide by the first rows what the columns are."""
        self.header = _header_text(text, self.shown, self.delimiter)
        frame, lines = self._frame(text)
        self.columns = list(frame.columns)
        read = read_columns(frame, id=None, origin=self._origin(lines), options=self.options, ranges=self.ranges)
        self.channels = read.channels
        time = None if read.index is None else str(read.index.name)
        label = self.options.get("label", "label") if read.labels is not None else None
        covariates = [] if read.covariates is None else list(read.covariates.columns)
        self.settled: TableOptions = {
            "time": False,
            "columns": list(read.channels),
            "label": label,
            "covariates": covariates,
            "na_values": self.options.get("na_values"),
        }
        if time is not None:
            self.parts = [time] if time in self.columns else [one.strip() for one in time.split("+")]
        self.used = [*read.channels, *covariates, *([label] if label else []), *self.parts]
        self.kinds = {name: _kind(frame[name]) for name in self.used}
        if self.options.get("na_values") is not None:  # what was text beside such words are numbers without them
            self.kinds |= {name: "numbers" for name in read.channels if self.kinds[name] == "text"}
        # Text that looks like numbers in some stretch is text all the same.
        self.as_text += [name for name in (*covariates, *self.parts) if self.kinds[name] == "text"]
        self.whole_numbers = {name: frame[name].dtype.kind in "iu" for name in self.parts}
        self.like = read.index
        if time is not None:
            self._keep_evidence(_stamps_of(frame, self.parts), lines)
        self.head = read, lines

    def first(self) -> tuple[Columns, np.ndarray]:
        """Return the first rows, and the lines they are in."""
        return self.head

    def more(self, before: int, text: bytes) -> tuple[Columns, np.ndarray]:
        """Return further rows, after so many lines of the file; DataError where they contradict the first."""
        frame, lines = self._frame(self.header + text, before - self.header.count(b"\n"))
        self._compare(frame, lines)
        origin = self._origin(lines)
        read = read_columns(frame, id=None, origin=origin, options=self.settled, ranges=self.ranges)
        if self.like is None:
            return read, lines
        return Columns(read.channels, read.values, self._index(frame, lines), read.labels, read.covariates, []), lines

    def unstamped(self, read: Columns, rows: slice, name: str) -> Series:
        """Return some of the rows of a file without a time axis."""
        table = None if read.covariates is None else read.covariates.iloc[rows]
        labels = None if read.labels is None else read.labels[rows]
        return Series(read.values[rows], read.channels, labels=labels, covariates=table, name=name)

    def _frame(self, text: bytes, before: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
        frame, nameless, lines = parse_rows(text, self.shown, self.delimiter, self.decimal, self.as_text, before=before)
        named = [self.options.get("time"), self.options.get("label", "label")]
        for option in ("columns", "drop", "covariates"):
            named += listed(self.options.get(option))  # type: ignore[arg-type]
        refuse_nameless(frame, nameless, named, self.shown)
        return frame, lines

    def _origin(self, lines: np.ndarray) -> Origin:
        return Origin(self.shown, lambda row: f"line {lines[row]}")

    def _compare(self, frame: pd.DataFrame, lines: np.ndarray) -> None:
        """Raise DataError where a column is of another kind than in the first rows."""
        for name in frame.columns:
            if name not in self.columns:
                self._contradict(
                    f"{name} has no name in the header and held nothing in the first rows", frame, lines, name
                )
        for name in self.used:
            if name not in frame.columns:
                frame[name] = np.nan
            kind, known = _kind(frame[name]), self.kinds[name]
            if kind is None or kind == known or (known is None and kind != "text"):
                self.kinds[name] = known or kind
            elif kind != "text" or name not in self.channels:  # text in a channel is refused with its line
                self._contradict(f"column {name!r} held {known or 'nothing'} before", frame, lines, name)
        for name, whole in self.whole_numbers.items():
            if whole and frame[name].dtype.kind == "f":
                self._contradict(f"column {name!r} held whole numbers before", frame, lines, name)
            if self.kinds[name] == "numbers" and not whole:
                frame[name] = frame[name].astype(np.float64)

    def _contradict(self, what: str, frame: pd.DataFrame, lines: np.ndarray, name: str) -> None:
        column = frame[name]
        numbers = pd.to_numeric(column.astype(object), errors="coerce")
        odd = column.notna()
        if self.kinds.get(name) == "numbers" and (numbers.isna() & odd).any():
            odd &= numbers.isna()
        elif self.whole_numbers.get(name) and (numbers % 1 != 0).any():
            odd &= numbers % 1 != 0
        row = int(odd.to_numpy().argmax())
        raise DataError(f"{self.shown}: {what}, and {str(column.iloc[row])[:60]!r} in line {lines[row]}. {_WHOLE}")

    def _keep_evidence(self, column: pd.Series, lines: np.ndarray) -> None:
        if is_numeric_dtype(column.dtype) or self.reading["time_format"] is not None:
            return
        rows, self.form_is_known = telling_rows(column)
        self.evidence, self.evidence_lines = column.iloc[rows], lines[rows]

    def _index(self, frame: pd.DataFrame, lines: np.ndarray) -> pd.Index:
        """Return further stamps, read in the form of those before."""
        column = _stamps_of(frame, self.parts)
        known = len(self.evidence)
        if known:
            column = pd.concat([self.evidence, column], ignore_index=True).rename(str(column.name))
            lines = np.concatenate([self.evidence_lines, lines])
        index = read_stamps(column, origin=self._origin(lines), **self.reading)
        if known and not self.form_is_known:
            self._keep_evidence(column, lines)
        index, like = index[known:], self.like
        if isinstance(index, pd.DatetimeIndex) and isinstance(like, pd.DatetimeIndex):
            if self.options.get("tz") is not None and index.tz is not None and like.tz is not None:
                index = index.tz_convert(like.tz)  # all go to one zone in the end
            same = index.as_unit(like.unit)
            if str(same.tz) == str(like.tz) and (same.as_unit(index.unit) == index).all():
                return same
        elif like is not None and index.dtype == like.dtype:
            return index
        assert like is not None
        raise TimeAxisError(
            f"{self.shown}: the stamps from line {lines[known]} on have another UTC offset, or more digits, than those "
            f"before ({index[0]} after {like[0]}). Use --tz UTC where offsets change. {_WHOLE}"
        )


def _stamps_of(frame: pd.DataFrame, parts: Sequence[str]) -> pd.Series:
    return frame[parts[0]] if len(parts) == 1 else joined(frame, parts).rename("+".join(parts))


def _header_text(text: bytes, shown: str, delimiter: str) -> bytes:
    """Return the lines of the header, up to the first row."""
    width = len(read_header(text, shown, delimiter))
    lines = row_lines(text, shown, delimiter, width)
    stop = lines[0] + 1 if width == 1 or len(lines) == 1 else lines[1]  # blank lines of a single column are rows
    return b"\n".join(text.split(b"\n", stop - 1)[lines[0] - 1 : stop - 1]) + b"\n"


def _kind(column: pd.Series) -> str | None:
    """Return what a column holds: numbers, true or false, or text; None where nothing."""
    held = column.dropna()
    if held.empty:
        return None
    if is_bool_dtype(column.dtype) or (isinstance(held.iloc[0], bool) and all(isinstance(one, bool) for one in held)):
        return "true or false"
    return "numbers" if is_numeric_dtype(column.dtype) else "text"
