"""Streaming: a row in, its score out, with the numbers that scoring a whole table in mode causal gives.

What a row's score depends on is kept, and nothing more: the last W rows, and what each head said of the last few.
"""

from __future__ import annotations

__all__ = ["Stream"]

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqae.anomaly.detector import Detector
from seqae.anomaly.fusion import Scored
from seqae.anomaly.heads import squared_error
from seqae.anomaly.scoring import MISSING, TOGETHER, Folded, enough_observed
from seqae.anomaly.streams.clock import Stamp, clock_of, read_stamp
from seqae.anomaly.streams.single_rows import RowConditions, row_values
from seqae.errors import DataError, ModelFileError, OptionError, TimeAxisError
from seqae.training.checkpoints import read_safetensors, write_safetensors
from seqae.windows import Batch

Floats = NDArray[np.float32]

KIND = "stream state"
PARTS = {
    "training_data": "training data", "weights": "weights", "window": "window", "heads": "score heads",
    "smoothing": "smoothing", "series": "series",
}  # fmt: skip
"""What a state belongs to, in words."""


class Memory(NamedTuple):
    """What a stream keeps, never written into: a row makes a new one, so that a row that fails leaves no trace.

    total: rows so far, with those of gaps. rows: the last W at most, scaled (n, C). conditions: theirs (n, K). parts:
    each head's numbers of the last rows, as many as the moving mean takes. last: the stamp of the last row. limit: the
    score above which the next row is flagged.
    """

    total: int
    rows: Floats
    conditions: Floats
    parts: tuple[Floats, ...]
    last: Stamp | None = None
    limit: float = math.inf


