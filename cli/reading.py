"""From a command's options to data, models and what they find."""

from __future__ import annotations

__all__ = [
    "MODEL_NAME",
    "NO_EVENTS",
    "dates_alone",
    "found_by",
    "load",
    "name_of",
    "pieces_of",
    "read_from",
    "reading_of",
    "reread",
    "set_limit",
    "tally_of",
    "warn_of_drift",
    "warn_of_limit",
]

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pandas as pd

from seqae.anomaly.detector import Detection, Detector
from seqae.anomaly.drift import Tally, warning
from seqae.anomaly.events import EVENT_COLUMNS
from seqae.anomaly.fleets.folder import MODELS, holds_fleet
from seqae.anomaly.thresholds.rules import THRESHOLDS
from seqae.cli.command import Session
from seqae.cli.options import READING
from seqae.datasets.bundled import BUNDLED
from seqae.datasets.chunks import CHUNK_ROWS, Piece, in_pieces, read_csv_chunks
from seqae.datasets.tables import read_table
from seqae.errors import DataError, ModelFileError, SeqaeWarning, UserError
from seqae.series import Panel, Series, as_panel
from seqae.timeaxis import spell

CALENDAR = "calendar"
NO_EVENTS = pd.DataFrame({name: [] for name in EVENT_COLUMNS})
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
    return _read(session, data, reading_of(settings), leave_out=bool(settings.get("each")))


def _read(session: Session, data: str | None, reading: Mapping[str, Any], *, leave_out: bool = False) -> Series | Panel:
    if data is None and reading:
        names = ", ".join(sorted(reading))
        raise click.UsageError(f"options that read a table ({names}) were given, but no DATA. Name a file to read.")
    with _in_own_words():
        given = BUNDLED[DEFAULT_DATA]() if data is None else read_table(data, leave_out=leave_out, **reading)
    for series in as_panel(given):
        step = "" if series.step is None else f", one every {spell(series.step)}"
        inserted = 0 if series.present is None else int((~series.present).sum())
        missing = float((~series.observed).mean())
        session.detail(
            f"read {series.name}: {len(series)} rows{step}, "
            f"{missing:.1%} of the values of {', '.join(series.channels)} missing"
        )
        if inserted:
            session.say(_gaps(series.name, inserted))
    return given


def reread(
    session: Session, detector: Detector, data: str | None, settings: Mapping[str, Any], *, to_train: bool = False,
    leave_out: bool = False,
) -> Series | Panel:  # fmt: skip
    """Read a table for a trained model: as in its training, but for the options that are given now.

    to_train: whether labels are needed again. leave_out: what `read_table` does with files it cannot read.
    """
    given = reading_of(settings)
    if data is None:
        channels = detector.preparation.channels
        if set(channels) != set(BUNDLED[DEFAULT_DATA]().channels):
            raise DataError(
                f"no DATA is named, and the model was trained on {', '.join(channels)}. Name a file to read."
            )
        return _read(session, None, given)
    return _read(session, data, _rereading(detector, data, settings, to_train=to_train), leave_out=leave_out)


def _rereading(detector: Detector, data: str, settings: Mapping[str, Any], *, to_train: bool = False) -> dict[str, Any]:
    """Return how to read a table for a trained model."""
    given, stored = reading_of(settings), dict(detector.reading)
    if data != "-" and Path(data).is_dir():
        stored.pop("id", None)  # what parted the series of one table: a folder has one in each file
    if "label" in stored and "label" not in given and not to_train:
        # New data need no labels; so that a column of them is no channel either, the channels are named.
        del stored["label"]
        stored = {**stored, "columns": list(detector.preparation.channels), "drop": None}
    return {**stored, **given}


def load(path: Path, device: str) -> Detector:
    """Load a model file, or that of a run folder."""
    if holds_fleet(path):
        raise ModelFileError(f"{path} holds a model for each series. Name one of them, in {path / MODELS}.")
    return Detector.load(path / MODEL_NAME if path.is_dir() else path, device=device)


