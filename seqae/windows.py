"""Windows over series: views that copy nothing, sets that are gathered by index on the device.

A window is a run of W rows of one series. A `WindowSet` holds the rows of all its series once, (R, C), and knows where
each window starts; the N × W × C windows themselves exist only batch by batch. The way back onto the time axis is in
`seqae.folding` and importable from here.
"""

from __future__ import annotations

__all__ = [
    "FOLDS", "PHASES", "TAILS", "Batch", "Centred", "Fold", "Last", "OverlapMean", "OverlapMedian", "WindowSet",
    "centred", "last", "overlap_mean", "overlap_median", "sliding_windows", "window_starts",
]  # fmt: skip

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from seqae.errors import DataError, OptionError, choose

from seqae.folding import FOLDS, Centred, Fold, Last, OverlapMean, OverlapMedian  # isort: skip
from seqae.folding import centred, last, overlap_mean, overlap_median  # isort: skip

Ints = NDArray[np.int64]


def sliding_windows(values: ArrayLike, window: int, stride: int = 1) -> NDArray:
    """Return every window of `values` as a read-only view that copies nothing.

    values: (T,) or (T, C) -> (N, W) or (N, W, C), N = (T - W) // stride + 1; rows after the last full window are left
    out. Raises DataError where there are fewer rows than `window`.
    """
    rows = np.asarray(values)
    if rows.ndim not in (1, 2):
        raise DataError(f"sliding_windows got an array of shape {rows.shape}; it needs (T,) or (T, C).")
    window, stride = _whole("window", window), _whole("stride", stride)
    if len(rows) < window:
        raise DataError(_too_short("the series", len(rows), window))
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(rows, window, axis=0), -1, 1)[::stride]


def _drop(length: Ints, window: int, stride: int) -> NDArray[np.bool_]:
    return np.zeros(length.shape, dtype=bool)


def _align(length: Ints, window: int, stride: int) -> NDArray[np.bool_]:
    return (length >= window) & ((length - window) % stride != 0)


def _pad(length: Ints, window: int, stride: int) -> NDArray[np.bool_]:
    start = _full(length, window, stride) * stride
    return (start < length) & ((length < window) | ((length - window) % stride != 0))


TAILS: dict[str, Callable[[Ints, int, int], NDArray[np.bool_]]] = {"drop": _drop, "align": _align, "pad": _pad}
"""What becomes of rows after the last full window: nothing; one more window that ends with the series; one more window
on the stride's grid, shorter and padded. A function (lengths, window, stride) says which series get one more."""

PHASES: dict[str, bool] = {"fixed": False, "random": True}
"""Where an epoch's windows start within the stride, and whether that is drawn anew for each epoch."""

_BLOCK = 1 << 16
"""Rows looked at in one go where a look needs room of its own."""


def window_starts(length: int, window: int, stride: int = 1, *, tail: str = "drop") -> Ints:
    """Return the first row of each window of a series of `length` rows: (N,) int64, increasing.

    tail: "drop", "align" or "pad" (see TAILS). Fewer rows than `window` give no window, and one shorter one with "pad".
    """
    window, stride = _whole("window", window), _whole("stride", stride)
    rows = np.array(length, dtype=np.int64)
    more = choose(TAILS, tail, "tail")(rows, window, stride)
    count = int(_full(rows, window, stride) + more)
    return _on_grid(np.arange(count, dtype=np.int64), stride, length - window if tail == "align" else None)


class Batch(NamedTuple):
    """Windows of one step, on the device. B windows, W steps, C channels, K conditions."""

    x: Tensor
    """(B, W, C) float32; 0 where nothing was observed."""
    observed: Tensor
    """(B, W, C) bool; False where missing or padded."""
    condition: Tensor | None = None
    """(B, W, K) float32; 0 where padded."""
    lengths: Tensor | None = None
    """(B,) int64 rows of each window that are not padding; None = all W."""


