"""`seqae sample` with a model of images: new images."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path

import click
import numpy as np

from seqae.cli.command import COMMON, CONFIG, Command, Names, Session, option
from seqae.cli.images.options import load
from seqae.cli.images.pixels import check_array, write_array
from seqae.cli.options import MODEL
from seqae.errors import choose


@click.command(
    "sample",
    cls=Command,
    examples=(
        "seqae sample runs/mnist -n 100 -o new.npy",
        "seqae sample runs/digits -n 8 --classes 3,5 --seed 7 -o new.npy",
    ),
)
@MODEL
@option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True,
    help="A .npy file of pixels (N, H, W, K), 0 to 255.",
)  # fmt: skip
@option("-n", "--number", type=click.IntRange(min=1), default=16, help="How many to draw; for a CVAE of each class.")
@option("--classes", type=Names(), help="Of a CVAE: the classes to draw.", show_default="those it was trained on")
@option("--noise/--no-noise", default=False, help="Draw the pixels, too, instead of giving their means.")
@option("--seed", type=click.IntRange(min=0), default=0, help="The same seed draws the same images.")
@option("--device", default="cpu", help="auto, cpu, cuda, cuda:1 or mps.")
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session, model: Path, output: Path, number: int, classes: tuple[str, ...] | None, noise: bool, seed: int,
    device: str,
) -> None:  # fmt: skip
    """Draw new images from a model.

    MODEL is a model file or the folder of a run. A CVAE draws class after class, in the order of --classes. To look at
    them: seqae plot MODEL --what samples.
    """
    check_array(output, model)
    judge = load(model, device)
    if classes and not judge.conditional:
        raise click.UsageError(f"{model} takes no classes, so --classes would change nothing. Leave it out.")
    labels = None
    if judge.conditional:
        menu = {name: place for place, name in enumerate(judge.classes)}
        labels = np.repeat([choose(menu, name, "class") for name in classes or judge.trained_classes], number)
    drawn = judge.sample(number if labels is None else len(labels), labels=labels, noise=noise, seed=seed)
    write_array(drawn, output)
    session.say(f"{len(drawn)} images drawn.")
