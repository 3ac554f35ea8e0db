"""How good generated windows are: can they be told from real ones, and can one learn from them what real ones teach.

The scores of TimeGAN (Yoon, Jarrett and van der Schaar, NeurIPS 2019, section 5), which TimeVAE (Desai et al. 2021)
reports as well, each beside what real windows get in the place of generated ones: a score alone says nothing.
Everything is scaled by the smallest and largest real value of each channel to [0, 1], generated values not clipped.

The paper names two-layer LSTMs. The authors' code trains one GRU layer of C // 2 units with Adam, on 128 windows (of
either kind) a step, for 2000 steps as the classifier and 5000 as the predictor, and tests the predictor on all real
windows. Here it is two GRU layers, wider and at a higher learning rate, so that fewer steps tell more, and every score
is of windows that were held back. Figures compare only where the settings are the same.

None of this sees a copy: generated windows that repeat the real ones get perfect scores. And real windows that overlap
lie on both sides of every split, so that a network may know them by heart: give windows that do not overlap.
"""

from __future__ import annotations

__all__ = [
    "Difference", "Discrimination", "Prediction", "discriminative_score", "generation_report", "marginal_difference",
    "predictive_score",
]  # fmt: skip

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from seqae.errors import DataError, OptionError

Floats = NDArray[np.float64]

LEAST = 20
"""The fewest windows of either kind that a score is trained and tested on."""
HELD_BACK = 0.2
"""The share of the windows that is tested on."""
RATE, STRETCH = 1e-2, 6.0
"""Adam's learning rate, and the width around 0 to which [0, 1] is stretched before a network sees it: with 1e-3 and 1,
fine noise on sines and another correlation of the channels went unseen in 500 steps."""
FAR = 1e15
"""How many real ranges away a generated value may be: float32 holds its square."""


class Discrimination(NamedTuple):
    """How well a classifier tells generated windows from real ones, all on windows held back.

    score: |accuracy - 1/2|, from 0 (cannot be told apart) to 1/2 (always can); accuracy: the mean of real and
    synthetic, which are the shares of either kind that are recognised; baseline: the score of one random half of the
    real windows against the other.
    """

    score: float
    accuracy: float
    real: float
    synthetic: float
    baseline: float


class Prediction(NamedTuple):
    """How far off predictions of real windows held back are: mean absolute errors, in real ranges of the channel.

    score: learned from generated windows; baseline: learned from the other real windows; constant: always the median of
    these, which is what a predictor that has learned nothing gets.
    """

    score: float
    baseline: float
    constant: float


class Difference(NamedTuple):
    """How far apart the channels are: kolmogorov (C,) in [0, 1], autocorrelation (C, L) at lags 1 to L = T // 2."""

    kolmogorov: Floats
    autocorrelation: Floats


def discriminative_score(
    real: ArrayLike | Tensor,
    synthetic: ArrayLike | Tensor,
    *,
    hidden: int | None = None,
    iterations: int = 300,
    batch_size: int = 128,
    seed: int = 0,
) -> Discrimination:
    """Train a classifier of two GRU layers to tell real (N, T, C) from synthetic (M, T, C) windows and test it.

    80 % of either kind are trained on, batch_size of each a step, and 20 % tested on; kinds weigh the same, whatever N
    and M. hidden: units a layer, by default 2 C but 16 at least and 64 at most; iterations: steps, 2000 of batch 128 in
    TimeGAN. With n tested windows of either kind a coin scores .28 / √n in the mean (.02 for N = 1000): less than twice
    that is as good as 0. Raises DataError for shapes that do not fit, missing values and less than 20 windows,
    OptionError for settings below 1.
    """
    pair = _pair(real, synthetic, LEAST)
    training = _training(hidden, iterations, batch_size, seed, pair[0].shape[2])
    with _apart(seed):
        ours, theirs = _scaled(*pair)
        halves = _recognised(*_split(ours, 0.5), training)  # first: the same whatever synthetic is
        found = _recognised(ours, theirs, training)
    accuracy = sum(found) / 2
    return Discrimination(abs(0.5 - accuracy), accuracy, *found, abs(0.5 - sum(halves) / 2))


def predictive_score(
    real: ArrayLike | Tensor,
    synthetic: ArrayLike | Tensor,
    *,
    hidden: int | None = None,
    iterations: int = 300,
    batch_size: int = 128,
    seed: int = 0,
) -> Prediction:
    """Train a predictor of two GRU layers on synthetic (M, T, C), test it on real (N, T, C), and train one on real.

    At each step the next value of the last channel is predicted from the others so far, as in TimeGAN's code, or that
    of the only channel from its own past; the loss is the absolute error. Both predictors are tested on the same 20 %
    of the real windows; the second is trained on the other 80 %. Settings and errors as in `discriminative_score`, but
    TimeGAN takes 5000 iterations.
    """
    pair = _pair(real, synthetic, LEAST)
    training = _training(hidden, iterations, batch_size, seed, pair[0].shape[2])
    with _apart(seed):
        ours, theirs = _scaled(*pair)
        test, train = _split(ours, HELD_BACK)
        baseline = _error(train, test, training)
        score = _error(theirs, test, training)
        constant = (_next(test)[1] - _next(train)[1].median()).abs().mean().item()
    return Prediction(score, baseline, constant)


