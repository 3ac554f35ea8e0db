"""What `train`, `score` and `detect` do for many series: a model for each, and the line that each one gets."""

from __future__ import annotations

__all__ = [
    "EACH",
    "SUMMARY",
    "check_each",
    "found_by",
    "interrupted",
    "keep",
    "load",
    "model_for",
    "new_judge",
    "pieces_of",
    "reread",
    "say_attention",
    "told",
    "train",
]

import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from seqae.anomaly.detector import Detection, Detector
from seqae.anomaly.drift import warning
from seqae.anomaly.fleets.apart import Said, pass_on
from seqae.anomaly.fleets.attention import summarise
from seqae.anomaly.fleets.fleet import Fleet, FleetDetection
from seqae.anomaly.fleets.folder import holds_fleet
from seqae.anomaly.pipeline import drop_inserted
from seqae.cli import fitting, reading
from seqae.cli.command import Group, Session, option
from seqae.cli.options import NETWORK, SCORING, SIZE, TRAINING
from seqae.cli.output import stamps, write_table
from seqae.errors import SeqaeWarning
from seqae.series import Panel, Series, as_panel

SHOWN = 10
"""Series that are shown on stderr."""
PRINTED = ("series", "ongoing", "severity", "events", "peak", "last_end", "channels", "flagged_share", "expected_share")
UNJUDGED = ("series", "score", "peak", "channels", "scored", "note")
"""What is shown of series that no threshold has judged."""
NOTE = 60
"""Characters of a note that are shown."""

EACH = Group(
    option("--each", is_flag=True, help="Train a small model for each series, not one for all.", section="Training"),
    option(
        "--jobs",
        type=SIZE,
        default=1,
        help="With --each: models to train at a time, in processes of their own.",
        section="Training",
    ),
)
SUMMARY = option(
    "--summary",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a line for each series, too: those that need attention first.",
)


def check_each(settings: Mapping[str, Any], *, resume: bool = False, source: Path | None = None) -> None:
    """Refuse options that contradict --each, or the lack of it."""
    if settings["jobs"] > 1 and not settings["each"]:
        raise click.UsageError("--jobs trains several models at a time, and without --each there is one. Add --each.")
    if settings["each"] and resume:
        raise click.UsageError("--resume goes on with a single model's run. With --each, train again with --overwrite.")
    if settings["each"] and source is not None:
        raise click.UsageError("--from goes on from a single model, and --each trains one for each series. Give one.")


def new_judge(settings: Mapping[str, Any]) -> Detector | Fleet:
    """Return what the options describe: with --each a fleet of detectors, otherwise one."""
    if settings["each"]:
        return Fleet(**NETWORK.pick(settings), **SCORING.pick(settings))
    return fitting.new_detector(settings)


def train(
    session: Session,
    judge: Detector | Fleet,
    given: Series | Panel,
    data: str | None,
    settings: Mapping[str, Any],
    *,
    log_dir: Path | None = None,
    resume: bool = False,
    warm_start: bool = False,
) -> None:
    """Train, and let the models know how their data were read; a fleet logs no single run."""
    if isinstance(judge, Detector):
        fitting.fit(session, judge, given, data, settings, log_dir=log_dir, resume=resume, warm_start=warm_start)
        return
    judge.fit(given, jobs=settings["jobs"], progress=session.progress, **TRAINING.pick(settings))
    judge.reading = {} if data is None else reading.reading_of(settings)


def interrupted(judge: Detector | Fleet) -> bool:
    """Tell whether training was stopped by Ctrl-C."""
    return judge.interrupted if isinstance(judge, Fleet) else bool(judge.history["stopped"] == "interrupted")


def keep(judge: Detector | Fleet, folder: Path) -> Path:
    """Write a run's models into its folder; return what `seqae score` takes: the model file, or a fleet's folder."""
    path = folder if isinstance(judge, Fleet) else folder / reading.MODEL_NAME
    judge.save(path)
    return path


def model_for(judge: Detector | Fleet, name: str) -> Detector:
    """Return the detector that judges a series."""
    return judge[name] if isinstance(judge, Fleet) else judge


def told(judge: Detector | Fleet, name: str, given: Series | Panel) -> Iterator[str]:
    """Say in a few lines what was trained on what, and what the thresholds promise."""
    if isinstance(judge, Detector):
        yield from fitting.summary(judge, name, given)
        return
    options, models = judge.options, list(judge.detectors.values())
    rows = sum(model.training_data["rows"] for model in models)
    windows = sorted({model.window for model in models})
    seconds = sum(model.history["seconds"] for model in models)
    kind = f"{options['model']} ({options['cell']}, {options['decoder_type']})"
    yield f"{len(models)} {kind}, one for each series of {name}"
    yield f"  data         {rows} rows of {', '.join(given.channels[:6])}{', ...' if len(given.channels) > 6 else ''}"
    yield f"  windows      {windows[0]}{f' to {windows[-1]}' if len(windows) > 1 else ''} steps"
    yield f"  training     {seconds:.0f} s in all"
    if judge.failures:
        yield f"  no model     {len(judge.failures)} series: {', '.join(judge.failures)}"
    rates = [one.threshold.false_alarm_rate for one in judge.calibrations.values()]
    if not rates:
        yield "  threshold    none: no rows were held back to calibrate on"
    elif max(rates) > 0:
        yield f"  false alarms 1 in {1 / np.mean(rates):.0f} normal rows is to be expected, over all series"


def load(path: Path, device: str) -> Detector | Fleet:
    """Load a model file, that of a run's folder, or a fleet."""
    return Fleet.load(path, device) if holds_fleet(path) else reading.load(path, device)


