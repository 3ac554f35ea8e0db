"""`seqae score`: every row of a table with its score."""

from __future__ import annotations

__all__ = ["command"]

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import pandas as pd

from seqae.anomaly.cores import ahead
from seqae.anomaly.detector import Detector
from seqae.anomaly.pieces import EventTally, score_pieces
from seqae.cli.command import COMMON, CONFIG, Command, Session, option
from seqae.cli.fleet import SUMMARY, found_by, load, pieces_of, reread, say_attention
from seqae.cli.options import DATA, JSON, MODEL, RELIMIT, REREADING, RUNNING, table_output
from seqae.cli.output import check_inputs, check_output, table_writer, write_table
from seqae.cli.reading import NO_EVENTS, dates_alone, set_limit, tally_of, warn_of_drift, warn_of_limit
from seqae.cli.tables import event_rows, given_rows, with_time
from seqae.series import Series


@click.command(
    "score",
    cls=Command,
    examples=(
        "seqae score runs/pump/model.safetensors today.csv -o scores.csv --events events.csv",
        "seqae score runs/pump today.csv --json > scores.json",
    ),
)
@MODEL
@DATA
@table_output("The scores, one row for each row of DATA.")
@option(
    "--events",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the events, too; JSON Lines if FILE ends with .jsonl.",
)
@SUMMARY
@option(
    "--chunk-rows",
    type=click.IntRange(min=0),
    help="Read, score and write so many rows at a time, so that a file larger than memory can be scored; 0 reads it "
    "whole. The scores are the same.",
    show_default="65536 for a CSV file above 100 MB, where nothing else asks for the whole file",
)
@JSON
@RUNNING
@REREADING
@RELIMIT
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session,
    model: Path,
    data: str | None,
    output: Path | None,
    events: Path | None,
    summary: Path | None,
    chunk_rows: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Score every row of a table with a trained model.

    MODEL is a model file or the folder of a run, also of one with a model for each series (`seqae train --each`), which
    are matched by name. DATA is a CSV or Parquet file, a folder of them, or - for stdin.
    Each row of DATA comes back with its time, score (higher is stranger), p_value, is_anomaly, coverage (how many
    windows saw it), error (its own squared reconstruction error), each channel's part of the score and, of several
    heads, what each says; those of several series stand one series after the other.

    The summary has a line for each series: first those whose event is going on, then those with events that are over,
    then those without any score, then the rest; within each the most severe first. Models without a threshold flag
    nothing: then the highest scores come first, those that drift before the others. Its top ten are shown on stderr.
    """
    judge = load(model, settings["device"])
    check_inputs(data, settings["calibrate"])
    check_output(output, data, model)
    check_output(events, data, model, output)
    check_output(summary, data, model, output, events)
    pieces = pieces_of(session, judge, data, settings, chunk_rows, summary)
    if pieces is not None and isinstance(judge, Detector):
        rows, flagged, count = _by_pieces(session, judge, pieces, output, events, settings, as_json=as_json)
    else:
        given = reread(session, judge, data, settings)
        found = found_by(judge, given, session, settings)
        scores = given_rows(found.scores, given)
        daily = dates_alone(judge) if isinstance(judge, Detector) else None
        write_table(scores, output, as_json=as_json, daily=daily)
        if events is not None:
            write_table(event_rows(found.events), events, as_json=as_json, daily=daily)
        rows, flagged, count = len(scores), int(scores["is_anomaly"].sum()), len(found.events)
        say_attention(session, judge, found, given, summary, merge=settings["merge"])
    session.say(f"{rows} rows scored, {flagged} above the threshold, in {count} events.")


def _by_pieces(
    session: Session, detector: Detector, pieces: Iterable[Series], output: Path | None, events: Path | None,
    settings: Mapping[str, Any], *, as_json: bool,
) -> tuple[int, int, int]:  # fmt: skip
    """Score and write piece by piece; return how many rows, flagged rows and events there were."""
    set_limit(session, detector, settings)
    rules = {name: settings[name] for name in ("merge", "min_length")}
    tally = None if detector.calibration is None else EventTally(detector, **rules)
    counted = tally_of(detector)
    name, rows, flagged, count = "", 0, 0, 0
    with ExitStack() as stack:
        daily = dates_alone(detector)
        write = stack.enter_context(table_writer(output, as_json=as_json, daily=daily))
        also = None if events is None else stack.enter_context(table_writer(events, as_json=as_json, daily=daily))

        def note(complete: pd.DataFrame) -> int:
            if also is not None and (len(complete) or not count):
                also(event_rows(complete, count + 1))
            return len(complete)

        # One piece is read, the one before it scored and the one before that written, all at the same time.
        for scores in ahead(score_pieces(detector, ahead(pieces), batch_size=settings["batch_size"])):
            table = with_time(scores.table, scores.series, rows)
            write(table)
            if counted is not None:
                counted.add(scores.series)
            name = scores.series.name
            rows += len(table)
            flagged += int(table["is_anomaly"].sum())
            if tally is not None:
                complete = tally.add(scores)
                count += note(complete) if len(complete) else 0
        complete = NO_EVENTS if tally is None else tally.finish()
        count += note(complete)
    warn_of_limit(detector)
    warn_of_drift(counted, name)
    return rows, flagged, count
