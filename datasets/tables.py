"""CSV and Parquet files as series: read exactly, or refused in one line that says where and what to do."""

from __future__ import annotations

__all__ = ["read_csv", "read_parquet", "read_table"]

import io
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack, cast

import pandas as pd

from seqae.datasets.chunks import in_pieces, read_csv_chunks
from seqae.datasets.content import PathLike, content_of, text_of
from seqae.datasets.rows import ENDINGS, listed, parse_rows, refuse_nameless, settled_delimiter, shown_name, stem
from seqae.errors import DataError, OptionError, SeqaeWarning, UserError
from seqae.series import Panel, Series, TableOptions, concatenated, from_table
from seqae.timeaxis import Origin


def read_csv(
    path: PathLike,
    *,
    time: str | bool | None = None,
    columns: Sequence[str] | str | None = None,
    drop: Sequence[str] | str | None = None,
    label: str | None = "label",
    covariates: Sequence[str] | str | None = None,
    id: str | None = None,
    na_values: Sequence[str | float] | str | float | None = None,
    time_unit: str | None = None,
    time_format: str | None = None,
    tz: str | None = None,
    order: str = "refuse",
    duplicates: str = "refuse",
    irregular: str = "refuse",
    resample: str | None = None,
    delimiter: str = ",",
    decimal: str = ".",
    name: str | None = None,
) -> Series | Panel:
    """Read a CSV file (UTF-8, gzip or plain; "-" is standard input) as a series, or with `id` a long table as a panel.

    time: the time column, "date+hour" for two that belong together; None finds it, False says there is none.
    columns: the channels; None takes every numeric column that has no other role. drop: columns to leave out.
    label: a 0/1 column, kept apart; None = none. covariates: columns kept apart for conditions.
    na_values: numbers or words that mean a missing value of a channel, such as -9999, beside an empty field.
    time_unit: "s", "ms", "us" or "ns" for numbers since 1970. time_format: strptime form of unusual stamps.
    tz: time zone to give to naive stamps, or to show others in.
    order: "sort" puts rows in order of time. duplicates: "first", "last" or "mean" of the rows of one stamp.
    resample: mean per bin, such as "5min". irregular: "keep" takes rows as even steps and fills no gap.
    Gaps of the time axis become rows of missing values with present=False; every other row is the file's, in its order.
    A file above 100 MB is read in pieces where that gives the same series: a fraction of the memory.
    Raises DataError and TimeAxisError, which name the file's line (the header is line 1), and OptionError.
    """
    options: TableOptions = {
        "time": time,
        "columns": columns,
        "drop": drop,
        "label": label,
        "covariates": covariates,
        "na_values": na_values,
        "time_unit": time_unit,
        "time_format": time_format,
        "tz": tz,
        "order": order,
        "duplicates": duplicates,
        "irregular": irregular,
        "resample": resample,
    }
    name = name or stem(path)
    if id is None and in_pieces(path, options):
        series = _from_pieces(path, delimiter=delimiter, decimal=decimal, name=name, **options)
        if series is not None:
            return series
    delimiter = settled_delimiter(delimiter, decimal)
    shown = shown_name(path)
    data = text_of(content_of(path, shown), shown)
    as_text = [one for one in (id, time if time_format else None) if isinstance(one, str)]
    frame, nameless, lines = parse_rows(data, shown, delimiter, decimal, as_text)
    refuse_nameless(frame, nameless, [time, id, label, *listed(columns), *listed(drop), *listed(covariates)], shown)
    panel = from_table(frame, id=id, name=name, origin=Origin(shown, lambda row: f"line {lines[row]}"), **options)
    return panel[0] if id is None else panel


def _from_pieces(path: PathLike, **options: Any) -> Series | None:
    """Return a large file's series, at a fraction of the memory; None where only the whole file tells what it is."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            pieces = [piece.series for piece in read_csv_chunks(path, **options)]
        except UserError:
            return None
    for one in caught:
        warnings.warn(one.message, stacklevel=3)
    return concatenated(pieces)


def read_parquet(
    path: PathLike, *, id: str | None = None, name: str | None = None, **options: Unpack[TableOptions]
) -> Series | Panel:
    """Read a Parquet file as a series, or with `id` as a panel; options and errors as in read_csv, rows count from 0.

    The time axis is a table's stored DatetimeIndex, or a time column. OptionError where pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as problem:
        raise OptionError("Reading Parquet needs pyarrow, which is missing: pip install pyarrow.") from problem
    shown = Path(path).name
    content = content_of(path, shown)
    if not content:
        raise DataError(f"{shown} is empty. Give a Parquet file with rows.")
    try:
        frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    except (ValueError, OSError) as problem:
        raise DataError(f"{shown} is no Parquet file, or is cut short. Write it anew, or read it as CSV.") from problem
    panel = from_table(frame, id=id, name=name or stem(path), origin=Origin(shown), **options)
    return panel[0] if id is None else panel


def read_table(path: PathLike, *, leave_out: bool = False, **options: Any) -> Series | Panel:
    """Read a file by its ending (.parquet, .pq and .tsv, otherwise CSV), or a folder as a panel of one series per file.

    Options as in read_csv. The files of a folder must have the same columns; series are called as the files' stems.
    leave_out: files of a folder that cannot be read, or have other channels than most, are named in a SeqaeWarning and
    left out, unless that leaves none.
    """
    where = Path(path)
    if os.fspath(path) == "-" or not where.is_dir():
        return _read_file(where if os.fspath(path) != "-" else path, options)
    if options.get("id") is not None:
        raise OptionError(f"{where.name} is a folder: one series per file. Use --id for one long table only.")
    files = sorted(file for file in where.iterdir() if file.name.lower().endswith(ENDINGS) and file.name[0] != ".")
    if not files:
        raise DataError(f"{where.name} is a folder without data. Give one with files that end in {', '.join(ENDINGS)}.")
    return Panel(_readable(files, options) if leave_out else (cast(Series, _read_file(one, options)) for one in files))


def _readable(files: Sequence[Path], options: dict[str, Any]) -> list[Series]:
    """Return the series of the files that can be read and have the channels of most; SeqaeWarning for each other."""
    read: dict[Path, Series] = {}
    wrong: dict[Path, Exception] = {}
    for file in files:
        try:
            read[file] = cast(Series, _read_file(file, options))
        except UserError as problem:
            wrong[file] = problem
    if not read:
        raise next(iter(wrong.values()))
    usual, _ = Counter(frozenset(series.channels) for series in read.values()).most_common(1)[0]
    for file, series in read.items():
        if set(series.channels) != usual:
            wrong[file] = DataError(
                f"{file.name} has the channels {', '.join(series.channels)}; most have {', '.join(sorted(usual))}."
            )
    for why in wrong.values():
        warnings.warn(f"left out: {why}", SeqaeWarning, stacklevel=4)
    return [series for file, series in read.items() if file not in wrong]


def _read_file(path: PathLike, options: dict[str, Any]) -> Series | Panel:
    name = os.fspath(path).lower()
    if name.endswith((".parquet", ".pq")):
        for option, default in (("delimiter", ","), ("decimal", ".")):
            if options.get(option, default) != default:
                raise OptionError(f"{Path(path).name} is a Parquet file, which has no --{option}. Leave it out.")
        return read_parquet(
            path, **{key: value for key, value in options.items() if key not in {"delimiter", "decimal"}}
        )
    if name.endswith((".tsv", ".tsv.gz")) and options.get("delimiter", ",") == ",":
        options = {**options, "delimiter": "\t"}
    return read_csv(path, **options)
