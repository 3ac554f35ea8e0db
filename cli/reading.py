"""From a command's options to data, models and what they find."""

from __future__ import annotations

__all__ = ["MODEL_NAME", "found_by", "load", "name_of", "read_from", "reading_of", "reread"]

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pandas as pd

from seqae.anomaly.detector import Detection, Detector
from seqae.anomaly.events import EVENT_COLUMNS
from seqae.cli.command import Session
from seqae.cli.options import READING
from seqae.datasets.bundled import BUNDLED
from seqae.datasets.tables import read_table
from seqae.errors import DataError, SeqaeWarning, UserError
from seqae.series import Panel, Series, as_panel
from seqae.timeaxis import spell

CALENDAR = "calendar"
DEFAULT_DATA = "elnino"
MODEL_NAME = "model.safetensors"


def name_of(data: str | None) -> str:
    """Return what data are called where they give a name to something: a file's stem, stdin, or elnino."""
    if data is None:
        return DEFAULT_DATA
    return "stdin" if data == "-" else Path(data).name.split(".")[0] or "data"


def reading_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the options ask of `read_table`; the columns of a condition are its covariates."""
    reading = {name: value for name, value in READING.pick(settings).items() if value is not None}
    if reading.pop("no_time"):
        if "time" in reading:
            raise click.UsageError("--time and --no-time contradict each other. Give one of them.")
        reading["time"] = False
    covariates = [name for name in settings.get("condition") or () if name != CALENDAR]
    return reading | ({"covariates": covariates} if covariates else {})


def read_from(session: Session, data: str | None, settings: Mapping[str, Any]) -> Series | Panel:
    """Read a table, a folder of tables or stdin as the options say; where nothing is named, the bundled series."""
    return _read(session, data, reading_of(settings))


def _read(session: Session, data: str | None, reading: Mapping[str, Any]) -> Series | Panel:
    if data is None and reading:
        names = ", ".join(sorted(reading))
        raise click.UsageError(f"options that read a table ({names}) were given, but no DATA. Name a file to read.")
    try:
        given = BUNDLED[DEFAULT_DATA]() if data is None else read_table(data, **reading)
    except UserError as problem:  # what the library calls covariates is the command line's --condition
        raise type(problem)(str(problem).replace("--covariates", "--condition")) from problem
    for series in as_panel(given):
        step = "" if series.step is None else f", one every {spell(series.step)}"
        inserted = 0 if series.present is None else int((~series.present).sum())
        missing = float((~series.observed).mean())
        session.detail(
            f"read {series.name}: {len(series)} rows{step}, "
            f"{missing:.1%} of the values of {', '.join(series.channels)} missing"
        )
        if inserted:
            session.say(f"{series.name}: {inserted} steps of its time axis have no row; they count as missing.")
    return given


def reread(session: Session, detector: Detector, data: str | None, settings: Mapping[str, Any]) -> Series | Panel:
    """Read a table for a trained model: as in its training, but for the options that are given now."""
    given = reading_of(settings)
    if data is None:
        channels = detector.preparation.channels
        if set(channels) != set(BUNDLED[DEFAULT_DATA]().channels):
            raise DataError(
                f"no DATA is named, and the model was trained on {', '.join(channels)}. Name a file to read."
            )
        return _read(session, None, given)
    stored = dict(detector.reading)
    if "label" in stored and "label" not in given:
        # New data need no labels; so that a column of them is no channel either, the channels are named.
        del stored["label"]
        stored = {**stored, "columns": list(detector.preparation.channels), "drop": None}
    return _read(session, data, {**stored, **given})


def load(path: Path, device: str) -> Detector:
    """Load a model file, or that of a run folder."""
    return Detector.load(path / MODEL_NAME if path.is_dir() else path, device=device)


def found_by(detector: Detector, given: Series | Panel, session: Session, settings: Mapping[str, Any]) -> Detection:
    """Return scores and events by the threshold that the options ask for.

    A model that was trained without calibration gives only scores, and a warning.
    """
    _limit(session, detector, settings)
    running = {"batch_size": settings["batch_size"], "progress": session.progress}
    if detector.calibration is not None:
        rules = {name: settings[name] for name in ("merge", "min_length")}
        found = detector.detect(given, **rules, **running)
        threshold = detector.calibration.threshold
        if math.isinf(threshold.value):
            warnings.warn(
                f"nothing can be flagged: the threshold at alpha {threshold.alpha:g} is out of reach of "
                f"{len(threshold.scores)} calibration scores. Give a larger --alpha, or more rows by --calibrate.",
                SeqaeWarning,
                stacklevel=2,
            )
        return found
    warnings.warn(
        "this model was trained with --calibration 0 and has no threshold: nothing is flagged. Give normal data with "
        "--calibrate.",
        SeqaeWarning,
        stacklevel=2,
    )
    return Detection(detector.score(given, **running), pd.DataFrame({name: [] for name in EVENT_COLUMNS}), math.inf)


def _limit(session: Session, detector: Detector, settings: Mapping[str, Any]) -> None:
    """Set a detector's threshold anew, where the options ask for it."""
    chosen = {name: settings[name] for name in ("threshold", "alpha")}
    if settings["calibrate"] is not None:
        detector.calibrate(reread(session, detector, settings["calibrate"], settings), **chosen)
    elif detector.calibration is not None and any(value is not None for value in chosen.values()):
        detector.calibrate(**chosen)
