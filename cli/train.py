"""`seqae train`: from a table to a run folder."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, INTERRUPTED, Command, Session, option
from seqae.cli.config import CONFIG_NAME, to_toml
from seqae.cli.fitting import fit, new_detector, summary
from seqae.cli.options import DATA, ELNINO, JSON, NETWORK, READING, SCORING, TRAINING
from seqae.cli.output import RUN_FILES, fresh_run_folder, to_json, write_text
from seqae.cli.reading import MODEL_NAME, name_of, read_from


@click.command(
    "train",
    cls=Command,
    without_data=ELNINO,
    examples=(
        "seqae train pump.csv --model CVAE --decoder_type repeat_latent --epochs 10 -o runs/pump",
        "seqae train --epochs 5 -o runs/elnino",
    ),
)
@DATA
@option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The run's folder.",
    show_default="runs/ and the name of DATA",
)
@option("--overwrite", is_flag=True, help="Replace the run that is in the folder, once the new one is done.")
@option("--resume", is_flag=True, help="Go on with the run in the folder, with its options; those given here win.")
@JSON
@NETWORK
@READING
@TRAINING
@SCORING
@CONFIG
@COMMON
@click.pass_context
def command(
    ctx: click.Context,
    data: str | None,
    output: Path | None,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on a table and set its threshold.

    DATA is a CSV or Parquet file, a folder of them (one series each), or - for stdin. Its rows should be normal, or
    nearly so: the first of them are fitted, the next tell when to stop, the last set the threshold. Without DATA the
    bundled El Niño series is taken, with --model CVAE --window 24 --latent 4 --labelled exclude
    where not given otherwise.

    The folder gets model.safetensors (all that `seqae score` needs), last.safetensors (for --resume), metrics.jsonl,
    tensorboard/ and config.toml (every option as resolved, for --config). Ctrl-C stops training, keeps the best model,
    and gives exit code 130.
    """
    session = ctx.ensure_object(Session)
    if resume and output is None:
        raise click.UsageError("--resume goes on with the run in a folder. Name it with -o.")
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite contradict each other. Give one of them.")
    folder = output or Path("runs") / name_of(data)
    detector = new_detector(settings)
    groups = {"Reading the table": READING, "Model": NETWORK, "Training": TRAINING, "Scores and events": SCORING}
    resolved = {title: group.pick(settings) for title, group in groups.items()}
    config = to_toml(ctx.command, {"Data": {"data": data}, **resolved}, "for seqae train --config")
    with fresh_run_folder(folder, overwrite=overwrite, resume=resume):
        given = read_from(session, data, settings)
        if not resume:
            write_text(config, folder / CONFIG_NAME)  # before training, so that a killed run can be resumed
        fit(session, detector, given, data, settings, log_dir=folder, resume=resume)
        write_text(config, folder / CONFIG_NAME)
        detector.save(folder / MODEL_NAME)
    for line in summary(detector, name_of(data), given):
        session.say(line)
    session.say(f"  written to   {folder}: {', '.join(name for name in RUN_FILES if (folder / name).exists())}")
    if as_json:
        click.echo(to_json({"folder": folder, "model_file": folder / MODEL_NAME} | detector.describe()))
    if detector.history["stopped"] == "interrupted":
        ctx.exit(INTERRUPTED)