def pieces_of(
    session: Session, detector: Detector, data: str | None, settings: Mapping[str, Any], chunk_rows: int | None
) -> Iterator[Series] | None:
    """Return a CSV file's series in pieces of so many rows; None where it is to be read whole.

    None rows: pieces for a file above 100 MB, unless an option asks for the whole file.
    """
    if data is None or chunk_rows == 0:
        return None
    reading = _rereading(detector, data, settings)
    if chunk_rows is None:
        asked, calibration = settings["threshold"], detector.calibration
        kind = THRESHOLDS[asked] if asked else None if calibration is None else type(calibration.threshold)
        needs_all = kind is not None and kind.batchwise
        if needs_all or not in_pieces(data, reading):
            return None
        session.detail(f"{data} is read in pieces of {CHUNK_ROWS} rows")
    step = detector.preparation.step
    with _in_own_words():
        pieces = read_csv_chunks(
            data, rows=chunk_rows or CHUNK_ROWS, step=None if step is None else step["text"], **reading
        )
    return _series_of(session, pieces)


def _series_of(session: Session, pieces: Iterator[Piece]) -> Iterator[Series]:
    name, inserted = "", 0
    with _in_own_words():
        for piece in pieces:
            name = piece.series.name
            inserted += 0 if piece.series.present is None else int((~piece.series.present).sum())
            yield piece.series
    if inserted:
        session.say(_gaps(name, inserted))


def _gaps(name: str, inserted: int) -> str:
    return f"{name}: {inserted} steps of its time axis have no row; they count as missing."


@contextlib.contextmanager
def _in_own_words() -> Iterator[None]:
    """Name the command line's --condition where the library's readers name their covariates."""
    try:
        yield
    except UserError as problem:
        raise type(problem)(str(problem).replace("--covariates", "--condition")) from problem


def found_by(detector: Detector, given: Series | Panel, session: Session, settings: Mapping[str, Any]) -> Detection:
    """Return scores and events by the threshold that the options ask for.

    A model that was trained without calibration gives only scores, and a warning.
    """
    running = {"batch_size": settings["batch_size"], "progress": session.progress}
    set_limit(session, detector, settings)
    if detector.calibration is not None:
        found = detector.detect(given, **{name: settings[name] for name in ("merge", "min_length")}, **running)
    else:
        found = Detection(detector.score(given, **running), NO_EVENTS, math.inf)
    warn_of_limit(detector)
    for series in as_panel(given):
        tally = tally_of(detector)
        if tally is not None:
            tally.add(series)
        warn_of_drift(tally, series.name)
    return found


def tally_of(detector: Detector) -> Tally | None:
    """Return what counts new values to compare them with the training data's."""
    reference = detector.preparation.reference
    return None if reference is None else Tally(reference)


def warn_of_drift(tally: Tally | None, name: str) -> None:
    """Warn where the values counted have left what those of the training data were like."""
    told = None if tally is None else warning(tally.table(), name)
    if told is not None:
        warnings.warn(told, SeqaeWarning, stacklevel=2)


def dates_alone(detector: Detector) -> bool | None:
    """Tell how stamps are to be written: False where rows are less than a day apart, None where that is not known."""
    seconds = (detector.preparation.step or {}).get("seconds")
    return None if seconds is None or seconds >= 86_400 else False


def set_limit(session: Session, detector: Detector, settings: Mapping[str, Any]) -> None:
    """Set a detector's threshold anew where the options ask for it."""
    chosen = {name: settings[name] for name in ("threshold", "alpha")}
    if settings["calibrate"] is not None:
        detector.calibrate(reread(session, detector, settings["calibrate"], settings), **chosen)
    elif detector.calibration is not None and any(value is not None for value in chosen.values()):
        detector.calibrate(**chosen)


def warn_of_limit(detector: Detector) -> None:
    """Warn where nothing can be flagged."""
    threshold = None if detector.calibration is None else detector.calibration.threshold
    if threshold is None:
        said = (
            "this model was trained with --calibration 0 and has no threshold: nothing is flagged. Give normal data "
            "with --calibrate."
        )
    elif math.isinf(threshold.value):
        said = (
            f"nothing can be flagged: the threshold at alpha {threshold.alpha:g} is out of reach of "
            f"{len(threshold.scores)} calibration scores. Give a larger --alpha, or more rows by --calibrate."
        )
    else:
        return
    warnings.warn(said, SeqaeWarning, stacklevel=2)
