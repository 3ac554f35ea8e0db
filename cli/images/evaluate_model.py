"""`seqae evaluate-model` with a model of images."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, option
from seqae.cli.evaluate_model import BOUNDS, document, lines
from seqae.cli.images.options import DATA, RUNNING, chosen, load
from seqae.cli.options import COUNT, JSON, MODEL
from seqae.cli.output import to_json
from seqae.generative.doctor import diagnose


@click.command(
    "evaluate-model",
    cls=Command,
    examples=(
        "seqae evaluate-model runs/mnist mnist",
        "seqae evaluate-model runs/digits digits --samples 1,5,50 --json",
    ),
)
@MODEL
@DATA
@BOUNDS
@option("--seed", type=COUNT, default=0, help="The same seed draws the same.")
@JSON
@RUNNING
@CONFIG
@COMMON
def command(model: Path, data: str | None, samples: tuple[int, ...], seed: int, as_json: bool, **settings: Any) -> None:
    """Measure a model: bounds on the likelihood, what its latent is worth, what to change.

    MODEL is a model file or the folder of a run. DATA is a set by its name (--part test, where not given), or a folder
    of images. All figures are in nats an image. Bits a dimension are given for the likelihoods bernoulli (of pixels
    that are 0 or 1) and discretized_logistic. What is wrong is named with the option that treats it.
    """
    judge = load(model, settings["device"])
    images = chosen(data, settings["part"], settings)
    found = judge.evaluate(images, samples=samples, seed=seed)
    said = diagnose(found, history=judge.history)
    click.echo(to_json(document(found, said)) if as_json else "\n".join(lines(found, said, "image")))
