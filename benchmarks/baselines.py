"""Detectors without a neural network, all on one split and with one window: what a model has to beat.

Each entry of CLASSICAL is `fit(rows (R, C), window, seed) -> Scorer`, and a Scorer takes rows (M, C) and returns scores
(M,), higher for stranger. All see the channels in the mean and standard deviation of the rows they were fitted to, and
no missing values. A window's own score is spread over its steps and averaged over the windows that cover a step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest

import seqae
from seqae.folding import OverlapMean

MEMORY, CLUSTERS, TREES = 4000, 20, 100
"""Training windows that are kept by neighbours, PCA, clusters and trees, drawn evenly over time; clusters; trees."""
EXPLAINED = 0.95
"""Share of the training windows' variance that window-PCA explains."""
PROFILE_ROWS = 5000
"""Training rows that the matrix profile of several channels is joined with: the last ones. One channel: all."""
HELD_BACK = 0.2
"""Share of the train part that is held back from a baseline's fit for its threshold, as the Detector does."""
_BLOCK = 1 << 24
"""Values of windows that are copied at a time."""

Floats = NDArray[np.float32]
Scorer = Callable[[Floats], NDArray[np.float64]]
Fit = Callable[[Floats, int, int], Scorer]


class Scale:
    """The mean and standard deviation of each channel (R, C) of the training rows; a constant one keeps its unit."""

    def __init__(self, rows: Floats) -> None:
        spread = rows.std(axis=0, dtype=np.float64)
        self.mean = rows.mean(axis=0, dtype=np.float64)
        self.spread = np.where(spread > 1e-6 * (1 + np.abs(self.mean)), spread, 1.0)

    def __call__(self, rows: Floats) -> Floats:
        return ((rows - self.mean) / self.spread).astype(np.float32)


