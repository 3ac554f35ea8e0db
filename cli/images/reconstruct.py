"""`seqae reconstruct` with a model of images: what it makes of each."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, Session, option
from seqae.cli.images.options import DATA, RUNNING, chosen, load
from seqae.cli.images.pixels import check_array, write_array
from seqae.cli.options import MODEL


@click.command(
    "reconstruct",
    cls=Command,
    examples=(
        "seqae reconstruct runs/mnist mnist -o expected.npy",
        "seqae reconstruct runs/parts photos/today -o expected.npy",
    ),
)
@MODEL
@DATA
@option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True,
    help="A .npy file of pixels (N, H, W, K), 0 to 255.",
)  # fmt: skip
@RUNNING
@CONFIG
@COMMON
@click.pass_obj
def command(session: Session, model: Path, data: str | None, output: Path, **settings: Any) -> None:
    """Give what a model makes of each image.

    MODEL is a model file or the folder of a run. DATA is a set by its name, or a folder of images. To look at them
    beside the originals: seqae plot MODEL DATA --what reconstructions.
    """
    check_array(output, model)
    judge = load(model, settings["device"])
    images = chosen(data, settings["part"], settings)
    write_array(judge.reconstruct(images), output)
    session.say(f"{len(images)} images reconstructed.")
