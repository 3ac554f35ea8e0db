"""Files: one safetensors file holds tensors and, in its metadata, one JSON document. Nothing is ever pickled.

A model file has the tensors "model.<parameter>" and a document with the builder's recipe; whoever saves it adds
tensors and entries of its own. A resume file has everything that a run needs to go on as if it had never stopped.
"""

from __future__ import annotations

__all__ = [
    "FORMAT_VERSION",
    "TrainingState",
    "load_model",
    "read_safetensors",
    "restore_model",
    "save_model",
    "under",
    "write_safetensors",
]

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn, optim

from seqae.errors import ModelFileError, OptionError
from seqae.models import build
from seqae.training.settings import differences
from seqae.training.stopping import best_epoch

FORMAT_VERSION = 1
KEY = "seqae"
MODEL = "model."
RESUME = "training state"

Tensors = dict[str, Tensor]
Document = dict[str, Any]


def write_safetensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Write tensors and a JSON document to one file, atomically: a reader finds the old file or the new, never half.

    Adds format_version to the document. Raises OptionError where the path cannot be written, ValueError or TypeError
    for a document that is no strict JSON (NaN and infinity are not).
    """
    target = Path(path)
    text = json.dumps({**document, "format_version": FORMAT_VERSION}, ensure_ascii=False, allow_nan=False)
    # Own, contiguous copies: safetensors refuses tensors that share memory, as tied weights and slices do.
    owned = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    content = safetensors.torch.save(owned, {KEY: text})
    if target.is_dir():
        raise OptionError(f"{target} is a folder. Name a file, such as {target / 'model.safetensors'}.")
    if not target.parent.is_dir():
        raise OptionError(f"cannot write {target}: there is no folder {target.parent}. Create it first.")
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise OptionError(f"cannot write {target}: {error.strerror}. Choose another place.") from error
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; some systems and network drives cannot open or sync a folder, and need not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_safetensors(path: str | os.PathLike[str]) -> tuple[Tensors, Document]:
    """Return a file's tensors (on the CPU, in memory of their own) and its document.

    Raises ModelFileError where it is missing, no safetensors file, truncated, not seqae's, or of a newer format.
    """
    source = Path(path)
    if not source.exists():
        raise ModelFileError(f"there is no file {source}. Check the path, or train a model first.")
    if source.is_dir():
        raise ModelFileError(f"{source} is a folder. Name the file in it, such as {source / 'model.safetensors'}.")
    try:
        with safe_open(source, framework="pt") as file:
            document = _document(source, file.metadata() or {})
            return {name: file.get_tensor(name).clone() for name in file.keys()}, document  # noqa: SIM118
    except SafetensorError as error:
        raise ModelFileError(
            f"{source} is no safetensors file, or was cut off ({error}). Copy it again, or train the model again."
        ) from error
    except OSError as error:
        raise ModelFileError(f"cannot read {source}: {error.strerror or error}. Check its permissions.") from error


def _document(source: Path, metadata: Mapping[str, str]) -> Document:
    try:
        document = json.loads(metadata[KEY])
        found = int(document["format_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{source} was not written by seqae: its metadata hold no {KEY!r} document. Name a seqae model file."
        ) from error
    if found > FORMAT_VERSION:
        raise ModelFileError(
            f"{source} has format version {found}; this seqae reads up to {FORMAT_VERSION}. Upgrade seqae."
        )
    return document


def save_model(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    tensors: Mapping[str, Tensor] | None = None,
    **document: Any,
) -> None:
    """Write a model's recipe and weights, with further tensors and document entries (strict JSON) beside them.

    Raises OptionError for a model without a recipe: one that holds a caller's own part cannot be built from a file.
    """
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        raise OptionError(
            f"{type(model).__name__} has no recipe to be built from again, because a part of it is your own. "
            "Save model.state_dict() instead, or build the model from named parts."
        )
    weights = {f"{MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    contents = {"kind": "model", "recipe": recipe, "versions": _versions(), **document}
    write_safetensors(path, {**(tensors or {}), **weights}, contents)


def load_model(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> nn.Module:
    """Return a saved file's model on a device, in eval mode; raises ModelFileError where the file holds no model."""
    tensors, document = read_safetensors(path)
    return restore_model(tensors, document, device, source=path)


