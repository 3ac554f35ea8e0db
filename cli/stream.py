"""`seqae stream`: lines in, scored lines out, one by one."""

from __future__ import annotations

__all__ = ["command"]

import csv
import io
import math
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import click
import numpy as np

from seqae.anomaly.detector import Detector
from seqae.anomaly.streams.stream import Stream
from seqae.cli.command import COMMON, CONFIG, Command, Group, Names, Session, option
from seqae.cli.lines import Lines, numbered_lines
from seqae.cli.options import MODEL, RELIMIT, REREADING, RUNNING, SIZE
from seqae.cli.output import check_output, to_json
from seqae.cli.reading import load
from seqae.errors import DataError, OptionError, SeqaeWarning

READING = "Reading the table (as for training, where not given)"


def _some(group: Group, *names: str) -> Group:
    """Return some options of a group."""
    return Group(*(add for name, add in zip(group.names, group.options, strict=True) if name in names))


AS_TRAINED = _some(
    REREADING, "time", "no_time", "label", "time_unit", "time_format", "tz", "irregular", "delimiter", "decimal"
)
LIMIT = _some(RELIMIT, "threshold", "alpha")
DEVICE = _some(RUNNING, "device")


@click.command(
    "stream",
    cls=Command,
    examples=(
        "seqae stream runs/live --only-anomalies < today.csv > alerts.csv",
        "seqae stream runs/live --json --state live.state < today.csv",
    ),
)
@MODEL
@option("--json", "as_json", is_flag=True, help="Write JSON Lines.")
@option("--only-anomalies", is_flag=True, help="Write the rows that are flagged, no others.")
@option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Go on from what FILE holds, and write it at the end.",
)
@option("--save-every", type=SIZE, default=1000, help="Rows between two writings of --state.")
@option("--series", metavar="NAME", help="Which series it is, where each has a threshold of its own.")
@option("--no-header", is_flag=True, section=READING, help="The first line is a row, too.")
@option(
    "--columns",
    type=Names(),
    section=READING,
    help="What the fields are called, with --no-header.",
    show_default="the model's channels",
)
@DEVICE
@AS_TRAINED
@LIMIT
@CONFIG
@COMMON
@click.pass_context
def command(
    ctx: click.Context,
    model: Path,
    as_json: bool,
    only_anomalies: bool,
    state: Path | None,
    save_every: int,
    series: str | None,
    no_header: bool,
    columns: tuple[str, ...] | None,
    **settings: Any,
) -> None:
    """Score rows as they come in, line by line.

    CSV lines on stdin, a header first, come back on stdout at once, each with its time, score, p_value, is_anomaly,
    coverage and each channel's part. MODEL is a model file or the folder of a run, trained with --mode causal; the
    scores are those of `seqae score`. A gap between times counts as missing rows. A line that cannot be used is named
    on stderr and skipped. Ctrl-C and SIGTERM end the stream after the line at hand.
    """
    session = ctx.ensure_object(Session)
    if columns is not None and not no_header:
        raise click.UsageError("--columns names the fields of lines without a header. Give --no-header, too")
    if settings["no_time"] and settings["time"] is not None:
        raise click.UsageError("--time and --no-time contradict each other. Give one of them")
    check_output(state, model)
    detector = load(model, settings["device"])
    _limit(detector, settings)
    known = detector.judge.calibrations
    if series is not None and series not in known:
        told = ", ".join(known) or "none, as it was trained without --per-series"
        raise OptionError(f"there is no threshold for a series {series!r}. The model has one for: {told}.")
    given = {name: settings[name] for name in AS_TRAINED.names if settings[name] is not None}
    reading = {**detector.reading, **given} | ({"time": False} if given.pop("no_time") else {})
    options: dict[str, Any] = {"series": series, "even": reading.get("irregular") != "keep"}
    if state is not None and state.exists():
        stream = Stream.load(detector, state, **options)
        session.say(f"{state}: going on after {stream.count} rows.")
    else:
        stream = Stream(detector, **options)
    names = None if not no_header else columns or _names_without_header(detector, reading)
    run = _Run(session, stream, Lines(detector.preparation, reading, names), _writer(as_json), only_anomalies)
    saved = 0
    try:
        with _Stop() as stop:
            for number, line in stop.guard(numbered_lines(sys.stdin.buffer)):
                run.take(number, line)
                if state is not None and run.scored >= saved + save_every:
                    stream.save(state)
                    saved = run.scored
    finally:
        if state is not None and run.scored > saved:
            stream.save(state)
    session.say(f"{run.scored} rows scored, {run.flagged} above the threshold, {run.skipped} lines skipped.")
    if stop.code is not None:
        ctx.exit(stop.code)


