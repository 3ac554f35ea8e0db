"""Disentanglement: whether each factor that made the data sits in one latent, and each latent holds one factor.

latents (N, Z): float, the code of each picture or window (for a VAE the mean of its posterior); factors (N, F): whole
numbers, which value of each factor made it, to be compared for being equal only. N pictures, Z latent dimensions,
F factors; higher is better in all measures. Constant latents count as what they are: dimensions that know nothing.

A factor with one value among the N has nothing to be found: it is left out, with a SeqaeWarning from the single
measures and by name in the result of `disentanglement`. Every function raises DataError for arrays of other shapes or
lengths, for missing or infinite latents, and where no factor is left.
"""

from __future__ import annotations

__all__ = ["DCI", "dci", "disentanglement", "mig", "sap"]

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqae.errors import DataError, OptionError, SeqaeWarning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LEAF = 10  # rows in a leaf of a tree of `dci`
_TREES = 50


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness."""

    disentanglement: float
    completeness: float
    informativeness: float


def mig(latents: ArrayLike, factors: ArrayLike, bins: int = 20) -> float:
    """Return the mutual information gap, 0 to 1 (Chen et al., "Isolating Sources of Disentanglement", 2018, section 4).

    The mean over factors of the gap between the two latents that tell most about the factor, in mutual information
    over the factor's entropy; a single latent is compared with 0. Estimator as in Locatello et al. (ICML 2019,
    disentanglement_lib): each latent is cut into `bins` of equal width over its range, and the mutual information is
    that of the counts. It is too high by about (bins − 1)(values − 1) / 2N nats, for all latents alike.
    """
    values, codes = _checked(latents, factors)
    return float(_mig_gaps(_mutual_information(values, codes, bins), codes).mean())


def sap(latents: ArrayLike, factors: ArrayLike, *, train_share: float = 2 / 3, seed: int = 0) -> float:
    """Return the separated attribute predictability, 0 to 1 (Kumar et al., ICLR 2018, section 3).

    The mean over factors of the gap in test accuracy between the two single latents that predict the factor best.
    Protocol of disentanglement_lib for discrete factors: a linear SVM (C = 0.01, balanced classes), by default trained
    on two thirds (there 10,000 and 5,000 rows). A single latent is compared with a constant one. Compare like with like
    only: one threshold for each value against the rest cannot cut out the middle ones, so that perfect latents score
    well below 1 for factors of more than three values; and the SVM sees each latent as it is, so that the score depends
    on its scale and offset, which should be about those of a standard normal prior.
    """
    values, codes = _checked(latents, factors)
    return float(_gaps(_svm_accuracies(values, codes, train_share, seed)).mean())


def dci(latents: ArrayLike, factors: ArrayLike, *, train_share: float = 2 / 3, seed: int = 0) -> DCI:
    """Return disentanglement, completeness, informativeness, each 0 to 1 (Eastwood & Williams, ICLR 2018, section 2).

    One forest per factor predicts its value from all latents, by default trained on two thirds. From its importances
    come: disentanglement, 1 − the entropy of each latent's importances over factors, the mean over latents weighted by
    their importance; completeness, 1 − the entropy of each factor's importances over latents, the mean over factors.
    With one factor (one latent) the first (second) is 1 where anything is found. The importances for a factor sum to 1
    however badly it is predicted, so read both beside informativeness: the mean accuracy on the test rows, which is to
    be compared with `chance` in the result of `disentanglement`.

    The forest: 50 extremely randomised trees, where the paper has random forests and disentanglement_lib boosted trees,
    which take ten times as long. Each split sees all latents, else useless ones are split on where the right one is not
    on offer; leaves hold at least 10 rows, else splits on noise fill the importances. Of forests that do both, these
    change least with N.
    """
    values, codes = _checked(latents, factors)
    return _dci(*_forests(values, codes, train_share, seed)[:2])


def disentanglement(
    latents: ArrayLike,
    factors: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    bins: int = 20,
    train_share: float = 2 / 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Return all measures, and what each factor and each latent adds to them, as a dict that JSON can hold.

    names (F,) of the factors, by default "factor 1", ...

    mig, sap, disentanglement, completeness, informativeness   as from `mig`, `sap` and `dci`
    factors    by name: its `mig`, `sap`, `completeness` and `informativeness`, of which the above are the means; the
               `latent` (number, from 0) that tells most about it; `entropy` in nats; `chance`, the accuracy of always
               guessing the value that is most frequent in training
    latents    for each: its `disentanglement`, and its `weight` in the mean of them, which is 0 for one that is unused
    left_out   names of the factors with only one value
    """
    values, codes = _checked_arrays(latents, factors)
    titles = _checked_names(names, codes.shape[1])
    varied = _varied(codes)
    codes, kept = codes[:, varied], [title for title, one in zip(titles, varied, strict=True) if one]
    information = _mutual_information(values, codes, bins)
    accuracies = _svm_accuracies(values, codes, train_share, seed)
    importances, informativeness, chance = _forests(values, codes, train_share, seed)
    parts = {
        "mig": _mig_gaps(information, codes),
        "sap": _gaps(accuracies),
        "completeness": _focus(importances),
        "informativeness": informativeness,
        "entropy": _entropies(codes),
        "chance": chance,
    }
    return {
        "mig": float(parts["mig"].mean()),
        "sap": float(parts["sap"].mean()),
        **_dci(importances, informativeness)._asdict(),
        "factors": {
            title: {"latent": int(information[:, k].argmax()), **{part: float(of[k]) for part, of in parts.items()}}
            for k, title in enumerate(kept)
        },
        "latents": [
            {"disentanglement": float(one), "weight": float(weight)}
            for one, weight in zip(_focus(importances.T), _weights(importances), strict=True)
        ],
        "left_out": [title for title, one in zip(titles, varied, strict=True) if not one],
    }


