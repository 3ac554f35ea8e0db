"""`seqae plot` with a model of images: reconstructions, latent space, samples, and ways between images."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, Numbers, Session, option
from seqae.cli.images.options import DATA, RUNNING, chosen, load
from seqae.cli.options import MODEL, WEIGHT, one_of
from seqae.cli.output import check_output, replaced
from seqae.errors import OptionError
from seqae.objectives import NOISES
from seqae.report.image_gallery import GALLERY, MOVING, Look
from seqae.report.pictures import write_gif

FORMATS = (".png", ".svg", ".pdf", ".gif")
WITHOUT_DATA = ("samples", "plane", "traversals")


@click.command(
    "plot",
    cls=Command,
    examples=(
        "seqae plot runs/mnist mnist --what reconstructions -o reconstructions.png",
        "seqae plot runs/mnist mnist --what interpolation --images 3,8 -o from-3-to-8.gif",
    ),
)
@MODEL
@DATA
@option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True,
    help="A .png, .svg or .pdf file; a .gif of interpolation or traversals.",
)  # fmt: skip
@option(
    "--what", type=one_of(GALLERY), default="reconstructions",
    help="Originals above reconstructions; the same with noise put in; the codes of all images; what is decoded over a "
    "plane of two latent dimensions; the ways between pairs of images; what changes along each latent dimension; new "
    "images (of a CVAE a row for each class).",
)  # fmt: skip
@option("--images", "numbers", type=Numbers(), metavar="N,N,...", help="Which images.", show_default="the first ones")
@option("-n", "--number", type=click.IntRange(1, 100), default=10, help="How many, side by side where it is a grid.")
@option("--noise", type=one_of(NOISES), default="masking", help="What is put into images to be denoised.")
@option("--noise-level", type=WEIGHT, default=0.2, help="Its standard deviation, or the share of pixels masked.")
@option("--seed", type=click.IntRange(min=0), default=0, help="The same seed draws the same picture.")
@option("--dpi", type=click.IntRange(40, 600), default=100, help="Pixels an inch.")
@RUNNING
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session, model: Path, data: str | None, output: Path, what: str, numbers: tuple[int, ...] | None,
    number: int, noise: str, noise_level: float, seed: int, dpi: int, **settings: Any,
) -> None:  # fmt: skip
    """Draw a picture of what a model of images has learned.

    MODEL is a model file or the folder of a run. DATA is a set by its name, or a folder of images; samples need none,
    traversals start at the first of its images, or without DATA at the latent space's origin.
    """
    check_output(output, model)
    kind = output.suffix.lower()
    if kind not in FORMATS:
        raise OptionError(f"{output} ends with no picture format. Give a name that ends with {', '.join(FORMATS)}.")
    if kind == ".gif" and what not in MOVING:
        raise click.UsageError(f"a .gif moves, and {what} do not. Use .png, or --what {' or '.join(MOVING)}.")
    judge = load(model, settings["device"])
    images = None if data is None and what in WITHOUT_DATA else chosen(data, settings["part"], settings)
    look = Look(images, numbers or (), number, noise, noise_level, seed)
    with replaced(output) as part:
        if kind == ".gif":
            with part.open("wb") as file:
                write_gif(MOVING[what](judge, look), file)
        else:
            GALLERY[what](judge, look).savefig(part, dpi=dpi, format=kind[1:])
    session.say(f"{what} drawn in {output}.")
