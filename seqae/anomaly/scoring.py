"""From windows to scores on the time axis: heads are evaluated on every window, folded, and smoothed.

A head (`seqae.anomaly.heads`) gives numbers for a window's values; a mode says which windows' numbers a step gets; a
moving mean smooths them. A step's score by one head is the mean of its channels' numbers, so that these are each
channel's contribution to it.
"""

from __future__ import annotations

__all__ = [
    "BLOCK",
    "LEAST_OBSERVED",
    "MISSING",
    "MODES",
    "SCORERS",
    "TOGETHER",
    "Folded",
    "Measure",
    "enough_observed",
    "first_needed",
    "fold_band",
    "fold_outputs",
    "head_of",
    "score_windows",
    "settled_rows",
    "stretches",
    "total_score",
]

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from seqae.anomaly.cores import in_turn
from seqae.anomaly.heads import (
    Energy,
    ErrorDistance,
    Head,
    Pointwise,
    ReconstructionProbability,
    Scorer,
    WindowMean,
    absolute_error,
    nll,
    squared_error,
)
from seqae.anomaly.neighbours import NearestLatent, NearestWindow, WindowPCA
from seqae.errors import choose
from seqae.folding import FOLDS, Fold
from seqae.models import Autoencoder, Output
from seqae.smoothing import moving_mean
from seqae.windows import Batch, WindowSet

BLOCK = 512
"""Windows that are evaluated at a time. Of 64 to 4096 none is faster by more than 5 % for windows of 48 and 512 steps,
1 and 25 channels, 64 and 128 hidden units. Another number changes scores in their last bits at most."""

TOGETHER = 8
"""Windows that are evaluated at a time at least: fewer are repeated. A product of 1 to 3 rows is rounded otherwise than
one of many, and a row that ties with a held-back one would then be a little stranger than it, or less strange."""
LEAST_OBSERVED = 0.5
"""The share of a window's steps that must have a value in some channel for it to say anything of its rows: what a model
makes of a window that is nearly all gap is strange for the gap alone."""
_ROWS = 1 << 16
"""Rows whose mean over the channels is taken at a time."""

Measure = Callable[[Batch, Output], Tensor]
"""Gives (B, W, K) of what is to be folded, NaN where there is nothing."""

SCORERS: dict[str, Callable[[], Head]] = {
    "nll": lambda: Pointwise(nll),
    "squared_error": lambda: Pointwise(squared_error),
    "absolute_error": lambda: Pointwise(absolute_error),
    "reconstruction_probability": ReconstructionProbability,
    "mahalanobis": ErrorDistance,
    "window_error": lambda: WindowMean(squared_error),
    "window_nll": lambda: WindowMean(nll),
    "window_pca": WindowPCA,
    "nearest_window": NearestWindow,
    "nearest_shape": lambda: NearestWindow(centred=True),
    "nearest_latent": NearestLatent,
    "energy": Energy,
}
"""name -> what makes a head that has learned nothing yet."""


def head_of(scorer: str | Scorer | Head) -> Head:
    """Return a head by its name, of a function of each value and the model's output, or as it is."""
    if isinstance(scorer, Head):
        return scorer
    return choose(SCORERS, scorer, "scorer")() if isinstance(scorer, str) else Pointwise(scorer)


MISSING: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "ignore": lambda rate: np.full(len(rate), np.nan),
    "score": lambda rate: -np.log(rate),
}
"""name -> the part (C,) that a missing value gets, from each channel's missing rate in the training data: none, or
−log of that rate in nats, so that what is never missing is strange where it is and what often is, is not."""

MODES: dict[str, str] = {"causal": "last", "overlap": "overlap", "centred": "centred"}
"""name -> the fold that settles which window's number a step gets, among seqae.folding.FOLDS. `causal` takes the window
that ends at the step (past only), `overlap` the mean over all windows that cover it, `centred` the one around it."""


class Folded(NamedTuple):
    """Numbers on the time axis: values (R, C) float32, NaN where there is nothing, and how many windows cover a row."""

    values: NDArray[np.float32]
    coverage: NDArray[np.int32]

    def rows(self, which: slice) -> Folded:
        """Return some rows."""
        return Folded(self.values[which], self.coverage[which])

    def split(self, offsets: NDArray[np.int64]) -> list[Folded]:
        """Return each series' own rows; offsets (S + 1,) as a WindowSet has them."""
        return [self.rows(slice(low, high)) for low, high in pairwise(offsets)]


def fold_outputs(
    model: Autoencoder,
    windows: WindowSet,
    measures: Sequence[Measure],
    *,
    mode: str = "overlap",
    batch_size: int = BLOCK,
    progress: bool = False,
) -> list[Folded]:
    """Run the model over all windows once and fold what each measure says of them; one result per measure.

    windows: over R concatenated rows, on the model's device. The decoder runs free and z is its mean. Memory is O(R)
    beside one block of `batch_size` windows. progress: show a bar on stderr.
    """
    rows = int(windows.offsets[-1])
    kind = FOLDS[choose(MODES, mode, "mode")]
    folds: list[Fold] = []

    def measured(block: tuple[Tensor, Batch]) -> tuple[Tensor, Tensor, list[NDArray[np.float32]]]:
        index, batch = block
        if len(index) < TOGETHER:
            batch = windows.gather(torch.cat([index, index[-1:].expand(TOGETHER - len(index))]))
        with torch.inference_mode():
            output = model(batch.x, batch.observed, batch.condition, batch.lengths, sample=False)
            found = [measure(batch, output)[: len(index)].float().cpu().numpy() for measure in measures]
            return *windows.locate(index), [np.ascontiguousarray(one) for one in found]

    training = model.training
    model.eval()
    bar = tqdm(total=len(windows), desc="scoring", unit=" windows", unit_scale=True, disable=not progress)  # on stderr
    size = batch_size * windows.window * (windows.channels + _widest(model))
    try:
        blocks = in_turn(measured, windows.blocks(batch_size), windows.device, size)
        with bar, torch.inference_mode(), contextlib.closing(blocks):
            for starts, lengths, found in blocks:
                folds = folds or [kind(rows, one.shape[2], windows.window) for one in found]
                for fold, one in zip(folds, found, strict=True):
                    fold.add(starts.cpu().numpy(), one, lengths.cpu().numpy())
                bar.update(len(starts))
    finally:
        model.train(training)
    return [Folded(one.result(), one.coverage) for one in folds]


