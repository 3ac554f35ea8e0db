"""`seqae encode`: the latent vector of every window."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, Session
from seqae.cli.options import DATA, JSON, MODEL, REREADING, RUNNING, table_output
from seqae.cli.output import check_inputs, check_output, write_table
from seqae.cli.reading import load, reread
from seqae.cli.tables import stacked


@click.command(
    "encode",
    cls=Command,
    examples=(
        "seqae encode runs/pump/model.safetensors today.csv -o latents.csv",
        "seqae encode runs/pump today.csv --columns temperature,pressure,flow --json",
    ),
)
@MODEL
@DATA
@table_output("The latent vectors, one row for each window.")
@JSON
@RUNNING
@REREADING
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session, model: Path, data: str | None, output: Path | None, as_json: bool, **settings: Any
) -> None:
    """Give the latent vector of every window.

    MODEL is a model file or the folder of a run. DATA is a CSV or Parquet file, a folder of them, or - for stdin.
    A row has the start and end of its window and the mean of q(z | x) in z0, z1, ...: nothing is sampled.
    """
    detector = load(model, settings["device"])
    check_inputs(data)
    check_output(output, data, model)
    latents = stacked(detector.encode(reread(session, detector, data, settings), batch_size=settings["batch_size"]))
    write_table(latents, output, as_json=as_json)
    session.say(f"{len(latents)} windows encoded.")