def marginal_difference(real: ArrayLike | Tensor, synthetic: ArrayLike | Tensor) -> Difference:
    """Compare values and memory of real (N, T, C) and synthetic (M, T, C) windows, channel by channel, untrained.

    kolmogorov: the largest difference of the distribution functions of all values. autocorrelation: the absolute
    difference of the autocorrelation functions, each of the deviations from the mean of all values, in units of their
    variance; NaN where one of the two never varies. Raises DataError for other shapes and missing values.
    """
    ours, theirs = _pair(real, synthetic, 1)
    distance = [_kolmogorov(ours[..., c].ravel(), theirs[..., c].ravel()) for c in range(ours.shape[2])]
    return Difference(np.array(distance), np.abs(_autocorrelation(ours) - _autocorrelation(theirs)))


def generation_report(
    real: ArrayLike | Tensor,
    synthetic: ArrayLike | Tensor,
    *,
    seed: int = 0,
    repeats: int = 3,
    hidden: int | None = None,
    iterations: int = 300,
    batch_size: int = 128,
) -> dict[str, Any]:
    """Return all scores of synthetic (M, T, C) against real (N, T, C) windows, those that are trained `repeats` times.

    kolmogorov, autocorrelation: of each channel, as in `marginal_difference`, the latter's mean over the lags.
    discriminative, predictive: of each field of `Discrimination` and `Prediction`, the mean and the standard deviation
    (sd) over the seeds seed, seed + 1, ..., which settle splits, first weights and batches. With N = M = 1000, T = 24
    and C = 5 it takes half a minute of one core a repeat. Raises what these raise, OptionError for less than 2 repeats.
    """
    _check(2, repeats=repeats)
    _check(0, seed=seed)
    scores: dict[str, Callable[..., Any]] = {"discriminative": discriminative_score, "predictive": predictive_score}
    chosen = {"hidden": hidden, "iterations": iterations, "batch_size": batch_size}
    difference = marginal_difference(real, synthetic)
    report: dict[str, Any] = {"kolmogorov": difference.kolmogorov.tolist()}
    report["autocorrelation"] = difference.autocorrelation.mean(axis=1).tolist()
    for name, score in scores.items():
        found = [score(real, synthetic, seed=seed + k, **chosen) for k in range(repeats)]
        mean, sd = np.mean(found, axis=0).tolist(), np.std(found, axis=0, ddof=1).tolist()
        report[name] = {field: {"mean": mean[k], "sd": sd[k]} for k, field in enumerate(found[0]._fields)}
    return report


# ---- what is given ----


class _Training(NamedTuple):
    hidden: int
    iterations: int
    batch_size: int


def _training(hidden: int | None, iterations: int, batch_size: int, seed: int, channels: int) -> _Training:
    training = _Training(min(max(16, 2 * channels), 64) if hidden is None else hidden, iterations, batch_size)
    _check(1, **training._asdict())
    _check(0, seed=seed)
    return training


def _check(least: int, **given: Any) -> None:
    for name, value in given.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise OptionError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def _pair(real: ArrayLike | Tensor, synthetic: ArrayLike | Tensor, least: int) -> tuple[Floats, Floats]:
    ours, theirs = _windows(real, "real", least), _windows(synthetic, "synthetic", least)
    if ours.shape[1:] != theirs.shape[1:]:
        raise DataError(
            f"real windows are {ours.shape[1]} steps of {ours.shape[2]} channel(s), synthetic ones {theirs.shape[1]} "
            f"of {theirs.shape[2]}; both must be alike. Cut or generate them anew."
        )
    return ours, theirs


def _windows(given: ArrayLike | Tensor, name: str, least: int) -> Floats:
    try:
        values = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} is no array of numbers. Give windows of the same length, (N, T, C).") from None
    if values.ndim != 3 or values.shape[1] < 2 or not values.shape[2]:
        raise DataError(f"{name} has the shape {values.shape}. Give windows (N, T, C) of at least 2 steps.")
    if len(values) < least:
        raise DataError(f"{name} has {len(values)} window(s); {least} are needed at least. Give more windows.")
    bad = np.count_nonzero(~np.isfinite(values).all(axis=(1, 2)))
    if bad:
        raise DataError(
            f"{bad} of {len(values)} {name} windows hold missing or infinite values. Leave them out or fill them first."
        )
    return values


