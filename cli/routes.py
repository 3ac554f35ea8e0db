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


def twin_of(name: str, arguments: Sequence[str]) -> bool:
    """Tell whether a command's arguments may name images, so that its namesake for images is worth loading."""
    if name == "train":
        return any(argument.startswith("--config") or _is_data(argument) for argument in arguments)
    return name in TWINS and any(kind_of(Path(argument)) == "images" for argument in arguments)


def is_image_line(ctx: click.Context, command: click.Command, twin: click.Command, arguments: Sequence[str]) -> bool:
    """Tell whether arguments name images to train on, settings for that, or a model of images.

    command and twin: the one for series and the one for images. Which argument is a name and which an option's value
    is settled by the options of the one that knows them all; where none does, the first argument decides.
    """
    given: dict[str, object] = {}
    for one in (twin, command):
        try:
            given = one.make_parser(ctx).parse_args(getattr(one, "dashed", list)(list(arguments)))[0]
        except click.UsageError:
            continue
        break
    else:
        given = {"model": arguments[0], "data": arguments[0]} if arguments else {}
    if command.name != "train":
        return kind_of(Path(str(given.get("model")))) == "images"
    return _is_data(given.get("data")) or _is_data(_configured(given.get("config")))


def _is_data(data: object) -> bool:
    from seqae.datasets.images import is_image_data

    return isinstance(data, str) and is_image_data(data)


def _configured(config: object) -> str | None:
    from seqae.cli.config import named_data

    try:
        return named_data(Path(config)) if isinstance(config, str) else None
    except SeqaeError:
        return None  # the command says what is wrong with it


def kind_of(path: Path) -> str | None:
    """Return what a model file, or that of a run's folder, says it is: "detector", "images", ...; None for no such."""
    file = path / "model.safetensors" if path.is_dir() else path
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size)) if 0 < size < LONGEST_HEADER else {}
            return str(json.loads(header["__metadata__"]["seqae"])["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
