"""A time axis that goes on from stretch to stretch of a file's rows, as seqae.timeaxis.lay_out lays out all at once."""

from __future__ import annotations

__all__ = ["Axis"]

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from seqae.columns import Columns
from seqae.datasets.rulers import Ruler, find_ruler
from seqae.errors import OptionError, SeqaeWarning, TimeAxisError
from seqae.series import Series, placed
from seqae.steps import Step, spell
from seqae.timeaxis import MOST_ADDED, Layout, Origin, index_from_ticks, lay_out, ticks_of


class Axis:
    """Takes a file's rows in stretches and gives them back as series of at most `rows` rows on one even time axis.

    Rows of the last stamp (with `resample`: bin) are held until the next stamp shows that there are no more of them.
    step: the sampling step if it is known, otherwise that of the first stretch. limit: the number of rows to hold at
    most. count: gives the number of rows in the whole file, or None where that cannot be told.
    """

    def __init__(
        self,
        name: str,
        shown: str,
        *,
        rows: int,
        limit: int,
        step: Step | None = None,
        count: Callable[[], int | None] = lambda: None,
        tz: str | None = None,
        order: str = "refuse",
        duplicates: str = "refuse",
        irregular: str = "refuse",
        resample: str | None = None,
    ) -> None:
        if resample is not None and irregular == "keep":
            raise OptionError(
                "--resample makes steps even and --irregular keep leaves them uneven. Use one of the two."
            )
        self.name, self.shown, self.rows, self.limit, self.count = name, shown, rows, limit, count
        self.step, self.resample, self.even = step, resample, irregular != "keep"
        self.reading = {"tz": tz, "order": order, "duplicates": duplicates}
        self.holds = duplicates != "refuse" or resample is not None
        self.ruler: Ruler | None = None
        self.held: tuple[Columns, np.ndarray] | None = None
        self.last: tuple[pd.Index, np.ndarray] | None = None  # the row before, where none is held
        self.last_tick = np.empty(0)
        self.given, self.next, self.all_rows = 0, 0, 0
        self.gaps: Counter[int] = Counter()

    def lay(self, read: Columns, lines: np.ndarray, *, end: bool) -> Iterator[Series]:
        """Yield the series of further rows, lines (N,) being theirs in the file; end: there are no more.

        TimeAxisError where stamps do not increase, occur twice or leave the grid, as in lay_out.
        """
        if self.held is not None:
            read, lines = _joined(self.held[0], read), np.concatenate([self.held[1], lines])
            self.held = None
        assert read.index is not None
        stamps, known = read.index, lines
        before = 0 if self.last is None else 1
        if self.last is not None:
            stamps, known = self.last[0].append(stamps), np.concatenate([self.last[1], lines])
        origin = Origin(self.shown, lambda row: f"line {known[row]}")
        try:
            flat = lay_out(stamps, irregular="keep", origin=origin, **self.reading)  # type: ignore[arg-type]
        except TimeAxisError as problem:
            cure = "--order sort with --chunk-rows 0"
            raise TimeAxisError(str(problem).replace("--order sort", cure)) from problem
        index, rows, steps = flat.index[before:], flat.rows[before:] - before, flat.steps[before:] - before
        origin = Origin(self.shown, lambda row: f"line {lines[row]}")
        if not self.holds:
            self.last = read.index[-1:], lines[-1:]
        if self.even:
            places = self._places(index, rows[np.searchsorted(steps, np.arange(len(index)))], origin)
        else:
            places = np.arange(len(index)) + self.next
        stop = int(places[-1]) + 1
        if self.holds and not end:
            stop -= 1
            kept = places[steps] == stop
            self._hold(read, lines, int(rows[kept].min()))
            rows, steps = rows[~kept], steps[~kept]
            index, places = index[places < stop], places[places < stop]
        if not len(index):
            return
        self._note(places, index, stop)
        yield from self._series(read, index, places, rows, places[steps], stop, origin)

    def finish(self) -> None:
        """Refuse what only the end shows: another step than the first rows', or more gaps than rows."""
        if not self.even or self.resample is not None or self.ruler is None:
            return
        usual, count = max(self.gaps.items(), key=lambda item: (item[1], -item[0]), default=(1, 0))
        if usual != 1:
            raise TimeAxisError(
                f"{self.shown}: {count} stamps come {spell(self.ruler.step * usual)} after the one before, more than "
                f"come after {spell(self.ruler.step)}, which was taken as the step. Read it whole: --chunk-rows 0, "
                f"or use --resample {spell(self.ruler.step)}."
            )
        added = self.next - self.given
        if added > self.given:
            warnings.warn(
                f"{self.shown}: {self.given} rows on steps of {spell(self.ruler.step)} leave {added} steps empty. "
                "If that is not the sampling step, use --resample with a longer one.",
                SeqaeWarning,
                stacklevel=2,
            )

    def _places(self, index: pd.Index, first_rows: np.ndarray, origin: Origin) -> np.ndarray:
        """Return the place of every stamp on the grid, in increasing order; first_rows: the first row of each."""
        if self.ruler is None:
            at = Origin(origin.name, lambda row: origin.line(int(first_rows[row])))
            self.ruler = find_ruler(index, step=self.step, resample=self.resample, origin=at)
        places, off = self.ruler.places(ticks_of(index), self.last_tick)
        if off.any():
            at_row = int(off.argmax())
            step = spell(self.ruler.step)
            raise TimeAxisError(
                f"{origin.name}: {index[at_row]} in {origin.line(int(first_rows[at_row]))} does not follow on the even "
                f"steps of {step} that the rows before it have. Use --resample {step} (mean per step), --irregular "
                "keep, or --chunk-rows 0 to find the step from the whole file."
            )
        return places

    def _hold(self, read: Columns, lines: np.ndarray, first: int) -> None:
        if len(lines) - first > self.limit:
            raise TimeAxisError(
                f"{self.shown}: more than {self.limit} rows fall on one step, at line {lines[first]}. "
                "Read more rows at once with --chunk-rows, or the file whole: --chunk-rows 0."
            )
        self.held = _part(read, first), lines[first:]

    def _note(self, places: np.ndarray, index: pd.Index, length: int) -> None:
        """Count rows and gaps, and refuse gaps that no number of rows to come would bring into proportion."""
        ticks, self.given = ticks_of(index), self.given + len(index)
        steps = np.diff(places, prepend=np.arange(self.next - 1, self.next) if self.next else places[:0])
        if self.resample is None:
            near = np.bincount(steps[steps < 64])
            self.gaps.update({step: int(near[step]) for step in np.flatnonzero(near).tolist()})
            self.gaps.update(steps[steps >= 64].tolist())
        self.last_tick = np.array([ticks[-1], places[-1]], dtype=object if ticks.dtype.kind == "i" else np.float64)
        if length > (MOST_ADDED + 1) * self.given:
            self.all_rows = self.all_rows or self.count() or self.given
            if length > (MOST_ADDED + 1) * max(self.all_rows, self.given):
                assert self.ruler is not None
                raise TimeAxisError(
                    f"{self.shown}: steps of {spell(self.ruler.step)} around {index[-1]} would add "
                    f"{length - self.given} empty rows. Use --resample with a longer step, --irregular keep, "
                    "or cut the file at the gap."
                )

    def _series(
        self,
        read: Columns,
        index: pd.Index,
        places: np.ndarray,
        rows: np.ndarray,
        row_places: np.ndarray,
        stop: int,
        origin: Origin,
    ) -> Iterator[Series]:
        """Yield the steps up to `stop`, with rows of missing values in the gaps, at most self.rows at a time."""
        for start in range(self.next, stop, self.rows):
            end = min(start + self.rows, stop)
            here = slice(*np.searchsorted(row_places, [start, end]))
            stamps = self._stamps(index, places, start, end)
            step = self.step if self.ruler is None else self.ruler.step
            layout = Layout(stamps, step, rows[here], row_places[here] - start)
            self.next = end
            yield placed(read, layout, self.name, origin)

    def _stamps(self, index: pd.Index, places: np.ndarray, start: int, end: int) -> pd.Index:
        here = slice(*np.searchsorted(places, [start, end]))
        if self.resample is None and here.stop - here.start == end - start:
            return index[here]
        assert self.ruler is not None
        ticks = self.ruler.ticks_at(np.arange(start, end))
        if self.resample is None:
            ticks[places[here] - start] = ticks_of(index[here])
        return index_from_ticks(ticks, index)


def _part(read: Columns, first: int) -> Columns:
    """Return the rows from one on."""
    return replace(
        read,
        values=read.values[first:].copy(),
        index=None if read.index is None else read.index[first:].copy(),
        labels=None if read.labels is None else read.labels[first:].copy(),
        covariates=None if read.covariates is None else read.covariates.iloc[first:].copy(),
    )


def _joined(one: Columns, other: Columns) -> Columns:
    """Return the rows of both."""
    assert one.index is not None
    assert other.index is not None
    tables = [table for table in (one.covariates, other.covariates) if table is not None]
    return replace(
        one,
        values=np.concatenate([one.values, other.values]),
        index=one.index.append(other.index),
        labels=None if one.labels is None or other.labels is None else np.concatenate([one.labels, other.labels]),
        covariates=pd.concat(tables, ignore_index=True) if tables else None,
    )
