"""`seqae detect`: from a table to its events, in one go."""

from __future__ import annotations

__all__ = ["command"]

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from seqae.anomaly.detector import Detection
from seqae.anomaly.fleets.fleet import FleetDetection
from seqae.cli.command import COMMON, CONFIG, INTERRUPTED, Command, Session, option
from seqae.cli.fleet import EACH, SUMMARY, check_each, interrupted, model_for, new_judge, say_attention, told, train
from seqae.cli.options import DATA, ELNINO, JSON, NETWORK, READING, SCORING, TRAINING
from seqae.cli.output import check_inputs, check_output, stamps, write_table
from seqae.cli.plot import check_picture, chosen_series, draw
from seqae.cli.reading import name_of, read_from
from seqae.cli.tables import event_rows, given_rows
from seqae.errors import OptionError
from seqae.series import Panel, Series, as_panel

FRACTION, ELNINO_FRACTION = 0.5, 0.7
FILE = click.Path(path_type=Path)


@click.command(
    "detect",
    cls=Command,
    without_data=ELNINO | {"calibration": 0.3},
    examples=(
        "seqae detect pump.csv --epochs 5 -o events.csv --scores scores.csv --plot pump.png",
        "seqae detect --train-until 1996-12 --epochs 20 --json",
    ),
)
@DATA
@option(
    "--train-fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="The first part of each series to train on, as a share of its rows.",
    show_default=str(FRACTION),
)
@option("--train-rows", type=click.IntRange(min=1), help="The same, as a number of rows.")
@option("--train-until", metavar="TIME", help="The same, as its last time.")
@option("-o", "--output", type=FILE, metavar="FILE", help="The events, as CSV.", show_default="a table on stdout")
@option("--scores", type=FILE, metavar="FILE", help="Write the score of every row, too.")
@SUMMARY
@option("--plot", type=FILE, metavar="FILE", help="Draw the series, too: .png, .svg or .pdf.")
@option("--save", type=FILE, metavar="FILE", help="Keep the model, for `seqae score`; with --each a folder.")
@JSON
@NETWORK
@READING
@TRAINING
@EACH
@SCORING
@CONFIG
@COMMON
@click.pass_context
def command(
    ctx: click.Context,
    data: str | None,
    output: Path | None,
    scores: Path | None,
    summary: Path | None,
    plot: Path | None,
    save: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train, calibrate, score and list the events of one table in one go.

    DATA is a CSV or Parquet file, a folder of them (one series each), or - for stdin. A model is trained and calibrated
    on the first part of each series, all rows are scored, and the events of the rest are listed: start, end, peak,
    steps, severity (1 at the threshold), score, and the channels that contributed most, with their shares. Where
    nothing is left as a rest, all events are listed.

    Without DATA the bundled El Niño series is taken, with --model CVAE --window 24 --latent 4 --labelled
    exclude --train-fraction 0.7 --calibration 0.3 where not given otherwise.
    """
    session = ctx.ensure_object(Session)
    check_inputs(data)
    check_output(output, data)
    check_output(scores, data, output)
    check_each(settings)
    check_output(summary, data, output, scores)
    check_output(save, data, output, scores, summary)
    check_picture(plot, data, output, scores, summary, save)
    if settings["calibration"] == 0:
        raise click.UsageError("without calibration there is no threshold and no event. Give --calibration above 0.")
    cut = _cut(settings, FRACTION if data is not None else ELNINO_FRACTION)
    judge = new_judge(settings)
    given = read_from(session, data, settings)
    drawn = None if plot is None else chosen_series(given, None)
    rows = {series.name: cut(series) for series in as_panel(given)}
    firsts = [series[: rows[series.name]] for series in as_panel(given)]
    train(session, judge, firsts[0] if isinstance(given, Series) else Panel(firsts), data, settings)
    found = judge.detect(given, progress=session.progress)
    events = event_rows(_of_the_rest(found.events, given, rows))
    if save is not None:
        judge.save(save)
    if scores is not None:
        write_table(given_rows(found.scores, given), scores)
    if drawn is not None and plot is not None:
        draw(model_for(judge, drawn.name), drawn, _alone(found, events, drawn.name), plot)
    for line in told(judge, name_of(data), given):
        session.say(line)
    _say_what_was_found(session, events, given, rows)
    rest = {series.name: rows[series.name] % len(series) for series in as_panel(given)}
    say_attention(session, judge, found._replace(events=events), given, summary, first=rest)
    if output is not None or as_json:
        write_table(events, output, as_json=as_json)
    elif len(events):
        click.echo(_readable(events))
    if interrupted(judge):
        ctx.exit(INTERRUPTED)


def _cut(settings: Mapping[str, Any], fraction: float) -> Callable[[Series], int]:
    """Return the function that gives the number of a series' first rows to train on; `fraction` where none is asked."""
    asked = {name: settings[name] for name in CUTS if settings[name] is not None} or {"train_fraction": fraction}
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(map(_flag, asked))} say the same thing. Give one of them.")
    ((name, value),) = asked.items()

    def cut(series: Series) -> int:
        rows = CUTS[name](series, value)
        if not 0 < rows <= len(series):
            raise OptionError(
                f"{_flag(name)} {value} takes {rows} of the {len(series)} rows of {series.name}. Give one that takes "
                "some of them."
            )
        return rows

    return cut


