"""`seqae train`: from a table to a run folder."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.anomaly.detector import Detector
from seqae.cli.command import COMMON, CONFIG, INTERRUPTED, Command, Session, option
from seqae.cli.config import CONFIG_NAME, to_toml
from seqae.cli.fitting import continued
from seqae.cli.fleet import EACH, check_each, interrupted, keep, new_judge, told, train
from seqae.cli.options import DATA, ELNINO, JSON, NETWORK, READING, SCORING, TRAINING
from seqae.cli.output import RUN_FILES, check_inputs, fresh_run_folder, to_json, write_text
from seqae.cli.reading import name_of, read_from, reread


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
@option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Go on from a trained model: its weights, window and options, on new data; scaling and threshold are new.",
)
@option("--overwrite", is_flag=True, help="Replace the run that is in the folder, once the new one is done.")
@option("--resume", is_flag=True, help="Go on with the run in the folder, with its options; those given here win.")
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
    source: Path | None,
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
    tensorboard/ and config.toml (every option as resolved, for --config). With --each it gets fleet.json and models/,
    with a file for each series, which `seqae score` takes as a whole; a series that cannot be trained on is named and
    left out. Ctrl-C stops training, keeps the best model (of the series trained so far), and gives exit code 130.
    """
    session = ctx.ensure_object(Session)
    if resume and output is None:
        raise click.UsageError("--resume goes on with the run in a folder. Name it with -o.")
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite contradict each other. Give one of them.")
    check_inputs(data, source)
    check_each(settings, resume=resume, source=source)
    folder = output or Path("runs") / name_of(data)
    judge = new_judge(settings) if source is None else continued(ctx, source, settings)
    groups = {
        "Reading the table": READING, "Model": NETWORK, "Training": TRAINING, "Many series": EACH,
        "Scores and events": SCORING,
    }  # fmt: skip
    resolved = {title: group.pick(settings) for title, group in groups.items()}
    config = to_toml(ctx.command, {"Data": {"data": data, "from": source}, **resolved}, "for seqae train --config")
    with fresh_run_folder(folder, overwrite=overwrite, resume=resume) as place:
        if source is not None and isinstance(judge, Detector):
            given = reread(session, judge, data, settings, to_train=True)
        else:
            given = read_from(session, data, settings)
        if not resume:
            write_text(config, place / CONFIG_NAME)  # before training, so that a killed run can be resumed
        train(session, judge, given, data, settings, log_dir=place, resume=resume, warm_start=source is not None)
        write_text(config, place / CONFIG_NAME)
        written = folder / keep(judge, place).relative_to(place)
    for line in told(judge, name_of(data), given):
        session.say(line)
    session.say(f"  written to   {folder}: {', '.join(name for name in RUN_FILES if (folder / name).exists())}")
    if as_json:
        click.echo(to_json({"folder": folder, "model_file": written} | judge.describe()))
    if interrupted(judge):
        ctx.exit(INTERRUPTED)
