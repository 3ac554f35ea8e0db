"""Settings files in sections, as convolutional VAEs are often described: [configuration], [architecture], ..."""

from __future__ import annotations

__all__ = ["SECTIONS", "UNUSED", "flatten"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from seqae.errors import OptionError

SECTIONS: dict[str, dict[str, str]] = {
    "configuration": {"dataset": "data", "path": "data_dir"},
    "architecture": {
        "conv_layers": "",
        "conv_channels": "conv_channels",
        "conv_kernel_sizes": "conv_kernel_sizes",
        "conv_strides": "conv_strides",
        "conv_paddings": "conv_paddings",
        "z_dimension": "latent",
    },
    "hyperparameters": {
        "epochs": "epochs",
        "batch_size": "batch_size",
        "learning_rate": "learning_rate",
        "beta": "beta",
    },
}
"""The option that each key of each section means; conv_layers is only held against the lists."""
UNUSED = "seqae.unused_beta"
"""Where the click context keeps what is to be said of a beta that is not used, once nothing is wrong."""
LISTS = ("conv_channels", "conv_kernel_sizes", "conv_strides", "conv_paddings")


def flatten(document: Mapping[str, Any], path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a settings file's content as options: sections are taken apart, [options] and bare keys are as they are.

    The body is conv where there is an [architecture]. beta is that of B-VAE: any other model leaves it at 1, and says
    so. Raises OptionError that names the file and the key.
    """
    settings: dict[str, Any] = {}
    for name, value in document.items():
        if name in SECTIONS and isinstance(value, Mapping):
            settings |= _section(name, value, path)
        elif name in SECTIONS:
            raise OptionError(f"{path}: {name} = {value!r} is to be a section. Write [{name}], and its keys below.")
        elif name == "options" and isinstance(value, Mapping):
            settings |= value
        elif isinstance(value, Mapping):
            raise OptionError(f"{path} has a section [{name}]. It may have: {', '.join((*SECTIONS, 'options'))}.")
        else:
            settings[name] = value
    if "architecture" in document:
        settings = {"body": "conv", **settings}
        _check_layers(document["architecture"], path)
    model = given.get("model") or settings.get("model", "VAE")
    if "hyperparameters" in document and model != "B-VAE" and "beta" in settings:
        beta = settings.pop("beta")
        context = click.get_current_context(silent=True)
        if given.get("beta") is None and context is not None:
            context.meta[UNUSED] = f"beta = {beta} of {path} is for --model B-VAE; this {model} is trained with 1."
    return settings


def _section(name: str, values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    keys = SECTIONS[name]
    unknown = [key for key in values if key not in keys]
    if unknown:
        raise OptionError(f"{path}: unknown key {unknown[0]!r} in [{name}]. It may have: {', '.join(keys)}.")
    return {keys[key]: value for key, value in values.items() if keys[key]}


def _check_layers(architecture: Mapping[str, Any], path: Path) -> None:
    """Refuse lists that cannot be read, and a number of layers that is not theirs."""
    from seqae.cli.images.options import Sizes

    layers = architecture.get("conv_layers")
    for name in LISTS:
        if name in architecture:
            try:
                found = len(Sizes().convert(architecture[name], None, None))
            except click.BadParameter as error:
                raise OptionError(f"{path}: {name} = {architecture[name]}: {error.message}") from error
            if layers is not None and str(layers) != str(found):
                raise OptionError(
                    f"{path}: conv_layers = {layers}, and {name} has {found} entries. Give one for each layer."
                )
        elif layers is not None:
            raise OptionError(f"{path}: conv_layers = {layers}, and {name} is not there. Give an entry for each layer.")
