"""The rows of a CSV file's text: its header, its fields, and the line of the file that each row is in."""

from __future__ import annotations

__all__ = [
    "ENDINGS",
    "listed",
    "parse_rows",
    "read_header",
    "refuse_nameless",
    "row_lines",
    "settled_delimiter",
    "shown_name",
    "stem",
]

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from seqae.datasets.content import PathLike
from seqae.errors import DataError, OptionError

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")
_BLOCK = 1 << 24


def shown_name(path: PathLike) -> str:
    """Return what a file is called in messages."""
    return "standard input" if os.fspath(path) == "-" else Path(path).name


def settled_delimiter(delimiter: str, decimal: str) -> str:
    """Return the character that parts fields; OptionError where it or the decimal sign cannot be read.

    Both may be the comma: numbers are in quotes then, or a row has more fields than the header, which is refused.
    """
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    usable = len(delimiter) == 1 and delimiter.isascii() and delimiter not in {'"', "\r", "\n", "."}
    if not usable or decimal not in {".", ","}:
        raise OptionError(
            f"--delimiter {delimiter!r} with --decimal {decimal!r} cannot be read. Use one character, such as ';', "
            "and '.' or ',' for decimals."
        )
    return delimiter


def refuse_nameless(frame: pd.DataFrame, nameless: list[str], named: Sequence[Any], shown: str) -> None:
    """Raise DataError for a column of numbers that neither the header nor an option names."""
    for column in nameless:
        if column not in named and is_numeric_dtype(frame[column].dtype):
            raise DataError(
                f"{shown}: {column} has no name in the header and holds numbers such as {frame[column].iloc[0]}. "
                f"Name it there, or use --drop {column!r}."
            )


def listed(given: Sequence[str] | str | None) -> Sequence[str]:
    """Return column names from one or several."""
    return [given] if isinstance(given, str) else given or []


def stem(path: PathLike) -> str:
    """Return what a file's series is called: its name without ending, or series for standard input."""
    name = Path(path).name
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return "series" if name == "-" else name[: len(name) - len(ending)] or name


def parse_rows(
    data: bytes, shown: str, delimiter: str, decimal: str, as_text: Sequence[str], *, before: int = 0
) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """Return the table, its columns that the header has no name for, and the line of each of its rows in the file.

    Every row has as many fields as the header. A column with neither a name nor a value is nothing. before: lines of
    the file that the data begin after.
    """
    header = read_header(data, shown, delimiter)
    names = [name or f"column-{number}" for number, name in enumerate(header, start=1)]
    lines = row_lines(data, shown, delimiter, len(names), before)
    single = len(names) == 1  # there a blank line is a missing value, not nothing
    try:
        frame = pd.read_csv(
            io.BytesIO(data.strip() if single else data),
            sep=delimiter,
            decimal=decimal,
            header=0,
            names=names,
            index_col=False,
            dtype={name: str for name in as_text if name in names},
            skipinitialspace=True,
            skip_blank_lines=not single,
            low_memory=False,
        )
    except (ValueError, OverflowError) as problem:
        reason = str(problem).splitlines()[0].removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"{shown} cannot be read as CSV: {reason}. Check the quotes and the delimiter.") from problem
    if frame.empty:
        raise DataError(f"{shown} has a header and no rows. Give at least one row.")
    frame = frame.drop(columns=[name for name in names if name not in header and frame[name].isna().all()])
    nameless = [name for name in frame.columns if name not in header]
    return frame, nameless, lines[0] + 1 + np.arange(len(frame)) if single else lines[1:]


def read_header(data: bytes, shown: str, delimiter: str) -> list[str]:
    """Return the names of the columns; DataError where the first line is no header, or of another delimiter."""
    names = [name.strip() for name in next(_records(data, shown, delimiter))[1]]
    if len(names) == 1:
        for other, spelled in ((";", "';'"), ("\t", "tab"), ("|", "'|'"), (",", "','")):
            if other in names[0] and other != delimiter:
                raise DataError(
                    f"{shown} has one column when read with delimiter {delimiter!r}: {names[0][:60]!r}. "
                    f"Use --delimiter {spelled}."
                )
    # A table without names is written with the header 0,1,2,...
    if all(map(_is_value, names)) and (len(names) == 1 or names != [*map(str, range(len(names)))]):
        raise DataError(f"{shown} has no header: line 1 is {delimiter.join(names)[:60]!r}. Add a line of column names.")
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(f"{shown} has more than one column {twice[0]!r} in its header. Rename all but one.")
    return names


def _is_value(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|\d{4}-\d\d-\d\d.*", text) is not None


def _records(data: bytes, shown: str, delimiter: str, before: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each record begins in, from 1, and its fields; blank lines are no records."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = before + 1
    try:
        for fields in reader:
            if len(fields) > 1 or any(map(str.strip, fields)):
                yield line, fields
            line = before + reader.line_num + 1
    except csv.Error as problem:
        raise DataError(f"{shown} cannot be read as CSV from line {line} on: {problem}. Check its quotes.") from problem


def row_lines(data: bytes, shown: str, delimiter: str, width: int, before: int = 0) -> np.ndarray:
    """Return the line of the header and of every row; DataError where one has more or fewer fields than the header.

    pandas would fill short rows and drop what is too long without a word.
    """
    if b'"' in data:
        found = [(line, len(fields)) for line, fields in _records(data, shown, delimiter, before)]
        lines, fields = np.array(found, dtype=np.int64).T
    else:
        lines, fields = _count_fields(data, delimiter)
        lines += before
    wrong = fields != width
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(
            f"{shown}: line {lines[at]} has {fields[at]} fields, the header has {width}. Correct the line, "
            f"or the header, or use --delimiter if {delimiter!r} is not what parts them."
        )
    return lines


def _count_fields(data: bytes, delimiter: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of every line that is not blank, and its fields; for data without quotes, block by block."""
    lines, fields = [], []
    start, line = 0, 1
    while start < len(data):
        end = data.rfind(b"\n", start, start + _BLOCK) + 1 if start + _BLOCK < len(data) else len(data)
        end = end or data.find(b"\n", start) + 1 or len(data)
        block = np.frombuffer(data, dtype=np.uint8, count=end - start, offset=start)
        marks = np.flatnonzero((block == ord(delimiter)) | (block == ord("\n")))
        last = np.flatnonzero(block[marks] == ord("\n"))  # the marks that end a line
        ends = marks[last]
        if data[end - 1 : end] != b"\n":
            last, ends = np.append(last, len(marks)), np.append(ends, len(block))
        parts = np.diff(last, prepend=-1) - 1
        filled = parts > 0
        if not filled.all():  # a line without a delimiter may be one value, or blank
            filled |= np.maximum.reduceat(block, np.concatenate([[0], ends[:-1] + 1])) > ord(" ")
        lines.append(np.flatnonzero(filled) + line)
        fields.append(parts[filled] + 1)
        start, line = end, line + len(ends)
    return np.concatenate(lines), np.concatenate(fields)
