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
from seqae.anomaly.fleets.folder import holds_fleet, listed, member_file
from seqae.anomaly.streams.stream import Stream
from seqae.cli.command import COMMON, CONFIG, Command, Group, Names, Session, option
from seqae.cli.lines import Lines, numbered_lines
from seqae.cli.options import MODEL, RELIMIT, REREADING, RUNNING, SIZE
from seqae.cli.output import check_output, is_midnight, stamp_text, to_json
from seqae.cli.reading import dates_alone, load
from seqae.errors import DataError, OptionError, SeqaeWarning

READING = "Reading the table (as for training, where not given)"


def _some(group: Group, *names: str) -> Group:
    """Return some options of a group."""
    return Group(*(add for name, add in zip(group.names, group.options, strict=True) if name in names))


AS_TRAINED = _some(
    REREADING,
    "time",
    "no_time",
    "label",
    "time_unit",
    "time_format",
    "tz",
    "irregular",
    "na_values",
    "delimiter",
    "decimal",
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
@option("--series", metavar="NAME", help="Which series it is, where each has a model or a threshold of its own.")
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
    coverage and each channel's part. MODEL is a model file or the folder of a run, trained with --mode causal; of a run
    with a model for each series (`seqae train --each`) --series says whose. The scores are those of `seqae score`, and
    times are written likewise (ISO 8601). A gap between times counts as missing rows. Where lines of several series
    come in, told apart by the column that training had as --id, those of --series are scored. A line that cannot be
    used is named on stderr and skipped. Ctrl-C and SIGTERM end the stream after the line at hand.
    """
    session = ctx.ensure_object(Session)
    if columns is not None and not no_header:
        raise click.UsageError("--columns names the fields of lines without a header. Give --no-header, too")
    if settings["no_time"] and settings["time"] is not None:
        raise click.UsageError("--time and --no-time contradict each other. Give one of them")
    each = holds_fleet(model)
    detector = load(member_file(model, series) if each else model, settings["device"])
    given = {name: settings[name] for name in AS_TRAINED.names if settings[name] is not None}
    reading = {**detector.reading, **given} | ({"time": False} if given.pop("no_time") else {})
    options: dict[str, Any] = {"even": reading.get("irregular") != "keep"}
    options["series"] = None if each else _own_threshold(session, detector, series, has_id=bool(reading.get("id")))
    check_output(state, model)
    _limit(detector, settings)
    if state is not None and state.exists():
        stream = Stream.load(detector, state, **options)
        last = "" if stream.last is None else f", the last at {stamp_text(stream.last, daily=False)}"
        session.say(f"{state}: going on after {stream.count} rows{last}.")
    else:
        stream = Stream(detector, **options)
    names = None if not no_header else columns or _names_without_header(detector, reading)
    lines = Lines(detector.preparation, reading, names, series)
    run = _Run(session, stream, lines, _writer(as_json), only_anomalies, daily=dates_alone(detector))
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
    session.say(run.told())
    if stop.code is not None:
        ctx.exit(stop.code)


class _Run:
    """Lines on their way through a stream, and how many there were."""

    def __init__(
        self, session: Session, stream: Stream, lines: Lines, write: Callable[[list[Any]], str], only_anomalies: bool,
        *, daily: bool | None,
    ) -> None:  # fmt: skip
        self.session, self.stream, self.lines, self.write = session, stream, lines, write
        self.only_anomalies, self.daily = only_anomalies, daily
        self.scored = self.flagged = self.skipped = self.missing = self.others = 0
        if lines.named:
            self._check_id()

    def take(self, number: int, line: bytes | None) -> None:
        """Score one line and write what comes of it; the first may be the header."""
        if not self.lines.named and line is not None:
            self.lines.header(line)
            self._check_id()
            return
        try:
            fields = self.lines.fields(line)
        except DataError as problem:
            self._skip(number, problem)
            return
        if self.lines.is_other(fields):
            self.others += 1
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
        self.missing += self.stream.count - row - 1
        if self.daily is None:  # later stamps are written as the first one, as in a table
            self.daily = is_midnight(read.stamp)
        self.flagged += bool(record["is_anomaly"])
        if record["is_anomaly"] or not self.only_anomalies:
            parts = (np.float32(value) if name.startswith("score_") else value for name, value in record.items())
            self._print(self.write([row if read.stamp is None else stamp_text(read.stamp, daily=self.daily), *parts]))

    def told(self) -> str:
        """Say how many rows there were."""
        if not self.lines.named:
            return "nothing came in, not even a header."
        more = f"; {self.missing} missing rows in gaps between them" if self.missing else ""
        more += f"; {self.others} lines of other series passed over" if self.others else ""
        return f"{self.scored} rows scored, {self.flagged} above the threshold, {self.skipped} lines skipped{more}."

    def _check_id(self) -> None:
        if self.lines.id is not None and self.lines.series is None:
            raise OptionError(
                f"column {self.lines.id} says which series each line is of, and a stream is of one. Name it with "
                "--series."
            )

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


def _own_threshold(session: Session, detector: Detector, series: str | None, *, has_id: bool) -> str | None:
    """Return the series to be judged, by its own threshold where it has one. has_id: whether lines name theirs."""
    known = detector.judge.calibrations
    if series in known or (series is None and not known):
        return series
    if series is None:
        session.say(f"the threshold is that of all series; --series takes the own one of {listed(known)}.")
    elif known:
        raise OptionError(f"there is no threshold for a series {series!r}. The model has one for: {listed(known)}.")
    elif not has_id:
        raise OptionError(
            f"there is no threshold for a series {series!r}: the model has one for all, as it was trained without "
            "--per-series. Leave out --series."
        )
    return series


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
            "this model was trained with --calibration 0 and has no threshold: rows are scored, nothing is flagged. "
            "Train with --calibration above 0.",
            SeqaeWarning,
            stacklevel=2,
        )
        return
    chosen = {name: settings[name] for name in LIMIT.names}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        if any(value is not None for value in chosen.values()):
            detector.calibrate(**chosen)
    threshold = detector.calibration.threshold
    if not math.isinf(threshold.value):
        for one in heard:
            warnings.warn(one.message, stacklevel=2)
        return
    warnings.warn(
        f"nothing can be flagged: the threshold at alpha {threshold.alpha:g} is out of reach of "
        f"{len(threshold.scores)} calibration scores. Give a larger --alpha.",
        SeqaeWarning,
        stacklevel=2,
    )
