"""Autoencoders and LSTM detectors of other packages, with their own defaults: requirements.txt says which, and how.

Each entry of PEERS names the package that must be importable, and a `fit` as in baselines.py. All get the case's one
window and values standardised by the rows they are fitted to; epochs, layers and learning rates are the packages' own.
Those that take single vectors get every window of one channel, and of several one every eighth of a window.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from baselines import Fit, Floats, Scale, Scorer, by_window, starts_of, step_of
from numpy.typing import NDArray

import seqae

Options = Callable[[int, int, int], dict[str, Any]]
"""The arguments of another package's detector, given window, channels and seed."""


@dataclass(frozen=True)
class Peer:
    """A detector of another package: its distribution's name, the module to be found, and how it is fitted."""

    distribution: str
    module: str
    fit: Fit

    @property
    def version(self) -> str | None:
        """The installed version; None where it is not installed."""
        if importlib.util.find_spec(self.module) is None:
            return None
        return importlib.metadata.version(self.distribution)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the packages' own progress bars and prints off the console."""
    with (
        open(os.devnull, "w") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def part(module: str, name: str) -> Callable[..., Any]:
    """Return a class of another package, imported only when it is used."""
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def on_windows(rows: Floats, window: int, seed: int, *, module: str, name: str, **options: Any) -> Scorer:
    """Fit a detector of single vectors to flattened windows; a window's score is spread over its steps."""
    seeded(seed)
    scale = Scale(rows)
    views = seqae.sliding_windows(scale(rows), window)
    starts = starts_of(len(rows), window, step_of(window, rows.shape[1]))
    known = views[starts].reshape(len(starts), -1)
    for option, value in options.items():  # {features} is known only now
        options[option] = value(known.shape[1]) if callable(value) else value
    with quiet():
        model = part(module, name)(random_state=seed, **options).fit(known)

    def score(windows: Floats) -> NDArray[np.float64]:
        with quiet():
            return np.asarray(model.decision_function(windows), dtype=np.float64)

    return by_window(scale, window, score)


def on_series(rows: Floats, window: int, seed: int, *, module: str, name: str, options: Options) -> Scorer:
    """Fit a detector of series, which windows them itself; `options` is given window, channels and seed."""
    seeded(seed)
    scale = Scale(rows)
    if not hasattr(np, "Inf"):
        np.Inf = np.inf  # the one name of NumPy 1 that the models of TSB-AD 1.5 use
    with quiet():
        model = part(module, name)(**options(window, rows.shape[1], seed))
        model.fit(scale(rows))

    def scorer(given: Floats) -> NDArray[np.float64]:
        seeded(seed)
        with quiet():
            scores = np.asarray(model.decision_function(scale(given)), dtype=np.float64).ravel()
        if len(scores) != len(given):
            raise ValueError(f"{name} gave {len(scores)} scores for {len(given)} rows")
        return scores

    return scorer


def vectors(module: str, name: str, **options: Any) -> Peer:
    """Return a detector of PyOD that takes single vectors, for windows."""
    return Peer("pyod", "pyod", partial(on_windows, module=f"pyod.models.{module}", name=name, **options))


def series(distribution: str, package: str, module: str, name: str, options: Options) -> Peer:
    """Return a detector of a package that takes series."""
    return Peer(distribution, package, partial(on_series, module=f"{package}.{module}", name=name, options=options))


PEERS: dict[str, Peer] = {
    "PyOD AutoEncoder": vectors("auto_encoder", "AutoEncoder", verbose=0, device=lambda _: torch.device("cpu")),
    "PyOD VAE": vectors("vae", "VAE", verbose=0, device=lambda _: torch.device("cpu")),
    "PyOD DeepSVDD": vectors("deep_svdd", "DeepSVDD", verbose=0, n_features=lambda features: features),
    "PyOD LSTMAD": series("pyod", "pyod", "models.ts_lstm", "LSTMAD", lambda w, c, s: {"window_size": w}),
    # Learning rates: those of TSB-AD's own table of best hyperparameters. Its AutoEncoder, which is PyOD's, does not
    # run with scikit-learn 1.9.
    "TSB-AD LSTMAD": series(
        "TSB-AD", "TSB_AD", "models.LSTMAD", "LSTMAD", lambda w, c, s: {"window_size": w, "pred_len": 1, "feats": c}
    ),
    "TSB-AD Donut": series(
        "TSB-AD", "TSB_AD", "models.Donut", "Donut",
        # 1,024 samples of every window of many channels: gigabytes, and hours a series
        lambda w, c, s: {"win_size": w, "input_c": c, **({"lr": 1e-3} if c == 1 else {"lr": 1e-4, "mc_samples": 64})},
    ),
    "TSB-AD USAD": series(
        "TSB-AD", "TSB_AD", "models.USAD", "USAD", lambda w, c, s: {"win_size": w, "feats": c, "lr": 1e-3}
    ),
    "TSB-AD OmniAnomaly": series(
        "TSB-AD", "TSB_AD", "models.OmniAnomaly", "OmniAnomaly", lambda w, c, s: {"win_size": w, "feats": c}
    ),
    "DeepOD TcnED": series(
        "deepod", "deepod", "models.time_series.tcned", "TcnED",
        lambda w, c, s: {"seq_len": w, "device": "cpu", "verbose": 0, "random_state": s},
    ),
    "dtaianomaly AutoEncoder": series(
        "dtaianomaly", "dtaianomaly", "anomaly_detection", "AutoEncoder", lambda w, c, s: {"window_size": w, "seed": s}
    ),
    "dtaianomaly LSTM": series(
        "dtaianomaly", "dtaianomaly", "anomaly_detection", "LongShortTermMemoryNetwork",
        lambda w, c, s: {"window_size": w, "seed": s},
    ),
}  # fmt: skip
