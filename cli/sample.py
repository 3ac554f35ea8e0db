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
from seqae.generative.series import vary


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
@option("--start", metavar="STAMP", help="When the windows begin: a date and time, or a number as in the time column.")
@option("--near", is_flag=True, help="Draw --number variations of each window of DATA, to augment a training set with.")
@option("--noise/--no-noise", default=True, help="Let values scatter as the likelihood says, or give their means.")
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
    start: str | None,
    near: bool,
    noise: bool,
    seed: int,
    output: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Draw new windows from a model.

    MODEL is a model file or the folder of a run. A CVAE draws under the conditions of the first rows of DATA; where it
    knows the calendar alone, --start is enough. A row has the number of its sample, the step in it, its time where
    DATA or --start say when, and the channels in the units of training.

    With --near, z is drawn from what the encoder says of each window of DATA (cut without overlap), not from the prior:
    the table can be trained on with seqae train NEW --id sample.
    """
    detector = load(model, settings["device"])
    check_inputs(data)
    check_output(output, data, model)
    conditional = detector.preparation.conditions.size > 0
    if near:
        if steps is not None or start is not None:
            raise click.UsageError("--near varies the windows of DATA, where and as long as they are. Leave it alone.")
        given = reread(session, detector, data, settings)
        write_table(vary(detector, given, number, noise=noise, seed=seed), output, as_json=as_json)
        session.say(f"{number} variations of each window drawn.")
        return
    if data is not None and not conditional:
        raise click.UsageError(
            f"{model} takes no conditions, so DATA would change nothing. Leave {data} out, or draw --near it."
        )
    source = reread(session, detector, data, settings) if conditional and start is None else None
    drawn = detector.sample(number, steps=steps, condition_from=source, start=start, noise=noise, seed=seed)
    write_table(drawn, output, as_json=as_json)
    session.say(f"{number} windows drawn.")