def reread(session: Session, judge: Detector | Fleet, data: str | None, settings: Mapping[str, Any]) -> Series | Panel:
    """Read a table for trained models: as in their training, but for the options that are given now."""
    one = next(iter(judge.detectors.values())) if isinstance(judge, Fleet) else judge
    return reading.reread(session, one, data, settings, leave_out=isinstance(judge, Fleet))


def pieces_of(
    session: Session,
    judge: Detector | Fleet,
    data: str | None,
    settings: Mapping[str, Any],
    chunk_rows: int | None,
    summary: Path | None,
) -> Iterator[Series] | None:
    """Return a CSV file in pieces, as `seqae.cli.reading.pieces_of`; None for a fleet or a summary."""
    if isinstance(judge, Detector) and summary is None:
        return reading.pieces_of(session, judge, data, settings, chunk_rows)
    if chunk_rows:
        raise click.UsageError(
            "--chunk-rows is for one model and one series; a fleet's data, and what a summary is made of, are read "
            "whole. Leave it out."
        )
    return None


def found_by(
    judge: Detector | Fleet, given: Series | Panel, session: Session, settings: Mapping[str, Any]
) -> Detection | FleetDetection:
    """Return scores and events by the thresholds that the options ask for."""
    if isinstance(judge, Detector):
        return reading.found_by(judge, given, session, settings)
    chosen = {name: settings[name] for name in ("threshold", "alpha")}
    if settings["calibrate"] is not None:
        normal = reread(session, judge, settings["calibrate"], settings)
        judge.calibrate(normal, **chosen, progress=session.progress)
    elif judge.calibrations and any(value is not None for value in chosen.values()):
        judge.calibrate(**chosen)
    running = {"batch_size": settings["batch_size"], "progress": session.progress}
    if not judge.calibrations:
        warnings.warn(
            "these models were trained with --calibration 0 and have no threshold: nothing is flagged. Give normal "
            "data with --calibrate.",
            SeqaeWarning,
            stacklevel=2,
        )
    found = judge.detect(given, merge=settings["merge"], min_length=settings["min_length"], **running)
    return _with_drift(judge, found, given)


def _with_drift(judge: Fleet, found: FleetDetection, given: Series | Panel) -> FleetDetection:
    """Warn where new data have left what those of the training were like, and add that to the remarks."""
    said: dict[str, Said] = {}
    for series in as_panel(given):
        tally = None if series.name in found.unscored else reading.tally_of(judge[series.name])
        if tally is not None:
            tally.add(series)
            text = warning(tally.table(), series.name)
            said |= {series.name: ((SeqaeWarning, text),)} if text else {}
    told = pass_on(said)
    names = [*found.remarks, *(name for name in told if name not in found.remarks)]
    return found._replace(remarks={name: [*found.remarks.get(name, []), *told.get(name, [])] for name in names})


def say_attention(
    session: Session,
    judge: Detector | Fleet,
    found: Detection | FleetDetection,
    given: Series | Panel,
    path: Path | None = None,
    *,
    merge: int | None = None,
    first: Mapping[str, int] | None = None,
) -> None:
    """Write the line that each series gets, and say the first ten where there are several series.

    first: the row of each series from which on its rows count; 0 where not given.
    """
    panel = as_panel(given)
    tables = {panel[0].name: found.scores} if isinstance(found.scores, pd.DataFrame) else found.scores
    counted = {
        series.name: drop_inserted(tables[series.name], series)
        if not first
        else drop_inserted(tables[series.name].iloc[first[series.name] :], series[first[series.name] :])
        for series in panel
    }
    named = found.events if "series" in found.events else found.events.assign(series=panel[0].name)
    summary = summarise(judge, found._replace(scores=counted, events=named), merge=merge)
    if path is not None:
        write_table(summary, path)
    if len(summary) > 1:
        for line in _readable(summary):
            session.say(line)


def _readable(summary: pd.DataFrame) -> Iterator[str]:
    """Yield the first lines of a summary as aligned text, and how many more there are."""
    if summary["expected_share"].isna().all():
        shown = summary[list(UNJUDGED)].head(SHOWN)
        short = [note if len(note) <= NOTE else note[: NOTE - 3] + "..." for note in shown["note"]]
        peaks, scores = _times(shown["peak"]), [_number(value) for value in shown["score"]]
        shown = shown.assign(peak=peaks, score=scores, note=short, scored=[f"{share:.0%}" for share in shown["scored"]])
        yield from shown.to_string(index=False).splitlines()
        if len(summary) > SHOWN:
            yield f"and {len(summary) - SHOWN} more series"
        return
    shown = summary[list(PRINTED)].head(SHOWN)
    unscored = (summary["scored"] == 0).head(SHOWN)
    shown = shown.assign(
        ongoing=[
            "not scored" if no else "yes" if on else "" for no, on in zip(unscored, shown["ongoing"], strict=True)
        ],
        severity=[_number(value) for value in shown["severity"]],
        peak=_times(shown["peak"]),
        last_end=_times(shown["last_end"]),
        flagged_share=[_number(value) for value in shown["flagged_share"]],
        expected_share=[_number(value) for value in shown["expected_share"]],
    )
    shown.columns = pd.Index([str(name).replace("_share", "").replace("_", " ") for name in shown])
    yield from shown.to_string(index=False).splitlines()
    if len(summary) > SHOWN:
        yield f"and {len(summary) - SHOWN} more series"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _times(column: pd.Series) -> list[str]:
    given = column.dropna()
    return list(pd.Series(stamps(given), index=given.index, dtype=object).reindex(column.index, fill_value="").map(str))