def restore_model(
    tensors: Mapping[str, Tensor],
    document: Mapping[str, Any],
    device: str | torch.device = "cpu",
    *,
    source: str | os.PathLike[str] = "the file",
) -> nn.Module:
    """Build the model that `read_safetensors` returned: its recipe, with its weights, on a device, in eval mode."""
    if "recipe" not in document:
        raise ModelFileError(f"{source} is a {document.get('kind', 'file')} without a model. Name a model file.")
    weights = {name.removeprefix(MODEL): tensor for name, tensor in tensors.items() if name.startswith(MODEL)}
    try:
        # Fresh weights are drawn and replaced at once: the caller's random numbers must not move for that.
        with torch.random.fork_rng(devices=[]):
            model = build(document["recipe"])
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelFileError(
            f"{source} has a recipe that its weights or this seqae do not fit ({type(error).__name__}: {reason}). "
            "Train the model again."
        ) from error
    return model.to(device).eval()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    with contextlib.suppress(PackageNotFoundError):
        found["seqae"] = version("seqae")
    return found


@dataclass
class TrainingState:
    """What a run needs to go on as if it had never stopped: live parts, and what they do not know themselves."""

    model: nn.Module
    optimizer: optim.Optimizer
    generators: Mapping[str, torch.Generator]
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record for each complete epoch."""
    best: Tensors = field(default_factory=dict)
    """The best epoch's weights; replaced as a whole, never written into."""
    rate_factor: float = 1.0
    """What the learning rate has been multiplied by after epochs that were not finite."""
    seconds: float = 0.0
    path: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """The number of complete epochs."""
        return len(self.history)

    def weights(self) -> Tensors:
        """Return a copy of the model's weights."""
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def capture(self) -> tuple[Tensors, Document]:
        """Return a copy of everything, which further training does not touch: on the device, without waiting for it."""
        tensors = {f"{MODEL}{name}": tensor for name, tensor in self.weights().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor.clone() for name, tensor in moments.items()}
        tensors |= {f"generator.{name}": generator.get_state() for name, generator in self.generators.items()}
        document = {
            "kind": RESUME,
            "history": list(self.history),
            "rate_factor": self.rate_factor,
            "seconds": self.seconds,
        }
        return tensors, document

    def restore(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
        """Go back to what `capture` returned; the same capture can be restored more than once."""
        self.model.load_state_dict(under(tensors, MODEL))
        moments: dict[int, Tensors] = {}
        for name, tensor in under(tensors, "optimizer.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = tensor.clone()  # the optimizer goes on in these very tensors
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        for name, state in under(tensors, "generator.").items():
            self.generators[name].set_state(state)
        device = next(iter(self.model.state_dict().values())).device
        self.best = {name: tensor.to(device) for name, tensor in under(tensors, "best.").items()}
        self.history = list(document["history"])
        self.rate_factor, self.seconds = document["rate_factor"], document["seconds"]

    def add(self, record: dict[str, Any], seconds: float) -> None:
        """Take in a complete epoch: note its weights if they are the best so far, and write the resume file."""
        self.history.append(record)
        self.seconds = seconds
        if "validation_total" in record and best_epoch(self.history) == self.epoch:
            self.best = self.weights()
        if self.path is not None:
            tensors, document = self.capture()
            write_safetensors(self.path, tensors, {**document, "settings": self.settings, "versions": _versions()})

    def keep(self, path: Path, settings: dict[str, Any], *, resume: bool) -> None:
        """Write to this file from now on; with `resume`, first go on from what it holds.

        settings (JSON): what both runs must have in common. Raises OptionError that names what they differ in.
        """
        self.path, self.settings = path, settings
        if resume:
            if not path.exists():
                raise OptionError(f"there is nothing to resume: no {path}. Start without --resume.")
            tensors, document = read_safetensors(path)
            if document.get("kind") != RESUME:
                raise ModelFileError(f"{path} is no resume file but a {document.get('kind')}. Start without --resume.")
            found = differences(document["settings"], settings)
            if found:
                more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
                raise OptionError(
                    f"{path} is of another run: {'; '.join(found[:3])}{more}. "
                    "Resume with that run's settings, model and data, or start anew without --resume."
                )
            self.restore(tensors, document)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"cannot make the folder {path.parent}: {error.strerror}. Choose another.") from error


def under(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
