"""`seqae reconstruct`: what the model expects at every row."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, Session
from seqae.cli.options import DATA, JSON, LEVEL, MODEL, REREADING, RUNNING, table_output
from seqae.cli.output import check_inputs, check_output, write_table
from seqae.cli.reading import load, reread
from seqae.cli.tables import given_rows


@click.command(
    "reconstruct",
    cls=Command,
    examples=(
        "seqae reconstruct runs/pump/model.safetensors today.csv -o expected.csv",
        "seqae reconstruct runs/pump today.csv --level 0.99 --json",
    ),
)
@MODEL
@DATA
@table_output("The reconstruction, one row for each row of DATA.")
@LEVEL
@JSON
@RUNNING
@REREADING
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session,
    model: Path,
    data: str | None,
    output: Path | None,
    level: float,
    as_json: bool,
    **settings: Any,
) -> None:
    """Give what the model expects at every row, with a band.

    MODEL is a model file or the folder of a run. DATA is a CSV or Parquet file, a folder of them, or - for stdin.
    For each channel c there are c, c_reconstructed, c_lower and c_upper, in the units of DATA.
    """
    detector = load(model, settings["device"])
    check_inputs(data)
    check_output(output, data, model)
    given = reread(session, detector, data, settings)
    expected = given_rows(
        detector.reconstruct(given, level, batch_size=settings["batch_size"], progress=session.progress), given
    )
    write_table(expected, output, as_json=as_json)
    session.say(f"{len(expected)} rows reconstructed.")
