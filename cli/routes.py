"""Which commands a line of arguments means: those for series, or their namesakes for images."""

from __future__ import annotations

__all__ = ["TWINS", "is_image_line", "kind_of", "twin_of"]

import json
from collections.abc import Sequence
from pathlib import Path

import click

from seqae.errors import SeqaeError

TWINS = ("train", "score", "encode", "reconstruct", "sample", "plot", "info", "evaluate-model")
"""The commands that there are for images, too."""
LONGEST_HEADER = 1 << 26
CONFIG_NAME = "config.toml"
SECTIONS = ("configuration", "architecture", "hyperparameters")


def twin_of(name: str, arguments: Sequence[str]) -> bool:
    """Tell whether a command's arguments may name images, so that its namesake for images is worth loading."""
    if name == "train":
        return any(word.startswith(("--config", "--resume")) or _is_data(word) for word in arguments)
    return name in TWINS and any(kind_of(Path(word)) == "images" for word in arguments)


def is_image_line(ctx: click.Context, command: click.Command, twin: click.Command, arguments: Sequence[str]) -> bool:
    """Tell whether arguments name images to train on, settings for that, or a model of images.

    command and twin: the one for series and the one for images. Which argument is a name and which an option's value
    is settled by the options of the one that knows them all; where none does, the first argument decides.
    """
    given: dict[str, object] = {}
    for one in (twin, command):
        try:
            context = click.Context(one, parent=ctx)  # the group's own would stop at the first name
            given = one.make_parser(context).parse_args(getattr(one, "dashed", list)(list(arguments)))[0]
        except click.UsageError:
            continue
        break
    else:
        given = {"model": arguments[0], "data": arguments[0]} if arguments else {}
    if command.name != "train":
        return kind_of(Path(str(given.get("model")))) == "images"
    if isinstance(given.get("data"), str):
        return _is_data(given["data"])
    run = given.get("output") if given.get("resume") else None
    return _configured(given.get("config")) or (isinstance(run, str) and _configured(str(Path(run) / CONFIG_NAME)))


def _is_data(data: object) -> bool:
    from seqae.datasets.images import is_image_data

    return isinstance(data, str) and is_image_data(data)


def _configured(config: object) -> bool:
    """Tell whether a settings file is one for images: by its sections, or by the data that it names."""
    from seqae.cli.config import read_document

    try:
        document = read_document(Path(config)) if isinstance(config, str) else {}
    except SeqaeError:
        return False  # the command says what is wrong with it
    return any(name in document for name in SECTIONS) or _is_data(document.get("data"))


def kind_of(path: Path) -> str | None:
    """Return what a model file, or that of a run's folder, says it is: "detector", "images", ...; None for no such."""
    file = path / "model.safetensors" if path.is_dir() else path
    try:
        if not file.is_file():  # what comes from a pipe can be read but once
            return None
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size)) if 0 < size < LONGEST_HEADER else {}
            return str(json.loads(header["__metadata__"]["seqae"])["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
