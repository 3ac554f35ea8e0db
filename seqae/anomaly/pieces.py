"""Scoring a series in pieces, at a memory that does not grow with it, with the scores and events of the whole."""

from __future__ import annotations

__all__ = ["EventTally", "Scores", "score_pieces"]

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from seqae.anomaly.detector import Detector
from seqae.anomaly.scoring import BLOCK, first_needed, settled_rows
from seqae.anomaly.tables import event_table
from seqae.errors import OptionError
from seqae.series import Panel, Series, concatenated


class Scores(NamedTuple):
    """Consecutive rows of a series with their scores, and how many of its rows come before them."""

    series: Series
    table: pd.DataFrame
    first_row: int


def score_pieces(detector: Detector, pieces: Iterable[Series], *, batch_size: int = BLOCK) -> Iterator[Scores]:
    """Yield the scores of a series that comes in consecutive pieces: the numbers that `Detector.score` gives the whole.

    Held at a time: a piece, and before it the rows that its first windows need, which begin where a block of
    `batch_size` windows does, so that every matrix product is the one that the whole series would take. Rows come out
    once no later row can change them. OptionError for a threshold that looks at all rows at once.
    """
    calibration = detector.calibration
    if calibration is not None and calibration.threshold.batchwise:
        raise OptionError(
            f"threshold {calibration.threshold.name} looks at all rows at once. Use another, such as --threshold "
            "conformal, or read the file whole: --chunk-rows 0."
        )
    grid = detector.stride * batch_size
    reach = detector.window + detector.smoothing
    held: list[Series] = []
    first, done = 0, 0  # the first row held, the first row not yet given out
    for piece, final in _with_end(pieces):
        held.append(piece)
        rows = sum(map(len, held))
        ready = first + (rows if final else settled_rows(rows, grid, detector.window, reach))
        if ready <= done and not final:
            continue
        series = concatenated(held)
        table = cast(pd.DataFrame, detector.score(series, batch_size=batch_size))  # of one series, one table
        yield Scores(series[done - first : ready - first], table.iloc[done - first : ready - first], done)
        done, kept = ready, first_needed(ready, grid, reach)
        held, first = [series[kept - first :]], kept


def _with_end(pieces: Iterable[Series]) -> Iterator[tuple[Series, bool]]:
    """Yield each piece and whether it is the last."""
    before: Series | None = None
    for piece in pieces:
        if before is not None:
            yield before, False
        before = piece
    if before is not None:
        yield before, True


class EventTally:
    """The events of a series whose scores come in pieces: those of the whole.

    What is kept of the rows seen is what an event that is not over yet may need.
    """

    def __init__(self, detector: Detector, *, merge: int | None = None, min_length: int | None = None) -> None:
        rules = {"merge": merge, "min_length": min_length}
        self._detector = detector
        self._rules = {name: detector.options[name] if value is None else value for name, value in rules.items()}
        self._held: list[Scores] = []

    def add(self, scores: Scores) -> pd.DataFrame:
        """Take the next rows; return the events that are complete, see `find_events`."""
        self._held.append(scores)
        together = self._together()
        flagged = together.table["is_anomaly"].to_numpy(dtype=bool)
        # Behind so many rows without a flag no event goes on.
        quiet = 2 * self._rules["merge"] + 1
        last = np.flatnonzero(flagged[-quiet:])
        if not flagged.any():
            self._held = [self._rest(together, len(flagged))]
            return self._events(together, 0)
        if not len(last):
            self._held = [self._rest(together, len(flagged))]
            return self._events(together, len(flagged))
        gaps = np.flatnonzero(np.diff(np.flatnonzero(flagged)) > quiet)
        cut = 0 if not len(gaps) else int(np.flatnonzero(flagged)[gaps[-1] + 1])
        self._held = [self._rest(together, cut)]
        return self._events(together, cut)

    def finish(self) -> pd.DataFrame:
        """Return the events that were still open at the end."""
        if not self._held:
            raise OptionError("no rows were scored, so there is no event to finish. Add scores first.")
        together = self._together()
        return self._events(together, len(together.table))

    def _together(self) -> Scores:
        first = self._held[0]
        if len(self._held) == 1:
            return first
        parts = [one for one in self._held if len(one.table)] or [first]
        table = pd.concat([one.table for one in parts])
        return Scores(concatenated([one.series for one in parts]), table, parts[0].first_row)

    @staticmethod
    def _rest(scores: Scores, rows: int) -> Scores:
        return Scores(scores.series[rows:], scores.table.iloc[rows:], scores.first_row + rows)

    def _events(self, scores: Scores, rows: int) -> pd.DataFrame:
        series, table = scores.series[:rows], scores.table.iloc[:rows]
        if series.index is None:
            table = table.set_axis(pd.RangeIndex(scores.first_row, scores.first_row + rows), axis=0)
        return event_table(
            Panel([series]),
            {series.name: table},
            self._detector.calibration_of,
            named=False,
            reach=self._detector.window + self._detector.smoothing,
            **self._rules,
        )
