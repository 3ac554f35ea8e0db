"""`seqae info`: what is in a model file."""

from __future__ import annotations

__all__ = ["command"]

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, Command
from seqae.cli.fleet import load
from seqae.cli.options import JSON, MODEL
from seqae.cli.output import to_json


@click.command(
    "info",
    cls=Command,
    examples=("seqae info runs/pump/model.safetensors", "seqae info runs/pump --json"),
)
@MODEL
@JSON
@COMMON
def command(model: Path, as_json: bool) -> None:
    """Say what is in a model file.

    MODEL is a model file or the folder of a run. Shown are the model and its options, the channels and how they are
    scaled, the threshold and how it was chosen, the training and its data's fingerprint, and the versions used.
    """
    told = load(model, "cpu").describe()
    click.echo(to_json(told) if as_json else "\n".join(_lines(told)))


def _lines(told: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Return nested settings as indented lines, the values in one column."""
    width = max((len(str(key)) for key, value in told.items() if not isinstance(value, Mapping)), default=0)
    for key, value in told.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{key:<{width}}  {_text(value)}"


def _text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list() | tuple():
            return ", ".join(map(_text, value)) or "none"
        case _:
            return str(value) or "none"