# ---- mutual information ----


def _mutual_information(values: Floats, codes: Ints, bins: int) -> Floats:
    """Return the mutual information of each latent's bins and each factor, (Z, F), in nats."""
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 2:
        raise OptionError(f"bins={bins!r} is not possible. Give a whole number of at least 2.")
    binned = np.empty(values.shape, dtype=np.int64)
    for j, latent in enumerate(values.T):
        edges = np.linspace(latent.min(), latent.max(), bins + 1)[1:-1]
        binned[:, j] = np.searchsorted(edges, latent, side="right")
    both = [[_entropy(latent + bins * code) for code in codes.T] for latent in binned.T]
    # The information of what is independent is 0, which a difference of entropies can miss by its rounding.
    return np.maximum(_entropies(binned)[:, None] + _entropies(codes) - np.array(both), 0)


def _entropies(codes: Ints) -> Floats:
    return np.array([_entropy(code) for code in codes.T])


def _entropy(code: Ints) -> float:
    shares = np.unique(code, return_counts=True)[1] / len(code)
    return float(-(shares * np.log(shares)).sum())


def _mig_gaps(information: Floats, codes: Ints) -> Floats:
    return _gaps(np.vstack([information, np.zeros(codes.shape[1])])) / _entropies(codes)


def _gaps(scores: Floats) -> Floats:
    """Return by how much the best row of each column is above the second best, (F,)."""
    second, best = np.sort(scores, axis=0)[-2:]
    return best - second


# ---- predictors ----


def _svm_accuracies(values: Floats, codes: Ints, train_share: float, seed: int) -> Floats:
    """Return the test accuracy of each latent alone for each factor, (Z, F); a single one has a constant beside it."""
    from sklearn.svm import LinearSVC

    train, test = _parts(codes, train_share, seed)
    if values.shape[1] == 1:
        values = np.hstack([values, np.zeros((len(values), 1))])
    accuracies = np.empty((values.shape[1], codes.shape[1]))
    for j, k in np.ndindex(accuracies.shape):
        latent, code = values[:, j : j + 1], codes[:, k]
        # The seed changes nothing here; without one the global random state would be drawn from.
        machine = LinearSVC(C=0.01, class_weight="balanced", dual=False, random_state=seed)
        accuracies[j, k] = np.mean(machine.fit(latent[train], code[train]).predict(latent[test]) == code[test])
    return accuracies


def _forests(values: Floats, codes: Ints, train_share: float, seed: int) -> tuple[Floats, Floats, Floats]:
    """Return the importances (Z, F), and the test accuracies (F,) of the forests and of the most frequent value."""
    from sklearn.ensemble import ExtraTreesClassifier

    train, test = _parts(codes, train_share, seed)
    if len(train) < 2 * _LEAF:
        raise DataError(f"{len(train)} rows to train on are too few for DCI, which needs {2 * _LEAF}. Give more rows.")
    importances, accuracies, chance = [], [], []
    for code in codes.T:
        forest = ExtraTreesClassifier(_TREES, max_features=None, min_samples_leaf=_LEAF, random_state=seed)
        forest.fit(values[train], code[train])
        importances.append(forest.feature_importances_)
        accuracies.append(np.mean(forest.predict(values[test]) == code[test]))
        chance.append(np.mean(code[test] == np.bincount(code[train]).argmax()))
    return np.stack(importances, axis=1), np.array(accuracies), np.array(chance)


