"""What `train` and `detect` share: a detector from options, its training, and what is said of it."""

from __future__ import annotations

__all__ = ["continued", "fit", "new_detector", "summary"]

import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from seqae.anomaly.detector import Detector
from seqae.anomaly.settings import check
from seqae.cli.command import Session
from seqae.cli.options import NETWORK, SCORING, TRAINING
from seqae.cli.reading import load, reading_of
from seqae.errors import SeqaeWarning
from seqae.series import Panel, Series
from seqae.training.devices import device_name

NO_EPOCH = "not one epoch was completed: the model is what its first steps made of it. Give it more time."
STOPPED = {
    "finished": "all of them",
    "early": "stopped early: validation no longer improved",
    "time": "stopped by --max-time",
    "interrupted": "interrupted",
}


def new_detector(settings: Mapping[str, Any]) -> Detector:
    """Return the detector that the options describe; contradictions are refused before any data are read."""
    return Detector(**NETWORK.pick(settings), **SCORING.pick(settings))


def continued(ctx: click.Context, source: Path, settings: dict[str, Any]) -> Detector:
    """Return a trained detector to go on with; what was asked of its scores wins, and `settings` are told its own."""
    detector = load(source, "cpu")
    given = {name: ctx.get_parameter_source(name) for name in settings}
    fixed = sorted(name for name in NETWORK.names if given[name] is ParameterSource.COMMANDLINE)
    if fixed:
        names = ", ".join("--" + name.replace("_", "-") for name in fixed)
        raise click.UsageError(f"{names} and --from contradict each other: the model is that of {source}. Leave it out")
    # A settings file counts as the command line does; what stands for the bundled series' sake does not.
    told = {ParameterSource.COMMANDLINE} | ({ParameterSource.DEFAULT_MAP} if ctx.params["data"] is not None else set())
    options = detector.options | {name: settings[name] for name in SCORING.names if given[name] in told}
    settings.update({name: options[name] for name in (*NETWORK.names, *SCORING.names)})
    check(options)
    detector.options = options
    return detector


def fit(
    session: Session,
    detector: Detector,
    series: Series | Panel,
    data: str | None,
    settings: Mapping[str, Any],
    *,
    log_dir: Path | None = None,
    resume: bool = False,
    warm_start: bool = False,
) -> None:
    """Train a detector, and let it know how its data were read."""
    detector.fit(
        series,
        log_dir=log_dir,
        resume=resume,
        warm_start=warm_start,
        progress=session.progress,
        **TRAINING.pick(settings),
    )
    weights = sum(weight.numel() for weight in detector.model.parameters())
    session.detail(f"trained {weights} weights on {device_name(detector.device)}, torch {version('torch')}")
    reading = {} if data is None else reading_of(settings)
    detector.reading = detector.reading | reading if warm_start else reading
    if not detector.history["epochs"]:
        warnings.warn(NO_EPOCH, SeqaeWarning, stacklevel=2)


def summary(detector: Detector, name: str, series: Series | Panel) -> Iterator[str]:
    """Say in a few lines what was trained on what, how well it went, and what the threshold promises."""
    options, data, history = detector.options, detector.training_data, detector.history
    channels = series.channels
    many = f"{data['series']} series, " if data["series"] > 1 else ""
    width = "1 channel" if len(channels) == 1 else f"{len(channels)} channels"
    listed = ", ".join(channels[:6]) + (", ..." if len(channels) > 6 else "")
    span = f", {data['first']} to {data['last']}" if data["first"] else ""
    yield f"{options['model']} ({options['cell']}, {options['decoder_type']}) trained on {name}"
    yield f"  data         {many}{data['rows']} rows of {width} ({listed}){span}"
    parts = ", ".join(f"{rows} {part}" for part, rows in data["parts"].items() if rows)
    yield f"  rows         {parts}"
    reason = f" ({detector.window_choice['reason']})" if options["window"] is None else ""
    yield f"  window       {detector.window} steps{reason}"
    epochs = history["epochs"]
    ended = f"{len(epochs)} in {history['seconds']:.0f} s ({STOPPED[history['stopped']]})"
    if not epochs:
        yield f"  epochs       {ended}"
    else:
        best = epochs[history["best_epoch"] - 1]
        yield f"  epochs       {ended}; the best was epoch {best['epoch']}"
        part = "validation" if "validation_per_value" in best else "train"
        # the total has β and free bits in it, the bound has not
        bound = (
            best[f"{part}_per_value"] * (best[f"{part}_reconstruction"] + best[f"{part}_kl"]) / best[f"{part}_total"]
        )
        yield f"  loss         {bound:.4f} nats per value ({part}, -ELBO)"
    if detector.calibration is None:
        yield "  threshold    none: no rows were held back to calibrate on"
        return
    told = detector.describe()["threshold"]
    value = "none reachable" if told["value"] is None else f"{told['value']:.4g}"
    yield f"  threshold    {value} ({told['method']}, alpha {told['alpha']:g}, by {told['rows']} scored rows)"
    if told["false_alarm_rate"]:
        yield f"  false alarms 1 in {1 / told['false_alarm_rate']:.0f} normal rows is to be expected{_often(told)}"
        doubt = detector.calibration.doubt()
        if doubt is not None:
            yield f"               {doubt}"


def _often(told: Mapping[str, Any]) -> str:
    """Return a rate of false alarms in the unit that suits it."""
    daily = told["false_alarms_per_day"]
    if not daily:
        return ""
    if daily >= 1:
        return f": {daily:.2g} a day"
    days = 1 / daily
    return f": one every {days:.2g} days" if days < 60 else f": one every {days / 365.25:.2g} years"
