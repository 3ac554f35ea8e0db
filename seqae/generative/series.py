"""The generative side of a trained Detector: its bounds on windows of data, variations of them, decoded codes."""

from __future__ import annotations

__all__ = ["Pair", "decode_windows", "evaluate_series", "real_and_drawn", "vary", "windows_of"]

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqae.anomaly.detector import Detector
from seqae.anomaly.pipeline import read_given, require_rows
from seqae.errors import DataError, OptionError
from seqae.generative.bounds import Evaluation, evaluate
from seqae.series import Panel
from seqae.windows import WindowSet

Floats = NDArray[np.float64]
BLOCK = 256


class Pair(NamedTuple):
    """Real windows and as many drawn ones, both (N, T, C) in the data's units."""

    real: Floats
    drawn: Floats


def windows_of(detector: Detector, data: Any, stride: int | None = None) -> tuple[Panel, WindowSet]:
    """Return data as a panel, and its windows `stride` steps apart (None: as in scoring) on the model's device."""
    preparation = detector.preparation
    panel = read_given(data, preparation.conditions.columns, preparation.channels).panel
    require_rows(panel, detector.window, "Give longer data.")
    stride = stride or detector.stride
    return panel, preparation.windows(panel, window=detector.window, stride=stride, device=detector.device)


def evaluate_series(
    detector: Detector, data: Any, *, samples: Sequence[int] = (1, 10, 100), seed: int = 0
) -> Evaluation:
    """Measure a detector's model on all windows of data: bounds in nats of the scaled values a window, and its latent.

    data: as for `Detector.detect`; the windows are those of scoring. See `seqae.generative.bounds.evaluate`.
    """
    return evaluate(detector.model, windows_of(detector, data)[1], samples=samples, seed=seed)


def vary(detector: Detector, data: Any, n: int = 1, *, noise: bool = True, seed: int = 0) -> pd.DataFrame:
    """Draw n variations of each window of data, cut without overlap, to augment a training set with.

    z is drawn from q(z | x, c) of the window, then x from p(x | z, c), or its mean without `noise`. A row has `series`
    where there are several, sample (the number of the variation, over all windows), step, the window's own time, and
    the channels in the data's units; a value that was missing is drawn, too. OptionError for an AE, whose codes are
    points.
    """
    if not detector.model.latent.stochastic:
        raise OptionError("an AE has no posterior to draw variations from. Train a VAE or CVAE.")
    if n < 1:
        raise OptionError(f"n={n} variations cannot be drawn. Give at least 1.")
    panel, windows = windows_of(detector, data, stride=detector.window)
    device, steps = detector.device, detector.window
    generator = torch.Generator().manual_seed(seed)
    drawn = np.empty((len(windows), n, steps, windows.channels))
    with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for index, batch in windows.blocks(BLOCK):
            state = detector.model.posterior(*batch)
            for k in range(n):
                emitted = detector.model.emit(state.sample(generator), steps, batch.condition, batch.lengths)
                values = emitted.sample() if noise else emitted.mean
                drawn[index.cpu().numpy(), k] = detector.preparation.scaler.invert(values.float().cpu().numpy())
    tables = [_varied(panel, windows, number, one) for number, one in enumerate(drawn)]
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "sample", np.repeat(np.arange(len(windows) * n), np.repeat(windows.lengths, n)))
    if len(panel) > 1:
        table.insert(0, "series", table.pop("series"))
    else:
        del table["series"]
    return table


def _varied(panel: Panel, windows: WindowSet, number: int, drawn: Floats) -> pd.DataFrame:
    """Return the rows of one window's variations (n, T, C)."""
    owner = int(windows.series[number])
    rows = int(windows.lengths[number])
    first = int(windows.starts[number] - windows.offsets[owner])
    series, n = panel[owner], len(drawn)
    columns: dict[str, Any] = {"series": series.name, "step": np.tile(np.arange(rows), n)}
    if series.index is not None:
        columns[str(series.index.name or "time")] = series.index[np.tile(np.arange(first, first + rows), n)]
    values = drawn[:, :rows].reshape(n * rows, -1)
    return pd.DataFrame(columns | {name: values[:, c] for c, name in enumerate(panel.channels)})


def real_and_drawn(detector: Detector, data: Any, n: int = 1000, *, noise: bool = True, seed: int = 0) -> Pair:
    """Return up to n complete windows of data, chosen by chance, and for each one drawn under its condition.

    What sample quality is measured with (`seqae.generative.quality`). noise: whether values scatter as the likelihood
    says, independently of each other, or are its mean. OptionError for an AE, DataError where no window
    is complete.
    """
    _, windows = windows_of(detector, data)
    rng = np.random.default_rng(seed)
    index = torch.from_numpy(np.sort(rng.permutation(len(windows))[: 4 * n]))
    batch = windows.gather(index)
    complete = batch.observed.flatten(1).all(1)
    if batch.lengths is not None:
        complete &= batch.lengths == detector.window
    kept = torch.nonzero(complete)[:, 0].cpu()
    if not len(kept):
        raise DataError("no window of the data is complete, and samples are compared with complete ones. Give others.")
    kept = kept[torch.from_numpy(rng.permutation(len(kept))[:n])]
    condition = None if batch.condition is None else batch.condition[kept]
    generator = torch.Generator().manual_seed(seed)
    drawn = detector.model.sample(len(kept), detector.window, condition, noise=noise, generator=generator)
    invert = detector.preparation.scaler.invert
    return Pair(invert(batch.x[kept].cpu().numpy()), invert(drawn.float().cpu().numpy()))


def decode_windows(detector: Detector, z: NDArray[Any], condition: Tensor | None = None) -> Floats:
    """Return the means of p(x | z, c), (N, T, C) in the data's units, for z: (N, Z) and a condition (T, K) or None."""
    codes = torch.as_tensor(np.asarray(z), dtype=torch.float32, device=detector.device)
    if condition is not None:
        condition = condition.to(detector.device).expand(len(codes), -1, -1)
    with torch.no_grad():
        decoded = detector.model.decode(codes, detector.window, condition)
    return detector.preparation.scaler.invert(decoded.float().cpu().numpy())