class WindowSet:
    """The windows of several series, held as rows and gathered by index on the device.

    arrays: one (T_i, C) array per series, NaN = missing. A single float32 array is used as it is, not copied.
    conditions: one (T_i, K) array per series, without missing values.
    phase: "fixed" holds windows at 0, stride, 2·stride, … of each series. "random" holds a window at every row and
        `epoch()` takes every stride-th of each series from a phase that it draws anew, so that training sees all
        alignments without paying for them in every epoch.
    tail: what becomes of a series' last rows (see TAILS); "random" reaches them anyway.
    min_observed: windows with a smaller share of observed values are left out; 0 keeps even the empty ones.
    ragged: a series shorter than `window` gives one padded window instead of a DataError.

    window, stride, channels (C), condition_size (K), device: as given or found. offsets (S + 1,) int64: series i has
    rows offsets[i] to offsets[i + 1] of the concatenated rows. No window crosses from one series to the next.
    """

    def __init__(
        self,
        arrays: Sequence[NDArray],
        *,
        window: int,
        stride: int = 1,
        phase: str = "fixed",
        conditions: Sequence[NDArray] | None = None,
        tail: str = "drop",
        min_observed: float = 0.0,
        ragged: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        self.window, self.stride = _whole("window", window), _whole("stride", stride)
        anew = choose(PHASES, phase, "phase")
        longer = choose(TAILS, tail, "tail")
        if not 0 <= min_observed <= 1:
            raise OptionError(f"min_observed={min_observed} is not a share. Give a number from 0 to 1.")
        rows = _same_width(arrays, "channels")
        lengths = np.array([len(values) for values in rows], dtype=np.int64)
        short = lengths < self.window
        _check_lengths(lengths, short, self.window, ragged)

        self.channels = rows[0].shape[1]
        if not self.channels:
            raise DataError("the series have no channels. Give arrays (T, C) with C of at least 1.")
        self.offsets: Ints = np.concatenate([[0], np.cumsum(lengths)])
        self._grid, self._skip = (1, self.stride) if anew else (self.stride, 1)
        self._align = tail == "align"
        more = longer(lengths, self.window, self._grid)
        counts = np.where(short, lengths > 0, _full(lengths, self.window, self._grid) + more)
        self._first = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
        self._bounds = torch.from_numpy(self.offsets)
        self._ragged = bool(short.any() or (tail == "pad" and more.any()))

        # Which windows of the regular grid are held: None = all, so that nothing of size N is stored.
        self._kept: Tensor | None = None
        self._held = torch.from_numpy(counts)
        complete = not any(_has(np.isnan, values) for values in rows)
        if min_observed > 0 and not complete:
            self._leave_out(rows, counts, min_observed)

        # A shorter window is read past its series' end, then masked: after the last series there must be rows to read.
        spare = self.window - 1 if self._ragged else 0
        self._rows = _join(rows, spare)
        self._observed: Tensor | None = None if complete else self._rows.isnan().logical_not_()
        self._conditions: Tensor | None = None
        if conditions is not None:
            known = _same_width(conditions, "conditions")
            if [len(values) for values in known] != lengths.tolist():
                raise DataError("conditions need one (T, K) array per series, with as many rows as that series has.")
            if any(_has(np.isnan, values) for values in known):
                raise DataError("the conditions have missing values; each must be known at every row. Fill them.")
            self._conditions = _join(known, spare) if known[0].shape[1] else None
        self.condition_size = 0 if self._conditions is None else self._conditions.shape[1]
        self._move(torch.device(device))

    def __len__(self) -> int:
        """Number of windows held, N."""
        return int(self._held.sum())

    def __repr__(self) -> str:
        return f"WindowSet({len(self)} windows of {self.window} × {self.channels} from {len(self._held)} series)"

    @property
    def epoch_size(self) -> int:
        """Number of windows in one epoch; with phase="random" at most so many (a late phase can cost a series one)."""
        return int(-(-self._held // self._skip).sum())

    @cached_property
    def starts(self) -> Ints:
        """(N,) first row of each window among the concatenated rows; made when first asked for, see `locate`."""
        return self._everywhere()[0]

    @cached_property
    def lengths(self) -> Ints:
        """(N,) rows of each window that are not padding."""
        if not self._ragged:
            return np.broadcast_to(np.int64(self.window), len(self))
        return self._everywhere()[1]

    @cached_property
    def series(self) -> Ints:
        """(N,) number of the series that each window lies in."""
        return np.repeat(np.arange(len(self._held)), self._held.numpy())

    def locate(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return starts (B,) in the concatenated rows and lengths (B,) of the windows `index` (B,), on the device."""
        place = index if self._kept is None else self._kept[index]
        series = torch.bucketize(place, self._first[1:], right=True)
        start = (place - self._first[series]) * self._grid
        rows = self._bounds[series + 1] - self._bounds[series]
        if self._align:
            start = torch.minimum(start, (rows - self.window).clamp(min=0))
        return start + self._bounds[series], (rows - start).clamp(max=self.window)

    def gather(self, index: Tensor) -> Batch:
        """Return the windows `index` (B,), whole numbers; everything happens on the device."""
        starts, lengths = self.locate(index.to(self.device, torch.int64))
        x = self._read(self._rows, starts)
        observed = (
            torch.ones_like(x, dtype=torch.bool) if self._observed is None else self._read(self._observed, starts)
        )
        condition = None if self._conditions is None else self._read(self._conditions, starts)
        if self._observed is not None:
            x.nan_to_num_(0.0)
        if not self._ragged:
            return Batch(x, observed, condition)
        padding = (torch.arange(self.window, device=self.device) >= lengths[:, None])[..., None]
        for part in (x, observed, condition):
            if part is not None:
                part.masked_fill_(padding, 0)
        return Batch(x, observed, condition, lengths)

    def blocks(self, size: int) -> Iterator[tuple[Tensor, Batch]]:
        """Yield (index (B,), Batch) over all windows in order, at most `size` at a time."""
        size = _whole("size", size)
        for low in range(0, len(self), size):
            index = torch.arange(low, min(low + size, len(self)), device=self.device)
            yield index, self.gather(index)

    def epoch(self, generator: torch.Generator) -> Tensor:
        """Return the windows of one training epoch in random order, (M,) whole numbers on the device.

        generator: a CPU generator, the only source of chance: the same state gives the same epoch on every device.
        """
        if self._skip == 1:
            kind = torch.int32 if len(self) < 1 << 31 else torch.int64  # half the room, the same order
            return torch.randperm(len(self), generator=generator, dtype=kind).to(self.device)
        held, skip = self._held, self._skip
        choices = held.clamp(max=skip)  # so that no series drops out of an epoch
        phase = (torch.rand(len(held), generator=generator, dtype=torch.float64) * choices).long()
        taken = -((phase - held) // skip)
        jump = (held.cumsum(0) - held) + phase - skip * (taken.cumsum(0) - taken)
        index = torch.repeat_interleave(jump, taken) + skip * torch.arange(int(taken.sum()))
        return index[torch.randperm(len(index), generator=generator)].to(self.device)

    def to(self, device: str | torch.device) -> WindowSet:
        """Return the same windows on another device (self where nothing would move)."""
        if torch.device(device) == self.device:
            return self
        moved = copy.copy(self)
        moved._move(torch.device(device))
        return moved

    def _move(self, device: torch.device) -> None:
        self.device = device
        for name in ("_rows", "_observed", "_conditions", "_first", "_bounds", "_kept"):
            tensor = getattr(self, name)
            setattr(self, name, None if tensor is None else tensor.to(device))

    def _read(self, rows: Tensor, starts: Tensor) -> Tensor:
        """Copy W rows from each start: (R, C), (B,) -> (B, W, C). A run of rows is contiguous, so each is one copy."""
        width = rows.shape[1]
        runs = rows.as_strided((len(rows) - self.window + 1, self.window * width), (width, 1))
        return runs.index_select(0, starts).view(-1, self.window, width)

    def _everywhere(self) -> tuple[Ints, Ints]:
        starts, lengths = self.locate(torch.arange(len(self), device=self.device))
        return starts.cpu().numpy(), lengths.cpu().numpy()

    def _leave_out(self, rows: list[NDArray[np.float32]], counts: Ints, min_observed: float) -> None:
        """Hold only windows with a share of observed values of at least `min_observed`."""
        kept: list[list[Ints]] = [[] for _ in rows]
        best, first = 0.0, 0
        for values, count, places in zip(rows, counts.tolist(), kept, strict=True):
            for low in range(0, count, _BLOCK):
                place = np.arange(low, min(low + _BLOCK, count), dtype=np.int64)
                starts = _on_grid(place, self._grid, len(values) - self.window if self._align else None)
                ends = np.minimum(starts + self.window, len(values))
                given = np.cumsum(np.count_nonzero(~np.isnan(values[starts[0] : ends[-1]]), axis=1))
                given = np.concatenate([[0], given])
                share = (given[ends - starts[0]] - given[starts - starts[0]]) / ((ends - starts) * self.channels)
                places.append(first + place[share >= min_observed])
                best = max(best, float(share.max()))
            first += count
        held = np.array([sum(map(len, places)) for places in kept], dtype=np.int64)
        if not held.any():
            raise DataError(
                f"no window of {self.window} rows has min_observed={min_observed:g} of its values; the fullest has "
                f"{best:.2g}. Lower min_observed, or use a shorter window or fewer channels."
            )
        if not np.array_equal(held, counts):
            self._held = torch.from_numpy(held)
            self._kept = torch.from_numpy(np.concatenate([block for places in kept for block in places]))


def _full(length: Ints, window: int, stride: int) -> Ints:
    """Number of full windows."""
    return np.maximum((length - window) // stride + 1, 0)


def _on_grid(place: Ints, stride: int, last: int | None) -> Ints:
    """First rows of windows by their number; none starts after `last`, so that an aligned one ends with its series."""
    return place * stride if last is None else np.minimum(place * stride, max(last, 0))


def _whole(name: str, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise OptionError(f"{name}={number!r} is not possible. Give a whole number of at least 1.")
    return int(number)


def _too_short(what: str, rows: int, window: int) -> str:
    return f"{what} has {rows} rows; window={window} needs at least {window}. Use --window {rows} or less."


def _check_lengths(lengths: Ints, short: NDArray[np.bool_], window: int, ragged: bool) -> None:
    if not lengths.any():
        raise DataError(f"there are no rows; window={window} needs at least {window}. Give data.")
    if short.any() and not ragged:
        first = int(np.flatnonzero(short)[0])
        what = "the series" if len(lengths) == 1 else f"series {first + 1} of {len(lengths)}"
        raise DataError(_too_short(what, int(lengths[first]), window))


def _has(test: Callable[[NDArray], NDArray], values: NDArray) -> bool:
    return any(test(values[low : low + _BLOCK]).any() for low in range(0, len(values), _BLOCK))


def _same_width(arrays: Sequence[NDArray], what: str) -> list[NDArray[np.float32]]:
    """Return the arrays as float32 (T_i, C), not copied where they are that already."""
    if hasattr(arrays, "shape") or not len(arrays):
        raise DataError(f"{what} come as a list with one (T, C) array per series. Give a single one as [array].")
    rows = [np.asarray(values, dtype=np.float32) for values in arrays]
    shapes = [values.shape for values in rows]
    if any(len(shape) != 2 for shape in shapes) or len({shape[1] for shape in shapes}) != 1:
        raise DataError(f"every series needs an array (T, C) of as many {what}; got shapes {sorted(set(shapes))[:4]}.")
    if any(_has(np.isinf, values) for values in rows):
        raise DataError(f"the {what} hold infinite values. Replace them, or make them missing (NaN).")
    return rows


def _join(rows: list[NDArray[np.float32]], spare: int) -> Tensor:
    """Concatenate rows and `spare` rows of zeros after them; a single writeable contiguous array is not copied."""
    if len(rows) == 1 and not spare and rows[0].flags.writeable and rows[0].flags.c_contiguous:
        return torch.from_numpy(rows[0])
    return torch.from_numpy(np.concatenate([*rows, np.zeros((spare, rows[0].shape[1]), dtype=np.float32)]))
