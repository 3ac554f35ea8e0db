"""`seqae sample`: new windows."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, Session, option
from seqae.cli.options import DATA, JSON, MODEL, REREADING, RUNNING, table_output
from seqae.cli.output import check_inputs, check_output, write_table
from seqae.cli.reading import load, reread


@click.command(
    "sample",
    cls=Command,
    examples=(
        "seqae sample runs/pump/model.safetensors today.csv -n 3 -o new.csv",
        "seqae sample runs/elnino -n 2 --steps 36 --seed 7",
    ),
)
@MODEL
@DATA
@option("-n", "--number", type=click.IntRange(min=1), default=1, help="How many windows to draw.")
@option("--steps", type=click.IntRange(min=1), help="Their length.", show_default="the model's window")
@option("--seed", type=click.IntRange(min=0), default=0, help="The same seed draws the same windows.")
@table_output("The windows, one row for each step.")
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
    number: int,
    steps: int | None,
    seed: int,
    output: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Draw new windows from a model.

    MODEL is a model file or the folder of a run. Only a CVAE takes DATA, for its conditions: the windows are drawn for
    the first rows of DATA. A row has the number of its sample, the step in it, and the channels in the units of
    training.
    """
    detector = load(model, settings["device"])
    check_inputs(data)
    check_output(output, data, model)
    conditional = detector.preparation.conditions.size > 0
    if data is not None and not conditional:
        raise click.UsageError(f"{model} takes no conditions, so DATA would change nothing. Leave {data} out.")
    source = reread(session, detector, data, settings) if conditional else None
    drawn = detector.sample(number, steps=steps, condition_from=source, seed=seed)
    write_table(drawn, output, as_json=as_json)
    session.say(f"{number} windows drawn.")