def _dci(importances: Floats, accuracies: Floats) -> DCI:
    held = float((_weights(importances) * _focus(importances.T)).sum())
    return DCI(held, float(_focus(importances).mean()), float(accuracies.mean()))


def _focus(weights: Floats) -> Floats:
    """Return 1 − entropy of each column of (A, B) to the base A, (B,): 1 for a single weight, 0 for even or none."""
    total = weights.sum(axis=0)
    shares = weights / np.where(total > 0, total, 1)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=0)
    return np.where(total > 0, np.clip(1 - entropy / np.log(max(len(weights), 2)), 0, 1), 0.0)


def _weights(importances: Floats) -> Floats:
    """Return the share of each latent in all importances, (Z,): all 0 where nothing is of use."""
    return importances.sum(axis=1) / max(importances.sum(), np.finfo(float).tiny)


def _parts(codes: Ints, train_share: float, seed: int) -> tuple[Ints, Ints]:
    """Return the rows to train on and to test on, at random."""
    if not 0 < train_share < 1:
        raise OptionError(f"train_share={train_share!r} is not a share. Give a number between 0 and 1.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise OptionError(f"seed={seed!r} is not possible. Give a whole number from 0 to 2**32 - 1.")
    rows = np.random.default_rng(seed).permutation(len(codes))
    train, test = np.split(rows, [round(train_share * len(rows))])
    if not len(test) or not _varies(codes[train]).all():
        raise DataError(
            f"{len(train)} rows to train on and {len(test)} to test on are too few: "
            "each factor must take two values in training. Give more rows, or another train_share."
        )
    return train, test


# ---- checks ----


def _checked(latents: ArrayLike, factors: ArrayLike) -> tuple[Floats, Ints]:
    """Return the latents (N, Z), and the factors that vary, their values numbered from 0; warn of the others."""
    values, codes = _checked_arrays(latents, factors)
    varied = _varied(codes)
    if not varied.all():
        rest = ", ".join(str(k + 1) for k in np.flatnonzero(~varied))
        warnings.warn(f"left out: factor {rest} of {len(varied)} has only one value.", SeqaeWarning, stacklevel=3)
    return values, codes[:, varied]


def _checked_arrays(latents: ArrayLike, factors: ArrayLike) -> tuple[Floats, Ints]:
    values, codes = np.asarray(latents), np.asarray(factors)
    for what, array, shape in (("latents", values, "(N, Z)"), ("factors", codes, "(N, F)")):
        if array.ndim != 2 or not array.size:
            raise DataError(f"the {what} have the shape {array.shape}; they need {shape}, with a row for each picture.")
    if len(values) != len(codes):
        raise DataError(f"there are {len(values)} rows of latents and {len(codes)} of factors. Give a row for each.")
    if codes.dtype.kind not in "biu":
        raise DataError(f"the factors are of the type {codes.dtype}; they need whole numbers. Number their values.")
    if values.dtype.kind not in "biuf":
        raise DataError(f"the latents are of the type {values.dtype}; they need real numbers. Give floats.")
    values = values.astype(np.float64)
    lost = int((~np.isfinite(values)).any(axis=1).sum())
    if lost:
        raise DataError(f"{lost} of {len(values)} rows of latents are missing or infinite. Leave those rows out.")
    return values, np.stack([np.unique(code, return_inverse=True)[1] for code in codes.T], axis=1)


def _varies(codes: Ints) -> NDArray[np.bool_]:
    return np.array([len(np.unique(code)) > 1 for code in codes.T])


def _varied(codes: Ints) -> NDArray[np.bool_]:
    varied = _varies(codes)
    if not varied.any():
        raise DataError(f"none of the {codes.shape[1]} factors has more than one value. Give rows that differ in one.")
    return varied


def _checked_names(names: Sequence[str] | None, factors: int) -> list[str]:
    titles = [f"factor {k + 1}" for k in range(factors)] if names is None else [str(name) for name in names]
    if len(titles) != factors or len(set(titles)) < factors:
        raise DataError(f"there are {factors} factors, and the names {titles}. Give a different name for each factor.")
    return titles
