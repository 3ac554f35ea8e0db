"""Scores: how strange each value is to the model, folded from the windows onto the time axis.

A scorer is a function of the data and the model's output that gives one number a value, (B, W, C); higher is stranger.
A mode says which windows' numbers a step gets. A step's score is the mean of its observed channels' folded numbers, so
that these are each channel's contribution to it.
"""

from __future__ import annotations

__all__ = [
    "BLOCK",
    "MISSING",
    "MODES",
    "SCORERS",
    "Folded",
    "Measure",
    "Scorer",
    "fold_outputs",
    "score_windows",
    "total_score",
]

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from seqae.errors import choose
from seqae.folding import FOLDS
from seqae.models import Autoencoder, Output
from seqae.windows import Batch, WindowSet

BLOCK = 512
"""Windows that are evaluated at a time. Another number changes scores in their last bits at most."""

Scorer = Callable[[Tensor, Output], Tensor]
Measure = Callable[[Batch, Output], Tensor]
"""Gives (B, W, C) of what is to be folded, NaN where there is nothing."""


def squared_error(x: Tensor, output: Output) -> Tensor:
    """Return (x − mean of p(x | z))², in squared scaled units."""
    return (x - output.likelihood.mean) ** 2


def absolute_error(x: Tensor, output: Output) -> Tensor:
    """Return |x − mean of p(x | z)|, in scaled units."""
    return (x - output.likelihood.mean).abs()


def nll(x: Tensor, output: Output) -> Tensor:
    """Return −log p(x | z), in nats of the scaled data; negative where the density is above 1."""
    return -output.likelihood.log_prob(x)


SCORERS: dict[str, Scorer] = {"squared_error": squared_error, "absolute_error": absolute_error, "nll": nll}
"""name -> function of x: (B, W, C), missing values 0, and the model's output; z is its mean, nothing is sampled."""


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

    def split(self, offsets: NDArray[np.int64]) -> list[Folded]:
        """Return each series' own rows; offsets (S + 1,) as a WindowSet has them."""
        return [Folded(self.values[low:high], self.coverage[low:high]) for low, high in pairwise(offsets)]


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
    fold = FOLDS[choose(MODES, mode, "mode")]
    folds = [fold(rows, windows.channels, windows.window) for _ in measures]
    training = model.training
    model.eval()
    bar = tqdm(total=len(windows), desc="scoring", unit=" windows", unit_scale=True, disable=not progress)  # on stderr
    try:
        with torch.inference_mode(), bar:
            for index, batch in windows.blocks(batch_size):
                output = model(batch.x, batch.observed, batch.condition, batch.lengths, sample=False)
                starts, lengths = (place.cpu().numpy() for place in windows.locate(index))
                for one, measure in zip(folds, measures, strict=True):
                    one.add(starts, measure(batch, output).float().cpu().numpy(), lengths)
                bar.update(len(index))
    finally:
        model.train(training)
    return [Folded(one.result(), one.coverage) for one in folds]


def score_windows(
    model: Autoencoder,
    windows: WindowSet,
    *,
    scorer: Scorer = nll,
    mode: str = "overlap",
    missing: NDArray[np.float64] | None = None,
    batch_size: int = BLOCK,
    progress: bool = False,
) -> Folded:
    """Return the parts of the score, (R, C) on the windows' concatenated rows, and the coverage (R,).

    missing: (C,) the part that a missing value gets; None gives it none: NaN. See `total_score` for the step's score,
    and `fold_outputs`.
    """
    given = np.full(windows.channels, np.nan) if missing is None else missing
    unseen = torch.as_tensor(given, dtype=torch.float32, device=windows.device)

    def measure(batch: Batch, output: Output) -> Tensor:
        return torch.where(batch.observed, scorer(batch.x, output), unseen)

    return fold_outputs(model, windows, [measure], mode=mode, batch_size=batch_size, progress=progress)[0]


def total_score(parts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each step's score (R,): the mean of its parts (R, C) over the channels that have one, NaN without any."""
    given = ~np.isnan(parts)
    count = given.sum(axis=1)
    total = np.where(given, parts, 0.0).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