class Stream:
    """Scores rows as they come in, each by itself and its past.

    detector: fitted, with mode="causal". series: whose threshold to take, where each series has its own; a stream that
    was not calibrated on takes that of all. even: whether a gap between stamps counts as missing rows, as the batch
    reader fills it; False takes rows as even steps. The threshold is the detector's at this moment. Raises OptionError
    for a detector of another mode, or whose threshold judges rows together; NotFittedError as Detector.score.
    """

    def __init__(self, detector: Detector, *, series: str | None = None, even: bool = True) -> None:
        mode, judge = detector.options["mode"], detector.judge
        if mode != "causal":
            raise OptionError(
                f"a stream knows the past alone, and this model was trained with --mode {mode}, whose scores wait for "
                "later rows. Train one with --mode causal."
            )
        self.model, self.preparation, self.window = detector.model.eval(), detector.preparation, detector.window
        self._calibration = judge.calibration if series is None else judge.of(series)
        kind = None if self._calibration is None else type(self._calibration.threshold)
        if kind is not None and kind.batchwise and not kind.sequential:
            raise OptionError(
                f"threshold {kind.name} judges rows together, and a stream has one at a time. "
                "Use --threshold conformal."
            )
        self.judge, self._data, self._series = judge, detector.training_data.get("sha256"), series
        self._smoothing = detector.smoothing
        self._device = detector.device
        self._clock = clock_of(self.preparation.step) if even else None
        rate = np.array(self.preparation.missing_rate)
        self._unseen = MISSING[detector.options["missing"]](rate).astype(np.float32)
        self._conditions = RowConditions(self.preparation.conditions, self.preparation.channels, self._clock)
        self._identity: dict[str, Any] | None = None
        self.reset()
        self.columns = tuple(self._record(self._combine(*self._nothing()), math.inf)[0])
        """What `push` answers with: the columns of Detector.score."""

    @property
    def count(self) -> int:
        """Rows taken in so far, those that fill gaps of the time axis among them."""
        return self._memory.total

    @property
    def last(self) -> Stamp | None:
        """The stamp of the last row; None before the first, and where rows have none."""
        return self._memory.last

    def reset(self) -> None:
        """Forget all rows."""
        channels, size = len(self.preparation.channels), self.preparation.conditions.size
        parts = tuple(_empty(channels if head.channelwise else 1) for head in self.judge.heads)
        limit = math.inf if self._calibration is None else self._calibration.threshold.value
        self._memory = Memory(0, _empty(channels), _empty(size), parts, limit=limit)

    def push(self, row: Any, time: Any = None) -> dict[str, Any]:
        """Take in a row and return what Detector.score has for it, by its columns' names (`columns`).

        row: an array (C,), or a mapping (a pandas row) that has every channel and the condition's columns by name;
        other names in it are ignored. NaN and None: missing. time: the row's stamp, for all rows or for none; a
        calendar needs it. The first W − 1 rows have no score: NaN. is_anomaly is None where there is no threshold.
        Raises DataError (TimeAxisError: a stamp that is not later than the last, or off the model's step) for a row
        that cannot be used; the stream is then as it was before.
        """
        memory, window = self._memory, self.window
        values = row_values(row, self.preparation.channels)
        stamp, gap = self._place(time)
        # Of a longer gap nothing older is left in any window, nor in a moving mean.
        filled = min(gap, max(window, self._smoothing))
        told = self._conditions(row, stamp, last=memory.last, before=memory.conditions, gap=gap, filled=filled)
        conditions = _last(window, memory.conditions, told)
        hole = np.broadcast_to(_nan(len(values)), (filled, len(values)))
        rows = _last(window, memory.rows, hole, self.preparation.scaler.apply(values[None]))
        count = memory.total + gap + 1
        said, error = self._say(rows, conditions) if count >= window else self._nothing()
        seen = memory.total + gap - filled + 1 + np.arange(filled) >= window
        parts = tuple(
            _last(self._smoothing, old, np.where(seen[:, None], unseen, np.float32(np.nan)), new[None])
            for old, unseen, new in zip(
                memory.parts, self._unobserved(np.zeros(len(values), dtype=bool))[0], said, strict=True
            )
        )
        record, limit = self._record(self._combine([_mean(recent) for recent in parts], error), memory.limit)
        self._memory = Memory(count, rows, conditions, parts, stamp, limit)
        return record

    def state(self) -> dict[str, Any]:
        """Return what the stream remembers: arrays, plain values, and which model and series it is of."""
        memory = self._memory
        arrays = {"rows": memory.rows, "conditions": memory.conditions}
        arrays |= {f"parts.{name}": part for name, part in zip(self.judge.names, memory.parts, strict=True)}
        arrays["limit"] = np.array([memory.limit])
        return {"kind": KIND, "of": self._of(), "count": memory.total, "last": _spoken(memory.last), "arrays": arrays}

    def restore(self, state: Mapping[str, Any], source: str = "the state") -> None:
        """Go on from what `state` gave; ModelFileError where that is of another model or series, or no state."""
        if state.get("kind") != KIND:
            raise ModelFileError(
                f"{source} is no state of a stream but another file of seqae's. Name a file of its own."
            )
        own, given = self._of(), state.get("of", {})
        differing = [name for name, value in own.items() if given.get(name) != value]
        if differing:
            raise ModelFileError(
                f"{source} is of another model or series (its {', '.join(PARTS[name] for name in differing)} differ). "
                "Give the model and --series that it was written with, or begin anew with another file."
            )
        try:
            arrays, last = state["arrays"], _heard(state["last"])
            parts = tuple(np.asarray(arrays[f"parts.{name}"], dtype=np.float32) for name in self.judge.names)
            rows, conditions = (np.asarray(arrays[name], dtype=np.float32) for name in ("rows", "conditions"))
            memory = Memory(int(state["count"]), rows, conditions, parts, last, float(arrays["limit"][0]))
            least = min(memory.total, self.window)
            shapes = [(len(one), one.shape[1]) for one in (rows, conditions)]
            if shapes != [(least, len(self._unseen)), (least, self.preparation.conditions.size)]:
                raise ValueError(f"{shapes} for {memory.total} rows")
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelFileError(f"{source} cannot be read ({error}). Begin anew with another file.") from None
        self._memory = memory

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a safetensors file, whole or not at all."""
        state = self.state()
        arrays = {name: torch.from_numpy(array) for name, array in state.pop("arrays").items()}
        write_safetensors(path, arrays, state)

    @classmethod
    def load(cls, detector: Detector, path: str | os.PathLike[str], **options: Any) -> Self:
        """Return a stream that goes on where the saved one stopped; options: those of the constructor."""
        stream = cls(detector, **options)
        try:
            tensors, document = read_safetensors(path)
        except ModelFileError as problem:
            raise ModelFileError(
                f"{os.fspath(path)} holds no state of a stream, or was cut off. Begin anew with another file."
            ) from problem
        stream.restore({**document, "arrays": {name: one.numpy() for name, one in tensors.items()}}, os.fspath(path))
        return stream

    # ---- what goes in ----

    def _place(self, time: Any) -> tuple[Stamp | None, int]:
        """Return a row's stamp, and how many rows are missing before it."""
        last: Any = self._memory.last
        first, clock = self._memory.total == 0, self._clock
        if time is None:
            if last is not None:
                raise DataError("the rows before had a time and this one has none. Give one for every row (--time).")
            return None, 0
        now: Any = read_stamp(time)
        dated = isinstance(now, pd.Timestamp)
        if clock is not None and clock.dated != dated:
            cure = (
                "Write dates and times, or say with --time-unit s (ms, us, ns) what numbers count since 1970"
                if clock.dated
                else "Write plain numbers"
            )
            raise TimeAxisError(f"{now} is another kind of time than the model was trained on. {cure}.")
        if first:
            return now, 0
        if last is None:
            raise DataError("the rows before had no time and this one has. Leave it out here, too (--no-time).")
        if isinstance(last, pd.Timestamp) != dated or (dated and (last.tz is None) != (now.tz is None)):
            raise TimeAxisError(
                f"{now} and {last}, the stamp before, are of two kinds. Write all alike, with a UTC offset or without."
            )
        if now == last:
            raise TimeAxisError(f"{now} does not come after the row before but is its time, too. Give each row once.")
        if now < last:
            raise TimeAxisError(f"{now} does not come after {last}, the time of the row before. Give rows in order.")
        if clock is None:
            return now, 0
        steps = clock.steps(last, now)
        if steps < 1:
            assert self.preparation.step is not None
            raise TimeAxisError(
                f"{now} does not follow on {last} by whole steps of {self.preparation.step['text']}, as the model was "
                "trained on. Give rows on that step, or take every row as the next step, whatever its time, with "
                "--irregular keep."
            )
        return now, steps - 1

    # ---- what comes out ----

    def _say(self, rows: Floats, conditions: Floats) -> tuple[list[Floats], Floats]:
        """Return what each head says of the last row of a window, and its squared errors (C,)."""
        seen = ~np.isnan(rows[-1])
        if not seen.any():
            return self._unobserved(seen)
        with torch.inference_mode():
            x = torch.from_numpy(rows).repeat(TOGETHER, 1, 1).to(self._device)
            known = torch.from_numpy(conditions).repeat(TOGETHER, 1, 1).to(self._device)
            condition = known if conditions.shape[1] else None
            batch = Batch(x.nan_to_num(0.0), ~x.isnan(), condition)
            if not enough_observed(batch, self.preparation.min_observed)[0].item():
                return self._unobserved(seen)
            output = self.model(batch.x, batch.observed, batch.condition, None, sample=False)
            told = [head.parts(self.model, batch, output) for head in self.judge.heads]
            *parts, error = (one[0, -1].float().cpu().numpy() for one in (*told, squared_error(batch.x, output)))
        heads = zip(self.judge.heads, parts, strict=True)
        said = [np.where(seen, part, self._unseen) if head.channelwise else part for head, part in heads]
        return said, np.where(seen, error, np.float32(np.nan))

    def _unobserved(self, seen: NDArray[np.bool_]) -> tuple[list[Floats], Floats]:
        """Return the same of a row of whose values nothing is said: those it has (C,), and those it lacks."""
        silence, error = _nan(1), _nan(len(self._unseen))
        lacking = np.where(seen, error, self._unseen)
        return [lacking if head.channelwise else silence for head in self.judge.heads], error

    def _nothing(self) -> tuple[list[Floats], Floats]:
        """Return the same of a row without a whole window."""
        return [_nan(part.shape[1]) for part in self._memory.parts], _nan(len(self._unseen))

    def _combine(self, said: Sequence[Floats], error: Floats) -> Scored:
        """Return a row's score by what each head says of it, (C,) or (1,), and its squared errors."""
        folded = [Folded(one[None], np.array([not np.isnan(one).all()], dtype=np.int32)) for one in (*said, error)]
        return self.judge.score([(0, folded)], len(error))[0]

    def _record(self, scored: Scored, limit: float) -> tuple[dict[str, Any], float]:
        """Return what is written of a row, and the limit for the next."""
        threshold, flagged = None if self._calibration is None else self._calibration.threshold, None
        if threshold is not None:
            flags, limit = threshold.follow(scored.total, limit)
            flagged = bool(flags[0])
        record = {
            "score": float(scored.total[0]),
            "p_value": math.nan if threshold is None else float(threshold.p_value(scored.total)[0]),
            "is_anomaly": flagged,
            "coverage": int(scored.coverage[0]),
            "error": float(scored.error[0]),
        }
        named = zip(self.preparation.channels, scored.parts[0].tolist(), strict=True)
        record |= {f"score_{name}": part for name, part in named}
        record |= {f"head_{name}": float(own[0]) for name, own in zip(self.judge.names, scored.evidence, strict=False)}
        return record, limit

    def _of(self) -> dict[str, Any]:
        """Return what a state belongs to, as JSON."""
        if self._identity is None:
            digest = hashlib.sha256()
            for name, weight in sorted(self.model.state_dict().items()):
                digest.update(name.encode() + weight.cpu().numpy().tobytes())
            self._identity = {
                "training_data": self._data,
                "weights": digest.hexdigest(),
                "window": self.window,
                "heads": list(self.judge.names),
                "smoothing": self._smoothing,
                "series": self._series,
            }
        return self._identity


