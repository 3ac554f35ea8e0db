"""Training a Detector's model: parts of the data, windows over them, a model, an objective, the loop."""

from __future__ import annotations

__all__ = ["Trained", "train", "variance_about"]

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqae.anomaly import settings
from seqae.anomaly.doubts import warn_of_codes, warn_of_short
from seqae.anomaly.pipeline import Parts, Preparation, cut
from seqae.errors import DataError, OptionError, choose
from seqae.models import MODELS, Autoencoder
from seqae.nn.likelihoods import Likelihood
from seqae.objectives import Objective
from seqae.periods import WindowChoice, choose_window
from seqae.series import Panel, Series
from seqae.training import loop
from seqae.training.devices import resolve_device
from seqae.training.schedules import FORCINGS, SCHEDULES
from seqae.training.tracking import History
from seqae.windows import WindowSet

_BLOCK = 1 << 16
"""Rows looked at in one go where a look needs room of its own."""


class Trained(NamedTuple):
    """A trained model with what it was trained on."""

    model: Autoencoder
    preparation: Preparation
    parts: Parts
    history: History
    window: WindowChoice
    reference: Callable[[], WindowSet]
    """Gives every window of the part that it was fitted to, for what score heads learn."""


def train(
    options: Mapping[str, Any], panel: Panel, *, validation: float, calibration: float, train_stride: int | None,
    min_observed: float, beta: float, beta_schedule: str, warmup: float, free_bits: float, noise: str | None,
    noise_level: float, importance_samples: int, teacher_forcing: float, forcing_schedule: str, forcing_epochs: float,
    device: str | torch.device, seed: int, start: tuple[Autoencoder, Preparation] | None = None, **running: Any,
) -> Trained:  # fmt: skip
    """Train the model that a Detector's options describe; the arguments are those of `Detector.fit`.

    start: a model to go on from, with its preparation, whose conditions are kept; the scaling is that of the new data.
    running: what goes to the loop as it is. Every part of the data is looked at before the first epoch, so that what
    would stop the calibration stops the work at its start.
    """
    warn_of_codes(panel)
    condition = None if start else default_condition(options["model"], options["condition"], panel)
    choice, place = window_of(options["window"], panel), resolve_device(device)
    window = choice.window
    settings.check({**options, "window": window})
    parts = cut(panel, window, validation=validation, calibration=calibration)
    warn_of_short(panel, parts, window)
    # A likelihood of [0, 1] has no density outside it, so its range must hold what is held back, too.
    scaled = panel if settings.is_of_unit(options["likelihood"]) else parts.fit
    preparation = Preparation.fit(parts.fit, scaled, panel, scaling=options["scaling"], condition=condition)
    preparation = replace(preparation, min_observed=min_observed)
    if start is None:
        model = build_model(options, len(panel.channels), window, preparation.conditions.size, seed)
    else:
        model, preparation = copy.deepcopy(start[0]), replace(preparation, conditions=start[1].conditions)
        start[1].check_step(panel)
    preparation.check_step(panel)
    for name, part in parts._asdict().items():
        if part is not None:
            check_values(model, preparation, part, name)
    if train_stride is None:  # neighbouring windows tell little new, but an epoch wants some hundreds of them
        train_stride = max(1, min(window // 8, sum(map(len, parts.fit)) // 1000))
    common: dict[str, Any] = {"window": window, "stride": train_stride, "min_observed": min_observed, "device": place}
    windows = preparation.windows(parts.fit, phase="random", **common)
    watched = None if parts.validation is None else preparation.windows(parts.validation, tail="align", **common)
    weight = choose(SCHEDULES, beta_schedule, "beta_schedule")(beta, warmup)
    forcing = choose(FORCINGS, forcing_schedule, "forcing_schedule")(teacher_forcing, forcing_epochs)
    objective = Objective(
        beta=weight,
        free_bits=free_bits,
        noise=noise,
        noise_level=noise_level,
        teacher_forcing=forcing,
        importance_samples=importance_samples,
    )
    told = {name: str(value) for name, value in options.items()} | {"window": str(window)}
    history = loop.fit(
        model,
        windows,
        objective=objective,
        validation=watched,
        device=place,
        seed=seed,
        hyperparameters=told,
        **running,
    )
    known = partial(preparation.windows, parts.fit, **common | {"stride": 1})
    return Trained(model, preparation, parts, history, choice, known)


def window_of(given: int | None, panel: Panel) -> WindowChoice:
    """Return the window that was asked for, or one that fits the data."""
    if given is None:
        return choose_window([series.values for series in panel])
    return WindowChoice(given, None, "as given")


def default_condition(model: str | Autoencoder, condition: str | Sequence[str] | None, panel: Panel) -> Any:
    """Return the condition to fit: "calendar" for a conditional model that was told none, where there are dates."""
    if condition or not settings.takes_condition(model):
        return condition or None
    for series in panel:
        if not isinstance(series.index, pd.DatetimeIndex) or series.step is None:
            why = "no time index" if series.index is None else "no even time axis of dates"
            raise OptionError(
                f"a {model} needs a condition, and {series.name} has {why} to take the calendar from. "
                "Name the time column with --time, name columns with --condition, or use --model VAE."
            )
    return "calendar"


def build_model(options: Mapping[str, Any], channels: int, window: int, condition: int, seed: int) -> Autoencoder:
    """Return the model, its first weights drawn from the seed; a caller's own model is returned as it is."""
    if not isinstance(options["model"], str):
        return options["model"]
    arguments = {name: options[name] for name in settings.NETWORK}
    if isinstance(arguments["likelihood"], Likelihood):  # its learned scales start anew with every fit
        arguments["likelihood"] = copy.deepcopy(arguments["likelihood"])
    if settings.takes_condition(options["model"]):
        arguments |= {"condition": condition, "prior": options["prior"]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return choose(MODELS, options["model"], "model")(channels=channels, steps=window, **arguments)


def check_values(model: Autoencoder, preparation: Preparation, panel: Panel, part: str) -> None:
    """Raise DataError where a part has no observed value, or one that the likelihood refuses (in its own words)."""
    if not any(series.observed.any() for series in panel):
        raise DataError(
            f"the {part} part of the data ({sum(map(len, panel))} rows) has no observed value. "
            f"Give data without such a stretch, or another share (--{part})."
        )
    extras, device = model.likelihood.extras, next(model.parameters()).device
    for series in panel:
        for values in _pieces(series):
            scaled = torch.from_numpy(preparation.scaler.apply(values)).nan_to_num(0.0)[None].to(device)
            with torch.no_grad():
                model.likelihood(torch.zeros_like(scaled), scaled.new_zeros(*scaled.shape, extras)).log_prob(scaled)


def variance_about(preparation: Preparation, panel: Panel, fitted: Panel) -> float:
    """Return the mean squared distance of a panel's scaled values from the means of what was fitted, over channels."""

    def total(values: Callable[[NDArray[np.float32]], Any], of: Panel) -> tuple[Any, Any]:
        """Return each channel's sum of what is made of its observed values, and how many there are: (C,) each."""
        sums = counts = np.zeros(len(of.channels))
        for series in of:
            for piece in _pieces(series):
                made = values(preparation.scaler.apply(piece))
                sums, counts = sums + np.nansum(made, axis=0, dtype=np.float64), counts + (~np.isnan(made)).sum(axis=0)
        return sums, counts

    sums, counts = total(lambda scaled: scaled, fitted)
    means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    squares, given = total(lambda scaled: np.square(scaled - means), panel)
    return float(np.mean(squares[given > 0] / given[given > 0])) if (given > 0).any() else 0.0


def _pieces(series: Series) -> Iterator[NDArray]:
    """Yield a series' values (R, C), some rows at a time."""
    for low in range(0, len(series.values), _BLOCK):
        yield series.values[low : low + _BLOCK]
