"""`seqae score`: every row of a table with its score."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, Session, option
from seqae.cli.options import DATA, JSON, MODEL, RELIMIT, REREADING, RUNNING, table_output
from seqae.cli.output import check_output, write_table
from seqae.cli.reading import found_by, load, reread
from seqae.cli.tables import event_rows, given_rows


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
@option("--events", type=click.Path(path_type=Path), metavar="FILE", help="Write the events, too.")
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
    as_json: bool,
    **settings: Any,
) -> None:
    """Score every row of a table with a trained model.

    MODEL is a model file or the folder of a run. DATA is a CSV or Parquet file, a folder of them, or - for stdin.
    Each row of DATA comes back with its time, score (higher is stranger), p_value, is_anomaly, coverage (how many
    windows saw it) and each channel's part of the score; those of several series stand one series after the other.
    """
    check_output(output, data, model)
    check_output(events, data, model, output)
    detector = load(model, settings["device"])
    given = reread(session, detector, data, settings)
    found = found_by(detector, given, session, settings)
    scores = given_rows(found.scores, given)
    write_table(scores, output, as_json=as_json)
    if events is not None:
        write_table(event_rows(found.events), events, as_json=as_json)
    flagged = int(scores["is_anomaly"].sum())
    session.say(f"{len(scores)} rows scored, {flagged} above the threshold, in {len(found.events)} events.")
