"""`seqae score` with a model of images: how strange each image is."""

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
    "score",
    cls=Command,
    examples=(
        "seqae score runs/mnist mnist -o scores.csv",
        "seqae score runs/parts/model.safetensors photos/today --json",
    ),
)
@MODEL
@DATA
@table_output("The scores, one row for each image.")
@JSON
@RUNNING
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session, model: Path, data: str | None, output: Path | None, as_json: bool, **settings: Any
) -> None:
    """Say how strange each image is to a model of images.

    MODEL is a model file or the folder of a run. DATA is a set by its name, or a folder of images.
    A row has the image's number, its class where it has one, label (1 where that is a class that the model was not
    trained on), score (higher is stranger, by the model's --score), and p_value: the share of the images held back in
    training that are at least as strange. seqae evaluate measures the scores against the labels.
    """
    check_output(output, model)
    judge = load(model, settings["device"])
    images = chosen(data, settings["part"], settings)
    scores = judge.score(images)
    table = pd.DataFrame({"image": np.arange(len(images))})
    names = class_names(images)
    if names is not None:
        table["class"] = names
        table["label"] = (~np.isin(names, judge.trained_classes)).astype(int)
    table["score"] = scores
    if judge.training_data["held_back"]:
        table["p_value"] = judge.p_values(scores)
    write_table(table, output, as_json=as_json)
    session.say(f"{len(table)} images scored.")