def _until(series: Series, time: str) -> int:
    """Return how many rows lie before or at a time; a date or month counts as a whole."""
    if series.index is None:
        raise OptionError(f"--train-until needs a time axis, and {series.name} has none. Use --train-rows.")
    try:
        end = time if isinstance(series.index, pd.DatetimeIndex) else float(time)
        rows = series.index.slice_indexer(None, end)
    except (ValueError, TypeError) as problem:
        raise OptionError(
            f"--train-until {time} is no time of {series.name}, which runs from {series.index[0]} to "
            f"{series.index[-1]}. Write it likewise."
        ) from problem
    return len(series.index[rows])


CUTS: dict[str, Callable[[Series, Any], int]] = {
    "train_fraction": lambda series, share: round(len(series) * share),
    "train_rows": lambda series, rows: rows,
    "train_until": _until,
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _alone(found: Detection | FleetDetection, events: pd.DataFrame, name: str) -> Detection:
    """Return what was found in the only series, as a picture takes it."""
    if isinstance(found, Detection):
        return found._replace(events=events)
    return Detection(found.scores[name], events, found.thresholds[name])


def _of_the_rest(events: pd.DataFrame, given: Series | Panel, rows: Mapping[str, int]) -> pd.DataFrame:
    """Return the events that end after the rows that were trained on; all events of a series without a rest."""
    kept = np.ones(len(events), dtype=bool)
    for series in as_panel(given):
        if rows[series.name] < len(series):
            own = events["series"] == series.name if "series" in events else np.ones(len(events), dtype=bool)
            kept &= ~own | (events["end"] >= series.index_or_range[rows[series.name]])
    return events[kept]


def _say_what_was_found(session: Session, events: pd.DataFrame, given: Series | Panel, rows: Mapping[str, int]) -> None:
    """Say how many events there are and, where the rows are labelled, how they agree with the labels."""
    panel = as_panel(given)
    # Where nothing is left after the rows that were trained on, all rows count.
    rest = {series.name: rows[series.name] % len(series) for series in panel}
    session.say(f"{len(events)} events in {sum(len(series) - rest[series.name] for series in panel)} rows")
    labelled = [series for series in panel if series.labels is not None]
    if not labelled:
        return
    stretches = met = 0
    for series in labelled:
        own = events[events["series"] == series.name] if "series" in events else events
        index, labels = series.index_or_range, np.asarray(series.labels).copy()
        labels[: rest[series.name]] = False
        edges = np.flatnonzero(np.diff(np.concatenate([[False], labels, [False]]).astype(int)))
        for first, stop in zip(edges[::2], edges[1::2], strict=True):
            stretches += 1
            met += bool(((own["start"] <= index[stop - 1]) & (own["end"] >= index[first])).any())
    session.say(f"{met} of {stretches} labelled stretches in them are met by an event")


def _readable(events: pd.DataFrame) -> str:
    """Return events as aligned text."""
    shown = events.assign(**{name: stamps(events[name]) for name in ("start", "end", "peak")})
    return shown.to_string(index=False, float_format=lambda value: f"{value:.3g}")
