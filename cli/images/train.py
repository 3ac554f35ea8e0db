"""`seqae train` on images: from a published set or a folder of pictures to a run folder."""

from __future__ import annotations

__all__ = ["command"]

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from seqae.cli.command import COMMON, INTERRUPTED, Command, Session, option
from seqae.cli.config import CONFIG_NAME, to_toml
from seqae.cli.fitting import NO_EPOCH, STOPPED
from seqae.cli.images.options import DATA, MODELS_BY_NAME, NETWORK, SET, TRAINING, body_of, chosen
from seqae.cli.images.sections import UNUSED, flatten
from seqae.cli.options import JSON
from seqae.cli.output import RUN_FILES, fresh_run_folder, to_json, write_text
from seqae.cli.reading import MODEL_NAME
from seqae.datasets.images import Images
from seqae.errors import SeqaeWarning
from seqae.generative.image_model import ImageModel


@click.command(
    "train",
    cls=Command,
    flatten=flatten,
    examples=(
        "seqae train mnist --model VAE --body conv --latent 2 --data-dir data",
        "seqae train digits --model CVAE --epochs 50 -o runs/digits",
    ),
)
@DATA
@option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="The run's folder.",
    show_default="runs/ and the name of DATA",
)  # fmt: skip
@option("--overwrite", is_flag=True, help="Replace the run that is in the folder, once the new one is done.")
@option("--resume", is_flag=True, help="Go on with the run in the folder, with its options; those given here win.")
@JSON
@NETWORK
@TRAINING
@SET
@option(
    "--config",
    type=click.Path(path_type=Path),
    expose_value=False,
    help="A TOML file of options, or a TOML or INI file with the sections [configuration], [architecture] and "
    "[hyperparameters]; options given here win.",
)
@COMMON
@click.pass_context
def command(
    ctx: click.Context, data: str | None, output: Path | None, overwrite: bool, resume: bool, as_json: bool,
    **settings: Any,
) -> None:  # fmt: skip
    """Train a model on images.

    DATA is mnist, fashion-mnist, cifar10 (files as published, in --data-dir), digits (which come with scikit-learn), or
    a folder of PNG or JPEG files of one size, with a sub-folder for each class where there are classes.

    The folder gets model.safetensors, last.safetensors (for --resume), metrics.jsonl, tensorboard/ and config.toml.
    Look at the model with seqae plot, evaluate-model, sample, encode and score. Ctrl-C stops training, keeps the best
    model, and gives exit code 130.
    """
    session = ctx.ensure_object(Session)
    if resume and output is None:
        raise click.UsageError("--resume goes on with the run in a folder. Name it with -o.")
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite contradict each other. Give one of them.")
    kind = MODELS_BY_NAME[settings["model"]]
    for name, value in kind.settings.items():
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            settings[name] = value
    body, recurrent = body_of(settings)
    judge = ImageModel(
        model=kind.model, body=body, **recurrent,
        **{name: settings[name] for name in ("latent", "likelihood", "prior", "binarise", "score")},
    )  # fmt: skip
    images = chosen(data, "train", settings)
    folder = output or Path("runs") / images.name
    resolved = {"Model": NETWORK, "Training": TRAINING, "Images": SET}
    told = {title: group.pick(settings) for title, group in resolved.items()}
    config = to_toml(ctx.command, {"Data": {"data": data}, **told}, "for seqae train --config")
    with fresh_run_folder(folder, overwrite=overwrite, resume=resume) as place:
        if not resume:
            write_text(config, place / CONFIG_NAME)
        judge.fit(images, log_dir=place, resume=resume, progress=session.progress, **TRAINING.pick(settings))
        write_text(config, place / CONFIG_NAME)
        judge.save(place / MODEL_NAME)
    for warned in (ctx.meta.get(UNUSED), None if judge.history["epochs"] else NO_EPOCH):
        if warned:
            warnings.warn(warned, SeqaeWarning, stacklevel=2)
    for line in _told(judge, settings["model"], images):
        session.say(line)
    session.say(f"  written to   {folder}: {', '.join(name for name in RUN_FILES if (folder / name).exists())}")
    if as_json:
        click.echo(to_json({"folder": folder, "model_file": folder / MODEL_NAME} | judge.describe()))
    if judge.history["stopped"] == "interrupted":
        ctx.exit(INTERRUPTED)


def _told(judge: ImageModel, model: str, images: Images) -> Iterator[str]:
    """Say in a few lines what was trained on what, and how well it went."""
    options, data, history = judge.options, judge.training_data, judge.history
    body = options["body"] if isinstance(options["body"], str) else options["body"]["name"]
    size = " × ".join(map(str, images.shape))
    weights = sum(weight.numel() for weight in judge.model.parameters())
    yield f"{model} ({body}, {options['latent']} latent) of {weights} weights trained on {data['name']}"
    yield f"  images       {data['fit']} of {size} fitted, {data['held_back']} held back"
    ended = f"{len(history['epochs'])} in {history['seconds']:.0f} s ({STOPPED[history['stopped']]})"
    if not history["epochs"]:
        yield f"  epochs       {ended}"
        return
    best = history["epochs"][history["best_epoch"] - 1]
    yield f"  epochs       {ended}; the best was epoch {best['epoch']}"
    part = "validation" if "validation_total" in best else "train"
    total, reconstruction, kl = (best[f"{part}_{name}"] for name in ("total", "reconstruction", "kl"))
    weight = "" if best["beta"] == 1 else f" at beta {best['beta']:g}"
    yield f"  loss         {total:.4g} nats an image ({part}; reconstruction {reconstruction:.4g}, KL {kl:.4g}{weight})"
