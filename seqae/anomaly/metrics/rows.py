"""Tables as they stand, and which of their rows belong together: by stamp, or by row number where one has no stamps.

Unlike `seqae.datasets.tables`, which lays a series out on an even time axis, this keeps every row and its number: what
is compared here has been laid out before, or is a list of labels.
"""

from __future__ import annotations

__all__ = ["ROW", "Table", "read_parts", "read_rows", "same_kind", "span"]

import io
import json
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from seqae.anomaly.metrics.segments import Floats
from seqae.errors import DataError, OptionError
from seqae.stamps import Origin, find_time, read_stamps

ROW = "row"
"""The column of row numbers, from 0, in tables of scores without a time axis."""
_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")


@dataclass(frozen=True, eq=False)
class Table:
    """A table's rows and what they are matched by: axis is stamps, plain numbers of time, or a RangeIndex of rows."""

    frame: pd.DataFrame
    axis: pd.Index
    name: str
    time: str | None = None

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        name: str,
        *,
        time: str | bool | None = None,
        time_unit: str | None = None,
        likely: str | None = None,
    ) -> Self:
        """Find the axis. time: the column, False = none, None = `likely` if there, else the one that looks like it.

        time_unit: what a numeric one counts since 1970 ("s", "ms", "us", "ns"). TimeAxisError names a bad stamp.
        """
        if time is None and likely in frame.columns:
            time = likely
        origin = Origin(name)
        if isinstance(time, str):
            if time not in frame.columns:
                raise DataError(f"{name} has no column {time!r}. Name one of {', '.join(frame.columns)}.")
            found: str | None = time
        elif time is False:
            found = None
        elif ROW in frame.columns and frame[ROW].dtype.kind in "iu":  # whole numbers, none missing
            first = int(frame[ROW].iloc[0])
            if not np.array_equal(frame[ROW], np.arange(first, first + len(frame))):
                raise DataError(f"{name}: the numbers in column {ROW!r} do not count up by 1. Sort its rows.")
            return cls(frame, pd.RangeIndex(first, first + len(frame)), name, ROW)
        else:
            found = find_time(frame, list(frame.columns), origin, numbers=time_unit is not None)
        if found is None:
            return cls(frame, pd.RangeIndex(len(frame)), name)
        return cls(frame, read_stamps(frame[found], time_unit=time_unit, origin=origin), name, found)

    def rows_at(self, axis: pd.Index, prefer: ArrayLike | None = None) -> NDArray[np.int64]:
        """Return which row stands for each row of another table's axis (T,); DataError where one has none.

        Of several rows with one stamp the first is taken, or the first where `prefer` (N,) is True.
        """
        own = self.axis
        if isinstance(axis, pd.RangeIndex) or isinstance(own, pd.RangeIndex):
            if isinstance(axis, pd.RangeIndex) and axis.start > 0 and axis.stop <= len(own) > len(axis):
                return np.asarray(axis, dtype=np.int64)  # some rows of the table, by their numbers
            if len(axis) != len(own):
                raise DataError(
                    f"{self.name} has {len(own)} rows for {len(axis)} scores, matched by number because not both "
                    "sides have stamps. Give the table that was scored, or stamps."
                )
            return np.arange(len(axis))
        same_kind(axis, own, self.name)
        last = np.zeros(len(own), dtype=bool) if prefer is None else ~np.asarray(prefer, dtype=bool)
        order = np.argsort(last, kind="stable")
        order = order[~own[order].duplicated()]
        found = own[order].get_indexer(axis)
        missing = found < 0
        if missing.any():
            raise DataError(
                f"{self.name} ({span(own)}) has no row for {int(missing.sum())} of {len(axis)} scored stamps, such as "
                f"{axis[int(missing.argmax())]}. Give the table that was scored."
            )
        return order[found]

    def numbers(self, leave_out: Iterable[str] = ()) -> Floats | None:
        """Return the numeric columns but the time and those to leave out (N, C); None where there are none."""
        taken = {self.time, ROW, *leave_out}
        free = [name for name in self.frame.columns if name not in taken]
        names = [name for name in free if self.frame[name].dtype.kind in "iuf"]
        return self.frame[names].to_numpy(dtype=np.float64, na_value=np.nan) if names else None