def moving_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the centred mean over `width` rows of values (M,), over fewer at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    low, high = np.maximum(place - width // 2, 0), np.minimum(place - width // 2 + width, len(values))
    return (total[high] - total[low]) / (high - low)


def starts_of(rows: int, window: int, step: int) -> NDArray[np.int64]:
    """Return where windows begin, `step` rows apart, the last one at the end."""
    return np.union1d(np.arange(0, rows - window + 1, step), [rows - window]).astype(np.int64)


def spread(each: NDArray[np.float64], starts: NDArray[np.int64], window: int, rows: int) -> NDArray[np.float64]:
    """Return for each of `rows` the mean score of the windows (N,) that cover it."""
    total, count = np.zeros(rows + 1), np.zeros(rows + 1)
    for edge, sign in ((starts, 1.0), (starts + window, -1.0)):
        np.add.at(total, edge, sign * each)
        np.add.at(count, edge, sign)
    return np.cumsum(total)[:-1] / np.cumsum(count)[:-1]


def step_of(window: int, channels: int) -> int:
    """Return the rows between scored windows: every one of one channel, an eighth of a window of several."""
    return 1 if channels == 1 else max(1, window // 8)


def memory(scaled: Floats, window: int, most: int = MEMORY) -> Floats:
    """Return at most `most` training windows (N, W * C), evenly over time."""
    views = seqae.sliding_windows(scaled, window)
    chosen = np.unique(np.linspace(0, len(views) - 1, min(most, len(views))).astype(int))
    return views[chosen].reshape(len(chosen), -1)


def by_window(scale: Scale, window: int, score: Callable[[Floats], NDArray[np.float64]]) -> Scorer:
    """Return the Scorer that spreads score(windows (N, W * C)) -> (N,) over the steps."""

    def scorer(rows: Floats) -> NDArray[np.float64]:
        views = seqae.sliding_windows(scale(rows), window)
        starts = starts_of(len(rows), window, step_of(window, rows.shape[1]))
        block = max(1, _BLOCK // (window * rows.shape[1]))
        parts = [starts[first : first + block] for first in range(0, len(starts), block)]
        each = np.concatenate([score(views[part].reshape(len(part), -1)) for part in parts])
        return spread(each.astype(np.float64), starts, window, len(rows))

    return scorer


def random(rows: Floats, window: int, seed: int) -> Scorer:
    """Chance."""
    generator = np.random.default_rng(seed)
    return lambda given: generator.random(len(given))


def energy(rows: Floats, window: int, seed: int) -> Scorer:
    """The mean square of the standardised values over the channels, smoothed over half a window."""
    scale = Scale(rows)
    return lambda given: moving_mean(np.mean(scale(given).astype(np.float64) ** 2, axis=1), max(1, window // 2))


def window_pca(rows: Floats, window: int, seed: int) -> Scorer:
    """What the principal components of windows leave over: folded by the overlap mean, smoothed over half a window."""
    scale = Scale(rows)
    known = memory(scale(rows), window, MEMORY // 2).astype(np.float64)
    middle = known.mean(axis=0)
    components = principal(known - middle, EXPLAINED).astype(np.float32)

    def scorer(given: Floats) -> NDArray[np.float64]:
        scaled = scale(given)
        views, (count, channels) = seqae.sliding_windows(scaled, window), scaled.shape
        starts = starts_of(count, window, step_of(window, channels))
        fold = OverlapMean(count, 1, window)
        block = max(1, _BLOCK // (window * channels))
        for first in range(0, len(starts), block):
            part = starts[first : first + block]
            centred = views[part].reshape(len(part), -1) - middle.astype(np.float32)
            left = centred - (centred @ components.T) @ components
            fold.add(part, (left**2).reshape(len(part), window, channels).mean(axis=2, keepdims=True))
        return moving_mean(fold.result()[:, 0].astype(np.float64), max(1, window // 2))

    return scorer


def principal(centred: NDArray[np.float64], explained: float) -> NDArray[np.float64]:
    """Return the fewest principal directions (K, D) of centred rows (N, D) that explain a share of their variance.

    By the smaller of the two products, (N, N) or (D, D).
    """
    rows, features = centred.shape
    wide = features > rows
    variance, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    variance, vectors = np.maximum(variance[::-1], 0.0), vectors[:, ::-1]
    total = variance.sum()
    if total <= 0:
        return np.zeros((0, features))
    # all of the variance would leave nothing over: at least one direction of the training windows stays out
    count = min(int(np.searchsorted(np.cumsum(variance) / total, explained)) + 1, min(rows, features) - 1)
    if not wide:
        return vectors[:, :count].T
    return (centred.T @ vectors[:, :count] / np.sqrt(np.maximum(variance[:count], 1e-12 * total))).T


def neighbours(rows: Floats, window: int, seed: int) -> Scorer:
    """The distance to the nearest of the kept training windows."""
    scale = Scale(rows)
    known = memory(scale(rows), window)
    squares = np.einsum("nd,nd->n", known, known)

    def nearest(windows: Floats) -> NDArray[np.float64]:
        own = np.einsum("nd,nd->n", windows, windows)
        gained = (squares - 2 * (windows @ known.T)).min(axis=1)
        return np.sqrt(np.maximum(own + gained, 0.0))

    return by_window(scale, window, nearest)


def k_means(rows: Floats, window: int, seed: int, normal: Callable[[Floats], Floats] = np.asarray) -> Scorer:
    """The distance to the nearest centre of the training windows."""
    scale = Scale(rows)
    known = normal(memory(scale(rows), window))
    model = KMeans(min(CLUSTERS, len(known)), random_state=seed, n_init=1).fit(known)
    return by_window(scale, window, lambda windows: model.transform(normal(windows)).min(axis=1))


def k_means_normalised(rows: Floats, window: int, seed: int) -> Scorer:
    """The same of windows that each have mean 0 and standard deviation 1 (KMeansAD, Yairi et al. 2001, in TSB-AD)."""
    return k_means(rows, window, seed, normalised)


def normalised(windows: Floats) -> Floats:
    """Return windows (N, D) with mean 0 and standard deviation 1 each; one that is constant as zeros."""
    deviation = windows.std(axis=1, keepdims=True)
    return np.where(deviation > 1e-6, (windows - windows.mean(axis=1, keepdims=True)) / np.maximum(deviation, 1e-6), 0)


def isolation_forest(rows: Floats, window: int, seed: int) -> Scorer:
    """How few random cuts set a window apart (Liu et al. 2008)."""
    scale = Scale(rows)
    model = IsolationForest(n_estimators=TREES, random_state=seed).fit(memory(scale(rows), window))
    return by_window(scale, window, lambda windows: -model.score_samples(windows))


def matrix_profile(rows: Floats, window: int, seed: int) -> Scorer:
    """The z-normalised distance to the nearest training window (Yeh et al. 2016), mean over the channels that vary."""
    import stumpy  # only this baseline needs it

    scale = Scale(rows)
    varying = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    known = scale(rows)[-PROFILE_ROWS if rows.shape[1] > 1 else 0 :].astype(np.float64)

    def scorer(given: Floats) -> NDArray[np.float64]:
        scaled = scale(given).astype(np.float64)
        each = np.zeros(len(scaled) - window + 1)
        for channel in varying:
            profile = stumpy.stump(scaled[:, channel], window, known[:, channel], ignore_trivial=False)[:, 0]
            each += np.nan_to_num(profile.astype(np.float64), posinf=np.sqrt(2 * window)) / len(varying)
        return spread(each, np.arange(len(each)), window, len(scaled))

    return scorer


CLASSICAL: dict[str, Fit] = {
    "random": random,
    "energy": energy,
    "window-PCA": window_pca,
    "nearest window": neighbours,
    "k-means": k_means,
    "k-means normalised": k_means_normalised,
    "matrix profile": matrix_profile,
    "isolation forest": isolation_forest,
}
BY_CHANCE = {"random", "k-means", "k-means normalised", "isolation forest"}
"""The methods that a seed changes: run with several."""


def held_back(rows: int) -> int:
    """Return the rows of a train part that a baseline is fitted to; the last fifth sets its threshold."""
    return rows - int(rows * HELD_BACK)


def scores_of(fit: Fit, train: Floats, test: Floats, window: int, seed: int) -> tuple[NDArray[np.float64], ...]:
    """Return the scores of the held-back last fifth of the train part (R, C), and those of the test part (M, C).

    Neither has missing values. Windows look back into the rows before each part, so that its first rows have scores of
    whole windows; the held-back part is scored without the test part behind it.
    """
    fitted = held_back(len(train))
    scorer = fit(train[:fitted], window, seed)
    before = min(fitted, 2 * window)
    calibration = scorer(train[fitted - before :])[before:]
    behind = np.concatenate([train[len(train) - before :], test])
    return calibration, scorer(behind)[before:]


def conformal_threshold(calibration: NDArray[np.float64], alpha: float = 0.01) -> float:
    """Return what a share `alpha` of the calibration scores exceed: their ceil((n + 1)(1 - alpha)) smallest.

    Infinite where there are too few to tell (Vovk et al. 2005, split conformal prediction).
    """
    known = np.sort(calibration[~np.isnan(calibration)])
    rank = int(np.ceil((len(known) + 1) * (1 - alpha)))
    return float(known[rank - 1]) if rank <= len(known) else float("inf")