def _widest(model: Autoencoder) -> int:
    """Return about how many numbers the model holds for a step of a window."""
    return max((max(part.shape, default=1) for part in model.parameters()), default=1)


def fold_band(model: Autoencoder, windows: WindowSet, level: float, **how: Any) -> list[Folded]:
    """Fold the mean of p(x | z) and the two ends of the interval that holds `level` of it; how: as for fold_outputs."""

    def mean(batch: Batch, output: Output) -> Tensor:
        return output.likelihood.mean

    def end(number: int) -> Measure:
        return lambda batch, output: model.likelihood.interval(output.likelihood, level)[number]

    return fold_outputs(model, windows, [mean, end(0), end(1)], **how)


def score_windows(
    model: Autoencoder,
    windows: WindowSet,
    heads: Sequence[Head],
    *,
    mode: str = "overlap",
    smoothing: int = 1,
    missing: NDArray[np.float64] | None = None,
    min_observed: float = LEAST_OBSERVED,
    batch_size: int = BLOCK,
    progress: bool = False,
) -> list[list[Folded]]:
    """Return what each head says of each series: for every series a list with (T, C), or (T, 1), and coverage per head.

    The last of each list is no head's: the squared error of each value, (T, C), never smoothed, which says where within
    a strange stretch values are off. smoothing: rows of the moving mean, of the past alone in mode causal. missing:
    (C,) the part that a missing value gets; None gives it none: NaN. min_observed: a window with a smaller share of
    steps that have a value says nothing of the values it has, and covers no row by them (see LEAST_OBSERVED); what is
    missing in it gets its part all the same. See `total_score` for the step's score, and `fold_outputs`.
    """
    given = np.full(windows.channels, np.nan) if missing is None else missing
    unseen = torch.as_tensor(given, dtype=torch.float32, device=windows.device)

    def measure(head: Head) -> Measure:
        def measured(batch: Batch, output: Output) -> Tensor:
            parts = head.parts(model, batch, output).expand(-1, batch.x.shape[1], -1)
            if min_observed <= 1 and batch.observed.all():  # what is below would change nothing
                return parts
            parts = torch.where(enough_observed(batch, min_observed)[:, None, None], parts, torch.nan)
            if head.channelwise:
                return torch.where(batch.observed, parts, unseen)
            return torch.where(batch.observed.any(-1, keepdim=True), parts, torch.nan)

        return measured

    def error(batch: Batch, output: Output) -> Tensor:
        if min_observed <= 1 and batch.observed.all():
            return squared_error(batch.x, output)
        told = batch.observed & enough_observed(batch, min_observed)[:, None, None]
        return torch.where(told, squared_error(batch.x, output), torch.nan)

    measures = [*(measure(head) for head in heads), error]
    folded = fold_outputs(model, windows, measures, mode=mode, batch_size=batch_size, progress=progress)
    past = mode == "causal"
    each = zip(*(one.split(windows.offsets) for one in folded), strict=True)
    return [
        [*(Folded(moving_mean(one.values, smoothing, past_only=past), one.coverage) for one in said), raw]
        for *said, raw in each
    ]


def stretches(rows: int, grid: int, window: int, reach: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield which rows of a series of `rows` are to be scored together, and which of these then have their scores.

    Together they have every row once, in order. A stretch has `size` rows, or as many as it takes, and begins where a
    block of windows does, every `grid` rows; the first windows of its own rows, and those within `reach`, are all in
    it: so every number, to the last bit, is the one that the whole series would give.
    """
    size = max(size, window + 2 * (reach + grid))
    first = done = 0
    while done < rows:
        stop = min(first + size, rows)
        ready = rows if stop == rows else first + settled_rows(size, grid, window, reach)
        yield slice(first, stop), slice(done - first, ready - first)
        done, first = ready, first_needed(ready, grid, reach)


def settled_rows(held: int, grid: int, window: int, reach: int) -> int:
    """Return how many of the first `held` rows, from the start of a block on, no later row can change; 0 or less: none.

    Those that lie `reach` before the first window of an incomplete block.
    """
    return max(held - window, 0) // grid * grid - reach


def first_needed(done: int, grid: int, reach: int) -> int:
    """Return the row from which on rows must be held for those behind `done`: where a block of windows begins."""
    return max(done - reach, 0) // grid * grid


def enough_observed(batch: Batch, least: float) -> Tensor:
    """Return (B,) which windows have a value, in any channel, in at least this share of their own steps."""
    steps = batch.x.shape[1] if batch.lengths is None else batch.lengths
    return batch.observed.any(-1).sum(-1) / steps >= least


def total_score(parts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each step's score (R,): the mean of its parts (R, C) over the channels that have one, NaN without any."""
    mean = np.empty(len(parts))
    for low in range(0, len(parts), _ROWS):
        piece = parts[low : low + _ROWS]
        given = ~np.isnan(piece)
        count = given.sum(axis=1)
        total = np.where(given, piece, 0.0).sum(axis=1, dtype=np.float64)
        mean[low : low + _ROWS] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean
