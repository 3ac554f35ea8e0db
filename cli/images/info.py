"""`seqae info` of a model of images."""

from __future__ import annotations

__all__ = ["command"]

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, Command
from seqae.cli.fitting import STOPPED
from seqae.cli.images.options import load
from seqae.cli.info import section
from seqae.cli.options import JSON, MODEL
from seqae.cli.output import to_json
from seqae.generative.image_model import ImageModel
from seqae.report.words import count, number, value_words


@click.command("info", cls=Command, examples=("seqae info runs/mnist", "seqae info runs/mnist --json"))
@MODEL
@JSON
@COMMON
def command(model: Path, as_json: bool) -> None:
    """Say what is in a model file.

    MODEL is a model file or the folder of a run. --json has every option and number, and the recipe.
    """
    judge = load(model, "cpu")
    click.echo(to_json(judge.describe()) if as_json else "\n".join(_lines(judge)))


def _lines(judge: ImageModel) -> Iterator[str]:
    """Yield the lines that tell of a model."""
    told, options = judge.describe(), judge.options
    yield f"{options['model']} of images, {' × '.join(map(str, told['shape']))}"
    network = [
        ("body", _body(options["body"])),
        ("network", f"{count(options['latent'], 'latent dimension')}; {count(told['parameters'], 'weight')}"),
        ("likelihood", f"{value_words(options['likelihood'])}; prior {options['prior']}"),
        ("pixels", "grey values in [0, 1]" if options["binarise"] == "off" else f"0 or 1 ({options['binarise']})"),
        ("score", options["score"]),
    ]
    yield from section("Model", network)
    data, history = told["training_data"], told["history"]
    ended = STOPPED.get(history["stopped"], history["stopped"])
    training = [
        ("data", f"{data['name']}: {count(data['fit'], 'image')} fitted, {number(data['held_back'])} held back"),
        ("classes", ", ".join(judge.trained_classes) or "none"),
        ("epochs", f"{len(history['epochs'])} in {number(history['seconds'], 2)} s ({ended})"),
    ]
    if history["best_epoch"]:
        best = history["epochs"][history["best_epoch"] - 1]
        part = "validation" if "validation_total" in best else "train"
        training.append(("best", f"epoch {best['epoch']}: {number(best[f'{part}_total'])} nats an image ({part})"))
    yield from section("Training", training)


def _body(body: str | Mapping[str, Any]) -> str:
    """Return a body and its own options in words: conv; channels 16, 32; kernel sizes 7 × 7, 5 × 5."""
    if isinstance(body, str):
        return body
    lists = {name.replace("_", " "): sizes for name, sizes in body.items() if name != "name"}
    told = [f"{name} {', '.join(_size(size) for size in sizes)}" for name, sizes in lists.items()]
    return "; ".join([body["name"], *told])


def _size(size: int | Sequence[int]) -> str:
    return str(size) if isinstance(size, int) else " × ".join(map(str, size))