def _scaled(real: Floats, synthetic: Floats) -> tuple[Tensor, Tensor]:
    """Return both in float32, by the least and greatest real value; a channel that never varies keeps its unit."""
    low, high = real.min(axis=(0, 1)), real.max(axis=(0, 1))
    width = np.where(high > low, high - low, 1.0)
    with np.errstate(over="ignore"):
        scaled = (synthetic - low) / width
    farthest = np.abs(scaled).max()
    if farthest > FAR:
        raise DataError(
            f"synthetic values lie up to {farthest:.0e} real ranges away, too far to train on: what generated them has "
            "diverged. Train it anew, with a lower learning rate."
        )
    return torch.from_numpy(((real - low) / width).astype(np.float32)), torch.from_numpy(scaled.astype(np.float32))


# ---- what is trained ----


class _Reader(nn.Module):
    """Two GRU layers and a linear head: windows scaled to [0, 1], (B, T, C), to a number at each step, (B, T, 1)."""

    def __init__(self, channels: int, training: _Training) -> None:
        super().__init__()
        self.layers = nn.GRU(channels, training.hidden, num_layers=2, batch_first=True, dtype=torch.float32)
        self.head = nn.Linear(training.hidden, 1, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(STRETCH * (x - 0.5))[0])


@torch.no_grad()
def _read(reader: _Reader, windows: Tensor) -> Tensor:
    return torch.cat([reader(some) for some in windows.split(1024)])


@contextlib.contextmanager
def _apart(seed: int) -> Iterator[None]:
    """Draw from the seed and learn within, whatever modes the caller has set, and leave those and the state alone."""
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),  # enables gradients, too
        torch.autocast("cpu", enabled=False),
        torch.device("cpu"),
    ):
        torch.default_generator.manual_seed(int(seed))  # torch.manual_seed would reach every device
        yield


def _split(windows: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return a random share of the windows (N, T, C), and the others."""
    some, others = torch.randperm(len(windows)).tensor_split([round(share * len(windows))])
    return windows[some], windows[others]


def _drawn(windows: Tensor, training: _Training) -> Tensor:
    return windows[torch.randint(len(windows), (training.batch_size,))]


def _descend(reader: _Reader, loss: Callable[[], Tensor], training: _Training) -> None:
    optimizer = torch.optim.Adam(reader.parameters(), lr=RATE)
    for _ in range(training.iterations):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def _recognised(real: Tensor, synthetic: Tensor, training: _Training) -> tuple[float, float]:
    """Return the shares of real and of synthetic windows held back that a classifier takes for what they are."""
    test_real, train_real = _split(real, HELD_BACK)
    test_synthetic, train_synthetic = _split(synthetic, HELD_BACK)
    reader = _Reader(real.shape[2], training)
    truth = torch.repeat_interleave(torch.tensor([1.0, 0.0]), training.batch_size)

    def loss() -> Tensor:
        windows = torch.cat([_drawn(train_real, training), _drawn(train_synthetic, training)])
        return functional.binary_cross_entropy_with_logits(reader(windows)[:, -1, 0], truth)

    _descend(reader, loss, training)
    taken_for_real = [(_read(reader, windows)[:, -1] > 0).double() for windows in (test_real, test_synthetic)]
    return taken_for_real[0].mean().item(), 1 - taken_for_real[1].mean().item()


def _next(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is known and what comes next at each step: (N, T - 1, max(C - 1, 1)) and (N, T - 1, 1)."""
    known = windows[:, :-1, :-1] if windows.shape[2] > 1 else windows[:, :-1]
    return known, windows[:, 1:, -1:]


def _error(train: Tensor, test: Tensor, training: _Training) -> float:
    """Return the mean absolute error on test of a predictor that has learned from train."""
    known, following = _next(test)
    reader = _Reader(known.shape[2], training)

    def loss() -> Tensor:
        seen, coming = _next(_drawn(train, training))
        return functional.l1_loss(torch.sigmoid(reader(seen)), coming)

    _descend(reader, loss, training)
    return functional.l1_loss(torch.sigmoid(_read(reader, known)), following).item()


# ---- what is only counted ----


def _kolmogorov(one: Floats, other: Floats) -> float:
    """Return the largest difference of the distribution functions of two samples."""
    values = np.concatenate([one, other])
    below = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def _autocorrelation(windows: Floats) -> Floats:
    """Return the autocorrelation (C, L) of windows (N, T, C) at lags 1 to T // 2, NaN where a channel never varies."""
    steps = windows.shape[1]
    varies = windows.min(axis=(0, 1)) < windows.max(axis=(0, 1))
    apart = windows - windows.mean(axis=(0, 1))
    apart /= np.where(varies, np.abs(apart).max(axis=(0, 1)), 1.0)  # squares of large or tiny deviations would be lost
    power = (np.abs(np.fft.rfft(apart, 2 * steps, axis=1)) ** 2).sum(axis=0)
    covariance = np.fft.irfft(power, 2 * steps, axis=0)[: steps // 2 + 1].T / (steps - np.arange(steps // 2 + 1))
    covariance[~varies] = np.nan
    return covariance[:, 1:] / covariance[:, :1]
