"""The settings of a run: checked, told to trackers, and compared when a run is resumed."""

from __future__ import annotations

__all__ = ["check", "describe", "differences", "fingerprint", "identity", "run_settings"]

import hashlib
import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqae.errors import OptionError
from seqae.training.devices import resolve_device, resolve_precision

COMPARED = (
    "model",
    "objective",
    "optimizer",
    "schedule",
    "batch_size",
    "least_steps",
    "learning_rate",
    "weight_decay",
    "clip",
    "seed",
)
"""The options of `fit` that a resumed run must have in common with the one it goes on with."""


OPTIONAL = ("patience", "clip", "max_time")


def check(options: Mapping[str, Any]) -> None:
    """Raise OptionError for a number among the options of `fit` that makes no sense."""
    for name in ("epochs", "batch_size", "least_steps", "patience", "learning_rate", "clip", "max_time"):
        value, whole = options[name], name in ("epochs", "batch_size", "least_steps", "patience")
        if value is None and name in OPTIONAL:
            continue
        if not isinstance(value, Integral if whole else Real) or not 0 < float(value) < math.inf:
            kind = "a whole number of at least 1" if whole else "a number greater than 0"
            raise OptionError(f"{name} must be {kind}; got {value!r}.")
    if not 0 <= options["weight_decay"] < math.inf:
        raise OptionError(f"weight_decay must not be negative; got {options['weight_decay']!r}.")
    if options["resume"] and options["log_dir"] is None:
        raise OptionError("resume needs the folder of the run that is to go on. Name it with log_dir.")


def run_settings(options: Mapping[str, Any], *, whole_run: bool) -> dict[str, Any]:
    """Return the options of `fit` that bear on its result, as JSON.

    whole_run: the learning rate is laid out over all epochs, so that their number is one of them.
    """
    device = resolve_device(options["device"])
    found = {name: describe(options[name]) for name in COMPARED}
    found["model"] = describe(getattr(options["model"], "recipe", None) or type(options["model"]))
    found["device"], found["precision"] = device.type, str(resolve_precision(device, options["precision"]))
    return found | ({"epochs": options["epochs"]} if whole_run else {})


def identity(model: nn.Module, data: Any, validation: Any) -> dict[str, Any]:
    """Return what tells a model's weights and its data from others, as JSON."""
    return {
        "shapes": {name: list(tensor.shape) for name, tensor in model.state_dict().items()},
        "data": fingerprint(data),
        "validation": None if validation is None else fingerprint(validation),
    }


def describe(value: Any) -> Any:
    """Return what a setting is, as JSON that is the same in another process: a part's class and public attributes."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): describe(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [describe(entry) for entry in value]
    if hasattr(value, "__qualname__"):
        return value.__qualname__
    public = {name: entry for name, entry in getattr(value, "__dict__", {}).items() if not name.startswith("_")}
    return {type(value).__qualname__: describe(public)}


def fingerprint(data: Any, sample: int = 1024) -> str:
    """Return a digest of a set of windows: how many there are, and all values of up to `sample` spread evenly."""
    count = len(data)
    digest = hashlib.sha256(str(count).encode())
    index = torch.linspace(0, count - 1, min(sample, count), dtype=torch.float64).round().long()
    for part in data.gather(index):
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            digest.update(part.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def differences(stored: Any, given: Any, name: str = "") -> list[str]:
    """Return "name was 1, is 2" for each entry in which two JSON values differ."""
    if isinstance(stored, dict) and isinstance(given, dict):
        keys = [*stored, *(key for key in given if key not in stored)]
        inside = [differences(stored.get(key), given.get(key), f"{name}.{key}" if name else str(key)) for key in keys]
        return [difference for found in inside for difference in found]
    return [] if stored == given else [f"{name} was {_short(stored)}, is {_short(given)}"]


def _short(value: Any, limit: int = 40) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