class _Run:
    """Lines on their way through a stream, and how many there were."""

    def __init__(
        self, session: Session, stream: Stream, lines: Lines, write: Callable[[list[Any]], str], only_anomalies: bool
    ) -> None:
        self.session, self.stream, self.lines, self.write = session, stream, lines, write
        self.only_anomalies = only_anomalies
        self.scored = self.flagged = self.skipped = 0

    def take(self, number: int, line: bytes | None) -> None:
        """Score one line and write what comes of it; the first may be the header."""
        if not self.lines.named and line is not None:
            self.lines.header(line)
            return
        try:
            fields = self.lines.fields(line)
        except DataError as problem:
            self._skip(number, problem)
            return
        if not self.lines.settled:
            self._begin(fields)
        try:
            read = self.lines.read(fields, self.stream.last)
            row = self.stream.count
            record = self.stream.push(read.row, read.stamp)
        except DataError as problem:
            self._skip(number, problem)
            return
        self.scored += 1
        self.flagged += bool(record["is_anomaly"])
        if record["is_anomaly"] or not self.only_anomalies:
            parts = (np.float32(value) if name.startswith("score_") else value for name, value in record.items())
            self._print(self.write([row if read.written is None else read.written, *parts]))

    def _begin(self, fields: list[str]) -> None:
        self.lines.settle(fields)
        step = self.stream.preparation.step
        if self.lines.time is None and step is not None:
            self.session.say(f"no column holds the time: every line is taken as the next step of {step['text']}.")
        name = "row" if self.lines.time is None else self.lines.time
        while name in self.stream.columns:
            name += "_"
        self._print(self.write([name, *self.stream.columns]))

    def _skip(self, number: int, problem: Exception) -> None:
        self.skipped += 1
        click.echo(f"seqae: line {number} skipped: {' '.join(str(problem).split())}", err=True)

    def _print(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


class _Stop:
    """Ends a loop on Ctrl-C or SIGTERM: at once while it waits for a line, otherwise when the line is done."""

    def __init__(self) -> None:
        self.code: int | None = None
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def guard(self, lines: Iterator[tuple[int, bytes | None]]) -> Iterator[tuple[int, bytes | None]]:
        """Yield what there is until a signal comes."""
        while True:
            try:
                self._waiting = True
                found = None if self.code is not None else next(lines, None)
            except KeyboardInterrupt:
                return
            finally:
                self._waiting = False
            if found is None:
                return
            yield found

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.code = 128 + number
        if self._waiting:
            raise KeyboardInterrupt


def _writer(as_json: bool) -> Callable[[list[Any]], str]:
    """Return what makes text of a row's values; it is given their names first."""
    return _JSONLines() if as_json else _csv_line


def _csv_line(values: list[Any]) -> str:
    text = io.StringIO()
    written = (f"{value:.9g}" if isinstance(value, float) else value for value in map(_shown, values))
    csv.writer(text, lineterminator="\n").writerow(written)
    return text.getvalue()


class _JSONLines:
    """Writes objects; the first call gives their keys."""

    def __init__(self) -> None:
        self.names: list[str] | None = None

    def __call__(self, values: list[Any]) -> str:
        if self.names is None:
            self.names = values
            return ""
        rounded = (float(f"{value:.9g}") if isinstance(value, float) else value for value in map(_shown, values))
        return to_json(dict(zip(self.names, rounded, strict=True))) + "\n"


def _shown(value: Any) -> Any:
    """Return a value as `seqae score` writes it: None for NaN, the shortest decimal that is the same float32."""
    if isinstance(value, float | np.float32) and math.isnan(value):
        return None
    return float(str(value)) if isinstance(value, np.float32) else value


def _names_without_header(detector: Detector, reading: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what fields are called: the time where one is named, the condition's columns, and the channels."""
    time = reading.get("time")
    first = [part.strip() for part in time.split("+")] if isinstance(time, str) else []
    preparation = detector.preparation
    return (*first, *preparation.channels, *preparation.conditions.columns)


def _limit(detector: Detector, settings: Mapping[str, Any]) -> None:
    """Set the threshold anew where the options ask for it, and warn where nothing can be flagged."""
    if detector.calibration is None:
        warnings.warn(
            "this model was trained with --calibration 0 and has no threshold: nothing is flagged.",
            SeqaeWarning,
            stacklevel=2,
        )
        return
    chosen = {name: settings[name] for name in LIMIT.names}
    if any(value is not None for value in chosen.values()):
        detector.calibrate(**chosen)
    threshold = detector.calibration.threshold
    if math.isinf(threshold.value):
        warnings.warn(
            f"nothing can be flagged: the threshold at alpha {threshold.alpha:g} is out of reach of "
            f"{len(threshold.scores)} calibration scores. Give a larger --alpha.",
            SeqaeWarning,
            stacklevel=2,
        )