def _empty(width: int) -> Floats:
    return np.empty((0, width), dtype=np.float32)


def _last(count: int, *pieces: Floats) -> Floats:
    """Return the last rows of several arrays, laid out row by row: sums depend on that in their last bit."""
    return np.concatenate(pieces, out=np.empty((sum(map(len, pieces)), pieces[0].shape[1]), np.float32))[-count:]


def _nan(width: int) -> Floats:
    return np.full(width, np.nan, dtype=np.float32)


def _mean(recent: Floats) -> Floats:
    """Return the mean (K,) over rows (n, K) of those that have a number, as smoothing.moving_mean of the last row."""
    given = ~np.isnan(recent)
    total = np.where(given, recent, 0.0).sum(axis=0, dtype=np.float64)
    mean = np.where(given[-1], total / np.maximum(given.sum(axis=0), 1), np.nan)
    return mean.astype(np.float32)


def _spoken(last: Stamp | None) -> Any:
    """Return a stamp as JSON."""
    if not isinstance(last, pd.Timestamp):
        return last
    try:
        zone = None if last.tz is None else str(pd.Timestamp(0, tz=str(last.tz)).tz)
    except (KeyError, ValueError):  # a zone that has no name elsewhere
        zone = "UTC"
    return {"time": last.isoformat(), "zone": zone}


def _heard(spoken: Any) -> Stamp | None:
    if not isinstance(spoken, Mapping):
        return None if spoken is None else read_stamp(spoken)
    stamp = pd.Timestamp(spoken["time"])
    return stamp if spoken["zone"] is None else stamp.tz_convert(spoken["zone"])