def read_rows(path: str | Path, *, empty: bool = False) -> pd.DataFrame:
    """Read a table as it stands: CSV (.gz or plain, - is stdin), .tsv, Parquet, JSON as a list of rows, or JSON Lines.

    empty: whether it may have no rows.
    """
    shown = "stdin" if str(path) == "-" else Path(path).name
    ending = shown.lower().removesuffix(".gz").rpartition(".")[2]
    try:
        if ending in ("parquet", "pq"):
            frame = pd.read_parquet(path).reset_index(drop=True)
        elif ending == "json":
            frame = _json_rows(json.loads(Path(path).read_text(encoding="utf-8")), shown)
        elif shown.lower().endswith((".jsonl", ".ndjson")):
            lines = Path(path).read_text(encoding="utf-8").splitlines()
            frame = _json_rows([json.loads(line) for line in lines if line.strip()], shown)
        else:
            source = io.BytesIO(sys.stdin.buffer.read()) if str(path) == "-" else path
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # a line with more fields than the header
                separator = "\t" if ending == "tsv" else ","
                frame = pd.read_csv(source, sep=separator, index_col=False, skipinitialspace=True, low_memory=False)
    except FileNotFoundError as problem:
        raise DataError(f"There is no file {path}. Check the path.") from problem
    except IsADirectoryError as problem:
        raise DataError(f"{path} is a folder. Name a file in it.") from problem
    except ImportError as problem:
        raise OptionError("Reading Parquet needs pyarrow, which is missing: pip install pyarrow.") from problem
    except (OSError, EOFError, ValueError, pd.errors.ParserWarning) as problem:
        reason = (str(problem).splitlines() or ["it is damaged"])[0].rstrip(".")
        raise DataError(f"{shown} cannot be read: {reason}. Give a table such as a UTF-8 CSV file.") from problem
    if frame.empty and not empty:
        raise DataError(f"{shown} has no rows. Give at least one.")
    return frame.rename(columns=str)


def _json_rows(held: Any, shown: str) -> pd.DataFrame:
    if not isinstance(held, list) or not all(isinstance(row, dict) for row in held):
        raise DataError(f"{shown} is no table. As JSON that is a list of rows, as `seqae score --json` writes it.")
    return pd.DataFrame(held)


def read_parts(path: str | Path, series: Iterable[str] | None = None, id: str | None = None) -> dict[str, pd.DataFrame]:
    """Read the rows of one series, called "", or with `series` those of each of several.

    These stand in one table with a column `id`, or in a folder as one file each, called as the series. A series that
    has no row in the table is left out; one that has no file is refused.
    """
    shown = Path(path).name
    if series is None:
        return {"": read_rows(path)}
    if str(path) != "-" and Path(path).is_dir():
        files = {_stem(file.name): file for file in sorted(Path(path).iterdir()) if file.name.endswith(_ENDINGS)}
        missing = [name for name in series if name not in files]
        if missing:
            raise DataError(f"{shown} has no file for the series {missing[0]!r}. It has {', '.join([*files][:8])}.")
        return {name: read_rows(files[name]) for name in series}
    frame = read_rows(path)
    if id is None or id not in frame.columns:
        raise DataError(
            f"{shown} has no column {id!r} that says which series a row belongs to. Name it with --id; the columns are "
            f"{', '.join(frame.columns)}."
        )
    parts = {str(name): part.reset_index(drop=True) for name, part in frame.groupby(id, sort=False, dropna=False)}
    return {name: parts[name].drop(columns=id) for name in series if name in parts}


def _stem(name: str) -> str:
    return name[: -len(next(ending for ending in _ENDINGS if name.endswith(ending)))]


def same_kind(axis: pd.Index, other: pd.Index, name: str) -> None:
    """Raise DataError where stamps meet numbers, or stamps with a time zone those without."""
    both = f"{name} has {span(other)}, the scores have {span(axis)}"
    if isinstance(axis, pd.DatetimeIndex) != isinstance(other, pd.DatetimeIndex):
        raise DataError(f"{both}: dates meet numbers. Use --time-unit for numbers since 1970, or --no-time.")
    zones = [one.tz is not None for one in (axis, other) if isinstance(one, pd.DatetimeIndex)]
    if any(zones) and not all(zones):
        raise DataError(f"{both}: only one of them has a time zone. Write both alike.")


def span(axis: pd.Index) -> str:
    """Return an axis's first and last entry as text."""
    return f"{axis.min()} to {axis.max()}" if len(axis) else "nothing"
