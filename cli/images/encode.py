"""`seqae encode` with a model of images: the latent vector of every image."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from seqae.cli.command import COMMON, CONFIG, Command, Session
from seqae.cli.images.options import DATA, RUNNING, chosen, class_names, load
from seqae.cli.options import JSON, MODEL, table_output
from seqae.cli.output import check_output, write_table


@click.command(
    "encode",
    cls=Command,
    examples=("seqae encode runs/mnist mnist -o latents.csv", "seqae encode runs/parts photos/today --json"),
)
@MODEL
@DATA
@table_output("The latent vectors, one row for each image.")
@JSON
@RUNNING
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session, model: Path, data: str | None, output: Path | None, as_json: bool, **settings: Any
) -> None:
    """Give the latent vector of every image.

    MODEL is a model file or the folder of a run. DATA is a set by its name, or a folder of images.
    A row has the image's number, its class where it has one, and the mean of q(z | x) in z0, z1, ...: nothing is
    sampled.
    """
    check_output(output, model)
    judge = load(model, settings["device"])
    images = chosen(data, settings["part"], settings)
    latents = judge.encode(images)
    table = pd.DataFrame(latents, columns=[f"z{number}" for number in range(latents.shape[1])])
    names = class_names(images)
    if names is not None:
        table.insert(0, "class", names)
    table.insert(0, "image", np.arange(len(images)))
    write_table(table, output, as_json=as_json)
    session.say(f"{len(table)} images encoded.")
